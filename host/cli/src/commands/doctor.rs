//! `doctor`: what works, what does not, and what to do about it. It changes nothing, asks for no
//! passphrase and prints no value.

use std::fmt::Write;

use serde_json::json;
use strongroom::{Failure, Kind, Paths, Strongroom};
use strongroom_store::Store;

use crate::args;
use crate::session::{self, Answer, Outcome, Session};

/// One thing that was looked at.
struct Finding {
    area: &'static str,
    verdict: Verdict,
    what: String,
    advice: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Note,
    Bad,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Bad => "BAD",
        }
    }
}

#[derive(Default)]
struct Findings {
    all: Vec<Finding>,
    worst: Option<Failure>,
}

impl Findings {
    fn good(&mut self, area: &'static str, what: impl Into<String>) {
        self.all.push(Finding { area, verdict: Verdict::Good, what: what.into(), advice: Vec::new() });
    }

    fn note(&mut self, area: &'static str, what: impl Into<String>, advice: &str) {
        self.all.push(Finding { area, verdict: Verdict::Note, what: what.into(), advice: vec![advice.to_owned()] });
    }

    fn bad(&mut self, area: &'static str, failure: &Failure) {
        let advice = failure.helps().iter().map(ToString::to_string).collect();
        let what = format!("{} [{}]", failure.message(), failure.code());
        self.all.push(Finding { area, verdict: Verdict::Bad, what, advice });
        self.worst.get_or_insert_with(|| failure.clone());
    }
}

pub fn run(session: &Session, options: &args::Doctor) -> Answer {
    let mut findings = Findings::default();
    let paths = Paths::from_environment(&session.environment);
    folders(&mut findings, &paths);
    match session.open() {
        Ok(strongroom) => {
            config(&mut findings, &strongroom);
            let checked = session.block_on(strongroom.check_mounts())?;
            for (name, result) in checked {
                match result {
                    Ok(()) => findings.good("mount", format!("{name}: plugin loads, digest, lock and config fit")),
                    Err(failure) => findings.bad("mount", &failure),
                }
            }
            store(&mut findings, &strongroom);
            keyring(&mut findings, session);
        }
        Err(failure) => findings.bad("config", &failure),
    }
    system(&mut findings);
    tell(&findings, options)?;
    Ok(match &findings.worst {
        Some(failure) => Outcome::Exit(failure.kind().meaning().exit),
        None => Outcome::Done,
    })
}

fn folders(findings: &mut Findings, paths: &Paths) {
    match (&paths.state, paths.code(), paths.code_key()) {
        (Some(state), Some(code), Some(key)) => {
            findings.good("folders", format!("state in {}", state.display()));
            // Opening what is not there would make it, and a look changes nothing.
            if !code.exists() {
                return findings.good(
                    "cache",
                    format!("none yet; plugins that are not bundled are compiled into {}", code.display()),
                );
            }
            match strongroom_sandbox::aot::Cache::open(&code, &key) {
                Ok(_) => {
                    findings.good("cache", format!("compiled code in {}, its key in the state folder", code.display()))
                }
                Err(failure) => findings.bad("cache", &failure),
            }
        }
        _ => findings.note(
            "folders",
            "there is no home folder: no store, and plugins that are not bundled are compiled at each run",
            "set HOME, or XDG_STATE_HOME and XDG_CACHE_HOME",
        ),
    }
}

fn config(findings: &mut Findings, strongroom: &Strongroom) {
    if strongroom.config_files().is_empty() {
        findings.good("config", "no config file: the built-in mounts env and keys");
    }
    for (layer, path) in strongroom.config_files() {
        let trusted = if *layer == strongroom_core::config::Layer::Project { ", trusted as it is" } else { "" };
        findings.good("config", format!("{}{trusted}", path.display()));
        match strongroom::accept::read_lock(path) {
            Ok(lock) if lock.iter().next().is_some() => {
                findings.good("lock", format!("{} accepted plugins beside it", lock.iter().count()));
            }
            Ok(_) => {}
            Err(failure) => findings.bad("lock", &failure),
        }
    }
}

fn store(findings: &mut Findings, strongroom: &Strongroom) {
    let options = match strongroom.store_parts() {
        Ok((options, _)) => options,
        Err(failure) => return findings.bad("store", &failure),
    };
    match Store::inspect(&options) {
        Ok(None) => {
            findings.good("store", format!("none yet; the first `strongroom set` makes {}", options.path.display()))
        }
        Ok(Some(status)) => {
            findings.good("store", format!("{}, its key held by {}", options.path.display(), status.how));
            for problem in &status.problems {
                let failure =
                    Failure::new(Kind::Integrity, "store.corrupt", format!("the store is damaged: {problem}"));
                findings.bad("store", &failure.help("copy the file away before anything else is tried"));
            }
        }
        Err(failure) => findings.bad("store", &failure),
    }
}

fn keyring(findings: &mut Findings, session: &Session) {
    use strongroom_store::Keyring;
    if session.environment.setting("STRONGROOM_NO_KEYRING").is_some() {
        return findings.note("keyring", "left alone", "STRONGROOM_NO_KEYRING is set; unset it to use one");
    }
    match strongroom_store::OsKeyring::default().read("strongroom-doctor").is_ok() {
        true => findings.good("keyring", "there is one"),
        false => findings.note(
            "keyring",
            "there is none here",
            "a new store's key goes into a file of mode 0600, or set STRONGROOM_PASSPHRASE_FILE before the first `set`",
        ),
    }
}

fn system(findings: &mut Findings) {
    match strongroom_sandbox::Runtime::new(strongroom::Allocation::OnDemand) {
        Ok(_) => findings.good("sandbox", "this machine runs it"),
        Err(failure) => findings.bad("sandbox", &failure),
    }
    if cfg!(target_os = "linux") {
        match strongroom_process::is_hardened() {
            true => findings.good("process", "undumpable: no core files, no tracing by your other programs"),
            false => findings.note(
                "process",
                "this kernel let the process stay dumpable",
                "programs of the same user can then read its memory; a container's seccomp filter may be the reason",
            ),
        }
    }
}

fn tell(findings: &Findings, options: &args::Doctor) -> Result<(), session::Stop> {
    if options.json {
        let all: Vec<_> = findings
            .all
            .iter()
            .map(|f| json!({ "area": f.area, "verdict": f.verdict.word().to_lowercase(), "what": f.what, "advice": f.advice }))
            .collect();
        return session::print_json(json!({ "ok": findings.worst.is_none(), "findings": all }));
    }
    let mut out = String::new();
    for finding in &findings.all {
        let _ = writeln!(out, "{:4} {:8} {}", finding.verdict.word(), finding.area, finding.what);
        for line in &finding.advice {
            let _ = writeln!(out, "              {line}");
        }
    }
    session::print(out.as_bytes())
}
