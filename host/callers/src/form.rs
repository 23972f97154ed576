//! The form of a token: JWS Compact Serialization (RFC 7515, 7.1) in its plainest shape.
//!
//! What is read twice in two ways by two libraries is what attackers send, so there is one way: base64url
//! without padding and with nothing left over, JSON without a name that stands twice, and no header that
//! says where a key comes from or asks for what is not understood here.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use strongroom_core::Failure;

use crate::refused;

/// The largest token, in bytes: what servers of the field take as all of a request's head.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The longest `kid`, in bytes: those of the field are digests.
const MAX_KEY_ID_BYTES: usize = 256;

/// Header fields that bring a key along, say where one is, or change what a signature is over
/// (RFC 7515, 4.1; RFC 7797; RFC 7516). A token that needs one of them is not for us.
const FORBIDDEN: [&str; 9] = ["jku", "x5u", "jwk", "x5c", "crit", "b64", "enc", "zip", "cty"];

/// What `typ` may say (RFC 7519, 5.1; RFC 9068, 2.1): other kinds of token, such as a logout token, are signed
/// with the same keys and mean something else.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// A token, taken apart. Nothing of it is verified.
pub(crate) struct Token<'t> {
    pub(crate) algorithm: String,
    pub(crate) key_id: Option<String>,
    pub(crate) issuer: String,
    pub(crate) claims: Map<String, Value>,
    /// What the signature is over.
    pub(crate) signed: &'t [u8],
    pub(crate) signature: Vec<u8>,
}

impl<'t> Token<'t> {
    pub(crate) fn parse(text: &'t str) -> Result<Self, Failure> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(refused("token.too-large", "it has more than 16 KiB"));
        }
        let form = || refused("token.form", "it is not three parts in base64url without padding");
        let (signed, signature) = text.rsplit_once('.').ok_or_else(form)?;
        let (header, claims) = signed.split_once('.').filter(|(_, claims)| !claims.contains('.')).ok_or_else(form)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| form());
        let (header, claims, signature) = (decode(header)?, decode(claims)?, decode(signature)?);
        let json =
            || refused("token.json", "its header and claims are not JSON objects without a name that stands twice");
        let header = object(&header).ok_or_else(json)?;
        let claims = object(&claims).ok_or_else(json)?;

        if FORBIDDEN.iter().any(|name| header.contains_key(*name)) {
            return Err(refused("token.header", "its header brings a key along, or asks for what is not done here"));
        }
        let kind = |value: &Value| value.as_str().is_some_and(|t| TYPES.contains(&t.to_ascii_lowercase().as_str()));
        if !header.get("typ").is_none_or(kind) {
            return Err(refused("token.type", "its header says that it is another kind of token"));
        }
        let algorithm = header.get("alg").and_then(Value::as_str).map(str::to_owned);
        let algorithm = algorithm.ok_or_else(|| refused("token.algorithm", "its header names no algorithm"))?;
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) if !id.is_empty() && id.len() <= MAX_KEY_ID_BYTES => Some(id.clone()),
            Some(_) => return Err(refused("token.key", "its header's `kid` is none")),
        };
        let issuer = claims.get("iss").and_then(Value::as_str).map(str::to_owned);
        let issuer = issuer.ok_or_else(|| refused("token.issuer", "it names no issuer"))?;
        Ok(Self { algorithm, key_id, issuer, claims, signed: signed.as_bytes(), signature })
    }
}

/// The JSON object that is all of `bytes`, without a name that stands twice at any depth.
pub(crate) fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice::<Strict>(bytes) {
        Ok(Strict(Value::Object(map))) => Some(map),
        _ => None,
    }
}

/// A JSON value in which no name stands twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        StrictSeed.deserialize(deserializer).map(Self)
    }
}

struct StrictSeed;

impl<'de> DeserializeSeed<'de> for StrictSeed {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictSeed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(StrictSeed)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(StrictSeed)?;
            if map.insert(name, value).is_some() {
                return Err(de::Error::custom("a name stands twice"));
            }
        }
        Ok(Value::Object(map))
    }
}
