//! A program of the operator's that is told the audience and prints a token: what a callback is to a
//! library (`TokenAuthentication` of Azure ML's v1 SDK, OAuth 2.0 helpers of other clouds).
//!
//! It prints the token alone, or a JSON document with the token and its end. Nothing that it prints on
//! standard output is ever told; of its errors, only what cannot be a secret.

#![forbid(unsafe_code)]

use serde::Deserialize;
use strongroom_entra::number::{NumberOrText, Seconds};
use strongroom_entra::shown::shown;
use strongroom_entra::{jwt, time};
use strongroom_plugin::credential::{Request, Resume, Step, Token};
use strongroom_plugin::tool::{self, Output};
use strongroom_plugin::{Context, Credential, Failure, Kind, clock};

/// The plugin. It has no state: every call is a new instance.
#[derive(Debug)]
pub struct TokenCommand;

strongroom_plugin::credential!(TokenCommand);

#[derive(Deserialize)]
struct Config {
    tool: String,
    scheme: Option<String>,
}

/// The documents that such programs print, in one: each has some of it.
#[derive(Deserialize)]
struct Document {
    #[serde(alias = "accessToken", alias = "token")]
    access_token: String,
    #[serde(alias = "expiresOn", alias = "expires_at", alias = "expiry")]
    expires_on: Option<NumberOrText>,
    expires_in: Option<Seconds>,
}

impl Credential for TokenCommand {
    fn acquire(context: &Context, request: &Request, _: Option<&[u8]>, _: Option<&Resume>) -> Result<Step, Failure> {
        let config: Config = context.config()?;
        let mut holes = vec![("audience".to_owned(), request.audience.clone())];
        holes.extend(request.tenant.clone().map(|tenant| ("tenant".to_owned(), tenant)));
        holes.extend(request.claims.clone().map(|claims| ("claims".to_owned(), claims)));
        let token = read(&config.tool, tool::run(&config.tool, &holes), clock::now())?;
        Ok(match config.scheme {
            Some(scheme) => token.scheme(scheme),
            None => token,
        }
        .into())
    }
}

/// What came of it. `now` is in seconds since the Unix epoch.
fn read(tool: &str, ran: Result<Output, Failure>, now: u64) -> Result<Token, Failure> {
    let output = ran.map_err(|failure| match failure.kind {
        // The operator named it, so that it is not there is no reason to try another credential.
        Kind::NotFound => {
            Failure::invalid_config("token-command.not-found", format!("the program of the tool {tool} is not there"))
        }
        _ => failure,
    })?;
    if output.status != 0 {
        let said = match shown(&String::from_utf8_lossy(&output.stderr)) {
            said if said.is_empty() => "and said nothing".to_owned(),
            said => format!("and said: {}", said.trim_end_matches('.')),
        };
        let message = format!("the tool {tool} gave no token; it ended with status {} {said}", output.status);
        return Err(Failure::unauthenticated("token-command.failed", message));
    }
    let unexpected = |what: &str| {
        let message = format!(
            "the tool {tool} printed {what}; it prints the token alone, or JSON with `access_token` and `expires_on`"
        );
        Failure::protocol("token-command.output", message)
    };
    let text = std::str::from_utf8(&output.stdout).map_err(|_| unexpected("what is no text"))?.trim();
    let (value, told) = if text.starts_with('{') {
        let Document { access_token, expires_on, expires_in } =
            serde_json::from_str(text).map_err(|_| unexpected("a document without a token"))?;
        let end = match (expires_on, expires_in) {
            (Some(on), _) => Some(end_of(&on).ok_or_else(|| unexpected("an end that cannot be read"))?),
            (None, Some(Seconds(life))) => Some(now.saturating_add(life)),
            (None, None) => None,
        };
        (access_token, end)
    } else {
        (text.to_owned(), None)
    };
    if value.is_empty() {
        return Err(unexpected("nothing"));
    }
    let claims = jwt::claims(&value).unwrap_or_default();
    let mut token = Token::bearer(value);
    token.expires_at = told.or(claims.exp);
    for (name, value) in [("tenant", claims.tid.as_deref()), ("identity", claims.identity())] {
        if let Some(value) = value {
            token = token.attribute(name, value);
        }
    }
    Ok(token)
}

/// Seconds since the Unix epoch, or a time of RFC 3339.
fn end_of(given: &NumberOrText) -> Option<u64> {
    match given {
        NumberOrText::Text(text) => time::rfc3339(text).or_else(|| time::expires_on(given)),
        NumberOrText::Number(_) => time::expires_on(given),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn ran(status: i32, stdout: &str, stderr: &str) -> Result<Token, Failure> {
        read("mint", Ok(Output { status, stdout: stdout.into(), stderr: stderr.into() }), NOW)
    }

    #[test]
    fn a_token_alone_or_in_a_document() {
        for (printed, end) in [
            ("t0ken-1\n", None),
            (r#"{"access_token":"t0ken-1","expires_in":"60"}"#, Some(NOW + 60)),
            (r#"{"accessToken":"t0ken-1","expires_on":1800000000}"#, Some(1_800_000_000)),
            (r#"{"token":"t0ken-1","expiresOn":"2030-01-01T00:00:00Z"}"#, Some(1_893_456_000)),
            (r#"{"token":"t0ken-1"}"#, None),
        ] {
            let token = ran(0, printed, "warning").unwrap();
            assert_eq!((token.value.as_str(), token.expires_at), ("t0ken-1", end), "{printed}");
        }
        // {"exp":1800000000,"tid":"t"}
        let jwt = "e30.eyJleHAiOjE4MDAwMDAwMDAsInRpZCI6InQifQ.c2ln";
        let token = ran(0, jwt, "").unwrap();
        assert_eq!(token.expires_at, Some(1_800_000_000));
        assert_eq!(token.attributes, [("tenant".to_owned(), "t".to_owned())]);
    }

    #[test]
    fn what_is_no_token_is_never_told() {
        for (status, printed, code) in [
            (0, "", "token-command.output"),
            (0, r#"{"access_token":""}"#, "token-command.output"),
            (0, r#"{"s3cret":1}"#, "token-command.output"),
            (0, r#"{"token":"s3cret","expires_on":"soon"}"#, "token-command.output"),
            (1, "s3cret", "token-command.failed"),
            (-9, "s3cret", "token-command.failed"),
        ] {
            let failure = ran(status, printed, "no luck").unwrap_err();
            assert_eq!(failure.code, code, "{printed}");
            assert!(!failure.message.contains("s3cret"), "{}", failure.message);
        }
        let failure = read("mint", Err(Failure::new(Kind::NotFound, "process.not-found", "x")), NOW).unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::InvalidConfig, "token-command.not-found"));
    }
}
