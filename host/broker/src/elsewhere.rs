//! The user's own server, in the place of this process: what it may be asked for, and when.
//!
//! It is asked only for what it answers as this process would: it has read the very same config files, its own files (the
//! store) lie in the same folder, and nothing that decides the answer comes from the environment, in which the two differ.
//! Whatever cannot be had from it is done
//! here, as if there were none; a failure that it tells is the answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use strongroom_core::config::Layer;
use strongroom_core::manifest::Grant;
use strongroom_core::{Digest, Failure, Reference, Secret, Value};
use strongroom_sandbox::Receipt;

use crate::credentials::Credentialed;
use crate::mounts::{Mounted, Provider};
use crate::{Inner, Strongroom};

/// A config file that was read: where it is, and what was in it and in its lock.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct ConfigFile {
    /// Its absolute path.
    pub path: PathBuf,
    /// Of its bytes and those of its lock.
    pub digest: Digest,
}

/// What decides the answers of a process, but its environment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Basis {
    /// The config files, sorted.
    pub files: Vec<ConfigFile>,
    /// The folder of the store, of its key and of the audit log's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<PathBuf>,
}

/// A change that is handed on.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// Sets a value.
    Set {
        /// The value.
        value: &'a Value,
        /// `content-type`, `expires` and `tags.*`.
        attributes: &'a [(String, String)],
        /// The version to replace, if that matters.
        expected: Option<&'a str>,
    },
    /// Changes what is known about a secret.
    Annotate {
        /// As of [`Change::Set`].
        attributes: &'a [(String, String)],
    },
    /// Deletes it, or the version that the reference selects.
    Delete,
    /// Brings it back.
    Recover,
    /// Ends it for good.
    Purge,
}

/// Somebody who answers in the place of this process.
#[async_trait]
pub trait Elsewhere: Send + Sync {
    /// What is in force there; `None` if there is nobody.
    async fn basis(&self) -> Option<Basis>;

    /// An answer for each reference, in order; `None` if there is nobody any more.
    async fn resolve(&self, references: &[Reference]) -> Option<Vec<Result<Secret, Failure>>>;

    /// What became of a change; `None` if it was not taken, and so was not made.
    async fn change(&self, reference: &Reference, change: Change<'_>) -> Option<Result<Receipt, Failure>>;
}

/// Finds somebody at a Unix socket.
pub type Find = fn(PathBuf) -> Option<Arc<dyn Elsewhere>>;

/// How long it is taken for granted that somebody has the same config: a command is done by then.
const SAME_FOR: Duration = Duration::from_secs(5);

impl Inner {
    /// Which of the references somebody else may answer; none, without anybody.
    pub(crate) async fn handed_on(&self, references: &[Reference]) -> Vec<bool> {
        let Some(elsewhere) = &self.elsewhere else { return vec![false; references.len()] };
        let fits: Vec<bool> = references.iter().map(|reference| self.could_go(reference)).collect();
        if !fits.contains(&true) || !self.same_config(elsewhere.as_ref()).await {
            return vec![false; references.len()];
        }
        fits
    }

    /// Asked now and then: a server that reads its config anew meanwhile answers as it did a moment before, and whoever goes
    /// on asking notices.
    async fn same_config(&self, elsewhere: &dyn Elsewhere) -> bool {
        let mut known = self.same_config.lock().await;
        if let Some((same, at)) = *known
            && at.elapsed() < SAME_FOR
        {
            return same;
        }
        let same = elsewhere.basis().await.is_some_and(|theirs| theirs == self.basis);
        *known = Some((same, Instant::now()));
        same
    }

    fn could_go(&self, reference: &Reference) -> bool {
        let mounted = self.mounts.router.route(reference).ok().and_then(|name| self.mounts.all.get(name));
        mounted.is_some_and(|mounted| self.is_same_everywhere(mounted))
    }

    /// Whether nothing that decides the mount's answers comes from the environment or the folder of this process.
    fn is_same_everywhere(&self, mounted: &Mounted) -> bool {
        let Provider::Plugin(provided) = &mounted.provider else { return false };
        let is_set = |name: &String| self.environment.get(name).is_some();
        // A variable that is not set here is taken to be set nowhere.
        let same = |used: &Credentialed| {
            !used.provided.grants.contains(&Grant::Tool)
                && !used.provided.manifest.own_env_names(&used.credential.config).iter().any(is_set)
        };
        let credentials = mounted.mount.credential.iter().flat_map(|name| self.mounts.meant(name));
        mounted.mount.source.layer != Layer::Project
            && mounted.mount.keep.is_none()
            && mounted.filled.told.is_empty()
            && !provided.grants.contains(&Grant::Env)
            && credentials.into_iter().all(|used| {
                same(used)
                    && used.files.is_empty()
                    && used.filled.told.is_empty()
                    && used.sealed.values().all(|sealed| *sealed.scheme != *"env" && self.could_go_or_is_file(sealed))
            })
    }

    fn could_go_or_is_file(&self, sealed: &Reference) -> bool {
        *sealed.scheme == *"file" || self.could_go(sealed)
    }
}

impl Strongroom {
    /// What is in force, of a server's config.
    pub fn basis(&self) -> &Basis {
        &self.0.basis
    }

    /// The answers that somebody else gave; `None` for what is to be answered here.
    pub(crate) async fn resolve_elsewhere(&self, references: &[Reference]) -> Vec<Option<Result<Secret, Failure>>> {
        let mut answers = vec![None; references.len()];
        let Some(elsewhere) = &self.0.elsewhere else { return answers };
        let handed = self.0.handed_on(references).await;
        let asked: Vec<Reference> =
            references.iter().zip(&handed).filter(|(_, handed)| **handed).map(|(one, _)| one.clone()).collect();
        if asked.is_empty() {
            return answers;
        }
        let Some(told) = elsewhere.resolve(&asked).await.filter(|told| told.len() == asked.len()) else {
            return answers;
        };
        for ((answer, _), told) in answers.iter_mut().zip(handed).filter(|(_, handed)| *handed).zip(told) {
            *answer = Some(told);
        }
        answers
    }

    /// What became of a change elsewhere; `None` if it is to be made here.
    pub(crate) async fn change_elsewhere(
        &self,
        reference: &Reference,
        change: Change<'_>,
    ) -> Option<Result<Receipt, Failure>> {
        let elsewhere = self.0.elsewhere.as_ref()?;
        let handed = self.0.handed_on(std::slice::from_ref(reference)).await;
        if handed != [true] {
            return None;
        }
        elsewhere.change(reference, change).await
    }
}
