//! What a JWT says, unverified: for display, and for the checks of an ID token, which came over TLS
//! from the token endpoint itself (OpenID Connect Core 1.0, 3.1.3.7). Never for authorisation.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

/// The claims that are looked at.
#[derive(Deserialize, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// The tenant.
    pub tid: Option<String>,
    /// The object's id in the directory.
    pub oid: Option<String>,
    /// The application, in version 1 tokens.
    pub appid: Option<String>,
    /// The application, in version 2 tokens.
    pub azp: Option<String>,
    /// The person's name to sign in with.
    pub upn: Option<String>,
    /// The same in version 2 tokens.
    pub preferred_username: Option<String>,
    /// Who made it.
    pub iss: Option<String>,
    /// Whom it is for.
    pub aud: Option<String>,
    /// When it ends, in seconds since the Unix epoch.
    pub exp: Option<u64>,
    /// What the sign-in sent.
    pub nonce: Option<String>,
}

/// The claims of `token`, if it reads as a JWT.
#[must_use]
pub fn claims(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let payload = parts.nth(1)?;
    parts.next()?;
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let bytes = GeneralPurpose::new(&alphabet::URL_SAFE, config).decode(payload).ok()?;
    serde_json::from_slice(&bytes).ok()
}

impl Claims {
    /// Who it is, for a person: the name to sign in with, else the application, else the object.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        [&self.preferred_username, &self.upn, &self.azp, &self.appid, &self.oid]
            .into_iter()
            .flatten()
            .next()
            .map(String::as_str)
    }
}

/// Without the nonce.
impl std::fmt::Debug for Claims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claims").field("tid", &self.tid).field("oid", &self.oid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

    #[test]
    fn the_payload_is_read_with_and_without_padding() {
        let payload = r#"{"tid":"t","appid":"a","exp":7,"more":"ü>?"}"#;
        for encoded in [URL_SAFE_NO_PAD.encode(payload), URL_SAFE.encode(payload)] {
            let claims = claims(&format!("e30.{encoded}.sig")).unwrap();
            assert_eq!((claims.tid.as_deref(), claims.identity(), claims.exp), (Some("t"), Some("a"), Some(7)));
        }
        for token in ["", "opaque", "a.b", "e30.@@.s", "e30.e30", &format!("e30.{}.s", URL_SAFE_NO_PAD.encode("[]"))] {
            assert!(claims(token).is_none(), "{token}");
        }
    }

    #[test]
    fn a_person_goes_by_name() {
        let claims = Claims { upn: Some("ada@contoso.com".into()), appid: Some("a".into()), ..Claims::default() };
        assert_eq!(claims.identity(), Some("ada@contoso.com"));
        assert_eq!(Claims::default().identity(), None);
    }
}
