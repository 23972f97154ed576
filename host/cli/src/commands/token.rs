//! `token`: random tokens for callers of a server. The config holds their digests and never a token.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use strongroom::{Failure, Kind};
use strongroom_core::Digest;
use zeroize::Zeroizing;

use crate::args;
use crate::session::{self, Answer, Outcome, Session};

/// The random bytes of a token: 256 bits, so that its digest can be hashed once and without salt.
const BYTES: usize = 32;

/// In seconds.
const DAY: u64 = 86_400;

pub fn run(session: &Session, options: &args::Token) -> Answer {
    let args::Token::New(options) = options;
    let mut bytes = Zeroizing::new([0; BYTES]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| {
        Failure::new(Kind::Internal, "token.random", format!("the system gives no randomness: {error}"))
    })?;
    let mut token = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
    if options.jwt {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        token = strongroom_server::shaped_as_jwt(now.saturating_add(u64::from(options.days) * DAY), &token);
    }
    let digest = Digest::of(token.as_bytes());
    if options.json {
        session::print_json(json!({ "token": token.as_str(), "digest": digest }))?;
    } else {
        token.push('\n');
        session::print(token.as_bytes())?;
        // Without it the token is worth nothing, so it is said to the quiet, too.
        session.reporter.ask(format!("for the config: token = \"{digest}\""));
    }
    Ok(Outcome::Done)
}
