//! `trust`: a person reads a project's config, or a file that tells a mount its config, and says yes to
//! exactly these bytes.

use strongroom::{Failure, Kind, discover};

use crate::args;
use crate::session::{self, Answer, Outcome, Session};

pub fn run(session: &Session, options: &args::Trust) -> Answer {
    let paths = strongroom::Paths::from_environment(&session.environment);
    let found = match &options.file {
        Some(path) => Some(session.folder.join(path)),
        None => discover::nearest(&session.folder, paths.config.as_deref()),
    };
    let path = found.ok_or_else(|| {
        Failure::new(
            Kind::NotFound,
            "trust.nothing",
            "there is no strongroom.toml from here up to the repository's root",
        )
        .help("name a file: strongroom trust FILE")
    })?;
    if options.revoke {
        let known = discover::distrust(&path, &paths)?;
        session.reporter.note(if known { "it is no longer trusted" } else { "it was not trusted" });
        return Ok(Outcome::Done);
    }
    let may = match discover::is_data(&path) {
        true => "may it say which backend your mounts ask",
        false => "may it decide which plugins answer your references",
    };
    if !options.yes && !session::confirm(&format!("Have you read {}, and {may}?", path.display()))? {
        session.reporter.note("it is not trusted");
        return Ok(Outcome::Done);
    }
    let record = discover::trust(&path, &paths)?;
    let lock = if record.lock.is_some() { " with its lock" } else { "" };
    session.reporter.note(format!("trusted {}{lock}, as it is now", record.path));
    Ok(Outcome::Done)
}
