//! How a plugin says that something failed.

use std::fmt;

use crate::Attributes;

/// What the host acts on: whether a retry helps, which exit status and HTTP status a user sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The reference names something that this provider cannot mean.
    InvalidReference,
    /// The mount's config is wrong.
    InvalidConfig,
    /// Auth plugins: nothing is set up here, so a chain may try its next link. A source that is set
    /// up and fails is never this.
    NotConfigured,
    /// The secret, or that version of it, is not there.
    NotFound,
    /// The expected version was not the current one, or the name is taken.
    Conflict,
    /// The backend or this plugin cannot do that.
    Unsupported,
    /// The backend says no.
    Denied,
    /// There is no valid credential.
    Unauthenticated,
    /// The backend asks for fewer requests.
    Throttled,
    /// The backend cannot be reached, or is broken.
    Unavailable,
    /// The backend answered against its own protocol.
    Protocol,
    /// A bug of the plugin.
    Internal,
}

/// Why there is no answer.
///
/// `code` is stable and for programs: the backend's own word where it has one (`SecretDisabled`),
/// else dotted (`acme.no-such-vault`). `message` is for people: what and why, without a final full
/// stop. **Neither ever holds a secret or a piece of one**, nor the backend's words that may.
///
/// ```
/// use strongroom_plugin::Failure;
///
/// let failure = Failure::not_found("acme.gone", "`db` was deleted").attribute("deleted", "2026-01-31");
/// assert_eq!(failure.to_string(), "`db` was deleted (acme.gone)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What the host acts on.
    pub kind: Kind,
    /// For programs; stable.
    pub code: String,
    /// For people.
    pub message: String,
    /// When it may be tried again, in milliseconds from now, if the backend said so.
    pub retry_after_ms: Option<u32>,
    /// Open data about the failure. Never a value.
    pub attributes: Attributes,
}

/// One constructor a kind.
macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident = $kind:ident;)+) => {
        impl Failure {
            $(
                $(#[$doc])*
                pub fn $name(code: impl Into<String>, message: impl Into<String>) -> Self {
                    Self::new(Kind::$kind, code, message)
                }
            )+
        }
    };
}

constructors! {
    /// See [`Kind::InvalidReference`].
    invalid_reference = InvalidReference;
    /// See [`Kind::InvalidConfig`].
    invalid_config = InvalidConfig;
    /// See [`Kind::NotConfigured`].
    not_configured = NotConfigured;
    /// See [`Kind::NotFound`].
    not_found = NotFound;
    /// See [`Kind::Conflict`].
    conflict = Conflict;
    /// See [`Kind::Unsupported`].
    unsupported = Unsupported;
    /// See [`Kind::Denied`].
    denied = Denied;
    /// See [`Kind::Unauthenticated`].
    unauthenticated = Unauthenticated;
    /// See [`Kind::Throttled`].
    throttled = Throttled;
    /// See [`Kind::Unavailable`].
    unavailable = Unavailable;
    /// See [`Kind::Protocol`].
    protocol = Protocol;
    /// See [`Kind::Internal`].
    internal = Internal;
}

impl Failure {
    /// A failure of `kind`; each kind has a constructor of its name too.
    pub fn new(kind: Kind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, code: code.into(), message: message.into(), retry_after_ms: None, attributes: Vec::new() }
    }

    /// The same, to be tried again in `milliseconds`.
    #[must_use]
    pub fn retry_after_ms(mut self, milliseconds: u32) -> Self {
        self.retry_after_ms = Some(milliseconds);
        self
    }

    /// The same with one more attribute.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }
}

/// The message, and the code in brackets.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Failure {}
