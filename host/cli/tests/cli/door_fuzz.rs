//! All doors under the same attacks: what is too large, too slow, no text, no token of ours. Each answers in its own
//! protocol's words, tells nothing, and serves on. What one protocol alone has stands in that door's own tests.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fake_azure::{Fake, Options, defaults};
use serde_json::{Value, json};

use crate::serving::*;
use crate::support::*;

const ML: &str =
    "/credential/v2.0/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w";

/// One door: how it is asked, and how it refuses.
struct Door {
    name: &'static str,
    /// Reads the secret `team/db`.
    read: String,
    /// Takes a body, and what is a good one.
    write: (&'static str, String, Value),
    /// What it calls a caller whom it does not know.
    nobody: u16,
    /// The words that say what is wrong, where its protocol has them.
    words: fn(&Value) -> &Value,
}

fn doors() -> [Door; 4] {
    let value = json!({"value": "new"});
    [
        Door {
            name: "native",
            read: "/api/v1/secret?reference=keys://team/db".into(),
            write: ("PUT", "/api/v1/secret?reference=keys://team/new".into(), value.clone()),
            nobody: 401,
            words: |answer| &answer["failure"]["message"],
        },
        Door {
            name: "key-vault",
            read: "/secrets/db?api-version=7.4".into(),
            write: ("PUT", "/secrets/new?api-version=7.4".into(), value),
            nobody: 401,
            words: |answer| &answer["error"]["message"],
        },
        Door {
            name: "azureml",
            read: format!("{ML}/secrets/db"),
            write: ("PUT", format!("{ML}/secrets"), json!({"name": "new", "value": "new"})),
            nobody: 401,
            words: |answer| &answer["error"]["message"],
        },
        Door {
            name: "vault",
            read: "/v1/secret/data/db".into(),
            write: ("PUT", "/v1/secret/data/new".into(), json!({"data": {"value": "new"}})),
            nobody: 403,
            words: |answer| &answer["errors"][0],
        },
    ]
}

/// A server with all doors, each on a socket of its own, whose callers are told by a token or by Entra.
struct House {
    home: Home,
    server: Server,
    fake: Fake,
    token: String,
    value: String,
}

fn house() -> House {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home();
    let token = home.canary("token");
    let operations = "[\"resolve\", \"list\", \"metadata\", \"set\"]";
    let listeners: String = doors()
        .iter()
        .map(|Door { name, .. }| {
            let socket = home.path(format!("run/{name}.sock"));
            format!("[listeners.{name}]\nsocket = \"{}\"\ndoors = [\"{name}\"]\n", socket.display())
        })
        .collect();
    home.configure(&format!(
        r#"
{listeners}
[mounts.keys]
plugin = "keys"
write = true
limits = {{ cpu = "30s", deadline = "60s" }}

[issuers.entra]
issuer = "https://sts.windows.net/{tenant}/"
jwks = "https://login.microsoftonline.com/{tenant}/discovery/v2.0/keys"
audiences = ["api://strongroom"]
algorithms = ["RS256"]
network = "public"

[callers.app]
token = "{digest}"
[callers.trainer]
jwt = {{ issuer = "entra", claims = {{ appid = "{client}", idtyp = "app" }} }}

[[policy]]
callers = ["app"]
mounts = ["keys"]
operations = {operations}
[[policy]]
callers = ["trainer"]
mounts = ["keys"]
names = ["team/db"]
operations = {operations}

[ca.fake]
file = "ca.pem"
hosts = ["login.microsoftonline.com"]
[addresses]
"login.microsoftonline.com" = "127.0.0.1:{port}"

[doors.key-vault]
authority = "https://login.microsoftonline.com/{tenant}"
vaults = {{ "*" = "keys://team" }}
[doors.azureml]
workspaces = {{ "s/g/w" = "keys://team" }}
[doors.vault]
mounts = {{ secret = "keys://team" }}
"#,
        tenant = defaults::TENANT,
        client = defaults::CLIENT,
        digest = strongroom_core::Digest::of(token.as_bytes()),
        port = fake.https_port(),
    ));
    let ca = home.user_config().with_file_name("ca.pem");
    std::fs::copy(fake.folder().join("ca.pem"), &ca).unwrap();
    chmod(&ca, 0o644);
    let value = home.canary("value");
    home.put("keys://team/db", &value);
    let server = Server::start(&home);
    House { home, server, fake, token, value }
}

impl House {
    fn socket(&self, door: &Door) -> PathBuf {
        self.home.path(format!("run/{}.sock", door.name))
    }

    fn connect(&self, door: &Door) -> UnixStream {
        let stream = UnixStream::connect(self.socket(door)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends these very bytes, and no more.
    fn send(&self, door: &Door, bytes: &[u8]) -> Option<Answer> {
        let mut stream = self.connect(door);
        // A server that has refused already need not read on.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        Answer::read(&mut stream)
    }

    fn ask_as(&self, door: &Door, token: &str, method: &str, target: &str, body: Option<&Value>) -> Answer {
        let bearer = format!("Bearer {token}");
        ask_socket(&self.socket(door), method, target, &[("Authorization", &bearer)], body)
    }

    /// The door refused, in the way of its protocol, and told nothing.
    fn refused(&self, door: &Door, what: &str, answer: &Answer, status: u16) {
        assert_eq!(answer.status, status, "{} {what}: {}", door.name, lossy(&answer.body));
        assert!((door.words)(&answer.json()).is_string(), "{} {what}: {}", door.name, lossy(&answer.body));
        assert_eq!(answer.header("content-type"), Some("application/json"), "{} {what}", door.name);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{} {what}", door.name);
        self.home.assert_clean(what, &answer.body);
    }

    /// All doors serve on, and nothing broke inside.
    fn serves_on(&self) {
        for door in doors() {
            let answer = self.ask_as(&door, &self.token, "GET", &door.read, None);
            assert_eq!(answer.status, 200, "{}: {answer:?}", door.name);
            assert!(lossy(&answer.body).contains(&self.value), "{}", door.name);
        }
        assert!(!self.server.said().contains("panicked"), "{}", self.server.said());
    }
}

/// The head of a request that brings a body.
fn head(house: &House, door: &Door, more: &str) -> String {
    let (method, target, _) = &door.write;
    let token = &house.token;
    format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n{more}\r\n"
    )
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let house = house();
    for door in doors() {
        // What says so need not come.
        let told = head(&house, &door, "Content-Length: 2097153\r\n");
        let answer = house.send(&door, told.as_bytes()).unwrap();
        house.refused(&door, "a length", &answer, 413);
        let told = head(&house, &door, "Content-Length: 18446744073709551615\r\n");
        let answer = house.send(&door, told.as_bytes());
        assert!(
            answer.as_ref().is_none_or(|answer| [400, 413, 431].contains(&answer.status)),
            "{}: {answer:?}",
            door.name
        );
        // What does not say so is not read to its end.
        let mut chunked = head(&house, &door, "Transfer-Encoding: chunked\r\n").into_bytes();
        for _ in 0..40 {
            chunked.extend_from_slice(b"10000\r\n");
            chunked.extend(std::iter::repeat_n(b' ', 0x10000));
            chunked.extend_from_slice(b"\r\n");
        }
        let mut stream = house.connect(&door);
        let _ = stream.write_all(&chunked);
        let answer = Answer::read(&mut stream).unwrap();
        house.refused(&door, "chunks", &answer, 413);

        // Heads, also with a good token.
        let (read, token) = (&door.read, &house.token);
        let more = if read.contains('?') { '&' } else { '?' };
        let long = |bytes| "a".repeat(bytes);
        let many = |count| (0..count).map(|n| format!("X-{n}: a\r\n")).collect::<String>();
        let rest = format!("HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n");
        for (what, bytes) in [
            ("a long header", format!("GET {read} {rest}X-Long: {}\r\n\r\n", long(66_000))),
            ("many headers", format!("GET {read} {rest}{}\r\n", many(70))),
            ("a long target", format!("GET {read}{more}x={} {rest}X-Long: {}\r\n\r\n", long(40_000), long(30_000))),
        ] {
            house.refused(&door, what, &house.send(&door, bytes.as_bytes()).unwrap(), 431);
        }
        let under = format!("GET {read} {rest}X-Long: {}\r\n\r\n", long(64_000));
        assert_eq!(house.send(&door, under.as_bytes()).unwrap().status, 200, "{}", door.name);
        // Those that are larger still are refused before any door is asked, without a word.
        for (bytes, statuses) in [
            (format!("GET {read} {rest}X-Long: {}\r\n\r\n", long(400_000)), [431, 431]),
            (format!("GET {read} {rest}{}\r\n", many(110)), [431, 431]),
            (format!("GET /{} {rest}\r\n", long(400_000)), [431, 414]),
        ] {
            let answer = house.send(&door, bytes.as_bytes()).unwrap();
            assert!(statuses.contains(&answer.status), "{}: {answer:?}", door.name);
            assert!(answer.body.is_empty());
        }
    }
    house.serves_on();
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let house = house();
    // All at once: each is given up by itself.
    let slow = doors().map(|door| {
        let mut stream = house.connect(&door);
        stream.write_all(head(&house, &door, "Content-Length: 20\r\n").as_bytes()).unwrap();
        stream.write_all(b"{").unwrap();
        (door, stream)
    });
    house.serves_on();
    for (door, mut stream) in slow {
        house.refused(&door, "a slow body", &Answer::read(&mut stream).unwrap(), 408);
    }
}

#[test]
fn what_is_no_text_or_no_request_is_refused() {
    let house = house();
    for door in doors() {
        let (read, token) = (&door.read, &house.token);
        let (path, query) = read.split_once('?').unwrap_or((read, ""));
        let request = |target: &[u8], headers: &[u8]| {
            let mut bytes = b"GET ".to_vec();
            bytes.extend_from_slice(target);
            bytes.extend_from_slice(b" HTTP/1.1\r\nHost: localhost\r\n");
            bytes.extend_from_slice(headers);
            bytes.extend_from_slice(b"\r\n");
            bytes
        };
        let bearer = format!("Authorization: Bearer {token}\r\n").into_bytes();
        // Bytes that are no UTF-8: in the target, in a header that nobody reads, and in the token.
        let bad = [path.as_bytes(), b"\xff\xfe?", query.as_bytes()].concat();
        let answer = house.send(&door, &request(&bad, &bearer)).unwrap();
        assert!((400..500).contains(&answer.status), "{}: {answer:?}", door.name);
        let odd =
            [&bearer[..], b"User-Agent: \xff\xfe\r\nX-Ms-Client-Request-Id: \xff\r\ntraceparent: \xff\r\n"].concat();
        assert_eq!(house.send(&door, &request(read.as_bytes(), &odd)).unwrap().status, 200, "{}", door.name);
        let answer = house.send(&door, &request(read.as_bytes(), b"Authorization: Bearer \xff\xfe\r\n")).unwrap();
        house.refused(&door, "a token that is no text", &answer, door.nobody);
        // In the body.
        let mut body = head(&house, &door, "Content-Length: 12\r\n").into_bytes();
        body.extend_from_slice(b"{\"a\": \"\xff\xfe\"} ");
        house.refused(&door, "a body that is no text", &house.send(&door, &body).unwrap(), 400);
        // One surrogate is no character either.
        let text = "{\"value\":\"\\ud800\"}";
        let body = head(&house, &door, &format!("Content-Length: {}\r\n", text.len())) + text;
        house.refused(&door, "half a character", &house.send(&door, body.as_bytes()).unwrap(), 400);

        // A body that ends too early is none.
        let body = head(&house, &door, "Content-Length: 500\r\n") + &door.write.2.to_string();
        if let Some(answer) = house.send(&door, body.as_bytes()) {
            house.refused(&door, "half a body", &answer, 400);
        }
        let body = head(&house, &door, "Transfer-Encoding: chunked\r\n") + "zz\r\n{}\r\n0\r\n\r\n";
        if let Some(answer) = house.send(&door, body.as_bytes()) {
            house.refused(&door, "chunks that are none", &answer, 400);
        }
        // Other protocols, and other forms of a target.
        for bytes in [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET\r\n\r\n",
            b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"\0\0\0\0\r\n\r\n",
        ] {
            let answer = house.send(&door, bytes);
            let status = answer.as_ref().map(|answer| answer.status);
            assert!(status.is_none_or(|status| (400..500).contains(&status)), "{}: {answer:?}", door.name);
        }
        // Nothing of all that was written.
        let new = door.read.replace("db", "new");
        assert_eq!(house.ask_as(&door, token, "GET", &new, None).status, 404, "{}", door.name);
    }
    house.serves_on();
}

#[test]
fn a_token_that_the_issuer_did_not_sign_so_is_one_like_any_other() {
    let house = house();
    let good = house.fake.access_token("api://strongroom");
    let other_audience = house.fake.access_token("https://vault.azure.net");
    let stranger = Fake::start(Options::default()).unwrap().access_token("api://strongroom");
    let parts: Vec<&str> = good.split('.').collect();
    let others: Vec<&str> = other_audience.split('.').collect();
    let read = |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    let write = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = |changes: Value| {
        let mut header = read(parts[0]);
        changes.as_object().unwrap().iter().for_each(|(name, value)| header[name] = value.clone());
        write(&header)
    };
    let mut later = read(parts[1]);
    later["exp"] = json!(4_102_444_800_u64);
    let signature = parts[2];
    let mac = URL_SAFE_NO_PAD.encode([7; 32]);
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
    flipped[0] ^= 1;
    let bad: [(&str, String); 14] = [
        ("no such token", "nobody".into()),
        ("nothing in three parts", "..".into()),
        ("another audience", other_audience.clone()),
        ("another issuer's keys", stranger),
        ("claims of another", format!("{}.{}.{signature}", parts[0], others[1])),
        ("claims that were changed", format!("{}.{}.{signature}", parts[0], write(&later))),
        ("no algorithm", format!("{}.{}.", header(json!({"alg": "none"})), parts[1])),
        ("no algorithm, and a signature", format!("{}.{}.{signature}", header(json!({"alg": "nOnE"})), parts[1])),
        ("the public key as a password", format!("{}.{}.{mac}", header(json!({"alg": "HS256"})), parts[1])),
        ("a key of its own", format!("{}.{}.{signature}", header(json!({"jwk": {"kty": "oct", "k": "AA"}})), parts[1])),
        ("keys from elsewhere", format!("{}.{}.{signature}", header(json!({"jku": "https://e.example"})), parts[1])),
        ("another key's name", format!("{}.{}.{signature}", header(json!({"kid": "../../k"})), parts[1])),
        ("another signature", format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode(flipped))),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
    ];
    for door in doors() {
        let answer = house.ask_as(&door, &good, "GET", &door.read, None);
        assert_eq!(answer.status, 200, "{}: {}", door.name, lossy(&answer.body));
        // What its bearer may not have is not told apart from what is not there.
        let [hidden, absent] = ["new", "none"].map(|name| {
            let answer = house.ask_as(&door, &good, "GET", &door.read.replace("db", name), None);
            (answer.status, lossy(&answer.body).replace(name, "NAME"))
        });
        assert_eq!((hidden.0, &hidden), (403, &absent), "{}", door.name);
        let mut told = Vec::new();
        for (what, token) in &bad {
            let answer = house.ask_as(&door, token, "GET", &door.read, None);
            house.refused(&door, what, &answer, door.nobody);
            told.push(lossy(&answer.body));
        }
        assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{}: {told:?}", door.name);
        // Written, so that the second round hides what is there.
        let (method, target, body) = &door.write;
        assert!(house.ask_as(&door, &house.token, method, target, Some(body)).status < 300, "{}", door.name);
        let there = house.ask_as(&door, &good, "GET", &door.read.replace("db", "new"), None);
        assert_eq!((there.status, lossy(&there.body).replace("new", "NAME")), absent, "{}", door.name);
    }
    house.serves_on();
}
