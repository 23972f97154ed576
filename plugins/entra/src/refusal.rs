//! What Entra's refusals mean, and what to do about them.
//!
//! Decided by the AADSTS number, then by OAuth's word, then by the status; never by the words.

use serde::Deserialize;
use strongroom_plugin::http::Response;
use strongroom_plugin::{Failure, Kind};

use crate::Asked;
use crate::shown::shown;

/// No token, and why. A [`Failure`] with what a sign-in goes on by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// OAuth's word, such as `invalid_grant`; empty if there was no such answer.
    pub error: String,
    /// The claims that a new sign-in has to ask for.
    pub claims: Option<String>,
    /// What it is for a person.
    pub failure: Box<Failure>,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self { error: String::new(), claims: None, failure: Box::new(failure) }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        *refused.failure
    }
}

/// Numbers, what they are for the host, and what to tell a person.
type Row = (&'static [u64], Kind, &'static str);

/// A refresh token that has expired or was revoked: it never serves again.
const ENDED: [u64; 4] = [70_008, 700_082, 70_043, 50_173];

const ROWS: [Row; 18] = [
    (
        &[7_000_215],
        Kind::Unauthenticated,
        "the client secret is wrong; often the secret's id was pasted in place of its value. Copy the value, which Azure \
         shows only once, or make a new secret",
    ),
    (
        &[7_000_222],
        Kind::Unauthenticated,
        "the client secret has expired; make a new one for the application and put it in the sealed input `client_secret`",
    ),
    (
        &[7_000_216],
        Kind::Unauthenticated,
        "neither a client secret nor an assertion was sent; give the credential one of its sealed inputs, or tell the \
         application to be a public client if a person signs in",
    ),
    (
        &[700_016],
        Kind::InvalidConfig,
        "the application is not in this tenant; check the credential's `client_id` and `tenant`, and that the application \
         is in this cloud",
    ),
    (
        &[90_002, 900_023],
        Kind::InvalidConfig,
        "there is no such tenant in this cloud, or it is malformed; check the credential's `tenant` and `authority`",
    ),
    (
        &[700_027],
        Kind::Unauthenticated,
        "the certificate's assertion was not accepted; check that this very certificate is registered for the \
         application, that the algorithm fits, and that the certificate is valid",
    ),
    (
        &[700_024],
        Kind::Unauthenticated,
        "the assertion is outside its validity window; check this machine's clock, or get a fresh federated token",
    ),
    (
        &[70_021, 700_211, 700_212, 700_213],
        Kind::Unauthenticated,
        "no federated credential of the application matches the token's issuer, audience or subject; compare them in the \
         application's federated credentials",
    ),
    (
        &[500_011],
        Kind::InvalidConfig,
        "the tenant does not know this audience; check the audience, and that its service is in this tenant and cloud",
    ),
    (
        &[70_011, 1_002_012],
        Kind::InvalidConfig,
        "the scope is malformed; an application without a person asks for an audience and `/.default`",
    ),
    (
        &[65_001],
        Kind::Denied,
        "nobody has consented to this application's use of the audience; an administrator of the tenant can consent",
    ),
    (
        &[50_076, 50_079, 53_003],
        Kind::Unauthenticated,
        "the tenant asks for another factor, or its conditional access says no; a person has to sign in again \
         (`strongroom login`), from a device and network that the tenant allows",
    ),
    (&ENDED, Kind::Unauthenticated, "the sign-in has expired or was revoked; sign in again with `strongroom login`"),
    (&[70_016], Kind::Unauthenticated, "the person has not signed in yet"),
    (&[90_033, 90_006], Kind::Unavailable, "Entra ID has a passing fault; try again in a moment"),
    (
        &[50_196],
        Kind::Throttled,
        "Entra ID saw the same request again and again and stops answering it; stop whatever repeats it, and wait",
    ),
    (
        &[54_005],
        Kind::Unauthenticated,
        "the code of this sign-in was used already; sign in again with `strongroom login`",
    ),
    (
        &[50_034, 50_020],
        Kind::Unauthenticated,
        "this account is not in the tenant; sign in with another one, or set the credential's `tenant`",
    ),
];

#[derive(Deserialize, Default)]
struct Document {
    error: String,
    #[serde(default)]
    error_description: String,
    #[serde(default)]
    error_codes: Vec<u64>,
    suberror: Option<String>,
    claims: Option<String>,
    trace_id: Option<String>,
    correlation_id: Option<String>,
    timestamp: Option<String>,
}

impl Refused {
    /// Reads an answer that is no success.
    #[must_use]
    pub fn read(response: &Response, asked: &Asked) -> Self {
        let by_status = response.failure();
        let Ok(document) = serde_json::from_slice::<Document>(response.body()) else {
            let begin = shown(&String::from_utf8_lossy(response.body().get(..200).unwrap_or(response.body())));
            let why = format!("its answer {} is no JSON, as of a proxy: {begin}", response.status());
            return Failure { message: about(asked, &why), ..by_status }.into();
        };
        Self::of(document, asked, by_status)
    }

    /// Reads what the browser brought back in place of a code (RFC 6749, 4.1.2.1).
    #[must_use]
    pub fn redirected(error: &str, description: &str, asked: &Asked) -> Self {
        let document = Document { error: error.into(), error_description: description.into(), ..Document::default() };
        Self::of(document, asked, Failure::unauthenticated("entra.redirect", "the sign-in was refused"))
    }

    /// `unknown` is what it is where neither number nor word are known.
    fn of(document: Document, asked: &Asked, unknown: Failure) -> Self {
        let number = document.error_codes.first().copied().or_else(|| number_of(&document.error_description));
        let row = number.and_then(|number| ROWS.iter().find(|(numbers, ..)| numbers.contains(&number)));
        let (kind, why) = match row {
            Some((_, kind, why)) => (*kind, (*why).to_owned()),
            None => (kind_of(&document.error).unwrap_or(unknown.kind), described(&document)),
        };
        let kind = if unknown.kind == Kind::Throttled { Kind::Throttled } else { kind };
        let code = match number {
            Some(number) => format!("AADSTS{number}"),
            None if is_word(&document.error) => document.error.clone(),
            None => unknown.code.clone(),
        };
        let mut failure = Failure::new(kind, code, about(asked, &why));
        failure.retry_after_ms = unknown.retry_after_ms;
        let Document { error, suberror, claims, trace_id, correlation_id, timestamp, .. } = document;
        let told = [
            ("error", Some(error.clone())),
            ("suberror", suberror),
            ("trace_id", trace_id),
            ("correlation_id", correlation_id),
            ("timestamp", timestamp),
        ];
        for (name, value) in told {
            if let Some(value) = value.filter(|value| is_label(value)) {
                failure = failure.attribute(name, value);
            }
        }
        Self { error, claims, failure: Box::new(failure) }
    }

    /// Whether the refresh token that was sent is dead. Another factor, a policy or a consent that is asked for is
    /// no such verdict: the same token may still serve another audience.
    #[must_use]
    pub fn ends_sign_in(&self) -> bool {
        self.error == "invalid_grant" && ENDED.iter().any(|number| self.failure.code == format!("AADSTS{number}"))
    }

    /// Whether only a person's new sign-in helps.
    #[must_use]
    pub fn asks_for_person(&self) -> bool {
        matches!(self.error.as_str(), "invalid_grant" | "interaction_required" | "consent_required" | "login_required")
            && !matches!(self.failure.kind, Kind::Throttled | Kind::Unavailable)
    }
}

fn about(Asked { client_id, tenant, scope }: &Asked, why: &str) -> String {
    format!("Entra ID gave no token for `{scope}`: {why} (application {client_id}, tenant {tenant})")
}

/// Entra's own words, where no row knows better.
fn described(document: &Document) -> String {
    match shown(&document.error_description) {
        text if text.is_empty() => format!("it says only `{}`", shown(&document.error)),
        text => text,
    }
}

/// The number at the start of `AADSTS7000215: ...`.
fn number_of(description: &str) -> Option<u64> {
    let rest = description.strip_prefix("AADSTS")?;
    rest.get(..rest.find(|c: char| !c.is_ascii_digit())?)?.parse().ok()
}

/// What OAuth's words mean (RFC 6749, 5.2; RFC 8628, 3.5), where the number is not known.
fn kind_of(error: &str) -> Option<Kind> {
    Some(match error {
        "invalid_client"
        | "unauthorized_client"
        | "invalid_grant"
        | "interaction_required"
        | "login_required"
        | "expired_token"
        | "code_expired"
        | "bad_verification_code" => Kind::Unauthenticated,
        "access_denied" | "authorization_declined" | "consent_required" => Kind::Denied,
        "invalid_request" | "invalid_scope" | "invalid_resource" | "unsupported_grant_type" => Kind::InvalidConfig,
        "temporarily_unavailable" | "server_error" => Kind::Unavailable,
        _ => return None,
    })
}

fn is_word(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// An id, a word or a time: nothing that can hold a message or a secret of note.
fn is_label(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b' ' | b'.');
    (1..=40).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> Refused {
        let asked = Asked { client_id: "app".into(), tenant: "contoso.com".into(), scope: "https://v/.default".into() };
        Refused::read(
            &Response::new(status, [("content-type", "application/json"), ("retry-after", "7")], body),
            &asked,
        )
    }

    fn body(error: &str, number: u64, text: &str) -> String {
        format!(
            r#"{{"error":"{error}","error_description":"AADSTS{number}: {text} Trace ID: a Correlation ID: b Timestamp: c",
            "error_codes":[{number}],"timestamp":"2024-01-01 00:00:00Z","trace_id":"11111111-2222-3333-4444-555555555555",
            "correlation_id":"66666666-7777-8888-9999-000000000000","error_uri":"https://login.microsoftonline.com/error?code={number}"}}"#
        )
    }

    #[test]
    fn every_row_says_what_to_do() {
        for (number, error, status, kind, words) in [
            (7_000_215, "invalid_client", 401, Kind::Unauthenticated, "the secret's id was pasted"),
            (7_000_222, "invalid_client", 401, Kind::Unauthenticated, "has expired; make a new one"),
            (7_000_216, "invalid_client", 400, Kind::Unauthenticated, "neither a client secret nor an assertion"),
            (700_016, "unauthorized_client", 400, Kind::InvalidConfig, "`client_id` and `tenant`"),
            (90_002, "invalid_request", 400, Kind::InvalidConfig, "no such tenant"),
            (900_023, "invalid_request", 400, Kind::InvalidConfig, "no such tenant"),
            (700_027, "invalid_client", 401, Kind::Unauthenticated, "certificate is registered"),
            (700_024, "invalid_client", 401, Kind::Unauthenticated, "clock"),
            (70_021, "invalid_request", 400, Kind::Unauthenticated, "issuer, audience or subject"),
            (700_211, "invalid_client", 401, Kind::Unauthenticated, "issuer, audience or subject"),
            (700_212, "invalid_client", 401, Kind::Unauthenticated, "issuer, audience or subject"),
            (700_213, "invalid_client", 401, Kind::Unauthenticated, "issuer, audience or subject"),
            (500_011, "invalid_resource", 400, Kind::InvalidConfig, "does not know this audience"),
            (70_011, "invalid_scope", 400, Kind::InvalidConfig, "`/.default`"),
            (1_002_012, "invalid_scope", 400, Kind::InvalidConfig, "`/.default`"),
            (65_001, "invalid_grant", 400, Kind::Denied, "consent"),
            (50_076, "interaction_required", 400, Kind::Unauthenticated, "strongroom login"),
            (50_079, "invalid_grant", 400, Kind::Unauthenticated, "strongroom login"),
            (53_003, "interaction_required", 400, Kind::Unauthenticated, "conditional access"),
            (70_008, "invalid_grant", 400, Kind::Unauthenticated, "strongroom login"),
            (700_082, "invalid_grant", 400, Kind::Unauthenticated, "strongroom login"),
            (70_043, "invalid_grant", 400, Kind::Unauthenticated, "strongroom login"),
            (50_173, "invalid_grant", 400, Kind::Unauthenticated, "strongroom login"),
            (70_016, "authorization_pending", 400, Kind::Unauthenticated, "not signed in yet"),
            (90_033, "temporarily_unavailable", 503, Kind::Unavailable, "try again"),
            (90_006, "server_error", 400, Kind::Unavailable, "try again"),
            (50_196, "server_error", 400, Kind::Throttled, "again and again"),
        ] {
            let text = "Told to nobody.";
            let refused = refused(status, &body(error, number, text));
            let Failure { kind: found, code, message, retry_after_ms, attributes } = &*refused.failure;
            assert_eq!((*found, code.as_str()), (kind, format!("AADSTS{number}").as_str()));
            assert!(message.contains(words) && !message.contains(text), "{message}");
            assert!(
                message.contains("https://v/.default") && message.contains("(application app, tenant contoso.com)")
            );
            assert!(!message.ends_with('.') && *retry_after_ms == Some(7000));
            let names: Vec<&str> = attributes.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["error", "trace_id", "correlation_id", "timestamp"]);
            assert_eq!(refused.error, error);
        }
    }

    #[test]
    fn what_no_row_knows_is_told_in_entras_words() {
        let refused = refused(400, &body("invalid_request", 900_144, "The request body must contain 'client_id'."));
        assert_eq!((refused.failure.kind, refused.failure.code.as_str()), (Kind::InvalidConfig, "AADSTS900144"));
        assert!(
            refused.failure.message.contains("AADSTS900144: The request body must contain 'client_id'. (application")
        );
    }

    #[test]
    fn words_decide_where_there_is_no_number_and_the_status_where_there_is_no_word() {
        for (status, body, kind, code) in [
            (400, r#"{"error":"invalid_client"}"#, Kind::Unauthenticated, "invalid_client"),
            (400, r#"{"error":"access_denied"}"#, Kind::Denied, "access_denied"),
            (400, r#"{"error":"server_error"}"#, Kind::Unavailable, "server_error"),
            (400, r#"{"error":"invalid_scope"}"#, Kind::InvalidConfig, "invalid_scope"),
            (401, r#"{"error":"Something Else"}"#, Kind::Unauthenticated, "http.401"),
            (429, r#"{"error":"invalid_client"}"#, Kind::Throttled, "invalid_client"),
            (400, r#"{"error":"x","error_description":"AADSTS7000222: old"}"#, Kind::Unauthenticated, "AADSTS7000222"),
            (503, "<html>down</html>", Kind::Unavailable, "http.503"),
            (403, "", Kind::Denied, "http.403"),
            (302, "", Kind::Protocol, "http.302"),
            (400, r#"{"error":7}"#, Kind::Protocol, "http.400"),
        ] {
            let failure = refused(status, body).failure;
            assert_eq!((failure.kind, failure.code.as_str()), (kind, code), "{body}");
        }
        assert!(
            refused(502, "<h1>Bad\nGateway</h1>")
                .failure
                .message
                .contains("no JSON, as of a proxy: <h1>Bad Gateway</h1>")
        );
    }

    #[test]
    fn a_redirect_is_read_the_same_way() {
        let asked = Asked { client_id: "app".into(), tenant: "t".into(), scope: "s".into() };
        let told = |error, description| Refused::redirected(error, description, &asked).failure;
        assert_eq!(told("access_denied", "the user went away").kind, Kind::Denied);
        assert_eq!(told("x", "AADSTS65001: no consent").code, "AADSTS65001");
        assert_eq!(told("Odd!", "").code, "entra.redirect");
    }

    #[test]
    fn nothing_that_may_be_a_secret_is_told() {
        let secret = "Abc8Q~0123456789abcdefghijklmnopqrstuvwx";
        for (status, body) in [
            (400, body("invalid_request", 1, &format!("client_secret={secret} is odd"))),
            (400, body(secret, 1, "odd")),
            (400, format!(r#"{{"error":"x","suberror":"{secret} {secret}","trace_id":"{secret}{secret}"}}"#)),
            (400, format!("client_secret={secret}")),
        ] {
            let failure = refused(status, &body).failure;
            let told = format!("{} {} {:?}", failure.message, failure.code, failure.attributes);
            assert!(!told.contains(secret), "{told}");
        }
    }

    #[test]
    fn only_some_refusals_ask_for_a_person() {
        let asks = |error, number| refused(400, &body(error, number, "x")).asks_for_person();
        assert!(asks("invalid_grant", 700_082) && asks("interaction_required", 50_076) && asks("invalid_grant", 1));
        assert!(!asks("invalid_client", 7_000_215) && !asks("server_error", 90_006) && !asks("invalid_grant", 50_196));
        assert!(!refused(503, "").asks_for_person());
        let claims = refused(400, r#"{"error":"interaction_required","claims":"{\"access_token\":{}}"}"#).claims;
        assert_eq!(claims.as_deref(), Some(r#"{"access_token":{}}"#));
    }
}
