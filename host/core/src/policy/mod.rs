//! Who may do what: the words of callers and rules.
//!
//! Pure, like all of this crate. It must never know of a connection or of a value.

mod operation;

pub use self::operation::Operation;
