//! From references to values.
//!
//! References of one request are routed, authorised, deduplicated and grouped; each group is one
//! sandbox, and groups run side by side. A group never spans two mounts, nor references that differ
//! in what the manifest keeps apart. Nothing here may fall through from one mount to another.

use std::collections::hash_map;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom_core::manifest::{Function, Grant, GroupKey};
use strongroom_core::reference::Field;
use strongroom_core::{Digest, Failure, Kind, Name, Place, Reference, Secret, Value};
use strongroom_egress::{Budget, Reach, Terms, Tokens};
use strongroom_sandbox::{Call, CallLimits, Capabilities, Plugin, Usage};
use tokio::task::JoinSet;

use crate::acquiring::Acquiring;
use crate::cache::{Joined, STALE, Ticket, Told};
use crate::capabilities::{BoundStore, BoundVariables, HeldLog, Touched};
use crate::credentials::Credentialed;
use crate::kept::Served;
use crate::mounts::{Mounted, Provided, Provider};
use crate::observe::{self, Cached, Ended, Killed, Observe, carry_on};
use crate::tokens::MountTokens;
use crate::{Inner, breaker, unix_now};

/// The most references of one group. Their answers must fit the hostcall limit together.
const MAX_GROUP: usize = 1024;

/// How many answers of the largest size one batch may carry: above it, memory is the narrower limit.
const MAX_LARGE_ANSWERS: usize = 8;

/// What a call is made for: a reference on a mount, or a credential's token.
#[derive(Clone, Copy)]
pub(crate) enum Entry<'a> {
    Mount(&'a Mounted),
    Credential(&'a Credentialed),
}

/// What is asked of a plugin, and on whose behalf.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) entry: Entry<'a>,
    pub(crate) references: &'a [Reference],
    pub(crate) function: Function,
    pub(crate) arrived: Instant,
    /// How many calls wait for this one: 0 for what a caller asked for.
    pub(crate) depth: usize,
    /// What an auth plugin's rules are filled with.
    pub(crate) acquiring: Option<&'a Acquiring>,
}

impl Asked<'_> {
    fn name(&self) -> &Name {
        match self.entry {
            Entry::Mount(mounted) => &mounted.name,
            Entry::Credential(credential) => &credential.name,
        }
    }

    fn config(&self) -> &serde_json::Value {
        match self.entry {
            Entry::Mount(mounted) => &mounted.mount.config,
            Entry::Credential(credential) => &credential.credential.config,
        }
    }

    fn limits(&self) -> &strongroom_core::config::Limits {
        match self.entry {
            Entry::Mount(mounted) => &mounted.mount.limits,
            Entry::Credential(credential) => &credential.credential.limits,
        }
    }

    fn place(&self) -> Place {
        match self.entry {
            Entry::Mount(mounted) => mounted.mount.source.place(&mounted.name),
            Entry::Credential(credential) => credential.credential.source.place(&credential.name),
        }
    }

    /// Whether names are listed: fields that the scope does not have are then not needed.
    fn lists(&self) -> bool {
        matches!(self.function, Function::Names | Function::Versions)
    }

    fn writes(&self) -> bool {
        matches!(
            self.function,
            Function::Put | Function::Remove | Function::Annotate | Function::Recover | Function::Purge
        )
    }
}

/// A call that is ready, and what must be done with what it said.
pub(crate) struct Prepared {
    name: Name,
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) call: Call,
    pub(crate) touched: Arc<Touched>,
    log: Option<Arc<HeldLog>>,
    http: Option<Arc<Reach>>,
    trace: Option<crate::Trace>,
    observe: Option<Arc<dyn Observe>>,
    digest: Digest,
    began: Instant,
    usage: Arc<Usage>,
}

impl Prepared {
    /// As [`Prepared::mask`], and says which mount it was.
    pub(crate) fn settle(&self, mount: &Name, failures: &mut dyn Iterator<Item = &mut Failure>) {
        self.mask(&mut failures.map(|failure| {
            let owned = std::mem::replace(failure, Failure::new(Kind::Internal, "", ""));
            // What a sealed input's mount said keeps that mount's name.
            *failure = if owned.mount().is_some() { owned } else { owned.on_mount(mount) };
            failure
        }));
    }

    /// Lets the log lines go, masked, and masks the failure's own words.
    pub(crate) fn mask(&self, failures: &mut dyn Iterator<Item = &mut Failure>) {
        if let Some(log) = &self.log {
            log.release(&self.name, self.plugin.label(), &self.touched);
        }
        if let Some(reach) = &self.http {
            let masker = self.trace.as_ref().and_then(|_| self.touched.masker());
            for mut event in reach.events() {
                let outcome = event.outcome.as_ref().map(|(status, _)| *status).map_err(Failure::kind);
                observe::tell(self.observe.as_ref(), |observe| {
                    observe.backend(&self.name, event.began, event.took, outcome);
                });
                if let Some(trace) = &self.trace {
                    if let Some(masker) = &masker {
                        event.map_texts(|text| masker.mask_line(text));
                    }
                    trace(&self.name, self.plugin.label(), &event);
                }
            }
        }
        let mut killed = None;
        let mut masker = None;
        for failure in failures {
            killed = killed.or_else(|| Killed::of(failure));
            let masker = masker.get_or_insert_with(|| self.touched.masker());
            if let Some(masker) = masker {
                failure.map_texts(|text| masker.mask_line(text));
            }
            let owned = std::mem::replace(failure, Failure::new(Kind::Internal, "", ""));
            // A failure of the auth plugin behind it keeps that plugin's name.
            *failure = if owned.plugin().is_some() { owned } else { owned.by_plugin(self.plugin.label()) };
        }
        let ended = Ended {
            entry: &self.name,
            plugin: self.plugin.name(),
            digest: &self.digest,
            began: self.began,
            ran: self.usage.ran(),
            memory_bytes: self.usage.memory_bytes(),
            killed,
        };
        observe::tell(self.observe.as_ref(), |observe| observe.sandbox(&ended));
    }
}

/// What a reference asks, whatever field of the answer it wants.
#[derive(PartialEq, Eq, Hash)]
struct Question<'a> {
    mount: Option<&'a Name>,
    scheme: &'a str,
    authority: Option<&'a str>,
    path: &'a [String],
    selectors: &'a [(String, String)],
}

impl<'a> Question<'a> {
    fn of(reference: &'a Reference) -> Self {
        let Reference { mount, scheme, authority, path, selectors, field: _ } = reference;
        Self { mount: mount.as_ref(), scheme, authority: authority.as_deref(), path, selectors }
    }
}

/// A reference that somebody else is asking for.
struct Sharing {
    slot: usize,
    joined: Joined,
    deadline: Duration,
}

/// References that share a sandbox, and where their answers go.
struct Group {
    mount: Name,
    references: Vec<Reference>,
    /// What of each is to be kept, or shared with others who ask.
    tickets: Vec<Option<Ticket>>,
    slots: Vec<usize>,
    depth: usize,
    /// With the person's own credential.
    as_person: bool,
}

impl Inner {
    /// One answer per reference, in order; with `as_person` as the person may have it, past what is cached.
    pub(crate) async fn resolve_all(
        self: &Arc<Self>,
        references: &[Reference],
        as_person: bool,
    ) -> Vec<Result<Secret, Failure>> {
        // References that differ only in their field are one question.
        let mut slot_of: HashMap<Question<'_>, usize> = HashMap::with_capacity(references.len());
        let mut unique: Vec<&Reference> = Vec::with_capacity(references.len());
        let mut uses: Vec<usize> = Vec::with_capacity(references.len());
        let mut slots = Vec::with_capacity(references.len());
        for reference in references {
            let slot = *slot_of.entry(Question::of(reference)).or_insert_with(|| {
                unique.push(reference);
                uses.push(0);
                unique.len() - 1
            });
            if let Some(uses) = uses.get_mut(slot) {
                *uses += 1;
            }
            slots.push(slot);
        }
        let mut answers: Vec<Option<Result<Secret, Failure>>> = vec![None; unique.len()];
        let arrived = Instant::now();
        let (groups, joined) = self.group(&unique, as_person, &mut answers);
        let kept: Vec<(Name, usize)> = groups
            .iter()
            // What a person's permission is verified with is nobody's to keep.
            .filter(|group| {
                !group.as_person
                    && self.mounts.all.get(&group.mount).is_some_and(|mounted| mounted.mount.keep.is_some())
            })
            .flat_map(|group| group.slots.iter().map(|slot| (group.mount.clone(), *slot)))
            .collect();
        let keepers: BTreeSet<&Name> = kept.iter().map(|(name, _)| name).collect();
        let generations = keepers.into_iter().map(|name| (name.clone(), self.generation(name))).collect();
        // Only now: a person may have been asked for the passphrase of what is kept.
        self.run_groups(groups, Instant::now(), &mut answers).await;
        for Sharing { slot, joined, deadline } in joined {
            let answer = match (joined.answer(arrived + deadline).await, unique.get(slot)) {
                (Some(answer), _) => answer,
                // Whoever asked has gone away before it began: now it is this one's to ask.
                (None, Some(reference)) => {
                    let question = Reference { field: None, ..Reference::clone(reference) };
                    match Box::pin(self.resolve_all(&[question], false)).await.pop() {
                        Some(answer) => answer,
                        None => continue,
                    }
                }
                (None, None) => continue,
            };
            if let Some(place) = answers.get_mut(slot) {
                *place = Some(answer);
            }
        }
        if !kept.is_empty() {
            let asked: Vec<_> = kept
                .iter()
                .filter_map(|(name, slot)| {
                    Some((name, *unique.get(*slot)?, answers.get(*slot).and_then(Option::as_ref)?))
                })
                .collect();
            self.keep_answers(&asked, generations).await;
        }
        let unanswered = || Err(Failure::new(Kind::Internal, "resolve.unanswered", "the call ended without an answer"));
        slots
            .into_iter()
            .zip(references)
            .map(|(slot, reference)| {
                // The last one to ask gets the answer itself, the others copies of it.
                let left = uses.get_mut(slot).map_or(0, |uses| {
                    *uses = uses.saturating_sub(1);
                    *uses
                });
                let answer = match answers.get_mut(slot) {
                    Some(answer) if left == 0 => answer.take(),
                    Some(answer) => answer.clone(),
                    None => None,
                };
                let answer = answer.unwrap_or_else(unanswered);
                let picked = answer.and_then(|secret| match &reference.field {
                    Some(field) => pick(secret, field),
                    None => Ok(secret),
                });
                picked.map_err(|failure| failure.about(reference.to_string()))
            })
            .collect()
    }

    /// Routes and authorises; what fails is answered at once, what is cached too.
    fn group(
        &self,
        unique: &[&Reference],
        as_person: bool,
        answers: &mut [Option<Result<Secret, Failure>>],
    ) -> (Vec<Group>, Vec<Sharing>) {
        let mut groups: Vec<Group> = Vec::new();
        let mut shared = Vec::new();
        let mut served = Served::default();
        let mut open: HashMap<(&Name, GroupKey), usize> = HashMap::new();
        for (slot, (reference, answer)) in unique.iter().zip(answers.iter_mut()).enumerate() {
            let mounted = match self.route(reference) {
                Ok(mounted) => mounted,
                Err(failure) => {
                    *answer = Some(Err(failure));
                    continue;
                }
            };
            let question = Reference { field: None, ..(*reference).clone() };
            let mut ticket = None;
            if !as_person {
                match self.cache.ask(&mounted.name, &mounted.mount, &question) {
                    Told::Kept(kept) => {
                        self.count(&mounted.name, Cached::Hit);
                        *answer = Some(kept);
                        continue;
                    }
                    Told::Joined(joined) => {
                        self.count(&mounted.name, Cached::Shared);
                        shared.push(Sharing { slot, joined, deadline: mounted.mount.limits.deadline });
                        continue;
                    }
                    Told::Ask(None) => {}
                    Told::Ask(asked) => {
                        self.count(&mounted.name, Cached::Miss);
                        ticket = asked;
                    }
                }
                if let Some(kept) = self.instead(mounted, &question, &mut served) {
                    if let Some(ticket) = ticket {
                        ticket.share(&kept);
                    }
                    *answer = Some(kept);
                    continue;
                }
            }
            let key = match &mounted.provider {
                Provider::Plugin(provided) => provided.manifest.group_key(reference),
                Provider::Files(_) => None,
            };
            let index = key.map(|key| match open.entry((&mounted.name, key)) {
                hash_map::Entry::Occupied(mut occupied) => {
                    let full = groups.get(*occupied.get()).is_none_or(|group| group.slots.len() >= MAX_GROUP);
                    if full {
                        occupied.insert(groups.len());
                    }
                    *occupied.get()
                }
                hash_map::Entry::Vacant(vacant) => *vacant.insert(groups.len()),
            });
            match index.and_then(|index| groups.get_mut(index)) {
                Some(group) => {
                    group.slots.push(slot);
                    group.references.push(question);
                    group.tickets.push(ticket);
                }
                None => groups.push(Group {
                    mount: mounted.name.clone(),
                    references: vec![question],
                    tickets: vec![ticket],
                    slots: vec![slot],
                    depth: 0,
                    as_person,
                }),
            }
        }
        self.tell(served);
        (groups, shared)
    }

    /// What the cache answers to one reference that asks for a whole value.
    pub(crate) fn kept_one(&self, reference: &Reference) -> Option<Result<Arc<Secret>, Failure>> {
        if reference.field.is_some() {
            return None;
        }
        let mounted = self.route(reference).ok()?;
        let answer = self.cache.kept(&mounted.name, reference)?;
        self.count(&mounted.name, Cached::Hit);
        Some(answer.map_err(|failure| failure.about(reference.to_string())))
    }

    fn count(&self, mount: &Name, told: Cached) {
        observe::tell(self.observe.as_ref(), |observe| observe.cache(mount, told));
    }

    async fn run_groups(
        self: &Arc<Self>,
        mut groups: Vec<Group>,
        arrived: Instant,
        answers: &mut [Option<Result<Secret, Failure>>],
    ) {
        let mut fill = |slots: &[usize], results: Vec<Result<Secret, Failure>>| {
            for (slot, result) in slots.iter().zip(results) {
                if let Some(answer) = answers.get_mut(*slot) {
                    *answer = Some(result);
                }
            }
        };
        // The common case, one sandbox, needs no task.
        if groups.len() == 1
            && let Some(mut group) = groups.pop()
        {
            let slots = std::mem::take(&mut group.slots);
            let results = self.fly(group, arrived).await;
            fill(&slots, results);
            return;
        }
        let mut running = JoinSet::new();
        for mut group in groups {
            let inner = Arc::clone(self);
            running.spawn(carry_on(async move {
                let slots = std::mem::take(&mut group.slots);
                (slots, inner.fly(group, arrived).await)
            }));
        }
        while let Some(finished) = running.join_next().await {
            if let Ok((slots, results)) = finished {
                fill(&slots, results);
            }
        }
    }

    /// Runs a group; one whose answers others may share goes on to its end, whoever stops waiting.
    async fn fly(self: &Arc<Self>, mut group: Group, arrived: Instant) -> Vec<Result<Secret, Failure>> {
        if group.tickets.iter().all(Option::is_none) {
            return self.run_group(&mut group, arrived).await;
        }
        let inner = Arc::clone(self);
        let flight = async move { inner.run_group(&mut group, arrived).await };
        let flight = tokio::spawn(carry_on(flight));
        flight.await.unwrap_or_default()
    }

    /// One sandbox, one answer per reference of the group.
    async fn run_group(self: &Arc<Self>, group: &mut Group, arrived: Instant) -> Vec<Result<Secret, Failure>> {
        let everything = |failure: Failure| vec![Err(failure.on_mount(&group.mount)); group.references.len()];
        let mounted = self.mounts.all.get(&group.mount);
        let mounted = if group.as_person { mounted.and_then(|mounted| mounted.person.as_deref()) } else { mounted };
        let Some(mounted) = mounted else {
            return everything(Failure::new(Kind::Internal, "resolve.mount", "the mount went away"));
        };
        let mut results = match &mounted.provider {
            Provider::Files(folders) => {
                let read = |reference| crate::files::read(folders, reference, mounted.mount.limits.value);
                group.references.iter().map(|r| read(r).map_err(|f| f.on_mount(&mounted.name))).collect()
            }
            Provider::Plugin(provided) => match self.call_group(mounted, provided, group, arrived).await {
                Ok(results) => results,
                Err(failure) => everything(failure),
            },
        };
        // What is cached is what the mount's own credential reads: a person's groups have no tickets.
        for (ticket, result) in group.tickets.drain(..).zip(&mut results) {
            if let Some(ticket) = ticket {
                ticket.settle(&mounted.mount, result);
                if let Ok(secret) = &*result
                    && secret.metadata.attributes.iter().any(|(key, _)| key.as_str() == STALE)
                {
                    self.count(&mounted.name, Cached::Stale);
                }
            }
        }
        results
    }

    async fn call_group(
        self: &Arc<Self>,
        mounted: &Mounted,
        provided: &Provided,
        group: &Group,
        arrived: Instant,
    ) -> Result<Vec<Result<Secret, Failure>>, Failure> {
        let Group { references, depth, .. } = group;
        let asked = Asked {
            entry: Entry::Mount(mounted),
            references,
            function: Function::Resolve,
            arrived,
            depth: *depth,
            acquiring: None,
        };
        let limits = &mounted.mount.limits;
        // References of one group name one host, where that decides who is asked.
        let host = references.first().and_then(|reference| reference.authority.as_deref());
        let leave = match provided.grants.contains(&Grant::Http) {
            true => Some(self.breakers.enter(&mounted.name, host, Instant::now())?),
            false => None,
        };
        let mut prepared = self.prepare_on(provided, &asked).await?;
        let _permits = self.admit_on(mounted, prepared.call.deadline, *depth).await?;
        // Of a call that had to wait for its turn for long, its own end says nothing of the backend.
        let late = prepared.call.deadline.saturating_duration_since(Instant::now()) < limits.deadline / 2;
        let call = prepared.take_call();
        let answered = prepared.plugin.resolve(call, references).await;
        if let Some(leave) = leave {
            let failures = answered.as_ref().map_or_else(
                |failure| vec![failure],
                |results| results.iter().filter_map(|result| result.as_ref().err()).collect(),
            );
            if !(late && failures.iter().any(|failure| failure.kind() == Kind::Deadline)) {
                leave.ended(failures.into_iter().any(breaker::is_of_backend), limits, Instant::now());
            }
        }
        match answered {
            Ok(mut results) => {
                // Only what may have to be hidden in words is worth a copy.
                if prepared.log.is_some() || prepared.trace.is_some() || results.iter().any(Result::is_err) {
                    results.iter().flatten().for_each(|secret| prepared.touched.note(secret.expose()));
                }
                prepared.settle(&mounted.name, &mut results.iter_mut().filter_map(|result| result.as_mut().err()));
                Ok(results)
            }
            Err(mut failure) => {
                prepared.settle(&mounted.name, &mut std::iter::once(&mut failure));
                Err(failure)
            }
        }
    }

    /// A sealed input of a credential. `depth` calls wait for it, until `deadline`.
    pub(crate) async fn resolve_sealed(
        self: &Arc<Self>,
        reference: &Reference,
        depth: usize,
        deadline: Instant,
    ) -> Result<Secret, Failure> {
        let mounted = self.route_for(reference, true)?;
        let question = Reference { field: None, ..reference.clone() };
        let mut group = Group {
            mount: mounted.name.clone(),
            references: vec![question],
            tickets: vec![None],
            slots: vec![0],
            depth,
            as_person: false,
        };
        // A task of its own: the future of a call cannot hold that of another call of its kind.
        let inner = Arc::clone(self);
        let running = async move { inner.run_group(&mut group, Instant::now()).await.pop() };
        let running = tokio::spawn(carry_on(running));
        let abort = AbortOnDrop(running.abort_handle());
        let answered = tokio::time::timeout_at(deadline.into(), running).await;
        drop(abort);
        let answer = match answered {
            Ok(Ok(Some(answer))) => answer,
            Ok(_) => Err(Failure::new(Kind::Internal, "resolve.unanswered", "the call ended without an answer")),
            Err(_) => Err(Failure::new(Kind::Deadline, "deadline", "a sealed input was not there in time")),
        };
        let picked = answer.and_then(|secret| match &reference.field {
            Some(field) => pick(secret, field),
            None => Ok(secret),
        });
        picked.map_err(|failure| failure.about(reference.to_string()))
    }

    /// The mount that answers `reference`, if it may be asked.
    pub(crate) fn route(&self, reference: &Reference) -> Result<&Mounted, Failure> {
        self.route_for(reference, false)
    }

    fn route_for(&self, reference: &Reference, sealed: bool) -> Result<&Mounted, Failure> {
        let name = self.mounts.router.route(reference)?;
        let mounted =
            self.mounts.all.get(name).ok_or_else(|| {
                Failure::new(Kind::Internal, "route.mount", "the router names a mount that is not there")
            })?;
        mounted.mount.authorise(name, reference)?;
        if let Some(variable) = reference.path.first().filter(|_| *reference.scheme == *"env") {
            self.check_variable(variable, sealed)
                .map_err(|failure| failure.on_mount(name).about(reference.to_string()))?;
        }
        Ok(mounted)
    }

    /// What the host knows better than the environment plugin, which would find nothing there.
    fn check_variable(&self, variable: &str, sealed: bool) -> Result<(), Failure> {
        if crate::environment::is_own(variable.as_ref()) {
            let message = "Strongroom's own variables are not handed out";
            return Err(Failure::new(Kind::PolicyDenied, "env.own", message));
        }
        if !sealed && self.mounts.sealed_variables.contains(variable) {
            let message = format!("the variable `{variable}` feeds a credential, and is handed to nobody else");
            return Err(Failure::new(Kind::PolicyDenied, "env.sealed", message)
                .help("give the program a variable of its own, if it needs the same value"));
        }
        if self.environment.get(variable).is_some_and(|value| value.to_str().is_none()) {
            let message = format!("the environment variable `{variable}` is set, but is no UTF-8 text");
            return Err(Failure::new(Kind::Unsupported, "env.not-utf8", message)
                .help("give such bytes as a file, and read it with a `file` mount"));
        }
        Ok(())
    }

    /// Loads the plugin, and gives everything that a call for `asked` gets.
    pub(crate) async fn prepare_on(
        self: &Arc<Self>,
        provided: &Provided,
        asked: &Asked<'_>,
    ) -> Result<Prepared, Failure> {
        let plugin = provided.loaded.get_or_try_init(|| async { self.plugins.load(provided) }).await?;
        self.prepare(provided, asked, Arc::clone(plugin), Arc::default(), None)
    }

    /// Everything a call for `asked` gets. `by` is when whoever waits for it stops waiting.
    pub(crate) fn prepare(
        self: &Arc<Self>,
        provided: &Provided,
        asked: &Asked<'_>,
        plugin: Arc<Plugin>,
        touched: Arc<Touched>,
        by: Option<Instant>,
    ) -> Result<Prepared, Failure> {
        self.keeping.permits(provided)?;
        let config = match provided.config.get() {
            Some(config) => config,
            None => {
                let checked = match asked.entry {
                    Entry::Mount(mounted) => mounted.check_config(provided),
                    Entry::Credential(Credentialed { name, filled, .. }) => {
                        filled.check(&format!("credential {name}"), &provided.manifest, asked.config())
                    }
                };
                let checked = checked.map_err(|failure| failure.at(asked.place()))?;
                provided.config.get_or_init(|| checked)
            }
        };
        let mut capabilities = Capabilities::default();
        let limits = asked.limits();
        let mut deadline = asked.arrived + limits.deadline;
        if provided.grants.contains(&Grant::Env) {
            capabilities.env = Some(Arc::new(self.variables(provided, asked, &touched)));
        }
        if let Entry::Mount(mounted) = asked.entry
            && provided.grants.contains(&Grant::Store)
        {
            let before = Instant::now();
            capabilities.store = Some(Arc::new(self.bind_store(mounted, provided, asked, &touched)?));
            // A person may have been asked for a passphrase: that is not the plugin's time.
            deadline += before.elapsed();
        }
        let deadline = by.map_or(deadline, |by| by.min(deadline));
        if provided.grants.contains(&Grant::Http) {
            let reach = self.reach(provided, asked, deadline)?;
            let heard = Arc::clone(&touched);
            capabilities.http = Some(Arc::new(reach.heard_by(Arc::new(move |body| heard.note(body)))));
        }
        let http = capabilities.http.clone().filter(|_| self.trace.is_some() || self.observe.is_some());
        let log = provided.grants.contains(&Grant::Log).then(HeldLog::new);
        if let Some(log) = &log {
            capabilities.log = Some(Arc::clone(log) as Arc<_>);
        }
        let mut attributes = Vec::new();
        // Who keeps something in the store has to know what of it is over.
        if asked.writes() || provided.grants.contains(&Grant::Store) {
            let now = unix_now().as_secs();
            attributes.push(("now".to_owned(), now.to_string()));
        }
        let usage = Arc::default();
        let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        // The limit is meant for one answer; a batch may carry as much for each of its first few.
        let answers = asked.references.len().clamp(1, MAX_LARGE_ANSWERS);
        let limits = CallLimits {
            cpu: limits.cpu,
            memory_bytes: bytes(limits.memory),
            hostcall_bytes: bytes(limits.hostcall_fuel).saturating_mul(answers),
            handles: bytes(u64::from(limits.handles)),
            value_bytes: bytes(limits.value),
            ..CallLimits::default()
        };
        let call =
            Call { config: config.clone(), attributes, deadline, limits, capabilities, usage: Arc::clone(&usage) };
        Ok(Prepared {
            name: asked.name().clone(),
            plugin,
            call,
            touched,
            log,
            http,
            trace: self.trace.clone(),
            observe: self.observe.clone(),
            digest: provided.digest,
            began: Instant::now(),
            usage,
        })
    }

    fn variables(&self, provided: &Provided, asked: &Asked<'_>, touched: &Arc<Touched>) -> BoundVariables {
        let config = asked.config();
        let mut readable: BTreeSet<String> = match asked.entry {
            Entry::Mount(_) if asked.lists() => BTreeSet::new(),
            Entry::Mount(_) => asked.references.iter().flat_map(|r| provided.manifest.env_names(r, config)).collect(),
            Entry::Credential(_) => provided.manifest.own_env_names(config),
        };
        // What feeds a credential is read for that alone, by the mount that its sealed input names.
        if asked.depth == 0 || matches!(asked.entry, Entry::Credential(_)) {
            readable.retain(|name| !self.mounts.sealed_variables.contains(name));
        }
        // A listing shows the names that the mount's references could read, and no value.
        let listed = match asked.entry {
            Entry::Mount(mounted) if asked.lists() => {
                let names = self.environment.iter().filter_map(|(name, _)| name.to_str());
                let allowed = |name: &&str| {
                    let allow = mounted.mount.allow.as_ref();
                    self.check_variable(name, false).is_ok()
                        && allow.is_none_or(|allow| allow.iter().any(|p| p.matches(name)))
                };
                Some(names.filter(allowed).map(str::to_owned).collect())
            }
            _ => None,
        };
        BoundVariables { environment: Arc::clone(&self.environment), readable, listed, touched: Arc::clone(touched) }
    }

    fn bind_store(
        &self,
        mounted: &Mounted,
        provided: &Provided,
        asked: &Asked<'_>,
        touched: &Arc<Touched>,
    ) -> Result<BoundStore, Failure> {
        let manifest = &provided.manifest;
        let config = &mounted.mount.config;
        let mut prefixes = asked.references.iter().map(|reference| match asked.lists() {
            true => manifest.store_prefix_of_scope(reference, config),
            false => manifest.store_prefix(reference, config),
        });
        let prefix = prefixes.next().unwrap_or_else(|| Ok(String::new()))?;
        // Groups never mix prefixes; should that ever fail, nothing is shared.
        for other in prefixes {
            if other? != prefix {
                return Err(Failure::new(Kind::Internal, "store.prefixes", "one call for two parts of the store"));
            }
        }
        let lineage = provided.origin.lineage(&manifest.name, mounted.project.as_ref());
        let writable = asked.writes();
        let space = self.vault.space(&mounted.name, &lineage, mounted.mount.limits.store, writable)?;
        let writing = self.vault.writing().clone();
        Ok(BoundStore { space, prefix, writable, writing, touched: Arc::clone(touched) })
    }

    /// The call's way out: its terms, bound before the call.
    fn reach(self: &Arc<Self>, provided: &Provided, asked: &Asked<'_>, deadline: Instant) -> Result<Reach, Failure> {
        let (hosts, network, credential) = match asked.entry {
            Entry::Mount(Mounted { mount, .. }) => {
                (mount.hosts.clone(), mount.network.clone(), mount.credential.clone())
            }
            Entry::Credential(Credentialed { credential, .. }) => (Vec::new(), credential.network.clone(), None),
        };
        let limits = asked.limits();
        let budget = Budget {
            requests: limits.requests,
            sent: limits.sent,
            response: usize::try_from(limits.response).unwrap_or(usize::MAX),
            deadline,
        };
        let terms = Terms {
            function: asked.function,
            references: asked.references.into(),
            config: match asked.acquiring {
                Some(acquiring) => Arc::clone(&acquiring.facts),
                None => Arc::clone(provided.shared_config.get_or_init(|| Arc::new(asked.config().clone()))),
            },
            rules: Arc::clone(&provided.rules),
            hosts: hosts.into(),
            network,
            holdings: asked.acquiring.map(|acquiring| Arc::clone(&acquiring.holdings)).unwrap_or_default(),
        };
        let partitions = provided.partitions.get_or_init(|| {
            let kind = match asked.entry {
                Entry::Mount(_) => "mount",
                Entry::Credential(_) => "credential",
            };
            let used = credential.as_ref().map(Name::as_str).unwrap_or_default();
            let of = |rule: usize| {
                let text = format!("{kind}\n{}\n{}\n{used}\n{rule}", asked.name(), provided.digest);
                *strongroom_core::Digest::of(text.as_bytes()).as_bytes()
            };
            (0..provided.rules.len()).map(of).collect()
        });
        let tokens = credential.map(|credential| {
            Arc::new(MountTokens {
                inner: Arc::clone(self),
                mount: asked.name().clone(),
                credential,
                depth: asked.depth,
                deadline,
                follower: observe::follower(),
            }) as Arc<dyn Tokens>
        });
        Ok(Reach::new(self.client.clone(), terms, self.cas()?, Arc::clone(partitions), tokens, budget))
    }
}

/// Ends a task that nobody waits for any more.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Prepared {
    /// Takes the call out, to be made once.
    pub(crate) fn take_call(&mut self) -> Call {
        self.began = Instant::now();
        let empty = Call {
            config: String::new(),
            attributes: Vec::new(),
            deadline: self.call.deadline,
            limits: self.call.limits,
            capabilities: Capabilities::default(),
            usage: Arc::default(),
        };
        std::mem::replace(&mut self.call, empty)
    }
}

/// `#field`: one field of a JSON value. Null or absent is not found; a string is given as it is,
/// anything else as compact JSON.
fn pick(secret: Secret, field: &Field) -> Result<Secret, Failure> {
    let json: serde_json::Value = serde_json::from_slice(secret.expose()).map_err(|_| {
        Failure::new(Kind::InvalidReference, "field.not-json", "the value is no JSON, so it has no fields")
            .help("leave out what follows the #")
    })?;
    let mut at = &json;
    for (depth, token) in field.0.iter().enumerate() {
        let next = match at {
            serde_json::Value::Object(map) => map.get(token),
            serde_json::Value::Array(items) => index(token).and_then(|index| items.get(index)),
            _ => None,
        };
        at = next.ok_or_else(|| {
            let names: Vec<&str> = match at {
                serde_json::Value::Object(map) => map.keys().map(String::as_str).take(20).collect(),
                _ => Vec::new(),
            };
            let failure = Failure::new(
                Kind::NotFound,
                "field.not-found",
                format!("the value has no field `{token}` at step {}", depth + 1),
            );
            if names.is_empty() { failure } else { failure.help(format!("there are: {}", names.join(", "))) }
        })?;
    }
    let value = match at {
        serde_json::Value::Null => {
            return Err(Failure::new(Kind::NotFound, "field.not-found", "the field is null"));
        }
        serde_json::Value::String(text) => Value::text(text.clone()),
        other => Value::text(other.to_string()),
    };
    let metadata = secret.metadata.clone();
    wipe(json);
    Ok(Secret::new(value, metadata))
}

/// An index as RFC 6901 writes it: no sign, no leading zero.
fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || (!token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit()));
    plain.then(|| token.parse().ok()).flatten()
}

/// Overwrites the strings of a JSON value that held a secret.
fn wipe(json: serde_json::Value) {
    match json {
        serde_json::Value::String(mut text) => zeroize::Zeroize::zeroize(&mut text),
        serde_json::Value::Array(items) => items.into_iter().for_each(wipe),
        serde_json::Value::Object(map) => map.into_iter().for_each(|(_, value)| wipe(value)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(value: &str, field: &[&str]) -> Result<String, &'static str> {
        let secret = Secret::new(Value::text(value), Default::default());
        let field = Field(field.iter().map(|t| (*t).to_owned()).collect());
        match pick(secret, &field) {
            Ok(secret) => Ok(secret.expose_text().unwrap().to_owned()),
            Err(failure) => Err(if failure.code() == "field.not-found" { "absent" } else { "no json" }),
        }
    }

    #[test]
    fn fields_of_json_values() {
        let json = r#"{"a":{"b":"x"},"n":1.50,"l":["p",null,{"q":true}],"e":""}"#;
        assert_eq!(picked(json, &["a", "b"]), Ok("x".to_owned()));
        assert_eq!(picked(json, &["a"]), Ok(r#"{"b":"x"}"#.to_owned()));
        assert_eq!(picked(json, &["l", "0"]), Ok("p".to_owned()));
        assert_eq!(picked(json, &["l", "2", "q"]), Ok("true".to_owned()));
        assert_eq!(picked(json, &["e"]), Ok(String::new()));
        for absent in [&["z"][..], &["l", "1"], &["l", "01"], &["l", "9"], &["a", "b", "c"]] {
            assert_eq!(picked(json, absent), Err("absent"), "{absent:?}");
        }
        assert_eq!(picked("plain", &["a"]), Err("no json"));
    }
}
