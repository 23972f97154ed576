//! What the host itself fetches: one address, and nothing that its answer says.

use std::time::Instant as Now;

use strongroom_core::{Kind, Origin};
use tokio_rustls::TlsAcceptor;

use super::tls::Authority;
use super::*;
use crate::fetch::{MAX_BYTES, document};

/// A server with TLS that answers each request with these bytes, or never; tells what it was asked.
async fn serve(authority: &Authority, answer: Option<Vec<u8>>) -> (Server, Arc<Mutex<Vec<String>>>) {
    let acceptor = TlsAcceptor::from(authority.server_config("h.test", false, &["http/1.1"]));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, answer) = (seen.clone(), Arc::new(answer));
    let server = Server::start(move |_, stream| {
        let (acceptor, log, answer) = (acceptor.clone(), log.clone(), answer.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            while let Some(request) = read_request(&mut stream).await {
                log.lock().unwrap().push(request);
                match answer.as_ref() {
                    Some(answer) if stream.write_all(answer).await.is_ok() && stream.flush().await.is_ok() => {}
                    Some(_) => return,
                    None => until_closed(&mut stream).await,
                }
            }
        }
    })
    .await;
    (server, seen)
}

fn answer(status: &str, fields: &str, body: &[u8]) -> Option<Vec<u8>> {
    let head = format!("HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n", body.len());
    Some([head.as_bytes(), body].concat())
}

async fn fetch(server: &Server, cas: Cas, network: &Network, deadline: Duration) -> Result<Vec<u8>, (Kind, String)> {
    let origin = Origin::parse(&format!("https://h.test:{}", server.port)).unwrap();
    let client = Bench::new().client;
    let got = document(&client, &origin, "/keys?v=1", network, cas, Now::now() + deadline);
    let got = tokio::time::timeout(LONG, got).await.expect("it hangs");
    got.map(|body| body.to_vec()).map_err(|failure| (failure.kind(), failure.code().to_owned()))
}

#[tokio::test]
async fn a_document_is_got_whole_or_not_at_all() {
    let authority = Authority::new();
    let table = [
        (answer("200 OK", "", b"{}"), Ok(b"{}".to_vec())),
        (answer("200 OK", "", &[b'x'; MAX_BYTES]), Ok(vec![b'x'; MAX_BYTES])),
        (answer("200 OK", "", &[b'x'; MAX_BYTES + 1]), Err((Kind::LimitExceeded, "egress.too-large"))),
        (answer("200 OK", "content-encoding: gzip\r\n", b"{}"), Err((Kind::Unavailable, "fetch.answer"))),
        (answer("200 OK", "content-encoding: identity\r\n", b"{}"), Ok(b"{}".to_vec())),
        (answer("302 Found", "location: https://h.test/other\r\n", b""), Err((Kind::Unavailable, "fetch.answer"))),
        (answer("301 Moved", "location: /keys\r\n", b"{}"), Err((Kind::Unavailable, "fetch.answer"))),
        (answer("204 No Content", "", b""), Err((Kind::Unavailable, "fetch.answer"))),
        (answer("206 Partial Content", "", b"{}"), Err((Kind::Unavailable, "fetch.answer"))),
        (answer("404 Not Found", "", b"{}"), Err((Kind::Unavailable, "fetch.answer"))),
        (answer("500 Oops", "retry-after: 0\r\n", b"{}"), Err((Kind::Unavailable, "fetch.answer"))),
        (Some(b"nonsense\r\n\r\n".to_vec()), Err((Kind::Unavailable, "egress.answer"))),
    ];
    for (answer, expected) in table {
        let shown = answer.as_ref().map(|a| String::from_utf8_lossy(&a[..a.len().min(60)]).into_owned());
        let (server, seen) = serve(&authority, answer).await;
        let cas = Cas::new(vec![authority.for_hosts(&[format!("h.test:{}", server.port)])]);
        let got = fetch(&server, cas, &Network::Loopback, LONG).await;
        assert_eq!(got, expected.map_err(|(kind, code): (Kind, &str)| (kind, code.to_owned())), "{shown:?}");
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 1, "asked once, whatever the answer: {shown:?}");
        assert!(seen[0].starts_with("GET /keys?v=1 HTTP/1.1\r\n"), "{}", seen[0]);
        assert!(!seen[0].to_lowercase().contains("authorization") && !seen[0].to_lowercase().contains("cookie"));
    }
}

#[tokio::test]
async fn nobody_else_is_asked_and_nobody_for_ever() {
    let authority = Authority::new();
    let (server, seen) = serve(&authority, None).await;
    let trusted = || Cas::new(vec![authority.for_hosts(&[format!("h.test:{}", server.port)])]);
    let slow = fetch(&server, trusted(), &Network::Loopback, Duration::from_millis(300)).await;
    assert_eq!(slow, Err((Kind::Deadline, "egress.timeout".to_owned())));
    assert_eq!(seen.lock().unwrap().len(), 1);
    let before = server.accepted();
    for network in [Network::Public, Network::Private] {
        let outside = fetch(&server, trusted(), &network, LONG).await;
        assert_eq!(outside, Err((Kind::PolicyDenied, "egress.address".to_owned())));
    }
    assert_eq!(server.accepted(), before, "not even connected to");
    let stranger =
        fetch(&server, Cas::new(vec![Authority::new().for_hosts(&["h.test".to_owned()])]), &Network::Loopback, LONG)
            .await;
    assert!(matches!(&stranger, Err((Kind::Unavailable, code)) if code.starts_with("egress.")), "{stranger:?}");
    assert_eq!(seen.lock().unwrap().len(), 1, "no request went to somebody unproved");
}
