//! Which names are served, and how they are kept apart.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use axum::http::Version;
use serde_json::json;

use crate::client::{ARM, VAULT, World, secret, workspace};

#[test]
fn a_name_that_is_not_served_gets_no_certificate() {
    let world = World::new();
    for host in ["nosuchvault.vault.azure.net", "evil.example", "mykeyvault.managedhsm.azure.net", "localhost"] {
        let refused = world.try_ask("GET", &format!("https://{host}/"), &[], b"").unwrap_err();
        assert!(refused.contains("alert") || refused.contains("eof"), "{host}: {refused}");
    }
    let counters = world.control("GET", "/counters", json!(null));
    assert_eq!(counters["unknown_hosts"]["evil.example"], 1);
}

#[test]
fn a_session_for_one_name_serves_no_other() {
    let world = World::new();
    let got = world.ask("GET", &secret("secrets/secret1"), &[("host", "policyvault.vault.azure.net")], b"");
    assert_eq!(got.status, 421);
}

#[test]
fn no_name_of_azure_is_served_without_tls() {
    let world = World::new();
    for host in ["mykeyvault.vault.azure.net", "login.microsoftonline.com", "management.azure.com"] {
        assert_eq!(world.ask("GET", "http://127.0.0.1/", &[("host", host)], b"").status, 421, "{host}");
    }
}

#[test]
fn the_host_is_compared_without_case_and_port() {
    let world = World::new();
    let got = world.ask("GET", &secret("secrets/secret1"), &[("host", "MyKeyVault.vault.azure.net:443")], b"");
    assert_eq!(got.status, 401);
}

#[test]
fn a_request_is_answered_over_http2() {
    let world = World::over_http2();
    let token = world.vault_token();
    let got = world.get(&secret("secrets/secret1"), &token);
    assert_eq!((got.version, got.json()["value"].as_str()), (Version::HTTP_2, Some("value-of-secret1-version2")));
    let versions: Vec<_> = world.requests("key-vault").iter().map(|entry| entry["version"].clone()).collect();
    assert_eq!(versions, ["HTTP/2.0"]);
}

/// What the proxy says to a line.
fn proxy(world: &World, line: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, world.fake.proxy_port())).unwrap();
    stream.write_all(format!("{line} HTTP/1.1\r\nHost: x\r\nMetadata: true\r\n\r\n").as_bytes()).unwrap();
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[test]
fn the_proxy_leads_known_names_here_and_no_other_anywhere() {
    let world = World::new();
    assert!(proxy(&world, "CONNECT mykeyvault.vault.azure.net:443").starts_with("HTTP/1.1 200"));
    assert!(proxy(&world, "CONNECT evil.example:443").starts_with("HTTP/1.1 502"));
    assert!(proxy(&world, "CONNECT 127.0.0.1:22").starts_with("HTTP/1.1 502"));
    assert!(proxy(&world, "GET http://evil.example/").starts_with("HTTP/1.1 421"));
    let imds = "GET http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net";
    assert!(proxy(&world, imds).starts_with("HTTP/1.1 200"));
}

#[test]
fn the_other_clouds_have_names_and_audiences_of_their_own() {
    let world = World::new();
    let public = world.vault_token();
    for (vault, login, audience) in [
        ("chinavault.vault.azure.cn", "login.chinacloudapi.cn", "https://vault.azure.cn"),
        ("govvault.vault.usgovcloudapi.net", "login.microsoftonline.us", "https://vault.usgovcloudapi.net"),
    ] {
        let url = format!("https://{vault}/secrets/secret1?api-version=7.4");
        let challenge = world.ask("GET", &url, &[], b"");
        assert!(challenge.header("www-authenticate").contains(login), "{}", challenge.header("www-authenticate"));
        assert!(challenge.header("www-authenticate").contains(audience));
        assert!(world.get(&url, &public).text().contains("AKV10022"));
    }
    // The resource manager of another cloud takes no token of this one.
    let other = workspace("/connections?api-version=2024-04-01").replace(ARM, "https://management.usgovcloudapi.net");
    assert_eq!(world.get(&other, &world.arm_token()).code(), "InvalidAuthenticationTokenAudience");
    assert!(VAULT.ends_with("vault.azure.net"));
}
