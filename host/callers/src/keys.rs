//! The keys of an issuer: JSON Web Key Sets (RFC 7517), and the signatures under them (RFC 7518, RFC 8037).
//!
//! A key verifies what its own type, curve and size fit, and what its `alg`, `use` and `key_ops` say where
//! they are there. Keys of a set that are of no use here (for encryption, of unknown kinds, too small) are known
//! by their ids and verify nothing: others have them in the same set.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::{Map, Value};
use strongroom_core::config::callers::Algorithm;
use strongroom_core::{Failure, Kind};

use crate::{form, refused};

/// The largest key set, in bytes. Entra's has 20 KiB.
pub const MAX_SET_BYTES: usize = 256 * 1024;

/// The most keys of a set.
pub const MAX_KEYS: usize = 128;

/// The smallest and largest RSA modulus, in bits (RFC 7518, 3.3; what ring verifies with).
const RSA_BITS: [usize; 2] = [2048, 8192];

/// All keys of an issuer.
#[derive(Debug)]
pub(crate) struct KeySet(Vec<Key>);

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    id: Option<String>,
    /// The only algorithm that it is for, as it says itself.
    algorithm: Option<String>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// Uncompressed, as ring reads it.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
    /// Of no use here.
    None,
}

/// Which key of a set a token is signed with.
pub(crate) enum Choice {
    Key(Key),
    /// There is none of that name; a newer set may have it.
    Unknown,
    /// There is, and it cannot have made such a signature; or nothing says which one it is.
    Misfit,
}

impl KeySet {
    /// Reads a set.
    ///
    /// # Errors
    /// `protocol` with the code `token.keys` for what is none.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        let wrong = |why| Failure::new(Kind::Protocol, "token.keys", why);
        if bytes.len() > MAX_SET_BYTES {
            return Err(wrong("the issuer's key set has more than 256 KiB"));
        }
        let set = form::object(bytes).ok_or_else(|| wrong("the issuer's key set is not a JSON object"))?;
        let Some(Value::Array(keys)) = set.get("keys") else {
            return Err(wrong("the issuer's key set has no list `keys`"));
        };
        if keys.is_empty() || keys.len() > MAX_KEYS {
            return Err(wrong("the issuer's key set has no key, or more than 128"));
        }
        let keys = keys.iter().map(|key| key.as_object().map(Key::read)).collect::<Option<_>>();
        keys.map(Self).ok_or_else(|| wrong("a key of the issuer's key set is not a JSON object"))
    }

    /// The key for a token with this `kid`; without one, the only key that fits.
    pub(crate) fn choose(&self, id: Option<&str>, algorithm: Algorithm) -> Choice {
        let named = self.0.iter().filter(|key| id.is_none() || key.id.as_deref() == id);
        let fitting: Vec<&Key> = named.clone().filter(|key| key.fits(algorithm)).collect();
        match (fitting.as_slice(), id.is_some() && named.count() > 0) {
            ([key], _) => Choice::Key((*key).clone()),
            ([], false) => Choice::Unknown,
            _ => Choice::Misfit,
        }
    }
}

impl Key {
    fn read(key: &Map<String, Value>) -> Self {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let signs = key.get("use").is_none_or(|usage| usage == "sig");
        let verifies =
            key.get("key_ops").is_none_or(|ops| ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify")));
        let stated = key.get("alg").is_none_or(Value::is_string);
        let material = match signs && verifies && stated && !key.contains_key("d") {
            true => Material::read(key).unwrap_or(Material::None),
            false => Material::None,
        };
        Self { id: text("kid").map(str::to_owned), algorithm: text("alg").map(str::to_owned), material }
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::*;
        let kind = matches!(
            (&self.material, algorithm),
            (Material::Rsa { .. }, RS256 | RS384 | RS512 | PS256 | PS384 | PS512)
                | (Material::P256(_), ES256)
                | (Material::P384(_), ES384)
                | (Material::Ed25519(_), EdDSA)
        );
        // RFC 9864 has `Ed25519` for keys of that curve, which tokens still call `EdDSA`.
        let named = |name: &String| name == algorithm.name() || (algorithm == EdDSA && name == "Ed25519");
        kind && self.algorithm.as_ref().is_none_or(named)
    }

    /// Whether `signature` is this key's over `signed`.
    ///
    /// # Errors
    /// `token.signature`.
    pub(crate) fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> Result<(), Failure> {
        let good = match (&self.material, algorithm) {
            (Material::Rsa { modulus, exponent }, algorithm) => rsa(algorithm).is_some_and(|parameters| {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(parameters, signed, signature).is_ok()
            }),
            (Material::P256(point), Algorithm::ES256) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(signed, signature).is_ok()
            }
            (Material::P384(point), Algorithm::ES384) => {
                UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point).verify(signed, signature).is_ok()
            }
            (Material::Ed25519(point), Algorithm::EdDSA) => {
                UnparsedPublicKey::new(&signature::ED25519, point).verify(signed, signature).is_ok()
            }
            _ => false,
        };
        if good { Ok(()) } else { Err(refused("token.signature", "its signature is not its issuer's")) }
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static signature::RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
        Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA => return None,
    })
}

impl Material {
    fn read(key: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let coordinate = |name: &str, length: usize| bytes(name).filter(|bytes| bytes.len() == length);
        let point = |length: usize| Some([vec![4], coordinate("x", length)?, coordinate("y", length)?].concat());
        match (text("kty")?, text("crv")) {
            ("RSA", None) => {
                let unsigned = |bytes: Vec<u8>| bytes.into_iter().skip_while(|b| *b == 0).collect::<Vec<u8>>();
                let (modulus, exponent) = (unsigned(bytes("n")?), unsigned(bytes("e")?));
                let bits = modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?;
                (RSA_BITS[0]..=RSA_BITS[1]).contains(&bits).then_some(Self::Rsa { modulus, exponent })
            }
            ("EC", Some("P-256")) => point(32).map(Self::P256),
            ("EC", Some("P-384")) => point(48).map(Self::P384),
            ("OKP", Some("Ed25519")) => coordinate("x", 32).map(Self::Ed25519),
            _ => None,
        }
    }
}
