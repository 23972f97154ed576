//! The file formats as `docs/formats.md` writes them down: the checked-in files must mean this for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use strongroom_core::config::callers::{Account, Algorithm, Proof};
use strongroom_core::config::doors::WrittenScope;
use strongroom_core::config::listeners::{At, Door, OpenTo};
use strongroom_core::config::{AuditSink, Config, KeyHolder, Layer, OnFailure, PluginSource};
use strongroom_core::manifest::http::{Allowed, Function, Method};
use strongroom_core::manifest::{Batch, Grant, Manifest, RefField, SECTION, TENANT};
use strongroom_core::policy::Operation;
use strongroom_core::rights::{Right, Rights};
use strongroom_core::{Digest, Lock, Name, Network, Origin, Reference, Shapes, Text};

const MANIFEST: &str = include_str!("fixtures/plugin.toml");
const LOCK: &str = include_str!("fixtures/strongroom.lock");
const CONFIG: &str = include_str!("fixtures/strongroom.toml");

fn strings<const N: usize>(list: [&str; N]) -> impl Iterator<Item = String> {
    list.into_iter().map(str::to_owned)
}

#[test]
fn the_manifest_says_what_the_documentation_says() {
    assert_eq!(SECTION, "strongroom:manifest@1");
    let manifest = Manifest::parse(MANIFEST.as_bytes(), Text::new("plugin.toml")).unwrap();
    assert_eq!(manifest.name.as_str(), "acme-vault");
    assert_eq!(manifest.version, "1.4.0-rc.1+build.7");
    assert_eq!(manifest.description.as_ref().unwrap().as_str(), "Secrets of the Acme vault");
    assert_eq!(manifest.schemes, ["acme", "acme-eu"]);
    assert_eq!(manifest.wants, BTreeSet::from([Grant::Log, Grant::Env, Grant::Store]));
    assert_eq!(manifest.batch, Batch::By(vec![RefField::Authority, RefField::Path(0)]));
    assert!(manifest.check().is_ok());

    let mut shapes = Shapes::builtin();
    assert!(shapes.insert("acme", manifest.shape().unwrap()));
    let reference = Reference::parse("acme://v.acme.example/prod/db", &shapes).unwrap();
    let config = json!({"tenant": "red"});
    assert_eq!(manifest.env_names(&reference, &config), strings(["ACME_REGION", "ACME_prod"]).collect());
    assert_eq!(manifest.store_prefix(&reference, &config).unwrap(), "red/prod/");
    let scope = Reference::parse_scope("acme://v.acme.example", &shapes).unwrap();
    assert_eq!(manifest.store_prefix_of_scope(&scope, &config).unwrap(), "red/");
    assert_eq!(manifest.check_config(&config).unwrap(), r#"{"tenant":"red"}"#);
}

#[test]
fn the_rules_of_the_network_say_what_the_documentation_says() {
    let text = include_str!("fixtures/plugin-http.toml");
    let manifest = Manifest::parse(text.as_bytes(), Text::new("plugin.toml")).unwrap();
    assert!(manifest.check().is_ok());
    let [read, write, mark] = &manifest.http[..] else { panic!("three rules") };
    assert_eq!(read.on, BTreeSet::from([Function::Resolve, Function::Names]));
    assert_eq!(read.origin.as_str(), "https://{ref.authority}");
    assert!(
        read.origin.follows_reference() && read.admits_host("a.vault.example") && !read.admits_host("vault.example")
    );
    let mut shapes = Shapes::builtin();
    shapes.insert("acme", manifest.shape().unwrap());
    let reference = Reference::parse("acme://a.vault.example/team/db/main?version=3", &shapes).unwrap();
    let config = json!({"address": "https://127.0.0.1:8200", "space": "red"});
    let origin =
        |rule: &strongroom_core::manifest::HttpRule| rule.origin.bind(Some(&reference), &config).unwrap().to_string();
    assert_eq!(
        (origin(read), origin(write)),
        ("https://a.vault.example".to_owned(), "https://127.0.0.1:8200".to_owned())
    );
    let admits = |path: &[&str]| {
        let segments: Vec<String> = path.iter().map(|s| (*s).to_owned()).collect();
        read.allow
            .iter()
            .any(|route| route.method == Method::Get && route.path.admits(&segments, Some(&reference), &config))
    };
    assert!(admits(&["v1", "team", "data", "db", "main"]) && admits(&["v1", "pages", "7"]));
    assert!(!admits(&["v1", "team", "data", "db"]) && !admits(&["v1", "team", "data", "db", "main", "x"]));
    assert!(!admits(&["v1", "other", "data", "db", "main"]) && !admits(&["v1", "pages", ""]));
    assert!(read.query["version"].admits("3", Some(&reference), &config));
    assert!(!read.query["version"].admits("4", Some(&reference), &config));
    assert_eq!(read.query["cursor"], Allowed::Any);
    assert!(
        read.headers["x-space"].admits("red", None, &config) && !read.headers["x-space"].admits("blue", None, &config)
    );
    assert!(read.answers.contains("x-page") && read.http2 && read.network == Network::Public);
    let used = read.credential.as_ref().unwrap();
    assert_eq!((used.audience.as_str(), used.header.as_str()), ("https://vault.example", "x-vault-token"));
    assert_eq!(used.value("Bearer", "t"), "Token t");
    assert_eq!(write.credential.as_ref().unwrap().value("Bearer", "t"), "Bearer t");
    assert_eq!(write.network, Network::parse("10.0.0.0/8").unwrap());

    assert_eq!(
        write.discovers["pages"].find(br#"{"links": {"pages": "x"}}"#).unwrap(),
        BTreeSet::from(["x".to_owned()])
    );
    let told = json!({"discovered.pages": "https://p.vault.example/v1"});
    assert_eq!(mark.origin.bind(None, &told).unwrap().to_string(), "https://p.vault.example");
    assert_eq!(mark.origin.bind(None, &json!({"discovered.pages": "http://p.vault.example"})), None);
    assert_eq!(mark.body.keys().map(|place| place.is_many()).collect::<Vec<_>>(), [true, false]);
    assert_eq!(
        manifest.config_from.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [r#"{ env = { space = "ACME_SPACE" } }"#, r#"{ files = [".acme/config.json"], keys = { space = "/space" } }"#]
    );

    let text = include_str!("fixtures/plugin-auth.toml");
    let manifest = Manifest::parse(text.as_bytes(), Text::new("plugin.toml")).unwrap();
    assert!(manifest.is_auth() && manifest.sealed.contains_key("client_secret"));
    assert_eq!(manifest.http[0].on, BTreeSet::from([Function::Acquire]));
    let tools = manifest.tool_names(&json!({"tool": "other"}));
    assert_eq!(tools, BTreeSet::from(["mint".to_owned(), "other".to_owned()]));
    let rights = Rights::new(&manifest, [], []).rights;
    for line in ["tool mint", "tool {config.tool}", "want tool"] {
        assert!(rights.iter().any(|right| right.to_string() == line && Right::parse(line).as_ref() == Some(right)));
    }
    manifest.check().unwrap();
    let page = manifest.browser.first().unwrap();
    let facts = json!({"host": "eu.login.example", TENANT: "ours"});
    let opens = |origin: &str, path: &[&str]| {
        let path: Vec<String> = path.iter().map(ToString::to_string).collect();
        page.admits(&Origin::parse(origin).unwrap(), &path, &facts)
    };
    assert!(opens("https://eu.login.example", &["ours", "authorize"]));
    assert!(
        !opens("https://login.example", &["ours", "authorize"]) && !opens("https://eu.login.example", &["authorize"])
    );
    let right = Right::Browser(Box::new(page.clone()));
    assert_eq!(
        right.to_string(),
        r#"browser { origin = "https://{config.host}", hosts = ["*.login.example", "login.example"], path = "/{request.tenant}/authorize" }"#
    );
}

#[test]
fn the_lock_says_what_the_documentation_says() {
    let lock = Lock::parse(LOCK, Text::new("strongroom.lock")).unwrap();
    let locked = lock.get(&Name::parse("acme-vault").unwrap()).unwrap();
    assert_eq!(locked.version, "1.4.0-rc.1+build.7");
    assert_eq!(locked.digest, Digest::of(b"acme"));
    let manifest = Manifest::parse(MANIFEST.as_bytes(), Text::new("plugin.toml")).unwrap();
    let interface = |name| format!("strongroom:plugin/{name}@0.1.0");
    let rights = Rights::new(&manifest, ["store", "log", "env"].map(interface), ["provider"].map(interface));
    assert_eq!(locked.rights, rights);
    assert_eq!(lock.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["acme-vault", "keys"]);
    assert_eq!(lock.to_toml().unwrap(), LOCK, "one way to write it");
}

#[test]
fn the_config_says_what_the_documentation_says() {
    let config = Config::parse(CONFIG, Text::new("strongroom.toml"), Layer::User).unwrap();
    let mount = &config.mounts[&Name::parse("acme").unwrap()];
    assert_eq!(mount.plugin, PluginSource::File { path: "plugins/acme.wasm".to_owned(), digest: Digest::of(b"acme") });
    assert_eq!(mount.scheme.as_deref(), Some("acme-eu"));
    assert_eq!(mount.hosts.iter().map(|h| h.as_str()).collect::<Vec<_>>(), ["*.acme.example", "vault.corp:8200"]);
    let allow = mount.allow.as_ref().unwrap();
    assert_eq!(allow.iter().map(|p| p.as_str()).collect::<Vec<_>>(), ["prod/app-*", "shared/**"]);
    assert!(mount.write && !mount.default && mount.matches.is_empty());
    assert_eq!(mount.grants, Some(BTreeSet::from([Grant::Env, Grant::Log])));
    assert_eq!(mount.config, json!({"tenant": "red", "retries": 3}));
    assert_eq!(mount.ttl, Some(Duration::from_secs(300)));
    assert_eq!(mount.neg_ttl, Some(Duration::from_secs(30)));
    assert_eq!(mount.stale_ttl, Some(Duration::from_secs(5400)));
    assert!(mount.show_failures);
    assert_eq!(mount.keep, Some(Duration::from_secs(7 * 24 * 3600)));
    let limits = mount.limits;
    assert_eq!((limits.deadline, limits.cpu), (Duration::from_secs(20), Duration::from_millis(500)));
    assert_eq!((limits.memory, limits.hostcall_fuel, limits.handles), (128 << 20, 8 << 20, 512));
    assert_eq!((limits.value, limits.store), (2 << 20, 1 << 30));
    assert_eq!((limits.failures, limits.pause), (4, Duration::from_secs(30)));
    assert_eq!((limits.requests, limits.sent, limits.response, limits.parallel), (32, 64 << 10, 4 << 20, 8));
    assert_eq!(mount.credential.as_ref().map(Name::as_str), Some("corp"));
    assert_eq!(mount.person.as_ref().map(Name::as_str), Some("me"));
    assert_eq!(mount.network, Some(Network::parse("10.20.0.0/16").unwrap()));
    assert_eq!(mount.source.position, Some((4, 9)));

    let corp = &config.credentials[&Name::parse("corp").unwrap()];
    assert_eq!(corp.plugin, PluginSource::Bundled(Name::parse("auth-token").unwrap()));
    assert_eq!(corp.config, json!({"label": "red"}));
    assert_eq!(corp.sealed["token"], "${{env:ACME_TOKEN}}");
    assert_eq!(
        (corp.audiences.as_slice(), corp.projects.as_slice()),
        (&["https://acme.example".to_owned()][..], &["/srv/app".to_owned()][..])
    );
    assert_eq!(
        (corp.grants.clone(), corp.network.clone()),
        (Some(BTreeSet::from([Grant::Sealed])), Some(Network::Private))
    );
    assert_eq!(corp.limits.deadline, Duration::from_secs(5));
    let mint = &config.tools["mint"];
    let holes = [("audience".to_owned(), "https://a.b".to_owned())];
    assert_eq!(mint.fill(&holes).unwrap(), ["token", "--for=https://a.b"]);
    assert_eq!((mint.program.as_str(), mint.timeout), ("/usr/local/bin/mint", Duration::from_secs(5)));
    assert_eq!((mint.env["LANG"].as_str(), mint.inherit.contains("HOME")), ("C", true));

    let ca = &config.ca[&Name::parse("internal").unwrap()];
    assert_eq!(ca.file, "corp-ca.pem");
    assert!(ca.hosts[1].matches("v.acme.example") && ca.hosts.len() == 2);

    let files = &config.mounts[&Name::parse("secrets").unwrap()];
    assert_eq!(files.plugin, PluginSource::Bundled(Name::parse("file").unwrap()));
    assert!(files.default && files.matches[0].matches("/run/secrets/db"));
    let store = config.store.unwrap();
    assert_eq!((store.path.as_deref(), store.key), (Some("state/store.db"), Some(KeyHolder::Passphrase)));
    assert_eq!(config.run.unwrap().allow_names, strings(["HTTPS_PROXY"]).collect());

    let access = &config.access;
    let caller = |name: &str| &access.callers[&Name::parse(name).unwrap()].proof;
    assert_eq!(*caller("trainers"), Proof::Unix(Account::User("app".to_owned())));
    assert_eq!(*caller("backup"), Proof::Unix(Account::Uid(1007)));
    assert_eq!(*caller("science"), Proof::Unix(Account::Group("ml".to_owned())));
    assert_eq!(*caller("wheel"), Proof::Unix(Account::Gid(10)));
    assert_eq!(*caller("gateway"), Proof::Tls(BTreeSet::from(["gateway.corp.example".to_owned()])));
    assert_eq!(*caller("grafana"), Proof::Token(Digest::of(b"test")));
    let Proof::Jwt(ci) = caller("ci") else { panic!("ci") };
    assert_eq!(ci.subject.as_ref().map(|s| s.as_str()), Some("repo:acme/train:ref:refs/heads/*"));
    assert_eq!(ci.claims["environment"].iter().map(|p| p.as_str()).collect::<Vec<_>>(), ["prod", "stage-*"]);
    let github = &access.issuers[&ci.issuer];
    assert_eq!(github.issuer, "https://token.actions.githubusercontent.com");
    assert_eq!((github.origin.to_string(), github.target.as_str()), (github.issuer.clone(), "/.well-known/jwks"));
    assert_eq!(github.audiences, BTreeSet::from(["strongroom".to_owned()]));
    assert_eq!(github.algorithms, BTreeSet::from([Algorithm::RS256]));
    assert_eq!((&github.network, github.max_age), (&Network::Public, Duration::from_secs(1800)));
    let rule = &access.rules[0];
    assert_eq!(rule.callers.iter().map(Name::as_str).collect::<Vec<_>>(), ["ci", "trainers"]);
    assert_eq!(rule.mounts.iter().map(Name::as_str).collect::<Vec<_>>(), ["acme"]);
    assert_eq!(rule.hosts.iter().map(|h| h.as_str()).collect::<Vec<_>>(), ["vault.acme.example"]);
    assert_eq!(rule.names.iter().map(|p| p.as_str()).collect::<Vec<_>>(), ["prod/app-*"]);
    assert_eq!(rule.operations, BTreeSet::from([Operation::Resolve, Operation::List]));
    let audit = config.audit.unwrap();
    let file = AuditSink::File { path: "log/audit.jsonl".to_owned(), rotate: 8 << 20, keep: 5 };
    assert_eq!((audit.sink, audit.names, audit.on_failure), (file, true, OnFailure::Continue));
    assert_eq!(audit.key_file.as_deref(), Some("audit.key"));

    let listener = |name: &str| &config.listeners[&Name::parse(name).unwrap()];
    let group = At::Socket { path: Some("main.sock".to_owned()), open_to: OpenTo::Group };
    assert_eq!((&listener("main").at, &listener("main").doors), (&group, &BTreeSet::from([Door::Native])));
    let At::Tls { address, tls } = &listener("net").at else { panic!("net") };
    assert_eq!((address.to_string().as_str(), tls.certificate.as_str()), ("0.0.0.0:8200", "server.pem"));
    assert_eq!((tls.key.as_str(), tls.client_ca.as_deref()), ("server.key", Some("clients.pem")));
    assert_eq!(listener("net").doors, BTreeSet::from([Door::Native, Door::Vault]));
    assert_eq!(listener("loop").at, At::InsecureLoopback { address: "127.0.0.1:8201".parse().unwrap() });
    assert_eq!(listener("numbers").doors, BTreeSet::from([Door::Metrics]));
    let doors = &config.doors;
    let vault = doors.key_vault.as_ref().unwrap();
    let scopes = |written: &BTreeMap<String, WrittenScope>| -> Vec<(String, String)> {
        written.iter().map(|(name, scope)| (name.clone(), scope.text.clone())).collect()
    };
    let pair = |name: &str, scope: &str| (name.to_owned(), scope.to_owned());
    assert_eq!(scopes(&vault.vaults), [pair("*", "env:"), pair("team.vault.azure.net", "keys://team")]);
    assert_eq!(
        vault.authority.as_deref(),
        Some("https://login.microsoftonline.us/11112222-3333-4444-5555-666677778888")
    );
    assert_eq!(vault.resource, "https://vault.usgovcloudapi.net");
    let workspaces = scopes(&doors.azureml.as_ref().unwrap().workspaces);
    assert_eq!(workspaces, [pair("sub/group/ws", "keys://team")]);
    let vault = doors.vault.as_ref().unwrap();
    assert_eq!((scopes(&vault.mounts), vault.namespace.as_deref()), (vec![pair("secret", "keys://")], Some("team/a")));
    let lent = &doors.managed_identity.as_ref().unwrap().audiences["https://storage.azure.com"];
    assert_eq!((lent.credential.as_str(), lent.audience.as_str()), ("corp", "https://storage.azure.com/"));
    let server = config.server.unwrap();
    assert_eq!((server.connections, server.requests, server.per_caller), (100, 50, 5));
    assert_eq!((server.drain, server.watch), (Duration::from_secs(10), false));
    let traces = server.traces.unwrap();
    assert_eq!((traces.origin.to_string().as_str(), traces.origin.secure), ("http://otel.acme.internal:4318", false));
    assert_eq!((traces.target.as_str(), &traces.network), ("/v1/traces", &Network::Private));
    assert_eq!((traces.sample, traces.claimed), (0.25, 3));
}
