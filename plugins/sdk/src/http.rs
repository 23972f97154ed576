//! A small client for HTTP; the grant `http`.
//!
//! A request is made of parts, never of a printed URL: an origin, path segments, parameters. The
//! host decides on the same parts by the manifest's `[[http]]` rules, adds the credential after it
//! has said yes, follows no redirect and retries by itself. A plugin can neither set nor read what is
//! injected.
//!
//! ```no_run
//! use strongroom_plugin::http;
//! # #[derive(serde::Deserialize)] struct Answer {}
//! # fn main() -> Result<(), strongroom_plugin::Failure> {
//! let answer: Answer = http::get("https://vault.example.com")
//!     .path(["v1", "secret", "data", "db"])
//!     .query("version", Some("7"))
//!     .send()?
//!     .success()?
//!     .json()?;
//! # Ok(())
//! # }
//! ```
//!
//! Failures of the way have the codes `http.refused` (no rule allows it), `http.request` (it could
//! not be made), `http.dns`, `http.connect`, `http.timeout`, `http.tls`, `http.protocol`,
//! `http.too-large` and `http.internal`; those of a status `http.404` and the like ([`Response::success`]).

mod encode;
mod response;
mod send;

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

use crate::Failure;
pub use response::Response;

/// How much of an answer is read if [`Request::limit`] says nothing else, in bytes: a value may be
/// 1 MiB by the host's default, and an answer is a little more than its value.
pub const DEFAULT_LIMIT: usize = 2 * 1024 * 1024;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads; has no body.
    Get,
    /// Reads the headers; has no body.
    Head,
    /// Acts.
    Post,
    /// Sets.
    Put,
    /// Changes.
    Patch,
    /// Deletes.
    Delete,
}

impl Method {
    /// Its word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A GET to `origin`, such as `https://vault.example.com:8200`. See [`request`].
pub fn get(origin: &str) -> Request {
    request(Method::Get, origin)
}

/// A POST to `origin`. See [`request`].
pub fn post(origin: &str) -> Request {
    request(Method::Post, origin)
}

/// A PUT to `origin`. See [`request`].
pub fn put(origin: &str) -> Request {
    request(Method::Put, origin)
}

/// A PATCH to `origin`. See [`request`].
pub fn patch(origin: &str) -> Request {
    request(Method::Patch, origin)
}

/// A DELETE to `origin`. See [`request`].
pub fn delete(origin: &str) -> Request {
    request(Method::Delete, origin)
}

/// A request of `method` to `origin`: scheme, host and where it is not the scheme's own the port.
/// One final `/` is allowed. What is wrong with any part is said by [`Request::send`].
pub fn request(method: Method, origin: &str) -> Request {
    Request {
        method,
        origin: origin.strip_suffix('/').unwrap_or(origin).to_owned(),
        path: String::new(),
        query: String::new(),
        headers: Vec::new(),
        body: None,
        limit: DEFAULT_LIMIT,
        connect_timeout: None,
        answer_timeout: None,
        wrong: None,
    }
}

/// A request of `method` to a whole URL that the machine's environment names, for a rule with
/// `endpoint`. Its path and query are sent as they are; [`Request::query`] adds to the query that is
/// there. What is wrong with it is said by [`Request::send`].
pub fn endpoint(method: Method, url: &str) -> Request {
    let (rest, query) = url.split_once('?').map_or((url, ""), |(rest, query)| (rest, query));
    let after_scheme = rest.find("://").map_or(0, |at| at + 3);
    let path_at = rest.get(after_scheme..).and_then(|rest| rest.find('/')).map_or(rest.len(), |at| after_scheme + at);
    let (origin, path) = rest.split_at_checked(path_at).unwrap_or((rest, ""));
    let mut request = request(method, origin);
    path.clone_into(&mut request.path);
    if !query.is_empty() {
        request.query = format!("?{query}");
    }
    if url.contains('#') || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = "an address that the environment names has a fragment, a blank or a character beyond ASCII";
        request.fail(Failure::invalid_config("http.origin", message));
    }
    request
}

/// `text`, percent-encoded as [`Request::query`] does it: for an address that a person's browser opens.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::new();
    encode::segment(text, &mut encoded);
    encoded
}

/// A request that is being made.
#[derive(Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    method: Method,
    origin: String,
    /// Encoded, with a `/` before each segment.
    path: String,
    /// Encoded, with a `?` or `&` before each parameter.
    query: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
    limit: usize,
    connect_timeout: Option<Duration>,
    answer_timeout: Option<Duration>,
    /// The first thing that was wrong.
    wrong: Option<Failure>,
}

impl Request {
    /// Adds segments to the path, each percent-encoded: what RFC 3986 calls unreserved stays, every
    /// other byte becomes `%XX`. A segment that is `.` or `..` or holds a `/`, `\` or NUL is refused,
    /// since servers disagree about what it means; an empty one is only for the end, where it makes a
    /// final `/`.
    pub fn path<S: AsRef<str>>(mut self, segments: impl IntoIterator<Item = S>) -> Self {
        for segment in segments {
            let segment = segment.as_ref();
            if matches!(segment, "." | "..") || segment.contains(['/', '\\', '\0']) || self.path.ends_with('/') {
                let message = format!("`{segment}` cannot be a part of a path (empty, `.`, `..`, or with a slash)");
                self.fail(Failure::invalid_reference("http.path", message));
            }
            self.path.push('/');
            encode::segment(segment, &mut self.path);
        }
        self
    }

    /// Adds the parameter `name`, encoded like a segment, if there is a `value`: `"7"` or
    /// `Some("7")`; `None` adds nothing.
    pub fn query<'v>(mut self, name: &str, value: impl Into<Option<&'v str>>) -> Self {
        if let Some(value) = value.into() {
            self.query.push(if self.query.is_empty() { '?' } else { '&' });
            encode::pair(name, value, &mut self.query);
        }
        self
    }

    /// Adds the header `name` if there is a `value`. The host sends what the manifest's rule lists,
    /// besides `accept`, `content-type`, `if-match` and `if-none-match`; it adds the credential
    /// itself.
    pub fn header<'v>(mut self, name: &str, value: impl Into<Option<&'v str>>) -> Self {
        if let Some(value) = value.into() {
            self.headers.push((name.to_ascii_lowercase(), value.as_bytes().to_vec()));
        }
        self
    }

    /// Gives it a JSON body.
    pub fn json<T: Serialize + ?Sized>(mut self, body: &T) -> Self {
        match serde_json::to_vec(body) {
            Ok(bytes) => self.body("application/json", bytes),
            // Its words may hold a piece of the value.
            Err(_) => {
                self.fail(Failure::internal("http.request", "the body of a request could not be written as JSON"));
                self
            }
        }
    }

    /// Gives it a form as its body (`application/x-www-form-urlencoded`, blanks as `%20`).
    pub fn form<'f>(self, fields: impl IntoIterator<Item = (&'f str, &'f str)>) -> Self {
        let mut text = String::new();
        for (name, value) in fields {
            if !text.is_empty() {
                text.push('&');
            }
            encode::pair(name, value, &mut text);
        }
        self.body("application/x-www-form-urlencoded", text.into_bytes())
    }

    /// Gives it a body of that media type.
    pub fn body(mut self, content_type: &str, bytes: Vec<u8>) -> Self {
        self.headers.retain(|(name, _)| name != "content-type" && name != "content-length");
        self.headers.push(("content-type".into(), content_type.as_bytes().to_vec()));
        self.headers.push(("content-length".into(), bytes.len().to_string().into_bytes()));
        self.body = Some(bytes);
        self
    }

    /// Takes at most so many bytes of the answer; more is a failure. [`DEFAULT_LIMIT`] else.
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Gives up after `connect` without a connection, and after `answer` without the head of an
    /// answer, where the host would wait longer. The failure is `http.timeout`.
    pub fn timeouts(mut self, connect: Duration, answer: Duration) -> Self {
        (self.connect_timeout, self.answer_timeout) = (Some(connect), Some(answer));
        self
    }

    /// Sends it and waits for the whole answer, whatever its status.
    ///
    /// # Errors
    /// `http.request` or `http.path` if a part of it is wrong; `http.refused`, kind denied, if no
    /// rule allows it; else what stands at the top of this module.
    pub fn send(self) -> Result<Response, Failure> {
        send::send(self)
    }

    /// `GET https://host/path`, for messages. Parameters are left out: they may be long.
    fn shown(&self) -> String {
        format!("{} {}{}", self.method.as_str(), self.origin, self.target_path())
    }

    /// All of it, for [`testing`](crate::testing).
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn sent(&self) -> crate::testing::Sent {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        crate::testing::Sent {
            line: format!("{}{}", self.shown(), self.query),
            headers: self.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
            body: self.body.clone().unwrap_or_default(),
        }
    }

    fn target_path(&self) -> Cow<'_, str> {
        if self.path.is_empty() { Cow::Borrowed("/") } else { Cow::Borrowed(&self.path) }
    }

    /// Keeps the first thing that is wrong.
    fn fail(&mut self, failure: Failure) {
        self.wrong.get_or_insert(failure);
    }
}

/// Only what is asked for: headers and body may hold a secret.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Request").field(&self.shown()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn target(request: &Request) -> String {
        format!("{}{}", request.target_path(), request.query)
    }

    #[test]
    fn parts_are_encoded_and_absent_ones_left_out() {
        let request = get("https://h:8200/")
            .path(["v1", "a b", "ü?#%&+"])
            .path(vec![String::from("x~-._")])
            .query("version", None)
            .query("a&b", "c=d e")
            .query("list", Some("true"))
            .header("X-Absent", None);
        assert_eq!(target(&request), "/v1/a%20b/%C3%BC%3F%23%25%26%2B/x~-._?a%26b=c%3Dd%20e&list=true");
        assert_eq!(request.origin, "https://h:8200");
        assert!(request.headers.is_empty() && request.wrong.is_none());
        assert_eq!(target(&get("https://h")), "/");
        assert_eq!(target(&get("https://h").path(["v1", ""])), "/v1/");
    }

    #[test]
    fn an_endpoint_is_sent_as_it_is() {
        let split = |url| {
            let request = endpoint(Method::Get, url);
            (request.origin.clone(), target(&request))
        };
        let of = |origin: &str, target: &str| (origin.to_owned(), target.to_owned());
        assert_eq!(split("http://127.0.0.1:41741/msi/token"), of("http://127.0.0.1:41741", "/msi/token"));
        assert_eq!(split("http://localhost:40342"), of("http://localhost:40342", "/"));
        assert_eq!(split("http://h?x=1"), of("http://h", "/?x=1"));
        assert_eq!(
            split("https://h/5//idtoken/a%20b/?api-version=2.0"),
            of("https://h", "/5//idtoken/a%20b/?api-version=2.0")
        );
        let more = endpoint(Method::Get, "https://h/t?api-version=2.0").query("audience", "api://X");
        assert_eq!(target(&more), "/t?api-version=2.0&audience=api%3A%2F%2FX");
        assert_eq!(target(&endpoint(Method::Get, "https://h/t?").query("a", "b")), "/t?a=b");
        for url in ["https://h/t#x", "https://h/a b", "https://h/\u{e9}", "https://h/\n"] {
            assert_eq!(endpoint(Method::Get, url).wrong.unwrap().code, "http.origin", "{url:?}");
        }
        for url in ["", "h/t", "ftp://h/t", "https:///t"] {
            assert_eq!(endpoint(Method::Get, url).send().unwrap_err().code, "http.origin", "{url:?}");
        }
    }

    #[test]
    fn a_segment_that_means_two_things_is_refused() {
        for segment in [".", "..", "a/b", "a\\b", "a\0"] {
            let wrong = get("https://h").path(["v1", segment]).wrong.unwrap();
            assert_eq!((wrong.kind, wrong.code.as_str()), (Kind::InvalidReference, "http.path"), "{segment:?}");
        }
        assert!(get("https://h").path(["v1", "", "x"]).wrong.is_some());
        assert!(get("https://h").path(["..."]).wrong.is_none());
    }

    #[test]
    fn a_body_says_its_type_and_length_once() {
        let request = post("https://h").form([("a", "1")]).form([("grant", "x y"), ("b", "&")]);
        assert_eq!(request.body.as_deref(), Some(&b"grant=x%20y&b=%26"[..]));
        assert_eq!(
            request.headers,
            [
                ("content-type".to_owned(), b"application/x-www-form-urlencoded".to_vec()),
                ("content-length".to_owned(), b"17".to_vec()),
            ]
        );
    }

    #[test]
    fn debug_shows_neither_headers_nor_body() {
        let request = post("https://h").path(["p"]).query("q", "s3cret").header("x-k", "s3cret").json("s3cret");
        assert_eq!(format!("{request:?}"), "Request(\"POST https://h/p\")");
    }
}
