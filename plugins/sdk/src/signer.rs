//! Auth plugins only: signatures with a sealed key, which no plugin ever sees; the grant `signer`.

use crate::Failure;
use crate::bindings::strongroom::plugin::signer;

/// A signed JWT. The host sets `iat`, `nbf`, `jti` and `exp` itself, and fills `x5t`, `x5t#S256` and
/// `x5c` where `header` names them with an empty value.
///
/// # Errors
/// What the host says: no such key, an algorithm that does not fit it, an `aud` that no rule allows.
pub fn assertion(
    key: &str,
    algorithm: &str,
    header: &[(String, String)],
    claims: &[(String, String)],
) -> Result<String, Failure> {
    signer::assertion(key, algorithm, header, claims).map_err(Into::into)
}

/// The public certificates of `key`, in DER, leaf first.
///
/// # Errors
/// What the host says.
pub fn certificates(key: &str) -> Result<Vec<Vec<u8>>, Failure> {
    signer::certificates(key).map_err(Into::into)
}
