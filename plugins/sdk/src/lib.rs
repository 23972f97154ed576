//! What the author of a Strongroom plugin writes against.
//!
//! A plugin is a WebAssembly component that exports what it can do and imports what it was granted.
//! This crate is the Rust form of the contract (`wit/strongroom-plugin.wit`):
//!
//! - [`Provider`] answers references; [`Catalog`], [`Writer`], [`Annotator`] and [`Lifecycle`] are
//!   what a provider can do besides. [`provider!`] exports them.
//! - [`credential::Credential`] makes tokens. [`credential!`] exports it.
//! - What the host lends, each a grant of its own: [`http`], [`log`], [`env`](mod@env), [`store`],
//!   [`clock`], [`random`], [`token`], and for auth plugins [`sealed`], [`signer`] and [`tool`].
//!
//! ```
//! use strongroom_plugin::{Context, Failure, Provider, Reference, Secret, env};
//!
//! struct Acme;
//!
//! impl Provider for Acme {
//!     fn resolve(_: &Context, reference: &Reference) -> Result<Secret, Failure> {
//!         let name = format!("ACME_{}", reference.path.concat());
//!         let value = env::get(&name);
//!         value.map(Secret::text).ok_or_else(|| Failure::not_found("acme.not-set", format!("{name} is not set")))
//!     }
//! }
//!
//! strongroom_plugin::provider!(Acme);
//! ```
//!
//! **A component imports only what its plugin uses.** The functions of a module are its imports, so a
//! plugin that calls `env` alone imports `env` alone, and needs that grant alone. Built for
//! `wasm32-unknown-unknown`, the standard library adds nothing: there, `std::env`, `std::time`,
//! `std::fs` and `println!` reach nothing.
//!
//! With the feature `heap`, which is on unless it is left out, the crate brings the allocator: one that asks for no more memory in a
//! call that needs little. A plugin with a `#[global_allocator]` of its own leaves it out (`default-features = false`).
//!
//! A plugin that panics traps: its call ends as `trapped`, and the next call is a new instance.
//! Outside WebAssembly, as in `cargo test`, the host's functions are not there and panic; keep what
//! is worth testing in functions that do not call them ([`http::Response::new`] makes answers), or
//! put a [`testing::Host`] in the host's place.

pub mod clock;
pub mod credential;
pub mod env;
mod export;
mod failure;
pub mod http;
pub mod log;
pub mod provider;
pub mod random;
pub mod sealed;
pub mod signer;
pub mod store;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod token;
pub mod tool;
mod types;

#[doc(hidden)]
pub mod bindings;

pub use credential::Credential;
pub use failure::{Failure, Kind};
pub use provider::{Annotator, Catalog, Lifecycle, Provider, Writer};
pub use types::{Attributes, Context, Entry, Page, Receipt, Reference, Secret, Value};

/// The standard library's own allocator, in a patch that begins with the room that the builder leaves: a call that needs no
/// more has a memory that does not grow.
#[cfg(all(feature = "heap", target_arch = "wasm32"))]
#[global_allocator]
static HEAP: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;
