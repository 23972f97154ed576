//! Which connections are used again.

use super::*;

async fn post(bench: &Bench, to: &Destination) -> Result<Answer, SendError> {
    bench.send(to, outgoing(Method::POST, "S3CR3T"), &limits()).await
}

#[tokio::test]
async fn a_connection_is_used_again() {
    for wire in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno",
    ] {
        let server = Server::canned(wire).await;
        let bench = Bench::new();
        for _ in 0..5 {
            bench.get(&server.to()).await.unwrap();
        }
        assert_eq!((server.accepted(), bench.resolver.asked(), bench.client.0.pool.len()), (1, 1, 1), "{wire}");
    }
}

#[tokio::test]
async fn what_the_server_ends_is_not_used_again() {
    for wire in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        // More than announced: the next answer would be what this one left behind.
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
    ] {
        let server = Server::canned(wire).await;
        let bench = Bench::new();
        for _ in 0..3 {
            assert_eq!(text(&bench.get(&server.to()).await.unwrap()), "ok");
        }
        assert_eq!(server.accepted(), 3, "{wire}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_unasked_is_never_taken_for_the_next_one() {
    let (written, go) = (Flag::default(), Flag::default());
    let (tell, wait) = (written.clone(), go.clone());
    let server = Server::start(move |number, mut stream| {
        let (tell, wait) = (tell.clone(), wait.clone());
        async move {
            read_request(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            if number == 0 {
                wait.raised().await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil").await;
                tell.raise();
            }
            until_closed(&mut stream).await;
        }
    })
    .await;
    let bench = Bench::new();
    bench.get(&server.to()).await.unwrap();
    go.raise();
    written.raised().await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(text(&bench.get(&server.to()).await.unwrap()), "ok");
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn partitions_and_hosts_share_nothing() {
    let server = Server::canned(OK).await;
    let bench = Bench::new();
    let base = server.to();
    let others = [
        Destination { partition: [1; 32], ..base.clone() },
        Destination { host: "other.test".into(), ..base.clone() },
        Destination { host: "127.0.0.1".into(), ..base.clone() },
        base,
    ];
    for round in 0..2 {
        for (index, to) in others.iter().enumerate() {
            bench.get(to).await.unwrap();
            assert_eq!(server.accepted(), if round == 0 { index + 1 } else { others.len() });
        }
    }
    // DNS neither: one question for each partition and name.
    assert_eq!(bench.resolver.asked(), 3);
}

/// Answers the first request of its first connection, and drops the connection on the second one
/// after `then`. Further connections answer, if `good`.
async fn fickle(then: &'static str, good: bool) -> Server {
    Server::start(move |number, mut stream| async move {
        if number == 0 {
            read_request(&mut stream).await;
            stream.write_all(OK).await.unwrap();
        }
        while read_request(&mut stream).await.is_some() {
            if number == 0 || !good {
                let _ = stream.write_all(then.as_bytes()).await;
                return;
            }
            let _ = stream.write_all(OK).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_stale_connection_is_replaced_once_and_for_idempotent_methods() {
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        let (server, bench) = (fickle("", true).await, Bench::new());
        bench.get(&server.to()).await.unwrap();
        assert!(bench.send(&server.to(), outgoing(method, ""), &limits()).await.is_ok());
        assert_eq!(server.accepted(), 2);
    }
    let (server, bench) = (fickle("", true).await, Bench::new());
    bench.get(&server.to()).await.unwrap();
    // Nobody knows whether the server has acted on it.
    assert_eq!(post(&bench, &server.to()).await.unwrap_err(), SendError::Closed);
    assert_eq!(server.accepted(), 1);

    let (server, bench) = (fickle("", false).await, Bench::new());
    bench.get(&server.to()).await.unwrap();
    assert_eq!(bench.get(&server.to()).await.unwrap_err(), SendError::Closed);
    assert_eq!(server.accepted(), 2);

    // It had begun to answer: that is no stale connection.
    for then in ["H", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no"] {
        let (server, bench) = (fickle(then, true).await, Bench::new());
        bench.get(&server.to()).await.unwrap();
        assert_eq!(bench.get(&server.to()).await.unwrap_err(), SendError::Closed);
        assert_eq!(server.accepted(), 1);
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_waited_is_noticed_for_any_method() {
    let closed = Flag::default();
    let flag = closed.clone();
    let server = Server::start(move |_, mut stream| {
        let flag = flag.clone();
        async move {
            read_request(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            drop(stream);
            flag.raise();
        }
    })
    .await;
    let bench = Bench::new();
    for expected in 1..=3 {
        post(&bench, &server.to()).await.unwrap();
        assert_eq!(server.accepted(), expected);
        closed.raised().await;
        // Lets the runtime hear of it.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A server that tells when a connection that had answered was closed by the other side.
async fn watcher() -> (Server, Flag) {
    let closed = Flag::default();
    let flag = closed.clone();
    let server = Server::start(move |_, mut stream| {
        let flag = flag.clone();
        async move {
            while read_request(&mut stream).await.is_some() {
                stream.write_all(OK).await.unwrap();
            }
            flag.raise();
        }
    })
    .await;
    (server, closed)
}

#[tokio::test]
async fn waiting_connections_are_closed_in_time_and_on_demand() {
    let (server, closed) = watcher().await;
    let bench = Bench::with(Fake::default(), Settings { idle: Duration::from_millis(20), ..Settings::default() });
    bench.get(&server.to()).await.unwrap();
    closed.raised().await;
    assert_eq!(bench.client.0.pool.len(), 0);
    bench.get(&server.to()).await.unwrap();
    closed.raised().await;

    let (server, closed) = watcher().await;
    let bench = Bench::new();
    bench.get(&server.to()).await.unwrap();
    bench.client.close_idle();
    closed.raised().await;
    bench.get(&server.to()).await.unwrap();
    assert_eq!(server.accepted(), 2);
    drop(bench);
    closed.raised().await;
}

#[tokio::test]
async fn the_pool_is_bounded() {
    let server = Server::canned(OK).await;
    let settings = Settings { idle_per_key: 2, idle_total: 3, ..Settings::default() };
    let bench = Arc::new(Bench::with(Fake::default(), settings));
    let run = async |partition: u8| {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..5 {
            let (bench, to) = (bench.clone(), Destination { partition: [partition; 32], ..server.to() });
            tasks.spawn(async move { bench.get(&to).await.map(drop) });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
        bench.client.0.pool.len()
    };
    assert_eq!(run(0).await, 2);
    assert_eq!(run(1).await, 3);
    assert_eq!(run(2).await, 3);
    let none = Bench::with(Fake::default(), Settings { idle_total: 0, ..Settings::default() });
    none.get(&server.to()).await.unwrap();
    assert_eq!(none.client.0.pool.len(), 0);
}

#[tokio::test]
async fn patience_follows_the_server_within_the_deadline() {
    let scripted = |answers: &'static [&'static str]| {
        Server::start(move |_, mut stream| async move {
            for answer in answers {
                if read_request(&mut stream).await.is_none() {
                    return;
                }
                let _ = stream.write_all(format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await;
            }
            until_closed(&mut stream).await;
        })
    };
    let bench = Bench::new();
    let ask = async |server: &Server, method: Method, deadline: Duration| {
        let limits = Limits { deadline: Instant::now() + deadline, ..limits() };
        let to = server.to();
        let sent = bench.client.exchange_patiently(&to, outgoing(method, ""), &limits);
        let started = Instant::now();
        let status = tokio::time::timeout(LONG, sent).await.expect("it hangs").map(|answer| answer.status.as_u16());
        (status, started.elapsed())
    };
    let server = scripted(&["503 No\r\nretry-after: 1", "200 OK"]).await;
    let (status, took) = ask(&server, Method::GET, LONG).await;
    assert!(status == Ok(200) && took >= Duration::from_secs(1), "{status:?} after {took:?}");
    let server = scripted(&["503 No", "429 No\r\nretry-after: 0", "200 OK"]).await;
    assert_eq!(ask(&server, Method::PUT, LONG).await.0, Ok(200));
    let server = scripted(&["500 No", "502 No", "504 No", "200 OK"]).await;
    assert_eq!(ask(&server, Method::GET, LONG).await.0, Ok(504), "three times at most");
    let server = scripted(&["503 No\r\nretry-after: 0", "200 OK"]).await;
    assert_eq!(ask(&server, Method::POST, LONG).await.0, Ok(200));
    let server = scripted(&["503 No", "200 OK"]).await;
    assert_eq!(ask(&server, Method::POST, LONG).await.0, Ok(503));
    let server = scripted(&["500 No\r\nretry-after: 0", "200 OK"]).await;
    assert_eq!(ask(&server, Method::POST, LONG).await.0, Ok(500));
    let server = scripted(&["503 No\r\nretry-after: 3600", "200 OK"]).await;
    let (status, took) = ask(&server, Method::GET, LONG).await;
    assert!(status == Ok(503) && took < LONG, "a wait that does not fit is not begun");
}
