//! The proxy (`CONNECT`, RFC 9110, section 9.3.6): vaults' names end here, at the Key Vault door, and all others are
//! tunnelled to where they lead.
//!
//! It must never open or end anything for whoever has not its secret, tunnel to this machine, to link-local addresses or
//! to a cloud's own services, or look into what it tunnels.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::header::{CONTENT_TYPE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use strongroom::{Failure, Kind};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::authority::{Authority, is_vault};
use crate::connection::{self, HANDSHAKE};
use crate::listener::Peer;
use crate::state::House;

/// How long a client may take to say where it wants to go.
const HEAD: Duration = Duration::from_secs(30);

/// The largest head of a request, in bytes: it holds little more than a name and the secret.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// The port of vaults.
const HTTPS: u16 = 443;

/// What all connections share.
pub(super) struct Proxy {
    house: Arc<House>,
    authority: Arc<Authority>,
    door: Router,
    stopped: watch::Receiver<bool>,
}

impl Proxy {
    pub(super) fn new(
        house: Arc<House>,
        authority: Arc<Authority>,
        door: Router,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self { house, authority, door, stopped }
    }
}

/// Serves one connection, and what becomes of it.
pub(super) async fn serve(proxy: Arc<Proxy>, stream: TcpStream, mut stopped: watch::Receiver<bool>) {
    let service = service_fn(move |request| {
        let proxy = Arc::clone(&proxy);
        async move { Ok::<_, Infallible>(answer(&proxy, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        // What goes wrong with a connection is the client's to notice.
        _ = connection => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

async fn answer(proxy: &Arc<Proxy>, mut request: Request<Incoming>) -> Response<Body> {
    if !proxy.knows(request.headers()) {
        let mut response = told(StatusCode::PROXY_AUTHENTICATION_REQUIRED, "This proxy is one program's alone.");
        response.headers_mut().insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"strongroom\""));
        return response;
    }
    if request.method() != Method::CONNECT {
        return told(StatusCode::METHOD_NOT_ALLOWED, "Only https is proxied here.");
    }
    let Some((host, port)) = target(request.uri()) else {
        return told(StatusCode::BAD_REQUEST, "That is no host and port.");
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let opened = match is_vault(&host) {
        true => proxy.end(&host, port, upgrade),
        false => proxy.tunnel(&host, port, upgrade).await,
    };
    match opened {
        Ok(()) => Response::new(Body::empty()),
        Err(failure) => {
            let status = match failure.kind() {
                Kind::PolicyDenied => StatusCode::FORBIDDEN,
                Kind::Deadline => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            };
            told(status, failure.message().as_str())
        }
    }
}

impl Proxy {
    fn knows(&self, headers: &HeaderMap) -> bool {
        let mut all = headers.get_all(PROXY_AUTHORIZATION).iter();
        let (Some(one), None) = (all.next(), all.next()) else { return false };
        let text = one.to_str().unwrap_or_default();
        let basic = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
        match (basic, self.house.run()) {
            (Some((_, credentials)), Some(run)) => run.is_proxy(credentials.trim()),
            _ => false,
        }
    }

    /// Ends TLS for a vault, and serves it with the door.
    fn end(&self, host: &str, port: u16, upgrade: OnUpgrade) -> Result<(), Failure> {
        if port != HTTPS {
            return Err(Failure::new(Kind::PolicyDenied, "run.as-azure-vault", "vaults are at port 443"));
        }
        let acceptor = TlsAcceptor::from(self.authority.vault(host)?);
        let (door, stopped) = (self.door.clone(), self.stopped.clone());
        tokio::spawn(async move {
            let Ok(upgraded) = upgrade.await else { return };
            let accepted = tokio::time::timeout(HANDSHAKE, acceptor.accept(TokioIo::new(upgraded))).await;
            let Ok(Ok(stream)) = accepted else { return };
            connection::serve(stream, Arc::new(Peer::Network), door, stopped).await;
        });
        Ok(())
    }

    async fn tunnel(&self, host: &str, port: u16, upgrade: OnUpgrade) -> Result<(), Failure> {
        let far = self.house.state().strongroom.tunnel(host, port).await?;
        let stopped = self.stopped.clone();
        tokio::spawn(async move {
            if let Ok(near) = upgrade.await {
                carry(near, far, stopped).await;
            }
        });
        Ok(())
    }
}

/// Carries bytes both ways until both sides have ended, or the run has.
async fn carry(near: Upgraded, mut far: TcpStream, mut stopped: watch::Receiver<bool>) {
    let mut near = TokioIo::new(near);
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

/// Where a `CONNECT` leads: the host in lower case, without the root's dot.
fn target(uri: &http::Uri) -> Option<(String, u16)> {
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let host = authority.host().to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let port = authority.port_u16().filter(|port| *port != 0)?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// A refusal, for whoever reads what a client logs.
fn told(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
