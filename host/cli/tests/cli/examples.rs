//! `examples/server`: its configs, and the programs in it that need nothing but curl. What needs a client of its own runs beside
//! the tests of its door.

use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair};
use strongroom_core::Config;
use strongroom_core::config::Layer;

use crate::serving::*;
use crate::support::*;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/server");

/// The config of an example, on a port of its own, for whoever has `token`.
pub fn config(example: &str, token: &str) -> String {
    let text = std::fs::read_to_string(Path::new(FOLDER).join(example).join("strongroom.toml")).unwrap();
    let digest = strongroom_core::Digest::of(token.as_bytes()).to_string();
    let anyone = format!("sha256:{}", "0".repeat(64));
    let ported = ["127.0.0.1:8200", "0.0.0.0:8443", "0.0.0.0:443"];
    ported.iter().fold(text, |text, port| text.replace(port, "127.0.0.1:0")).replace(&anyone, &digest)
}

fn script(example: &str) -> PathBuf {
    Path::new(FOLDER).join(example).join("main.sh")
}

#[test]
fn every_folder_is_listed_and_has_a_config() {
    let listed = std::fs::read_to_string(Path::new(FOLDER).join("README.md")).unwrap();
    let folders = names_in(Path::new(FOLDER)).into_iter().filter(|name| name != "README.md");
    for folder in folders {
        assert!(listed.contains(&format!("[{folder}]({folder})")), "{folder}");
        // What stands beside a server has no config of one.
        if ["grafana", "systemd"].contains(&folder.as_str()) {
            continue;
        }
        let text = std::fs::read_to_string(Path::new(FOLDER).join(&folder).join("strongroom.toml")).unwrap();
        if let Err(failure) = Config::parse(&text, "example".into(), Layer::Explicit) {
            panic!("{folder}: {failure:?}");
        }
        assert!(Path::new(FOLDER).join(&folder).join("README.md").exists(), "{folder}");
    }
}

#[test]
fn curl_over_the_socket() {
    let home = home();
    home.configure(&config("curl-socket", ""));
    let _server = Server::start(&home);
    let socket = home.user_config().with_file_name("strongroom.sock");
    let call = home.program("sh", [script("curl-socket")]).env("STRONGROOM_SOCKET", socket);
    call.done().ok().prints("got a password of 16 characters\n").quiet();
}

#[test]
fn curl_over_tls_with_a_token_and_not_with_another() {
    let home = home();
    let token = home.canary("token");
    home.configure(&config("curl-tls", &token));
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let beside = |name: &str| home.user_config().with_file_name(name);
    std::fs::write(beside("server.pem"), certificate.pem()).unwrap();
    std::fs::write(beside("server.key"), key.serialize_pem()).unwrap();
    chmod(&beside("server.key"), 0o600);
    let server = Server::start(&home);
    let address = format!("https://localhost:{}", server.port("https"));
    let call = |token: &str| {
        let call = home.program("sh", [script("curl-tls")]).env("STRONGROOM_ADDR", &address);
        call.env("STRONGROOM_TOKEN", token).env("CURL_CA_BUNDLE", beside("server.pem")).done()
    };
    call(&token).ok().prints("got a password of 16 characters\n").quiet();
    let refused = call("somebody-elses");
    assert_ne!(refused.status, 0);
    refused.says("401").prints("");
}
