//! `delete`: asks on a terminal, unless `--yes` said so.

use crate::args;
use crate::session::{self, Answer, Outcome, Session};
use crate::variables::reference_of;

pub fn run(session: &Session, options: &args::Delete) -> Answer {
    let strongroom = session.open()?;
    let reference = reference_of(&options.reference, strongroom.shapes())?;
    if !options.yes && !session::confirm(&format!("Delete {reference}?"))? {
        session.reporter.note("nothing was deleted");
        return Ok(Outcome::Done);
    }
    let receipt = session.block_on(strongroom.delete(&reference))??;
    session.reporter.note(match receipt.state() {
        Some("deleted") => format!("deleted {reference}; `strongroom recover` brings it back"),
        Some("deleting") => format!("{reference} is being deleted: the backend took it and is not done yet"),
        _ => format!("deleted {reference}"),
    });
    Ok(Outcome::Done)
}
