//! Whose certificates are believed, and for what.

use std::io::Write;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{HandshakeKind, ServerConfig};
use strongroom_core::HostPattern;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::net::{InvalidCa, OperatorCa, Stage};

/// A certificate authority made for one test.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// As an operator's CA for these hosts.
    pub fn for_hosts(&self, hosts: &[String]) -> OperatorCa {
        OperatorCa::new(self.pem().as_bytes(), hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect())
            .unwrap()
    }

    pub fn server_config(&self, name: &str, expired: bool, alpn: &[&str]) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let leaf = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(leaf)], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// A server with a certificate for `name`; tells each handshake's kind and the name asked for.
    async fn serve(&self, name: &str, expired: bool) -> (Server, Arc<Mutex<Vec<(HandshakeKind, Option<String>)>>>) {
        let acceptor = TlsAcceptor::from(self.server_config(name, expired, &["http/1.1"]));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let server = Server::start(move |_, stream| {
            let (acceptor, log) = (acceptor.clone(), log.clone());
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let session = stream.get_ref().1;
                log.lock().unwrap().push((session.handshake_kind().unwrap(), session.server_name().map(str::to_owned)));
                while read_request(&mut stream).await.is_some() {
                    if stream.write_all(OK).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        (server, seen)
    }
}

fn trusting(server: &Server, authority: &Authority) -> Destination {
    let cas = Cas::new(vec![authority.for_hosts(&[format!("h.test:{}", server.port)])]);
    Destination { secure: true, cas, ..server.to() }
}

fn bundle(authority: &Authority) -> (tempfile::NamedTempFile, Settings) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "# a comment\n{}", authority.pem()).unwrap();
    let bundles = vec![PathBuf::from("/nonexistent/bundle.pem"), file.path().to_owned()];
    (file, Settings { bundles, ..Settings::default() })
}

fn tls_error(result: Result<Answer, SendError>) -> String {
    match result {
        Err(SendError::Tls { reason, .. }) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Nobody known by that name, or somebody else by it: all authorities here have the same.
fn is_distrust(reason: &str) -> bool {
    reason.contains("UnknownIssuer") || reason.contains("BadSignature")
}

#[tokio::test]
async fn an_operators_ca_counts_for_its_hosts_and_the_systems_for_all() {
    let (own, system) = (Authority::new(), Authority::new());
    let (by_own, seen) = own.serve("h.test", false).await;
    let (by_system, _) = system.serve("h.test", false).await;
    let (_file, settings) = bundle(&system);
    let bench = Bench::with(Fake::default(), settings);
    for _ in 0..3 {
        assert_eq!(text(&bench.get(&trusting(&by_own, &own)).await.unwrap()), "ok");
    }
    assert_eq!(by_own.accepted(), 1, "the connection was kept");
    assert_eq!(seen.lock().unwrap().as_slice(), [(HandshakeKind::Full, Some("h.test".to_owned()))]);
    // Together with the system's roots, not instead of them.
    bench.get(&trusting(&by_system, &own)).await.unwrap();
    bench.get(&Destination { secure: true, ..by_system.to() }).await.unwrap();
    // Not for a host that it is not given for, be it only another port.
    let host = |pattern: String| Cas::new(vec![own.for_hosts(&[pattern])]);
    for pattern in ["h.test".to_owned(), "other.test".to_owned(), "*.test:1".to_owned(), "*.h.test".to_owned()] {
        let to = Destination { secure: true, cas: host(pattern.clone()), ..by_own.to() };
        let reason = tls_error(bench.get(&to).await);
        assert!(is_distrust(&reason), "{pattern}: {reason}");
    }
    // A connection that was opened on the word of one CA is not used on that of another, or none.
    assert!(bench.get(&Destination { secure: true, ..by_own.to() }).await.is_err());
}

#[tokio::test]
async fn certificates_that_do_not_prove_the_name_are_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    for (name, expired, words) in [
        ("other.test", false, "not valid for name"),
        ("h.test", true, "expired"),
        ("127.0.0.1", false, "not valid for"),
    ] {
        let (server, seen) = authority.serve(name, expired).await;
        let reason = tls_error(Bench::new().get(&trusting(&server, &authority)).await);
        assert!(reason.contains(words), "{name}: {reason}");
        assert!(seen.lock().unwrap().is_empty(), "the handshake was not completed");
    }
    let (server, _) = authority.serve("h.test", false).await;
    let reason = tls_error(Bench::new().get(&trusting(&server, &other)).await);
    assert!(is_distrust(&reason), "{reason}");
    assert_eq!(Bench::new().get(&Destination { secure: true, ..server.to() }).await.unwrap_err(), SendError::NoRoots);
    // An address is verified as an address.
    let to = |server: &Server| Destination {
        host: "127.0.0.1".into(),
        cas: Cas::new(vec![authority.for_hosts(&[format!("127.0.0.1:{}", server.port)])]),
        secure: true,
        ..server.to()
    };
    assert!(tls_error(Bench::new().get(&to(&server)).await).contains("not valid for"));
    let (by_address, _) = authority.serve("127.0.0.1", false).await;
    let bench = Bench::new();
    bench.get(&to(&by_address)).await.unwrap();
    assert_eq!(bench.resolver.asked(), 0);
}

#[tokio::test]
async fn plain_requests_need_no_roots() {
    let server = Server::canned(OK).await;
    let bench = Bench::with(Fake::default(), Settings { bundles: vec!["/nonexistent".into()], ..Settings::default() });
    bench.get(&server.to()).await.unwrap();
}

#[tokio::test]
async fn sessions_are_not_resumed() {
    let authority = Authority::new();
    let (server, seen) = authority.serve("h.test", false).await;
    let bench = Bench::new();
    for partition in 0..3 {
        bench.get(&Destination { partition: [partition; 32], ..trusting(&server, &authority) }).await.unwrap();
    }
    bench.client.close_idle();
    bench.get(&trusting(&server, &authority)).await.unwrap();
    let kinds: Vec<_> = seen.lock().unwrap().iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [HandshakeKind::Full; 4]);
}

#[tokio::test]
async fn servers_that_do_not_speak_tls_fail_in_time() {
    let authority = Authority::new();
    let plain = Server::canned("HTTP/1.1 400 S3CR3T\r\n\r\n").await;
    let limits = Limits { connect: Some(Duration::from_millis(300)), ..limits() };
    let error = Bench::new().send(&trusting(&plain, &authority), outgoing(Method::GET, ""), &limits).await.unwrap_err();
    assert!(matches!(error, SendError::Tls { .. } | SendError::Timeout(Stage::Tls)), "{error}");
    let closing = Server::start(|_, stream| async move { drop(stream) }).await;
    assert!(matches!(Bench::new().get(&trusting(&closing, &authority)).await, Err(SendError::Tls { .. })));
    let mute = Server::start(|_, mut stream| async move { until_closed(&mut stream).await }).await;
    let error = Bench::new().send(&trusting(&mute, &authority), outgoing(Method::GET, ""), &limits).await.unwrap_err();
    assert_eq!(error, SendError::Timeout(Stage::Tls));
}

#[tokio::test]
async fn a_body_cut_off_by_somebody_on_the_way_is_noticed() {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::from(authority.server_config("h.test", false, &[]));
    for proper in [true, false] {
        let acceptor = acceptor.clone();
        let server = Server::start(move |_, stream| {
            let acceptor = acceptor.clone();
            async move {
                let mut stream = acceptor.accept(stream).await.unwrap();
                read_request(&mut stream).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf").await.unwrap();
                stream.flush().await.unwrap();
                if proper {
                    stream.shutdown().await.unwrap();
                } else {
                    // The end of the connection without the end of TLS, as anybody could make it.
                    stream.get_mut().0.shutdown().await.unwrap();
                }
                until_closed(&mut stream).await;
            }
        })
        .await;
        let result = Bench::new().get(&trusting(&server, &authority)).await;
        match proper {
            true => assert_eq!(text(&result.unwrap()), "half"),
            false => assert_eq!(result.unwrap_err(), SendError::Closed),
        }
    }
}

#[test]
fn ca_files_are_read_whole_or_not_at_all() {
    let pem = Authority::new().pem();
    let read = |text: &str| OperatorCa::new(text.as_bytes(), vec![]).map(drop);
    assert_eq!(read(&pem), Ok(()));
    assert_eq!(read(&pem.repeat(64)), Ok(()));
    assert_eq!(read(&pem.repeat(65)), Err(InvalidCa::Count));
    assert_eq!(read(""), Err(InvalidCa::Count));
    assert_eq!(read("no certificate"), Err(InvalidCa::Count));
    assert_eq!(read(&pem.replace("-----END CERTIFICATE-----", "")), Err(InvalidCa::Pem));
    assert_eq!(
        read(&format!("{pem}-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n")),
        Err(InvalidCa::Pem)
    );
    let other = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    assert_eq!(read(&format!("{pem}{other}")), Err(InvalidCa::Certificate));
}
