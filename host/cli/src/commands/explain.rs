//! `explain`: how a reference parses and who would answer it. Resolves nothing.

use std::fmt::Write;

use strongroom::{Explanation, Failure, Kind, Text};

use crate::args;
use crate::commands::policy;
use crate::session::{self, Answer, Outcome, Session};
use crate::variables::reference_of;

pub fn run(session: &Session, options: &args::Explain) -> Answer {
    // What a caller may do, a server's config says.
    let strongroom = if options.caller.is_some() { session.open_as_server()? } else { session.open()? };
    let reference = reference_of(&options.reference, strongroom.shapes())?;
    let explanation = strongroom.explain(&reference)?;
    let allowed = match &options.caller {
        Some(caller) => Some((caller, policy::allowed(&strongroom, caller, &reference)?)),
        None => None,
    };
    if options.json {
        let mut document = serde_json::to_value(&explanation)
            .map_err(|_| Failure::new(Kind::Internal, "output.json", "the answer cannot be written as JSON"))?;
        if let (Some((caller, allowed)), Some(object)) = (&allowed, document.as_object_mut()) {
            object.insert("caller".to_owned(), policy::allowed_json(caller, allowed));
        }
        session::print_json(document)?;
    } else {
        let mut words = in_words(&explanation);
        if let Some((caller, allowed)) = &allowed {
            words += &policy::allowed_in_words(&strongroom, caller, allowed);
        }
        session::print(words.as_bytes())?;
    }
    Ok(Outcome::Done)
}

fn in_words(explanation: &Explanation) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<11} {}", Text::new(value));
    };
    line("reference", &explanation.reference);
    if let Some(authority) = &explanation.authority {
        line("host", authority);
    }
    line("path", &explanation.path.join(" / "));
    for (key, value) in &explanation.selectors {
        line(key, value);
    }
    if let Some(field) = &explanation.field {
        line("field", &field.join(" / "));
    }
    let mount = &explanation.mount;
    line("mount", &format!("{} ({})", mount.name, mount.source));
    for told in &mount.told {
        line("config", told);
    }
    let bundled = if mount.bundled { ", part of this program" } else { "" };
    line("plugin", &format!("{}{bundled}", mount.plugin));
    if let Some(digest) = &mount.digest {
        line("digest", digest);
    }
    line("grants", &if mount.grants.is_empty() { "none".to_owned() } else { mount.grants.join(", ") });
    if !mount.variables.is_empty() {
        line("variables", &format!("{} and no other", mount.variables.join(", ")));
    }
    if let Some(prefix) = &mount.store_prefix {
        line(
            "store",
            &if prefix.is_empty() {
                "all that the mount keeps".to_owned()
            } else {
                format!("only keys under {prefix}")
            },
        );
    }
    if mount.egress.is_empty() {
        line("network", "none");
    }
    for rule in &mount.egress {
        line("network", rule);
    }
    if let Some(credential) = &mount.credential {
        line("credential", credential);
    }
    if let Some(person) = &mount.person {
        line("person", &format!("{person}, asked too where an endpoint's file says so"));
    }
    if let Some(allow) = &mount.allow {
        line("allow", &allow.join(", "));
    }
    line("access", if mount.write { "read and write" } else { "read" });
    line("cache", &mount.cache);
    line("deadline", &mount.deadline);
    if let Some(refused) = &explanation.refused {
        line("refused", &format!("{} [{}]", refused.message, refused.code));
        for help in &refused.help {
            line("", help.as_str());
        }
    }
    out
}
