//! `strongroom serve` as its callers and its operator meet it: the user's own socket, who is let in, what each may
//! have, and how it starts, changes and ends.

use std::io::Write;
use std::os::unix::net::UnixStream;

use fake_azure::{Fake, Options};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::azure::{SECRET, VAULT, sign_ins, with_secret};
use crate::door_azure::certify;
use crate::serving::*;
use crate::support::*;

#[test]
fn without_any_config_it_serves_its_own_user_on_a_socket_and_nothing_else() {
    let home = home();
    let value = home.variable("TOKEN");
    let server = Server::start(&home);
    let socket = home.path("run/strongroom/server.sock");
    assert_eq!(mode(&socket) & 0o777, 0o600);
    assert_eq!(mode(socket.parent().unwrap()) & 0o777, 0o700);
    assert_eq!(server.value("env:TOKEN"), Ok(value));
    assert_eq!(server.said().matches("listening on").count(), 1);
    // What curl users do: the very bytes.
    let bytes = ask_socket(&socket, "GET", "/api/v1/secret?reference=env:TOKEN", &[("Accept", "text/plain")], None);
    assert_eq!(lossy(&bytes.body), server.value("env:TOKEN").unwrap());
    for (name, value) in [("cache-control", "no-store"), ("x-content-type-options", "nosniff")] {
        assert_eq!(bytes.header(name), Some(value));
    }
    assert_eq!(bytes.header("strongroom-trace").unwrap().len(), 32);
}

#[test]
fn a_value_goes_in_comes_out_and_ends() {
    let home = home();
    let server = Server::start(&home);
    let (one, two) = (home.canary("one"), home.canary("two"));
    let at = "/api/v1/secret?reference=keys://db/password";
    let set = server.ask("PUT", at, Some(&json!({"value": one, "attributes": {"tags.team": "a"}})));
    assert_eq!((set.status, set.json()["version"].as_str()), (200, Some("1")));
    let swap = server.ask("PUT", at, Some(&json!({"value": two, "expected": "7"})));
    assert_eq!(swap.status, 409);
    assert_eq!(server.ask("PUT", at, Some(&json!({"value": two, "expected": "1"}))).status, 200);
    assert_eq!(server.value("keys://db/password"), Ok(two));
    assert_eq!(server.value("keys://db/password?version=1"), Ok(one));

    let versions = server.ask("GET", "/api/v1/versions?reference=keys://db/password", None).json();
    assert_eq!(versions["versions"].as_array().unwrap().len(), 2);
    let known = server.ask("GET", "/api/v1/metadata?reference=keys://db/password", None);
    assert_eq!(known.json()["version"], "2");
    home.assert_clean("metadata", &known.body);
    assert_eq!(server.ask("PATCH", at, Some(&json!({"attributes": {"tags.team": "b"}}))).status, 200);
    let names = server.ask("GET", "/api/v1/names?scope=keys://db", None).json();
    assert_eq!(names["names"][0]["name"], "password");
    assert_eq!(server.ask("DELETE", at, None).status, 200);
    assert_eq!(server.ask("GET", at, None).status, 404);

    // Bytes that are no text.
    let bytes = json!({"value_base64": "/wAB"});
    assert_eq!(server.ask("PUT", at, Some(&bytes)).status, 200);
    assert_eq!(server.ask("GET", at, None).json()["value_base64"], "/wAB");
}

#[test]
fn many_references_have_an_answer_or_a_failure_each() {
    let home = home();
    let value = home.variable("A");
    let server = Server::start(&home);
    let references = json!({"references": ["env:A", "env:NONE", "no such", "env:A"]});
    let answer = server.ask("POST", "/api/v1/resolve", Some(&references));
    let results = answer.json();
    let results = results["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    assert_eq!((&results[0]["value"], &results[3]["value"]), (&json!(value), &json!(value)));
    assert_eq!(results[1]["failure"]["kind"], "not-found");
    assert_eq!(results[2]["failure"]["kind"], "invalid-reference");
    assert_eq!(results[2]["reference"], "no such");
}

#[test]
fn bad_requests_are_refused_in_one_shape_and_leave_nothing_behind() {
    let home = home();
    let value = home.variable("A");
    let server = Server::start(&home);
    let socket = home.path("run/strongroom/server.sock");
    let deep = format!("{{\"references\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let json = ("Content-Type", "application/json");
    let get = "GET /api/v1/secret";
    for (line, headers, body, status) in [
        (get, vec![], "", 400),
        ("GET /api/v1/secret?reference=env:A&reference=env:B", vec![], "", 400),
        ("GET /api/v1/secret?reference=env:A&x=1", vec![], "", 400),
        ("GET /api/v1/secret?reference=%ff", vec![], "", 400),
        ("GET /api/v1/secret?reference=env:A%00", vec![], "", 400),
        ("GET /api/v1/../v1/secret?reference=env:A", vec![], "", 404),
        ("GET /api/v1%2fsecret?reference=env:A", vec![], "", 404),
        ("GET //api/v1/secret?reference=env:A", vec![], "", 404),
        ("BREW /api/v1/secret?reference=env:A", vec![], "", 405),
        ("POST /api/v1/secret?reference=env:A", vec![json], "{}", 405),
        ("GET /api/v1/secret?reference=env:A", vec![("Origin", "https://evil.example")], "", 403),
        ("GET /api/v1/secret?reference=env:A", vec![("Authorization", "Bearer nobody")], "", 401),
        ("GET /api/v1/secret?reference=env:A", vec![("Authorization", "Basic QTpC")], "", 401),
        ("POST /api/v1/resolve", vec![json], "{", 400),
        ("POST /api/v1/resolve", vec![json], "{\"references\":[],\"references\":[]}", 400),
        ("POST /api/v1/resolve", vec![json], "{\"references\":[1]}", 400),
        ("POST /api/v1/resolve", vec![json], "{\"references\":[],\"more\":1}", 400),
        ("POST /api/v1/resolve", vec![json], &deep, 400),
        ("POST /api/v1/resolve", vec![("Content-Type", "text/plain")], "{\"references\":[]}", 415),
        ("PUT /api/v1/secret?reference=keys://a/b", vec![json], "{\"value\":\"a\",\"value_base64\":\"YQ==\"}", 400),
        ("PUT /api/v1/secret?reference=keys://a/b", vec![json], "{\"value_base64\":\"?\"}", 400),
        ("PUT /api/v1/secret?reference=env:A", vec![json], "{\"value\":\"a\"}", 403),
    ] {
        let (method, target) = line.split_once(' ').unwrap();
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let answer = Answer::read(&mut stream).unwrap();
        assert_eq!(answer.status, status, "{line}: {answer:?}");
        assert!(!answer.code().is_empty(), "{line}");
        home.assert_clean(line, &answer.body);
    }
    assert_eq!(server.value("env:A"), Ok(value), "it serves on");
}

#[test]
fn lengths_that_could_be_read_in_two_ways_end_the_connection() {
    let home = home();
    home.variable("A");
    home.configure("[listeners.loop]\naddress = \"127.0.0.1:0\"\ninsecure_loopback = true\ndoors = [\"native\"]\n");
    let server = Server::start(&home);
    let port = server.port("http");
    let smuggled = "GET /api/v1/secret?reference=env:A HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for headers in [
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: 4, 5\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length : 4\r\n",
        "Bad Header: x\r\n",
        " Folded: x\r\n",
    ] {
        let bytes = format!("POST /api/v1/resolve HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n0\r\n\r\n{smuggled}");
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let first = Answer::read(&mut stream);
        assert!(first.as_ref().is_none_or(|answer| answer.status >= 400), "{headers}: {first:?}");
        let second = Answer::read(&mut stream);
        assert!(second.is_none(), "{headers}: a second request was read: {second:?}");
    }
}

#[test]
fn loopback_needs_a_token_and_a_name_that_no_page_can_have() {
    let home = home();
    let value = home.variable("A");
    let token = home.canary("token");
    let digest = strongroom_core::Digest::of(token.as_bytes());
    home.configure(&format!(
        "[listeners.loop]\naddress = \"127.0.0.1:0\"\ninsecure_loopback = true\ndoors = [\"native\"]\n\
         [callers.ci]\ntoken = \"{digest}\"\n\
         [[policy]]\ncallers = [\"ci\"]\nmounts = [\"env\"]\nnames = [\"A\"]\noperations = [\"resolve\"]\n"
    ));
    let server = Server::start(&home);
    let port = server.port("http");
    let bearer = format!("Bearer {token}");
    let ask = |headers: &[(&str, &str)], reference: &str| {
        ask_port(port, "GET", &format!("/api/v1/secret?reference={reference}"), headers, None)
    };
    let authorised = ("Authorization", bearer.as_str());
    assert_eq!(read_value(ask(&[authorised], "env:A")), Ok(value));
    assert_eq!(ask(&[], "env:A").status, 401);
    assert_eq!(ask(&[("Authorization", "Bearer x")], "env:A").code(), "caller.token");
    assert_eq!(ask(&[authorised, ("Host", "evil.example")], "env:A").code(), "server.host");
    assert_eq!(ask(&[authorised, ("Origin", "null")], "env:A").code(), "server.origin");
    // What the policy does not let it have is one and the same, whether or not it exists.
    let refusals: Vec<String> =
        ["env:HOME", "env:NOT_THERE", "keys://a/b", "keyvault:https://v.vault.azure.net/secrets/s"]
            .iter()
            .map(|reference| {
                let answer = ask(&[authorised], reference);
                assert_eq!(answer.status, 403, "{reference}");
                lossy(&answer.body).replace(reference, "R")
            })
            .collect();
    assert!(refusals.windows(2).all(|pair| pair[0] == pair[1]), "{refusals:?}");
}

#[test]
fn a_second_server_is_refused_and_a_dead_ones_socket_is_taken_over() {
    let home = home();
    let mut first = Server::start(&home);
    home.strongroom(["serve"]).done().fails(14, "server.running");
    first.running.kill();
    first.running.wait();
    let second = Server::start(&home);
    assert_eq!(second.ask("GET", "/api/v1/health", None).status, 200);
}

#[test]
fn a_changed_config_is_in_force_and_a_bad_one_changes_nothing() {
    let home = home();
    let (a, b) = (home.variable("A"), home.variable("B"));
    let narrow = |name: &str| format!("[mounts.env]\nplugin = \"env\"\nallow = [\"{name}\"]\n");
    home.configure(&narrow("A"));
    let mut server = Server::start(&home);
    assert_eq!((server.value("env:A"), server.value("env:B").is_err()), (Ok(a), true));
    home.configure(&narrow("B"));
    server.wait_for("the changed config is in force");
    assert_eq!((server.value("env:A").is_err(), server.value("env:B")), (true, Ok(b.clone())));
    home.configure("[mounts.env]\nplugin = \"nothing-of-that-name\"\n");
    server.wait_for("the config that was in force before stays so");
    assert_eq!(server.value("env:B"), Ok(b));
    home.configure(&narrow("B"));
    server.wait_for("force\nwarning");
    server.signal(Signal::HUP);
}

#[test]
fn a_config_that_is_gone_stays_in_force_until_it_is_back() {
    let home = home();
    let (a, b) = (home.variable("A"), home.variable("B"));
    let narrow = |name: &str| format!("[mounts.env]\nplugin = \"env\"\nallow = [\"{name}\"]\n");
    home.configure(&narrow("A"));
    let mut server = Server::start(&home);
    std::fs::remove_file(home.user_config()).unwrap();
    server.wait_for("the config that was in force before stays so");
    assert!(server.said().contains("config.absent"), "{}", server.said());
    assert_eq!((server.value("env:A"), server.value("env:B").is_err()), (Ok(a), true));
    home.configure(&narrow("B"));
    server.wait_for("the changed config is in force");
    assert_eq!((server.value("env:A").is_err(), server.value("env:B")), (true, Ok(b)));
}

#[test]
fn a_config_that_comes_later_is_noticed_and_so_is_what_a_refused_one_lacked() {
    let home = home();
    let (a, b) = (home.variable("A"), home.variable("B"));
    let mut server = Server::start(&home);
    assert_eq!(server.value("env:B"), Ok(b));
    let tls = format!(
        "[listeners.main]\nsocket = {:?}\ndoors = [\"native\"]\n[listeners.net]\naddress = \"127.0.0.1:0\"\n\
         tls = {{ certificate = \"server.pem\", key = \"server.key\" }}\ndoors = [\"native\"]\n",
        home.path("run/strongroom/server.sock")
    );
    home.configure(&format!("[mounts.env]\nplugin = \"env\"\nallow = [\"A\"]\n{tls}"));
    server.wait_for("the config that was in force before stays so");
    certify(&home);
    server.wait_for("the changed config is in force");
    assert_eq!((server.value("env:A"), server.value("env:B").is_err()), (Ok(a), true));
}

#[test]
fn listeners_that_cannot_both_be_there_are_refused_before_anything_starts() {
    let home = home();
    let native = "insecure_loopback = true\ndoors = [\"native\"]\n";
    for (one, two) in [
        ("socket = \"s.sock\"", "socket = \"./s.sock\""),
        ("address = \"127.0.0.1:39101\"", "address = \"127.0.0.1:39101\""),
    ] {
        let rest = if one.starts_with("socket") { "doors = [\"native\"]\n" } else { native };
        home.configure(&format!("[listeners.one]\n{one}\n{rest}[listeners.two]\n{two}\n{rest}"));
        home.strongroom(["serve", "--check"]).done().fails(2, "server.listeners").says("one and two");
    }
    // Two ports that the system chooses are two.
    let two = format!(
        "[listeners.one]\naddress = \"127.0.0.1:0\"\n{native}[listeners.two]\naddress = \"127.0.0.1:0\"\n{native}"
    );
    home.configure(&two);
    let mut server = Server::start(&home);
    let ports = |server: &Server| {
        let said = server.said();
        let rest = said.split("listening on http://127.0.0.1:").skip(1).map(|rest| rest.split(':').next().unwrap());
        rest.map(|port| port.parse::<u16>().unwrap()).collect::<Vec<_>>()
    };
    let there = ports(&server);
    assert_eq!(there.len(), 2);
    // Both go on as they are, and one that goes is no more.
    home.configure(&format!("{two}# another\n"));
    server.wait_for("the changed config is in force");
    for port in &there {
        assert_eq!(ask_port(*port, "GET", "/api/v1/health", &[], None).status, 200);
    }
    let one = format!("[listeners.one]\naddress = \"127.0.0.1:0\"\n{native}");
    home.configure(&one);
    server.wait_for("force\nthe changed config is in force");
    assert_eq!(ask_port(there[0], "GET", "/api/v1/health", &[], None).status, 200);
    while std::net::TcpStream::connect(("127.0.0.1", there[1])).is_ok() {
        std::thread::yield_now();
    }
    // Its own port at another address: nobody else has it.
    home.configure(&format!("[listeners.one]\naddress = \"127.0.0.1:{}\"\n{native}", there[0]));
    server.wait_for("the config that was in force before stays so");
    assert!(!server.said().contains("another program"), "{}", server.said());
}

/// What was let in by a config that is no longer in force must not go on as if it were.
#[test]
fn open_connections_end_where_a_listener_serves_something_else() {
    let home = home();
    home.variable("A");
    let socket = home.path("run/strongroom/server.sock");
    let listener = |doors: &str, rest: &str| {
        format!("[listeners.main]\nsocket = {socket:?}\ndoors = [{doors}]\n[mounts.env]\nplugin = \"env\"\n{rest}")
    };
    home.configure(&listener("\"native\"", ""));
    let mut server = Server::start(&home);
    let mut kept = UnixStream::connect(&socket).unwrap();
    kept.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask = |stream: &mut UnixStream| {
        let _ = stream.write_all(&request("GET", "/api/v1/secret?reference=env:A", &[], None));
        Answer::read(stream).map(|answer| answer.status)
    };
    assert_eq!(ask(&mut kept), Some(200));
    // Another config of the same listener: the connection stays.
    home.configure(&listener("\"native\"", "ttl = \"1s\"\n"));
    server.wait_for("the changed config is in force");
    assert_eq!(ask(&mut kept), Some(200));
    home.configure(&listener("\"vault\"", "[doors.vault]\nmounts = { e = \"env:\" }\n"));
    server.wait_for("the changed config is in force\nthe changed config is in force");
    let mut rest = [0; 1];
    assert_eq!(std::io::Read::read(&mut kept, &mut rest).unwrap(), 0, "it was closed");
    let mut new = UnixStream::connect(&socket).unwrap();
    new.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(ask(&mut new), Some(404));
    // And those that stayed through a reload end with the server.
    server.signal(Signal::TERM);
    assert_eq!(server.running.wait(), 0);
}

#[test]
fn a_page_of_a_browser_is_told_nothing_at_all() {
    let home = home();
    home.configure(
        "[listeners.loop]\naddress = \"127.0.0.1:0\"\ninsecure_loopback = true\ndoors = [\"native\", \"vault\", \"azureml\"]\n\
         [listeners.numbers]\nsocket = \"numbers.sock\"\ndoors = [\"metrics\"]\n\
         [doors.vault]\nmounts = { e = \"env:\" }\n[doors.azureml]\nworkspaces = { \"*\" = \"keys://ml\" }\n",
    );
    let server = Server::start(&home);
    let port = server.port("http");
    for path in [
        "/api/v1/health",
        "/api/v1/ready",
        "/api/v1/openapi.json",
        "/v1/sys/health",
        "/v1/sys/seal-status",
        "/v1/sys/leader",
        "/v1/sys/init",
        "/discovery",
    ] {
        assert_eq!(ask_port(port, "GET", path, &[], None).status, 200, "{path}");
        for header in [("Origin", "http://evil.example"), ("Host", "evil.example")] {
            assert_eq!(ask_port(port, "GET", path, &[header], None).status, 403, "{path} {header:?}");
        }
    }
    let numbers = home.user_config().with_file_name("numbers.sock");
    assert_eq!(ask_socket(&numbers, "GET", "/metrics", &[], None).status, 200);
    assert_eq!(ask_socket(&numbers, "GET", "/metrics", &[("Origin", "null")], None).status, 403);
}

/// Names and structure are for those who may read them; what is beside them must not tell more.
#[test]
fn what_is_beside_a_value_tells_nothing_of_what_a_caller_may_not_read() {
    let home = home();
    let token = home.canary("token");
    let rules = |names: &str, operations: &str| {
        format!(
            "[[policy]]\ncallers = [\"app\"]\nmounts = [\"keys\"]\nnames = [{names}]\noperations = [{operations}]\n"
        )
    };
    let configure = |rules: String| {
        home.configure(&format!(
            "[listeners.loop]\naddress = \"127.0.0.1:0\"\ninsecure_loopback = true\ndoors = [\"native\"]\n\
             [callers.app]\ntoken = \"{}\"\n[mounts.keys]\nplugin = \"keys\"\nwrite = true\n{rules}",
            strongroom_core::Digest::of(token.as_bytes())
        ));
    };
    for (name, value) in [("cfg", r#"{"user":"u","list":[1]}"#), ("OPENAI_KEY", "v"), ("payroll-root", "v")] {
        home.put(&format!("keys://team/{name}"), value);
    }
    let bearer = format!("Bearer {token}");
    let names = |answer: &Answer| {
        let names = answer.json()["names"].as_array().unwrap().clone();
        names.iter().map(|name| name["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    configure(rules("\"team\", \"team/*\"", "\"metadata\""));
    let mut server = Server::start(&home);
    let port = server.port("http");
    let ask = |target: &str| ask_port(port, "GET", &format!("/api/v1/{target}"), &[("Authorization", &bearer)], None);
    assert_eq!(ask("metadata?reference=keys://team/cfg").status, 200);
    for field in ["%23user", "%23nope", "%23/list/0", "%23/list/9"] {
        let refused = ask(&format!("metadata?reference=keys://team/cfg{field}"));
        assert_eq!((refused.status, refused.code()), (400, "reference.field".to_owned()), "{field}");
        home.assert_clean(field, &refused.body);
        assert!(!lossy(&refused.body).contains("list\""));
    }

    // Which schemes and mounts there are is not told apart either.
    for reference in ["nothing:x", "env:HOME", "other+keys://team/cfg"] {
        let refused = ask(&format!("secret?reference={}", encoded(reference).replace('+', "%2B")));
        assert_eq!((refused.status, refused.code()), (403, "policy.denied".to_owned()), "{reference}");
        assert!(refused.json()["failure"].get("help").is_none(), "{reference}");
    }
    assert_eq!(ask("names?scope=other").code(), "policy.denied");

    // A pattern that could mean anything shows no name that it does not.
    configure(rules("\"**/OPENAI*\"", "\"list\", \"resolve\""));
    server.wait_for("the changed config is in force");
    assert_eq!(names(&ask("names?scope=keys://team")), ["OPENAI_KEY"]);
    // A group above something is shown by its name alone.
    assert_eq!(ask("plugins").status, 403);
    let groups = ask("names?scope=keys").json();
    assert_eq!(groups["names"], json!([{"name": "team", "attributes": {}}]));

    // `plugins` alone is about all mounts, and with mounts about those.
    let told = |answer: Answer| answer.json()["mounts"].as_array().unwrap().len();
    configure("[[policy]]\ncallers = [\"app\"]\noperations = [\"plugins\"]\n".to_owned());
    server.wait_for("force\nthe changed config is in force");
    assert!(told(ask("plugins")) > 1);
    configure("[[policy]]\ncallers = [\"app\"]\nmounts = [\"keys\"]\noperations = [\"plugins\"]\n".to_owned());
    server.wait_for("force\nthe changed config is in force\nthe changed config is in force");
    assert_eq!(told(ask("plugins")), 1);
}

#[test]
fn nothing_is_left_of_a_server_that_had_nothing_to_wait_for() {
    let home = home();
    let socket = home.path("run/strongroom/server.sock");
    for _ in 0..20 {
        let mut server = Server::start(&home);
        server.signal(Signal::TERM);
        assert_eq!(server.running.wait(), 0);
        assert!(!socket.exists());
    }
}

#[test]
fn half_a_request_or_a_slow_one_does_not_hold_the_end_for_long() {
    let home = home();
    home.variable("A");
    let mut server = Server::start(&home);
    let socket = home.path("run/strongroom/server.sock");
    let mut half = UnixStream::connect(&socket).unwrap();
    half.write_all(b"GET /api/v1/secret?reference=env:A HTTP/1.1\r\nHost: ").unwrap();
    server.signal(Signal::TERM);
    // Well within the 30 s that a running request has.
    let began = std::time::Instant::now();
    assert_eq!(server.running.wait(), 0);
    assert!(began.elapsed() < std::time::Duration::from_secs(20));

    let mut server = Server::start(&home);
    let mut begun = UnixStream::connect(&socket).unwrap();
    begun.set_read_timeout(Some(PATIENCE)).unwrap();
    begun
        .write_all(
            b"POST /api/v1/resolve HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\
              Expect: 100-continue\r\n\r\n",
        )
        .unwrap();
    assert_eq!(Answer::read(&mut begun).unwrap().status, 100);
    server.signal(Signal::TERM);
    server.wait_for("stopping");
    server.signal(Signal::TERM);
    assert_eq!(server.running.wait(), 0);
}

#[test]
fn it_ends_after_the_requests_that_run() {
    let home = home();
    home.variable("A");
    let mut server = Server::start(&home);
    let socket = home.path("run/strongroom/server.sock");
    // An idle connection does not hold it up.
    let _idle = UnixStream::connect(&socket).unwrap();
    // One whose request has begun is answered.
    let mut begun = UnixStream::connect(&socket).unwrap();
    begun.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = "{\"references\":[\"env:A\"]}";
    let head = format!(
        "POST /api/v1/resolve HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    begun.write_all(head.as_bytes()).unwrap();
    let ready = Answer::read(&mut begun).unwrap();
    assert_eq!(ready.status, 100, "the request has begun");
    server.signal(Signal::TERM);
    server.wait_for("stopping");
    begun.write_all(body.as_bytes()).unwrap();
    assert_eq!(Answer::read(&mut begun).unwrap().status, 200);
    assert_eq!(server.running.wait(), 0);
    assert!(!socket.exists());
}

/// A home with a server's place, whose vault's mount has these keys too.
pub fn vault_home(fake: &Fake, keys: &str) -> Home {
    let home = with_secret(fake);
    let runtime = home.path("run");
    std::fs::create_dir_all(&runtime).unwrap();
    chmod(&runtime, 0o700);
    home.set("XDG_RUNTIME_DIR", &runtime);
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    home.write("strongroom.toml", config.replacen("write = true\n", &format!("write = true\n{keys}\n"), 1));
    home
}

/// How often the vault was asked.
fn vault_requests(fake: &Fake) -> usize {
    let requests = fake.control("GET", "/control/requests?service=key-vault", Value::Null).unwrap();
    requests.as_array().unwrap().len()
}

#[test]
fn the_command_line_shares_the_cache_of_its_users_server() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = vault_home(&fake, "ttl = \"1h\"");
    let server = Server::start(&home);
    let get = || home.strongroom(["get", SECRET]).done().ok().out();
    assert_eq!(get(), "value-of-secret1-version2");
    let asked = vault_requests(&fake);
    assert_eq!(get(), "value-of-secret1-version2");
    assert_eq!(vault_requests(&fake), asked, "the second one asked the server alone");
    home.strongroom(["get", "--server", "never", SECRET]).done().ok();
    assert!(vault_requests(&fake) > asked);

    // What is written by the command line is not read from the server's cache as it was before.
    home.strongroom(["set", SECRET]).input("changed").done().ok();
    assert_eq!(get(), "changed");
    // Another config is another answer: then the server is left alone.
    let asked = vault_requests(&fake);
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    home.write("other.toml", format!("{config}\n# of another mind\n"));
    home.strongroom(["--config", "other.toml", "get", SECRET]).done().ok();
    assert!(vault_requests(&fake) > asked);
    // What the environment decides is read here: the server's may be another one.
    home.strongroom(["get", "env:HERE_ALONE"]).env("HERE_ALONE", "x").done().ok().prints("x");
    // A failure is told as it would be here.
    let absent = format!("keyvault:https://{VAULT}/secrets/absent");
    home.strongroom(["get", &absent]).done().status(6).says("absent");
    drop(server);
    home.strongroom(["get", SECRET]).done().ok().prints("changed");
}

#[test]
fn a_process_with_other_files_of_its_own_keeps_to_them() {
    let home = home();
    let (own, others) = (home.canary("own"), home.canary("others"));
    let server = Server::start(&home);
    home.put("keys://db/password", &own);
    assert_eq!(server.value("keys://db/password"), Ok(own.clone()));
    // As a job with a home that goes away with it: the same socket, and no config here or there.
    let elsewhere = |arguments: [&'static str; 2]| {
        home.strongroom(arguments).env("XDG_STATE_HOME", home.path("other")).env("HOME", home.path("other"))
    };
    elsewhere(["get", "keys://db/password"]).done().fails(6, "keys.no-group");
    elsewhere(["set", "keys://db/password"]).input(&others).done().ok();
    elsewhere(["get", "keys://db/password"]).shows().done().ok().prints(&others);
    assert_eq!(server.value("keys://db/password"), Ok(own));
}

#[test]
fn who_asks_the_same_at_once_is_answered_by_one_call() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = vault_home(&fake, "ttl = \"1h\"");
    let server = Server::start(&home);
    // One before, so that the token is there.
    server.value(&format!("keyvault:https://{VAULT}/secrets/secret1")).unwrap();
    let before = vault_requests(&fake);
    let reference = format!("{SECRET}/secretversion1");
    let socket = home.path("run/strongroom/server.sock");
    let at = format!("/api/v1/secret?reference={reference}");
    let ask = || read_value(ask_socket(&socket, "GET", &at, &[], None));
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
        for answer in asked {
            assert_eq!(answer.join().unwrap(), Ok("value-of-secret1-version1".to_owned()));
        }
    });
    assert_eq!(vault_requests(&fake) - before, 1);
}

#[test]
fn a_value_stands_in_for_a_backend_that_is_gone_and_says_so() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = vault_home(&fake, "ttl = \"1ms\"\nstale_ttl = \"1h\"\nlimits.deadline = \"5s\"");
    let server = Server::start(&home);
    let at = format!("/api/v1/secret?reference={SECRET}");
    let fresh = server.ask("GET", &at, None);
    assert_eq!((fresh.status, fresh.header("strongroom-stale")), (200, None));
    drop(fake);
    // Within the same millisecond it is still fresh.
    let stale = std::iter::repeat_with(|| server.ask("GET", &at, None))
        .take(1000)
        .find(|answer| answer.header("strongroom-stale").is_some())
        .expect("the value grows old");
    assert_eq!((stale.status, stale.header("strongroom-stale")), (200, Some("true")));
    assert_eq!(stale.json()["stale"], true);
    let other = server.ask("GET", &format!("{at}/secretversion1"), None);
    assert_eq!(other.status, 503);
}

#[test]
fn what_the_store_keeps_is_everybodys_who_asks_at_once() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = vault_home(&fake, "ttl = \"1h\"\nkeep = \"7d\"");
    Server::start(&home).value(SECRET).unwrap();
    // Nothing is in memory any more.
    let _server = Server::start(&home);
    let socket = home.path("run/strongroom/server.sock");
    let target = format!("/api/v1/secret?reference={SECRET}");
    let ask = || (0..50).map(|_| ask_socket(&socket, "GET", &target, &[], None).status).find(|status| *status != 200);
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        for asked in asking {
            assert_eq!(asked.join().unwrap(), None);
        }
    });
}

#[test]
fn a_log_that_cannot_be_written_stops_a_change_before_it_is_made() {
    let home = home();
    let token = home.canary("token");
    home.configure(&format!(
        r#"
[listeners.loop]
address = "127.0.0.1:0"
insecure_loopback = true
doors = ["native"]
[mounts.keys]
plugin = "keys"
write = true
[callers.app]
token = "{}"
[[policy]]
callers = ["app"]
mounts = ["keys"]
operations = ["resolve", "set"]
[audit]
file = "audit.jsonl"
"#,
        strongroom_core::Digest::of(token.as_bytes())
    ));
    home.put("keys://team/db", "before");
    let server = Server::start(&home);
    let log = home.user_config().with_file_name("audit.jsonl");
    std::fs::rename(&log, log.with_extension("away")).unwrap();
    std::os::unix::fs::symlink("nowhere", &log).unwrap();
    let target = "/api/v1/secret?reference=keys://team/db";
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    let body = json!({"value": "after"});
    for (method, body) in [("PUT", Some(&body)), ("GET", None)] {
        let answer = ask_port(server.port("http"), method, target, &headers, body);
        assert_eq!((answer.status, answer.code().as_str()), (503, "audit.write"), "{}", lossy(&answer.body));
        assert!(!lossy(&answer.body).contains("audit.jsonl"), "where the log is, is not the caller's to know");
    }
    std::fs::remove_file(&log).unwrap();
    std::fs::rename(log.with_extension("away"), &log).unwrap();
    let answer = ask_port(server.port("http"), "GET", target, &headers, None);
    assert_eq!(read_value(answer), Ok("before".to_owned()));
}

#[test]
fn a_reader_of_the_log_who_does_not_read_stops_nothing_for_ever() {
    let home = home();
    home.configure("[audit]\noutput = \"stdout\"\n");
    let value = home.variable("APP_X");
    let (reader, writer) = std::io::pipe().unwrap();
    let mut server = Server::with(home.strongroom(["serve"]).output(writer), &home);
    let codes = (0..1000).map(|_| server.value("env:APP_X")).find(Result::is_err);
    assert_eq!(codes, Some(Err("audit.busy".to_owned())), "the pipe is full");
    assert_eq!(server.value("env:APP_X").unwrap_err(), "audit.busy");
    assert_eq!(server.ask("GET", "/api/v1/health", None).status, 200);
    drop(std::thread::spawn(move || std::io::copy(&mut { reader }, &mut std::io::sink())));
    let again = std::iter::repeat_with(|| server.value("env:APP_X")).find(Result::is_ok);
    assert_eq!(again, Some(Ok(value)), "somebody reads again");
    server.signal(Signal::TERM);
    assert_eq!(server.running.wait(), 0);
}

#[test]
fn what_is_counted_is_told_on_a_listener_of_its_own_and_names_no_secret() {
    let home = home();
    let value = home.variable("NAME_OF_A_SECRET");
    let token = home.canary("token");
    let digest = strongroom_core::Digest::of(token.as_bytes());
    home.configure(&format!(
        "[listeners.loop]\naddress = \"127.0.0.1:0\"\ninsecure_loopback = true\ndoors = [\"native\"]\n\
         [listeners.numbers]\nsocket = \"{}\"\ndoors = [\"metrics\"]\n\
         [callers.ci]\ntoken = \"{digest}\"\n\
         [[policy]]\ncallers = [\"ci\"]\nmounts = [\"env\", \"keys\"]\noperations = [\"resolve\"]\n",
        home.path("run/numbers.sock").display()
    ));
    let server = Server::start(&home);
    let port = server.port("http");
    let bearer = format!("Bearer {token}");
    let ask = |reference: &str| {
        let at = format!("/api/v1/secret?reference={reference}");
        ask_port(port, "GET", &at, &[("Authorization", &bearer)], None)
    };
    assert_eq!(read_value(ask("env:NAME_OF_A_SECRET")), Ok(value));
    assert_eq!(ask("keys://group_of_secrets/none").status, 404);
    assert_eq!(ask("azureml://connections/a/credentials/b").status, 403);
    assert_eq!(ask_port(port, "GET", "/api/v1/plugins", &[], None).status, 401);
    let told = ask_socket(&home.path("run/numbers.sock"), "GET", "/metrics", &[], None);
    let text = lossy(&told.body);
    for line in [
        "strongroom_operations_total{door=\"native\",mount=\"env\",operation=\"resolve\",outcome=\"ok\"} 1",
        "strongroom_operations_total{door=\"native\",mount=\"keys\",operation=\"resolve\",outcome=\"not-found\"} 1",
        "strongroom_operations_total{door=\"native\",mount=\"-\",operation=\"resolve\",outcome=\"policy-denied\"} 1",
        "strongroom_refused_total{door=\"native\",reason=\"caller\"} 1",
        "strongroom_request_seconds_count{door=\"native\"} 4",
        "strongroom_sandbox_seconds_count{plugin=\"env\"} 1",
        "strongroom_sandbox_memory_bytes_count{plugin=\"keys\"} 1",
        "strongroom_connections ",
        "# EOF",
    ] {
        assert!(text.contains(line), "no {line} in:\n{text}");
    }
    home.assert_clean("metrics", &told.body);
    for name in ["NAME_OF_A_SECRET", "group_of_secrets", "none"] {
        assert!(!text.contains(name), "{name} in:\n{text}");
    }
    // Nothing else is served there, nor they anywhere else.
    let numbers = home.path("run/numbers.sock");
    assert_eq!(ask_socket(&numbers, "GET", "/api/v1/plugins", &[], None).status, 404);
    assert_eq!(ask_port(port, "GET", "/metrics", &[("Authorization", &bearer)], None).status, 404);
}

#[test]
fn systemd_is_told_when_it_is_ready_reads_its_config_anew_and_stops() {
    let home = home();
    home.variable("A");
    let told = std::os::unix::net::UnixDatagram::bind(home.path("notify")).unwrap();
    told.set_read_timeout(Some(PATIENCE)).unwrap();
    home.set("NOTIFY_SOCKET", home.path("notify"));
    let next = || {
        let mut buffer = [0; 512];
        let count = told.recv(&mut buffer).unwrap();
        lossy(&buffer[..count])
    };
    let mut server = Server::start(&home);
    assert_eq!(next().trim(), "READY=1");
    server.signal(Signal::HUP);
    assert!(next().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(next().trim(), "READY=1");
    server.signal(Signal::TERM);
    assert_eq!(next().trim(), "STOPPING=1");
    assert_eq!(server.running.wait(), 0);
}

/// As systemd starts a service: the sockets from descriptor 3 on, and variables that say whose they are.
const ACTIVATE: &str = r#"
import os, socket, sys
path, names, program = sys.argv[1], sys.argv[2], sys.argv[3:]
unix = socket.socket(socket.AF_UNIX)
unix.bind(path)
unix.listen()
tcp = socket.socket()
tcp.bind((os.environ["ADDRESS"], 0))
tcp.listen()
os.dup2(unix.fileno(), 30), os.dup2(tcp.fileno(), 31)
os.dup2(30, 3), os.dup2(31, 4)
os.environ.update(LISTEN_FDS="2", LISTEN_FDNAMES=names, LISTEN_PID=str(os.getpid()))
os.execv(program[0], program)
"#;

#[test]
fn sockets_that_systemd_holds_are_taken_over_by_their_names() {
    let home = home();
    let value = home.variable("A");
    home.set("ADDRESS", "127.0.0.1");
    home.configure(
        "[listeners.main]\nsocket = \"never/made.sock\"\ndoors = [\"native\"]\n\
         [listeners.loop]\naddress = \"127.0.0.1:0\"\ninsecure_loopback = true\ndoors = [\"native\"]\n",
    );
    let passed = home.path("run/passed.sock");
    let arguments = |names: &'static str| {
        ["-c".into(), ACTIVATE.into(), passed.clone().into_os_string(), names.into(), PROGRAM.into(), "serve".into()]
    };
    let mut server = Server::with(home.program("python3", arguments("main:loop")), &home);
    let answer = ask_socket(&passed, "GET", "/api/v1/secret?reference=env:A", &[], None);
    assert_eq!(read_value(answer), Ok(value));
    assert_eq!(ask_port(server.port("http"), "GET", "/api/v1/health", &[], None).status, 200);
    assert!(!home.user_config().with_file_name("never").exists(), "what is passed is not made");
    assert!(server.said().contains(&format!("listening on {}", passed.display())), "{}", server.said());

    // It stays its listener's, whatever the config says of it later, and its mode is the unit's to say.
    chmod(&passed, 0o620);
    home.configure(
        "[listeners.main]\nsocket = \"other.sock\"\nopen_to = \"all\"\ndoors = [\"native\"]\n\
         [listeners.loop]\naddress = \"127.0.0.1:0\"\ninsecure_loopback = true\ndoors = [\"native\"]\n",
    );
    server.wait_for("the changed config is in force");
    assert_eq!(mode(&passed) & 0o777, 0o620);
    assert_eq!(ask_socket(&passed, "GET", "/api/v1/health", &[], None).status, 200);
    home.configure("[listeners.main]\nsocket = \"other.sock\"\ndoors = [\"native\"]\n");
    server.wait_for("server.activation");
    assert_eq!(ask_port(server.port("http"), "GET", "/api/v1/health", &[], None).status, 200);
    drop(server);

    let refused = |names| {
        std::fs::remove_file(&passed).unwrap();
        home.program("python3", arguments(names)).done().fails(2, "server.activation");
    };
    refused("main:other");
    refused("loop:main");
    refused("main:main");
    // Without TLS, what was passed must be on loopback as the config's address is.
    home.set("ADDRESS", "0.0.0.0");
    refused("main:loop");
}

#[test]
fn a_renewal_that_hangs_costs_no_call_its_answer() {
    let fake = Fake::start(Options::default()).unwrap();
    fake.control("PATCH", "/control/settings", json!({"refresh_in": 1})).unwrap();
    let home = vault_home(&fake, "limits.deadline = \"8s\"");
    let server = Server::start(&home);
    let answered = || assert_eq!(server.value(SECRET).as_deref(), Ok("value-of-secret1-version2"));
    answered();
    fake.control("POST", "/control/faults", json!({"kind": "slow", "ms": 60_000, "service": "entra"})).unwrap();
    let before = sign_ins(&fake);
    while sign_ins(&fake) == before {
        answered();
    }
    // Nor is it tried again with each call.
    let tried = sign_ins(&fake);
    for _ in 0..5 {
        answered();
    }
    assert_eq!(sign_ins(&fake), tried);
}

#[test]
fn a_backend_that_keeps_failing_is_left_alone_for_a_while() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = vault_home(&fake, "limits = { failures = 2, pause = \"1h\", deadline = \"5s\" }");
    let server = Server::start(&home);
    server.value(SECRET).unwrap();
    drop(fake);
    for _ in 0..2 {
        let failed = server.value(SECRET).unwrap_err();
        assert_ne!(failed, "breaker.open");
    }
    let at = format!("/api/v1/secret?reference={SECRET}");
    let refused = server.ask("GET", &at, None);
    assert_eq!((refused.status, refused.code().as_str()), (503, "breaker.open"));
    assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() > 3500);
    // Another host of the same mount is another backend.
    assert_ne!(server.value("keyvault:https://fabrikamvault.vault.azure.net/secrets/x").unwrap_err(), "breaker.open");
}

#[test]
fn a_batch_that_is_too_large_for_its_time_says_nothing_of_the_backend() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = vault_home(&fake, "limits = { failures = 2, pause = \"1h\", deadline = \"2s\", parallel = 2 }");
    let server = Server::start(&home);
    // So that a token need not be got first.
    server.value(SECRET).unwrap();
    let slow = json!({"kind": "slow", "ms": 600, "service": "key-vault"});
    fake.control("POST", "/control/faults", slow).unwrap();
    let references: Vec<String> = (0..40).map(|n| format!("keyvault:https://{VAULT}/secrets/absent{n}")).collect();
    let answer = server.ask("POST", "/api/v1/resolve", Some(&json!({"references": references}))).json();
    let results = answer["results"].as_array().unwrap();
    let with = |code: &str| results.iter().filter(|result| result["failure"]["code"] == code).count();
    assert!(with("deadline.queue") > 20, "they were too many: {answer}");
    assert!(with("deadline.queue") < 40, "some had their turn: {answer}");
    fake.control("DELETE", "/control/faults", Value::Null).unwrap();
    server.value(SECRET).unwrap();
}

#[test]
fn the_log_on_standard_output_is_one_chain_whatever_configs_come() {
    let home = home();
    home.configure("[audit]\noutput = \"stdout\"\n");
    home.variable("APP_X");
    let mut server = Server::start(&home);
    server.value("env:APP_X").unwrap();
    home.configure("[audit]\noutput = \"stdout\"\nnames = true\n");
    server.signal(Signal::HUP);
    server.wait_for("the changed config is in force");
    server.value("env:APP_X").unwrap();
    server.signal(Signal::TERM);
    assert_eq!(server.running.wait(), 0);
    home.write("log.jsonl", server.running.output.rest());
    let key = home.state("audit.key");
    let done = home.strongroom(["audit", "verify", "--key", key.to_str().unwrap(), "log.jsonl"]).done().ok();
    assert!(done.out().starts_with("2 lines hold, 1 to 2\n"), "{}", done.out());
    done.says_not("begins a new chain");
}
