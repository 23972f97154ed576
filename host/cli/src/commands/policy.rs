//! `policy test`: is the policy what somebody wants it to be? And what `explain --as` says of it. Asks nobody
//! and resolves nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};
use strongroom::{Failure, Kind, Reference, Strongroom, SystemAccounts, Text};
use strongroom_core::Name;
use strongroom_core::policy::cases::{About, Case};
use strongroom_core::policy::{Accounts, Caller, Operation, Policy, Rule};

use crate::args;
use crate::session::{self, Answer, Outcome, Session, Stop};

/// The largest table, in bytes.
const MAX_FILE: u64 = strongroom_core::policy::cases::MAX_BYTES as u64;

/// A policy is tested where it is written, which need not be the machine of its accounts: one that is not known
/// here has a number that is nobody's.
#[derive(Default)]
struct Anywhere(RefCell<BTreeMap<(bool, String), u32>>);

impl Anywhere {
    fn number(&self, user: bool, name: &str) -> u32 {
        let mut made = self.0.borrow_mut();
        let next = u32::try_from(made.len()).unwrap_or_default();
        // The last number of all means "none" to system calls.
        *made.entry((user, name.to_owned())).or_insert(u32::MAX - 1 - next)
    }
}

impl Accounts for Anywhere {
    fn uid(&self, user: &str) -> Option<u32> {
        SystemAccounts.uid(user).or_else(|| Some(self.number(true, user)))
    }

    fn gid(&self, group: &str) -> Option<u32> {
        SystemAccounts.gid(group).or_else(|| Some(self.number(false, group)))
    }
}

/// What became of a case.
struct Decided {
    asker: Text,
    about: Text,
    /// Which rule allows it, or why it is not allowed.
    result: Result<Rule, String>,
}

pub fn run(session: &Session, options: &args::Policy) -> Answer {
    let args::Policy::Test(options) = options;
    let strongroom = session.open_as_server()?;
    let bytes = session::read_file(&session.folder.join(&options.file), MAX_FILE)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Failure::new(Kind::InvalidConfig, "cases.syntax", "the table is not UTF-8"))?;
    let cases = Case::parse(text, session::origin(&options.file))?;
    let accounts = Anywhere::default();
    let policy = strongroom.policy(&accounts)?;
    let mut decided = Vec::with_capacity(cases.len());
    let mut failures = Vec::new();
    for case in &cases {
        match decide(&strongroom, &policy, &accounts, case) {
            Ok(outcome) => decided.push((case, outcome)),
            Err(failure) => failures.push(match &case.place {
                Some(place) => failure.at(place.clone()),
                None => failure,
            }),
        }
    }
    if !failures.is_empty() {
        return Err(Stop::Failed(failures));
    }
    let differ: Vec<_> = decided.iter().filter(|(case, outcome)| case.allow != outcome.result.is_ok()).collect();
    if options.json {
        let told = |(case, outcome): &(&Case, Decided)| {
            json!({
                "line": case.place.as_ref().and_then(|place| place.position).map(|(line, _)| line),
                "as": outcome.asker, "operation": case.operation, "about": outcome.about,
                "expected": word(case.allow), "decided": word(outcome.result.is_ok()), "because": because(outcome),
            })
        };
        let differ: Vec<Value> = differ.iter().map(|one| told(one)).collect();
        session::print_json(json!({ "ok": differ.is_empty(), "cases": decided.len(), "differ": differ }))?;
    } else {
        session::print(table(&differ, decided.len()).as_bytes())?;
    }
    Ok(if differ.is_empty() { Outcome::Done } else { Outcome::Exit(Kind::PolicyDenied.meaning().exit) })
}

fn decide(strongroom: &Strongroom, policy: &Policy, accounts: &Anywhere, case: &Case) -> Result<Decided, Failure> {
    let issuers = &strongroom.access().issuers;
    if let Some(unknown) = case.issuer().filter(|issuer| !issuers.contains_key(*issuer)) {
        let known: Vec<&str> = issuers.keys().map(Name::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Failure::new(Kind::NotFound, "policy.no-such-issuer", format!("there is no issuer {unknown}"))
            .help(format!("there are: {known}")));
    }
    let caller = case.caller(policy, accounts, rustix::process::geteuid().as_raw())?;
    let permits = |mount: &Name, host: Option<&str>, path: &str| {
        policy.permits(&caller, mount, host, path, case.operation).ok_or_else(|| "no rule permits it".to_owned())
    };
    let (about, result) = match &case.about {
        About::Nothing => {
            let rule = policy.permits_any(&caller, case.operation);
            (Text::default(), rule.ok_or_else(|| "no rule permits it".to_owned()))
        }
        About::Path { mount, host, path } => {
            if !strongroom.mounts().iter().any(|known| known.name == mount.as_str()) {
                let message = format!("there is no mount {mount}");
                return Err(Failure::new(Kind::UnknownMount, "route.no-such-mount", message)
                    .help("`strongroom list --sources` tells which mounts there are"));
            }
            let about = [Some(mount.as_str()), host.as_deref(), Some(path.as_str())];
            let about: Vec<&str> = about.into_iter().flatten().collect();
            let result = match case.operation {
                Operation::Plugins => {
                    let rule = policy.permits_mount(&caller, mount, case.operation);
                    rule.ok_or_else(|| "no rule permits it".to_owned())
                }
                _ => permits(mount, host.as_deref(), path),
            };
            (Text::new(about.join(" ")), result)
        }
        About::Reference(text) => {
            let reference = match case.operation {
                Operation::List => strongroom.parse_scope(text)?,
                _ => strongroom.parse(text)?,
            };
            let routed = strongroom.routed(&reference)?;
            let permitted = permits(routed.mount, routed.host, &routed.path);
            let result = permitted.and_then(|rule| refused_by_mount(strongroom, &reference, case.operation, rule));
            (Text::new(text), result)
        }
    };
    Ok(Decided { asker: caller.shown().clone(), about, result })
}

/// What the mount itself has against it, whoever asks.
fn refused_by_mount(
    strongroom: &Strongroom,
    reference: &Reference,
    operation: Operation,
    rule: Rule,
) -> Result<Rule, String> {
    let writes = matches!(operation, Operation::Set | Operation::Delete | Operation::Recover | Operation::Purge);
    let explained = strongroom.explain(reference).map_err(|failure| failure.to_string())?;
    match explained.refused {
        // Who may ask is told why the mount refuses.
        _ if operation == Operation::Explain => Ok(rule),
        // A scope is not a name, and `allow` is about names.
        Some(refused) if operation != Operation::List || refused.code != "mount.allow" => {
            Err(format!("{} [{}]", refused.message, refused.code))
        }
        _ if writes && !explained.mount.write => Err(format!("the mount {} is read-only", explained.mount.name)),
        _ => Ok(rule),
    }
}

fn word(allow: bool) -> &'static str {
    if allow { "allow" } else { "deny" }
}

fn because(outcome: &Decided) -> String {
    match &outcome.result {
        Ok(rule) => rule.to_string(),
        Err(why) => why.clone(),
    }
}

fn table(differ: &[&(&Case, Decided)], all: usize) -> String {
    let mut out = String::new();
    if differ.is_empty() {
        let _ = writeln!(out, "{all} cases, all as expected");
        return out;
    }
    let _ = writeln!(out, "{} of {all} cases turn out otherwise:", differ.len());
    for (case, outcome) in differ {
        let line = case.place.as_ref().and_then(|place| place.position).map_or(0, |(line, _)| line);
        let _ = writeln!(out, "\nline {line:<6} {} {} {}", outcome.asker, case.operation, outcome.about);
        let _ = writeln!(out, "expected    {}", word(case.allow));
        let decided = word(outcome.result.is_ok());
        let _ = writeln!(out, "decided     {decided}: {}", Text::new(because(outcome)));
    }
    out
}

/// What a caller may do with a reference: each operation, and the rule that permits it.
pub fn allowed(
    strongroom: &Strongroom,
    caller: &Name,
    reference: &Reference,
) -> Result<Vec<(Operation, Option<Rule>)>, Failure> {
    let policy = strongroom.policy(&Anywhere::default())?;
    let caller: Caller = policy.supposed(caller)?;
    let routed = strongroom.routed(reference)?;
    let about = Operation::ALL.into_iter().filter(|operation| *operation != Operation::Plugins);
    Ok(about
        .map(|operation| (operation, policy.permits(&caller, routed.mount, routed.host, &routed.path, operation)))
        .collect())
}

pub fn allowed_json(caller: &Name, allowed: &[(Operation, Option<Rule>)]) -> Value {
    let operations: serde_json::Map<String, Value> = allowed
        .iter()
        .map(|(operation, rule)| {
            let rule = rule.map(|rule| json!({ "allow": true, "rule": rule.index() }));
            (operation.name().to_owned(), rule.unwrap_or_else(|| json!({ "allow": false })))
        })
        .collect();
    json!({ "name": caller, "operations": operations })
}

pub fn allowed_in_words(strongroom: &Strongroom, caller: &Name, allowed: &[(Operation, Option<Rule>)]) -> String {
    let rules = &strongroom.access().rules;
    let mut out = String::new();
    let _ = writeln!(out, "{:<11} {caller}", "caller");
    for (operation, rule) in allowed {
        let rule = match rule {
            None => "denied: no rule permits it".to_owned(),
            Some(rule) => match rule.index().and_then(|index| rules.get(index)) {
                None => format!("allowed, {rule}"),
                Some(entry) => {
                    let line = entry.source.position.map(|(line, _)| format!(":{line}")).unwrap_or_default();
                    format!("allowed by {rule} ({}{line})", entry.source.origin)
                }
            },
        };
        let _ = writeln!(out, "  {:<9} {rule}", operation.name());
    }
    out
}
