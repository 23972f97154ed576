//! `[[policy]]`: which callers may do what with which names.
//!
//! There are no rules that forbid: what no rule permits is denied, so the order of rules has no meaning. The
//! three tables `[callers]`, `[issuers]` and `[[policy]]` of one file belong together, see [`Access`].

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;

use super::callers::{CallerEntry, Issuer, Written};
use super::{MAX_PATTERNS, Mount, Source};
use crate::policy::{OWNER, Operation};
use crate::strict::Sheet;
use crate::{Failure, HostPattern, Kind, Name, Pattern};

/// What some callers may do.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawRule {
    /// Names of `callers`, and `owner`, the user that the server runs as.
    #[schemars(with = "Vec<String>", length(min = 1))]
    callers: BTreeSet<Name>,
    /// Names of mounts. Needed for all operations but `plugins`.
    #[schemars(with = "Option<Vec<String>>", length(min = 1))]
    mounts: Option<BTreeSet<Name>>,
    /// Only references of these hosts. `*` is exactly one label.
    #[schemars(with = "Option<Vec<String>>", length(min = 1))]
    hosts: Option<Vec<HostPattern>>,
    /// Patterns of the paths: `*` within one segment, `**` across. Every path by default.
    #[schemars(with = "Option<Vec<String>>", length(min = 1))]
    names: Option<Vec<Pattern>>,
    /// What they may do.
    #[schemars(length(min = 1))]
    operations: BTreeSet<Operation>,
}

/// A rule as written.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleEntry {
    /// Who.
    pub callers: BTreeSet<Name>,
    /// Through which mounts; empty where its operations are about none.
    pub mounts: BTreeSet<Name>,
    /// Only references of these hosts; empty: of any, and of none.
    pub hosts: Vec<HostPattern>,
    /// Only these paths; empty: every path.
    pub names: Vec<Pattern>,
    /// What.
    pub operations: BTreeSet<Operation>,
    /// Where it is written.
    pub source: Source,
}

/// Who may read what, as one file says it. It comes whole from one file, so that whoever reads that file knows
/// all of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Access {
    /// The callers by name, without `owner`.
    pub callers: BTreeMap<Name, CallerEntry>,
    /// The issuers by name.
    pub issuers: BTreeMap<Name, Issuer>,
    /// The rules, in the order of the file.
    pub rules: Vec<RuleEntry>,
}

impl Access {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.callers.is_empty() && self.issuers.is_empty() && self.rules.is_empty()
    }

    /// Checks what the rules say of mounts, once all of them are known.
    ///
    /// # Errors
    /// `config.policy` for a mount that there is not.
    pub(super) fn check_mounts(&self, mounts: &BTreeMap<Name, Mount>) -> Result<(), Failure> {
        for (index, rule) in self.rules.iter().enumerate() {
            if let Some(unknown) = rule.mounts.iter().find(|name| !mounts.contains_key(*name)) {
                let message = format!("`policy.{index}.mounts` names {unknown}, and there is no such mount");
                let known: Vec<&str> = mounts.keys().map(Name::as_str).collect();
                return Err(Failure::new(Kind::InvalidConfig, "config.policy", message)
                    .at(rule.source.place(unknown))
                    .help(format!("there are: {}", known.join(", "))));
            }
        }
        Ok(())
    }
}

/// Checks the rules of a file against its callers.
pub(super) fn check(
    sheet: &Sheet<'_>,
    raw: Vec<RawRule>,
    callers: &BTreeMap<Name, CallerEntry>,
    source: &Written<'_>,
) -> Result<Vec<RuleEntry>, Failure> {
    let mut rules = Vec::with_capacity(raw.len());
    for (index, rule) in raw.into_iter().enumerate() {
        let index = index.to_string();
        let wrong = |key: &str, message: &str| sheet.wrong("config.policy", &["policy", &index, key], message);
        if rule.callers.is_empty() {
            return Err(wrong("callers", "must name at least one caller"));
        }
        if let Some(unknown) = rule.callers.iter().find(|name| name.as_str() != OWNER && !callers.contains_key(*name)) {
            let known: Vec<&str> = callers.keys().map(Name::as_str).chain([OWNER]).collect();
            return Err(wrong("callers", &format!("names {unknown}, which is no caller of this file"))
                .help(format!("there are: {}", known.join(", "))));
        }
        if rule.operations.is_empty() {
            return Err(wrong("operations", "must name at least one operation"));
        }
        let lengths = [
            ("mounts", rule.mounts.as_ref().map(BTreeSet::len)),
            ("hosts", rule.hosts.as_ref().map(Vec::len)),
            ("names", rule.names.as_ref().map(Vec::len)),
        ];
        let about_mounts = rule.operations.iter().any(|operation| *operation != Operation::Plugins);
        for (key, length) in lengths {
            match length {
                Some(length) if length == 0 || length > MAX_PATTERNS => {
                    return Err(wrong(key, "must have 1 to 256 entries"));
                }
                Some(_) if !about_mounts && key != "mounts" => {
                    return Err(wrong(key, "has no effect: `plugins` is about mounts as a whole"));
                }
                None if key == "mounts" && about_mounts => {
                    let message = "lacks the key `mounts`: what the rule is about";
                    return Err(sheet.wrong("config.policy", &["policy", &index], message));
                }
                _ => {}
            }
        }
        rules.push(RuleEntry {
            callers: rule.callers,
            mounts: rule.mounts.unwrap_or_default(),
            hosts: rule.hosts.unwrap_or_default(),
            names: rule.names.unwrap_or_default(),
            operations: rule.operations,
            source: source.of(sheet, &["policy", &index, "callers"]),
        });
    }
    Ok(rules)
}
