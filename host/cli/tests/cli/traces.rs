//! Spans of a server's requests, as a collector gets them: what was done and how long it took, and nothing of any
//! secret, whoever tries to put it there.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Instant;

use fake_azure::{Fake, Options};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::azure::{SECRET, VAULT};
use crate::served::vault_home;
use crate::serving::*;
use crate::support::*;

/// A trace and a span of it that callers claim.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Takes whatever it is sent.
pub struct Collector {
    pub port: u16,
    bodies: mpsc::Receiver<(String, Vec<u8>)>,
}

/// A span, as the collector has it.
#[derive(Debug)]
struct Span(Value);

impl Collector {
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, bodies) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                std::thread::spawn(move || converse(stream, &sender));
            }
        });
        Self { port, bodies }
    }

    /// What a server's config says to send its spans here.
    pub fn config(&self, keys: &str) -> String {
        format!("[server.traces]\nendpoint = \"http://127.0.0.1:{}/v1/traces\"\n{keys}\n", self.port)
    }

    /// Waits for the next request.
    pub fn wait(&self) {
        self.bodies.recv_timeout(PATIENCE).unwrap();
    }

    /// What it was sent by a server that has ended: each request's head, and its body.
    fn requests(&self) -> Vec<(String, Vec<u8>)> {
        self.bodies.try_iter().collect()
    }

    /// The spans of a server, which ends for it.
    fn spans(&self, mut server: Server) -> Vec<Span> {
        stop(&mut server);
        spans_in(&self.requests())
    }
}

fn spans_in(requests: &[(String, Vec<u8>)]) -> Vec<Span> {
    let mut spans = Vec::new();
    for (_, body) in requests {
        let json: Value = serde_json::from_slice(body).unwrap();
        let resource = &json["resourceSpans"][0];
        let name = &resource["resource"]["attributes"][0];
        assert_eq!((&name["key"], &name["value"]["stringValue"]), (&json!("service.name"), &json!("strongroom")));
        spans.extend(resource["scopeSpans"][0]["spans"].as_array().unwrap().iter().cloned().map(Span));
    }
    spans
}

fn stop(server: &mut Server) {
    server.signal(Signal::TERM);
    assert_eq!(server.running.wait(), 0);
}

fn converse(mut stream: TcpStream, sender: &mpsc::Sender<(String, Vec<u8>)>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(count) => bytes.extend(&buffer[..count]),
            }
            continue;
        };
        let head = lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
        let mut body = bytes.split_off(end + 4);
        while body.len() < length {
            let count = stream.read(&mut buffer).unwrap();
            body.extend(&buffer[..count]);
        }
        bytes = body.split_off(length);
        sender.send((head, body)).unwrap();
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        stream.write_all(answer.as_bytes()).unwrap();
    }
}

impl Span {
    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    /// An attribute: its text, or its number as text.
    fn attribute(&self, key: &str) -> Option<&str> {
        let attributes = self.0["attributes"].as_array().unwrap();
        let value = &attributes.iter().find(|attribute| attribute["key"] == key)?["value"];
        value["stringValue"].as_str().or_else(|| value["intValue"].as_str())
    }

    fn is_of(&self, trace: &str) -> bool {
        self.text("traceId") == trace
    }

    fn is_servers(&self) -> bool {
        self.0["kind"] == 2
    }
}

/// The spans of one trace: its request's own, and the others.
fn trace<'a>(spans: &'a [Span], answer: &Answer) -> (&'a Span, Vec<&'a Span>) {
    let trace = answer.header("strongroom-trace").unwrap();
    let (own, others): (Vec<&Span>, Vec<&Span>) =
        spans.iter().filter(|span| span.is_of(trace)).partition(|span| span.is_servers());
    assert_eq!(own.len(), 1, "{trace}: {spans:#?}");
    assert!(others.iter().all(|span| span.text("parentSpanId") == own[0].text("spanId")));
    (own[0], others)
}

fn named<'a>(spans: &[&'a Span], name: &str) -> Vec<&'a Span> {
    spans.iter().copied().filter(|span| span.text("name") == name).collect()
}

#[test]
fn spans_tell_what_was_done_and_name_no_secret() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = vault_home(&fake, "ttl = \"1h\"");
    let variable = home.variable("NAME_OF_A_SECRET");
    let collector = Collector::start();
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let audit = home.work("audit.jsonl");
    home.write(
        "strongroom.toml",
        format!("{config}\n{}[audit]\nfile = \"audit.jsonl\"\nnames = true\n", collector.config("sample = 1")),
    );
    let server = Server::start(&home);
    let socket = home.path("run/strongroom/server.sock");
    let of = |reference: &str| format!("/api/v1/secret?reference={}", encoded(reference));

    // Whatever a caller says of itself.
    let (claimed, stored) = (home.canary("claimed"), home.canary("stored"));
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let headers = [
        ("traceparent", parent.as_str()),
        ("tracestate", &format!("vendor={claimed}")),
        ("user-agent", &claimed),
        ("x-ms-client-request-id", &claimed),
    ];
    home.sink(&audit);
    let first = ask_socket(&socket, "GET", &of(SECRET), &headers, None);
    assert_eq!((first.status, first.header("strongroom-trace")), (200, Some(TRACE)));
    let again = server.ask("GET", &of(SECRET), None);
    let environment = server.ask("GET", &of("env:NAME_OF_A_SECRET"), None);
    assert_eq!(environment.json()["value"], json!(variable));
    let absent = server.ask("GET", &of(&format!("keyvault:https://{VAULT}/secrets/absent")), None);
    let set = server.ask("PUT", &of("keys://group_of_secrets/one"), Some(&json!({ "value": stored })));
    let many = json!({ "references": ["env:NAME_OF_A_SECRET", "keys://group_of_secrets/one"] });
    let many = server.ask("POST", "/api/v1/resolve", Some(&many));
    let page = ask_socket(&socket, "GET", &of(SECRET), &[("Origin", &claimed)], None);
    let statuses = [again.status, absent.status, set.status, many.status, page.status];
    assert_eq!(statuses, [200, 404, 200, 200, 403]);

    let mut server = server;
    stop(&mut server);
    let requests = collector.requests();
    let all: Vec<u8> = requests.iter().flat_map(|(head, body)| [head.as_bytes(), body].concat()).collect();
    home.assert_clean("spans", &all);
    for name in ["NAME_OF_A_SECRET", "group_of_secrets", "mykeyvault", "secrets/", "secret1", "absent", "vendor"] {
        assert!(!lossy(&all).contains(name), "{name} in\n{}", lossy(&all));
    }
    let spans = spans_in(&requests);

    // A read that went all the way: as its caller's trace has it.
    let (own, parts) = trace(&spans, &first);
    assert_eq!((own.text("name"), own.text("parentSpanId")), ("native", PARENT));
    for (key, value) in [
        ("strongroom.door", "native"),
        ("strongroom.parent", "claimed"),
        ("strongroom.operation", "resolve"),
        ("strongroom.mount", "vault"),
        ("strongroom.outcome", "ok"),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(own.attribute(key), Some(value), "{key} of {own:?}");
    }
    assert_eq!(named(&parts, "cache")[0].attribute("strongroom.cache"), Some("miss"));
    let sandboxes = named(&parts, "sandbox");
    let plugins: BTreeSet<_> = sandboxes.iter().map(|span| span.attribute("strongroom.plugin").unwrap()).collect();
    assert_eq!(plugins, BTreeSet::from(["azure-key-vault", "service-principal"]));
    for span in &sandboxes {
        assert_eq!(span.attribute("strongroom.plugin.digest").unwrap().len(), 12);
        let number = |key| span.attribute(key).unwrap().parse::<u64>().unwrap();
        assert!(number("strongroom.sandbox.micros") > 0 && number("strongroom.sandbox.memory_bytes") > 65_536);
    }
    let backends = named(&parts, "backend");
    let asked: BTreeSet<_> = backends.iter().map(|span| span.attribute("strongroom.mount").unwrap()).collect();
    assert_eq!(asked, BTreeSet::from(["corp", "vault"]));
    assert!(backends.iter().any(|span| span.attribute("strongroom.outcome") == Some("2xx")));
    for span in &parts {
        let at = |key| span.text(key).parse::<u64>().unwrap();
        assert!(at("startTimeUnixNano") <= at("endTimeUnixNano"));
    }

    // One from the cache; one without any; one that is not there; a change; several at once; one that is not let in.
    let (own, parts) = trace(&spans, &again);
    assert_eq!((parts.len(), own.text("parentSpanId"), own.attribute("strongroom.parent")), (2, "", None));
    assert_eq!(named(&parts, "cache")[0].attribute("strongroom.cache"), Some("hit"));
    let (_, parts) = trace(&spans, &environment);
    assert_eq!(named(&parts, "sandbox")[0].attribute("strongroom.plugin"), Some("env"));
    let (own, _) = trace(&spans, &absent);
    assert_eq!(own.attribute("strongroom.outcome"), Some("not-found"));
    let (own, parts) = trace(&spans, &set);
    assert_eq!((own.attribute("strongroom.operation"), own.attribute("strongroom.mount")), (Some("set"), Some("keys")));
    assert_eq!(named(&parts, "sandbox")[0].attribute("strongroom.plugin"), Some("keys"));
    let (own, parts) = trace(&spans, &many);
    assert_eq!((own.attribute("strongroom.operations"), own.attribute("strongroom.mount")), (Some("2"), None));
    assert_eq!((named(&parts, "resolve").len(), named(&parts, "sandbox").len()), (2, 2));
    let (own, parts) = trace(&spans, &page);
    assert_eq!((own.attribute("strongroom.refused"), parts.len()), (Some("sender"), 0));

    // The audit log has the same traces.
    let log = std::fs::read_to_string(&audit).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let written: BTreeSet<String> = lines.filter_map(|line| Some(line["trace"].as_str()?.to_owned())).collect();
    let operations = spans.iter().filter(|span| !span.is_servers() && span.attribute("strongroom.operation").is_some());
    let told: BTreeSet<String> = operations.map(|span| span.text("traceId").to_owned()).collect();
    assert_eq!((told.len(), &told), (6, &written));
}

/// A home whose server lets in whoever has the token, over loopback, and draws no request by itself.
fn home_of_claims(collector: &Collector, claimed: u32) -> (Home, String) {
    let home = home();
    home.variable("A");
    let token = home.canary("token");
    let digest = strongroom_core::Digest::of(token.as_bytes());
    home.configure(&format!(
        "{}\n[listeners.loop]\naddress = \"127.0.0.1:0\"\ninsecure_loopback = true\ndoors = [\"native\"]\n\
         [callers.ci]\ntoken = \"{digest}\"\n\
         [[policy]]\ncallers = [\"ci\"]\nmounts = [\"env\"]\noperations = [\"resolve\"]\n",
        collector.config(&format!("sample = 0\nclaimed = {claimed}"))
    ));
    (home, format!("Bearer {token}"))
}

#[test]
fn callers_have_a_few_requests_traced_and_strangers_none() {
    let collector = Collector::start();
    let (home, bearer) = home_of_claims(&collector, 1);
    let server = Server::start(&home);
    let port = server.port("http");
    let ask = |bearer: &str, trace: u32, flags: &str| {
        let parent = format!("00-{trace:032x}-{PARENT}-{flags}");
        let headers = [("Authorization", bearer), ("traceparent", &parent)];
        ask_port(port, "GET", "/api/v1/secret?reference=env:A", &headers, None).status
    };
    let began = Instant::now();
    assert_eq!(ask("Bearer nobody", 1, "01"), 401);
    assert_eq!(ask(&bearer, 2, "00"), 200);
    for trace in 100..150 {
        assert_eq!(ask(&bearer, trace, "01"), 200);
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
    let spans = collector.spans(server);
    let traces: BTreeSet<&str> = spans.iter().map(|span| span.text("traceId")).collect();
    assert!(traces.contains(format!("{:032x}", 100).as_str()), "{traces:?}");
    assert!(!traces.contains(format!("{:032x}", 1).as_str()) && !traces.contains(format!("{:032x}", 2).as_str()));
    // One in the second that ran already, and one in each that began since.
    assert!(traces.len() <= seconds + 2, "{} in {seconds} s", traces.len());
    let own = spans.iter().find(|span| span.is_servers()).unwrap();
    assert_eq!((own.attribute("strongroom.rule"), own.text("parentSpanId")), (Some("0"), PARENT));
}

#[test]
fn nothing_is_sent_where_nothing_is_drawn() {
    let collector = Collector::start();
    let (home, bearer) = home_of_claims(&collector, 0);
    let server = Server::start(&home);
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let headers = [("Authorization", bearer.as_str()), ("traceparent", &parent)];
    let answer = ask_port(server.port("http"), "GET", "/api/v1/secret?reference=env:A", &headers, None);
    assert_eq!((answer.status, answer.header("strongroom-trace")), (200, Some(TRACE)));
    assert_eq!(collector.spans(server).len(), 0);
}

#[test]
fn a_collector_that_is_away_costs_its_spans_and_nothing_else() {
    // Nobody listens there any more; somebody listens, and never answers.
    let away = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    for (port, is_away) in [(away, true), (silent.local_addr().unwrap().port(), false)] {
        let home = home();
        let value = home.variable("A");
        home.configure(&format!(
            "[server]\ndrain = \"1s\"\ntraces = {{ endpoint = \"http://127.0.0.1:{port}/v1/traces\", sample = 1 }}\n\
             [listeners.main]\nsocket = \"{}\"\ndoors = [\"native\"]\n\
             [listeners.numbers]\nsocket = \"{}\"\ndoors = [\"metrics\"]\n",
            home.path("run/main.sock").display(),
            home.path("run/numbers.sock").display()
        ));
        let mut server = Server::start(&home);
        for _ in 0..50 {
            let answer = ask_socket(&home.path("run/main.sock"), "GET", "/api/v1/secret?reference=env:A", &[], None);
            assert_eq!(read_value(answer), Ok(value.clone()));
        }
        if is_away {
            server.wait_for("spans are lost");
            let told = ask_socket(&home.path("run/numbers.sock"), "GET", "/metrics", &[], None);
            let lost =
                lossy(&told.body).lines().any(|line| line.starts_with("strongroom_spans_total{outcome=\"lost\"} "));
            assert!(lost, "{}", lossy(&told.body));
        }
        stop(&mut server);
    }
}
