//! `recover`: brings back what was deleted.

use crate::args;
use crate::session::{Answer, Outcome, Session};
use crate::variables::reference_of;

pub fn run(session: &Session, options: &args::Recover) -> Answer {
    let strongroom = session.open()?;
    let reference = reference_of(&options.reference, strongroom.shapes())?;
    let receipt = session.block_on(strongroom.recover(&reference))??;
    session.reporter.note(match receipt.state() {
        Some("recovering") => format!("{reference} is being recovered: the backend took it and is not done yet"),
        _ => format!("recovered {reference}"),
    });
    Ok(Outcome::Done)
}
