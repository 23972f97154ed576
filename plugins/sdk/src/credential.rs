//! What an auth plugin is: [`Credential`], and its words.
//!
//! An auth plugin turns a credential's config into an access token. It never sees a reference or a
//! value, and mostly not its own client secret, which an egress rule injects.

use std::fmt;

use crate::{Attributes, Context, Failure};

/// Gets tokens. A state machine that the host resumes: the host waits, the instance does not, so a
/// sign-in by a person fits short deadlines.
pub trait Credential {
    /// A token for `request`, or what has to happen first.
    ///
    /// `kept` is what the last token of this credential gave as [`Token::keep`]; `resumed` is there
    /// when an earlier [`Step::Pending`] or [`Step::Browser`] goes on.
    ///
    /// # Errors
    /// Kind not-configured only if nothing is set up here at all, so that a chain may try its next
    /// link; a source that is set up and fails is another kind. Kind unauthenticated with the
    /// attribute `kept` = `refused`: `kept` is dead for good, and the host forgets it.
    fn acquire(
        context: &Context,
        request: &Request,
        kept: Option<&[u8]>,
        resumed: Option<&Resume>,
    ) -> Result<Step, Failure>;
}

/// What a token is wanted for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// The resource, without `/.default`.
    pub audience: String,
    /// The scopes, where the rule names some.
    pub scopes: Vec<String>,
    /// The tenant, where it is not the credential's own.
    pub tenant: Option<String>,
    /// A claims challenge to answer, as JSON, if a backend sent one.
    pub claims: Option<String>,
}

/// An access token. Its `Debug` shows neither the token nor what is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The token.
    pub value: String,
    /// `Bearer` in nearly every case.
    pub scheme: String,
    /// When it ends, in seconds since the Unix epoch; `None`: it does not, or nobody knows.
    pub expires_at: Option<u64>,
    /// When to get a new one, in seconds since the Unix epoch.
    pub refresh_at: Option<u64>,
    /// Sealed by the host and handed back next time, for example a refresh token.
    pub keep: Option<Vec<u8>>,
    /// For `whoami`: tenant, identity. Never the token.
    pub attributes: Attributes,
}

impl Token {
    /// A bearer token.
    pub fn bearer(value: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            scheme: "Bearer".into(),
            expires_at: None,
            refresh_at: None,
            keep: None,
            attributes: Vec::new(),
        }
    }

    /// The same of another scheme.
    #[must_use]
    pub fn scheme(mut self, scheme: impl Into<String>) -> Self {
        self.scheme = scheme.into();
        self
    }

    /// The same, ending at `seconds` since the Unix epoch.
    #[must_use]
    pub fn expires_at(mut self, seconds: u64) -> Self {
        self.expires_at = Some(seconds);
        self
    }

    /// The same, to be renewed at `seconds` since the Unix epoch.
    #[must_use]
    pub fn refresh_at(mut self, seconds: u64) -> Self {
        self.refresh_at = Some(seconds);
        self
    }

    /// The same, with bytes that come back next time as `kept`.
    #[must_use]
    pub fn keep(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.keep = Some(bytes.into());
        self
    }

    /// The same with one more attribute.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("scheme", &self.scheme)
            .field("expires_at", &self.expires_at)
            .field("refresh_at", &self.refresh_at)
            .field("attributes", &self.attributes)
            .finish_non_exhaustive()
    }
}

/// What [`Credential::acquire`] comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Here is the token.
    Ready(Token),
    /// Come back later.
    Pending(Pending),
    /// A person has to sign in with a browser.
    Browser(Browser),
}

impl From<Token> for Step {
    fn from(token: Token) -> Self {
        Self::Ready(token)
    }
}

/// Come back after a while with `state`. Its `Debug` does not show the state.
#[derive(Clone, PartialEq, Eq)]
pub struct Pending {
    /// How long to wait, in milliseconds.
    pub retry_after_ms: u32,
    /// Handed back as [`Resume::state`].
    pub state: Vec<u8>,
    /// What a person is asked to do meanwhile.
    pub prompt: Option<Prompt>,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("retry_after_ms", &self.retry_after_ms)
            .field("prompt", &self.prompt)
            .finish_non_exhaustive()
    }
}

/// What a person is asked to do. The host writes the words around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The page to open; one of the manifest's.
    pub uri: String,
    /// What to enter there: `[A-Z0-9-]{4,16}`.
    pub user_code: Option<String>,
    /// When it ends, in seconds since the Unix epoch.
    pub expires_at: u64,
}

/// Open a browser at `uri`. Its `Debug` does not show the state.
#[derive(Clone, PartialEq, Eq)]
pub struct Browser {
    /// An address that fits a `[[browser]]` rule. The host replaces `{redirect-uri}` and `{state}` in
    /// it, and checks the state itself.
    pub uri: String,
    /// Handed back as [`Resume::state`].
    pub state: Vec<u8>,
}

impl fmt::Debug for Browser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Browser").field("uri", &self.uri).finish_non_exhaustive()
    }
}

/// How an earlier step goes on. Its `Debug` shows neither the state nor the parameters.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Resume {
    /// The bytes of the step before.
    pub state: Vec<u8>,
    /// Where the browser came back to.
    pub redirect_uri: Option<String>,
    /// The parameters it came back with.
    pub parameters: Attributes,
}

impl Resume {
    /// The parameter `name` of the redirect.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resume").field("redirect_uri", &self.redirect_uri).finish_non_exhaustive()
    }
}
