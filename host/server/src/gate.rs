//! The gate: the only way from a door to the secrets.
//!
//! A [`Call`] is one request of a known caller. Each of its operations asks the policy, then the broker, then
//! writes the audit log, and only then returns. What the policy refuses reaches no plugin and no cache, and
//! looks the same whether or not there is such a mount or such a secret. What a plugin or its backend says in its own words is
//! told only where the mount says so, or to the server's owner.

use std::sync::Arc;
use std::time::Instant;

use strongroom::audit::Record;
use strongroom::elsewhere::ConfigFile;
use strongroom::{Explanation, Failure, Kind, MountExplanation, Page, Receipt, Reference, Secret, Text, Value};
use strongroom_core::config::listeners::Door;
use strongroom_core::policy::{Caller, Operation, Rule};
use strongroom_core::secret::Metadata;
use strongroom_core::{Digest, Name};

use crate::doors::scopes::InForce;
use crate::doors::vault;
use crate::limits::{Place, Turn};
use crate::state::State;

/// One request of a known caller. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Call(Arc<Inner>);

struct Inner {
    state: Arc<State>,
    caller: Caller,
    door: Door,
    trace: [u8; 16],
    claimed: Vec<(&'static str, Text)>,
    _place: Place,
    _turn: Turn,
}

/// What an audit line needs of one operation.
struct Done<'a> {
    operation: Operation,
    reference: Option<&'a Reference>,
    mount: Option<Name>,
    rule: Option<Rule>,
    outcome: Result<(), Kind>,
}

/// Codes of our own plugins that are told although their words are not: doors have words of their own for them.
const TOLD: [&str; 4] = ["SecretDisabled", "keys.disabled", "ObjectIsDeletedButRecoverable", "keys.name-taken"];

/// A change to a secret.
pub(crate) enum Change {
    /// Sets its value.
    Set {
        /// The value.
        value: Value,
        /// `content-type`, `expires` and `tags.*`.
        attributes: Vec<(String, String)>,
        /// The version to replace, if that matters.
        expected: Option<String>,
    },
    /// Changes what is known about it.
    Annotate {
        /// As of [`Change::Set`].
        attributes: Vec<(String, String)>,
    },
    /// Deletes it, or the version that the reference selects.
    Delete,
    /// Brings it back.
    Recover,
    /// Ends it for good.
    Purge,
}

impl Change {
    fn operation(&self) -> Operation {
        match self {
            Self::Set { .. } | Self::Annotate { .. } => Operation::Set,
            Self::Delete => Operation::Delete,
            Self::Recover => Operation::Recover,
            Self::Purge => Operation::Purge,
        }
    }
}

/// What the policy has let through.
struct Permit {
    mount: Name,
    rule: Rule,
}

/// One and the same for all that a caller may not have, whether it exists or not.
fn denied(reference: &Reference, operation: Operation) -> Failure {
    let message = format!("no policy lets this caller {} that", verb(operation));
    Failure::new(Kind::PolicyDenied, "policy.denied", message).about(reference.to_string())
}

fn verb(operation: Operation) -> &'static str {
    match operation {
        Operation::Resolve => "read",
        Operation::List => "list",
        Operation::Metadata => "ask about",
        Operation::Set => "set",
        Operation::Delete => "delete",
        Operation::Recover => "recover",
        Operation::Purge => "purge",
        Operation::Explain => "have explained",
        Operation::Plugins => "see",
    }
}

impl Call {
    pub(crate) fn new(
        state: Arc<State>,
        caller: Caller,
        door: Door,
        trace: [u8; 16],
        claimed: Vec<(&'static str, Text)>,
        places: (Place, Turn),
    ) -> Self {
        let (place, turn) = places;
        Self(Arc::new(Inner { state, caller, door, trace, claimed, _place: place, _turn: turn }))
    }

    /// Who asks.
    pub(crate) fn caller(&self) -> &Caller {
        &self.0.caller
    }

    /// What stands behind the doors.
    pub(crate) fn doors(&self) -> &InForce {
        &self.0.state.doors
    }

    /// The reference that `name` names directly below `scope`: as one part of its path, as it is.
    ///
    /// # Errors
    /// `invalid-reference` where no reference reads so.
    pub(crate) fn below(&self, scope: &Reference, name: &str) -> Result<Reference, Failure> {
        self.0.state.strongroom.below(scope, name)
    }

    /// That version of `reference`; `None` where there can be none like that.
    pub(crate) fn at_version(&self, reference: &Reference, version: &str) -> Option<Reference> {
        self.0.state.strongroom.shapes().at_version(reference, version)
    }

    /// Reads a reference.
    ///
    /// # Errors
    /// `invalid-reference`; for a scheme that no mount answers as for one that the caller may not use.
    pub(crate) fn parse(&self, text: &str) -> Result<Reference, Failure> {
        self.0.state.strongroom.parse(text)
    }

    /// Reads the scope of a listing.
    ///
    /// # Errors
    /// As [`Call::parse`].
    pub(crate) fn parse_scope(&self, text: &str) -> Result<Reference, Failure> {
        self.0.state.strongroom.parse_scope(text)
    }

    /// The reference that `names` name below `scope`, each as one part of its path; with `scope_too` also one that ends early.
    ///
    /// # Errors
    /// `invalid-reference` where no reference reads so.
    pub(crate) fn far_below(&self, scope: &Reference, names: &[&str], scope_too: bool) -> Result<Reference, Failure> {
        self.0.state.strongroom.far_below(scope, names, scope_too)
    }

    /// Where the Vault door leads.
    pub(crate) fn vault(&self) -> Option<&vault::Mounts> {
        self.0.state.vault.as_ref()
    }

    /// What the audit log and traces know this request by.
    pub(crate) fn trace(&self) -> [u8; 16] {
        self.0.trace
    }

    /// Whether the policy lets the caller do that. It is asked again when the caller does.
    pub(crate) fn may(&self, reference: &Reference, operation: Operation) -> bool {
        self.permit(reference, operation).is_ok()
    }

    /// Whether the policy lets the caller do anything at all with `scope` or something below it.
    pub(crate) fn touches(&self, scope: &Reference) -> bool {
        let Inner { state, caller, .. } = &*self.0;
        let routed = state.strongroom.routed(scope);
        routed.is_ok_and(|routed| state.policy.touches(caller, routed.mount, routed.host, &routed.path))
    }

    /// Resolves references, each on its own: one answer each, in order.
    pub(crate) async fn resolve(&self, references: &[Reference]) -> Vec<Result<Secret, Failure>> {
        self.read(references, Operation::Resolve).await
    }

    /// What is known of a secret beside its value.
    ///
    /// # Errors
    /// As [`Call::resolve`].
    pub(crate) async fn metadata(&self, reference: &Reference) -> Result<Metadata, Failure> {
        let mut answers = self.read(std::slice::from_ref(reference), Operation::Metadata).await;
        let answer = answers.pop().unwrap_or_else(|| Err(unanswered()));
        answer.map(|secret| secret.metadata)
    }

    async fn read(&self, references: &[Reference], operation: Operation) -> Vec<Result<Secret, Failure>> {
        let began = Instant::now();
        let permits: Vec<Result<Permit, Failure>> =
            references.iter().map(|reference| self.permit(reference, operation)).collect();
        let allowed: Vec<Reference> = references
            .iter()
            .zip(&permits)
            .filter(|(_, permit)| permit.is_ok())
            .map(|(reference, _)| reference.clone())
            .collect();
        let mut answers = self.0.state.strongroom.resolve_all(&allowed).await.into_iter();
        let mut done = Vec::with_capacity(references.len());
        let mut results = Vec::with_capacity(references.len());
        for (reference, permit) in references.iter().zip(permits) {
            let (result, mount, rule) = match permit {
                Ok(Permit { mount, rule }) => {
                    let answer = answers.next().unwrap_or_else(|| Err(unanswered()));
                    (answer.map_err(|failure| self.screened(failure)), Some(mount), Some(rule))
                }
                Err(failure) => (Err(failure), None, None),
            };
            let outcome = result.as_ref().map(drop).map_err(Failure::kind);
            done.push(Done { operation, reference: Some(reference), mount, rule, outcome });
            results.push(result);
        }
        if let Err(failure) = self.write_down(&done, began) {
            // Nothing of what was read leaves without its line.
            for result in &mut results {
                *result = Err(failure.clone());
            }
        }
        results
    }

    /// The names under `scope` that the caller may know; of those that were deleted, with `deleted`.
    ///
    /// # Errors
    /// `policy.denied`; else as the broker's.
    pub(crate) async fn list(&self, scope: &Reference, deleted: bool) -> Result<Page, Failure> {
        let began = Instant::now();
        let strongroom = &self.0.state.strongroom;
        let Permit { mount, rule } = match self.permit(scope, Operation::List) {
            Ok(permit) => permit,
            Err(failure) => return self.finish(Operation::List, Some(scope), None, None, Err(failure), began),
        };
        let page = if deleted { strongroom.list_deleted(scope).await } else { strongroom.list(scope).await };
        let page = page.map(|mut page| {
            let base = scope.joined_path();
            page.entries.retain(|entry| {
                let name = entry.name.as_str();
                let path = if base.is_empty() { name.to_owned() } else { format!("{base}/{name}") };
                self.0.state.policy.shows(self.caller(), &mount, scope.authority.as_deref(), &path)
            });
            page
        });
        self.finish(Operation::List, Some(scope), Some(mount), Some(rule), page, began)
    }

    /// The versions of a secret.
    ///
    /// # Errors
    /// As [`Call::list`].
    pub(crate) async fn versions(&self, reference: &Reference) -> Result<Page, Failure> {
        let began = Instant::now();
        match self.permit(reference, Operation::Metadata) {
            Err(failure) => self.finish(Operation::Metadata, Some(reference), None, None, Err(failure), began),
            Ok(Permit { mount, rule }) => {
                let result = self.0.state.strongroom.versions(reference).await;
                self.finish(Operation::Metadata, Some(reference), Some(mount), Some(rule), result, began)
            }
        }
    }

    /// Makes a change, as the broker's method of that name. It runs to its end and is written down, also if its
    /// caller goes away meanwhile.
    ///
    /// # Errors
    /// `policy.denied`; else as the broker's.
    pub(crate) async fn change(&self, reference: &Reference, change: Change) -> Result<Receipt, Failure> {
        let (call, reference) = (self.clone(), reference.clone());
        let running = tokio::spawn(async move { call.change_now(&reference, change).await });
        running.await.unwrap_or_else(|_| Err(unanswered()))
    }

    async fn change_now(&self, reference: &Reference, change: Change) -> Result<Receipt, Failure> {
        let began = Instant::now();
        let operation = change.operation();
        match self.permit(reference, operation) {
            Err(failure) => self.finish(operation, Some(reference), None, None, Err(failure), began),
            Ok(Permit { mount, rule }) => {
                let strongroom = &self.0.state.strongroom;
                let result = match change {
                    Change::Set { value, attributes, expected } => {
                        strongroom.set(reference, &value, &attributes, expected.as_deref()).await
                    }
                    Change::Annotate { attributes } => strongroom.annotate(reference, &attributes).await,
                    Change::Delete => strongroom.delete(reference).await,
                    Change::Recover => strongroom.recover(reference).await,
                    Change::Purge => strongroom.purge(reference).await,
                };
                self.finish(operation, Some(reference), Some(mount), Some(rule), result, began)
            }
        }
    }

    /// The config files in force. They are the owner's to know, and need no rule.
    ///
    /// # Errors
    /// `policy.denied` for anybody else.
    pub(crate) fn config_files(&self) -> Result<&[ConfigFile], Failure> {
        if self.caller().is_owner() {
            return Ok(self.0.state.strongroom.config_contents());
        }
        Err(Failure::new(Kind::PolicyDenied, "policy.denied", "no policy lets this caller see that"))
    }

    /// How a reference reads and who would answer it.
    ///
    /// # Errors
    /// `policy.denied`.
    pub(crate) fn explain(&self, reference: &Reference) -> Result<Explanation, Failure> {
        let began = Instant::now();
        match self.permit(reference, Operation::Explain) {
            Err(failure) => self.finish(Operation::Explain, Some(reference), None, None, Err(failure), began),
            Ok(Permit { mount, rule }) => {
                let result = self.0.state.strongroom.explain(reference);
                self.finish(Operation::Explain, Some(reference), Some(mount), Some(rule), result, began)
            }
        }
    }

    /// The mounts that the caller may know of, with their plugins.
    ///
    /// # Errors
    /// `policy.denied`.
    pub(crate) fn plugins(&self) -> Result<Vec<MountExplanation>, Failure> {
        let began = Instant::now();
        let strongroom = &self.0.state.strongroom;
        let rule = self.0.state.policy.permits_any(self.caller(), Operation::Plugins);
        let result = match rule {
            None => Err(Failure::new(Kind::PolicyDenied, "policy.denied", "no policy lets this caller see that")),
            Some(_) => {
                let mut mounts = strongroom.mounts();
                mounts.retain(|mount| {
                    let name = Name::parse(&mount.name).ok();
                    name.is_some_and(|name| {
                        self.0.state.policy.permits_mount(self.caller(), &name, Operation::Plugins).is_some()
                    })
                });
                Ok(mounts)
            }
        };
        self.finish(Operation::Plugins, None, None, rule, result, began)
    }

    /// Writes one operation down, and gives its result without what is not the caller's to know.
    fn finish<T>(
        &self,
        operation: Operation,
        reference: Option<&Reference>,
        mount: Option<Name>,
        rule: Option<Rule>,
        result: Result<T, Failure>,
        began: Instant,
    ) -> Result<T, Failure> {
        let outcome = result.as_ref().map(drop).map_err(Failure::kind);
        self.write_down(&[Done { operation, reference, mount, rule, outcome }], began)?;
        result.map_err(|failure| self.screened(failure))
    }

    /// Writes operations down, before anything of them leaves.
    fn write_down(&self, done: &[Done<'_>], began: Instant) -> Result<(), Failure> {
        let Inner { state, caller, door, trace, claimed, .. } = &*self.0;
        for one in done {
            state.metrics.operation(*door, one.mount.as_ref(), one.operation, one.outcome);
        }
        let Some(audit) = &state.audit else { return Ok(()) };
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let plugins: Vec<Option<&Digest>> =
            done.iter().map(|one| one.mount.as_ref().and_then(|mount| state.strongroom.plugin_of(mount))).collect();
        let records: Vec<Record<'_>> = done
            .iter()
            .zip(plugins)
            .map(|(one, plugin)| Record {
                caller: caller.shown().as_str(),
                kind: caller.kind(),
                door: door.name(),
                operation: one.operation,
                mount: one.mount.as_ref(),
                reference: one.reference,
                plugin,
                outcome: one.outcome,
                rule: one.rule.and_then(Rule::index),
                micros,
                trace: Some(*trace),
                claimed,
            })
            .collect();
        audit.write(&records)
    }

    /// A failure as the caller may see it: a plugin's or a backend's own words stay here, unless the mount says
    /// otherwise or the server is the caller's own.
    fn screened(&self, failure: Failure) -> Failure {
        let told = match failure.mount() {
            _ if failure.plugin().is_none() || self.caller().is_owner() => true,
            Some(mount) => self.0.state.strongroom.shows_failures(mount),
            None => false,
        };
        if told {
            return failure;
        }
        let kind = failure.kind();
        let message = match kind {
            Kind::InvalidReference => "the mount cannot mean that, or take what comes with it",
            Kind::NotFound => "there is no such secret, or no such version or field of it",
            Kind::Denied | Kind::PolicyDenied => "the backend refuses the server that",
            Kind::Unauthenticated | Kind::NotConfigured => "the server has no valid credential for the backend",
            Kind::Conflict => "the version that was expected is not the current one, or the name is taken",
            Kind::Unsupported => "the mount cannot do that",
            Kind::Throttled => "the backend asks for fewer requests",
            Kind::Unavailable => "the backend cannot be reached",
            Kind::Deadline => "the backend did not answer in time",
            Kind::LimitExceeded => "a limit of the mount was reached",
            _ => "the mount's plugin failed",
        };
        let code = TOLD.iter().find(|code| **code == failure.code()).copied().unwrap_or_else(|| kind.name());
        let mut shown = Failure::new(kind, code, message).retry_after_ms(failure.retry_after());
        if let Some(mount) = failure.mount() {
            shown = shown.on_mount(mount);
        }
        match failure.subject() {
            Some(subject) => shown.about(subject.clone()),
            None => shown,
        }
    }

    /// Whether the caller may do that. A reference that no mount answers looks like one that it may not have.
    fn permit(&self, reference: &Reference, operation: Operation) -> Result<Permit, Failure> {
        let strongroom = &self.0.state.strongroom;
        let routed = strongroom.routed(reference).map_err(|failure| {
            // The owner has nothing to find out, and wants to know what is wrong.
            if self.caller().is_owner() && !self.0.state.policy.has_rules() {
                failure
            } else {
                denied(reference, operation)
            }
        })?;
        let rule = self.0.state.policy.permits(self.caller(), routed.mount, routed.host, &routed.path, operation);
        match rule {
            Some(rule) => Ok(Permit { mount: routed.mount.clone(), rule }),
            None => Err(denied(reference, operation)),
        }
    }
}

fn unanswered() -> Failure {
    Failure::new(Kind::Internal, "resolve.unanswered", "there was no answer")
}
