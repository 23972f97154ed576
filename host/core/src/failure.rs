//! What can go wrong, in one closed set, and what each case means to others.
//!
//! [`Kind`] is what the host acts on; its table ([`Kind::meaning`]) is the only place that knows an
//! HTTP status, an exit code or whether a retry helps. A [`Failure`] carries the words for people.
//! It must never hold a value: its texts come from the host itself or are [`Text`].

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use crate::{Name, Text};

/// The closed set of failures. The words are those of the plugin contract, then the host's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The reference is malformed, or names something its provider cannot mean.
    InvalidReference,
    /// A config file, a lock, a manifest or a mount's config is wrong.
    InvalidConfig,
    /// No mount answers this reference.
    UnknownMount,
    /// The operator's policy or a grant says no.
    PolicyDenied,
    /// The backend says no.
    Denied,
    /// There is no valid credential.
    Unauthenticated,
    /// Auth plugins: nothing is set up here, so a chain may try its next link.
    NotConfigured,
    /// The secret, version or field is not there.
    NotFound,
    /// The expected version was not the current one, or the name is taken.
    Conflict,
    /// The provider, the platform or this build cannot do that.
    Unsupported,
    /// The backend asks for fewer requests.
    Throttled,
    /// The backend cannot be reached or is broken.
    Unavailable,
    /// Time ran out.
    Deadline,
    /// A size, count, memory or CPU limit was reached.
    LimitExceeded,
    /// The plugin trapped.
    Trapped,
    /// A plugin or a backend answered against its contract.
    Protocol,
    /// A digest, a MAC or sealed data is not what it must be.
    Integrity,
    /// A bug or a broken machine.
    Internal,
}

/// What a [`Kind`] means outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// The word used in output, logs and metrics.
    pub name: &'static str,
    /// The HTTP status a server answers with.
    pub http: u16,
    /// The exit status of the command line; `run` adds 100, because there it belongs to the child.
    pub exit: u8,
    /// Whether the same call may succeed a little later.
    pub retry: bool,
}

/// The exit status of a usage error, on every command.
pub const EXIT_USAGE: u8 = 64;

impl Kind {
    /// Every kind, in the order of the documentation's table.
    pub const ALL: [Kind; 18] = [
        Kind::InvalidReference,
        Kind::InvalidConfig,
        Kind::UnknownMount,
        Kind::PolicyDenied,
        Kind::Denied,
        Kind::Unauthenticated,
        Kind::NotConfigured,
        Kind::NotFound,
        Kind::Throttled,
        Kind::Unavailable,
        Kind::Deadline,
        Kind::LimitExceeded,
        Kind::Trapped,
        Kind::Protocol,
        Kind::Integrity,
        Kind::Internal,
        Kind::Conflict,
        Kind::Unsupported,
    ];

    /// The one table.
    pub const fn meaning(self) -> Meaning {
        const fn row(name: &'static str, http: u16, exit: u8, retry: bool) -> Meaning {
            Meaning { name, http, exit, retry }
        }
        match self {
            Kind::InvalidReference => row("invalid-reference", 400, 2, false),
            Kind::InvalidConfig => row("invalid-config", 400, 2, false),
            Kind::UnknownMount => row("unknown-mount", 404, 3, false),
            Kind::PolicyDenied => row("policy-denied", 403, 4, false),
            Kind::Denied => row("denied", 403, 4, false),
            Kind::Unauthenticated => row("unauthenticated", 401, 5, false),
            Kind::NotConfigured => row("not-configured", 401, 5, false),
            Kind::NotFound => row("not-found", 404, 6, false),
            Kind::Throttled => row("throttled", 429, 7, true),
            Kind::Unavailable => row("unavailable", 503, 8, true),
            Kind::Deadline => row("deadline", 504, 9, true),
            Kind::LimitExceeded => row("limit-exceeded", 502, 10, false),
            Kind::Trapped => row("trapped", 502, 11, false),
            Kind::Protocol => row("protocol", 502, 11, false),
            Kind::Integrity => row("integrity", 500, 12, false),
            Kind::Internal => row("internal", 500, 13, false),
            Kind::Conflict => row("conflict", 409, 14, false),
            Kind::Unsupported => row("unsupported", 501, 15, false),
        }
    }

    /// The kind's word.
    pub const fn name(self) -> &'static str {
        self.meaning().name
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where in the user's own text something is wrong.
///
/// Only the excerpt is ever shown, and it is chosen by the parser so that it holds the reference or
/// the key at fault and nothing around it: the rest of a line may be somebody's secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, or the argument: `deployment.yaml`, `-e DB`.
    pub origin: Text,
    /// 1-based line and column (in characters) in that file; `None` for an argument.
    pub position: Option<(usize, usize)>,
    /// What to show: the reference, or the key.
    pub excerpt: Text,
    /// The bytes of `excerpt` to underline.
    pub span: Range<usize>,
}

/// One failure, for the host to act on and for people to read.
///
/// Boxed inside, so that `Result<T, Failure>` stays one word.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    kind: Kind,
    code: Cow<'static, str>,
    message: Text,
    help: Vec<Text>,
    place: Option<Place>,
    mount: Option<Name>,
    plugin: Option<Text>,
    subject: Option<Text>,
    retry_after_ms: Option<u32>,
    attributes: Vec<(Text, Text)>,
}

impl Failure {
    /// A failure with a stable `code` (`reference.unterminated`) and the words for people.
    /// `message` says what failed and why, without a final full stop.
    pub fn new(kind: Kind, code: &'static str, message: impl Into<Text>) -> Self {
        Self::with_code(kind, Cow::Borrowed(code), message.into())
    }

    /// A failure as a guest told it. Its code is text for people and never a metric label.
    pub fn from_guest(kind: Kind, code: &str, message: &str) -> Self {
        let code = Text::capped(code, 80);
        Self::with_code(kind, Cow::Owned(code.as_str().to_owned()), Text::new(message))
    }

    fn with_code(kind: Kind, code: Cow<'static, str>, message: Text) -> Self {
        Self(Box::new(Inner {
            kind,
            code,
            message,
            help: Vec::new(),
            place: None,
            mount: None,
            plugin: None,
            subject: None,
            retry_after_ms: None,
            attributes: Vec::new(),
        }))
    }

    /// Adds a line that says what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<Text>) -> Self {
        self.0.help.push(help.into());
        self
    }

    /// Says where in the user's own text.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.0.place = Some(place);
        self
    }

    /// Says which mount.
    #[must_use]
    pub fn on_mount(mut self, mount: &Name) -> Self {
        self.0.mount = Some(mount.clone());
        self
    }

    /// Says which plugin: its name and the start of its digest.
    #[must_use]
    pub fn by_plugin(mut self, plugin: impl Into<Text>) -> Self {
        self.0.plugin = Some(plugin.into());
        self
    }

    /// Says what it was about, usually the reference as written.
    #[must_use]
    pub fn about(mut self, subject: impl Into<Text>) -> Self {
        self.0.subject = Some(subject.into());
        self
    }

    /// Says how long to wait before the next try, in milliseconds.
    #[must_use]
    pub fn retry_after_ms(mut self, wait: Option<u32>) -> Self {
        self.0.retry_after_ms = wait;
        self
    }

    /// Adds open data for people.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<Text>, value: impl Into<Text>) -> Self {
        self.0.attributes.push((key.into(), value.into()));
        self
    }

    /// The same without its open data, for whoever may not see them.
    #[must_use]
    pub fn without_attributes(mut self) -> Self {
        self.0.attributes.clear();
        self
    }

    /// The same in other words, for whoever knows more of what it means.
    #[must_use]
    pub fn reworded(mut self, message: impl Into<Text>) -> Self {
        self.0.message = message.into();
        self
    }

    /// What the host acts on.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// What failed and why.
    pub fn message(&self) -> &Text {
        &self.0.message
    }

    /// What to do next, a line each.
    pub fn helps(&self) -> &[Text] {
        &self.0.help
    }

    /// Where in the user's own text, if it is about a text.
    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }

    /// The mount it happened on.
    pub fn mount(&self) -> Option<&Name> {
        self.0.mount.as_ref()
    }

    /// The plugin it happened in.
    pub fn plugin(&self) -> Option<&Text> {
        self.0.plugin.as_ref()
    }

    /// What it was about.
    pub fn subject(&self) -> Option<&Text> {
        self.0.subject.as_ref()
    }

    /// How long to wait before the next try.
    pub fn retry_after(&self) -> Option<u32> {
        self.0.retry_after_ms
    }

    /// Open data for people.
    pub fn attributes(&self) -> &[(Text, Text)] {
        &self.0.attributes
    }

    /// The texts a mask may have to rewrite before they are shown: guests write some of them.
    pub fn map_texts(&mut self, rewrite: impl Fn(&Text) -> Text) {
        let inner = &mut *self.0;
        let code = rewrite(&Text::new(&inner.code));
        if code.as_str() != inner.code {
            inner.code = Cow::Owned(code.as_str().to_owned());
        }
        inner.message = rewrite(&inner.message);
        for text in &mut inner.help {
            *text = rewrite(text);
        }
        for (key, value) in &mut inner.attributes {
            *key = rewrite(key);
            *value = rewrite(value);
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.message)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failure({}, {}: {})", self.0.kind, self.0.code, self.0.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_stands_once_in_the_list_and_names_are_distinct() {
        let mut names: Vec<_> = Kind::ALL.iter().map(|k| k.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kind::ALL.len());
    }

    #[test]
    fn only_kinds_that_pass_by_themselves_are_retried() {
        let retried: Vec<_> = Kind::ALL.iter().filter(|k| k.meaning().retry).map(|k| k.name()).collect();
        assert_eq!(retried, ["throttled", "unavailable", "deadline"]);
    }

    #[test]
    fn a_guest_cannot_write_control_characters_into_a_failure() {
        let failure = Failure::from_guest(Kind::Denied, "A\u{1b}[31m", "no\r\nnever");
        assert!(!format!("{failure}{failure:?}{}", failure.code()).chars().any(char::is_control));
    }
}
