//! What leaves, as seen on the wire: the program runs in a network namespace in which every address
//! and every name answers, and the set of what it sent is exactly what was approved.
//!
//! `island.py` is that network, its servers and the capture. Names are asked for by the operating
//! system's own resolver, and nothing of the host is replaced.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::{Value as Json, json};

use crate::backend::authority;
use crate::code::{Home, add};
use crate::world::{PROGRAM, RULES, Script, get, manifest, request, script};

/// Who is asked for names: an address that leads nowhere else.
const NAMESERVER: &str = "198.51.100.53";

const PUBLIC: &str = "93.184.215.14";
const PUBLIC_SIX: &str = "2606:2800:21f:cb07:6820:80da:af6b:8b2c";

/// The names with addresses of their own; all others lead to the public Internet, too.
fn zone() -> Json {
    json!({
        "good.example": [[PUBLIC]],
        "vault.example": [[PUBLIC]],
        "six.example": [[PUBLIC_SIX]],
        "both.example": [[PUBLIC, PUBLIC_SIX]],
        "inside.example": [["10.20.30.40"]],
        "here.example": [["127.0.0.1", "::1"]],
        "metadata.example": [["169.254.169.254"]],
        "azure.example": [["168.63.129.16"]],
        "metadata6.example": [["fd00:ec2::254"]],
        "mixed.example": [[PUBLIC, "10.0.0.1"]],
        "mixed6.example": [[PUBLIC, "fd00::1"]],
        "mapped.example": [["::ffff:10.0.0.1"]],
        "translated.example": [["64:ff9b::a00:1"]],
        "nobody.example": [["0.0.0.0"]],
        // Each family is asked for once; whoever asked again before connecting would get the second.
        "moving.example": [[PUBLIC], ["10.0.0.1"]],
    })
}

/// The running network, and the way to it.
struct Island {
    _process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What runs it, and can run a plain program that sends.
    python: String,
}

/// What one program did.
struct Ran {
    status: i64,
    out: String,
    err: String,
    sent: Vec<String>,
}

/// One for all tests of this process, and one program in it at a time. It ends with this process, and
/// the kernel takes the namespaces with it.
static ISLAND: LazyLock<Option<Mutex<Island>>> = LazyLock::new(|| Island::start().map(Mutex::new));

impl Island {
    /// `None`, said on standard error, where no namespace can be made.
    fn start() -> Option<Self> {
        let namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child"];
        let can = |program: &str, arguments: &[&str]| {
            Command::new(program).args(arguments).output().is_ok_and(|done| done.status.success())
        };
        // Whether it can be made is found out by making one with everything that is needed in it.
        let tried = "ip link set lo up && ip route add local 0.0.0.0/0 dev lo && ip -6 route add local ::/0 dev lo \
                     && mount --bind /etc/resolv.conf /etc/resolv.conf && python3 -c 'import ssl'";
        if !can("unshare", &[&namespaces[..], &["sh", "-c", tried]].concat()) {
            let line =
                "skipped: the packets of the hostile suite need root, unshare, ip (iproute2, with IPv6) and python3";
            // Past the harness, which would keep it to itself.
            let _ = writeln!(std::io::stderr(), "{line}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        // Its certificate names places to ask about it. Nobody does.
        let (certificate, key) = authority().issue("vault.example", "http://revoked.example/list.crl");
        let plan = json!({
            "nameserver": NAMESERVER,
            "zone": zone(),
            "certificate": write("certificate.pem", certificate),
            "key": write("key.pem", key),
            "resolv": write("resolv.conf", format!("nameserver {NAMESERVER}\n")),
            "hosts": write("hosts", "127.0.0.1 localhost\n::1 localhost\n".into()),
            "nsswitch": write("nsswitch.conf", "hosts: files dns\n".into()),
        });
        let mut process = Command::new("unshare")
            .args(namespaces)
            .args(["python3", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hostile/island.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut island = Self { _process: process, orders, answers: BufReader::new(answers), python: String::new() };
        island.python = island.ask(&plan)["python"].as_str().unwrap().to_owned();
        Some(island)
    }

    fn ask(&mut self, order: &Json) -> Json {
        writeln!(self.orders, "{order}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

/// A home in which the hostile provider and the example provider were accepted.
struct Place {
    home: Home,
    config: String,
}

impl Place {
    /// `None` where there is no island.
    fn new() -> Option<Self> {
        LazyLock::force(&ISLAND).as_ref()?;
        let home = Home::new();
        // Code that was compiled is shared between tests and runs, as its digest and seal allow.
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packets");
        for (name, folder) in [("XDG_STATE_HOME", "state"), ("XDG_CACHE_HOME", "cache")] {
            fs::create_dir_all(shared.join(folder)).unwrap();
            home.set(name, shared.join(folder));
        }
        add(&home, "guest", &manifest(RULES));
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/bundled/examples/vault-kv.wasm");
        home.strongroom(["plugin", "add", "--yes", example]).done().ok();
        fs::write(home.user_config().with_file_name("ca.pem"), authority().pem()).unwrap();
        let config = fs::read_to_string(home.user_config()).unwrap();
        Some(Self { home, config })
    }

    /// The hostile provider's rules are about `origin` from now on, with `more` in its mount.
    fn rules_for(&self, origin: &str, more: &str) {
        let token = self.home.work("token");
        let hostile = "[mounts.hostile]\n";
        let vault = "[mounts.vault-kv]\n";
        assert!(self.config.contains(hostile) && self.config.contains(vault), "{}", self.config);
        let config = self
            .config
            .replace(hostile, &format!("{hostile}config = {{ plain = \"{origin}\", secure = \"https://vault.example\", space = \"own\" }}\n{more}\n"))
            .replace(vault, &format!("{vault}config = {{ address = \"https://vault.example\" }}\ncredential = \"c\"\n"));
        let more = format!(
            "[mounts.files]\nplugin = \"file\"\nconfig.folders = [\"{}\"]\n\
             [credentials.c]\nplugin = \"auth-token\"\nsealed = {{ token = \"file:{}\" }}\naudiences = [\"https://vault.example\"]\n\
             [ca.test]\nfile = \"ca.pem\"\nhosts = [\"vault.example\"]\n",
            self.home.work("").display(),
            token.display(),
        );
        self.home.configure(&format!("{config}\n{more}"));
        self.home.write("token", "a-token-of-the-test");
    }

    /// Runs a program on the island.
    fn run(&self, program: &str, arguments: &[&str]) -> Ran {
        let variables: serde_json::Map<String, Json> = self
            .home
            .variables()
            .into_iter()
            .map(|(name, value)| (name.into_string().unwrap(), value.into_string().unwrap().into()))
            .collect();
        let argv: Vec<&str> = [&[program], arguments].concat();
        let order = json!({ "argv": argv, "env": variables, "cwd": self.home.work(".") });
        let island = ISLAND.as_ref().unwrap();
        let answer = island.lock().unwrap_or_else(PoisonError::into_inner).ask(&order);
        let text = |key: &str| answer[key].as_str().unwrap().to_owned();
        let sent = answer["sent"].as_array().unwrap().iter().map(|what| what.as_str().unwrap().to_owned());
        Ran { status: answer["status"].as_i64().unwrap(), out: text("out"), err: text("err"), sent: sent.collect() }
    }

    fn strongroom(&self, arguments: &[&str]) -> Ran {
        self.run(PROGRAM, arguments)
    }

    /// Has the hostile provider run the script, its rules being about `origin`.
    fn script(&self, origin: &str, more: &str, script: &Script) -> Ran {
        self.rules_for(origin, more);
        self.strongroom(&["get", &script.at("a")])
    }
}

impl Ran {
    /// Exactly this was sent.
    #[track_caller]
    fn sent(self, expected: &[impl AsRef<str>]) -> Self {
        let mut expected: Vec<&str> = expected.iter().map(AsRef::as_ref).collect();
        expected.sort_unstable();
        assert_eq!(self.sent, expected, "\nout: {}\nerr: {}", self.out, self.err);
        self
    }

    #[track_caller]
    fn sent_nothing(self) -> Self {
        self.sent(&[] as &[&str])
    }

    /// It did what it was to do.
    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.status, 0, "{}{}", self.out, self.err);
        self
    }

    /// What each step of a script came to.
    #[track_caller]
    fn report(&self) -> Vec<Json> {
        assert_eq!(self.status, 0, "{}{}", self.out, self.err);
        serde_json::from_str(&self.out).unwrap()
    }
}

/// Both questions for the addresses of a name.
fn asked(name: &str) -> [String; 2] {
    [format!("dns A {name}"), format!("dns AAAA {name}")]
}

/// Both questions, and a connection.
fn asked_and(name: &str, connected: &str) -> Vec<String> {
    [&asked(name)[..], &[connected.to_owned()]].concat()
}

#[test]
fn a_program_that_sends_anywhere_is_seen() {
    let Some(place) = Place::new() else { return };
    let python = &ISLAND.as_ref().unwrap().lock().unwrap_or_else(PoisonError::into_inner).python.clone();
    let seen = |script: &str, sent: &[&str]| drop(place.run(python, &["-c", script]).ok().sent(sent));
    let connect = |to: &str| format!("import socket; socket.create_connection(({to}), 5)");
    let send = |family: &str, to: &str| {
        format!("import socket; socket.socket(socket.{family}, socket.SOCK_DGRAM).sendto(b'x', ({to}))")
    };
    seen("pass", &[]);
    seen(&connect("'169.254.169.254', 80"), &["tcp 169.254.169.254:80"]);
    seen(&connect("'10.0.0.1', 443"), &["tcp 10.0.0.1:443"]);
    seen(&connect("'127.0.0.1', 80"), &["tcp 127.0.0.1:80"]);
    seen(&connect("'fd00:ec2::254', 80"), &["tcp [fd00:ec2::254]:80"]);
    // Also where nobody listens.
    seen(
        &connect("'10.0.0.1', 8200")
            .replace("socket.create", "try: socket.create")
            .replace("; try", "\ntry")
            .replace(", 5)", ", 5)\nexcept OSError: pass"),
        &["tcp 10.0.0.1:8200"],
    );
    seen(&send("AF_INET", "'10.0.0.1', 514"), &["udp 10.0.0.1:514"]);
    seen(&send("AF_INET6", "'fd00::1', 514"), &["udp [fd00::1]:514"]);
    seen(&send("AF_INET", "'224.0.0.251', 5353"), &["udp 224.0.0.251:5353"]);
    seen(&send("AF_INET", "'8.8.8.8', 53"), &["udp 8.8.8.8:53"]);
    seen(
        "import socket; socket.getaddrinfo('stolen.evil.example', 80)",
        &asked("stolen.evil.example").each_ref().map(String::as_str),
    );
    // As is what the program of `run` sends: the wall is around plugins.
    let child = connect("'169.254.169.254', 80");
    place.strongroom(&["run", "-e", "A=env:HOME", "--", python, "-c", &child]).ok().sent(&["tcp 169.254.169.254:80"]);
}

#[test]
fn an_approved_request_is_all_that_is_sent() {
    let Some(place) = Place::new() else { return };
    let cases = [
        ("http://good.example", "", asked_and("good.example", &format!("tcp {PUBLIC}:80"))),
        ("http://six.example", "", asked_and("six.example", &format!("tcp [{PUBLIC_SIX}]:80"))),
        ("http://inside.example", "network = \"private\"", asked_and("inside.example", "tcp 10.20.30.40:80")),
        ("http://inside.example", "network = [\"10.20.0.0/16\"]", asked_and("inside.example", "tcp 10.20.30.40:80")),
        // An address is nothing to ask for.
        ("http://93.184.215.14", "", vec![format!("tcp {PUBLIC}:80")]),
        ("http://127.0.0.1", "network = \"loopback\"", vec!["tcp 127.0.0.1:80".into()]),
        ("http://[::1]", "network = \"loopback\"", vec!["tcp [::1]:80".into()]),
        // One that does not listen is tried, and nothing else.
        ("http://good.example:8200", "", asked_and("good.example", &format!("tcp {PUBLIC}:8200"))),
    ];
    for (origin, more, sent) in cases {
        let ran = place.script(origin, more, &script(get(origin, "/open/a")));
        let answered = ran.report()[0]["status"] == 200;
        assert_eq!(answered, !origin.ends_with(":8200"), "{origin}: {}", ran.out);
        ran.sent(&sent);
    }
    // Of two families, the system says which comes first.
    let ran = place.script("http://both.example", "", &script(get("http://both.example", "/open/a")));
    let one = ["tcp 93.184.215.14:80".to_owned(), format!("tcp [{PUBLIC_SIX}]:80")]
        .into_iter()
        .find(|to| ran.sent.contains(to));
    ran.sent(&asked_and("both.example", &one.unwrap()));
    // Five requests are one question and as many connections as are needed, all to one place.
    let five = (0..5).fold(Script::default(), |script, _| script.then(get("http://good.example", "/open/a")));
    place.script("http://good.example", "", &five).sent(&asked_and("good.example", &format!("tcp {PUBLIC}:80")));
    // `plugin run` sends what `get` would.
    place
        .strongroom(&["plugin", "run", &five.at("a")])
        .ok()
        .sent(&asked_and("good.example", &format!("tcp {PUBLIC}:80")));
}

#[test]
fn a_request_with_a_credential_goes_to_its_vault_alone() {
    let Some(place) = Place::new() else { return };
    place.rules_for("http://good.example", "");
    let vault = asked_and("vault.example", &format!("tcp {PUBLIC}:443"));
    let ran = place.strongroom(&["get", "vault://secret/app/db#password"]).ok().sent(&vault);
    assert_eq!(ran.out, "from-the-island");
    let ran = place.strongroom(&["run", "-e", "P=vault://secret/app/db#password", "--", "sh", "-c", "echo ${#P}"]).ok();
    assert_eq!(ran.sent(&vault).out, "15\n");
    // `doctor` looks whether each mount's backends are there, and those are approved.
    let both = [&vault[..], &asked_and("good.example", &format!("tcp {PUBLIC}:80"))].concat();
    place.strongroom(&["doctor"]).sent(&both);
}

#[test]
fn what_no_rule_allows_is_not_sent_and_not_asked_for() {
    let Some(place) = Place::new() else { return };
    let origin = "http://good.example";
    let elsewhere = [
        "http://evil.example",
        "http://a.good.example",
        "http://good.example.evil.example",
        "http://good.example:8080",
        "https://good.example",
        "http://GOOD.example.",
        "http://user@good.example",
        "http://good.example@evil.example",
        // The variable in a name's labels.
        "http://stolen.evil.example",
        "http://s.t.o.l.e.n.good.example",
        "http://169.254.169.254",
        "http://168.63.129.16",
        "http://[fd00:ec2::254]",
        "http://10.0.0.1",
        "http://192.168.0.1",
        "http://127.0.0.1",
        "http://localhost",
        "http://[::1]",
        "http://[::ffff:127.0.0.1]",
        "http://[fe80::1]",
        "http://0.0.0.0",
        "http://2130706433",
        "http://0x7f.1",
        "http://93.184.215.14",
        "http://224.0.0.251",
        "http://255.255.255.255",
        "https://vault.example:8200",
        "http://vault.example",
    ];
    let mut tried: Vec<Json> = elsewhere.iter().map(|elsewhere| get(elsewhere, "/open/a")).collect();
    for (target, more) in [
        ("http://evil.example/open/a", json!({})),
        ("//evil.example/open/a", json!({})),
        ("/open/a/../b", json!({})),
        ("/open/b", json!({})),
        ("/open/a?debug=1", json!({})),
        ("/open/a", json!({ "method": "CONNECT" })),
        ("/open/a", json!({ "method": "PUT", "body": { "size": 1 } })),
        ("/open/a", json!({ "method": "GET", "body": { "size": 1 } })),
        ("/open/a", json!({ "headers": [["host", "evil.example"]], "strict": true })),
        ("/open/a", json!({ "headers": [["x-forwarded-host", "evil.example"]], "strict": true })),
    ] {
        tried.push(request(origin, target, more));
    }
    // As many as one reference can carry, and one call may make.
    for tried in tried.chunks(8) {
        let all = tried.iter().fold(Script::default(), |script, step| script.then(step.clone()));
        let ran = place.script(origin, "", &all);
        for (step, came) in tried.iter().zip(ran.report()) {
            assert!(came["error"].is_string(), "{step}: {came}");
        }
        ran.sent_nothing();
    }
}

#[test]
fn a_name_that_leads_elsewhere_is_asked_for_and_not_connected_to() {
    let Some(place) = Place::new() else { return };
    let cases = [
        ("inside.example", ""),
        ("here.example", ""),
        ("metadata.example", ""),
        ("azure.example", ""),
        ("metadata6.example", ""),
        ("mixed.example", ""),
        ("mixed6.example", ""),
        ("mapped.example", ""),
        ("translated.example", ""),
        ("nobody.example", ""),
        ("metadata.example", "network = \"private\""),
        ("metadata6.example", "network = \"private\""),
        ("good.example", "network = \"private\""),
        ("mixed.example", "network = \"private\""),
        ("inside.example", "network = \"loopback\""),
        ("inside.example", "network = [\"10.21.0.0/16\"]"),
    ];
    for (name, more) in cases {
        let origin = format!("http://{name}");
        let ran = place.script(&origin, more, &script(get(&origin, "/open/a")));
        assert_eq!(ran.report()[0]["error"], "ErrorCode::DestinationIpProhibited", "{name} {more}");
        ran.sent(&asked(name));
    }
    for address in ["169.254.169.254", "10.0.0.1", "127.0.0.1", "[fd00:ec2::254]", "[::ffff:10.0.0.1]"] {
        let origin = format!("http://{address}");
        let ran = place.script(&origin, "", &script(get(&origin, "/open/a")));
        assert!(ran.report()[0]["error"].is_string(), "{address}");
        ran.sent_nothing();
    }
}

#[test]
fn a_name_that_moves_after_it_was_checked() {
    let Some(place) = Place::new() else { return };
    let twice = script(get("http://moving.example", "/open/a")).then(get("http://moving.example", "/open/a"));
    let ran = place.script("http://moving.example", "", &twice);
    assert!(ran.report().iter().all(|came| came["status"] == 200), "{}", ran.out);
    ran.sent(&asked_and("moving.example", &format!("tcp {PUBLIC}:80")));
    // By now the name has moved: it is asked for, and not followed.
    let ran = place.script("http://moving.example", "", &twice);
    assert!(ran.report().iter().all(|came| came["error"] == "ErrorCode::DestinationIpProhibited"), "{}", ran.out);
    ran.sent(&asked("moving.example"));
}

#[test]
fn an_answer_that_leads_elsewhere_is_not_followed() {
    let Some(place) = Place::new() else { return };
    place.rules_for("http://good.example", "");
    let astray = script(get("http://good.example", "/open/astray"));
    let ran = place.strongroom(&["get", &astray.at("astray")]);
    assert_eq!(ran.report()[0]["status"], 302);
    ran.sent(&asked_and("good.example", &format!("tcp {PUBLIC}:80")));
    // Over TLS, whose certificate names more places.
    let ran = place.strongroom(&["get", "vault://secret/astray#password"]);
    assert_ne!(ran.status, 0, "{}", ran.out);
    ran.sent(&asked_and("vault.example", &format!("tcp {PUBLIC}:443")));
}

#[test]
fn proxies_of_the_environment_are_not_used() {
    let Some(place) = Place::new() else { return };
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        place.home.set(name, "http://10.9.9.9:3128");
    }
    place.home.set("SSL_CERT_FILE", "/nonexistent");
    place.rules_for("http://good.example", "");
    let ran = place.strongroom(&["get", &script(get("http://good.example", "/open/a")).at("a")]).ok();
    ran.sent(&asked_and("good.example", &format!("tcp {PUBLIC}:80")));
    let ran = place.strongroom(&["get", "vault://secret/app/db#password"]).ok();
    ran.sent(&asked_and("vault.example", &format!("tcp {PUBLIC}:443")));
}

#[test]
fn what_needs_no_backend_sends_nothing() {
    let Some(place) = Place::new() else { return };
    place.rules_for("http://good.example", "");
    place.home.set("NAME", "value");
    let wanted = script(get("http://good.example", "/open/a")).at("a");
    for arguments in [
        &["get", "env:NAME"][..],
        &["run", "-e", "A=env:NAME", "--", "true"],
        &["explain", &wanted],
        &["explain", "vault://secret/app/db"],
        &["list"],
        &["list", "--sources"],
        &["plugin", "list"],
        &["plugin", "inspect", "plugin.wasm"],
        &["plugin", "add", "--yes", "plugin.wasm"],
        &["get", "hostile://a"],
    ] {
        place.strongroom(arguments).ok().sent_nothing();
    }
}
