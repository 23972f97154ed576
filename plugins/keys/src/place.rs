//! What a reference means here.
//!
//! The host has parsed it; this says which of the five things of a group it names. Names are
//! compared as they are: a mount's `allow` patterns see the same letters that are looked up.

use crate::{Failure, Kind, Reference, failure};

/// The longest name of a group, a key or a metadata field, in bytes.
pub const MAX_NAME: usize = 127;

/// Names that no key may have, because references use the word for something else.
pub const RESERVED: [&str; 3] = ["credentials", "metadata", "target"];

/// The version that is still to come: what its tags will be can be said before.
pub const NEXT: &str = "next";

/// One place in one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The group's name.
    pub group: String,
    /// What of it.
    pub part: Part,
    /// The version that was asked for.
    pub version: Option<String>,
}

/// What of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// All of it: `keys://{group}`.
    Group,
    /// One key: `keys://{group}/{name}`.
    Key(String),
    /// One metadata field: `keys://{group}/metadata/{name}`.
    Metadata(String),
    /// The target: `keys://{group}/target`.
    Target,
}

impl Place {
    /// Reads a reference.
    ///
    /// # Errors
    /// `invalid-reference` if it names nothing that a group can have.
    pub fn of(reference: &Reference) -> Result<Self, Failure> {
        let path: Vec<&str> = reference.path.iter().map(String::as_str).collect();
        let (group, part) = match *path.as_slice() {
            [group] => (group, Part::Group),
            [group, "target"] => (group, Part::Target),
            [group, "metadata", name] => {
                check_name("metadata field", name)?;
                (group, Part::Metadata(name.into()))
            }
            [group, name] => {
                check_key(name)?;
                (group, Part::Key(name.into()))
            }
            _ => return Err(invalid("keys.form", FORMS)),
        };
        check_name("group", group)?;
        let mut version = None;
        for (selector, value) in &reference.selectors {
            if selector != "version" {
                return Err(invalid("keys.selector", format!("a keys reference has no `{selector}`, only `version`")));
            }
            version = Some(value.clone());
        }
        Ok(Self { group: group.into(), part, version })
    }
}

const FORMS: &str = "a keys reference is keys://{group}, keys://{group}/{name}, keys://{group}/metadata/{name} \
                     or keys://{group}/target";

/// Checks the name of a key.
///
/// # Errors
/// `invalid-reference` if it is reserved, or no name.
pub fn check_key(name: &str) -> Result<(), Failure> {
    if RESERVED.contains(&name) {
        let message =
            format!("`{name}` is not the name of a key: in references the word means something else; {FORMS}");
        return Err(invalid("keys.reserved", message));
    }
    check_name("key", name)
}

/// Checks any name. `what` says whose, for the message.
///
/// # Errors
/// `invalid-reference` if it is empty, too long, or holds a slash or a control character.
pub fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    if name.is_empty() || name.len() > MAX_NAME {
        let message = format!("the name of a {what} is 1 to {MAX_NAME} bytes long, and this one is {}", name.len());
        return Err(invalid("keys.name", message));
    }
    // A slash would let one name reach into another's records.
    if name.chars().any(|c| c == '/' || c.is_control()) {
        return Err(invalid("keys.name", format!("the name of a {what} has no slash and no control characters")));
    }
    Ok(())
}

fn invalid(code: &str, message: impl Into<String>) -> Failure {
    failure(Kind::InvalidReference, code, message)
}
