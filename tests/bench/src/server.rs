//! A server on this machine that gives one secret of KV version 2 to whoever asks, on connections that
//! stay open, in a thread of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

/// What it answers.
pub const BODY: &str = r#"{"request_id":"0a5e","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":{"password":"a value of some bytes","user":"app"},"metadata":{"created_time":"2026-11-22T05:00:00.000000000Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":2}},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"}"#;

/// Where it listens, and the PEM of the authority that its certificate is from.
pub struct Server {
    pub address: SocketAddr,
    pub authority: String,
}

/// Starts it; it ends with the process.
///
/// # Errors
/// If no port can be had.
pub fn start(tls: bool) -> Result<Server> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &authority)?;
    let chain = vec![CertificateDer::from(leaf.der().to_vec())];
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let pem = authority.pem();
    std::thread::spawn(move || {
        runtime.block_on(async {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let _ = stream.set_nodelay(true);
                let acceptor = tls.then(|| acceptor.clone());
                tokio::task::spawn(async move {
                    match acceptor {
                        None => serve(stream).await,
                        Some(acceptor) => serve(acceptor.accept(stream).await?).await,
                    }
                });
            }
        });
    });
    Ok(Server { address, authority: pem })
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
    let (mut held, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        held.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if held.ends_with(b"\r\n\r\n") {
            held.clear();
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
        }
    }
}
