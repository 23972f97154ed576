//! The command line's way to the user's own server: the native door over its Unix socket.
//!
//! Nothing is said to a server that does not run as this very user: whoever can put a socket at that path could
//! otherwise answer with values of its own, or be handed one.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, json};
use strongroom::elsewhere::{Basis, Change, Elsewhere};
use strongroom::{Failure, Kind, Receipt, Reference, Secret, Text, Value};
use strongroom_core::Name;
use strongroom_core::secret::Metadata;
use tokio::net::UnixStream;
use zeroize::Zeroizing;

/// How long a server may take to say what it is. One that hangs must not hang what asks it.
const GREETING: Duration = Duration::from_secs(2);

/// The largest answer, in bytes: as many values as one request may name, each in base64.
const MAX_ANSWER: usize = 256 << 20;

/// The user's own server.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

#[derive(Deserialize)]
struct Results<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

/// A secret as the native door writes it.
#[derive(Deserialize)]
struct Told {
    value: Option<Zeroizing<String>>,
    value_base64: Option<Zeroizing<String>>,
    version: Option<String>,
    content_type: Option<String>,
    expires_at: Option<u64>,
    #[serde(default)]
    attributes: Map<String, serde_json::Value>,
    #[serde(default)]
    stale: bool,
    failure: Option<Failed>,
}

/// A failure as the native door writes it.
#[derive(Deserialize)]
struct Failed {
    kind: String,
    code: String,
    message: String,
    #[serde(default)]
    help: Vec<String>,
    retry_after_ms: Option<u32>,
    mount: Option<String>,
    plugin: Option<String>,
    reference: Option<String>,
    #[serde(default)]
    attributes: Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Refused {
    failure: Failed,
}

#[derive(Serialize)]
struct NewValue<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<Zeroizing<String>>,
    attributes: Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'a str>,
}

impl Failed {
    fn into_failure(self) -> Failure {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == self.kind).unwrap_or(Kind::Internal);
        let mut failure = Failure::from_guest(kind, &self.code, &self.message).retry_after_ms(self.retry_after_ms);
        for help in self.help {
            failure = failure.help(Text::new(help));
        }
        if let Some(mount) = self.mount.and_then(|mount| Name::parse(&mount).ok()) {
            failure = failure.on_mount(&mount);
        }
        if let Some(plugin) = self.plugin {
            failure = failure.by_plugin(plugin);
        }
        for (key, value) in attributes(self.attributes) {
            failure = failure.attribute(key, value);
        }
        match self.reference {
            Some(reference) => failure.about(Text::new(reference)),
            None => failure,
        }
    }
}

fn attributes(all: Map<String, serde_json::Value>) -> Vec<(Text, Text)> {
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    all.into_iter().map(|(key, value)| (Text::new(key), Text::new(text(value)))).collect()
}

fn object(all: &[(String, String)]) -> Map<String, serde_json::Value> {
    all.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect()
}

fn broken() -> Failure {
    Failure::new(Kind::Protocol, "server.answer", "the server's answer cannot be understood")
        .help("it may be of another version; restart it, or leave it out: --server never")
}

impl Told {
    fn into_secret(self) -> Result<Secret, Failure> {
        if let Some(failure) = self.failure {
            return Err(failure.into_failure());
        }
        let value = match (self.value, self.value_base64) {
            (Some(mut text), None) => Value::text(std::mem::take(&mut *text)),
            (None, Some(encoded)) => {
                Value::Binary(Zeroizing::new(STANDARD.decode(encoded.as_bytes()).map_err(|_| broken())?))
            }
            _ => return Err(broken()),
        };
        let mut attributes = attributes(self.attributes);
        if self.stale {
            attributes.push((Text::new(strongroom::STALE), Text::new("true")));
        }
        let metadata = Metadata {
            version: self.version.map(Text::new),
            content_type: self.content_type.map(Text::new),
            expires_at: self.expires_at,
            max_age_ms: None,
            attributes,
        };
        Ok(Secret::new(value, metadata))
    }
}

impl Client {
    /// The server at `socket`, if there is one that runs as this user.
    pub fn at(socket: PathBuf) -> Option<Self> {
        let about = std::fs::symlink_metadata(&socket).ok()?;
        (about.uid() == rustix::process::geteuid().as_raw()).then_some(Self { socket })
    }

    /// A connection to a server of this user.
    async fn connect(&self) -> Option<SendRequest<Full<Bytes>>> {
        let stream = UnixStream::connect(&self.socket).await.ok()?;
        // Whose process listens, not whose file it is.
        if stream.peer_cred().ok()?.uid() != rustix::process::geteuid().as_raw() {
            return None;
        }
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        // It ends when the sender is dropped.
        tokio::spawn(connection);
        Some(sender)
    }
}

type Answer = (StatusCode, Zeroizing<Vec<u8>>);

/// One request; `None` if no answer came.
async fn ask(mut sender: SendRequest<Full<Bytes>>, method: Method, target: &str, body: Vec<u8>) -> Option<Answer> {
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .ok()?;
    let response = sender.send_request(request).await.ok()?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.ok()?.to_bytes();
    Some((status, Zeroizing::new(body.to_vec())))
}

fn target(path: &str, reference: &Reference) -> String {
    format!("/api/v1/{path}?reference={}", utf8_percent_encode(&reference.to_string(), NON_ALPHANUMERIC))
}

#[async_trait]
impl Elsewhere for Client {
    async fn basis(&self) -> Option<Basis> {
        let asked = async { ask(self.connect().await?, Method::GET, "/api/v1/server", Vec::new()).await };
        let (status, body) = tokio::time::timeout(GREETING, asked).await.ok()??;
        serde_json::from_slice(&body).ok().filter(|_| status == StatusCode::OK)
    }

    async fn resolve(&self, references: &[Reference]) -> Option<Vec<Result<Secret, Failure>>> {
        let texts: Vec<String> = references.iter().map(ToString::to_string).collect();
        let body = serde_json::to_vec(&json!({ "references": texts })).ok()?;
        let (status, body) = ask(self.connect().await?, Method::POST, "/api/v1/resolve", body).await?;
        if status != StatusCode::OK {
            return None;
        }
        let results: Results<'_> = serde_json::from_slice(&body).ok()?;
        let read = |raw: &&RawValue| serde_json::from_str::<Told>(raw.get()).map_err(|_| broken())?.into_secret();
        Some(results.results.iter().map(read).collect())
    }

    async fn change(&self, reference: &Reference, change: Change<'_>) -> Option<Result<Receipt, Failure>> {
        let (method, path, body) = match change {
            Change::Set { value, attributes, expected } => {
                let text = value.expose_text();
                let new = NewValue {
                    value: text,
                    value_base64: text.is_none().then(|| Zeroizing::new(STANDARD.encode(value.expose()))),
                    attributes: object(attributes),
                    expected,
                };
                (Method::PUT, "secret", serde_json::to_vec(&new).ok()?)
            }
            Change::Annotate { attributes } => {
                let body = serde_json::to_vec(&json!({ "attributes": object(attributes) })).ok()?;
                (Method::PATCH, "secret", body)
            }
            Change::Delete => (Method::DELETE, "secret", Vec::new()),
            Change::Recover => (Method::POST, "recover", Vec::new()),
            Change::Purge => (Method::POST, "purge", Vec::new()),
        };
        // Nobody knows what became of a change whose answer is lost, so it is not made twice.
        let sender = self.connect().await?;
        let Some((status, body)) = ask(sender, method, &target(path, reference), body).await else {
            let message = "the server broke off: whether the change was made is not known";
            return Some(Err(Failure::new(Kind::Unavailable, "server.lost", message)));
        };
        if status != StatusCode::OK {
            let told = serde_json::from_slice::<Refused>(&body);
            return Some(Err(told.map_or_else(|_| broken(), |refused| refused.failure.into_failure())));
        }
        #[derive(Deserialize)]
        struct Done {
            version: Option<String>,
            #[serde(default)]
            attributes: Map<String, serde_json::Value>,
        }
        let done = serde_json::from_slice::<Done>(&body).map_err(|_| broken());
        Some(done.map(|done| Receipt { version: done.version.map(Text::new), attributes: attributes(done.attributes) }))
    }
}
