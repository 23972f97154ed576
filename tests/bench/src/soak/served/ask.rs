//! One client and its connection, and what the native door answers it.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};
use strongroom::Kind;
use tokio::net::UnixStream;

use super::program::Program;
use crate::http;

/// How a client comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As the server's own user.
    Unix,
    /// With a token, over TLS.
    Tls,
}

/// What came of a reference.
#[derive(Debug)]
pub enum Answer {
    /// Its value.
    Value(String),
    /// No value: kind, code, and all of it in words.
    Failed(Kind, String, String),
}

/// A client.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    authorization: Option<String>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens.
    pub async fn connect(program: &Program, way: Way) -> Result<Self> {
        let sender = match way {
            Way::Tls => http::connect_tls(program.address, "localhost", &program.authority).await?,
            Way::Unix => {
                let (sender, connection) = handshake(TokioIo::new(UnixStream::connect(&program.socket).await?)).await?;
                tokio::spawn(connection);
                sender
            }
        };
        Ok(Self { sender, authorization: (way == Way::Tls).then(|| format!("Bearer {}", program.token)) })
    }

    /// The status and the document of an answer.
    ///
    /// # Errors
    /// If there is none: the connection ended, or it is no JSON.
    pub async fn ask(&mut self, method: &str, target: &str, body: Option<&Json>) -> Result<(u16, Json)> {
        let mut request = Request::builder().method(method).uri(target).header("host", "localhost");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map(Json::to_string).unwrap_or_default();
        self.sender.ready().await.context("the connection")?;
        let answer = self.sender.send_request(request.body(Full::from(body))?).await.context("the request")?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.context("the answer")?.to_bytes();
        Ok((status, serde_json::from_slice(&body).with_context(|| format!("the JSON of a {status}"))?))
    }

    /// One secret.
    ///
    /// # Errors
    /// If there is no answer, or one that the door has not.
    pub async fn get(&mut self, reference: &str) -> Result<Answer> {
        self.about("GET", reference, None).await
    }

    /// Does something with one secret. What has no value is an empty one.
    ///
    /// # Errors
    /// If there is no answer, or one that the door has not.
    pub async fn about(&mut self, method: &str, reference: &str, body: Option<&Json>) -> Result<Answer> {
        let (status, answer) = self.ask(method, &target(reference), body).await?;
        match (status, answer.get("failure")) {
            (200, None) => Ok(Answer::Value(value(&answer))),
            (400..600, Some(failure)) => failed(failure),
            _ => bail!("{status} with {answer}"),
        }
    }

    /// Many at once, in order.
    ///
    /// # Errors
    /// If there is no answer, or one that the door has not.
    pub async fn many(&mut self, references: &[String]) -> Result<Vec<Answer>> {
        let (status, answer) = self.ask("POST", "/api/v1/resolve", Some(&json!({ "references": references }))).await?;
        let all = answer.get("results").and_then(Json::as_array);
        let all = all.with_context(|| format!("{status} with {answer}"))?;
        all.iter().map(|one| one.get("failure").map_or_else(|| Ok(Answer::Value(value(one))), failed)).collect()
    }
}

fn value(answer: &Json) -> String {
    answer.get("value").and_then(Json::as_str).unwrap_or_default().to_owned()
}

fn failed(failure: &Json) -> Result<Answer> {
    let text = |key: &str| failure.get(key).and_then(Json::as_str).unwrap_or_default();
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == text("kind"));
    Ok(Answer::Failed(kind.with_context(|| failure.to_string())?, text("code").to_owned(), failure.to_string()))
}

/// Where one secret is.
pub fn target(reference: &str) -> String {
    let mut target = "/api/v1/secret?reference=".to_owned();
    encode(&mut target, reference);
    target
}

/// Percent-encodes whatever is no letter and no digit.
pub fn encode(into: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() {
            true => into.push(byte.into()),
            false => {
                // Nothing can go wrong in memory.
                let _ = write!(into, "%{byte:02X}");
            }
        }
    }
}
