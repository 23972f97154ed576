//! What of a credential outlives the process: its tokens, and what its auth plugin wants kept (a refresh
//! token), sealed in the store.
//!
//! It is bound to the credential (its name, config and sealed inputs, and the file that says so) and to the
//! plugin's lineage: another plugin, or the same one for another identity or project, sees nothing of it.
//! It is out of every provider's reach. Whatever goes wrong with it is a warning: then the token is merely
//! got anew.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_core::{Digest, Failure, Text};
use strongroom_sandbox::acquire::RawToken;
use strongroom_store::Space;
use zeroize::{Zeroize, Zeroizing};

use crate::credentials::Credentialed;
use crate::tokens::{Kept, Wanted, keep};
use crate::{Inner, unix_now};

/// The most that one credential keeps, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// Where the plugin's own state is.
const STATE: &str = "state";

/// A token in the store.
#[derive(Serialize, Deserialize)]
struct Record {
    value: String,
    scheme: String,
    expires_at: u64,
    refresh_at: Option<u64>,
    attributes: Vec<(String, String)>,
}

impl Drop for Record {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

/// What is known of a token that was kept. Never the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// When it ends, in seconds since the Unix epoch.
    pub expires_at: u64,
    /// Tenant, identity and the like, as the plugin told.
    pub attributes: Vec<(Text, Text)>,
}

impl Known {
    /// How long it is still good.
    pub fn left(&self) -> Duration {
        Duration::from_secs(self.expires_at.saturating_sub(unix_now().as_secs()))
    }
}

impl Inner {
    /// The credential's part of the store. Without rules a token costs nothing to get, or a tool keeps
    /// it and knows when another person signed in: nothing of it is kept here.
    fn keeping(&self, credential: &Credentialed, create: bool) -> Result<Option<Space>, Failure> {
        if credential.provided.rules.is_empty() {
            return Ok(None);
        }
        let provided = &credential.provided;
        let lineage = provided.origin.lineage(&provided.manifest.name, None);
        let defined = &credential.credential;
        let config = strongroom_core::manifest::canonical_json(&defined.config);
        // Where it is written and what it is got with are part of it: what one project's credential got is no
        // other's that merely looks the same.
        let text =
            format!("{lineage}\n{:?}\n{}\n{:?}\n{config}", defined.source.layer, defined.source.origin, defined.sealed);
        let lineage = format!("auth {} {}", provided.manifest.name, bound_to(&text));
        self.vault.space(&credential.name, &lineage, MAX_BYTES, create)
    }

    fn warned<T>(&self, done: Result<T, Failure>) -> Option<T> {
        done.map_err(|failure| (self.plugins.warn)(failure.help("the token is got anew instead"))).ok()
    }

    /// What the plugin gave to be kept.
    pub(crate) fn kept_state(&self, credential: &Credentialed) -> Option<Zeroizing<Vec<u8>>> {
        let space = self.warned(self.keeping(credential, false))??;
        self.warned(space.get(STATE))?
    }

    /// A token of an earlier process that is still good.
    pub(crate) fn kept_token(&self, credential: &Credentialed, wanted: &Wanted) -> Option<Kept> {
        if wanted.claims.is_some() {
            return None;
        }
        let space = self.warned(self.keeping(credential, false))??;
        let bytes = self.warned(space.get(&key_of(wanted)))??;
        let mut record: Record = serde_json::from_slice(&bytes).ok()?;
        let raw = RawToken {
            value: Zeroizing::new(std::mem::take(&mut record.value)),
            scheme: std::mem::take(&mut record.scheme),
            expires_at: Some(record.expires_at),
            refresh_at: record.refresh_at,
            keep: None,
            attributes: record.attributes.iter().map(|(key, value)| (Text::new(key), Text::new(value))).collect(),
        };
        // One that ends now is no better than none.
        keep(raw).ok().filter(|kept| kept.renew_at > std::time::Instant::now())
    }

    /// Keeps a new token, and what came with it.
    pub(crate) fn remember(&self, credential: &Credentialed, wanted: &Wanted, token: &RawToken) {
        let Some(Some(space)) = self.warned(self.keeping(credential, true)) else { return };
        if let Some(state) = &token.keep {
            self.warned(space.set(STATE, state));
        }
        let (Some(expires_at), None) = (token.expires_at, &wanted.claims) else { return };
        let text = |(key, value): &(Text, Text)| (key.to_string(), value.to_string());
        let record = Record {
            value: token.value.to_string(),
            scheme: token.scheme.clone(),
            expires_at,
            refresh_at: token.refresh_at,
            attributes: token.attributes.iter().map(text).collect(),
        };
        // Room from the start: a vector that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(2 * record.value.len() + 4096));
        if serde_json::to_writer(&mut *bytes, &record).is_ok() {
            self.warned(space.set(&key_of(wanted), &bytes));
        }
    }

    /// Removes everything that is kept of a credential; how many things that were.
    pub(crate) fn forget_kept(&self, credential: &Credentialed) -> Result<usize, Failure> {
        let Some(space) = self.keeping(credential, false)? else { return Ok(0) };
        let mut removed = 0;
        loop {
            let page = space.keys("", None)?;
            if page.keys.is_empty() {
                return Ok(removed);
            }
            for key in &page.keys {
                removed += usize::from(space.delete(key)?);
            }
        }
    }

    /// Forgets all of a sign-in that its plugin, given the state `refused`, found to be over. What another process
    /// has put in its place meanwhile stays.
    pub(crate) fn forget_refused(&self, credential: &Credentialed, refused: &[u8]) {
        let Some(Some(space)) = self.warned(self.keeping(credential, true)) else { return };
        if self.warned(space.swap(STATE, Some(refused), None)) == Some(true) {
            self.warned(self.forget_kept(credential));
        }
    }

    /// What is known of the tokens that are kept and still good.
    pub(crate) fn known(&self, credential: &Credentialed) -> Result<Vec<Known>, Failure> {
        let Some(space) = self.keeping(credential, false)? else { return Ok(Vec::new()) };
        let now = unix_now().as_secs();
        let mut known = Vec::new();
        let mut page = space.keys("token/", None)?;
        loop {
            for key in &page.keys {
                let Some(bytes) = space.get(key)? else { continue };
                if let Ok(record) = serde_json::from_slice::<Record>(&bytes)
                    && record.expires_at > now
                {
                    let text = |(key, value): &(String, String)| (Text::new(key), Text::new(value));
                    let attributes = record.attributes.iter().map(text).collect();
                    known.push(Known { expires_at: record.expires_at, attributes });
                }
            }
            match page.next.take() {
                Some(next) => page = space.keys("token/", Some(&next))?,
                None => return Ok(known),
            }
        }
    }
}

/// What a part of the store that is bound to `text` is called by: half of its digest, which nobody finds twice.
pub(crate) fn bound_to(text: &str) -> String {
    let digest = Digest::of(text.as_bytes()).to_string();
    digest.get(..39).unwrap_or(&digest).to_owned()
}

fn key_of(wanted: &Wanted) -> String {
    let text = format!("{}\n{}", wanted.audience, wanted.tenant.as_deref().unwrap_or_default());
    format!("token/{}", Digest::of(text.as_bytes()))
}
