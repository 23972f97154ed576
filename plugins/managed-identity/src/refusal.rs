//! What it means when a source gives no token.

use serde::Deserialize;
use strongroom_entra::shown::shown;
use strongroom_plugin::http::Response;
use strongroom_plugin::{Failure, Kind};

use crate::call::Selector;
use crate::source::Source;

/// How long an upgrade of the metadata service may take, in milliseconds.
const UPGRADE_MS: u32 = 70_000;

/// How long until an identity that is being changed is there again, in milliseconds.
const UPDATE_MS: u32 = 5_000;

/// The error documents of all the sources in one; each has some of it.
#[derive(Deserialize, Default)]
struct Document {
    #[serde(default)]
    error: ErrorField,
    #[serde(default)]
    error_description: String,
    #[serde(default)]
    message: String,
    #[serde(default, rename = "ExceptionMessage")]
    exception: String,
}

/// A word, or an object with `code` and `message`.
#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorField {
    Word(String),
    Object {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    },
}

impl Default for ErrorField {
    fn default() -> Self {
        Self::Word(String::new())
    }
}

/// There was no answer at all. Where nobody said that there is a metadata service, its silence means
/// that there is none.
pub fn silent(source: &Source, auto: bool, failure: Failure) -> Failure {
    let silent = matches!(failure.code.as_str(), "http.timeout" | "http.connect" | "http.dns");
    if *source == Source::Imds && auto && silent {
        let message =
            "this machine has no managed identity: no identity endpoint is set, and no metadata service answers";
        return Failure::not_configured("managed-identity.none", message);
    }
    failure
}

/// What an answer means that is no success.
pub fn read(source: &Source, auto: bool, selector: Option<Selector<'_>>, response: &Response) -> Failure {
    let document: Document = serde_json::from_slice(response.body()).unwrap_or_default();
    let (word, text) = words(&document);
    let by_status = response.failure();
    let status = response.status();
    let said = match shown(text) {
        text if text.is_empty() => shown(word),
        text => text,
    };
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    let told = |kind, code: &str, why: &str| {
        let message = format!("{} gave no token ({status}{said}); {why}", source.name());
        Failure { kind, code: code.into(), message, ..by_status.clone() }
    };
    if text.contains("AADSTS500011") || text.contains("AADSTS50001") || word == "invalid_resource" {
        let why = "Entra ID does not know this audience in the identity's tenant; check the audience";
        return told(Kind::InvalidConfig, "managed-identity.audience", why);
    }
    match (source, status) {
        (Source::Imds, 400) => imds_400(word, text, auto, selector, &told),
        (Source::Imds, 401) if word == "unknown_source" => told(
            Kind::Internal,
            "managed-identity.request",
            "the request's path was not understood; please report this",
        ),
        (Source::Imds, 403) if contains(response.body(), b"unreachable") => {
            let kind = if auto { Kind::NotConfigured } else { Kind::Unavailable };
            told(
                kind,
                "managed-identity.none",
                "a container's proxy answers in place of a metadata service, and there is none",
            )
        }
        (_, 410) => told(Kind::Unavailable, "managed-identity.upgrading", "it is being upgraded, for up to 70 seconds")
            .retry_after_ms(by_status.retry_after_ms.unwrap_or(UPGRADE_MS)),
        (_, 404) => told(
            Kind::Unavailable,
            "managed-identity.updating",
            "the identity is being updated, or is not on this machine; try again in a moment",
        )
        .retry_after_ms(by_status.retry_after_ms.unwrap_or(UPDATE_MS)),
        (_, 429) => told(Kind::Throttled, "managed-identity.throttled", "it asks for fewer requests"),
        (Source::Arc(_), 401 | 403) => told(
            Kind::Denied,
            "managed-identity.refused",
            "it did not accept the proof of being on this machine; the user who runs this has to be in the group `himds`",
        ),
        (_, 401 | 403) => told(
            by_status.kind,
            "managed-identity.refused",
            "it did not accept the header that proves the caller; where it was renewed, start again",
        ),
        (_, 400) => told(
            Kind::InvalidConfig,
            "managed-identity.not-found",
            "check that the identity is assigned here, and that the audience is right",
        ),
        (Source::AppService(_), 500) => told(
            Kind::Unavailable,
            "managed-identity.failed",
            "it says so to a passing fault, and to an audience that it does not know",
        ),
        (_, 408 | 500..=599) => told(Kind::Unavailable, "managed-identity.failed", "try again in a moment"),
        _ => told(by_status.kind, "managed-identity.answer", "that was not expected"),
    }
}

/// The metadata service's own 400s. The words decide where its code says nothing.
fn imds_400(
    word: &str,
    text: &str,
    auto: bool,
    selector: Option<Selector<'_>>,
    told: &dyn Fn(Kind, &str, &str) -> Failure,
) -> Failure {
    match word {
        "bad_request_102" => {
            told(Kind::Internal, "managed-identity.request", "the request lacked its header; please report this")
        }
        _ if text.contains("Identity not found") => match selector {
            // It was named, so it is set up, and wrong.
            Some(_) => told(
                Kind::InvalidConfig,
                "managed-identity.not-found",
                "the identity that the credential names is not assigned to this machine",
            ),
            None => {
                let kind = if auto { Kind::NotConfigured } else { Kind::Unavailable };
                told(
                    kind,
                    "managed-identity.none",
                    "no identity is assigned to this machine; assign one, or use another credential",
                )
            }
        },
        _ if text.contains("Multiple user assigned identities") => told(
            Kind::InvalidConfig,
            "managed-identity.ambiguous",
            "this machine has several identities; name one by `client_id`, `object_id` or `resource_id` in the credential's config",
        ),
        _ => told(Kind::InvalidConfig, "managed-identity.request", "check the identity and the audience"),
    }
}

/// The code and the text of an error document.
fn words(document: &Document) -> (&str, &str) {
    let (word, inner) = match &document.error {
        ErrorField::Word(word) => (word.as_str(), ""),
        ErrorField::Object { code, message } => (code.as_str(), message.as_str()),
    };
    let texts = [document.error_description.as_str(), &document.message, inner, &document.exception];
    (word, texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default())
}

fn contains(body: &[u8], word: &[u8]) -> bool {
    body.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMED: Option<Selector<'static>> = Some(Selector::Client("c"));

    fn refused(source: &Source, auto: bool, selector: Option<Selector<'_>>, status: u16, body: &str) -> Failure {
        read(source, auto, selector, &Response::new(status, [("content-type", "application/json")], body))
    }

    #[test]
    fn every_row_of_the_metadata_service() {
        let not_found = r#"{"error":"invalid_request","error_description":"Identity not found"}"#;
        let multiple = r#"{"error":"invalid_request","error_description":"Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request"}"#;
        let audience = r#"{"error":"invalid_resource","error_description":"AADSTS500011: The resource principal named x was not found"}"#;
        let old_audience =
            r#"{"error":"invalid_request","error_description":"AADSTS50001: The application named x was not found"}"#;
        let header = r#"{"error":"bad_request_102","error_description":"Required metadata header not specified"}"#;
        let proxy =
            "connecting to 169.254.169.254:80: dial tcp: A socket operation was attempted to an unreachable network.";
        for (auto, selector, status, body, kind, code, wait) in [
            (true, None, 400, not_found, Kind::NotConfigured, "managed-identity.none", None),
            (false, None, 400, not_found, Kind::Unavailable, "managed-identity.none", None),
            (true, NAMED, 400, not_found, Kind::InvalidConfig, "managed-identity.not-found", None),
            (true, None, 400, multiple, Kind::InvalidConfig, "managed-identity.ambiguous", None),
            (true, None, 400, header, Kind::Internal, "managed-identity.request", None),
            (true, None, 400, audience, Kind::InvalidConfig, "managed-identity.audience", None),
            (true, None, 400, old_audience, Kind::InvalidConfig, "managed-identity.audience", None),
            (true, None, 400, "{}", Kind::InvalidConfig, "managed-identity.request", None),
            (true, None, 401, r#"{"error":"unknown_source"}"#, Kind::Internal, "managed-identity.request", None),
            (true, None, 401, "", Kind::Unauthenticated, "managed-identity.refused", None),
            (true, None, 403, proxy, Kind::NotConfigured, "managed-identity.none", None),
            (false, None, 403, proxy, Kind::Unavailable, "managed-identity.none", None),
            (true, None, 403, "", Kind::Denied, "managed-identity.refused", None),
            (true, None, 404, "", Kind::Unavailable, "managed-identity.updating", Some(UPDATE_MS)),
            (true, None, 410, "", Kind::Unavailable, "managed-identity.upgrading", Some(UPGRADE_MS)),
            (true, None, 429, "", Kind::Throttled, "managed-identity.throttled", None),
            (true, None, 500, r#"{"error":"unknown"}"#, Kind::Unavailable, "managed-identity.failed", None),
            (true, None, 503, "<html>", Kind::Unavailable, "managed-identity.failed", None),
            (true, None, 302, "", Kind::Protocol, "managed-identity.answer", None),
        ] {
            let failure = refused(&Source::Imds, auto, selector, status, body);
            assert_eq!((failure.kind, failure.code.as_str()), (kind, code), "{status} {body}");
            assert_eq!(failure.retry_after_ms, wait, "{status} {body}");
            assert!(
                failure.message.starts_with("the instance metadata service gave no token (")
                    && !failure.message.ends_with('.')
            );
        }
    }

    #[test]
    fn the_other_sources_are_never_not_configured() {
        let e = || "http://e".to_owned();
        let wrong = r#"{"statusCode":400,"message":"No User Assigned or Delegated Managed Identity found"}"#;
        let vague = r#"{"statusCode":500,"message":"An unexpected error occurred"}"#;
        let fabric = r#"{"error":{"code":"ManagedIdentityNotFound","message":"gone"}}"#;
        for (source, status, body, kind, words) in [
            (Source::AppService(e()), 400, wrong, Kind::InvalidConfig, "No User Assigned"),
            (Source::AppService(e()), 500, vague, Kind::Unavailable, "audience that it does not know"),
            (Source::AppService(e()), 401, "", Kind::Unauthenticated, "header that proves the caller"),
            (Source::AppService(e()), 404, fabric, Kind::Unavailable, "gone"),
            (Source::AzureMl(e()), 500, r#"{"ExceptionMessage":"odd"}"#, Kind::Unavailable, "odd"),
            (Source::AzureMl(e()), 403, "", Kind::Denied, "header that proves the caller"),
            (Source::Arc(e()), 401, "", Kind::Denied, "himds"),
            (Source::CloudShell(e()), 400, "", Kind::InvalidConfig, "identity endpoint of Cloud Shell"),
        ] {
            for auto in [true, false] {
                let failure = refused(&source, auto, None, status, body);
                assert_eq!(failure.kind, kind, "{source:?} {status}");
                assert!(failure.message.contains(words), "{}", failure.message);
            }
        }
    }

    #[test]
    fn only_a_metadata_service_that_nobody_named_may_be_silent() {
        for code in ["http.timeout", "http.connect", "http.dns"] {
            let failure = || Failure::unavailable(code, "no answer");
            let found = silent(&Source::Imds, true, failure());
            assert_eq!((found.kind, found.code.as_str()), (Kind::NotConfigured, "managed-identity.none"));
            assert_eq!(silent(&Source::Imds, false, failure()), failure());
            assert_eq!(silent(&Source::AppService("http://e".into()), true, failure()), failure());
        }
        let refused = Failure::denied("http.refused", "no rule");
        assert_eq!(silent(&Source::Imds, true, refused.clone()), refused);
    }

    #[test]
    fn no_secret_of_a_body_is_told() {
        let secret = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL3YifQ.c2lnbmF0dXJl";
        for body in [format!(r#"{{"message":"{secret}"}}"#), format!(r#"{{"error":"{secret}"}}"#), secret.to_owned()] {
            for status in [400, 401, 403, 404, 500] {
                assert!(!refused(&Source::Imds, true, None, status, &body).message.contains(secret));
            }
        }
    }
}
