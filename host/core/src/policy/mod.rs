//! Who may do what: callers, and the rules about them.
//!
//! A front door proves an [`Identity`], [`Policy::identify`] says which callers of the config it fits, and
//! [`Policy::permits`] whether one of the rules lets them do what they ask. What no rule permits is denied;
//! there are no rules that forbid, and so no order. Everything here is pure, and nothing here tells whether a
//! secret exists.

mod caller;
pub mod cases;
mod operation;
mod subject;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use self::caller::Known;
pub use self::caller::{Accounts, Caller, Identity, OWNER};
pub use self::operation::Operation;
pub use self::subject::{InvalidSubject, SubjectPattern};
use crate::config::Access;
use crate::config::policy::RuleEntry;
use crate::{Failure, HostPattern, Kind, Name, Pattern};

/// Who may do what, as the config says. Immutable: a changed config makes a new one, and callers are identified
/// anew then.
#[derive(Debug, Clone)]
pub struct Policy {
    callers: BTreeMap<Name, Known>,
    rules: Vec<CompiledRule>,
}

/// What permitted something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// There are no rules, and then the owner may do everything.
    NoRules,
    /// The `[[policy]]` of this place in the file, from 0.
    Written(usize),
}

#[derive(Debug, Clone)]
struct CompiledRule {
    callers: BTreeSet<Name>,
    mounts: BTreeSet<Name>,
    hosts: Vec<HostPattern>,
    names: Vec<Pattern>,
    operations: BTreeSet<Operation>,
}

impl Policy {
    /// The policy that a config says. `accounts` tells the numbers of the accounts that it names.
    ///
    /// # Errors
    /// `config.account` for an account that there is not.
    pub fn new(access: &Access, accounts: &dyn Accounts) -> Result<Self, Failure> {
        let mut callers = BTreeMap::new();
        for (name, entry) in &access.callers {
            callers.insert(name.clone(), Known::new(name, entry, accounts)?);
        }
        let rules = access.rules.iter().map(CompiledRule::new).collect();
        Ok(Self { callers, rules })
    }

    /// Which callers `identity` fits; perhaps none. `own_uid` is that of the server's process, over a Unix socket:
    /// a peer that has it is [`OWNER`].
    pub fn identify(&self, identity: &Identity, own_uid: Option<u32>) -> Caller {
        // All are asked, so that the time does not tell which token came near.
        let (mut first, mut count) = (None, 0);
        for known in self.callers.values() {
            if known.fits(identity) {
                first.get_or_insert(known);
                count += 1;
            }
        }
        match first {
            Some(known) if count == 1 && !identity.is_of(own_uid) => known.alone().clone(),
            _ => {
                let fitting = self.callers.iter().filter(|(_, known)| known.fits(identity));
                Caller::new(identity, fitting.map(|(name, _)| name.clone()).collect(), own_uid)
            }
        }
    }

    /// Whether `caller` may do `operation` through `mount` with what `path` names, on `host` if it has one. `path` is
    /// a reference's joined path. For [`Operation::List`] it is the scope, and may be empty: that the caller may list
    /// something at it or below it is enough, since only what [`Policy::shows`] is shown.
    pub fn permits(
        &self,
        caller: &Caller,
        mount: &Name,
        host: Option<&str>,
        path: &str,
        operation: Operation,
    ) -> Option<Rule> {
        let fits = |rule: &&CompiledRule| match operation {
            Operation::List => rule.is_at(path) || rule.is_below(path),
            _ => rule.is_at(path),
        };
        self.first(caller, |rule| rule.operations.contains(&operation) && rule.is_about(mount, host) && fits(&rule))
    }

    /// Whether `caller` may do `operation` at all: for what is about no reference.
    pub fn permits_any(&self, caller: &Caller, operation: Operation) -> Option<Rule> {
        self.first(caller, |rule| rule.operations.contains(&operation))
    }

    /// Whether `caller` may do `operation` through `mount`, whatever is named: for what is about the mount itself.
    pub fn permits_mount(&self, caller: &Caller, mount: &Name, operation: Operation) -> Option<Rule> {
        // A rule about no mount in particular is about all: there is one for `plugins` alone.
        let about = |rule: &CompiledRule| rule.mounts.is_empty() || rule.mounts.contains(mount);
        self.first(caller, |rule| rule.operations.contains(&operation) && about(rule))
    }

    /// Whether `caller` may do anything at all with `path` or with something below it.
    pub fn touches(&self, caller: &Caller, mount: &Name, host: Option<&str>, path: &str) -> bool {
        self.first(caller, |rule| rule.is_about(mount, host) && (rule.is_at(path) || rule.is_below(path))).is_some()
    }

    /// Whether a name of a listing may be shown to `caller`: one that it may list, and resolve or ask about, or
    /// a group below which there may be such. `path` is the name's joined path.
    pub fn shows(&self, caller: &Caller, mount: &Name, host: Option<&str>, path: &str) -> bool {
        if self.rules.is_empty() {
            return caller.is_owner();
        }
        let about = || self.of(caller).map(|(_, rule)| rule).filter(|rule| rule.is_about(mount, host));
        let reads = |rule: &&CompiledRule| {
            rule.operations.contains(&Operation::Resolve) || rule.operations.contains(&Operation::Metadata)
        };
        about().filter(|rule| rule.operations.contains(&Operation::List)).any(|lists| {
            about()
                .filter(reads)
                .any(|reads| (lists.is_at(path) && reads.is_at(path)) || lists.shares_below(reads, path))
        })
    }

    /// Somebody of whom it is supposed that they are the caller of this name: for questions about the policy, never
    /// for one who asks.
    ///
    /// # Errors
    /// `policy.no-such-caller`.
    pub fn supposed(&self, name: &Name) -> Result<Caller, Failure> {
        if name.as_str() == OWNER || self.callers.contains_key(name) {
            return Ok(Caller::supposed(name));
        }
        let known: Vec<&str> = self.callers.keys().map(Name::as_str).chain([OWNER]).collect();
        Err(Failure::new(Kind::NotFound, "policy.no-such-caller", format!("there is no caller {name}"))
            .help(format!("there are: {}", known.join(", "))))
    }

    /// Whether there are rules. Without any, only the owner may do anything.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    fn first(&self, caller: &Caller, fits: impl Fn(&CompiledRule) -> bool) -> Option<Rule> {
        if self.rules.is_empty() {
            return caller.is_owner().then_some(Rule::NoRules);
        }
        self.of(caller).find(|(_, rule)| fits(rule)).map(|(index, _)| Rule::Written(index))
    }

    /// The rules about `caller`.
    fn of(&self, caller: &Caller) -> impl Iterator<Item = (usize, &CompiledRule)> {
        let rules = self.rules.iter().enumerate();
        rules.filter(|(_, rule)| caller.names().any(|name| rule.callers.contains(name)))
    }
}

impl CompiledRule {
    fn new(entry: &RuleEntry) -> Self {
        Self {
            callers: entry.callers.clone(),
            mounts: entry.mounts.clone(),
            hosts: entry.hosts.clone(),
            names: entry.names.clone(),
            operations: entry.operations.clone(),
        }
    }

    fn is_about(&self, mount: &Name, host: Option<&str>) -> bool {
        let of_host = || host.is_some_and(|host| self.hosts.iter().any(|pattern| pattern.matches(host)));
        self.mounts.contains(mount) && (self.hosts.is_empty() || of_host())
    }

    fn is_at(&self, path: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|pattern| pattern.matches(path))
    }

    fn is_below(&self, path: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|pattern| pattern.could_match_below(path))
    }

    /// Whether some name below `path` is one of both.
    fn shares_below(&self, other: &Self, path: &str) -> bool {
        if self.names.is_empty() {
            return other.is_below(path);
        }
        if other.names.is_empty() {
            return self.is_below(path);
        }
        self.names.iter().any(|a| other.names.iter().any(|b| a.overlaps_below(b, path)))
    }
}

impl Rule {
    /// Its place among the `[[policy]]` of the file, from 0.
    pub fn index(self) -> Option<usize> {
        match self {
            Self::NoRules => None,
            Self::Written(index) => Some(index),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRules => f.write_str("no rules: the owner may do everything"),
            Self::Written(index) => write!(f, "policy.{index}"),
        }
    }
}
