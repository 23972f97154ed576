//! The host's encrypted, crash-safe store.
//!
//! One SQLite file in WAL mode, opened by any number of processes at once; every value in it is
//! sealed with XChaCha20-Poly1305 under a data key, which is wrapped by a master key that lies in
//! the operating system's keyring, comes from a passphrase, or lies in a key file. A [`Store`] is
//! opened, a [`Space`] of it belongs to one mount and one plugin lineage together.
//!
//! This crate must never read an environment variable, ask a person by itself, or fall back from
//! the way the store says its key is held to another. It is the only one that opens the store's
//! file and its key. All calls block: for the length of a disk sync, or up to
//! [`Options::patience`] where other processes write.
//!
//! # What "acknowledged" means
//!
//! A write returns after `COMMIT` with `synchronous = FULL`: the log frames are on the disk as far
//! as the system can say (`F_FULLFSYNC` on macOS). Killing the process or the machine at any
//! moment afterwards loses nothing; killing it before leaves the earlier state, whole.
//!
//! # What is noticed, and what is not
//!
//! Names of mounts, lineages and keys, sizes and counts are readable in the file; values are not.
//! Whoever can write the file, but has no key, is noticed (`integrity`, `store.corrupt`) when they
//!
//! - edit a value, its nonce, its tag, its counter or its name;
//! - move, copy or exchange rows between keys, mounts, lineages or stores;
//! - put back an older copy of a row, also with its old counter, add a row, or take one away: each
//!   space keeps digests of all its rows, and the head of the file a MAC over all spaces;
//! - put back an older copy of a whole space, or remove one;
//! - change how the key is held, or its costs: the wrapped data key is bound to that record.
//!
//! Not noticed: an older copy of the **whole** store (all files of it together); and, in a listing
//! of more than one page, a name hidden or added between two pages (reading that name is still
//! refused). The check is made for the rows a call touches, not for the whole file: [`Store::verify`]
//! does that. Start reading at `database` (the file), then `roots` (the digests), then `space`.

#![forbid(unsafe_code)]

mod crypt;
mod database;
mod failures;
mod folder;
mod holder;
mod key_file;
mod keyring;
mod roots;
mod rotate;
mod space;
mod status;
mod store;

pub use holder::{Ask, Cost, How, Prompt, Unlock};
pub use keyring::{Keyring, KeyringError, OsKeyring};
pub use space::{MAX_KEY_BYTES, MAX_LINEAGE_BYTES, MAX_VALUE_BYTES, PAGE_KEYS, Page, ROW_OVERHEAD_BYTES, Space};
pub use status::{Report, SpaceStatus, Status};
pub use store::{DEFAULT_LIMIT_BYTES, Options, Store};
