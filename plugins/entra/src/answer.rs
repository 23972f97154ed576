//! What a token endpoint answers.

use std::fmt;

use serde::Deserialize;
use strongroom_plugin::Failure;
use strongroom_plugin::credential::Token;
use strongroom_plugin::http::Response;

use crate::number::Seconds;
use crate::refusal::Refused;
use crate::{Asked, jwt};

/// From this life on, in seconds, a token is renewed at its half if nobody says when.
const LONG_LIFE: u64 = 7200;

/// What Entra gave. Its `Debug` shows none of it.
pub struct Granted {
    /// The token, without what is to be kept.
    pub token: Token,
    /// What gets the next one without a person.
    pub refresh_token: Option<String>,
    /// Who signed in.
    pub id_token: Option<String>,
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granted").field("token", &self.token).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Document {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<Seconds>,
    refresh_in: Option<Seconds>,
    refresh_token: Option<String>,
    id_token: Option<String>,
}

/// Reads the answer to a token request that began at `started`, in seconds since the Unix epoch. The
/// token's attributes are its tenant and its identity, as far as they can be read.
///
/// # Errors
/// What Entra refused, and why; `entra.answer`, kind protocol, if a success holds no bearer token.
pub fn read(response: &Response, asked: &Asked, started: u64) -> Result<Granted, Refused> {
    if response.status() != 200 {
        return Err(Refused::read(response, asked));
    }
    let document: Document = response.json()?;
    let unusable =
        |what: &str| Failure::protocol("entra.answer", format!("Entra ID answered a token request with {what}"));
    let value = document.access_token.filter(|token| !token.is_empty()).ok_or_else(|| unusable("no access token"))?;
    if document.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(unusable("a token that is no bearer token").into());
    }
    let mut token = Token::bearer(value);
    if let Some(Seconds(life)) = document.expires_in {
        token.expires_at = Some(started.saturating_add(life));
        let half = (life >= LONG_LIFE).then_some(life / 2);
        let renewed = document.refresh_in.map(|Seconds(after)| after).or(half);
        token.refresh_at = renewed.map(|after| started.saturating_add(after));
    }
    let told = document.id_token.as_deref().and_then(jwt::claims).or_else(|| jwt::claims(&token.value));
    let told = told.unwrap_or_default();
    let tenant = told.tid.clone().unwrap_or_else(|| asked.tenant.clone());
    let identity = told.identity().unwrap_or(&asked.client_id).to_owned();
    Ok(Granted {
        token: token.attribute("tenant", tenant).attribute("identity", identity),
        refresh_token: document.refresh_token.filter(|token| !token.is_empty()),
        id_token: document.id_token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_plugin::Kind;

    fn answer(body: &str) -> Result<Granted, Refused> {
        let asked = Asked { client_id: "app".into(), tenant: "t".into(), scope: "s".into() };
        read(&Response::new(200, [("content-type", "application/json")], body), &asked, 1000)
    }

    #[test]
    fn both_types_of_expiry() {
        for (body, expires, refresh) in [
            (r#"{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"x"}"#, Some(4599), None),
            (r#"{"token_type":"bearer","expires_in":"3599","access_token":"x"}"#, Some(4599), None),
            (r#"{"expires_in":86399,"refresh_in":43199,"access_token":"x"}"#, Some(87_399), Some(44_199)),
            (r#"{"expires_in":86400,"refresh_in":"43199","access_token":"x"}"#, Some(87_400), Some(44_199)),
            (r#"{"expires_in":7200,"access_token":"x"}"#, Some(8200), Some(4600)),
            (r#"{"expires_in":7199,"access_token":"x"}"#, Some(8199), None),
            (r#"{"access_token":"x"}"#, None, None),
        ] {
            let token = answer(body).unwrap().token;
            assert_eq!((token.value.as_str(), token.scheme.as_str()), ("x", "Bearer"));
            assert_eq!((token.expires_at, token.refresh_at), (expires, refresh), "{body}");
            assert_eq!(token.attributes, [("tenant".into(), "t".into()), ("identity".into(), "app".into())]);
        }
    }

    #[test]
    fn what_holds_no_token_is_no_success() {
        for (body, code) in [
            ("{}", "entra.answer"),
            (r#"{"access_token":""}"#, "entra.answer"),
            (r#"{"access_token":"s3cret","token_type":"pop"}"#, "entra.answer"),
            (r#"{"access_token":"s3cret","expires_in":"s3cret"}"#, "http.json"),
            (r#"{"access_token":"s3cret""#, "http.json"),
            ("<html>proxy</html>", "http.json"),
        ] {
            let failure = Failure::from(answer(body).unwrap_err());
            assert_eq!((failure.kind, failure.code.as_str()), (Kind::Protocol, code), "{body}");
            assert!(!format!("{failure:?}").contains("s3cret"));
        }
    }

    #[test]
    fn debug_shows_no_token() {
        let granted = answer(r#"{"access_token":"s3cret","refresh_token":"s3cret","id_token":"s3cret"}"#).unwrap();
        assert_eq!(granted.refresh_token.as_deref(), Some("s3cret"));
        assert!(!format!("{granted:?}").contains("s3cret"));
    }
}
