//! Where packets go, and where they never go.

use strongroom_core::Text;

use super::*;
use crate::net::Stage;

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|ip| ip.parse().unwrap()).collect()
}

fn asking_each_time(script: Vec<Result<Vec<IpAddr>, io::ErrorKind>>) -> Bench {
    Bench::with(Fake::new(script), Settings { lookup_age: Duration::ZERO, ..Settings::default() })
}

fn is_outside(result: &Result<Answer, SendError>, address: &str) -> bool {
    matches!(result, Err(SendError::Outside { outside, .. }) if outside.address() == address.parse::<IpAddr>().unwrap())
}

#[tokio::test]
async fn every_class_but_the_rules_own_is_refused_before_a_packet_is_sent() {
    let server = Server::canned(OK).await;
    for address in [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.1.2.3",
        "169.254.1.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.1",
        "192.0.2.1",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "168.63.129.16",
        "::",
        "::1",
        "fe80::1",
        "fd00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001:db8::1",
    ] {
        let public = Destination { network: Network::Public, ..server.to() };
        let named = Bench::with(Fake::new(vec![Ok(ips(&[address]))]), Settings::default()).get(&public).await;
        assert!(is_outside(&named, address), "{address}: {named:?}");
        let bench = Bench::new();
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let literal = bench.get(&Destination { host: host.into(), ..public }).await;
        assert!(is_outside(&literal, address), "{address}: {literal:?}");
        assert_eq!(bench.resolver.asked(), 0, "a literal is not asked for");
    }
    for spelling in ["[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::127.0.0.1]"] {
        let to = Destination { network: Network::Public, host: spelling.into(), ..server.to() };
        let refused = Bench::new().get(&to).await;
        assert!(matches!(refused, Err(SendError::Outside { .. })), "{spelling}: {refused:?}");
    }
    assert_eq!(server.accepted(), 0);
    let error = Bench::new().get(&Destination { network: Network::Private, ..server.to() }).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "h.test is not where the rule may connect: 127.0.0.1 is a loopback address of this machine"
    );
}

#[tokio::test]
async fn one_bad_address_among_good_ones_spoils_them_all() {
    let server = Server::canned(OK).await;
    for (answer, bad) in [
        (["127.0.0.1", "10.0.0.1"], "10.0.0.1"),
        (["10.0.0.1", "127.0.0.1"], "10.0.0.1"),
        (["127.0.0.1", "8.8.8.8"], "8.8.8.8"),
        (["127.0.0.1", "169.254.169.254"], "169.254.169.254"),
        (["127.0.0.1", "fe80::1"], "fe80::1"),
    ] {
        let bench = Bench::with(Fake::new(vec![Ok(ips(&answer))]), Settings::default());
        assert!(is_outside(&bench.get(&server.to()).await, bad), "{answer:?}");
    }
    // However many there are, each is looked at; few are tried.
    let mut many: Vec<IpAddr> = (0..50_000_u32).map(|n| Ipv4Addr::from_bits(0x7f00_0001 + n % 16_000).into()).collect();
    let bench = Bench::with(Fake::new(vec![Ok(many.clone())]), Settings::default());
    bench.get(&server.to()).await.unwrap();
    many.push(Ipv4Addr::new(10, 0, 0, 1).into());
    let bench = Bench::with(Fake::new(vec![Ok(many)]), Settings::default());
    assert!(is_outside(&bench.get(&server.to()).await, "10.0.0.1"));
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_name_that_moves_away_takes_its_connection_with_it() {
    let server = Server::canned(OK).await;
    let script = || vec![Ok(ips(&["127.0.0.1"])), Ok(ips(&["10.0.0.1"]))];
    let bench = asking_each_time(script());
    bench.get(&server.to()).await.unwrap();
    assert_eq!(bench.client.0.pool.len(), 1, "there is a connection that could be used");
    assert!(is_outside(&bench.get(&server.to()).await, "10.0.0.1"));
    assert!(is_outside(&bench.get(&server.to()).await, "10.0.0.1"));
    assert_eq!(server.accepted(), 1);

    // Within the time that addresses are remembered, it is the checked address that is used.
    let bench = Bench::with(Fake::new(script()), Settings::default());
    for _ in 0..3 {
        bench.get(&server.to()).await.unwrap();
    }
    assert_eq!((bench.resolver.asked(), server.accepted()), (1, 2));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_kept_connection_serves_only_the_address_that_the_name_has_now() {
    let first = Server::canned(OK).await;
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), first.port)).await.unwrap();
    let second = Server::on(listener, |_, mut stream| async move {
        while read_request(&mut stream).await.is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nnew").await.unwrap();
        }
    });
    let bench = asking_each_time(vec![
        Ok(ips(&["127.0.0.1"])),
        Ok(ips(&["127.0.0.2"])),
        Ok(ips(&["127.0.0.3", "127.0.0.1"])),
        Ok(ips(&["127.0.0.3", "127.0.0.2"])),
    ]);
    for (expected, accepted) in [("ok", (1, 0)), ("new", (1, 1)), ("ok", (1, 1)), ("new", (1, 1))] {
        assert_eq!(text(&bench.get(&first.to()).await.unwrap()), expected);
        assert_eq!((first.accepted(), second.accepted()), accepted);
    }
    // Without a kept connection, the addresses are tried in their order.
    let bench = asking_each_time(vec![Ok(ips(&["127.0.0.3", "127.0.0.2", "127.0.0.1"]))]);
    assert_eq!(text(&bench.get(&first.to()).await.unwrap()), "new");
}

#[tokio::test]
async fn names_that_lead_nowhere_are_told_apart() {
    let server = Server::canned(OK).await;
    for (script, kind) in [
        (Err(io::ErrorKind::NotFound), io::ErrorKind::NotFound),
        (Ok(vec![]), io::ErrorKind::NotFound),
        (Err(io::ErrorKind::TimedOut), io::ErrorKind::TimedOut),
    ] {
        let bench = asking_each_time(vec![script]);
        let error = bench.get(&server.to()).await.unwrap_err();
        assert_eq!(error, SendError::Dns { host: Text::new("h.test"), kind });
    }
    let unbound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
    let error = Bench::new().get(&Destination { port: unbound, ..server.to() }).await.unwrap_err();
    assert!(matches!(error, SendError::Connect { kind: io::ErrorKind::ConnectionRefused, .. }), "{error}");
    let mute = Bench::with(Fake { mute: true, ..Fake::default() }, Settings::default());
    let limits = Limits { connect: Some(Duration::from_millis(20)), ..limits() };
    let error = mute.send(&server.to(), outgoing(Method::GET, ""), &limits).await.unwrap_err();
    assert_eq!(error, SendError::Timeout(Stage::Dns));
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn hosts_have_one_spelling() {
    let server = Server::canned(OK).await;
    let bench = Bench::new();
    for host in [
        "",
        "H.test",
        "h.test.",
        ".h.test",
        "h..test",
        "h.test:80",
        "u@h.test",
        "h.test/x",
        "h test",
        "größe.test",
        "::1",
        "[::1",
        "[h.test]",
        "[127.0.0.1]",
        "[fe80::1%1]",
        "h\0.test",
        "h%2etest",
    ] {
        let error = bench.get(&Destination { host: host.into(), ..server.to() }).await.unwrap_err();
        assert!(matches!(error, SendError::Request(_)), "{host:?}: {error}");
    }
    let error = bench.get(&Destination { port: 0, ..server.to() }).await.unwrap_err();
    assert!(matches!(error, SendError::Request(_)), "{error}");
    assert_eq!((bench.resolver.asked(), server.accepted()), (0, 0));
    // What only some parsers take for an address is a name here, and its addresses are checked like any other's.
    for (index, host) in ["127.1", "2130706433", "0x7f000001", "0177.0.0.1"].into_iter().enumerate() {
        let to = Destination { host: host.into(), network: Network::Public, ..server.to() };
        assert!(is_outside(&bench.get(&to).await, "127.0.0.1"), "{host}");
        assert_eq!(bench.resolver.asked(), index + 1);
    }
    let mapped = Destination { host: "[::ffff:127.0.0.1]".into(), ..server.to() };
    bench.get(&mapped).await.unwrap();
}

#[tokio::test]
async fn a_name_is_asked_for_once_at_a_time() {
    let server = Server::canned(OK).await;
    for (script, asked) in [(Ok(ips(&["127.0.0.1"])), 1), (Err(io::ErrorKind::NotFound), 1)] {
        let ok = script.is_ok();
        let bench = Arc::new(Bench::with(Fake::new(vec![script]), Settings::default()));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (bench, to) = (bench.clone(), server.to());
            tasks.spawn(async move { bench.get(&to).await.is_ok() });
        }
        while let Some(done) = tasks.join_next().await {
            assert_eq!(done.unwrap(), ok);
        }
        assert_eq!(bench.resolver.asked(), asked);
    }
}

#[tokio::test]
async fn the_systems_resolver_knows_this_machine() {
    let addresses = crate::net::System.resolve("localhost").await.unwrap();
    assert!(!addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
}
