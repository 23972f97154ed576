//! Why an exchange failed, in words that hold nothing of the request or the answer.

use std::io;

use strongroom_core::Text;
use strongroom_core::network::Outside;

/// How far an exchange had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Asking for the name's addresses.
    Dns,
    /// Connecting, to any of them.
    Connect,
    /// Agreeing on keys.
    Tls,
    /// Sending the request and waiting for the answer's head.
    Answer,
    /// Reading the answer's body.
    Body,
}

/// Why there is no answer. No variant shows a path, a header's value or a body.
///
/// `PartialEq` is for tests; match on the variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The request is none that is ever sent: the caller's mistake.
    #[error("the request cannot be sent: {0}")]
    Request(&'static str),
    /// The name has no address, or nobody could be asked for it.
    #[error("{host} could not be resolved ({kind})")]
    Dns {
        /// The name.
        host: Text,
        /// The operating system's word for it.
        kind: io::ErrorKind,
    },
    /// The name, or the literal address, is not in the rule's network. One of several addresses is enough.
    #[error("{host} is not where the rule may connect: {outside}")]
    Outside {
        /// The name.
        host: Text,
        /// The address and its class.
        outside: Outside,
    },
    /// No address could be connected to.
    #[error("{host} port {port} could not be connected to ({kind})")]
    Connect {
        /// The name.
        host: Text,
        /// The port.
        port: u16,
        /// The operating system's word for the last address that was tried.
        kind: io::ErrorKind,
    },
    /// There is nobody whose certificates could be trusted.
    #[error("no trusted roots: none of the operating system's certificate bundles could be read")]
    NoRoots,
    /// The server's certificate, or the way it speaks TLS, was not accepted.
    #[error("{host} failed TLS: {reason}")]
    Tls {
        /// The name.
        host: Text,
        /// The TLS library's words.
        reason: Text,
    },
    /// The connection ended before the answer did.
    #[error("the connection was closed before the answer was complete")]
    Closed,
    /// What was answered is not HTTP, or of a kind that is never accepted.
    #[error("the answer is not acceptable HTTP: {0}")]
    Protocol(&'static str),
    /// The answer's head is larger than allowed, or has more than 100 fields.
    #[error("the answer's head has more bytes or fields than allowed")]
    HeadTooLarge,
    /// The answer's body is larger than allowed.
    #[error("the answer's body is larger than {0} bytes")]
    BodyTooLarge(usize),
    /// Time ran out.
    #[error("time ran out {}", .0.in_words())]
    Timeout(Stage),
}

impl Stage {
    fn in_words(self) -> &'static str {
        match self {
            Self::Dns => "while the host's name was resolved",
            Self::Connect => "while connecting",
            Self::Tls => "in the TLS handshake",
            Self::Answer => "while waiting for the answer",
            Self::Body => "while reading the answer's body",
        }
    }
}
