//! Signing in: what `strongroom login` does with a credential that needs a person, and what can be told of
//! one afterwards.
//!
//! A plugin's words never reach a person as they are: where to go must be one of the pages that its
//! manifest lists, and a code must look like one.

use std::time::{Duration, Instant};

use strongroom_core::manifest::Manifest;
use strongroom_core::{Failure, Kind, Name, Text};
use strongroom_sandbox::acquire::{Prompt, Resume, Step};

use crate::credentials::Credentialed;
use crate::keeping::Known;
use crate::tokens::{Stepped, Wanted};
use crate::{Inner, Strongroom, unix_now};

/// The longest sign-in: what the field's identity providers give a code.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// How long a browser may take to come back: what the official clients wait.
const BROWSER: Duration = Duration::from_secs(300);

/// What a person is asked to do: checked against what the plugin's manifest says it may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The credential that is signed in.
    pub credential: Name,
    /// The plugin that asks, with its digest.
    pub plugin: String,
    /// What the token will be for.
    pub audience: String,
    /// The page to open.
    pub uri: String,
    /// The code to enter there.
    pub code: Option<String>,
}

/// Who shows a person what to do.
pub trait SignIn: Send + Sync {
    /// Shows a page and a code. Called once for each code.
    fn show(&self, place: &Place);

    /// Shows the page that is about to be opened in the browser of this machine, and says whether it is
    /// to be: if not, the person opens it. It holds nothing secret but what ties it to this sign-in.
    fn browse(&self, place: &Place) -> bool {
        self.show(place);
        true
    }

    /// Tells why no browser was opened, so that the person opens the page.
    fn open_by_hand(&self, _why: &Failure) {}
}

impl Strongroom {
    /// The credentials by name.
    pub fn credentials(&self) -> Vec<Name> {
        self.0.mounts.credential_names().cloned().collect()
    }

    /// Gets a token of `credential` for its first audience, or for `audience`, with a person's help if need
    /// be, and keeps what it may.
    ///
    /// # Errors
    /// `login.credential` if there is none of that name; what the plugin, the identity provider or the
    /// operator's config says; `login.late` if nobody signed in in time.
    pub async fn login(
        &self,
        credential: &Name,
        audience: Option<&str>,
        person: &dyn SignIn,
    ) -> Result<Vec<Known>, Failure> {
        let inner = &self.0;
        if let Some(chain) = inner.mounts.chains.get(credential) {
            let links: Vec<&str> = chain.names().map(Name::as_str).collect();
            let message = format!("the credential {credential} is a chain: sign in to one of its links");
            return Err(Failure::new(Kind::Unsupported, "login.chain", message)
                .help(format!("its links are: {}", links.join(", "))));
        }
        let credential = inner.credential(credential)?;
        let audience = match audience {
            Some(audience) => audience,
            None => credential.credential.audiences.first().map(String::as_str).unwrap_or_default(),
        };
        let wanted = inner.wanted(credential, audience, None, &credential.name)?;
        // What was kept of an earlier sign-in must not answer for this one.
        inner.forget_kept(credential)?;
        inner.tokens.clear();
        let until = Instant::now() + LONGEST;
        let mut resume = None;
        let mut shown = None;
        let mut browsed = false;
        loop {
            let deadline = Instant::now() + credential.credential.limits.deadline;
            let Stepped { step, label } = inner.step(credential, &wanted, resume.take(), true, 0, deadline).await?;
            match step {
                Step::Ready(token) => {
                    inner.settle(credential, &wanted, token, &label)?;
                    return inner.known(credential);
                }
                Step::Pending { after, state, prompt } => {
                    if let Some(prompt) = prompt
                        && shown.as_ref() != Some(&prompt)
                    {
                        person.show(&checked(credential, &wanted, &label, &prompt)?);
                        shown = Some(prompt);
                    }
                    let wait = after.clamp(Duration::from_millis(100), Duration::from_secs(60));
                    if Instant::now() + wait > until || shown.as_ref().is_some_and(is_over) {
                        return Err(late(credential));
                    }
                    tokio::time::sleep(wait).await;
                    resume = Some(Resume { state, ..Resume::default() });
                }
                Step::Browser { uri, state } => {
                    if std::mem::replace(&mut browsed, true) {
                        let message = "the plugin asks for a second browser in one sign-in";
                        return Err(Failure::new(Kind::Protocol, "login.browser", message).by_plugin(label));
                    }
                    let until = until.min(Instant::now() + BROWSER);
                    let came = inner.browse(credential, &wanted, &label, &uri, person, until).await?;
                    resume = Some(Resume { state, ..came });
                }
            }
        }
    }

    /// Forgets all that is kept of `credential`, and the values that mounts keep which were got with it; how many
    /// things that were.
    ///
    /// # Errors
    /// `login.credential`, and what the store says.
    pub fn logout(&self, credential: &Name) -> Result<usize, Failure> {
        let inner = &self.0;
        inner.tokens.clear();
        if let Some(chain) = inner.mounts.chains.get(credential) {
            inner.forget_winner(chain)?;
        }
        let mut forgotten = inner.forget_values_of(credential)?;
        for meant in inner.meant(credential)? {
            forgotten += inner.forget_kept(meant)?;
        }
        Ok(forgotten)
    }

    /// What is known of the tokens of `credential` that are kept and still good. Never a token.
    ///
    /// # Errors
    /// `login.credential`, and what the store says.
    pub fn whoami(&self, credential: &Name) -> Result<Vec<Known>, Failure> {
        let known = self.0.meant(credential)?.into_iter().map(|credential| self.0.known(credential));
        Ok(known.collect::<Result<Vec<_>, _>>()?.concat())
    }
}

impl Inner {
    /// The credential `name`, or the links of that chain.
    fn meant(&self, name: &Name) -> Result<Vec<&Credentialed>, Failure> {
        if !self.mounts.chains.contains_key(name) {
            self.credential(name)?;
        }
        Ok(self.mounts.meant(name))
    }

    fn credential(&self, name: &Name) -> Result<&Credentialed, Failure> {
        self.mounts.credentials.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.mounts.credentials.keys().map(Name::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Failure::new(Kind::InvalidConfig, "login.credential", format!("there is no credential {name}"))
                .help(format!("there are: {known}"))
        })
    }
}

/// A prompt, if it is one that the manifest lets the plugin make.
fn checked(credential: &Credentialed, wanted: &Wanted, label: &str, prompt: &Prompt) -> Result<Place, Failure> {
    let manifest: &Manifest = &credential.provided.manifest;
    let wrong = |why: String| Err(Failure::new(Kind::PolicyDenied, "login.prompt", why).by_plugin(label.to_owned()));
    if !manifest.prompts.contains(&prompt.uri) {
        let shown = Text::capped(&prompt.uri, 128);
        return wrong(format!("the plugin sends people to {shown}, which is none of the pages of its manifest"));
    }
    let word = |code: &String| {
        (4..=16).contains(&code.len())
            && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-')
    };
    if prompt.user_code.as_ref().is_some_and(|code| !word(code)) {
        return wrong("the plugin shows a code that looks like none".to_owned());
    }
    Ok(Place {
        credential: credential.name.clone(),
        plugin: label.to_owned(),
        audience: wanted.audience.clone(),
        uri: prompt.uri.clone(),
        code: prompt.user_code.clone(),
    })
}

/// Nobody came.
pub(crate) fn late(credential: &Credentialed) -> Failure {
    Failure::new(Kind::Deadline, "login.late", "nobody signed in in time")
        .help(format!("strongroom login {}", credential.name))
}

fn is_over(prompt: &Prompt) -> bool {
    prompt.expires_at <= unix_now().as_secs()
}
