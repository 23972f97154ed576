//! soon
use crate::args;
use crate::session::{Answer, Session};

pub fn run(_session: &Session, _options: &args::Doctor) -> Answer {
    Err(strongroom::Failure::new(strongroom::Kind::Unsupported, "soon", "soon").into())
}
