//! Signing in with the browser of this machine, against the fake Azure: the page, what comes back from
//! it, and everything else that comes to that port.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::mpsc;

use fake_azure::{Fake, Options};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::azure::{SECRET, home};
use crate::support::*;

const PLUGIN: &str = "plugin = \"browser\"";

/// A program that stands for the browser: it hands the address on, and that it was its one argument.
fn browser(home: &Home) {
    home.program("mkfifo", [home.work("address")]).done().ok();
    let script = home
        .write("browser", format!("#!/bin/sh\nprintf '%s %s' \"$#\" \"$1\" > '{}'\n", home.work("address").display()));
    chmod(&script, 0o755);
    home.set("BROWSER", script);
}

/// The address that the browser was opened at.
fn opened(home: &Home) -> String {
    let (sender, address) = mpsc::channel();
    let path = home.work("address");
    std::thread::spawn(move || sender.send(std::fs::read_to_string(path).unwrap()));
    let opened = address.recv_timeout(PATIENCE).expect("no browser was opened");
    opened.strip_prefix("1 ").expect("the address is one argument").to_owned()
}

/// The address that a person was shown, once all was said before the wait.
fn shown(running: &mut Running) -> String {
    let errors = running.errors.as_mut().unwrap();
    errors.wait_for("Ctrl-C gives up.");
    errors.seen().lines().find(|line| line.trim().starts_with("https://")).unwrap().trim().to_owned()
}

fn of_query(uri: &str, name: &str) -> String {
    let query = uri.split_once('?').unwrap().1;
    let value = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).unwrap();
    value.replace("%3A", ":").replace("%2F", "/")
}

fn port(uri: &str) -> u16 {
    of_query(uri, "redirect_uri").strip_prefix("http://localhost:").unwrap().parse().unwrap()
}

/// Sends bytes to the port that waits, and gives what it answers.
fn send(port: u16, bytes: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    lossy(&answer)
}

fn post(port: u16, form: &str) -> String {
    let head = "Content-Type: application/x-www-form-urlencoded\r\nOrigin: https://login.microsoftonline.com\r\n\
                Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
    send(
        port,
        &format!("POST / HTTP/1.1\r\nHost: localhost:{port}\r\n{head}Content-Length: {}\r\n\r\n{form}", form.len()),
    )
}

/// The end of a call that was started, searched for secrets as every other.
fn ended(home: &Home, mut running: Running) -> Done {
    let stdout = running.output.rest();
    let stderr = running.errors.take().unwrap().rest();
    let done = Done { status: running.wait(), stdout, stderr };
    home.assert_clean("standard output", &done.stdout);
    home.assert_clean("standard error", &done.stderr);
    done
}

#[test]
fn a_person_signs_in_with_the_browser_and_stays_signed_in() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, PLUGIN);
    browser(&home);
    home.strongroom(["get", SECRET]).done().fails(5, "entra.sign-in").says("strongroom login corp");

    let running = home.strongroom(["-vv", "login", "corp"]).start();
    let uri = opened(&home);
    assert!(uri.starts_with("https://login.microsoftonline.com/organizations/oauth2/v2.0/authorize?"), "{uri}");
    let (port, state) = (port(&uri), of_query(&uri, "state"));
    let landing = fake.browse(&uri).unwrap();
    assert!(landing.post, "a code in a query stays in the browser's history");
    let code = landing.fields.iter().find(|(name, _)| name == "code").unwrap().1.clone();
    home.guard(&code);

    // Who says nothing, garbage, and another sign-in's answer: none of them ends the wait.
    let silent = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    assert!(send(port, "\x16\x03\x01\r\n\r\n").starts_with("HTTP/1.1 400 "));
    let wrong = landing.encoded().replace(&state, &state.to_lowercase());
    assert_ne!(wrong, landing.encoded());
    assert!(post(port, &wrong).starts_with("HTTP/1.1 400 "));
    assert!(post(port, "code=a&state=").starts_with("HTTP/1.1 400 "));
    let page = post(port, &landing.encoded());
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("no-store"), "{page}");
    assert!(!page.contains(&code) && !page.contains(&state), "{page}");
    drop(silent);

    let done = ended(&home, running).ok().says("corp is signed in");
    assert_eq!(done.err().matches(&state).count(), 1, "it stands in the address alone: {}", done.err());
    assert!(!done.out().contains(&state), "{}", done.out());
    home.guard(&state);
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), "the port is closed");

    home.strongroom(["get", SECRET]).done().ok().prints("value-of-secret1-version2");
    home.strongroom(["whoami", "corp"]).done().ok().shows("good for: ");
    // The refresh token is kept: a new access token needs nobody.
    fake.control("POST", "/control/tokens/revoke", Value::Null).unwrap();
    home.strongroom(["get", SECRET]).done().ok().prints("value-of-secret1-version2");
    home.strongroom(["logout", "corp"]).done().ok();
    home.strongroom(["get", SECRET]).done().fails(5, "entra.sign-in");
}

#[test]
fn a_query_is_taken_where_the_config_asks_for_one() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, &format!("{PLUGIN}\nconfig = {{ response_mode = \"query\" }}"));
    browser(&home);
    let running = home.strongroom(["login", "corp"]).start();
    let uri = opened(&home);
    let landing = fake.browse(&uri).unwrap();
    assert!(!landing.post);
    let port = port(&uri);
    let request = format!("GET /?{} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n", landing.encoded());
    assert!(send(port, &request).starts_with("HTTP/1.1 200 "));
    ended(&home, running).ok().says("corp is signed in");
}

#[test]
fn a_person_who_says_no_is_taken_at_their_word() {
    let fake = Fake::start(Options::default()).unwrap();
    fake.control("PATCH", "/control/settings", json!({"refuse_browser": true})).unwrap();
    let home = home(&fake, PLUGIN);
    browser(&home);
    let running = home.strongroom(["login", "corp"]).start();
    let uri = opened(&home);
    let form = fake.browse(&uri).unwrap().encoded();
    assert!(form.contains("error=access_denied"), "{form}");
    assert!(post(port(&uri), &form).starts_with("HTTP/1.1 200 "));
    ended(&home, running).status(4).says("65004").says_not(&of_query(&uri, "nonce").to_lowercase());
    home.strongroom(["whoami", "corp"]).done().ok().says("no token of corp is kept");
}

#[test]
fn without_a_browser_the_address_is_printed_and_a_key_gives_up() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, PLUGIN);
    browser(&home);
    let mut running = home.strongroom(["login", "--no-browser", "corp"]).start();
    let port = port(&shown(&mut running));
    assert!(post(port, "code=a&state=b").starts_with("HTTP/1.1 400 "), "it waits");
    kill_process(running.id(), Signal::INT).unwrap();
    assert_eq!(running.wait(), 1000 + Signal::INT.as_raw());
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), "the port is closed");
}

#[test]
fn where_no_browser_opens_that_is_said_and_the_person_opens_it() {
    let fake = Fake::start(Options::default()).unwrap();
    for (browser, code) in
        [(None, "login.no-display"), (Some("false"), "login.opener"), (Some("no-such-program"), "process.not-found")]
    {
        // On macOS there is always a display.
        if browser.is_none() && cfg!(target_os = "macos") {
            continue;
        }
        let home = home(&fake, PLUGIN);
        if let Some(browser) = browser {
            home.set("BROWSER", browser);
        }
        let mut running = home.strongroom(["login", "corp"]).start();
        let uri = shown(&mut running);
        running.errors.as_mut().unwrap().wait_for(&format!("[{code}]"));
        running.errors.as_mut().unwrap().wait_for("plugin = \"device-code\"");
        let landing = fake.browse(&uri).unwrap();
        assert!(post(port(&uri), &landing.encoded()).starts_with("HTTP/1.1 200 "));
        ended(&home, running).ok().says("corp is signed in");
    }
}

#[test]
fn what_feeds_a_credential_is_not_inherited_by_the_browser() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, PLUGIN);
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let other = "[credentials.other]\nplugin = \"auth-token\"\nsealed = { token = \"${{env:OTHER_TOKEN}}\" }\naudiences = [\"https://other.example\"]\n";
    home.write("strongroom.toml", format!("{other}{config}"));
    browser(&home);
    let script = home.write(
        "browser",
        format!(
            "#!/bin/sh\nprintf '1 %s' \"${{OTHER_TOKEN-none}} ${{STRONGROOM_NO_KEYRING-none}}\" > '{}'\n",
            home.work("address").display()
        ),
    );
    chmod(&script, 0o755);
    home.variable("OTHER_TOKEN");
    let mut running = home.strongroom(["login", "corp"]).start();
    assert_eq!(opened(&home), "none none");
    running.kill();
    running.wait();
}
