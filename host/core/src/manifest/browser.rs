//! Which pages an auth plugin may have opened in a person's browser: a manifest's `[[browser]]`.
//!
//! Origin and path are bound by the host, from the credential's config and the tenant, and compared
//! after the host took the address apart; the query is the plugin's. Neither the plugin nor a
//! reference may have a say in where a person is sent.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::Placeholder;
use super::http::{OriginTemplate, PathTemplate};
use crate::{HostPattern, Origin};

/// One `[[browser]]`, checked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BrowserRule {
    /// Where the page is. Always https.
    pub origin: OriginTemplate,
    /// What hosts `origin` may come to; empty: whatever it comes to.
    pub hosts: BTreeSet<HostPattern>,
    /// The page.
    pub path: PathTemplate,
}

/// One `[[browser]]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawBrowser {
    origin: OriginTemplate,
    #[serde(default)]
    hosts: BTreeSet<HostPattern>,
    path: PathTemplate,
}

impl RawBrowser {
    /// Checks what the types alone cannot. Gives the key at fault and why.
    pub(super) fn check(self) -> Result<BrowserRule, (&'static str, &'static str)> {
        let Self { origin, hosts, path } = self;
        if origin.may_be_plain() || origin.template().is_none() {
            return Err(("origin", "must be https://host[:port], where holes are {config.NAME}"));
        }
        let own = |hole: &Placeholder| matches!(hole, Placeholder::Config(_) | Placeholder::Tenant);
        if !origin.template().into_iter().flat_map(|template| template.placeholders()).all(own) {
            return Err(("origin", "has a hole that is not {config.NAME}"));
        }
        if path.is_open() || !path.templates().flat_map(|template| template.placeholders()).all(own) {
            return Err(("path", "has a hole that is neither {config.NAME} nor {request.tenant}"));
        }
        if hosts.len() > super::raw::MAX_ITEMS {
            return Err(("hosts", "must hold at most 32"));
        }
        if hosts.iter().any(|host| host.as_str().ends_with(":443")) {
            return Err(("hosts", "must leave out the port that https means: a host with it is never met"));
        }
        Ok(BrowserRule { origin, hosts, path })
    }
}

impl BrowserRule {
    /// Whether the page at `origin` with the path of the decoded `segments` is the one that it names.
    /// `facts` are the credential's config and the tenant.
    pub fn admits(&self, origin: &Origin, segments: &[String], facts: &Value) -> bool {
        let authority = origin.authority();
        origin.secure
            && self.origin.bind(None, facts).as_ref() == Some(origin)
            && (self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(&authority)))
            && self.path.admits(segments, None, facts)
    }

    /// The keys of the config that it speaks of.
    pub(super) fn config_keys(&self) -> impl Iterator<Item = &str> {
        let templates = self.origin.template().into_iter().chain(self.path.templates());
        templates.flat_map(|template| template.placeholders()).filter_map(Placeholder::config_key)
    }

    /// All fields as an inline table of TOML, in one order: how it stands in the lock.
    pub fn line(&self) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        let mut line = format!("{{ origin = {}", quoted(self.origin.as_str()));
        if !self.hosts.is_empty() {
            let hosts: Vec<String> = self.hosts.iter().map(|host| quoted(host.as_str())).collect();
            line += &format!(", hosts = [{}]", hosts.join(", "));
        }
        line + &format!(", path = {} }}", quoted(self.path.as_str()))
    }

    /// Reads what [`BrowserRule::line`] writes.
    pub fn of_line(line: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Line {
            rule: RawBrowser,
        }
        let Line { rule } = toml::from_str(&format!("rule = {line}")).ok()?;
        rule.check().ok()
    }

    /// What it lets the plugin do, in plain words, to follow "it".
    pub fn in_words(&self) -> String {
        let mut words =
            format!("may open {}{} in the browser of a person who signs in", self.origin.as_str(), self.path.as_str());
        if !self.hosts.is_empty() {
            let hosts: Vec<&str> = self.hosts.iter().map(HostPattern::as_str).collect();
            words += &format!(", where the host is {}", hosts.join(", "));
        }
        words
    }
}
