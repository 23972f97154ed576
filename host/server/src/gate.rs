//! The gate: the only way from a door to the secrets.
//!
//! A [`Call`] is one request of a known caller. Each of its operations asks the policy, then the broker, then
//! writes the audit log, and only then returns. What the policy refuses reaches no plugin and no cache, and
//! looks the same whether or not there is such a mount or such a secret. What a plugin or its backend says in its own words is
//! told only where the mount says so, or to the server's owner.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom::audit::{Queued, Record};
use strongroom::elsewhere::Basis;
use strongroom::observe::follow;
use strongroom::turns::asked_by;
use strongroom::{Explanation, Failure, Kind, MountExplanation, Page, Receipt, Reference, Secret, Text, Value};
use strongroom_core::Name;
use strongroom_core::config::listeners::Door;
use strongroom_core::policy::{Caller, Operation, Rule};
use strongroom_core::secret::Metadata;
use zeroize::Zeroizing;

use crate::doors::scopes::InForce;
use crate::doors::vault;
use crate::limits::{Place, Turn};
use crate::metrics::denial;
use crate::state::State;
use crate::traces::{Recording, follower};

/// One request of a known caller. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Call(Arc<Inner>);

struct Inner {
    state: Arc<State>,
    caller: Caller,
    door: Door,
    trace: [u8; 16],
    claimed: Vec<(&'static str, Text)>,
    recording: Option<Arc<Recording>>,
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
    /// The rule of the host that denied it, if one has.
    denial: Option<&'static str>,
}

/// Codes of our own plugins that are told although their words are not: doors have words of their own for them.
const TOLD: [&str; 5] =
    ["SecretDisabled", "keys.disabled", "ObjectIsDeletedButRecoverable", "keys.name-taken", "keys.attribute"];

/// How much of an audience is repeated, in characters.
const MAX_AUDIENCE: usize = 200;

/// How much of what is no reference of this server is repeated, in characters.
const MAX_UNKNOWN: usize = 200;

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
        recording: Option<Arc<Recording>>,
        places: (Place, Turn),
    ) -> Self {
        let (place, turn) = places;
        Self(Arc::new(Inner { state, caller, door, trace, claimed, recording, _place: place, _turn: turn }))
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
        self.0.state.strongroom.parse(text).map_err(|failure| self.unless_unknown(text, failure))
    }

    /// Reads the scope of a listing.
    ///
    /// # Errors
    /// As [`Call::parse`].
    pub(crate) fn parse_scope(&self, text: &str) -> Result<Reference, Failure> {
        self.0.state.strongroom.parse_scope(text).map_err(|failure| self.unless_unknown(text, failure))
    }

    /// Which schemes and mounts there are, a caller that may use none of them must not find out.
    fn unless_unknown(&self, text: &str, failure: Failure) -> Failure {
        if failure.kind() != Kind::UnknownMount || self.caller().is_owner() {
            return failure;
        }
        let message = "no policy lets this caller use that";
        Failure::new(Kind::PolicyDenied, "policy.denied", message).about(Text::capped(text, MAX_UNKNOWN))
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

    /// What its spans are made of, where it has any.
    pub(crate) fn recording(&self) -> Option<&Arc<Recording>> {
        self.0.recording.as_ref()
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

    /// Resolves one reference.
    ///
    /// # Errors
    /// `policy.denied`; else as the broker's.
    pub(crate) async fn resolve_one(&self, reference: &Reference) -> Result<Arc<Secret>, Failure> {
        self.read_one(reference, Operation::Resolve).await
    }

    /// Resolves references, each on its own: one answer each, in order.
    pub(crate) async fn resolve(&self, references: &[Reference]) -> Vec<Result<Secret, Failure>> {
        let began = Instant::now();
        let operation = Operation::Resolve;
        let permits: Vec<Result<Permit, Failure>> =
            references.iter().map(|reference| self.permit(reference, operation)).collect();
        let allowed: Vec<Reference> = references
            .iter()
            .zip(&permits)
            .filter(|(_, permit)| permit.is_ok())
            .map(|(reference, _)| reference.clone())
            .collect();
        let mut answers = self.on_behalf(self.0.state.strongroom.resolve_all(&allowed)).await.into_iter();
        let mut done = Vec::with_capacity(references.len());
        let mut results = Vec::with_capacity(references.len());
        for (reference, permit) in references.iter().zip(permits) {
            let answer = permit.as_ref().map_err(Failure::clone);
            let answer = answer.and_then(|_| answers.next().unwrap_or_else(|| Err(unanswered())));
            let (one, result) = self.read_done(operation, reference, permit.ok(), answer);
            done.push(one);
            results.push(result);
        }
        if let Some(queued) = self.in_line(&done, began)
            && let Err(failure) = queued.written().await.map_err(|failure| self.unrecorded(failure))
        {
            // Nothing of what was read leaves without its line.
            for result in &mut results {
                *result = Err(failure.clone());
            }
        }
        if let Some(handed) = &self.0.state.handed {
            results.iter().flatten().for_each(|secret| handed(secret));
        }
        results
    }

    /// What is known of a secret beside its value.
    ///
    /// # Errors
    /// As [`Call::resolve`].
    pub(crate) async fn metadata(&self, reference: &Reference) -> Result<Metadata, Failure> {
        // Which fields there are is the value's own.
        if reference.field.is_some() {
            let message = "what is known is known of a whole secret: leave out what follows the #";
            return Err(Failure::new(Kind::InvalidReference, "reference.field", message));
        }
        self.read_one(reference, Operation::Metadata).await.map(|secret| Arc::unwrap_or_clone(secret).metadata)
    }

    async fn read_one(&self, reference: &Reference, operation: Operation) -> Result<Arc<Secret>, Failure> {
        let began = Instant::now();
        let permit = self.permit(reference, operation);
        let answer = match &permit {
            Ok(_) => match self.0.state.strongroom.kept(reference) {
                Some(kept) => kept,
                // In a box of its own: what is kept, as most is, needs none of its room.
                None => Box::pin(self.ask(reference)).await.map(Arc::new),
            },
            Err(failure) => Err(failure.clone()),
        };
        let (queued, result) = {
            let (done, result) = self.read_done(operation, reference, permit.ok(), answer);
            (self.in_line(&[done], began), result)
        };
        if let Some(queued) = queued {
            // Nothing of what was read leaves without its line.
            queued.written().await.map_err(|failure| self.unrecorded(failure))?;
        }
        if let (Some(handed), Ok(secret), Operation::Resolve) = (&self.0.state.handed, &result, operation) {
            handed(secret);
        }
        result
    }

    /// Does what a plugin may be asked for: no caller fills the line of a mount before others.
    fn on_behalf<F: Future>(&self, work: F) -> impl Future<Output = F::Output> {
        asked_by(Some(self.caller().shown().as_str().into()), work)
    }

    async fn ask(&self, reference: &Reference) -> Result<Secret, Failure> {
        let asked = self.0.state.strongroom.resolve_all(std::slice::from_ref(reference));
        let mut answers = self.on_behalf(asked).await;
        answers.pop().unwrap_or_else(|| Err(unanswered()))
    }

    /// What to write down of a read, and its result without what is not the caller's to know. Without a permit the answer is
    /// the policy's own.
    fn read_done<'r, T>(
        &self,
        operation: Operation,
        reference: &'r Reference,
        permit: Option<Permit>,
        answer: Result<T, Failure>,
    ) -> (Done<'r>, Result<T, Failure>) {
        let denial = answer.as_ref().err().and_then(denial);
        let (mount, rule) = permit.map(|Permit { mount, rule }| (mount, rule)).unzip();
        let result = match mount {
            Some(_) => answer.map_err(|failure| self.screened(failure)),
            None => answer,
        };
        let outcome = result.as_ref().map(drop).map_err(Failure::kind);
        (Done { operation, reference: Some(reference), mount, rule, outcome, denial }, result)
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
        let page = self.on_behalf(async {
            if deleted { strongroom.list_deleted(scope).await } else { strongroom.list(scope).await }
        });
        let page = page.await;
        let page = page.map(|mut page| {
            let base = scope.joined_path();
            let (policy, host) = (&self.0.state.policy, scope.authority.as_deref());
            page.entries.retain_mut(|entry| {
                let name = entry.name.as_str();
                let path = if base.is_empty() { name.to_owned() } else { format!("{base}/{name}") };
                let reads = [Operation::Resolve, Operation::Metadata]
                    .into_iter()
                    .any(|operation| policy.permits(self.caller(), &mount, host, &path, operation).is_some());
                if !reads {
                    // A group above something: what is known of it tells of all that is in it.
                    entry.attributes.clear();
                    if self.is_leaf(scope, &entry.name) {
                        return false;
                    }
                }
                policy.shows(self.caller(), &mount, host, &path)
            });
            page
        });
        self.finish(Operation::List, Some(scope), Some(mount), Some(rule), page, began)
    }

    /// Whether nothing can be below that name of a listing.
    fn is_leaf(&self, scope: &Reference, name: &str) -> bool {
        let below = |names: &[&str], scope_too| self.0.state.strongroom.far_below(scope, names, scope_too);
        match &*scope.scheme {
            _ if name.ends_with('/') => false,
            // Of ours it is known: below a group's key there is nothing, and below a vault's secret its versions.
            "keys" => scope.path.len() == 1,
            "keyvault" => below(&[name], false).is_ok(),
            _ => below(&[name, "name"], true).is_err(),
        }
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
                let result = self.on_behalf(self.0.state.strongroom.versions(reference)).await;
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
        let followed = follower(self.recording());
        let running = async move { call.change_now(&reference, change).await };
        let running = tokio::spawn(follow(followed, running));
        running.await.unwrap_or_else(|_| Err(unanswered()))
    }

    async fn change_now(&self, reference: &Reference, change: Change) -> Result<Receipt, Failure> {
        let began = Instant::now();
        let operation = change.operation();
        match self.permit(reference, operation) {
            Err(failure) => self.finish(operation, Some(reference), None, None, Err(failure), began),
            Ok(Permit { mount, rule }) => {
                // What cannot be recorded is not done at all.
                if let Some(audit) = &self.0.state.audit {
                    audit.write(&[]).map_err(|failure| self.unrecorded(failure))?;
                }
                let strongroom = &self.0.state.strongroom;
                let changing = async {
                    match change {
                        Change::Set { value, attributes, expected } => {
                            strongroom.set(reference, &value, &attributes, expected.as_deref()).await
                        }
                        Change::Annotate { attributes } => strongroom.annotate(reference, &attributes).await,
                        Change::Delete => strongroom.delete(reference).await,
                        Change::Recover => strongroom.recover(reference).await,
                        Change::Purge => strongroom.purge(reference).await,
                    }
                };
                let result = self.on_behalf(changing).await;
                // What the request brings and not what a backend answers: no client is to send it again.
                let result = result.map_err(|failure| match failure.code() {
                    "value.too-large" => {
                        let told = Failure::new(Kind::LimitExceeded, "request.too-large", failure.message().clone());
                        failure.helps().iter().fold(told.on_mount(&mount), |told, help| told.help(help.clone()))
                    }
                    _ => failure,
                });
                let done = result.is_ok();
                let finished = self.finish(operation, Some(reference), Some(mount), Some(rule), result, began);
                finished.map_err(|failure| match done {
                    true => failure.help(format!("the {operation} itself was done")),
                    false => failure,
                })
            }
        }
    }

    /// What decides the answers. It is the owner's to know, and needs no rule.
    ///
    /// # Errors
    /// `policy.denied` for anybody else.
    pub(crate) fn basis(&self) -> Result<&Basis, Failure> {
        if self.caller().is_owner() {
            return Ok(self.0.state.strongroom.basis());
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

    /// A token of a credential for a program outside, where `[doors.managed-identity]` lets it have one for that
    /// audience.
    ///
    /// # Errors
    /// `policy.denied` where it does not; what the credential's plugin says.
    pub(crate) async fn lend_token(&self, audience: &str) -> Result<Zeroizing<String>, Failure> {
        let began = Instant::now();
        let strongroom = &self.0.state.strongroom;
        let door = strongroom.doors().managed_identity.as_ref();
        let lent = door.and_then(|door| door.audiences.get(audience));
        let result = match lent {
            Some(lent) => strongroom.lend_token(&lent.credential, &lent.audience).await,
            None => {
                let audience = Text::capped(audience, MAX_AUDIENCE);
                let message = format!("tokens for {audience} are not handed out");
                Err(Failure::new(Kind::PolicyDenied, "policy.denied", message)
                    .help("in your own config: [doors.managed-identity] audiences = { \"AUDIENCE\" = \"CREDENTIAL\" }"))
            }
        };
        self.finish(Operation::Resolve, None, None, None, result, began)
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
        let denial = result.as_ref().err().and_then(denial);
        self.write_down(&[Done { operation, reference, mount, rule, outcome, denial }], began)?;
        result.map_err(|failure| self.screened(failure))
    }

    /// Writes operations down, before anything of them leaves.
    fn write_down(&self, done: &[Done<'_>], began: Instant) -> Result<(), Failure> {
        let took = self.count(done, began);
        match &self.0.state.audit {
            Some(audit) => {
                let records = self.records(done, took).collect::<Vec<_>>();
                audit.write(&records).map_err(|failure| self.unrecorded(failure))
            }
            None => Ok(()),
        }
    }

    /// As [`Call::write_down`], in one with other requests once that is waited for: for what is asked most.
    fn in_line(&self, done: &[Done<'_>], began: Instant) -> Option<Queued<'_>> {
        let took = self.count(done, began);
        self.0.state.audit.as_ref().map(|audit| audit.queue(self.records(done, took)))
    }

    /// Counts operations, and gives how long they took.
    fn count(&self, done: &[Done<'_>], began: Instant) -> Duration {
        let Inner { state, door, recording, .. } = &*self.0;
        let took = began.elapsed();
        for one in done {
            let mount = one.mount.as_ref();
            state.metrics.operation(*door, mount, one.operation, one.outcome, took);
            if let Some(rule) = one.denial {
                state.metrics.denied(mount, rule);
            }
            if let Some(recording) = recording {
                recording.operation(one.operation, mount, one.rule, one.outcome, began);
            }
        }
        took
    }

    /// What the audit log tells of operations.
    fn records<'d>(&'d self, done: &'d [Done<'_>], took: Duration) -> impl Iterator<Item = Record<'d>> {
        let Inner { state, caller, door, trace, claimed, .. } = &*self.0;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        done.iter().map(move |one| Record {
            caller: caller.shown().as_str(),
            kind: caller.kind(),
            door: door.name(),
            operation: one.operation,
            mount: one.mount.as_ref(),
            reference: one.reference,
            plugin: one.mount.as_ref().and_then(|mount| state.strongroom.plugin_of(mount)),
            outcome: one.outcome,
            rule: one.rule.and_then(Rule::index),
            micros,
            trace: Some(*trace),
            claimed,
        })
    }

    /// Why nothing is handed out, as the caller may see it: where the log is, and what is wrong with it, is the owner's to know.
    fn unrecorded(&self, failure: Failure) -> Failure {
        if self.caller().is_owner() {
            return failure;
        }
        Failure::new(Kind::Unavailable, "audit.write", "the server cannot record this, and so does not do it")
    }

    /// A failure as the caller may see it: a plugin's or a backend's own words stay here, unless the mount says
    /// otherwise or the server is the caller's own.
    fn screened(&self, failure: Failure) -> Failure {
        // What the server's own credential lacks is not the caller's to know, and nothing that its own secret lacks.
        let lacking = failure.kind() == Kind::NotFound && strongroom::is_of_credential(&failure);
        let told = match failure.mount() {
            _ if self.caller().is_owner() => true,
            _ if lacking => false,
            // The host's own words. Its open data (which credential, of which plugin) are the owner's.
            _ if failure.plugin().is_none() => return failure.without_attributes(),
            Some(mount) => self.0.state.strongroom.shows_failures(mount),
            None => false,
        };
        if told {
            return failure;
        }
        let kind = if lacking { Kind::NotConfigured } else { failure.kind() };
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
