//! `store`: the encrypted store, its key and whose data is whose.

use std::fmt::Write;

use serde_json::json;
use strongroom::{Failure, Kind, Text};
use strongroom_core::Name;
use strongroom_store::{How, Store};

use crate::args;
use crate::session::{self, Answer, Outcome, Session};

pub fn run(session: &Session, command: args::Store) -> Answer {
    match command {
        args::Store::Status(options) => status(session, &options),
        args::Store::Rotate(options) => rotate(session, &options),
        args::Store::Adopt(options) => adopt(session, &options),
    }
}

fn status(session: &Session, options: &args::StoreStatus) -> Answer {
    let (store, _) = session.open()?.store_parts()?;
    let status = Store::inspect(&store)?;
    if options.json {
        let spaces = status.iter().flat_map(|status| &status.spaces);
        let spaces: Vec<_> = spaces
            .map(|space| json!({ "mount": space.mount, "lineage": space.lineage, "keys": space.keys, "bytes": space.bytes }))
            .collect();
        session::print_json(json!({
            "path": store.path,
            "exists": status.is_some(),
            "key": status.as_ref().map(|status| status.how.name()),
            "spaces": spaces,
        }))?;
        return Ok(Outcome::Done);
    }
    let mut out = format!("path   {}\n", store.path.display());
    match status {
        None => out.push_str("there is no store yet; the first `strongroom set` makes one\n"),
        Some(status) => {
            let _ = writeln!(out, "key    {}", status.how);
            for space in &status.spaces {
                let _ = writeln!(
                    out,
                    "mount  {}: {} keys, {} bytes, for {}",
                    space.mount, space.keys, space.bytes, space.lineage
                );
            }
        }
    }
    session::print(out.as_bytes())?;
    Ok(Outcome::Done)
}

fn rotate(session: &Session, options: &args::StoreRotate) -> Answer {
    let strongroom = session.open()?;
    let (path, unlock) = strongroom.store_parts()?;
    let store = Store::open_existing(&path, unlock)?.ok_or_else(no_store)?;
    let (_, mut new) = strongroom.store_parts()?;
    new.prefer = match options.to.as_deref() {
        Some("keyring") => Some(How::Keyring),
        Some("passphrase") => Some(How::Passphrase),
        Some("file") => Some(How::File),
        _ => Some(store.how()?),
    };
    if new.prefer == Some(How::Passphrase) && new.prompt.is_some() {
        // The passphrase of the environment opened the store; a new one is asked for.
        new.passphrase = None;
    }
    let how = store.rotate(new)?;
    session.reporter.note(format!("everything is sealed under a new key, held by {how}"));
    Ok(Outcome::Done)
}

fn adopt(session: &Session, options: &args::StoreAdopt) -> Answer {
    let mount = Name::parse(&options.mount).map_err(|error| {
        Failure::new(Kind::InvalidReference, "usage.mount", format!("this is no mount's name: {error}"))
    })?;
    let (path, unlock) = session.open()?.store_parts()?;
    let store = Store::open_existing(&path, unlock)?.ok_or_else(no_store)?;
    let question = format!(
        "Let {} read and change everything that {} kept on the mount {mount}?",
        Text::new(&options.to),
        Text::new(&options.from)
    );
    if !options.yes && !session::confirm(&question)? {
        session.reporter.note("nothing was changed");
        return Ok(Outcome::Done);
    }
    let keys = store.adopt(&mount, &options.from, &options.to)?;
    session.reporter.note(format!("{keys} keys were handed over"));
    Ok(Outcome::Done)
}

fn no_store() -> Failure {
    Failure::new(Kind::NotFound, "store.none", "there is no store yet").help("the first `strongroom set` makes one")
}
