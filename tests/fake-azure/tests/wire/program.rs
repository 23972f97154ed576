//! The program: what it prints, and when it ends.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fake-azure"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The lines up to `ready`.
fn facts(child: &mut Child) -> Vec<(String, String)> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let lines: Vec<String> = lines.take_while(|line| line != "ready").collect();
    lines.iter().map(|line| line.split_once('=').unwrap()).map(|(name, value)| (name.into(), value.into())).collect()
}

#[test]
fn it_says_where_it_is_and_ends_with_its_standard_input() {
    let mut child = start(&[]);
    let facts = facts(&mut child);
    let fact = |name: &str| facts.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap();
    let folder = fact("folder");
    assert!(Path::new(&fact("ca-file")).exists() && Path::new(&fact("client-secret-file")).exists());
    assert!(std::net::TcpStream::connect(("127.0.0.1", fact("https-port").parse().unwrap())).is_ok());
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(fact("client-secret-file")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(!Path::new(&folder).exists(), "its temporary folder stays");
}

#[test]
fn a_port_that_is_taken_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut child = start(&["--https-port", &port]);
    assert!(!child.wait().unwrap().success());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.starts_with(&format!("fake-azure: port {port}: ")), "{said}");
}
