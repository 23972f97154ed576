//! What the providers for Azure share. A library, not a plugin: it asks for nothing by itself.
//!
//! It knows the clouds' names, reads what Azure's services say of a failure, and checks the links of
//! their pages. It must never put a backend's words in a failure: they hold identities, and may hold
//! more.

#![forbid(unsafe_code)]

mod cloud;
mod fault;
mod page;
mod time;

pub use cloud::{CLOUDS, Cloud};
pub use fault::{Fault, retold};
pub use page::{next, turned};
pub use time::iso;

use strongroom_plugin::Failure;

/// The largest value of a vault's secret, in bytes; the services say "characters".
pub const MAX_VALUE: usize = 25_600;

/// Checks the name of a vault's secret: 1 to 127 of `0-9`, `a-z`, `A-Z` and `-`.
///
/// # Errors
/// `keyvault.name`, kind invalid-reference.
pub fn check_secret_name(name: &str) -> Result<(), Failure> {
    if (1..=127).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Ok(());
    }
    let message = format!("`{name}` is not the name of a secret: it is 1 to 127 of a-z, A-Z, 0-9 and -");
    Err(Failure::invalid_reference("keyvault.name", message))
}

/// Checks that a value fits into a vault.
///
/// # Errors
/// `keyvault.too-large`, kind unsupported.
pub fn check_value(value: &str) -> Result<(), Failure> {
    if value.len() <= MAX_VALUE {
        return Ok(());
    }
    let message = format!("a vault's secret holds at most {MAX_VALUE} bytes, and this value has {}", value.len());
    Err(Failure::unsupported("keyvault.too-large", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_checked_before_anything_is_asked() {
        for name in ["a", "Db-Password-2", &"x".repeat(127)] {
            check_secret_name(name).unwrap();
        }
        for name in ["", "a_b", "a.b", "a/b", "a b", "ä", "..", "%2e", &"x".repeat(128)] {
            assert_eq!(check_secret_name(name).unwrap_err().code, "keyvault.name", "{name:?}");
        }
        check_value(&"x".repeat(25_600)).unwrap();
        assert_eq!(check_value(&"x".repeat(25_601)).unwrap_err().code, "keyvault.too-large");
        // Bytes, not characters.
        check_value(&"ä".repeat(12_801)).unwrap_err();
    }
}
