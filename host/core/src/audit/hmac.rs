//! HMAC-SHA256 (RFC 2104, FIPS 198-1), on the `sha2` that the tree has already.
//!
//! The two padded key blocks are hashed once for a key, which is half of the work for a short text. The tree's own
//! `hmac` crate belongs to another generation of `sha2` (decision 0021).

use std::fmt;

use sha2::{Digest as _, Sha256};

/// What one block of SHA-256 takes, in bytes.
const BLOCK: usize = 64;

/// A key, ready for use.
#[derive(Clone)]
pub(super) struct Hmac {
    inner: Sha256,
    outer: Sha256,
}

impl Hmac {
    /// `key` has at most a block; all of ours have 32 bytes.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let padded = |pad: u8| {
            let mut block = zeroize::Zeroizing::new([pad; BLOCK]);
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            Sha256::new_with_prefix(block.as_slice())
        };
        Self { inner: padded(0x36), outer: padded(0x5c) }
    }

    pub(super) fn of(&self, text: &[u8]) -> [u8; 32] {
        let inner = self.inner.clone().chain_update(text).finalize();
        self.outer.clone().chain_update(inner).finalize().into()
    }
}

impl fmt::Debug for Hmac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hmac(..)")
    }
}

/// Whether two MACs are the same, in a time that does not tell where they differ.
pub(super) fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    std::hint::black_box(one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// RFC 4231, cases 1, 2 and 3: a key that is shorter than ours ends in zeros, which HMAC adds anyway.
    #[test]
    fn the_vectors_of_rfc_4231() {
        let key = |bytes: &[u8]| {
            let mut key = [0; 32];
            key[..bytes.len()].copy_from_slice(bytes);
            key
        };
        for (key, text, mac) in [
            (
                key(&[0x0b; 20]),
                b"Hi There".to_vec(),
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                key(b"Jefe"),
                b"what do ya want for nothing?".to_vec(),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (key(&[0xaa; 20]), vec![0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        ] {
            assert_eq!(hex(&Hmac::new(&key).of(&text)), mac);
        }
    }

    #[test]
    fn one_bit_makes_another() {
        let one = [7; 32];
        assert!(same(&one, &[7; 32]));
        for at in 0..32 {
            let mut other = one;
            other[at] ^= 0x80;
            assert!(!same(&one, &other), "{at}");
        }
    }
}
