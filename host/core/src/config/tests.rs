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

#[test]
fn what_is_wrong_is_told_with_place_and_key_and_without_values() {
    let digest = Digest::of(b"x");
    let file = |path: &str| format!("[mounts.m]\nplugin = {{ path = \"{path}\", digest = \"{digest}\" }}");
    let m = |body: &str| format!("[mounts.m]\nplugin = \"env\"\n{body}");
    let c = |body: &str| format!("[credentials.c]\nplugin = \"a\"\n{body}");
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
        ("[server]\n".to_owned(), "config.unknown-key", "server"),
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
    for text in ["[store]\nkey = \"file\"", "[run]\nallow_names = [\"PATH\"]", "[store]", "[run]", kept] {
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
        let there = fixture.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == key);
        assert!(there, "`{key}` is read, but no fixture says what it means");
    }
}
