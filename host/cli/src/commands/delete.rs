//! `delete`: asks on a terminal, unless `--yes` said so.

use strongroom::{Reference, Text};

use crate::args;
use crate::session::{self, Answer, Outcome, Session};
use crate::variables::shown_reference;

pub fn run(session: &Session, options: &args::Delete) -> Answer {
    let strongroom = session.open()?;
    let reference = Reference::parse(&options.reference, strongroom.shapes())
        .map_err(|error| shown_reference(error, &options.reference, Text::new("the reference")))?;
    if !options.yes && !session::confirm(&format!("Delete {reference}?"))? {
        session.reporter.note("nothing was deleted");
        return Ok(Outcome::Done);
    }
    session.block_on(strongroom.delete(&reference))??;
    session.reporter.note(format!("deleted {reference}"));
    Ok(Outcome::Done)
}
