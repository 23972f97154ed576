//! Microsoft's own clients judge the fake: each test starts one and runs a script of `clients/` on it.
//! What they do not accept is wrong here.
//!
//! Left out, with one line that says so, only where there is no Python that can install them; never
//! where `CI` is set.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test binary"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use fake_azure::{Fake, Options};

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");
/// The one folder from which the official clients take Azure Arc's challenge.
const ARC: &str = "/var/opt/azcmagent/tokens";

/// The environment's Python; `None` where there is none that could install it.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = PYTHON.get_or_init(|| {
        let version = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
        let there = Command::new("python3").args(["-c", version]).stderr(Stdio::null()).status();
        if !there.is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("CI").is_none(), "CI needs python3 3.10 or later, with venv");
            return None;
        }
        let install = Path::new(CLIENTS).join("install");
        let output = Command::new("python3")
            .arg(install)
            .args(["--cache", env!("CARGO_TARGET_TMPDIR")])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "Microsoft's clients could not be installed");
        Some(String::from_utf8(output.stdout).unwrap().trim().into())
    });
    found.as_deref()
}

/// Runs a script on a fake of its own, with an empty home and nothing else of this process's environment.
fn run(script: &str, arguments: &[&str], options: Options) {
    let Some(python) = python() else {
        eprintln!("skipped: python3 3.10 or later with venv is needed to install Microsoft's clients from PyPI");
        return;
    };
    let fake = Fake::start(options).unwrap();
    let home = tempfile::tempdir().unwrap();
    let facts = fake.facts();
    let control = facts.iter().find(|(name, _)| name == "control").map(|(_, value)| value.as_str()).unwrap();
    // Each script signs in as it says itself.
    let environment = fake
        .environment()
        .into_iter()
        .filter(|(name, _)| !["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"].contains(&name.as_str()));
    let output = Command::new(python)
        .arg(Path::new(CLIENTS).join(script))
        .args(arguments)
        .env_clear()
        .envs(environment)
        .env("FAKE_AZURE_CONTROL", control)
        .env("FAKE_AZURE_FOLDER", fake.folder())
        .env("HOME", home.path())
        .env("PATH", "/usr/bin:/bin")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script} {arguments:?} failed:\n{said}");
    assert!(said.contains(" passed in "), "{script} ran no test:\n{said}");
    print!("{said}");
}

#[test]
fn azure_identity_signs_in_to_entra() {
    run("identity.py", &["entra"], Options::default());
}

#[test]
fn azure_identity_signs_in_with_a_device_code() {
    run("identity.py", &["device"], Options::default());
}

#[test]
fn azure_identity_signs_in_as_a_machine() {
    // Not on a machine with the real agent, which keeps its own files there.
    let made = !Path::new("/opt/azcmagent/bin/himds").exists() && fs::create_dir_all(ARC).is_ok();
    let arc_folder = made.then(|| ARC.into());
    run("identity.py", &["machines"], Options { arc_folder, ..Options::default() });
    if made {
        let _ = fs::remove_dir_all(ARC);
        let _ = fs::remove_dir("/var/opt/azcmagent");
    }
}

#[test]
fn azure_keyvault_secrets_does_all_it_can() {
    run("key_vault.py", &[], Options::default());
}

#[test]
fn azure_ai_ml_reads_and_writes_connections() {
    run("connections.py", &[], Options::default());
}

#[test]
fn azureml_core_reads_and_writes_secrets() {
    run("azureml_v1.py", &[], Options::default());
}
