//! From checked addresses to a connection that speaks HTTP.
//!
//! Only addresses that [`Lookups`](super::resolver::Lookups) let through come here. Over TLS the
//! server must have a certificate for the destination's name, or for the address where that is what
//! the destination names.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use strongroom_core::Text;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::http1::Http1;
use super::http2::Http2;
use super::pool::Line;
use super::resolver::literal;
use super::stream::Wire;
use super::{Destination, SendError, Stage};

/// A connection, and which of the addresses it goes to.
pub(super) async fn dial(
    to: &Destination,
    port: u16,
    addresses: &[IpAddr],
    tls: Option<Arc<ClientConfig>>,
    until: Instant,
) -> Result<(Line, IpAddr), SendError> {
    let (tcp, address) = connect(to, port, addresses, until).await?;
    // A request is one small write: nothing to wait for.
    let _ = tcp.set_nodelay(true);
    let failed = |_| SendError::Protocol("the connection could not be set up");
    let Some(tls) = tls else {
        return Ok((Line::One(Box::new(Http1::new(Wire::Plain(tcp)).await.map_err(failed)?)), address));
    };
    let shaken = TlsConnector::from(tls).connect(server_name(to)?, tcp);
    let stream = timeout_at(until, shaken)
        .await
        .map_err(|_| SendError::Timeout(Stage::Tls))?
        .map_err(|error| SendError::Tls { host: Text::new(&*to.host), reason: tls_reason(&error) })?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let wire = Wire::Tls(Box::new(stream));
    let line = if http2 {
        Line::Shared(Http2::new(wire).await.map_err(failed)?)
    } else {
        Line::One(Box::new(Http1::new(wire).await.map_err(failed)?))
    };
    Ok((line, address))
}

/// Tries one address after the other. Each gets its share of the time that is left, so that one which
/// swallows packets does not take it all.
pub(super) async fn connect(
    to: &Destination,
    port: u16,
    addresses: &[IpAddr],
    until: Instant,
) -> Result<(TcpStream, IpAddr), SendError> {
    let mut last = None;
    for (index, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            break;
        }
        let others = u32::try_from(addresses.len() - index).unwrap_or(1);
        let share = left.checked_div(others).unwrap_or(left);
        match tokio::time::timeout(share, TcpStream::connect(SocketAddr::new(*address, port))).await {
            Ok(Ok(stream)) => return Ok((stream, *address)),
            Ok(Err(error)) => last = Some(error.kind()),
            Err(_) => last = Some(io::ErrorKind::TimedOut),
        }
    }
    match last {
        Some(kind) if kind != io::ErrorKind::TimedOut => {
            Err(SendError::Connect { host: Text::new(&*to.host), port, kind })
        }
        _ => Err(SendError::Timeout(Stage::Connect)),
    }
}

fn server_name(to: &Destination) -> Result<ServerName<'static>, SendError> {
    match literal(&to.host) {
        Some(address) => Ok(ServerName::IpAddress(address.into())),
        None => ServerName::try_from(String::from(&*to.host))
            .map_err(|_| SendError::Request("the host is no name that a certificate could be for")),
    }
}

/// The words of the TLS library where it is the one who fails; a certificate's names may be among them.
fn tls_reason(error: &io::Error) -> Text {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => Text::capped(error.to_string(), 256),
        None => Text::new(format!("the connection broke ({})", error.kind())),
    }
}
