//! The records of a process that asks for itself, such as the command line: each finished operation is written before its
//! answer is given. A server writes its own, with what it knows of its callers.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

use strongroom_core::config::{AuditConfig, AuditSink};
use strongroom_core::policy::Operation;
use strongroom_core::{Failure, Kind, Reference};

use super::{Audit, Record};
use crate::mounts::{Mounts, Provider};
use crate::paths::Paths;
use crate::{Strongroom, Warn};

/// As whom operations are recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// Who: `uid 1000`.
    pub caller: String,
    /// How that is known.
    pub kind: &'static str,
    /// Where operations come in.
    pub door: &'static str,
}

/// The log that the config asks for, opened when it is first needed.
pub(crate) struct Recorder {
    pub(crate) config: AuditConfig,
    /// Of the config's file.
    pub(crate) folder: PathBuf,
    pub(crate) paths: Paths,
    pub(crate) warn: Warn,
    pub(crate) audited: Option<Audited>,
    opened: OnceLock<Audit>,
}

impl Recorder {
    /// `before` is that of the config which this one replaces. A log that both ask for goes on: its chain and what it knows of
    /// the file's end among it, and nothing waits for the disk because a config ends.
    pub(crate) fn new(
        config: AuditConfig,
        folder: PathBuf,
        paths: Paths,
        warn: Warn,
        audited: Option<Audited>,
        before: Option<&Self>,
    ) -> Self {
        let same = |before: &&Self| (&before.config, &before.folder, &before.paths) == (&config, &folder, &paths);
        let opened = before.filter(same).and_then(|before| before.opened.get()).filter(|audit| audit.goes_on());
        let opened = opened.map_or_else(OnceLock::new, |audit| OnceLock::from(audit.clone()));
        Self { config, folder, paths, warn, audited, opened }
    }

    /// The log.
    pub(crate) fn open(&self) -> Result<Audit, Failure> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened.clone());
        }
        let opened = Audit::open(&self.config, &self.folder, &self.paths, self.warn.clone())?;
        Ok(self.opened.get_or_init(|| opened).clone())
    }

    /// The log, for this process's own operations.
    fn own(&self) -> Result<Audit, Failure> {
        if self.config.sink == AuditSink::Stdout {
            let message = "[audit] asks for standard output, which is where values go";
            return Err(Failure::new(Kind::InvalidConfig, "audit.output", message)
                .help("output = \"stdout\" is for `strongroom serve`; give this config a `file` instead"));
        }
        self.open()
    }
}

/// An operation that has begun.
struct Begun<'a> {
    mounts: &'a Mounts,
    audit: Audit,
    audited: &'a Audited,
    operation: Operation,
    since: Instant,
}

impl Begun<'_> {
    /// Writes how it ended, a line for each reference.
    fn ended<'r>(&self, outcomes: impl Iterator<Item = (&'r Reference, Result<(), Kind>)>) -> Result<(), Failure> {
        let micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let record = |(reference, outcome)| {
            let mounted = self.mounts.router.route(reference).ok().and_then(|name| self.mounts.all.get(name));
            let plugin = mounted.and_then(|mounted| match &mounted.provider {
                Provider::Plugin(provided) => Some(&provided.digest),
                Provider::Files(_) => None,
            });
            Record {
                caller: &self.audited.caller,
                kind: self.audited.kind,
                door: self.audited.door,
                operation: self.operation,
                mount: mounted.map(|mounted| &mounted.name),
                reference: Some(reference),
                plugin,
                outcome,
                rule: None,
                micros,
                trace: None,
                claimed: &[],
            }
        };
        let records: Vec<Record<'_>> = outcomes.map(record).collect();
        self.audit.write(&records)
    }
}

fn outcome<T>(result: &Result<T, Failure>) -> Result<(), Kind> {
    result.as_ref().map(drop).map_err(Failure::kind)
}

impl Strongroom {
    /// `None`: nothing is recorded here.
    fn begin(&self, operation: Operation) -> Result<Option<Begun<'_>>, Failure> {
        let Some(recorder) = &self.0.recorder else { return Ok(None) };
        let Some(audited) = &recorder.audited else { return Ok(None) };
        let audit = recorder.own()?;
        Ok(Some(Begun { mounts: &self.0.mounts, audit, audited, operation, since: Instant::now() }))
    }

    /// Does `work`, and records it before the answer is given. Without a log that works nothing is done at all.
    pub(crate) async fn recorded<T>(
        &self,
        operation: Operation,
        reference: &Reference,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let begun = self.begin(operation)?;
        let result = work.await;
        let Some(begun) = begun else { return result };
        let written = begun.ended(std::iter::once((reference, outcome(&result))));
        let changes =
            !matches!(operation, Operation::Resolve | Operation::List | Operation::Metadata | Operation::Explain);
        written.map_err(|failure| match changes && result.is_ok() {
            true => failure.help(format!("the {operation} itself was done")),
            false => failure,
        })?;
        result
    }

    /// As [`Strongroom::recorded`], with an answer for each reference.
    pub(crate) async fn recorded_each<T>(
        &self,
        operation: Operation,
        references: &[Reference],
        work: impl Future<Output = Vec<Result<T, Failure>>>,
    ) -> Vec<Result<T, Failure>> {
        let refused = |failure: Failure, reference: &Reference| failure.about(reference.to_string());
        let begun = match self.begin(operation) {
            Ok(begun) => begun,
            Err(failure) => return references.iter().map(|one| Err(refused(failure.clone(), one))).collect(),
        };
        let mut results = work.await;
        let Some(begun) = begun else { return results };
        let Err(failure) = begun.ended(references.iter().zip(results.iter().map(outcome))) else { return results };
        for (reference, result) in references.iter().zip(&mut results).filter(|(_, result)| result.is_ok()) {
            *result = Err(refused(failure.clone(), reference));
        }
        results
    }

    /// Records an explanation before it is given.
    pub(crate) fn recorded_now<T>(
        &self,
        operation: Operation,
        reference: &Reference,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let begun = self.begin(operation)?;
        let result = work();
        if let Some(begun) = begun {
            begun.ended(std::iter::once((reference, outcome(&result))))?;
        }
        result
    }
}
