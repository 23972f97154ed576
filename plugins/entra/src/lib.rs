//! What the auth plugins for Microsoft Entra ID share: its answers, its refusals, its words.
//!
//! A plugin says what it asks for ([`Asked`]) and sends a form to a [`Service`]; [`answer::read`]
//! tells what came back. Everything here works on texts and can be tried without a network; only
//! [`Entra`] sends.
//!
//! Nothing of this crate may put a secret, a token, a code or an assertion in a [`Failure`]: what
//! Entra says is shown through [`shown::shown`] alone.
//!
//! [`Failure`]: strongroom_plugin::Failure

#![forbid(unsafe_code)]

pub mod answer;
pub mod audience;
pub mod authority;
pub mod claims;
pub mod inputs;
pub mod jwt;
pub mod number;
pub mod refusal;
mod service;
pub mod shown;
pub mod time;
pub mod user;

pub use answer::{Granted, read};
pub use refusal::Refused;
pub use service::{Entra, Page, Service, script};

/// What a token is asked for, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The application's id.
    pub client_id: String,
    /// The tenant, or `organizations` and the like.
    pub tenant: String,
    /// The scopes, as they are sent.
    pub scope: String,
}
