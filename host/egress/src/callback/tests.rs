//! Everything that a browser, a page in it, or another program of this machine could send.

use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;

const STATE: &str = "3q2-7wAAAAAAAAAAAAAAAA";

fn waiting(callback: Callback, by: By) -> (u16, JoinHandle<Parameters>) {
    let port = callback.port;
    (port, tokio::spawn(callback.wait(STATE, by)))
}

async fn say(port: u16, request: &str) -> String {
    say_at(IpAddr::V4(Ipv4Addr::LOCALHOST), port, request).await
}

async fn say_at(address: IpAddr, port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect((address, port)).await.unwrap();
    stream.write_all(request.replace("PORT", &port.to_string()).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // What is refused before it was read to its end may be reset.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

fn post(head: &str, form: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: localhost:PORT\r\nContent-Type: application/x-www-form-urlencoded\r\n{head}\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    )
}

fn pairs(parameters: &[(&str, &str)]) -> Parameters {
    parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_form_brings_its_parameters_and_is_told_nothing() {
    let callback = Callback::bind().await.unwrap();
    assert_eq!(callback.redirect_uri(), format!("http://localhost:{}", callback.port));
    let (port, wait) = waiting(callback, By::Form);
    let head = "Origin: https://login.example\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n\
                Sec-Fetch-Dest: document\r\n";
    let answer = say(port, &post(head, &format!("code=a%2Fb+c&state={STATE}&session_state=s"))).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    for header in
        ["cache-control: no-store", "referrer-policy: no-referrer", "content-type: text/plain", "default-src 'none'"]
    {
        assert!(head.contains(header), "no {header} in {head}");
    }
    assert_eq!(page, CLOSING);
    assert_eq!(wait.await.unwrap(), pairs(&[("code", "a/b c"), ("session_state", "s")]));
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn a_query_brings_them_where_that_was_asked_for() {
    let (port, wait) = waiting(Callback::bind().await.unwrap(), By::Query);
    let refused = say(port, &post("", &format!("code=c&state={STATE}"))).await;
    assert!(refused.starts_with("HTTP/1.1 405 "), "{refused}");
    let request = format!("GET /?error=access_denied&state={STATE} HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n");
    assert!(say(port, &request).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(wait.await.unwrap(), pairs(&[("error", "access_denied")]));
}

#[tokio::test]
async fn the_same_port_listens_at_both_addresses_of_this_machine_and_no_other() {
    let callback = Callback::bind().await.unwrap();
    for listener in &callback.listeners {
        assert!(listener.local_addr().unwrap().ip().is_loopback());
        assert_eq!(listener.local_addr().unwrap().port(), callback.port);
    }
    if callback.listeners.len() == 2 {
        let (port, wait) = waiting(callback, By::Form);
        let request = post("", &format!("code=c&state={STATE}")).replace("localhost:", "[::1]:");
        assert!(say_at(IpAddr::V6(Ipv6Addr::LOCALHOST), port, &request).await.starts_with("HTTP/1.1 200 "));
        assert_eq!(wait.await.unwrap(), pairs(&[("code", "c")]));
    }
}

#[tokio::test]
async fn nothing_but_the_right_state_ends_the_wait() {
    let (port, wait) = waiting(Callback::bind().await.unwrap(), By::Form);
    let good = format!("code=c&state={STATE}");
    let other = STATE.replace("3q2", "3q3");
    let status = |status: u16| format!("HTTP/1.1 {status} ");
    for (what, request, expected) in [
        ("a wrong state", post("", &format!("code=c&state={other}")), 400),
        ("the beginning of the state", post("", "code=c&state=3q2"), 400),
        ("an empty state", post("", "code=c&state="), 400),
        ("no state", post("", "code=c"), 400),
        ("two states", post("", &format!("state={STATE}&state={STATE}")), 400),
        ("two codes", post("", &format!("code=a&code=b&state={STATE}")), 400),
        ("a broken encoding", post("", &format!("code=%z&state={STATE}")), 400),
        ("no text", post("", &format!("code=%ff&state={STATE}")), 400),
        (
            "many parameters",
            post("", &format!("{}state={STATE}", (0..40).map(|n| format!("p{n}=&")).collect::<String>())),
            400,
        ),
        ("a form of 17 KiB", post("", &format!("{good}&x={}", "x".repeat(17 << 10))), 413),
        ("another host", post("", &good).replace("localhost:PORT", "rebound.example:PORT"), 421),
        ("another port", post("", &good).replace("localhost:PORT", "localhost:1"), 421),
        ("no port", post("", &good).replace("localhost:PORT", "localhost"), 421),
        ("two hosts", post("Host: localhost:PORT\r\n", &good), 421),
        ("no host", post("", &good).replace("Host: localhost:PORT\r\n", ""), 421),
        ("another path", post("", &good).replace("POST /", "POST /callback"), 404),
        ("a proxy's request", post("", &good).replace("POST /", "POST http://localhost:PORT/"), 404),
        ("a query beside the form", post("", &good).replace("POST /", &format!("POST /?state={STATE}")), 405),
        ("a GET", format!("GET /?{good} HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n"), 405),
        (
            "a preflight",
            "OPTIONS / HTTP/1.1\r\nHost: localhost:PORT\r\nOrigin: https://evil.example\r\n\r\n".into(),
            405,
        ),
        ("a page's icon", "GET /favicon.ico HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n".into(), 404),
        ("a script", post("Origin: https://evil.example\r\nSec-Fetch-Mode: no-cors\r\n", &good), 403),
        ("a frame", post("Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n", &good), 403),
        ("a page without TLS", post("Origin: http://evil.example\r\n", &good), 403),
        ("two origins", post("Origin: https://a.example\r\nOrigin: https://b.example\r\n", &good), 403),
        ("another type", post("", &good).replace("application/x-www-form-urlencoded", "text/plain"), 415),
        ("no HTTP", "\x16\x03\x01\x02\r\n\r\n".into(), 400),
    ] {
        let answer = say(port, &request).await;
        assert!(answer.starts_with(&status(expected)), "{what}: {answer}");
        assert!(!answer.contains(STATE), "{what}: {answer}");
    }
    assert!(!wait.is_finished());
    assert!(say(port, &post("", &good)).await.starts_with(&status(200)));
    assert_eq!(wait.await.unwrap(), pairs(&[("code", "c")]));
}

#[tokio::test]
async fn who_says_nothing_keeps_nobody_out() {
    let (port, wait) = waiting(Callback::bind().await.unwrap(), By::Form);
    let mut silent = Vec::new();
    for _ in 0..3 * MAX_CONNECTIONS {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\n").await.unwrap();
        silent.push(stream);
    }
    assert!(say(port, &post("", &format!("code=c&state={STATE}"))).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(wait.await.unwrap(), pairs(&[("code", "c")]));
    // They were ended with the wait, the oldest before.
    for mut stream in silent {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

#[tokio::test]
async fn a_wait_that_is_given_up_closes_the_port() {
    let (port, wait) = waiting(Callback::bind().await.unwrap(), By::Form);
    wait.abort();
    assert!(wait.await.unwrap_err().is_cancelled());
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err());
}

#[test]
fn texts_are_compared_as_a_whole() {
    for (one, other, same) in
        [("", "", true), ("a", "a", true), ("a", "b", false), ("a", "ab", false), ("ab", "a", false), ("", "a", false)]
    {
        assert_eq!(is_same(one.as_bytes(), other.as_bytes()), same, "{one} {other}");
    }
}
