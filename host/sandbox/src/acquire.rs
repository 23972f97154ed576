//! `acquire`: what an auth plugin is asked, and what it can answer.

use std::time::Duration;

use strongroom_core::{Failure, Text};
use zeroize::{Zeroize, Zeroizing};

use crate::bindings::exports::strongroom::plugin::credential as wit;
use crate::call::{Call, answered};
use crate::plugin::Plugin;

/// What a token is wanted for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenRequest {
    /// The resource, without `/.default`.
    pub audience: String,
    /// Scopes, where the identity provider knows them.
    pub scopes: Vec<String>,
    /// The tenant.
    pub tenant: Option<String>,
    /// A claims challenge to answer.
    pub claims: Option<String>,
}

/// A token, as its plugin gave it.
pub struct RawToken {
    /// The token itself.
    pub value: Zeroizing<String>,
    /// `Bearer` in nearly every case.
    pub scheme: String,
    /// Seconds since the Unix epoch.
    pub expires_at: Option<u64>,
    /// From when on it ought to be renewed, in seconds since the Unix epoch.
    pub refresh_at: Option<u64>,
    /// What the plugin wants handed back next time.
    pub keep: Option<Zeroizing<Vec<u8>>>,
    /// Tenant, identity and the like. Never the token.
    pub attributes: Vec<(Text, Text)>,
}

/// What a plugin answers.
pub enum Step {
    /// Here it is.
    Ready(RawToken),
    /// Not yet: ask again after a while, with what it gave.
    Pending {
        /// How long to wait.
        after: Duration,
        /// What it wants back.
        state: Zeroizing<Vec<u8>>,
        /// What a person is to do meanwhile.
        prompt: Option<Prompt>,
    },
    /// A browser is to be opened.
    Browser {
        /// Where, with holes for `{redirect-uri}` and `{state}`.
        uri: String,
        /// What it wants back.
        state: Zeroizing<Vec<u8>>,
    },
}

/// What a person is asked to do. Untrusted: whoever shows it checks it against the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The page to open.
    pub uri: String,
    /// The code to enter there.
    pub user_code: Option<String>,
    /// When it is too late, in seconds since the Unix epoch.
    pub expires_at: u64,
}

/// An answer to a step that was not the last one.
#[derive(Clone, Default)]
pub struct Resume {
    /// What the plugin gave.
    pub state: Zeroizing<Vec<u8>>,
    /// Where the browser was sent back to.
    pub redirect_uri: Option<String>,
    /// The parameters that it came back with.
    pub parameters: Vec<(String, String)>,
}

impl std::fmt::Debug for Resume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resume").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ready(_) => "Ready(..)",
            Self::Pending { .. } => "Pending(..)",
            Self::Browser { .. } => "Browser(..)",
        })
    }
}

impl std::fmt::Debug for RawToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// Overwritten however the call ends.
struct Kept(Option<Vec<u8>>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Plugin {
    /// Asks an auth plugin for a token. `kept` is what it gave to be kept the last time.
    ///
    /// # Errors
    /// `unsupported` if it is no auth plugin; else what it or the host says.
    pub async fn acquire(
        &self,
        call: Call,
        request: &TokenRequest,
        kept: Option<&[u8]>,
        resume: Option<Resume>,
    ) -> Result<Step, Failure> {
        let credential = self.exports().credential.as_ref().ok_or_else(|| self.cannot("get tokens"))?;
        let TokenRequest { audience, scopes, tenant, claims } = request.clone();
        let request = wit::Request { audience, scopes, tenant, claims };
        let kept = Kept(kept.map(<[u8]>::to_vec));
        let resumed = resume.map(|resume| wit::Resume {
            state: resume.state.to_vec(),
            redirect_uri: resume.redirect_uri,
            parameters: resume.parameters,
        });
        let (answer, told) =
            in_sandbox!(self, call, credential.call_acquire(&request, kept.0.as_deref(), resumed.as_ref()));
        Ok(match answered(answer, told)? {
            wit::Step::Ready(token) => Step::Ready(RawToken {
                value: Zeroizing::new(token.value),
                scheme: token.scheme,
                expires_at: token.expires_at,
                refresh_at: token.refresh_at,
                keep: token.keep.map(Zeroizing::new),
                attributes: crate::convert::attributes_from_guest(token.attributes),
            }),
            wit::Step::Pending(pending) => Step::Pending {
                after: Duration::from_millis(pending.retry_after_ms.into()),
                state: Zeroizing::new(pending.state),
                prompt: pending.prompt.map(|prompt| Prompt {
                    uri: prompt.uri,
                    user_code: prompt.user_code,
                    expires_at: prompt.expires_at,
                }),
            },
            wit::Step::Browser(browser) => Step::Browser { uri: browser.uri, state: Zeroizing::new(browser.state) },
        })
    }
}
