use serde_json::json;

use super::*;

fn parse(text: &str) -> Result<Config, Failure> {
    Config::parse(text, Text::new("strongroom.toml"), Layer::User)
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn mount(body: &str) -> Result<Mount, Failure> {
    let config = parse(&format!("[mounts.m]\nplugin = \"env\"\n{body}"))?;
    Ok(config.mounts[&name("m")].clone())
}

fn reference(text: &str) -> Reference {
    Reference::parse(text, &crate::Shapes::builtin()).unwrap()
}

#[test]
fn an_empty_file_and_a_comment_are_a_config() {
    for text in ["", "#:schema https://example.org/s.json\n"] {
        let config = parse(text).unwrap();
        assert!(config.mounts.is_empty() && config.store.is_none() && config.run.is_none());
    }
}

/// A table that is right, by its lines.
type Right = [&'static str];

const ISSUER: [&str; 5] = [
    "[issuers.i]",
    "issuer = \"https://i.example\"",
    "jwks = \"https://i.example/keys\"",
    "audiences = [\"a\"]",
    "algorithms = [\"RS256\"]",
];

const RULE: [&str; 4] = ["[[policy]]", "callers = [\"owner\"]", "mounts = [\"env\"]", "operations = [\"resolve\"]"];

/// The table, with lines of `body` in place of those of the same keys.
fn with(body: &str, right: &Right) -> String {
    let key = |line: &str| line.split(" = ").next().unwrap().to_owned();
    let replaced: Vec<String> = body.lines().map(key).collect();
    let kept = right.iter().filter(|line| !replaced.contains(&key(line))).copied();
    kept.chain(body.lines()).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_wrong_is_told_with_place_and_key_and_without_values() {
    let d = |table: &str, key: &str, value: &str| format!("[doors.{table}]\n\"{key}\" = \"{value}\"");
    let l = |keys: &str| format!("[listeners.main]\n{keys}");
    let t = |keys: &str| format!("[server.traces]\n{keys}");
    let digest = Digest::of(b"x");
    let file = |path: &str| format!("[mounts.m]\nplugin = {{ path = \"{path}\", digest = \"{digest}\" }}");
    let m = |body: &str| format!("[mounts.m]\nplugin = \"env\"\n{body}");
    let c = |body: &str| format!("[credentials.c]\nplugin = \"a\"\n{body}");
    let k = |body: &str| format!("{}\n[callers.c]\n{body}", with("", &ISSUER));
    let i = |body: &str| with(body, &ISSUER);
    let p = |body: &str| with(body, &RULE);
    let table = [
        ("[mount.m]\n".to_owned(), "config.unknown-key", "mount"),
        ("[mounts.M]\nplugin = \"env\"".to_owned(), "config.value", "M"),
        ("[mounts.m]\nscheme = \"canary\"".to_owned(), "config.missing-key", "m"),
        ("[mounts.m]\nplugin = \"Canary\"".to_owned(), "config.value", "plugin"),
        ("[mounts.m]\nplugin = 4711".to_owned(), "config.value", "plugin"),
        ("[mounts.m]\nplugin = { path = \"canary\" }".to_owned(), "config.missing-key", "plugin"),
        ("[mounts.m]\nplugin = { path = \"a\", digest = \"canary\" }".to_owned(), "config.value", "digest"),
        (file(""), "config.value", "path"),
        (m("alow = [\"canary\"]"), "config.unknown-key", "alow"),
        (m("credential = \"Canary\""), "config.value", "credential"),
        (m("network = \"canary\""), "config.value", "network"),
        (m("network = [\"10.4.7.11/8\"]"), "config.value", "network"),
        (m("network = \"imds\""), "config.network", "network"),
        (m("plugin = \"canary\""), "config.duplicate-key", "plugin"),
        (m("scheme = \"Canary\""), "config.value", "scheme"),
        (m("allow = []"), "config.value", "allow"),
        (m("allow = \"canary\""), "config.value", "allow"),
        (m("allow = [\"canary***\"]"), "config.value", "allow"),
        (m("match = []"), "config.value", "match"),
        (m("hosts = []"), "config.value", "hosts"),
        (m("hosts = [\"canary*.b\"]"), "config.value", "hosts"),
        (m("hosts = [\"a.b\"]\ndefault = true"), "config.routing", "default"),
        (m("hosts = [\"a.b\"]\nmatch = [\"canary\"]"), "config.routing", "match"),
        (m("write = \"canary\""), "config.value", "write"),
        (m("grants = [\"canary\"]"), "config.value", "grants"),
        (m("ttl = \"canary\""), "config.value", "ttl"),
        (m("ttl = 4711"), "config.value", "ttl"),
        (m("ttl = \"0s\""), "config.value", "ttl"),
        (m("stale_ttl = \"1s\""), "config.ttl", "stale_ttl"),
        (m("person = \"Canary\""), "config.value", "person"),
        (m("person = \"me\""), "config.person", "person"),
        (m("person = \"c\"\ncredential = \"c\""), "config.person", "person"),
        (m("keep = \"0s\""), "config.value", "keep"),
        (m("keep = true"), "config.value", "keep"),
        (m("ttl = \"2h\"\nkeep = \"1h\""), "config.ttl", "keep"),
        (m("config = \"canary\""), "config.value", "config"),
        (m("config.a = [\"x ${{keys://canary}}\"]"), "config.reference", "config"),
        (m("config.a = \"@Microsoft.KeyVault(VaultName=canary;SecretName=n)\""), "config.reference", "config"),
        (m("limits.memory = \"4711\""), "config.value", "memory"),
        (m("limits.memory = \"4711GiB\""), "config.limit", "memory"),
        (m("limits.memory = \"1B\""), "config.limit", "memory"),
        (m("limits.cpu = \"0s\""), "config.limit", "cpu"),
        (m("limits.deadline = \"2h\""), "config.limit", "deadline"),
        (m("limits.handles = 0"), "config.limit", "handles"),
        (m("limits.value = \"4MiB\""), "config.limit", "value"),
        (m("limits.hostcall_fuel = \"4KiB\""), "config.limit", "hostcall_fuel"),
        (m("limits.parallel = 4711"), "config.limit", "parallel"),
        (m("limits.requests = 4711"), "config.limit", "requests"),
        (m("limits.sent = \"1GiB\""), "config.limit", "sent"),
        (m("limits.response = \"1B\""), "config.limit", "response"),
        (m("limits.other = 1"), "config.unknown-key", "other"),
        ("[store]\nkey = \"canary\"".to_owned(), "config.value", "key"),
        ("[store]\npath = \"\"".to_owned(), "config.value", "path"),
        ("[store]\npassphrase = \"canary\"".to_owned(), "config.unknown-key", "passphrase"),
        ("[run]\nallow_names = [\"LD_*\"]".to_owned(), "config.value", "allow_names"),
        ("[run]\nallow_names = [\"A=canary\"]".to_owned(), "config.value", "allow_names"),
        ("[servers]\n".to_owned(), "config.unknown-key", "servers"),
        ("[credentials.c]\nplugin = \"canary\"".to_owned(), "config.missing-key", "c"),
        (c("audiences = []"), "config.value", "audiences"),
        (c("audiences = [\"\"]"), "config.value", "audiences"),
        (c("audiences = [\"a\"]\nsealed.token = \"canary\""), "config.sealed", "token"),
        (c("audiences = [\"a\"]\nsealed.Token = \"env:X\""), "config.value", "sealed"),
        (c("audiences = [\"a\"]\nprojects = [\"canary\"]"), "config.value", "projects"),
        (c("audiences = [\"a\"]\nconfig.secret = \"${{env:canary}}\""), "config.reference", "config"),
        (c("audiences = [\"a\"]\nnetwork = \"canary\""), "config.value", "network"),
        (c("audiences = [\"a\"]\nlimits.cpu = \"0s\""), "config.limit", "cpu"),
        (c("audiences = [\"a\"]\nlimits.parallel = 2"), "config.limit", "parallel"),
        (c("audiences = [\"a\"]\ntenant = \"canary\""), "config.unknown-key", "tenant"),
        ("[ca.c]\nfile = \"\"\nhosts = [\"a.b\"]".to_owned(), "config.value", "file"),
        ("[ca.c]\nfile = \"canary\"".to_owned(), "config.missing-key", "c"),
        ("[ca.c]\nfile = \"canary\"\nhosts = []".to_owned(), "config.value", "hosts"),
        (k(""), "config.caller", "c"),
        (k("unix.uid = 4711\ntls = [\"canary\"]"), "config.caller", "c"),
        (k("unix.uid = -4711"), "config.value", "uid"),
        (k("unix.uid = \"canary\""), "config.value", "uid"),
        (k("unix = {}"), "config.caller", "unix"),
        (k("unix = { uid = 4711, group = \"canary\" }"), "config.caller", "unix"),
        (k("unix = { user = \"\" }"), "config.caller", "unix"),
        (k("unix = { group = \"canary\\n\" }"), "config.caller", "unix"),
        (k("unix = { pid = 4711 }"), "config.unknown-key", "pid"),
        (k("tls = []"), "config.caller", "tls"),
        (k("tls = [\"*.canary\"]"), "config.caller", "tls"),
        (k("tls = [\"canary \"]"), "config.caller", "tls"),
        (k("tls = \"canary\""), "config.value", "tls"),
        (k("token = \"canary\""), "config.value", "token"),
        (k("token = \"sha256:canary\""), "config.value", "token"),
        (k("jwt = { subject = \"canary\" }"), "config.missing-key", "jwt"),
        (k("jwt = { issuer = \"other\", subject = \"canary\" }"), "config.caller", "issuer"),
        (k("jwt = { issuer = \"i\" }"), "config.caller", "jwt"),
        (k("jwt = { issuer = \"i\", subject = \"**\" }"), "config.value", "subject"),
        (k("jwt = { issuer = \"i\", subject = \"canary**\" }"), "config.value", "subject"),
        (k("jwt = { issuer = \"i\", subject = \"a\", claims = { sub = \"canary\" } }"), "config.caller", "sub"),
        (k("jwt = { issuer = \"i\", subject = \"a\", claims = { aud = \"canary\" } }"), "config.caller", "aud"),
        (k("jwt = { issuer = \"i\", subject = \"a\", claims = { x = [] } }"), "config.caller", "x"),
        (k("jwt = { issuer = \"i\", subject = \"a\", claims = { x = [\"canary**\"] } }"), "config.value", "x"),
        (k("jwt = { issuer = \"i\", subject = \"a\", claims = { x = 4711 } }"), "config.value", "x"),
        ("[callers.owner]\nunix = { uid = 4711 }".to_owned(), "config.caller", "owner"),
        (format!("[callers.a]\ntoken = \"{digest}\"\n[callers.b]\ntoken = \"{digest}\""), "config.caller", "token"),
        (i("issuer = \"http://canary.example\""), "config.issuer", "issuer"),
        (i("issuer = \"canary\""), "config.issuer", "issuer"),
        (i("issuer = \"https://canary.example/{tenant}\""), "config.issuer", "issuer"),
        (i("issuer = \"https://canary.example/ \""), "config.issuer", "issuer"),
        (i("issuer = \"https://i.example\"\njwks = \"http://canary.example/k\""), "config.issuer", "jwks"),
        (i("issuer = \"https://i.example\"\njwks = \"https://u@canary.example/k\""), "config.issuer", "jwks"),
        (i("issuer = \"https://i.example\"\njwks = \"https://canary.example/k#a\""), "config.issuer", "jwks"),
        (i("issuer = \"https://i.example\"\njwks = \"https://canary.example?k\""), "config.issuer", "jwks"),
        (i("audiences = []"), "config.issuer", "audiences"),
        (i("audiences = [\"\"]"), "config.issuer", "audiences"),
        (i("audiences = [\"*\"]"), "config.issuer", "audiences"),
        (i("algorithms = []"), "config.issuer", "algorithms"),
        (i("algorithms = [\"none\"]"), "config.value", "algorithms"),
        (i("algorithms = [\"HS256\"]"), "config.value", "algorithms"),
        (i("algorithms = [\"rs256\"]"), "config.value", "algorithms"),
        (i("network = \"imds\""), "config.issuer", "network"),
        (i("network = \"canary\""), "config.value", "network"),
        (i("max_age = \"59s\""), "config.issuer", "max_age"),
        (i("max_age = \"25h\""), "config.issuer", "max_age"),
        (i("secret = \"canary\""), "config.unknown-key", "secret"),
        (p("callers = []"), "config.policy", "callers"),
        (p("callers = [\"nobody\"]"), "config.policy", "callers"),
        (p("callers = [\"Canary\"]"), "config.value", "callers"),
        (p("mounts = []"), "config.policy", "mounts"),
        (p("hosts = []"), "config.policy", "hosts"),
        (p("hosts = [\"canary*.b\"]"), "config.value", "hosts"),
        (p("names = []"), "config.policy", "names"),
        (p("names = [\"canary***\"]"), "config.value", "names"),
        (p("operations = []"), "config.policy", "operations"),
        (p("operations = [\"*\"]"), "config.value", "operations"),
        (p("operations = [\"canary\"]"), "config.value", "operations"),
        (p("deny = true"), "config.unknown-key", "deny"),
        ("[[policy]]\ncallers = [\"owner\"]\noperations = [\"resolve\"]".to_owned(), "config.policy", "policy"),
        ("[[policy]]\ncallers = [\"owner\"]\nmounts = [\"env\"]".to_owned(), "config.missing-key", "policy"),
        (
            "[[policy]]\ncallers = [\"owner\"]\nnames = [\"x\"]\noperations = [\"plugins\"]".to_owned(),
            "config.policy",
            "names",
        ),
        (l("doors = [\"native\"]"), "config.listener", "main"),
        (l("socket = \"s\"\naddress = \"127.0.0.1:1\"\ndoors = [\"native\"]"), "config.listener", "main"),
        (l("socket = \"s\"\ndoors = []"), "config.listener", "doors"),
        (l("socket = \"s\"\ndoors = [\"metrics\", \"native\"]"), "config.listener", "doors"),
        (l("socket = \"s\"\ndoors = [\"back\"]"), "config.value", "doors"),
        (l("socket = \"\"\ndoors = [\"native\"]"), "config.listener", "socket"),
        (l("socket = \"s\"\ninsecure_loopback = true\ndoors = [\"native\"]"), "config.listener", "insecure_loopback"),
        (l("address = \"127.0.0.1\"\ndoors = [\"native\"]"), "config.listener", "address"),
        (l("address = \"127.0.0.1:1\"\ndoors = [\"native\"]"), "config.listener", "main"),
        (
            l("address = \"10.0.0.1:1\"\ninsecure_loopback = true\ndoors = [\"native\"]"),
            "config.listener",
            "insecure_loopback",
        ),
        (
            l("address = \"127.0.0.1:1\"\nopen_to = \"all\"\ninsecure_loopback = true\ndoors = [\"native\"]"),
            "config.listener",
            "open_to",
        ),
        (
            l(
                "address = \"127.0.0.1:1\"\ninsecure_loopback = true\ntls = { certificate = \"a\", key = \"b\" }\ndoors = [\"native\"]",
            ),
            "config.listener",
            "insecure_loopback",
        ),
        (
            l("address = \"127.0.0.1:1\"\ntls = { certificate = \"a\" }\ndoors = [\"native\"]"),
            "config.missing-key",
            "tls",
        ),
        ("[server]\nrequests = 0".to_owned(), "config.value", "requests"),
        ("[server]\nport = 1".to_owned(), "config.unknown-key", "port"),
        // The door of one run's child is no listener's.
        (l("socket = \"s\"\ndoors = [\"managed-identity\"]"), "config.value", "doors"),
        (d("key-vault.vaults", "Team.test", "env:"), "config.value", "\"Team.test\""),
        (d("key-vault.vaults", "team.test:443", "env:"), "config.value", "\"team.test:443\""),
        ("[doors.key-vault]\nvaults = {}".to_owned(), "config.value", "vaults"),
        (
            "[doors.key-vault]\nvaults = { \"*\" = \"env:\" }\nauthority = \"http://a.test\"".to_owned(),
            "config.value",
            "authority",
        ),
        (
            "[doors.key-vault]\nvaults = { \"*\" = \"env:\" }\nresource = \"https://a.test/\"".to_owned(),
            "config.value",
            "resource",
        ),
        (d("azureml.workspaces", "sub/ws", "env:"), "config.value", "\"sub/ws\""),
        (d("vault.mounts", "sys/a", "env:"), "config.value", "\"sys/a\""),
        (d("vault.mounts", "*", "env:"), "config.value", "\"*\""),
        ("[doors.managed-identity]\naudiences = {}".to_owned(), "config.value", "audiences"),
        (
            d("managed-identity.audiences", "https://a.test/.default", "corp"),
            "config.value",
            "\"https://a.test/.default\"",
        ),
        (d("managed-identity.audiences", "https://a.test", "no name"), "config.value", "\"https://a.test\""),
        (
            format!("{}\n\"https://a.test/\" = \"corp\"", d("managed-identity.audiences", "https://a.test", "corp")),
            "config.value",
            "\"https://a.test/\"",
        ),
        (t("sample = 1"), "config.missing-key", "traces"),
        (t("endpoint = \"c.example:4318\""), "config.value", "endpoint"),
        (t("endpoint = \"ftp://c.example/v1/traces\""), "config.value", "endpoint"),
        (t("endpoint = \"https://c.example\""), "config.value", "endpoint"),
        (t("endpoint = \"https://user@c.example/v1/traces\""), "config.value", "endpoint"),
        (t("endpoint = \"https://c.example/v1#x\""), "config.value", "endpoint"),
        (t("endpoint = \"https://c.example/v1/traces\"\nsample = 1.5"), "config.value", "sample"),
        (t("endpoint = \"https://c.example/v1/traces\"\nsample = nan"), "config.value", "sample"),
        (t("endpoint = \"https://c.example/v1/traces\"\nclaimed = -1"), "config.value", "claimed"),
        (t("endpoint = \"https://c.example/v1/traces\"\nnetwork = \"imds\""), "config.value", "network"),
        (t("endpoint = \"http://c.example/v1/traces\"\nnetwork = \"public\""), "config.value", "network"),
        (t("endpoint = \"https://c.example/v1/traces\"\nheaders = 1"), "config.unknown-key", "headers"),
        ("password = canary".to_owned(), "config.syntax", ""),
        ("password = \"canary".to_owned(), "config.syntax", ""),
    ];
    for (text, code, key) in table {
        let failure = parse(&text).unwrap_err();
        assert_eq!(failure.code(), code, "{text}: {failure}");
        let place = failure.place().unwrap();
        assert!(place.position.is_some());
        assert_eq!(place.excerpt.as_str(), key, "{text}: {failure}");
        let all = format!("{failure:?}{failure}{:?}{place:?}", failure.helps()).to_lowercase();
        assert!(!all.contains("canary") && !all.contains("4711"), "{text}: {all}");
    }
}

#[test]
fn positions_and_suggestions_lead_to_the_mistake() {
    let failure =
        parse("[mounts.a]\nplugin = \"env\"\n\n[mounts.b]\nplugin = \"env\"\n  alow = [\"x\"]\n").unwrap_err();
    assert_eq!(failure.place().unwrap().position, Some((6, 3)));
    assert_eq!(failure.message().as_str(), "this release knows no key `mounts.b.alow`");
    assert_eq!(failure.helps()[0].as_str(), "did you mean `allow`?");
}

#[test]
fn defaults_are_those_of_the_design() {
    let mount = mount("").unwrap();
    assert!(!mount.write && !mount.default && mount.allow.is_none() && mount.grants.is_none());
    assert_eq!((mount.ttl, mount.neg_ttl, mount.stale_ttl, mount.keep), (None, None, None, None));
    assert_eq!(mount.config, json!({}));
    let limits = mount.limits;
    assert_eq!((limits.deadline, limits.cpu), (Duration::from_secs(10), Duration::from_millis(200)));
    assert_eq!((limits.memory, limits.hostcall_fuel, limits.handles), (32 << 20, 2 << 20, 256));
    assert_eq!((limits.value, limits.store, limits.parallel), (1 << 20, 64 << 20, 32));
}

#[test]
fn a_project_file_may_not_say_everything() {
    let project = |text: &str| Config::parse(text, Text::new("strongroom.toml"), Layer::Project);
    let digest = Digest::of(b"x");
    let file = |path: &str| format!("[mounts.m]\nplugin = {{ path = '{path}', digest = \"{digest}\" }}");
    let kept = "[mounts.m]\nplugin = \"env\"\nkeep = \"1d\"";
    let (caller, issuer, rule) = ("[callers.c]\nunix.uid = 1", with("", &ISSUER), with("", &RULE));
    let door = "[doors.azureml]\nworkspaces = { \"*\" = \"env:\" }";
    let lent = "[doors.managed-identity]\naudiences = { \"https://a.example\" = \"corp\" }";
    for text in [
        "[store]\nkey = \"file\"",
        "[run]\nallow_names = [\"PATH\"]",
        "[store]",
        "[run]",
        kept,
        caller,
        &issuer,
        &rule,
        door,
        lent,
    ] {
        assert_eq!(project(text).unwrap_err().code(), "config.project", "{text}");
        assert!(parse(text).is_ok(), "{text}");
    }
    for path in
        ["/opt/x.wasm", "../x.wasm", "a/../../x.wasm", "a\\..\\x.wasm", "C:\\x.wasm", "\\\\h\\x.wasm", "~/x.wasm"]
    {
        assert_eq!(project(&file(path)).unwrap_err().code(), "config.project", "{path}");
        assert!(parse(&file(path)).is_ok(), "{path}");
    }
    for path in ["x.wasm", "./plugins/x.wasm", "a/..b.wasm"] {
        assert!(project(&file(path)).is_ok(), "{path}");
    }
}

#[test]
fn hosts_and_allow_limit_what_a_mount_answers() {
    let code = |body: &str, text: &str| {
        mount(body).unwrap().authorise(&name("m"), &reference(text)).map_err(|f| f.code().to_owned())
    };
    let vault = "keyvault:https://v.vault.azure.net/secrets/app-db";
    let allow = "allow = [\"secrets/app-*\"]";
    let hosts = "hosts = [\"*.vault.azure.net\"]";
    assert_eq!(code("", vault), Ok(()));
    assert_eq!(code(allow, vault), Ok(()));
    assert_eq!(code(allow, "keyvault:https://v.vault.azure.net/secrets/other"), Err("mount.allow".to_owned()));
    assert_eq!(code("allow = [\"APP_*\"]", "env:APP_X"), Ok(()));
    assert_eq!(code("allow = [\"APP_*\"]", "env:PATH"), Err("mount.allow".to_owned()));
    assert_eq!(code(hosts, vault), Ok(()));
    assert_eq!(code(hosts, "keyvault:https://evil.example/secrets/n"), Err("mount.host".to_owned()));
    assert_eq!(code(hosts, "env:X"), Err("mount.host".to_owned()), "no host is not any host");
}

#[test]
fn grants_narrow_and_never_widen() {
    let text = "name = \"p\"\nversion = \"1.0.0\"\nschemes = [\"env\"]\nwants = [\"log\", \"random\"]";
    let manifest = Manifest::parse(text.as_bytes(), Text::new("p")).unwrap();
    let granted = |body: &str| mount(body).unwrap().granted(&name("m"), &manifest).map_err(|f| f.code().to_owned());
    assert_eq!(granted(""), Ok(BTreeSet::from([Grant::Log, Grant::Random])));
    assert_eq!(granted("grants = [\"log\"]"), Ok(BTreeSet::from([Grant::Log])));
    assert_eq!(granted("grants = []"), Ok(BTreeSet::new()));
    assert_eq!(granted("grants = [\"log\", \"http\"]"), Err("config.grants".to_owned()));
}

fn merge(user: Option<&str>, project: Option<&str>, explicit: Option<&str>) -> Result<Effective, Failure> {
    let read =
        |text: Option<&str>, layer| text.map(|t| Config::parse(t, Text::new(format!("{layer:?}")), layer).unwrap());
    Layers {
        user: read(user, Layer::User),
        project: read(project, Layer::Project),
        explicit: read(explicit, Layer::Explicit),
    }
    .merge()
}

fn sources(effective: &Effective) -> Vec<String> {
    effective.mounts.iter().map(|(name, mount)| format!("{name} {:?}", mount.source.layer)).collect()
}

#[test]
fn without_any_file_env_and_keys_exist_and_keys_is_writable() {
    let effective = merge(None, None, None).unwrap();
    assert_eq!(sources(&effective), ["env BuiltIn", "keys BuiltIn"]);
    assert!(!effective.mounts[&name("env")].write && effective.mounts[&name("keys")].write);
}

#[test]
fn a_mount_comes_whole_from_one_file() {
    let user = "[mounts.env]\nplugin = \"env\"\nallow = [\"A\"]\n[mounts.a]\nplugin = \"env\"\nwrite = true";
    let effective = merge(Some(user), None, Some("[mounts.a]\nplugin = \"env\"\nttl = \"1s\"")).unwrap();
    assert_eq!(sources(&effective), ["a Explicit", "env User", "keys BuiltIn"]);
    let a = &effective.mounts[&name("a")];
    assert!(!a.write && a.ttl.is_some(), "nothing of the user's entry is left");
    assert_eq!(effective.origins.iter().map(|(layer, _)| *layer).collect::<Vec<_>>(), [Layer::Explicit, Layer::User]);
}

#[test]
fn a_project_file_adds_and_does_not_redefine() {
    let m = |mount: &str| format!("[mounts.{mount}]\nplugin = \"env\"");
    let effective = merge(Some(&m("a")), Some(&format!("{}\n{}", m("b"), m("env"))), None).unwrap();
    assert_eq!(sources(&effective), ["a User", "b Project", "env Project", "keys BuiltIn"]);
    let failure = merge(Some(&m("a")), Some(&format!("\n\n{}", m("a"))), None).unwrap_err();
    assert_eq!(failure.code(), "config.project-redefines");
    assert!(failure.message().as_str().contains("User, line 1"), "{failure}");
    assert_eq!(failure.place().unwrap().position, Some((3, 9)));
    assert_eq!(failure.place().unwrap().origin.as_str(), "Project");
    assert_eq!(merge(None, Some(&m("keys")), None).unwrap_err().code(), "config.project-redefines");
    assert!(merge(Some(&m("env")), Some(&m("env")), None).is_err());
    assert_eq!(
        sources(&merge(None, Some(&m("b")), Some(&m("c"))).unwrap()),
        ["c Explicit", "env BuiltIn", "keys BuiltIn"]
    );
}

#[test]
fn store_and_run_come_from_the_stronger_file_that_has_them() {
    let user = "[store]\npath = \"u\"\nkey = \"file\"\n[run]\nallow_names = [\"PATH\"]";
    let effective = merge(Some(user), None, Some("[store]\npath = \"e\"")).unwrap();
    assert_eq!(effective.store, StoreConfig { path: Some("e".to_owned()), key: None });
    assert_eq!(effective.run.allow_names, BTreeSet::from(["PATH".to_owned()]));
}

#[test]
fn access_comes_whole_from_the_stronger_file_that_says_any() {
    let caller = |name: &str| format!("[callers.{name}]\nunix.uid = 1\n");
    let rule = with("", &RULE);
    let user = format!("{}{rule}", caller("a"));
    let names = |access: &Access| access.callers.keys().map(ToString::to_string).collect::<Vec<_>>();
    let access = merge(Some(&user), None, Some("[mounts.m]\nplugin = \"env\"")).unwrap().access;
    assert_eq!((names(&access), access.rules.len()), (vec!["a".to_owned()], 1));
    let access = merge(Some(&user), None, Some(&caller("b"))).unwrap().access;
    assert_eq!((names(&access), access.rules.len()), (vec!["b".to_owned()], 0), "nothing of the user's is left");
    let access = merge(Some(&caller("a")), None, Some(&rule)).unwrap().access;
    assert_eq!((names(&access), access.rules.len()), (vec![], 1));
    assert!(merge(None, None, None).unwrap().access.is_empty());
}

#[test]
fn a_rule_is_about_mounts_that_there_are() {
    let of = |mount: &str| with(&format!("mounts = [\"{mount}\"]"), &RULE);
    for there in ["env", "keys", "m"] {
        merge(Some(&of(there)), None, Some("[mounts.m]\nplugin = \"env\"")).unwrap();
    }
    let failure = merge(Some(&format!("\n{}", of("kv"))), None, None).unwrap_err();
    assert_eq!(failure.code(), "config.policy");
    assert_eq!(failure.place().unwrap().position.map(|(line, _)| line), Some(3));
    assert_eq!(failure.helps()[0].as_str(), "there are: env, keys");
}

/// A caller of an issuer, by what its token must say.
fn caller_of(issuer: &str, jwt: &str) -> Result<Config, Failure> {
    parse(&format!(
        "{}\n[callers.c]\njwt = {{ issuer = \"i\", {jwt} }}",
        with(&format!("issuer = \"{issuer}\""), &ISSUER)
    ))
}

#[test]
fn a_caller_of_an_issuer_says_who_it_is() {
    let own = "https://i.example";
    let kubernetes = "https://kubernetes.default.svc.cluster.local";
    let entra = "https://login.microsoftonline.com/00001111-aaaa-2222-bbbb-3333cccc4444/v2.0";
    let github = "https://token.actions.githubusercontent.com";
    let (gitlab, google) = ("https://gitlab.com", "https://accounts.google.com");
    let (terraform, buildkite) = ("https://app.terraform.io", "https://agent.buildkite.com");
    let table = [
        (own, "subject = \"a*\"", true),
        (own, "subject = \"*\"", false),
        (own, "subject = \"*:*/*\"", false),
        (own, "claims = { environment = \"prod\" }", false),
        (own, "claims = { oid = \"o\" }", true),
        (own, "claims = { oid = \"*\" }", false),
        (own, "claims = { oid = [\"o\", \"*\"] }", false),
        (kubernetes, "subject = \"system:serviceaccount:ml:trainer\"", true),
        (kubernetes, "subject = \"system:serviceaccount:ml:*\"", true),
        (entra, "claims = { appid = \"a\" }", true),
        (entra, "claims = { tid = \"t\" }", false),
        (entra, "subject = \"*\"", false),
        (github, "subject = \"repo:acme/train:ref:refs/heads/*\"", true),
        (github, "subject = \"repo:acme/*:ref:refs/heads/main\"", true),
        (github, "subject = \"repository_owner_id:1234\"", true),
        (github, "subject = \"repo:*/train:ref:refs/heads/main\"", false),
        (github, "subject = \"repo:acme*/train:ref:refs/heads/main\"", false),
        (github, "subject = \"repo:acme*\"", false),
        (github, "subject = \"repo:\"", false),
        (github, "subject = \"repo:/x*\"", false),
        (github, "subject = \"*:acme/train\"", false),
        (github, "subject = \"environment:prod\"", false),
        (github, "subject = \"job_workflow_ref:acme/w/.github/workflows/w.yml@main\"", false),
        (github, "subject = \"environment:prod\", claims = { repository_owner = \"acme\" }", true),
        (github, "claims = { repository = \"acme/*\" }", true),
        (github, "claims = { repository = \"*/train\" }", false),
        (github, "claims = { repository_owner = \"acme*\" }", false),
        (github, "claims = { repository_owner = [\"acme\", \"acme-*\"] }", false),
        (github, "claims = { environment = \"prod\" }", false),
        (github, "claims = { oid = \"o\" }", false),
        (gitlab, "subject = \"project_path:acme/train:ref_type:branch:ref:main\"", true),
        (gitlab, "subject = \"project_path:*/train:ref_type:branch:ref:main\"", false),
        (google, "subject = \"1234567890\"", true),
        (google, "subject = \"123*\"", false),
        (google, "claims = { hd = \"acme.example\" }", true),
        (google, "claims = { email = \"a@acme.example\" }", false),
        (terraform, "subject = \"organization:acme:project:p:workspace:*:run_phase:apply\"", true),
        (terraform, "subject = \"organization:*:project:p\"", false),
        (buildkite, "subject = \"organization:acme:pipeline:p:*\"", true),
        (buildkite, "subject = \"organization:a*:pipeline:p\"", false),
    ];
    for (issuer, jwt, good) in table {
        let read = caller_of(issuer, jwt);
        assert_eq!(read.as_ref().map_err(Failure::code).err(), (!good).then_some("config.caller"), "{issuer}: {jwt}");
        if let Err(failure) = read {
            assert!(!failure.helps().is_empty(), "{issuer}: {jwt}");
        }
    }
}

#[test]
fn an_issuer_that_signs_for_every_tenant_is_refused() {
    let subject = "subject = \"one\"";
    let tenant = "00001111-aaaa-2222-bbbb-3333cccc4444";
    for good in [
        "https://login.microsoftonline.com/{}/v2.0",
        "https://sts.windows.net/{}/",
        "https://login.microsoftonline.us/{}/v2.0",
    ] {
        caller_of(&good.replace("{}", tenant), subject).unwrap();
        let consumers = "9188040d-6c67-4c5b-b112-36a304b66dad";
        for bad in ["common", "organizations", "consumers", "", "contoso.onmicrosoft.com", "{tenantid}", "*", consumers]
        {
            let failure = caller_of(&good.replace("{}", bad), subject).unwrap_err();
            assert_eq!(failure.code(), "config.issuer", "{good} {bad}");
        }
    }
    caller_of("https://LOGIN.microsoftonline.com/common/v2.0", subject).unwrap_err();
}

#[test]
fn the_json_schema_accepts_what_is_read_and_refuses_what_is_not() {
    let schema = jsonschema::validator_for(&Config::json_schema()).unwrap();
    let json = |text: &str| toml::from_str::<Value>(text).unwrap();
    let all = include_str!("../../tests/fixtures/strongroom.toml");
    let errors: Vec<String> = schema.iter_errors(&json(all)).map(|e| e.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    for bad in [
        "mount = 1",
        "[mounts.m]\n",
        "[mounts.m]\nplugin = \"X\"",
        "[mounts.m]\nplugin = { path = \"a\", digest = \"sha256:0\" }",
        "[mounts.m]\nplugin = { path = \"a\", digest = \"x\", more = 1 }",
        "[mounts.m]\nplugin = \"env\"\nttl = 5",
        "[mounts.m]\nplugin = \"env\"\nttl = \"5\"",
        "[mounts.m]\nplugin = \"env\"\nlimits.memory = \"32MB\"",
        "[mounts.m]\nplugin = \"env\"\nlimits.other = 1",
        "[mounts.m]\nplugin = \"env\"\ngrants = [\"all\"]",
        "[mounts.m]\nplugin = \"env\"\nallow = []",
        "[store]\nkey = \"none\"",
        "[run]\nother = 1",
        "[audit]\nfile = \"a\"\nother = 1",
        "[audit]\nfile = \"a\"\nrotate = \"8MB\"",
        "[audit]\noutput = \"file\"",
        "[audit]\nfile = \"a\"\non_failure = \"ignore\"",
    ] {
        assert!(!schema.is_valid(&json(bad)), "{bad}");
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn every_key_of_the_schema_has_a_description_and_stands_in_the_fixture() {
    fn walk(schema: &Value, keys: &mut BTreeSet<String>) {
        let Some(map) = schema.as_object() else { return };
        if let Some(properties) = map.get("properties").and_then(Value::as_object) {
            for (key, inner) in properties {
                assert!(inner.get("description").is_some(), "{key} has no description");
                keys.insert(key.clone());
            }
        }
        map.values().for_each(|inner| walk(inner, keys));
    }
    let mut keys = BTreeSet::new();
    walk(&Config::json_schema(), &mut keys);
    assert!(keys.len() > 25, "{keys:?}");
    let fixture = include_str!("../../tests/fixtures/strongroom.toml");
    for key in keys {
        let there = fixture.split(|c: char| !c.is_ascii_alphanumeric() && !"_-".contains(c)).any(|word| word == key);
        assert!(there, "`{key}` is read, but no fixture says what it means");
    }
}
