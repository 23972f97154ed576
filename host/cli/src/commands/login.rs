//! `login`, `logout`, `whoami`: the sign-in of a credential, and what can be told of it. Never a token.

use std::time::{Duration, SystemTime};

use serde_json::json;
use strongroom::{Known, SignIn, SignInPlace};

use crate::args;
use crate::session::{self, Answer, Outcome, Session};

/// Shows a person where to go, in the host's own words.
struct Person<'a>(&'a Session);

impl SignIn for Person<'_> {
    fn show(&self, place: &SignInPlace) {
        let SignInPlace { credential, plugin, audience, uri, code } = place;
        let code = code.as_ref().map(|code| format!(" and enter the code {code}")).unwrap_or_default();
        self.0.reporter.note(format!(
            "To sign in the credential {credential} for {audience} (asked for by {plugin}):\n  open {uri}{code}\nWaiting; Ctrl-C gives up."
        ));
    }
}

pub fn login(session: &Session, options: &args::Login) -> Answer {
    let strongroom = session.open()?;
    let person = Person(session);
    let signed = session.block_on(strongroom.login(&options.credential, options.audience.as_deref(), &person))??;
    session.reporter.note(format!("{} is signed in", options.credential));
    tell(options.json, &signed)
}

pub fn logout(session: &Session, options: &args::Logout) -> Answer {
    let removed = session.open()?.logout(&options.credential)?;
    session.reporter.note(match removed {
        0 => format!("nothing was kept of {}", options.credential),
        _ => format!("{} is signed out: what was kept of it is gone", options.credential),
    });
    Ok(Outcome::Done)
}

pub fn whoami(session: &Session, options: &args::Whoami) -> Answer {
    let strongroom = session.open()?;
    let known = strongroom.whoami(&options.credential)?;
    if known.is_empty() && !options.json {
        session.reporter.note(format!("no token of {} is kept: it was not used yet, or it ended", options.credential));
    }
    tell(options.json, &known)
}

fn tell(as_json: bool, known: &[Known]) -> Answer {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let mut text = String::new();
    if as_json {
        let entries: Vec<_> = known
            .iter()
            .map(|known| {
                let attributes: serde_json::Map<_, _> =
                    known.attributes.iter().map(|(k, v)| (k.to_string(), v.to_string().into())).collect();
                json!({ "expires_at": known.expires_at, "attributes": attributes })
            })
            .collect();
        session::print_json(json!({ "tokens": entries }))?;
    } else {
        for known in known {
            for (key, value) in &known.attributes {
                text += &format!("{key}: {value}\n");
            }
            text += &format!("good for: {} minutes\n", known.expires_at.saturating_sub(now) / 60);
        }
    }
    session::print(text.as_bytes())?;
    Ok(Outcome::Done)
}
