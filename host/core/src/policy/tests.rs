use serde_json::json;

use super::*;
use crate::config::{Config, Layer, Layers};
use crate::{Digest, Kind, Text};

struct Fixed;

impl Accounts for Fixed {
    fn uid(&self, user: &str) -> Option<u32> {
        (user == "app").then_some(1000)
    }

    fn gid(&self, group: &str) -> Option<u32> {
        (group == "ml").then_some(100)
    }
}

fn policy(text: &str) -> Policy {
    try_policy(text).unwrap()
}

fn try_policy(text: &str) -> Result<Policy, Failure> {
    let config = Config::parse(text, Text::new("strongroom.toml"), Layer::User)?;
    Policy::new(&Layers { user: Some(config), ..Layers::default() }.merge()?.access, &Fixed)
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn unix(uid: u32, gids: &[u32]) -> Identity {
    Identity::Unix { uid, gids: gids.to_vec() }
}

fn names(caller: &Caller) -> Vec<&str> {
    caller.names().map(Name::as_str).collect()
}

const GITHUB: &str = "[issuers.github]\nissuer = \"https://token.actions.githubusercontent.com\"\n\
    jwks = \"https://token.actions.githubusercontent.com/.well-known/jwks\"\naudiences = [\"strongroom\"]\nalgorithms = [\"RS256\"]\n";

#[test]
fn without_rules_the_owner_may_do_everything_and_nobody_else_anything() {
    let policy = policy("[callers.app]\nunix = { uid = 7 }");
    let owner = policy.identify(&unix(1000, &[]), Some(1000));
    assert_eq!((names(&owner), owner.shown().as_str()), (vec!["owner"], "owner"));
    let strangers = [
        policy.identify(&unix(1001, &[1000]), Some(1000)),
        policy.identify(&unix(0, &[0]), Some(1000)),
        policy.identify(&unix(7, &[]), Some(1000)),
        policy.identify(&unix(1000, &[]), None),
        policy.identify(&Identity::Token { digest: [0; 32] }, Some(1000)),
    ];
    for operation in Operation::ALL {
        assert_eq!(policy.permits(&owner, &name("env"), None, "X", operation), Some(Rule::NoRules));
        assert_eq!(policy.permits_any(&owner, operation), Some(Rule::NoRules));
        for stranger in &strangers {
            assert_eq!(policy.permits(stranger, &name("env"), None, "X", operation), None, "{stranger:?}");
            assert_eq!(policy.permits_any(stranger, operation), None);
            assert!(!policy.shows(stranger, &name("env"), None, "X"));
        }
    }
    assert!(policy.shows(&owner, &name("env"), None, "X"));
}

#[test]
fn with_rules_the_owner_is_a_caller_like_any_other() {
    let policy = policy("[[policy]]\ncallers = [\"owner\"]\nmounts = [\"env\"]\noperations = [\"resolve\"]");
    let owner = policy.identify(&unix(1000, &[]), Some(1000));
    assert_eq!(policy.permits(&owner, &name("env"), None, "X", Operation::Resolve), Some(Rule::Written(0)));
    assert_eq!(policy.permits(&owner, &name("env"), None, "X", Operation::List), None);
    assert_eq!(policy.permits(&owner, &name("keys"), None, "X", Operation::Resolve), None);
    assert_eq!(policy.permits_any(&owner, Operation::Plugins), None);
}

#[test]
fn identities_fit_the_callers_that_they_prove() {
    let digest = Digest::of(b"token");
    let policy = policy(&format!(
        "{GITHUB}[callers.user]\nunix = {{ user = \"app\" }}\n[callers.group]\nunix = {{ group = \"ml\" }}\n\
         [callers.uid]\nunix = {{ uid = 7 }}\n[callers.gid]\nunix = {{ gid = 8 }}\n\
         [callers.tls]\ntls = [\"Gateway.corp.example\", \"spiffe://corp/Gateway\"]\n[callers.token]\ntoken = \"{digest}\"\n\
         [callers.ci]\njwt = {{ issuer = \"github\", subject = \"repo:acme/train:ref:refs/heads/*\" }}\n\
         [callers.prod]\njwt = {{ issuer = \"github\", subject = \"repo:acme/*:environment:prod\", claims = {{ run_attempt = \"1\", \
         groups = [\"ml\", \"ops-*\"], verified = \"true\" }} }}\n"
    ));
    let tls = |name: &str| Identity::Tls { names: vec!["other".to_owned(), name.to_owned()] };
    let jwt = |issuer: &str, subject: &str, claims: serde_json::Value| Identity::Jwt {
        issuer: name(issuer),
        subject: subject.to_owned(),
        claims: serde_json::from_value(claims).unwrap(),
    };
    let all = json!({"run_attempt": 1, "groups": ["web", "ops-eu"], "verified": true});
    let without = |key: &str, value: serde_json::Value| {
        let mut claims = all.clone();
        claims[key] = value;
        claims
    };
    let prod = "repo:acme/train:environment:prod";
    let mut flipped = *digest.as_bytes();
    flipped[31] ^= 1;
    let table: Vec<(Identity, &[&str])> = vec![
        (unix(1000, &[]), &["user"]),
        (unix(7, &[100, 8]), &["gid", "group", "uid"]),
        (unix(100, &[1000]), &[]),
        (tls("gateway.CORP.example"), &["tls"]),
        (tls("spiffe://corp/Gateway"), &["tls"]),
        (tls("spiffe://corp/gateway"), &[]),
        (tls("*.corp.example"), &[]),
        (tls("x.gateway.corp.example"), &[]),
        (Identity::Token { digest: *digest.as_bytes() }, &["token"]),
        (Identity::Token { digest: flipped }, &[]),
        (jwt("github", "repo:acme/train:ref:refs/heads/main", json!({})), &["ci"]),
        (jwt("github", "repo:acme/train:ref:refs/heads/a/b", json!({})), &[]),
        (jwt("gitlab", "repo:acme/train:ref:refs/heads/main", json!({})), &[]),
        (jwt("github", prod, all.clone()), &["prod"]),
        (jwt("github", prod, json!({})), &[]),
        (jwt("github", prod, without("groups", json!("ml"))), &["prod"]),
        (jwt("github", prod, without("groups", json!(["web"]))), &[]),
        (jwt("github", prod, without("groups", json!([]))), &[]),
        (jwt("github", prod, without("groups", json!([["ml"]]))), &[]),
        (jwt("github", prod, without("run_attempt", json!("1"))), &["prod"]),
        (jwt("github", prod, without("run_attempt", json!(1.0))), &[]),
        (jwt("github", prod, without("verified", json!(false))), &[]),
        (jwt("github", prod, without("verified", json!(null))), &[]),
    ];
    for (identity, fits) in table {
        let caller = policy.identify(&identity, None);
        assert_eq!(names(&caller), fits, "{identity:?}");
        assert_eq!(caller.is_known(), !fits.is_empty());
        assert_eq!(caller.kind(), identity.kind());
        if fits.is_empty() {
            assert!(!caller.shown().is_empty());
        }
    }
}

#[test]
fn strangers_have_a_name_for_the_audit() {
    let policy = policy("");
    let shown = |identity| policy.identify(&identity, None).shown().to_string();
    assert_eq!(shown(unix(1000, &[])), "uid 1000");
    assert_eq!(shown(Identity::Token { digest: [7; 32] }), "unknown token");
    assert_eq!(shown(Identity::Tls { names: vec!["a.b".to_owned()] }), "certificate of a.b");
    let jwt = Identity::Jwt { issuer: name("ci"), subject: "s\n\u{202e}x".to_owned(), claims: BTreeMap::new() };
    assert_eq!(shown(jwt), "s\\u{a}\\u{202e}x of ci");
}

const RULES: &str = "
[mounts.kv]
plugin = \"env\"
[callers.a]
unix = { uid = 1 }
[callers.b]
unix = { uid = 2 }
[[policy]]
callers = [\"a\"]
mounts = [\"kv\"]
hosts = [\"*.vault.azure.net\"]
names = [\"secrets/app-*\", \"team/**\"]
operations = [\"resolve\", \"list\"]
[[policy]]
callers = [\"b\", \"owner\"]
mounts = [\"kv\", \"keys\"]
operations = [\"list\", \"set\"]
[[policy]]
callers = [\"b\"]
mounts = [\"keys\"]
names = [\"openai/*\"]
operations = [\"metadata\"]
[[policy]]
callers = [\"b\"]
operations = [\"plugins\"]
";

#[test]
fn what_no_rule_permits_is_denied() {
    use Operation::*;
    let policy = policy(RULES);
    let a = policy.identify(&unix(1, &[]), None);
    let b = policy.identify(&unix(2, &[]), None);
    let both = policy.identify(&unix(2, &[]), Some(2));
    let vault = Some("v.vault.azure.net");
    let table = [
        (&a, "kv", vault, "secrets/app-db", Resolve, Some(0)),
        (&a, "kv", vault, "secrets/APP-db", Resolve, None),
        (&a, "kv", vault, "secrets/app-db/x", Resolve, None),
        (&a, "kv", vault, "secrets", Resolve, None),
        (&a, "kv", vault, "team/a/b", Resolve, Some(0)),
        (&a, "kv", vault, "secrets/app-db", Set, None),
        (&a, "kv", vault, "secrets/app-db", Metadata, None),
        (&a, "kv", Some("vault.azure.net"), "secrets/app-db", Resolve, None),
        (&a, "kv", Some("v.vault.azure.net.evil.example"), "secrets/app-db", Resolve, None),
        (&a, "kv", None, "secrets/app-db", Resolve, None),
        (&a, "keys", vault, "secrets/app-db", Resolve, None),
        // A scope is a place from which there is something to list.
        (&a, "kv", vault, "", List, Some(0)),
        (&a, "kv", vault, "secrets", List, Some(0)),
        (&a, "kv", vault, "team/x/y", List, Some(0)),
        (&a, "kv", vault, "sec", List, None),
        (&a, "kv", vault, "other", List, None),
        (&b, "kv", None, "anything", Set, Some(1)),
        (&b, "keys", None, "openai/key", Metadata, Some(2)),
        (&b, "keys", None, "openai", Metadata, None),
        (&b, "env", None, "X", Set, None),
        (&both, "keys", None, "g/k", Set, Some(1)),
    ];
    for (caller, mount, host, path, operation, rule) in table {
        let permitted = policy.permits(caller, &name(mount), host, path, operation);
        assert_eq!(permitted.and_then(Rule::index), rule, "{caller:?} {operation} {mount} {host:?} {path}");
    }
    assert_eq!(policy.permits_any(&b, Plugins), Some(Rule::Written(3)));
    assert_eq!(policy.permits_any(&a, Plugins), None);
    assert_eq!(policy.permits_any(&b, Explain), None);
    assert_eq!(policy.permits(&b, &name("kv"), None, "x", Plugins), None, "it is about no mount");
}

#[test]
fn a_listing_shows_only_what_can_be_read() {
    let policy = policy(RULES);
    let a = policy.identify(&unix(1, &[]), None);
    let b = policy.identify(&unix(2, &[]), None);
    let vault = Some("v.vault.azure.net");
    let table = [
        (&a, "kv", vault, "secrets/app-db", true),
        (&a, "kv", vault, "secrets/other", false),
        (&a, "kv", vault, "secrets", true),
        (&a, "kv", vault, "team", true),
        (&a, "kv", vault, "team/x", true),
        (&a, "kv", vault, "teams", false),
        (&a, "kv", Some("other.example"), "secrets/app-db", false),
        // `list` is of the second rule, `metadata` of the third.
        (&b, "keys", None, "openai", true),
        (&b, "keys", None, "openai/key", true),
        (&b, "keys", None, "openai/key/x", false),
        (&b, "keys", None, "other", false),
        (&b, "kv", None, "openai/key", false),
    ];
    for (caller, mount, host, path, shown) in table {
        assert_eq!(policy.shows(caller, &name(mount), host, path), shown, "{caller:?} {mount} {host:?} {path}");
    }
}

#[test]
fn two_rules_about_other_names_show_neither() {
    let policy = policy(
        "[callers.a]\nunix = { uid = 1 }\n[[policy]]\ncallers = [\"a\"]\nmounts = [\"keys\"]\nnames = [\"g/a*\"]\noperations = [\"list\"]\n\
         [[policy]]\ncallers = [\"a\"]\nmounts = [\"keys\"]\nnames = [\"g/b*\"]\noperations = [\"resolve\"]",
    );
    let a = policy.identify(&unix(1, &[]), None);
    for path in ["g", "g/a", "g/b"] {
        assert!(!policy.shows(&a, &name("keys"), None, path), "{path}");
    }
}

#[test]
fn an_account_that_there_is_not_is_an_error_and_not_nobody() {
    for (account, word) in [("user = \"nobody-here\"", "user"), ("group = \"app\"", "group")] {
        let failure = try_policy(&format!("[callers.a]\nunix = {{ {account} }}")).unwrap_err();
        assert_eq!((failure.kind(), failure.code()), (Kind::InvalidConfig, "config.account"));
        assert!(failure.message().as_str().contains(word), "{failure}");
        assert_eq!(failure.place().unwrap().position, Some((1, 10)));
    }
}

#[test]
fn a_supposed_caller_is_that_caller_and_no_other() {
    let policy = policy(RULES);
    let a = policy.supposed(&name("a")).unwrap();
    assert!(policy.permits(&a, &name("kv"), Some("v.vault.azure.net"), "secrets/app-x", Operation::Resolve).is_some());
    assert!(policy.permits(&a, &name("keys"), None, "g/k", Operation::Set).is_none());
    assert_eq!(a.shown().as_str(), "a");
    let unknown = policy.supposed(&name("c")).unwrap_err();
    assert_eq!((unknown.code(), unknown.helps()[0].as_str()), ("policy.no-such-caller", "there are: a, b, owner"));
}

#[test]
fn a_table_of_cases_is_read_strictly() {
    let read = |text: &str| cases::Case::parse(text, Text::new("cases.toml"));
    let case = |lines: &str| format!("[[case]]\noperation = \"resolve\"\nexpect = \"deny\"\n{lines}");
    let named = "as = \"a\"\nreference = \"env:X\"";
    assert_eq!(read(&format!("{}\n{}", case(named), case(named))).unwrap().len(), 2);
    for (bad, code) in [
        (case("reference = \"env:X\""), "cases.missing-key"),
        (case("as = \"A\"\nreference = \"env:X\""), "cases.value"),
        (case("as = \"a\""), "cases.value"),
        (case("as = \"a\"\nreference = \"env:X\"\nmount = \"env\""), "cases.value"),
        (case("as = \"a\"\nreference = \"env:X\"\npath = \"X\""), "cases.value"),
        (case("as = \"a\"\npath = \"X\""), "cases.value"),
        (case("as = {}\nreference = \"env:X\""), "cases.value"),
        (case("as = { unix = {} }\nreference = \"env:X\""), "cases.value"),
        (case("as = { unix = { uid = 1, user = \"app\" } }\nreference = \"env:X\""), "cases.value"),
        (case("as = { unix = { uid = 1 }, tls = [\"a\"] }\nreference = \"env:X\""), "cases.value"),
        (case("as = { pid = 1 }\nreference = \"env:X\""), "cases.unknown-key"),
        (case(named).replace("deny", "maybe"), "cases.value"),
        (case(named).replace("resolve", "read"), "cases.value"),
        (case(named).replace("resolve", "plugins"), "cases.value"),
        (case("as = \"a\"\nmount = \"env\"\npath = \"X\"").replace("resolve", "plugins"), "cases.value"),
        (case("as = \"a\"\nmount = \"env\"\nhost = \"a/b\""), "cases.value"),
        (case(&format!("{named}\nwhy = 1")), "cases.unknown-key"),
        ("case = 1".to_owned(), "cases.value"),
        ("cases = []".to_owned(), "cases.unknown-key"),
        (String::new(), "cases.missing-key"),
    ] {
        let failure = read(&bad).unwrap_err();
        assert_eq!((failure.kind(), failure.code()), (Kind::InvalidConfig, code), "{bad}: {failure}");
    }
}

#[test]
fn a_case_asks_as_whoever_proves_the_same() {
    let policy = policy(&format!(
        "{GITHUB}[callers.app]\nunix = {{ user = \"app\" }}\n[callers.ml]\nunix = {{ group = \"ml\" }}\n[callers.ci]\n\
         jwt = {{ issuer = \"github\", subject = \"repo:acme/*\", claims = {{ x = \"1\" }} }}\n[callers.t]\ntoken = \"{}\"\n\
         [callers.g]\ntls = [\"g.example\"]",
        Digest::of(b"t")
    ));
    let token = format!("{{ token = \"{}\" }}", Digest::of(b"t"));
    for (asker, callers) in [
        ("\"app\"", "app"),
        ("\"owner\"", "owner"),
        ("{ unix = { user = \"app\", groups = [\"ml\"] } }", "app, ml"),
        ("{ unix = { uid = 1000 } }", "app"),
        ("{ unix = { uid = 7, gids = [100] } }", "ml"),
        ("{ unix = { uid = 7 } }", "uid 7"),
        ("{ unix = { uid = 9 } }", "owner"),
        ("{ tls = [\"g.example\"] }", "g"),
        (&token, "t"),
        ("{ jwt = { issuer = \"github\", subject = \"repo:acme/t\", claims = { x = 1 } } }", "ci"),
        ("{ jwt = { issuer = \"github\", subject = \"repo:acme/t\" } }", "repo:acme/t of github"),
    ] {
        let text = format!("[[case]]\nas = {asker}\nreference = \"env:X\"\noperation = \"list\"\nexpect = \"allow\"");
        let case = cases::Case::parse(&text, Text::new("c")).unwrap().remove(0);
        assert_eq!(case.caller(&policy, &Fixed, 9).unwrap().shown().as_str(), callers, "{asker}");
    }
    for (asker, code) in
        [("\"nobody\"", "policy.no-such-caller"), ("{ unix = { user = \"nobody\" } }", "config.account")]
    {
        let text = format!("[[case]]\nas = {asker}\nmount = \"env\"\noperation = \"list\"\nexpect = \"allow\"");
        let case = cases::Case::parse(&text, Text::new("c")).unwrap().remove(0);
        assert_eq!(case.caller(&policy, &Fixed, 9).unwrap_err().code(), code);
    }
}

/// A reload is no reason to ask an issuer for its keys: they are lost while it cannot be asked.
#[test]
fn an_issuer_stays_the_same_wherever_it_stands() {
    let issuer = |text: &str| {
        let config = Config::parse(text, Text::new("strongroom.toml"), Layer::User).unwrap();
        config.access.issuers.into_values().next().unwrap()
    };
    let one = issuer(GITHUB);
    assert!(one.verifies_as(&issuer(&format!("# A line more.\n{GITHUB}"))));
    assert!(!one.verifies_as(&issuer(&GITHUB.replace("RS256", "ES256"))));
}
