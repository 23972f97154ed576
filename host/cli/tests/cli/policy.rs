//! `policy test`, `explain --as`, `token new`: what a server would allow, without a server.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use strongroom_core::Digest;

use crate::support::*;

const CONFIG: &str = "
[mounts.env]
plugin = \"env\"
allow = [\"APP_*\", \"OTHER\"]

[callers.trainers]
unix = { user = \"no-account-of-this-machine\" }

[callers.ci]
jwt = { issuer = \"github\", subject = \"repo:acme/train:ref:refs/heads/*\" }

[issuers.github]
issuer = \"https://token.actions.githubusercontent.com\"
jwks = \"https://token.actions.githubusercontent.com/.well-known/jwks\"
audiences = [\"strongroom\"]
algorithms = [\"RS256\"]

[[policy]]
callers = [\"trainers\", \"ci\"]
mounts = [\"env\"]
names = [\"APP_*\", \"HIDDEN\"]
operations = [\"resolve\", \"set\"]

[[policy]]
callers = [\"owner\"]
mounts = [\"env\", \"keys\", \"files\", \"kv\"]
operations = [\"resolve\", \"list\", \"explain\"]

[[policy]]
callers = [\"trainers\"]
operations = [\"plugins\"]

[[policy]]
callers = [\"ci\"]
mounts = [\"env\"]
operations = [\"plugins\"]

[mounts.files]
plugin = \"file\"
config = { folders = [\"/run/keys\"] }

[mounts.kv]
plugin = \"azure-key-vault\"
hosts = [\"mine.vault.azure.net\"]
";

fn home() -> Home {
    let home = Home::new();
    home.configure(CONFIG);
    home
}

/// A case, by its `as`, what it is about, operation and expectation.
fn case(asker: &str, about: &str, operation: &str, expect: &str) -> String {
    format!("[[case]]\nas = {asker}\n{about}\noperation = \"{operation}\"\nexpect = \"{expect}\"\n")
}

const MAIN: &str = "{ jwt = { issuer = \"github\", subject = \"repo:acme/train:ref:refs/heads/main\" } }";
const STRANGER: &str = "{ jwt = { issuer = \"github\", subject = \"repo:evil/train:ref:refs/heads/main\" } }";

#[test]
fn a_table_that_holds_says_so() {
    let home = home();
    let cases = [
        case("\"trainers\"", "reference = \"env:APP_DB\"", "resolve", "allow"),
        case("\"trainers\"", "reference = \"env+env:APP_DB\"", "resolve", "allow"),
        case("\"trainers\"", "reference = \"env:OTHER\"", "resolve", "deny"),
        case("\"trainers\"", "reference = \"keys://g/k\"", "resolve", "deny"),
        case("\"trainers\"", "mount = \"env\"\npath = \"APP_DB\"", "resolve", "allow"),
        case("\"trainers\"", "mount = \"env\"\npath = \"app_db\"", "resolve", "deny"),
        case("{ unix = { user = \"no-account-of-this-machine\" } }", "reference = \"env:APP_DB\"", "resolve", "allow"),
        case("{ unix = { user = \"nor-this\" } }", "reference = \"env:APP_DB\"", "resolve", "deny"),
        case("{ unix = { uid = 4000000000 } }", "reference = \"env:APP_DB\"", "resolve", "deny"),
        // The user that the server runs as.
        case(
            &format!("{{ unix = {{ uid = {} }} }}", rustix::process::geteuid().as_raw()),
            "reference = \"env:OTHER\"",
            "resolve",
            "allow",
        ),
        // The mount refuses it, and whoever asks may know.
        case("\"owner\"", "reference = \"env:HIDDEN\"", "explain", "allow"),
        case("\"owner\"", "reference = \"file:/etc/passwd\"", "resolve", "deny"),
        case("\"owner\"", "reference = \"file:/run/keys/a\"", "resolve", "allow"),
        case("\"owner\"", "reference = \"keyvault:https://MINE.vault.azure.net/secrets\"", "list", "allow"),
        case("\"owner\"", "reference = \"kv+keyvault:https://other.vault.azure.net/secrets\"", "list", "deny"),
        case("\"owner\"", "mount = \"kv\"\nhost = \"MINE.vault.azure.net\"\npath = \"secrets/a\"", "resolve", "allow"),
        case("\"trainers\"", "", "plugins", "allow"),
        case("\"trainers\"", "mount = \"keys\"", "plugins", "allow"),
        case("\"ci\"", "mount = \"env\"", "plugins", "allow"),
        case("\"ci\"", "mount = \"keys\"", "plugins", "deny"),
        case(MAIN, "reference = \"env:APP_DB\"", "resolve", "allow"),
        case(STRANGER, "reference = \"env:APP_DB\"", "resolve", "deny"),
        // The rule permits these, and the mount does not.
        case(MAIN, "reference = \"env:HIDDEN\"", "resolve", "deny"),
        case(MAIN, "reference = \"env:APP_DB\"", "set", "deny"),
        case("\"owner\"", "reference = \"keys\"", "list", "allow"),
        case("\"owner\"", "reference = \"keys://g\"", "list", "allow"),
        case("\"owner\"", "reference = \"keys://g/k\"", "set", "deny"),
        case("\"owner\"", "", "plugins", "deny"),
    ];
    home.write("cases.toml", cases.concat());
    home.strongroom(["policy", "test", "cases.toml"]).done().ok().quiet().prints("28 cases, all as expected\n");
    let json = home.strongroom(["policy", "test", "--json", "cases.toml"]).done().ok().json();
    assert_eq!((&json["ok"], &json["cases"], &json["differ"]), (&true.into(), &28.into(), &serde_json::json!([])));
}

#[test]
fn what_differs_is_told_with_its_line_and_reason() {
    let home = home();
    let cases = [
        case("\"trainers\"", "reference = \"env:APP_DB\"", "resolve", "deny"),
        case("\"trainers\"", "reference = \"env:APP_DB\"", "resolve", "allow"),
        case(MAIN, "reference = \"env:HIDDEN\"", "resolve", "allow"),
        case(STRANGER, "mount = \"env\"\npath = \"APP_DB\"", "resolve", "allow"),
    ];
    home.write("cases.toml", cases.concat());
    let done = home.strongroom(["policy", "test", "cases.toml"]).done().status(4).quiet();
    let done = done.shows("3 of 4 cases").shows("line 2 ").shows("line 12 ").shows("line 17 ");
    let done = done.shows("decided     allow: policy.0").shows("[mount.allow]").shows("no rule permits it");
    done.shows("repo:evil/train:ref:refs/heads/main of github resolve env APP_DB");
    let json = home.strongroom(["policy", "test", "--json", "cases.toml"]).done().status(4).json();
    let first = &json["differ"][0];
    assert_eq!((&first["line"], &first["expected"], &first["decided"]), (&2.into(), &"deny".into(), &"allow".into()));
    assert_eq!(first["because"], "policy.0");
}

#[test]
fn a_case_that_means_nothing_is_no_denial() {
    let home = home();
    for (text, status, code) in [
        (case("\"trainers\"", "reference = \"enw:X\"", "resolve", "deny"), 3, "reference.unknown-scheme"),
        (case("\"trainers\"", "reference = \"env\"", "resolve", "deny"), 2, "reference."),
        (case("\"trainers\"", "mount = \"enw\"\npath = \"X\"", "resolve", "deny"), 3, "route.no-such-mount"),
        (case("\"trainer\"", "reference = \"env:X\"", "resolve", "deny"), 6, "policy.no-such-caller"),
        (case("\"trainers\"", "reference = \"env:X\"", "read", "deny"), 2, "cases.value"),
        (
            case("{ jwt = { issuer = \"gitlub\" } }", "reference = \"env:X\"", "resolve", "deny"),
            6,
            "policy.no-such-issuer",
        ),
        (case("\"trainers\"", "mount = \"kv\"\nhost = \"a/b\"", "resolve", "deny"), 2, "cases.value"),
        (String::new(), 2, "cases.missing-key"),
        ("\u{0}".to_owned(), 2, "cases.syntax"),
    ] {
        home.write("cases.toml", text);
        let done = home.strongroom(["policy", "test", "cases.toml"]).done().status(status);
        assert!(done.err().contains(&format!("[{code}")), "{}", done.err());
    }
    home.strongroom(["policy", "test", "missing.toml"]).done().fails(6, "file.unreadable");
}

/// A server reads no project's file, and so no question about it does.
#[test]
fn a_projects_file_changes_nothing_of_what_a_server_would_say() {
    let home = home();
    home.write("cases.toml", case("\"trainers\"", "reference = \"env:APP_DB\"", "resolve", "allow"));
    home.write("strongroom.toml", "[mounts.project]\nplugin = \"env\"\nmatch = [\"APP_DB\"]\n");
    home.strongroom(["trust", "--yes"]).done().ok();
    home.strongroom(["explain", "env:APP_DB"]).done().ok().shows("project");
    home.strongroom(["policy", "test", "cases.toml"]).done().ok().prints("1 cases, all as expected\n");
    home.strongroom(["explain", "--as", "trainers", "env:APP_DB"])
        .done()
        .ok()
        .shows("  resolve   allowed by policy.0 (");
}

#[test]
fn without_rules_only_the_owner_may() {
    let home = Home::new();
    home.configure("[callers.app]\nunix = { uid = 4711 }\n");
    let cases = [
        case("\"owner\"", "reference = \"env:X\"", "resolve", "allow"),
        case("\"owner\"", "", "plugins", "allow"),
        case("\"app\"", "reference = \"env:X\"", "resolve", "deny"),
        case("{ unix = { uid = 4712 } }", "reference = \"env:X\"", "resolve", "deny"),
    ];
    home.write("cases.toml", cases.concat());
    home.strongroom(["policy", "test", "cases.toml"]).done().ok();
}

#[test]
fn explain_says_which_rule_decides_for_a_caller() {
    let home = home();
    let done = home.strongroom(["explain", "--as", "ci", "env:APP_DB"]).done().ok().quiet();
    let done = done.shows("caller      ci\n").shows("  resolve   allowed by policy.0 (").shows("strongroom.toml:");
    done.shows("  list      denied: no rule permits it\n").shows("  purge     denied");
    let json = home.strongroom(["explain", "--json", "--as", "owner", "keys://g/k"]).done().ok().json();
    assert_eq!(json["caller"]["name"], "owner");
    assert_eq!(json["caller"]["operations"]["resolve"], serde_json::json!({"allow": true, "rule": 1}));
    assert_eq!(json["caller"]["operations"]["set"], serde_json::json!({"allow": false}));
    assert_eq!(json["caller"]["operations"].get("plugins"), None);
    home.strongroom(["explain", "--as", "nobody", "env:APP_DB"])
        .done()
        .fails(6, "policy.no-such-caller")
        .says("trainers");
    let json = home.strongroom(["explain", "--json", "env:APP_DB"]).done().ok().json();
    assert_eq!(json.get("caller"), None);
}

#[test]
fn a_token_is_random_and_its_digest_is_what_the_config_takes() {
    let home = Home::new();
    let done = home.strongroom(["token", "new"]).done().ok();
    let token = done.out();
    assert_eq!(token.len(), 44, "43 characters and a line's end");
    assert!(token.trim_end().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    let digest = Digest::of(token.trim_end().as_bytes());
    assert_eq!(done.err(), format!("for the config: token = \"{digest}\"\n"));
    home.configure(&format!("[callers.grafana]\ntoken = \"{digest}\"\n"));
    home.strongroom(["list"]).done().ok();
    let json = home.strongroom(["token", "new", "--json"]).done().ok().quiet().json();
    let other = json["token"].as_str().unwrap();
    assert_ne!(other, token.trim_end());
    assert_eq!(json["digest"], Digest::of(other.as_bytes()).to_string());
    home.strongroom(["--quiet", "token", "new"]).done().ok().says("sha256:");

    // For clients that read a token's end.
    let json = home.strongroom(["token", "new", "--jwt", "--days", "2", "--json"]).done().ok().json();
    let token = json["token"].as_str().unwrap();
    assert_eq!(json["digest"], Digest::of(token.as_bytes()).to_string());
    let parts: Vec<Vec<u8>> = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    let claims: serde_json::Value = serde_json::from_slice(&parts[1]).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(claims["exp"].as_u64().unwrap().abs_diff(now + 2 * 86_400) < 600);
    assert_eq!((parts.len(), parts[2].len()), (3, 32));
    home.strongroom(["token", "new", "--days", "2"]).done().status(64);
}

#[test]
fn a_rule_without_effect_is_refused_whatever_is_asked() {
    let home = Home::new();
    home.variable("X");
    for (rule, status) in
        [("mounts = [\"env\"]", 0), ("mounts = [\"enw\"]", 2), ("mounts = [\"env\"]\nhosts = [\"a.example\"]", 2)]
    {
        home.configure(&format!("[[policy]]\ncallers = [\"owner\"]\n{rule}\noperations = [\"resolve\"]\n"));
        let done = home.strongroom(["explain", "env:X"]).done().status(status);
        assert!(status == 0 || done.err().contains("[config.policy]"), "{rule}: {}", done.err());
    }
}
