//! `login`, `logout`, `whoami`: the sign-in of a credential, and what can be told of it. Never a token.

use serde_json::json;
use strongroom::{Failure, Known, SignIn, SignInPlace};

use crate::args;
use crate::report;
use crate::session::{self, Answer, Outcome, Session};

/// Shows a person where to go, in the host's own words.
struct Person<'a> {
    session: &'a Session,
    browser: bool,
}

impl Person<'_> {
    fn tell(&self, place: &SignInPlace, what: &str) {
        let SignInPlace { credential, plugin, audience, .. } = place;
        self.session.reporter.ask(format!(
            "To sign in the credential {credential} for {audience} (asked for by {plugin}):\n  {what}\nWaiting; Ctrl-C gives up."
        ));
    }
}

impl SignIn for Person<'_> {
    fn show(&self, place: &SignInPlace) {
        let code = place.code.as_ref().map(|code| format!(" and enter the code {code}")).unwrap_or_default();
        self.tell(place, &format!("open {}{code}", place.uri));
    }

    fn browse(&self, place: &SignInPlace) -> bool {
        let who = if self.browser { "the browser opens this page; if not, open it" } else { "open this page" };
        self.tell(place, &format!("{who} in a browser of this machine:\n  {}", place.uri));
        self.browser
    }

    fn open_by_hand(&self, why: &Failure) {
        self.session.reporter.warning(&why.clone().help("open the page above in a browser of this machine").help(
            "where there is none, sign in with a code on another device: plugin = \"device-code\" for the credential",
        ));
    }
}

pub fn login(session: &Session, options: &args::Login) -> Answer {
    let strongroom = session.open()?;
    let person = Person { session, browser: !options.no_browser };
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
    if as_json {
        let token = |known: &Known| json!({ "expires_at": known.expires_at, "attributes": report::attributes(&known.attributes) });
        session::print_json(json!({ "tokens": known.iter().map(token).collect::<Vec<_>>() }))?;
        return Ok(Outcome::Done);
    }
    let mut text = String::new();
    for known in known {
        for (key, value) in &known.attributes {
            text += &format!("{key}: {value}\n");
        }
        text += &format!("good for: {} minutes\n", known.left().as_secs() / 60);
    }
    session::print(text.as_bytes())?;
    Ok(Outcome::Done)
}
