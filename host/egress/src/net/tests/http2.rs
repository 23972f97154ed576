//! HTTP/2, where a rule asks for it and the server chooses it.

use std::convert::Infallible;

use http::{Request, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_rustls::TlsAcceptor;

use super::tls::Authority;
use super::*;
use crate::net::Stage;

type Reply = Response<BoxBody<Bytes, Infallible>>;

/// A server that offers these protocols and answers with `reply`.
async fn serve<F, Fut>(authority: &Authority, alpn: &[&str], reply: F) -> Server
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Reply> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(authority.server_config("h.test", false, alpn));
    Server::start(move |_, stream| {
        let (acceptor, reply) = (acceptor.clone(), reply.clone());
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = service_fn(move |request| {
                let answer = reply(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let io = TokioIo::new(stream);
            let _ = if http2 {
                hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
            } else {
                hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
            };
        }
    })
    .await
}

fn full(body: impl Into<Bytes>) -> Reply {
    Response::new(Full::new(body.into()).boxed())
}

/// What the server saw of the request.
async fn echo(request: Request<Incoming>) -> Reply {
    let seen = format!("{:?} {} {:?}", request.version(), request.uri(), request.headers().get("host"));
    let body = request.into_body().collect().await.unwrap().to_bytes();
    full(format!("{seen} {}", String::from_utf8_lossy(&body)))
}

fn to(server: &Server, authority: &Authority) -> Destination {
    let cas = Cas::new(vec![authority.for_hosts(&[format!("h.test:{}", server.port)])]);
    Destination { secure: true, http2: true, cas, ..server.to() }
}

#[tokio::test]
async fn it_is_spoken_where_both_want_it() {
    let authority = Authority::new();
    for (alpn, asked, version) in [
        (&["h2", "http/1.1"][..], true, Version::HTTP_2),
        (&["h2", "http/1.1"][..], false, Version::HTTP_11),
        (&["http/1.1"][..], true, Version::HTTP_11),
        (&[][..], true, Version::HTTP_11),
    ] {
        let server = serve(&authority, alpn, echo).await;
        let to = Destination { http2: asked, ..to(&server, &authority) };
        let bench = Bench::new();
        for _ in 0..3 {
            let answer = bench.send(&to, outgoing(Method::POST, "hello"), &limits()).await.unwrap();
            let authority = format!("h.test:{}", server.port);
            let path = format!("/v1/{SECRET}?q={SECRET}");
            let seen = match version {
                Version::HTTP_2 => format!("HTTP/2.0 https://{authority}{path} None hello"),
                _ => format!("HTTP/1.1 {path} Some(\"{authority}\") hello"),
            };
            assert_eq!(text(&answer), seen);
        }
        assert_eq!(server.accepted(), 1);
    }
    // Plain connections have nobody to agree on it with.
    let plain = Server::canned(OK).await;
    Bench::new().get(&Destination { http2: true, ..plain.to() }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exchanges_of_one_partition_share_one_connection() {
    let authority = Authority::new();
    let server = serve(&authority, &["h2"], echo).await;
    let bench = Arc::new(Bench::new());
    for (partition, accepted) in [(0, 1), (0, 1), (1, 2), (1, 2)] {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (bench, to) = (bench.clone(), Destination { partition: [partition; 32], ..to(&server, &authority) });
            tasks.spawn(async move { bench.get(&to).await.map(drop) });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
        assert_eq!(server.accepted(), accepted);
    }
    assert_eq!(bench.client.0.pool.len(), 2);
}

#[tokio::test]
async fn answers_are_held_to_the_same_limits() {
    let authority = Authority::new();
    let large = serve(&authority, &["h2"], async |_| full(vec![b'x'; 65_537])).await;
    let bench = Bench::new();
    assert_eq!(bench.get(&to(&large, &authority)).await.unwrap_err(), SendError::BodyTooLarge(65_536));
    let fits = serve(&authority, &["h2"], async |_| full(vec![b'x'; 65_536])).await;
    assert_eq!(bench.get(&to(&fits, &authority)).await.unwrap().body.len(), 65_536);

    let many = serve(&authority, &["h2"], async |_| {
        let mut reply = full("");
        for index in 0..200 {
            reply
                .headers_mut()
                .insert(http::HeaderName::try_from(format!("x-{index}")).unwrap(), "S3CR3T".parse().unwrap());
        }
        reply
    })
    .await;
    assert_eq!(bench.get(&to(&many, &authority)).await.unwrap_err(), SendError::HeadTooLarge);
    let wide = serve(&authority, &["h2"], async |_| {
        let mut reply = full("");
        reply.headers_mut().insert("x", "S3CR3T".repeat(8000).parse().unwrap());
        reply
    })
    .await;
    assert!(bench.get(&to(&wide, &authority)).await.is_err());

    let trailers = serve(&authority, &["h2"], async |_| {
        let mut fields = HeaderMap::new();
        fields.insert("x-token", "t".parse().unwrap());
        let body = Full::new(Bytes::from_static(b"ok")).with_trailers(async { Some(Ok(fields)) });
        Response::new(body.boxed())
    })
    .await;
    let answer = bench.get(&to(&trailers, &authority)).await.unwrap();
    assert_eq!((text(&answer), answer.headers.contains_key("x-token")), ("ok", false));
    assert_eq!(answer.status, StatusCode::OK);
}

/// A service that never answers, and raises a flag when it is told not to.
struct Raise(Flag);

impl Drop for Raise {
    fn drop(&mut self) {
        self.0.raise();
    }
}

#[tokio::test]
async fn a_dropped_exchange_resets_its_stream_and_no_other() {
    let authority = Authority::new();
    let (reset, begun) = (Flag::default(), Flag::default());
    let (tell_reset, tell_begun) = (reset.clone(), begun.clone());
    let server = serve(&authority, &["h2"], move |request: Request<Incoming>| {
        let (tell_reset, tell_begun) = (tell_reset.clone(), tell_begun.clone());
        async move {
            if request.method() == Method::DELETE {
                let _raise = Raise(tell_reset);
                tell_begun.raise();
                std::future::pending::<()>().await;
            }
            full("ok")
        }
    })
    .await;
    let bench = Bench::new();
    let to = to(&server, &authority);
    bench.get(&to).await.unwrap();
    let limits = limits();
    {
        let mut exchange = std::pin::pin!(bench.client.exchange(&to, outgoing(Method::DELETE, ""), &limits));
        tokio::select! {
            result = &mut exchange => panic!("{result:?}"),
            () = begun.raised() => {}
        }
    }
    reset.raised().await;
    bench.get(&to).await.unwrap();
    // A time-out is such an end too.
    let soon = Limits { first_byte: Some(Duration::from_millis(50)), ..limits };
    let error = bench.send(&to, outgoing(Method::DELETE, ""), &soon).await.unwrap_err();
    assert_eq!(error, SendError::Timeout(Stage::Answer));
    reset.raised().await;
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn nothing_is_left_running() {
    let authority = Authority::new();
    let closed = Flag::default();
    let flag = closed.clone();
    let acceptor = TlsAcceptor::from(authority.server_config("h.test", false, &["h2"]));
    let server = Server::start(move |_, stream| {
        let (acceptor, flag) = (acceptor.clone(), flag.clone());
        async move {
            let io = TokioIo::new(acceptor.accept(stream).await.unwrap());
            let service = service_fn(async |request| Ok::<_, Infallible>(echo(request).await));
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
            flag.raise();
        }
    })
    .await;
    let to = to(&server, &authority);
    let bench = Bench::new();
    bench.get(&to).await.unwrap();
    bench.client.close_idle();
    closed.raised().await;
    bench.get(&to).await.unwrap();
    drop(bench);
    closed.raised().await;
    let brief = Bench::with(Fake::default(), Settings { idle: Duration::from_millis(20), ..Settings::default() });
    brief.get(&to).await.unwrap();
    closed.raised().await;
}

#[tokio::test]
async fn a_connection_that_the_server_has_ended_is_replaced() {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::from(authority.server_config("h.test", false, &["h2"]));
    let server = Server::start(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let io = TokioIo::new(acceptor.accept(stream).await.unwrap());
            let answered = Flag::default();
            let flag = answered.clone();
            let service = service_fn(move |request| {
                let flag = flag.clone();
                async move {
                    flag.raise();
                    Ok::<_, Infallible>(echo(request).await)
                }
            });
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service);
            let mut serving = std::pin::pin!(serving);
            tokio::select! {
                _ = &mut serving => return,
                () = answered.raised() => {}
            }
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    })
    .await;
    let bench = Bench::new();
    for expected in 1..=3 {
        bench.get(&to(&server, &authority)).await.unwrap();
        assert_eq!(server.accepted(), expected);
        // Lets the end of the connection arrive.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
