//! The child's environment: what leads programs written for Azure to the run's own listeners, and nothing that would
//! lead them elsewhere.
//!
//! What is handed on here is read by any program of the same user: it is worth nothing after the run.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use strongroom::{Failure, Kind};
use strongroom_core::config::doors::{ANY, AzuremlDoor};

use super::Bundle;
use super::authority::SUFFIXES;
use super::tokens::{Given, USER};

/// Where the identity's endpoint answers.
pub(super) const IDENTITY_PATH: &str = "/msi/token";

/// What is not handed on: all that makes Azure's clients ask somebody else, or with something else.
const LEADING_ELSEWHERE: [&str; 3] = ["AZURE_", "MSI_", "IDENTITY_"];

/// Of the variables that begin with this those that name the run stay: its services are here, and so is its token.
const AZUREML: &str = "AZUREML_";
const NAMES: [&str; 8] = [
    "AZUREML_RUN_ID",
    "AZUREML_ROOT_RUN_ID",
    "AZUREML_ARM_SUBSCRIPTION",
    "AZUREML_ARM_RESOURCEGROUP",
    "AZUREML_ARM_WORKSPACE_NAME",
    "AZUREML_ARM_PROJECT_NAME",
    "AZUREML_EXPERIMENT_ID",
    "AZUREML_WORKSPACE_ID",
];

/// Proxies of https that the child would have used.
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// What clients read the authorities that they trust from, in place of their own.
const AUTHORITIES: [&str; 4] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"];

/// The file of authorities for a child: `/tmp/strongroom-authorities-XXXXXX.pem`.
const BUNDLE_PREFIX: &str = "strongroom-authorities-";
const BUNDLE_SUFFIX: &str = ".pem";

/// How old one that nobody holds must be to be removed.
const SWEPT_AFTER: Duration = Duration::from_secs(60);

/// The largest file of authorities, in bytes.
const MAX_BUNDLE: u64 = 16 << 20;

/// The workspace that the child believes to run in.
pub(super) struct Workspace {
    subscription: String,
    group: String,
    name: String,
}

impl Workspace {
    /// The first that the door names; any, where it takes every one.
    pub(super) fn of(door: &AzuremlDoor) -> Self {
        let named = door.workspaces.keys().find(|key| *key != ANY);
        let mut parts = named.map_or("", String::as_str).split('/').map(str::to_owned);
        let mut part = |other: &str| parts.next().filter(|part| !part.is_empty()).unwrap_or_else(|| other.to_owned());
        Self {
            subscription: part("00000000-0000-0000-0000-000000000000"),
            group: part("strongroom"),
            name: part("strongroom"),
        }
    }
}

/// What the child's environment is made of.
pub(super) struct Facts {
    pub(super) proxy_port: u16,
    pub(super) identity_port: u16,
    pub(super) azureml: Option<(u16, Workspace)>,
    pub(super) given: Given,
}

type Variables = Vec<(OsString, OsString)>;

fn get<'v>(variables: &'v Variables, name: &str) -> Option<&'v OsStr> {
    let found = variables.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_os_str());
    found.filter(|value| !value.is_empty())
}

fn set(variables: &mut Variables, name: &str, value: impl Into<OsString>) {
    variables.retain(|(known, _)| known != name);
    variables.push((name.into(), value.into()));
}

impl Facts {
    /// See [`super::AsAzure::lead`]. `authority` is PEM.
    pub(super) fn lead(&self, variables: &mut Variables, authority: &str) -> Result<Bundle, Failure> {
        if let Some(name) = PROXIES.iter().find(|name| get(variables, name).is_some()) {
            let message = format!("the program has a proxy for https already ({name}), and --as-azure is one");
            return Err(Failure::new(Kind::Unsupported, "run.as-azure-proxy", message)
                .help(format!("if names can be reached without it: --clean-env {name}")));
        }
        let bundle = bundle(variables, authority)?;
        variables.retain(|(name, _)| {
            let name = name.to_string_lossy();
            let elsewhere = LEADING_ELSEWHERE.iter().any(|prefix| name.starts_with(prefix));
            let run = self.azureml.is_some() && name.starts_with(AZUREML) && !NAMES.contains(&&*name);
            !elsewhere && !run
        });
        let proxy = format!("http://{USER}:{}@127.0.0.1:{}", *self.given.proxy, self.proxy_port);
        for name in ["HTTPS_PROXY", "https_proxy"] {
            set(variables, name, &proxy);
        }
        // Some clients read the one, some the other: where one alone is set, it was meant for both.
        let kept = |name| get(variables, name).map(|value| value.to_string_lossy().into_owned());
        let (upper, lower) = (kept("NO_PROXY"), kept("no_proxy"));
        for (name, kept) in
            [("NO_PROXY", upper.as_ref().or(lower.as_ref())), ("no_proxy", lower.as_ref().or(upper.as_ref()))]
        {
            set(variables, name, not_proxied(kept.map_or("", String::as_str)));
        }
        for name in AUTHORITIES {
            set(variables, name, bundle.path().as_os_str());
        }
        set(variables, "IDENTITY_ENDPOINT", format!("http://127.0.0.1:{}{IDENTITY_PATH}", self.identity_port));
        set(variables, "IDENTITY_HEADER", self.given.identity.as_str());
        if let Some((port, workspace)) = &self.azureml {
            let here = format!("http://127.0.0.1:{port}");
            for (name, value) in [
                ("AZUREML_RUN_ID", "strongroom-run"),
                ("AZUREML_ARM_SUBSCRIPTION", &workspace.subscription),
                ("AZUREML_ARM_RESOURCEGROUP", &workspace.group),
                ("AZUREML_ARM_WORKSPACE_NAME", &workspace.name),
                ("AZUREML_ARM_PROJECT_NAME", "strongroom"),
                ("AZUREML_EXPERIMENT_ID", "00000000-0000-0000-0000-000000000000"),
            ] {
                if get(variables, name).is_none() {
                    set(variables, name, value);
                }
            }
            set(variables, "AZUREML_SERVICE_ENDPOINT", &here);
            set(variables, "AZUREML_DISCOVERY_SERVICE_ENDPOINT", format!("{here}/discovery"));
            set(variables, "AZUREML_RUN_TOKEN", self.given.job.as_str());
        }
        Ok(bundle)
    }
}

/// What goes past the proxy: what did before, but no vault; and the run's own listeners, which no other proxy is to see.
fn not_proxied(before: &str) -> String {
    let covers = |name: &str| {
        let name = name.trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase();
        let host = name.split(':').next().unwrap_or_default();
        let below = |one: &str, other: &str| one == other || one.strip_suffix(other).is_some_and(|r| r.ends_with('.'));
        host.is_empty() || host == "*" || SUFFIXES.iter().any(|suffix| below(suffix, host) || below(host, suffix))
    };
    let kept = before.split([',', ' ']).map(str::trim).filter(|name| !name.is_empty() && !covers(name));
    let mut names: Vec<&str> = kept.collect();
    names.extend(["127.0.0.1", "localhost", "::1"].iter().filter(|own| !names.contains(own)).collect::<Vec<_>>());
    names.join(",")
}

/// A file with the authorities that the child trusts anyway, and the run's.
fn bundle(variables: &Variables, authority: &str) -> Result<Bundle, Failure> {
    let failed = |what: &str, path: &Path, error: &dyn std::fmt::Display| {
        let message = format!("the authorities for the program cannot be {what} ({}): {error}", path.display());
        Failure::new(Kind::Unavailable, "run.as-azure-authorities", message)
    };
    let mut pem = String::new();
    let named = AUTHORITIES.iter().filter_map(|name| Some((*name, PathBuf::from(get(variables, name)?))));
    let mut named: Vec<(&str, PathBuf)> = named.collect();
    named.dedup_by(|one, other| one.1 == other.1);
    // NODE_EXTRA_CA_CERTS comes on top of the system's, the others in their place.
    if named.iter().all(|(name, _)| *name == "NODE_EXTRA_CA_CERTS")
        && let Some(system) = strongroom::SYSTEM_AUTHORITIES.iter().map(Path::new).find(|path| path.is_file())
    {
        named.push(("", system.to_owned()));
    }
    for (name, path) in &named {
        let length = std::fs::metadata(path).map_err(|error| named_by(name, failed("read", path, &error)))?.len();
        if length > MAX_BUNDLE {
            return Err(named_by(name, failed("read", path, &"it is larger than 16 MiB")));
        }
        let read = std::fs::read_to_string(path).map_err(|error| named_by(name, failed("read", path, &error)))?;
        pem += &read;
        pem.push('\n');
    }
    pem += authority;
    let folder = get(variables, "TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    sweep(&folder);
    let mut file = tempfile::Builder::new()
        .prefix(BUNDLE_PREFIX)
        .suffix(BUNDLE_SUFFIX)
        .tempfile_in(&folder)
        .map_err(|error| failed("written", &folder, &error))?;
    // For as long as this run lasts; see `sweep`.
    let _ = flock(file.as_file(), FlockOperation::NonBlockingLockExclusive);
    file.write_all(pem.as_bytes()).map_err(|error| failed("written", file.path(), &error))?;
    Ok(Bundle(file))
}

/// Removes what runs that were killed have left: nobody holds a lock on it any more.
fn sweep(folder: &Path) {
    let ours = |name: &str| name.starts_with(BUNDLE_PREFIX) && name.ends_with(BUNDLE_SUFFIX);
    let all = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in all.filter(|entry| entry.file_name().to_str().is_some_and(ours)) {
        let Ok(about) = entry.metadata() else { continue };
        // A new one may be about to be locked.
        let old = about.modified().ok().and_then(|then| then.elapsed().ok()).is_some_and(|age| age > SWEPT_AFTER);
        if !about.is_file() || about.uid() != rustix::process::geteuid().as_raw() || !old {
            continue;
        }
        let file = std::fs::File::open(entry.path());
        if file.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn named_by(variable: &str, failure: Failure) -> Failure {
    if variable.is_empty() { failure } else { failure.help(format!("{variable} names them")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_is_in_use_or_somebody_elses_stays() {
        let folder = tempfile::tempdir().unwrap();
        let old = std::time::SystemTime::now() - 2 * SWEPT_AFTER;
        let made = |name: &str, old: Option<std::time::SystemTime>| {
            let path = folder.path().join(name);
            let file = std::fs::File::create(&path).unwrap();
            old.into_iter().for_each(|time| file.set_modified(time).unwrap());
            (path, file)
        };
        let (left, _) = made("strongroom-authorities-left.pem", Some(old));
        let (new, _) = made("strongroom-authorities-new.pem", None);
        let (held, lock) = made("strongroom-authorities-held.pem", Some(old));
        let (other, _) = made("authorities.pem", Some(old));
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        sweep(folder.path());
        assert_eq!([left, new, held, other].map(|path| path.exists()), [false, true, true, true]);
    }

    #[test]
    fn no_vault_goes_past_the_proxy_and_no_request_to_here_goes_to_another() {
        for (before, after) in [
            ("", "127.0.0.1,localhost,::1"),
            ("*", "127.0.0.1,localhost,::1"),
            ("corp.example, .internal,localhost", "corp.example,.internal,localhost,127.0.0.1,::1"),
            (".azure.net,vault.azure.net,.VAULT.azure.cn,v.vault.azure.net:443", "127.0.0.1,localhost,::1"),
            ("net,cn,notazure.net", "notazure.net,127.0.0.1,localhost,::1"),
            ("*.azure.net blob.core.windows.net", "blob.core.windows.net,127.0.0.1,localhost,::1"),
        ] {
            assert_eq!(not_proxied(before), after, "{before}");
        }
    }
}
