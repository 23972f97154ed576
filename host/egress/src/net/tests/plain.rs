//! What is sent, and which answers come through.

use http::StatusCode;

use super::*;

/// A server that tells what it was asked.
async fn recorder() -> (Server, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let server = Server::start(move |_, mut stream| {
        let log = log.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                log.lock().unwrap().push(request);
                if stream.write_all(OK).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (server, seen)
}

#[tokio::test]
async fn a_request_is_sent_as_it_is_and_nothing_is_added() {
    let (server, seen) = recorder().await;
    let bench = Bench::new();
    let host = format!("h.test:{}", server.port);
    let head = |line: &str| format!("{line} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {SECRET}\r\n");
    for (method, body) in [
        (Method::GET, ""),
        (Method::HEAD, ""),
        (Method::DELETE, ""),
        (Method::POST, ""),
        (Method::PUT, ""),
        (Method::PATCH, ""),
        (Method::POST, "hello"),
        (Method::PUT, "hello"),
    ] {
        let answer = bench.send(&server.to(), outgoing(method.clone(), body), &limits()).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        let length = match (&method, body) {
            (_, "hello") => "content-length: 5\r\n",
            (&Method::POST | &Method::PUT | &Method::PATCH, _) => "content-length: 0\r\n",
            _ => "",
        };
        let expected = format!("{}{length}\r\n{body}", head(&format!("{method} /v1/{SECRET}?q={SECRET}")));
        // A HEAD's answer has a body here that nobody asked for: the connection ends with it.
        assert_eq!(seen.lock().unwrap().pop().unwrap(), expected);
    }
}

#[tokio::test]
async fn the_host_header_leaves_out_the_default_port_only() {
    for (secure, port, host, authority) in [
        (true, 443, "h.test", "h.test"),
        (true, 80, "h.test", "h.test:80"),
        (false, 80, "h.test", "h.test"),
        (false, 443, "h.test", "h.test:443"),
        (true, 8200, "[::1]", "[::1]:8200"),
        (true, 443, "127.0.0.1", "127.0.0.1"),
    ] {
        let server = Server::canned(OK).await;
        let to = Destination { secure, port, host: host.into(), ..server.to() };
        assert_eq!(to.authority(), authority);
    }
}

#[tokio::test]
async fn what_only_the_host_writes_is_refused_unsent() {
    let server = Server::canned(OK).await;
    let bench = Bench::new();
    for name in [
        "host",
        "content-length",
        "connection",
        "keep-alive",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "proxy-authorization",
        "proxy-connection",
        "http2-settings",
    ] {
        let mut request = outgoing(Method::GET, "");
        request.headers.insert(name, "close".parse().unwrap());
        let error = bench.send(&server.to(), request, &limits()).await.unwrap_err();
        assert!(matches!(error, SendError::Request(_)), "{name}: {error}");
    }
    for method in [Method::CONNECT, Method::TRACE] {
        let error = bench.send(&server.to(), outgoing(method, ""), &limits()).await.unwrap_err();
        assert!(matches!(error, SendError::Request(_)), "{error}");
    }
    let star = Outgoing { path_and_query: "*".parse().unwrap(), ..outgoing(Method::GET, "") };
    assert!(matches!(bench.send(&server.to(), star, &limits()).await, Err(SendError::Request(_))));
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn answers_come_through_as_they_are() {
    for (wire, status, body) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, "hello"),
        ("HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello", 200, "hello"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello", 200, "hello"),
        ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, "hello"),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 304, ""),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno", 404, "no"),
        ("HTTP/1.1 599 Own\r\ncontent-length: 0\r\n\r\n", 599, ""),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", 200, "hello"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", 200, ""),
        // Interim answers are nothing to the caller.
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, "ok"),
        ("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, "ok"),
    ] {
        let server = Server::canned(wire).await;
        let answer = Bench::new().get(&server.to()).await.unwrap_or_else(|error| panic!("{wire}: {error}"));
        assert_eq!((answer.status.as_u16(), text(&answer)), (status, body), "{wire}");
        assert!(!answer.headers.contains_key("link"), "{wire}");
    }
    let closing = Server::closing("HTTP/1.1 200 OK\r\n\r\nuntil the end").await;
    assert_eq!(text(&Bench::new().get(&closing.to()).await.unwrap()), "until the end");
}

#[tokio::test]
async fn a_head_request_has_no_body_whatever_is_announced() {
    let server = Server::canned("HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n").await;
    let answer = Bench::new().send(&server.to(), outgoing(Method::HEAD, ""), &limits()).await.unwrap();
    assert_eq!((&answer.headers["content-length"], text(&answer)), (&"9999999".parse().unwrap(), ""));
}

#[tokio::test]
async fn redirects_are_answers() {
    let target = Server::canned(OK).await;
    let wire = format!("HTTP/1.1 302 Found\r\nlocation: http://h.test:{}/\r\ncontent-length: 0\r\n\r\n", target.port);
    let server = Server::canned(wire).await;
    let answer = Bench::new().get(&server.to()).await.unwrap();
    assert_eq!(answer.status, StatusCode::FOUND);
    assert_eq!((server.accepted(), target.accepted()), (1, 0));
}

#[tokio::test]
async fn encodings_stay_on_and_trailers_are_dropped() {
    let mut wire = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\n".to_vec();
    wire.extend(b"\x1f\x8b\x08\x00\xff");
    let server = Server::canned(wire).await;
    let answer = Bench::new().get(&server.to()).await.unwrap();
    assert_eq!(answer.body.as_slice(), b"\x1f\x8b\x08\x00\xff");
    assert_eq!(answer.headers["content-encoding"], "gzip");

    let server = Server::canned(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-token\r\n\r\n2\r\nok\r\n0\r\nx-token: t\r\n\r\n",
    )
    .await;
    let bench = Bench::new();
    for _ in 0..2 {
        let answer = bench.get(&server.to()).await.unwrap();
        assert_eq!(text(&answer), "ok");
        assert!(!answer.headers.contains_key("x-token"));
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn what_is_no_plain_http_is_refused() {
    for wire in [
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 Low\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 -200 OK\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "<html>S3CR3T</html>\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/1.1 200 OK\r\nS3CR3T\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: S3CR3T\r\n\r\n",
        "HTTP/1.1 200 OK\r\na b: S3CR3T\r\n\r\n",
        "HTTP/1.1 200 OK\r\na : S3CR3T\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: x\r\n S3CR3T\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: \0S3CR3T\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, identity\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        let server = Server::closing(wire).await;
        let error = Bench::new().get(&server.to()).await.expect_err(wire);
        assert!(matches!(error, SendError::Protocol(_)), "{wire:?}: {error}");
    }
    for wire in [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nok",
    ] {
        let server = Server::closing(wire).await;
        let error = Bench::new().get(&server.to()).await.expect_err(wire);
        assert!(matches!(error, SendError::Protocol(_) | SendError::Closed), "{wire:?}: {error}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_too_early_is_none() {
    for wire in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nS3CR3T",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let server = Server::closing(wire).await;
        let error = Bench::new().get(&server.to()).await.expect_err(wire);
        assert_eq!(error, SendError::Closed, "{wire:?}");
        // The connection was new: there is no reason to believe that another one fares better.
        assert_eq!(server.accepted(), 1, "{wire:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_at_a_time_do_not_mix() {
    let server = Server::start(|_, mut stream| async move {
        while let Some(request) = read_request(&mut stream).await {
            let path = request.split(' ').nth(1).unwrap().to_owned();
            let wire = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len());
            if stream.write_all(wire.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let bench = Arc::new(Bench::new());
    for _ in 0..3 {
        let mut tasks = tokio::task::JoinSet::new();
        for index in 0..100 {
            let (bench, to) = (bench.clone(), server.to());
            tasks.spawn(async move {
                let path = format!("/{index}");
                let request = Outgoing { path_and_query: path.parse().unwrap(), ..outgoing(Method::GET, "") };
                assert_eq!(text(&bench.send(&to, request, &limits()).await.unwrap()), path);
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    }
    assert!(bench.client.0.pool.len() <= 32);
}
