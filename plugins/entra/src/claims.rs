//! The `claims` parameter (OpenID Connect Core 1.0, 5.5): what this client can do, and what a
//! resource has asked for in a claims challenge.

use serde_json::{Map, Value};
use strongroom_plugin::Failure;

/// The claims to send: that this client answers claims challenges (`CP1`), merged with `challenge`,
/// the JSON of one.
///
/// # Errors
/// `entra.claims`, kind protocol, if the challenge is no JSON object.
pub fn merged(challenge: Option<&str>) -> Result<String, Failure> {
    let mut claims = match challenge {
        None => Map::new(),
        Some(text) => match serde_json::from_str(text) {
            Ok(Value::Object(claims)) => claims,
            _ => {
                let message = "the claims challenge of the resource is no JSON object, so it cannot be answered";
                return Err(Failure::protocol("entra.claims", message));
            }
        },
    };
    announce(&mut claims).ok_or_else(|| {
        Failure::protocol(
            "entra.claims",
            "the claims challenge of the resource does not have the form that claims have",
        )
    })?;
    Ok(Value::Object(claims).to_string())
}

/// Adds `{"access_token":{"xms_cc":{"values":["CP1"]}}}`. `None`: something else is in its place.
fn announce(claims: &mut Map<String, Value>) -> Option<()> {
    let access = object(claims, "access_token")?;
    let capabilities = object(access, "xms_cc")?;
    let values = capabilities.entry("values").or_insert_with(|| Value::Array(Vec::new())).as_array_mut()?;
    if !values.iter().any(|value| value == "CP1") {
        values.push("CP1".into());
    }
    Some(())
}

/// The object `name` in `of`, made if it is absent or null, as a claim without conditions is.
fn object<'m>(of: &'m mut Map<String, Value>, name: &str) -> Option<&'m mut Map<String, Value>> {
    let value = of.entry(name).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merge(challenge: Option<&str>) -> Value {
        serde_json::from_str(&merged(challenge).unwrap()).unwrap()
    }

    #[test]
    fn a_challenge_is_kept_beside_what_is_announced() {
        assert_eq!(merged(None).unwrap(), r#"{"access_token":{"xms_cc":{"values":["CP1"]}}}"#);
        assert_eq!(
            merge(Some(r#"{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}"#)),
            json!({"access_token": {"nbf": {"essential": true, "value": "1604106651"}, "xms_cc": {"values": ["CP1"]}}})
        );
        assert_eq!(
            merge(Some(r#"{"id_token":{"x":null},"access_token":{"xms_cc":{"values":["llt"]},"acrs":null}}"#)),
            json!({"id_token": {"x": null}, "access_token": {"xms_cc": {"values": ["llt", "CP1"]}, "acrs": null}})
        );
        assert_eq!(
            merge(Some(r#"{"access_token":{"xms_cc":{"values":["CP1"]}}}"#)),
            json!({"access_token": {"xms_cc": {"values": ["CP1"]}}})
        );
        assert_eq!(merge(Some(r#"{"access_token":{"xms_cc":null}}"#)), merge(None));
    }

    #[test]
    fn what_is_no_challenge_is_not_sent() {
        for text in ["", "[]", "claims", "null", r#"{"access_token":7}"#, r#"{"access_token":{"xms_cc":{"values":1}}}"#]
        {
            assert_eq!(merged(Some(text)).unwrap_err().code, "entra.claims", "{text}");
        }
    }
}
