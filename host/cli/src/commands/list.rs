//! `list`: mounts, or the names under one. Never a value.

use std::fmt::Write;

use serde_json::json;
use strongroom::{MountExplanation, Page, Text};

use crate::args;
use crate::report;
use crate::session::{self, Answer, Outcome, Session};

pub fn run(session: &Session, options: &args::List) -> Answer {
    let strongroom = session.open()?;
    let Some(scope) = &options.scope else {
        return mounts(&strongroom.mounts(), options);
    };
    let page = if options.versions {
        let reference = strongroom.parse(scope)?;
        session.block_on(strongroom.versions(&reference))??
    } else {
        let scope = strongroom.parse_scope(scope)?;
        session.block_on(async {
            if options.deleted { strongroom.list_deleted(&scope).await } else { strongroom.list(&scope).await }
        })??
    };
    names(&page, options.json)?;
    Ok(Outcome::Done)
}

fn names(page: &Page, json: bool) -> Result<(), session::Stop> {
    if json {
        let entries = page.entries.iter();
        let entries: Vec<_> = entries
            .map(|entry| json!({ "name": entry.name, "attributes": report::attributes(&entry.attributes) }))
            .collect();
        return session::print_json(json!({ "names": entries }));
    }
    let mut out = String::new();
    for entry in &page.entries {
        let _ = writeln!(out, "{}", Text::new(&entry.name));
    }
    session::print(out.as_bytes())
}

fn mounts(mounts: &[MountExplanation], options: &args::List) -> Answer {
    if options.json {
        session::print_json(json!({ "mounts": mounts }))?;
        return Ok(Outcome::Done);
    }
    let mut out = String::new();
    let width =
        |of: fn(&MountExplanation) -> &str| mounts.iter().map(|mount| of(mount).len()).max().unwrap_or_default();
    let (names, schemes, plugins) = (width(|m| &m.name), width(|m| &m.scheme) + 1, width(|m| &m.plugin));
    for mount in mounts {
        let scheme = format!("{}:", mount.scheme);
        let access = if mount.write { "read, write" } else { "read" };
        let _ = write!(out, "{:names$}  {scheme:schemes$}  {:plugins$}  {access:11}", mount.name, mount.plugin);
        if options.sources {
            let _ = write!(out, "  {} ({})", mount.source, mount.layer);
            for told in &mount.told {
                let _ = write!(out, "; {}", Text::new(told));
            }
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    session::print(out.as_bytes())?;
    Ok(Outcome::Done)
}
