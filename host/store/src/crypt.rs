//! The few cryptographic words of the store: random bytes, sealing, binding, key derivation.
//!
//! Nothing here knows of files or rows. A nonce is 192 random bits, so that any number of
//! processes may seal under one key without agreeing on anything. It must never return a
//! plaintext whose tag was not right.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use strongroom_core::{Failure, Kind};
use zeroize::Zeroizing;

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 32;
/// Bytes of an XChaCha20 nonce.
pub(crate) const NONCE_BYTES: usize = 24;
/// Bytes of a Poly1305 tag.
pub(crate) const TAG_BYTES: usize = 16;
/// Bytes of the random names of stores and keys.
pub(crate) const ID_BYTES: usize = 16;

/// A key, overwritten when it is dropped.
pub(crate) type Key = Zeroizing<[u8; KEY_BYTES]>;
/// The random name of a store or a key. Not secret.
pub(crate) type Id = [u8; ID_BYTES];

fn no_random(error: getrandom::Error) -> Failure {
    Failure::new(Kind::Internal, "store.random", format!("the system gave no random bytes: {error}"))
}

/// A random key.
pub(crate) fn random_key() -> Result<Key, Failure> {
    let mut key = Key::default();
    getrandom::fill(key.as_mut_slice()).map_err(no_random)?;
    Ok(key)
}

/// Random bytes that are not secret.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(no_random)?;
    Ok(bytes)
}

/// One unambiguous byte string of several: each with its length in front (u64, little endian).
pub(crate) fn bind(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        out.extend_from_slice(&(part.len() as u64).to_le_bytes());
        out.extend_from_slice(part);
    }
    out
}

/// What sealing gives: all three are needed to open it again.
pub(crate) struct Sealed {
    pub nonce: [u8; NONCE_BYTES],
    pub tag: [u8; TAG_BYTES],
    pub body: Vec<u8>,
}

/// Seals `plain`, bound to `associated`.
pub(crate) fn seal(key: &Key, associated: &[u8], plain: &[u8]) -> Result<Sealed, Failure> {
    let nonce = random::<NONCE_BYTES>()?;
    // Zeroizing until it is ciphertext: an error or a panic in between must not leave a copy.
    let mut body = Zeroizing::new(plain.to_vec());
    let tag = XChaCha20Poly1305::new((&**key).into())
        .encrypt_inout_detached((&nonce).into(), associated, body.as_mut_slice().into())
        .map_err(|_| Failure::new(Kind::Internal, "store.seal", "the value cannot be sealed"))?;
    Ok(Sealed { nonce, tag: tag.into(), body: std::mem::take(&mut *body) })
}

/// Opens `body` in place, or gives nothing if it is not what was sealed with this key and binding.
pub(crate) fn open(
    key: &Key,
    associated: &[u8],
    nonce: &[u8; NONCE_BYTES],
    tag: &[u8; TAG_BYTES],
    body: Vec<u8>,
) -> Option<Zeroizing<Vec<u8>>> {
    let mut body = Zeroizing::new(body);
    XChaCha20Poly1305::new((&**key).into())
        .decrypt_inout_detached(nonce.into(), associated, body.as_mut_slice().into(), tag.into())
        .ok()?;
    Some(body)
}

/// The data key as it lies in the file: nonce, sealed key, tag.
pub(crate) fn wrap(master: &Key, associated: &[u8], data: &Key) -> Result<Vec<u8>, Failure> {
    let sealed = seal(master, associated, data.as_slice())?;
    Ok([sealed.nonce.as_slice(), &sealed.body, &sealed.tag].concat())
}

/// The data key again, or nothing if `master` is not the one that wrapped it or the record was changed.
pub(crate) fn unwrap(master: &Key, associated: &[u8], wrapped: &[u8]) -> Option<Key> {
    let (nonce, rest) = wrapped.split_first_chunk::<NONCE_BYTES>()?;
    let (body, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
    let plain = open(master, associated, nonce, tag, body.to_vec())?;
    let mut key = Key::default();
    if plain.len() != KEY_BYTES {
        return None;
    }
    key.copy_from_slice(&plain);
    Some(key)
}

/// What is derived from one data key. Dropping it overwrites it.
#[derive(Clone)]
pub(crate) struct DataKeys {
    /// The random name of the data key these come from.
    pub id: Id,
    /// Seals values.
    pub values: Key,
    /// Keys the digests and MACs of rows, spaces and the head.
    pub roots: Key,
}

impl DataKeys {
    /// Derives both; each has its own context, so that neither stands in for the other.
    pub(crate) fn derive(id: Id, data: &Key) -> Self {
        let derive = |context| Key::new(blake3::derive_key(context, data.as_slice()));
        Self {
            id,
            values: derive("strongroom 2026 store v1 seals values"),
            roots: derive("strongroom 2026 store v1 digests of rows and spaces"),
        }
    }
}

/// Bytes as lower-case hex. In one allocation: growing would leave copies, and some of it is keys.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    text.extend(bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|n| char::from_digit(n.into(), 16)));
    text
}

/// Reads lower- or upper-case hex of exactly `N` bytes.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<Zeroizing<[u8; N]>> {
    let mut out = Zeroizing::new([0; N]);
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    for (slot, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|n| u8::try_from(n).ok());
        *slot = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_with_its_key_and_binding() {
        let key = random_key().unwrap();
        let sealed = seal(&key, b"here", b"canary").unwrap();
        assert_ne!(sealed.body, b"canary");
        let again = |key: &Key, bound: &[u8]| open(key, bound, &sealed.nonce, &sealed.tag, sealed.body.clone());
        assert_eq!(again(&key, b"here").unwrap().as_slice(), b"canary");
        assert!(again(&key, b"there").is_none());
        assert!(again(&random_key().unwrap(), b"here").is_none());
    }

    #[test]
    fn binding_tells_apart_where_one_part_ends() {
        assert_ne!(bind(&[b"ab", b"c"]), bind(&[b"a", b"bc"]));
        assert_ne!(bind(&[b"", b"a"]), bind(&[b"a", b""]));
    }

    #[test]
    fn a_cut_wrap_is_refused_without_a_panic() {
        let (master, data) = (random_key().unwrap(), random_key().unwrap());
        let wrapped = wrap(&master, b"x", &data).unwrap();
        assert_eq!(unwrap(&master, b"x", &wrapped).unwrap(), data);
        for length in 0..wrapped.len() {
            assert!(unwrap(&master, b"x", &wrapped[..length]).is_none());
        }
    }

    #[test]
    fn hex_is_read_back_and_nothing_else_is() {
        assert_eq!(*unhex::<3>(&hex(&[0, 0x7f, 0xff])).unwrap(), [0, 0x7f, 0xff]);
        for bad in ["", "00", "0000000", "00000g", "+0+0+0", "äöü"] {
            assert!(unhex::<3>(bad).is_none(), "{bad:?}");
        }
    }
}
