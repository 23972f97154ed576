//! A client that takes every answer as it is: no retry, no redirect, a connection each.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode, Version};
use fake_azure::{Fake, Options, defaults};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub const VAULT: &str = "https://mykeyvault.vault.azure.net";
pub const ARM: &str = "https://management.azure.com";
pub const LOGIN: &str = "https://login.microsoftonline.com";

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Got {
    pub status: u16,
    pub version: Version,
    headers: axum::http::HeaderMap,
    pub body: Bytes,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The code of an error, and the inner one.
    pub fn code(&self) -> String {
        let body = self.json();
        let error = &body["error"];
        match error["innererror"]["code"].as_str() {
            Some(inner) => format!("{}/{inner}", error["code"].as_str().unwrap()),
            None => error["code"].as_str().or(error.as_str()).unwrap().to_owned(),
        }
    }
}

/// A fake and a client of it.
pub struct World {
    pub fake: Fake,
    runtime: tokio::runtime::Runtime,
    http2: bool,
}

impl World {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { fake: Fake::start(Options::default()).unwrap(), runtime, http2: false }
    }

    /// Names are asked over HTTP/2.
    pub fn over_http2() -> Self {
        Self { http2: true, ..Self::new() }
    }

    pub fn control(&self, method: &str, path: &str, body: Value) -> Value {
        self.fake.control(method, &format!("/control{path}"), body).unwrap()
    }

    pub fn fault(&self, fault: Value) {
        self.control("POST", "/faults", fault);
    }

    pub fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.fake.folder().join(name)).unwrap()
    }

    /// Asks; an error is what the connection ended with.
    pub fn try_ask(&self, method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Got, String> {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let name = headers.iter().find(|(name, _)| *name == "host").map_or(host, |(_, value)| value);
        let uri = format!("{scheme}://{name}/{path}");
        let request = request.uri(uri).body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let secure = scheme == "https";
        let port = if secure { self.fake.https_port() } else { self.fake.http_port() };
        let ca = self.fake.ca_file();
        let http2 = self.http2;
        self.runtime.block_on(async move {
            let answered = async {
                let stream =
                    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| error.to_string())?;
                if !secure {
                    return exchange(stream, request, false).await;
                }
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
                let mut config =
                    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                        .with_safe_default_protocol_versions()
                        .unwrap()
                        .with_root_certificates(roots)
                        .with_no_client_auth();
                config.alpn_protocols = if http2 { vec![b"h2".to_vec()] } else { Vec::new() };
                let server = ServerName::try_from(host.to_owned()).unwrap();
                let stream = TlsConnector::from(Arc::new(config)).connect(server, stream).await;
                exchange(stream.map_err(|error| error.to_string())?, request, http2).await
            };
            // A hang is a failure, not a wait.
            tokio::time::timeout(Duration::from_secs(30), answered).await.unwrap()
        })
    }

    pub fn ask(&self, method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Got {
        self.try_ask(method, url, headers, body).unwrap()
    }

    pub fn get(&self, url: &str, token: &str) -> Got {
        self.ask("GET", url, &[("authorization", &format!("Bearer {token}"))], b"")
    }

    pub fn send(&self, method: &str, url: &str, token: &str, body: Value) -> Got {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let authorization = format!("Bearer {token}");
        self.ask(
            method,
            url,
            &[("authorization", &authorization), ("content-type", "application/json")],
            body.as_bytes(),
        )
    }

    /// A form to an endpoint of the tenant.
    pub fn form(&self, endpoint: &str, fields: &[(&str, &str)]) -> Got {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let url = format!("{LOGIN}/{}/oauth2/v2.0/{endpoint}", defaults::TENANT);
        self.ask("POST", &url, &[("content-type", "application/x-www-form-urlencoded")], body.as_bytes())
    }

    /// A token of the service principal's.
    pub fn token(&self, scope: &str) -> String {
        self.token_of(defaults::CLIENT, "client-secret", scope)
    }

    pub fn token_of(&self, client: &str, file: &str, scope: &str) -> String {
        let secret = self.file(file);
        let got = self.form(
            "token",
            &[
                ("client_id", client),
                ("client_secret", &secret),
                ("grant_type", "client_credentials"),
                ("scope", scope),
            ],
        );
        got.json()["access_token"].as_str().unwrap_or_else(|| panic!("{}", got.text())).to_owned()
    }

    pub fn vault_token(&self) -> String {
        self.token("https://vault.azure.net/.default")
    }

    pub fn arm_token(&self) -> String {
        self.token("https://management.azure.com/.default")
    }

    pub fn requests(&self, service: &str) -> Vec<Value> {
        self.control("GET", &format!("/requests?service={service}"), json!(null)).as_array().unwrap().clone()
    }
}

/// A secret of the first vault.
pub fn secret(path: &str) -> String {
    format!("{VAULT}/{path}?api-version=7.4")
}

/// A path of the workspace.
pub fn workspace(path: &str) -> String {
    format!(
        "{ARM}/subscriptions/{}/resourceGroups/{}/providers/Microsoft.MachineLearningServices/workspaces/{}{path}",
        defaults::SUBSCRIPTION,
        defaults::RESOURCE_GROUP,
        defaults::WORKSPACE
    )
}

async fn exchange<S>(stream: S, mut request: Request<Full<Bytes>>, http2: bool) -> Result<Got, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = TokioIo::new(stream);
    let words = |error: hyper::Error| error.to_string();
    let response = if http2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.map_err(words)?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(words)?
    } else {
        let authority = request.uri().authority().unwrap().to_string();
        request.headers_mut().entry("host").or_insert(authority.parse().unwrap());
        *request.uri_mut() = request.uri().path_and_query().unwrap().as_str().parse().unwrap();
        let (mut sender, connection) = http1::handshake(stream).await.map_err(words)?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(words)?
    };
    let (parts, body) = response.into_parts();
    let body = Body::new(body).collect().await.map_err(|error| format!("body: {error}"))?.to_bytes();
    let status = StatusCode::as_u16(&parts.status);
    Ok(Got { status, version: parts.version, headers: parts.headers, body })
}
