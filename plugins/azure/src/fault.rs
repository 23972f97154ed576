//! What an answer says of a failure.
//!
//! Key Vault writes `{"error":{"code","message","innererror":{"code"}}}`, the resource manager
//! `{"error":{"code","message",...}}`, and Azure ML's own services the longer envelope with
//! `innerError` nested several times. Some of it may be absent, null or of another type, and a proxy
//! in between may answer with no JSON at all.

use serde_json::Value;
use strongroom_plugin::http::Response;
use strongroom_plugin::{Failure, Kind, log};

/// How deep inner errors are followed.
const MAX_DEPTH: usize = 8;

/// What of a service's message is logged, in characters.
const LOGGED: usize = 400;

/// Statuses whose messages are logged: they are about who asks, or where from. Those of others may quote
/// what was sent, and that may be a value.
const ABOUT_THE_CALLER: [u16; 4] = [401, 403, 404, 429];

/// The codes of an error answer. The texts are only for the log at debug: they name tenants,
/// identities and addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fault {
    /// `error.code`, if it is a word.
    pub code: Option<String>,
    /// The innermost inner error's code, if there is one that is a word.
    pub inner: Option<String>,
    /// The word that the message begins with, where it is one of Key Vault's `AKV` numbers: it alone
    /// tells the reasons of its 401 apart.
    pub akv: Option<String>,
}

impl Fault {
    /// Reads the body of an error answer, and logs what it may say at debug.
    #[must_use]
    pub fn of(response: &Response) -> Self {
        let Ok(body) = response.json::<Value>() else {
            log::debug!("answered {} without JSON, {} bytes", response.status(), response.body().len());
            return Self::default();
        };
        let Some(error) = body.get("error") else { return Self::default() };
        let code = error.get("code").and_then(word);
        let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
        let tells = ABOUT_THE_CALLER.contains(&response.status());
        let shown: String = message.chars().take(LOGGED).filter(|_| tells).collect();
        log::debug!("answered {} {}: {shown}", response.status(), code.as_deref().unwrap_or("without a code"));
        let mut inner = None;
        let mut level = error;
        for _ in 0..MAX_DEPTH {
            let Some(deeper) = level.get("innererror").or_else(|| level.get("innerError")) else { break };
            inner = deeper.get("code").and_then(word).or(inner);
            level = deeper;
        }
        let akv = message.split(':').next().filter(|word| {
            let digits = word.strip_prefix("AKV").unwrap_or_default();
            !digits.is_empty() && digits.len() <= 8 && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
        Self { code, inner, akv: akv.map(str::to_owned) }
    }

    /// The most specific code.
    #[must_use]
    pub fn word(&self) -> Option<&str> {
        self.inner.as_deref().or(self.code.as_deref())
    }

    /// Whether `code` is one of the answer's codes.
    #[must_use]
    pub fn is(&self, code: &str) -> bool {
        let same = |given: &Option<String>| given.as_deref().is_some_and(|given| given.eq_ignore_ascii_case(code));
        same(&self.inner) || same(&self.code)
    }
}

/// A code is a word: what is longer or holds anything else is no code, and is not repeated.
fn word(code: &Value) -> Option<String> {
    let text = code.as_str()?;
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    fits.then(|| text.to_owned())
}

/// A failure for `response` in the plugin's own words. When to try again is kept.
#[must_use]
pub fn retold(response: &Response, kind: Kind, code: impl Into<String>, message: impl Into<String>) -> Failure {
    let mut failure = Failure::new(kind, code, message);
    failure.retry_after_ms = response.failure().retry_after_ms;
    failure
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_plugin::testing::Host;

    fn fault(body: &str) -> (Option<String>, Option<String>, Option<String>) {
        let _host = Host::new();
        let Fault { code, inner, akv } = Fault::of(&Response::new(403, [], body));
        (code, inner, akv)
    }

    #[test]
    fn each_service_has_its_own_envelope() {
        let some = |text: &str| Some(text.to_owned());
        for (body, code, inner, akv) in [
            (
                r#"{"error":{"code":"Forbidden","message":"m","innererror":{"code":"SecretDisabled"}}}"#,
                some("Forbidden"),
                some("SecretDisabled"),
                None,
            ),
            (
                r#"{"error":{"code":"Unauthorized","message":"AKV10032: Invalid issuer. Expected one of ..."}}"#,
                some("Unauthorized"),
                None,
                some("AKV10032"),
            ),
            (
                r#"{"error":{"code":"AuthorizationFailed","message":"m","target":null,"details":[],"additionalInfo":[]}}"#,
                some("AuthorizationFailed"),
                None,
                None,
            ),
            (
                r#"{"error":{"code":"UserError","message":"m","innerError":{"code":"NotFound","innerError":{"code":"FlowNotFound","innerError":null}},"debugInfo":{"stackTrace":"x"}},"time":"..."}"#,
                some("UserError"),
                some("FlowNotFound"),
                None,
            ),
            (r#"{"error":{"code":null,"message":null,"innererror":null}}"#, None, None, None),
            (r#"{"error":{"code":"it is not a word, and may be a value","message":7}}"#, None, None, None),
            (r#"{"error":"Forbidden"}"#, None, None, None),
            (r#"{"value":"s3cret"}"#, None, None, None),
            ("<html>403</html>", None, None, None),
            ("[]", None, None, None),
            ("", None, None, None),
        ] {
            assert_eq!(fault(body), (code, inner, akv), "{body}");
        }
    }

    #[test]
    fn a_message_that_may_quote_what_was_sent_is_not_logged() {
        let body = r#"{"error":{"code":"Some","message":"Caller: appid=1 said"}}"#;
        for (status, logged) in [(401, true), (403, true), (404, true), (400, false), (409, false), (500, false)] {
            let host = Host::new();
            assert_eq!(Fault::of(&Response::new(status, [], body)).code.as_deref(), Some("Some"));
            let lines = host.logged();
            let [(log::Level::Debug, line)] = lines.as_slice() else { panic!("one line: {lines:?}") };
            assert_eq!(line.contains("appid=1"), logged, "{line}");
            assert!(line.contains(&status.to_string()) && line.contains("Some"), "{line}");
        }
        let host = Host::new();
        let _ = Fault::of(&Response::new(403, [], "<html>said</html>"));
        assert!(!format!("{:?}", host.logged()).contains("said"));
    }

    #[test]
    fn when_to_try_again_is_kept() {
        let throttled = Response::new(429, [("Retry-After", "7")], "");
        assert_eq!(retold(&throttled, Kind::Throttled, "Throttled", "later").retry_after_ms, Some(7000));
        assert_eq!(retold(&Response::new(429, [], ""), Kind::Throttled, "Throttled", "later").retry_after_ms, None);
    }
}
