//! Answers, and what a status means.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::{Failure, Kind};

/// An answer: its status, the headers that the host lets through, and its whole body.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    /// What was asked, for messages.
    asked: String,
}

impl Response {
    /// An answer as [`Request::send`](super::Request::send) gives it; for tests.
    pub fn new<'h>(
        status: u16,
        headers: impl IntoIterator<Item = (&'h str, &'h str)>,
        body: impl Into<Vec<u8>>,
    ) -> Self {
        let headers = headers.into_iter().map(|(n, v)| (n.to_ascii_lowercase(), v.as_bytes().to_vec())).collect();
        Self::received("the request".into(), status, headers, body.into())
    }

    pub(super) fn received(asked: String, status: u16, headers: Vec<(String, Vec<u8>)>, body: Vec<u8>) -> Self {
        Self { status, headers, body, asked }
    }

    /// The same, as the answer to what was `asked`.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn to(self, asked: String) -> Self {
        Self { asked, ..self }
    }

    /// The status, such as 404.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The header `name`, whatever its case, if there is one and it is text. The host lets through
    /// `content-type`, `content-length`, `retry-after`, `etag`, `date` and what the rule lists.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name))?;
        str::from_utf8(value).ok()
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body, by value.
    #[must_use]
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// The body as text.
    ///
    /// # Errors
    /// `http.protocol` if it is not UTF-8.
    pub fn into_text(self) -> Result<String, Failure> {
        String::from_utf8(self.body)
            .map_err(|_| Failure::protocol("http.protocol", format!("the answer to {} is not UTF-8", self.asked)))
    }

    /// The body, which is JSON, as `T`.
    ///
    /// # Errors
    /// `http.json`, kind protocol. It says where, but not what stands there: that may be the secret.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = match error.classify() {
                serde_json::error::Category::Data => "does not have the form that was expected",
                serde_json::error::Category::Eof => "ends too early",
                _ => "is not JSON",
            };
            let (line, column) = (error.line(), error.column());
            let message = format!("the answer to {} {what}, at line {line}, column {column}", self.asked);
            Failure::protocol("http.json", message)
        })
    }

    /// The answer if its status is a success (2xx).
    ///
    /// # Errors
    /// [`Response::failure`].
    pub fn success(self) -> Result<Self, Failure> {
        if (200..=299).contains(&self.status) { Ok(self) } else { Err(self.failure()) }
    }

    /// What its status means: 401 unauthenticated, 403 denied, 404 and 410 not-found, 409 and 412
    /// conflict, 405 and 501 unsupported, 429 throttled, 408 and other 5xx unavailable, everything
    /// else protocol. The code is `http.404` and so on; `retry-after`, if it is a number of seconds, is
    /// kept. The body is not looked at.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let (kind, what) = match self.status {
            401 => (Kind::Unauthenticated, "the credential is missing or not valid"),
            403 => (Kind::Denied, "the credential may not do this"),
            404 | 410 => (Kind::NotFound, "there is no such thing"),
            409 | 412 => (Kind::Conflict, "something else is there now"),
            405 | 501 => (Kind::Unsupported, "the server cannot do this"),
            429 => (Kind::Throttled, "too many requests"),
            408 | 500..=599 => (Kind::Unavailable, "the server could not answer"),
            300..=399 => (Kind::Protocol, "the server points elsewhere, and redirects are not followed"),
            _ => (Kind::Protocol, "that was not expected"),
        };
        let message = format!("{} was answered {}: {what}", self.asked, self.status);
        let failure = Failure::new(kind, format!("http.{}", self.status), message);
        match self.header("retry-after").and_then(|text| text.trim().parse::<u32>().ok()) {
            Some(seconds) => failure.retry_after_ms(seconds.saturating_mul(1000)),
            None => failure,
        }
    }
}

/// Without headers and body: they may hold a secret.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.status).field("bytes", &self.body.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_mean_what_the_contract_knows() {
        let kind = |status| Response::new(status, [], "").success().map(|_| ()).map_err(|failure| failure.kind);
        for status in [200, 201, 204, 299] {
            assert_eq!(kind(status), Ok(()));
        }
        for (status, expected) in [
            (302, Kind::Protocol),
            (400, Kind::Protocol),
            (401, Kind::Unauthenticated),
            (403, Kind::Denied),
            (404, Kind::NotFound),
            (405, Kind::Unsupported),
            (408, Kind::Unavailable),
            (409, Kind::Conflict),
            (410, Kind::NotFound),
            (412, Kind::Conflict),
            (429, Kind::Throttled),
            (500, Kind::Unavailable),
            (501, Kind::Unsupported),
            (503, Kind::Unavailable),
        ] {
            assert_eq!(kind(status), Err(expected), "{status}");
        }
    }

    #[test]
    fn retry_after_is_kept_if_it_is_seconds() {
        let after = |text| Response::new(429, [("Retry-After", text)], "").failure().retry_after_ms;
        assert_eq!(after("3"), Some(3000));
        assert_eq!(after("99999999"), Some(u32::MAX));
        assert_eq!(after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(after("-1"), None);
    }

    #[test]
    fn what_is_wrong_with_json_never_quotes_it() {
        for body in [r#""s3cret""#, r#"{"a": "s3cret"}"#, "s3cret", r#"{"a": s3cret"#, r#"{"a": 1, "s3cret": 2}"#] {
            #[derive(serde::Deserialize, Debug)]
            #[serde(deny_unknown_fields)]
            struct Form {
                #[allow(dead_code)]
                a: u8,
            }
            let response = Response::new(200, [], body);
            let failure = response.json::<Form>().unwrap_err();
            assert_eq!((failure.kind, failure.code.as_str()), (Kind::Protocol, "http.json"));
            assert!(!format!("{failure:?}{response:?}").contains("s3cret"), "{failure:?}");
        }
    }
}
