//! `purge`: ends a deleted secret for good. Asks on a terminal, unless `--yes` said so.

use crate::args;
use crate::session::{self, Answer, Outcome, Session};
use crate::variables::reference_of;

pub fn run(session: &Session, options: &args::Purge) -> Answer {
    let strongroom = session.open()?;
    let reference = reference_of(&options.reference, strongroom.shapes())?;
    if !options.yes && !session::confirm(&format!("Purge {reference}? Nobody can bring it back."))? {
        session.reporter.note("nothing was purged");
        return Ok(Outcome::Done);
    }
    session.block_on(strongroom.purge(&reference))??;
    session.reporter.note(format!("purged {reference}: it is gone for good"));
    Ok(Outcome::Done)
}
