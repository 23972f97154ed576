//! Sizes, times, and the end of an exchange that nobody waits for any more.

use super::*;
use crate::net::Stage;

#[tokio::test]
async fn heads_are_capped() {
    let field = |index: usize, size: usize| format!("x-{index}: {}\r\n", "v".repeat(size));
    let fields = |count: usize, size: usize| (0..count).map(|index| field(index, size)).collect::<String>();
    let answer = |fields: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{fields}\r\nok");
    for (head, allowed, fits) in [
        (fields(99, 10), 32 * 1024, true),
        (fields(100, 10), 32 * 1024, false),
        (fields(5000, 1), 32 * 1024, false),
        (fields(1, 30 * 1024), 32 * 1024, true),
        (fields(1, 33 * 1024), 32 * 1024, false),
        (fields(50, 1024), 32 * 1024, false),
        (fields(1, 33 * 1024), usize::MAX, false),
        (fields(10, 100), 2048, true),
        (fields(10, 100), 1024, false),
    ] {
        let server = Server::canned(answer(&head)).await;
        let limits = Limits { header_bytes: allowed, ..limits() };
        let got = Bench::new().send(&server.to(), outgoing(Method::GET, ""), &limits).await;
        match got {
            Ok(answer) => assert!(fits, "{} fields came through", answer.headers.len()),
            Err(error) => assert!(!fits && error == SendError::HeadTooLarge, "{} bytes: {error}", head.len()),
        }
    }
}

/// Writes the same for ever.
async fn endless(first: &'static str, then: &'static str) -> (Server, Flag) {
    let closed = Flag::default();
    let flag = closed.clone();
    let server = Server::start(move |_, mut stream| {
        let flag = flag.clone();
        async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(first.as_bytes()).await;
            while stream.write_all(then.as_bytes()).await.is_ok() {}
            flag.raise();
        }
    })
    .await;
    (server, closed)
}

#[tokio::test]
async fn what_never_ends_is_cut_off() {
    for (first, then, expected) in [
        ("HTTP/1.1 200 OK\r\n", "x: S3CR3T\r\n", SendError::HeadTooLarge),
        ("HTTP/1.1 200 OK\r\nx: ", "S3CR3T", SendError::HeadTooLarge),
        ("", "HTTP/1.1 100 Continue\r\n\r\n", SendError::HeadTooLarge),
        ("", "HTTP/1.1 103 Early Hints\r\nlink: S3CR3T\r\n\r\n", SendError::HeadTooLarge),
        ("HTTP/1.1 200 ", "OK", SendError::HeadTooLarge),
        ("HTTP/1.1 200 OK\r\n\r\n", "S3CR3T", SendError::BodyTooLarge(65_536)),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "6\r\nS3CR3T\r\n", SendError::BodyTooLarge(65_536)),
        ("HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n", "S3CR3T", SendError::BodyTooLarge(65_536)),
    ] {
        let (server, closed) = endless(first, then).await;
        let error = Bench::new().get(&server.to()).await.unwrap_err();
        assert_eq!(error, expected, "{first:?} and {then:?} for ever");
        closed.raised().await;
    }
    // What hyper counts for us.
    for (first, then) in [
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;", "x=S3CR3T;"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", "x-trailer: S3CR3T\r\n"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "0"),
    ] {
        let (server, closed) = endless(first, then).await;
        let error = Bench::new().get(&server.to()).await.unwrap_err();
        assert!(!matches!(error, SendError::Timeout(_)), "{first:?} and {then:?} for ever: {error}");
        closed.raised().await;
    }
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_not_waited_for() {
    for (length, fits) in [(65_536_u64, true), (65_537, false), (1 << 40, false), (u64::MAX - 2, false)] {
        let server = Server::start(move |_, mut stream| async move {
            read_request(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            if fits {
                let _ = stream.write_all(&vec![b'x'; 65_536]).await;
            }
            until_closed(&mut stream).await;
        })
        .await;
        match Bench::new().get(&server.to()).await {
            Ok(answer) => assert!(fits && answer.body.len() == 65_536),
            Err(error) => assert!(!fits && error == SendError::BodyTooLarge(65_536), "{length}: {error}"),
        }
    }
    let none = Limits { body_bytes: 0, ..limits() };
    let empty = Server::canned("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert!(Bench::new().send(&empty.to(), outgoing(Method::GET, ""), &none).await.is_ok());
    let full = Server::canned(OK).await;
    let refused = Bench::new().send(&full.to(), outgoing(Method::GET, ""), &none).await;
    assert_eq!(refused.unwrap_err(), SendError::BodyTooLarge(0));
}

/// Writes `first`, then nothing or a byte each 5 ms.
async fn slow(first: &'static str, drip: Option<&'static str>) -> (Server, Flag) {
    let closed = Flag::default();
    let flag = closed.clone();
    let server = Server::start(move |_, mut stream| {
        let flag = flag.clone();
        async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(first.as_bytes()).await;
            while let Some(drop) = drip {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if stream.write_all(drop.as_bytes()).await.is_err() {
                    break;
                }
            }
            until_closed(&mut stream).await;
            flag.raise();
        }
    })
    .await;
    (server, closed)
}

#[tokio::test]
async fn every_wait_has_an_end() {
    const SOON: Duration = Duration::from_millis(60);
    fn deadline() -> Limits {
        Limits { deadline: Instant::now() + SOON, ..limits() }
    }
    fn first_byte() -> Limits {
        Limits { first_byte: Some(SOON), ..limits() }
    }
    fn between() -> Limits {
        Limits { between_bytes: Some(SOON), ..limits() }
    }
    let body = "HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    type Row = (&'static str, Option<&'static str>, fn() -> Limits, Stage);
    let table: &[Row] = &[
        ("", None, deadline, Stage::Answer),
        ("", None, first_byte, Stage::Answer),
        ("HTTP/1.1 200 OK\r\nx: ", Some("y"), deadline, Stage::Answer),
        ("HTTP/1.1 200 OK\r\nx: ", Some("y"), first_byte, Stage::Answer),
        ("HTTP/1.1 100 Continue\r\n\r\n", None, first_byte, Stage::Answer),
        ("", Some("HTTP/1.1 102 Processing\r\n\r\n"), first_byte, Stage::Answer),
        (body, None, deadline, Stage::Body),
        (body, None, between, Stage::Body),
        (body, Some("z"), deadline, Stage::Body),
        ("HTTP/1.1 200 OK\r\n\r\n", Some("z"), deadline, Stage::Body),
        (chunked, Some("1\r\nz\r\n"), deadline, Stage::Body),
        (chunked, Some("0"), between, Stage::Body),
    ];
    for (first, drip, limits, stage) in table {
        let (server, closed) = slow(first, *drip).await;
        let error = Bench::new().send(&server.to(), outgoing(Method::GET, ""), &limits()).await.unwrap_err();
        assert_eq!(error, SendError::Timeout(*stage), "{first:?} and then {drip:?}");
        closed.raised().await;
    }
    // A deadline that is over: nothing is even asked.
    let server = Server::canned(OK).await;
    let bench = Bench::new();
    let over = Limits { deadline: Instant::now(), ..limits() };
    let error = bench.send(&server.to(), outgoing(Method::GET, ""), &over).await.unwrap_err();
    assert!(matches!(error, SendError::Timeout(_)), "{error}");
    assert_eq!((bench.resolver.asked(), server.accepted()), (0, 0));
}

#[tokio::test]
async fn a_dropped_exchange_closes_its_connection() {
    for first in ["", "HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\nS3CR3T"] {
        let (server, closed) = slow(first, None).await;
        let bench = Bench::new();
        let to = server.to();
        let limits = limits();
        let exchange = bench.client.exchange(&to, outgoing(Method::GET, ""), &limits);
        // Long enough that it is under way; the server's flag would not be raised otherwise.
        assert!(tokio::time::timeout(Duration::from_millis(50), exchange).await.is_err());
        closed.raised().await;
        assert_eq!(bench.client.0.pool.len(), 0);
    }
}
