//! A sign-in with the browser of this machine: the page that a plugin asks for, opened, and what the
//! browser comes back with.
//!
//! The plugin chooses a page of its manifest's `[[browser]]` and the query; where the browser comes
//! back to, and the `state` that tells this sign-in from every other, are the host's. Nothing is opened
//! that does not match, and what came back goes to the plugin alone.

use std::pin::pin;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use strongroom_core::{Failure, Kind, Origin};
use strongroom_egress::callback::{By, Callback};
use strongroom_egress::target::Target;
use strongroom_process::open_page;
use strongroom_sandbox::acquire::Resume;
use zeroize::Zeroizing;

use crate::Inner;
use crate::acquiring::stated;
use crate::credentials::Credentialed;
use crate::login::{Place, SignIn};
use crate::tokens::Wanted;

/// How many random bytes `state` is made of. RFC 6749, 10.10 wants 128 bits or more.
const STATE_BYTES: usize = 32;

/// What a plugin writes where the host's own values go.
const HOLES: [(&str, &str); 2] = [("redirect_uri", "{redirect-uri}"), ("state", "{state}")];

/// A page that may be opened.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    uri: String,
    by: By,
}

impl Inner {
    /// Shows a person the page that the plugin asks for, opens it if they want that, and waits for the
    /// browser to come back, at the longest `until` then.
    ///
    /// # Errors
    /// `login.browser` for a page that the manifest does not name; `login.listen`; `login.late` if
    /// nobody came back in time.
    pub(crate) async fn browse(
        &self,
        credential: &Credentialed,
        wanted: &Wanted,
        label: &str,
        asked: &str,
        person: &dyn SignIn,
        until: Instant,
    ) -> Result<Resume, Failure> {
        let callback = Callback::bind().await?;
        let redirect_uri = callback.redirect_uri();
        let mut bytes = Zeroizing::new([0; STATE_BYTES]);
        getrandom::fill(&mut *bytes)
            .map_err(|_| Failure::new(Kind::Internal, "login.random", "this machine gives no random bytes"))?;
        let state = Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes));
        let facts = Value::Object(stated(credential, wanted.tenant.as_deref()));
        let page = page(credential, asked, &redirect_uri, &state, &facts).map_err(|why| {
            Failure::new(Kind::PolicyDenied, "login.browser", format!("no browser is opened: {why}")).by_plugin(label)
        })?;
        let place = Place {
            credential: credential.name.clone(),
            plugin: label.to_owned(),
            audience: wanted.audience.clone(),
            uri: page.uri,
            code: None,
        };
        let opens = person.browse(&place);
        let opened = async {
            if !opens {
                return;
            }
            let env = self.environment.for_child(&self.mounts.sealed_variables, &[]);
            if let Err(why) = ended(open_page(&place.uri, &env)).await {
                person.open_by_hand(&why);
            }
        };
        let mut came = pin!(tokio::time::timeout_at(until.into(), callback.wait(&state, page.by)));
        let came = tokio::select! {
            came = &mut came => came,
            () = opened => came.await,
        };
        let parameters = came.map_err(|_| crate::login::late(credential))?;
        Ok(Resume { redirect_uri: Some(redirect_uri), parameters, ..Resume::default() })
    }
}

/// How opening went. What opens a page may be the browser itself, which ends with the person's day, so
/// a thread waits for it that nothing else waits for.
async fn ended(opened: Result<strongroom_process::Opening, Failure>) -> Result<(), Failure> {
    let opening = opened?;
    let (tell, told) = tokio::sync::oneshot::channel();
    let waiting = std::thread::Builder::new().spawn(move || drop(tell.send(opening.wait())));
    drop(waiting);
    told.await.unwrap_or(Ok(()))
}

/// The page to open for what a plugin `asked`: an address that matches a rule of its manifest, written
/// anew from its parts, with the host's own values in their places.
fn page(
    credential: &Credentialed,
    asked: &str,
    redirect_uri: &str,
    state: &str,
    facts: &Value,
) -> Result<Page, &'static str> {
    let rules = &credential.provided.manifest.browser;
    let (origin, behind) = Origin::of_url(asked).map_err(|_| "what the plugin asks for is no address of a page")?;
    let mut behind = behind.to_owned();
    for ((_, hole), value) in HOLES.into_iter().zip([redirect_uri, state]) {
        if behind.matches(hole).count() != 1 {
            return Err("the address lacks {redirect-uri} or {state}, or has one twice");
        }
        let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        behind = behind.replacen(hole, &encoded, 1);
    }
    let target = Target::parse(&behind).map_err(|_| "the address could be read in two ways")?;
    for ((name, _), value) in HOLES.into_iter().zip([redirect_uri, state]) {
        // Some servers do not tell REDIRECT_URI from redirect_uri.
        let mut named = target.query.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        if named.next().is_none_or(|(key, own)| key != name || own != value) || named.next().is_some() {
            return Err("redirect_uri and state are the host's: their values are {redirect-uri} and {state}");
        }
    }
    if !rules.iter().any(|rule| rule.admits(&origin, &target.segments, facts)) {
        return Err("the page is none that [[browser]] of the plugin's manifest names");
    }
    let form = target.query.iter().any(|(key, value)| key == "response_mode" && value == "form_post");
    let by = if form { By::Form } else { By::Query };
    Ok(Page { uri: format!("{origin}{}", target.to_text()), by })
}
