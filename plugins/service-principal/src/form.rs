//! The token request's form, and the assertion that a certificate's key signs.

use crate::config::{Algorithm, Config, Method, Plan};

/// RFC 7523, 2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The fields, without what the host adds: `client_secret`, or the `client_assertion` of a federated
/// token.
pub fn fields<'a>(plan: &'a Plan, assertion: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![
        ("client_id", plan.asked.client_id.as_str()),
        ("grant_type", "client_credentials"),
        ("scope", plan.asked.scope.as_str()),
        ("claims", plan.claims.as_str()),
    ];
    if plan.method != Method::Secret {
        fields.push(("client_assertion_type", JWT_BEARER));
    }
    fields.extend(assertion.map(|assertion| ("client_assertion", assertion)));
    fields
}

/// What the host is asked to sign.
#[derive(Debug, PartialEq, Eq)]
pub struct Assertion {
    pub algorithm: &'static str,
    pub header: Vec<(String, String)>,
    pub claims: Vec<(String, String)>,
}

/// The assertion for `client_id` at the token page `address`. The host fills the thumbprint, the
/// certificates, the times and the id.
pub fn assertion(config: &Config, client_id: &str, address: &str) -> Assertion {
    let (algorithm, thumbprint) = match config.algorithm {
        Algorithm::Ps256 => ("PS256", "x5t#S256"),
        Algorithm::Rs256 => ("RS256", "x5t"),
    };
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let mut header: Vec<(String, String)> = pairs(&[("typ", "JWT"), (thumbprint, "")]);
    if config.send_chain {
        header.push(("x5c".into(), String::new()));
    }
    Assertion { algorithm, header, claims: pairs(&[("aud", address), ("iss", client_id), ("sub", client_id)]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_entra::Asked;

    fn plan(method: Method) -> Plan {
        let asked =
            Asked { client_id: "app".into(), tenant: "t".into(), scope: "https://vault.azure.net/.default".into() };
        Plan { method, asked, claims: "{}".into() }
    }

    #[test]
    fn a_secrets_form_holds_nothing_of_assertions() {
        assert_eq!(
            fields(&plan(Method::Secret), None),
            [
                ("client_id", "app"),
                ("grant_type", "client_credentials"),
                ("scope", "https://vault.azure.net/.default"),
                ("claims", "{}"),
            ]
        );
    }

    #[test]
    fn the_others_say_that_they_assert() {
        let federated = plan(Method::FederatedToken);
        assert_eq!(fields(&federated, None).split_off(4), [("client_assertion_type", JWT_BEARER)]);
        for method in [Method::Certificate, Method::Github] {
            let plan = plan(method);
            let rest = fields(&plan, Some("jwt")).split_off(4);
            assert_eq!(rest, [("client_assertion_type", JWT_BEARER), ("client_assertion", "jwt")]);
        }
    }

    #[test]
    fn the_assertion_is_of_the_algorithm_and_its_thumbprint() {
        let config = |text| serde_json::from_str::<Config>(text).unwrap();
        let address = "https://login.microsoftonline.com/t/oauth2/v2.0/token";
        let pairs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
        };
        let claims = pairs(&[("aud", address), ("iss", "app"), ("sub", "app")]);
        for (text, algorithm, header) in [
            ("{}", "PS256", pairs(&[("typ", "JWT"), ("x5t#S256", "")])),
            (r#"{"algorithm":"RS256"}"#, "RS256", pairs(&[("typ", "JWT"), ("x5t", "")])),
            (r#"{"send_chain":true}"#, "PS256", pairs(&[("typ", "JWT"), ("x5t#S256", ""), ("x5c", "")])),
        ] {
            let claims = claims.clone();
            assert_eq!(assertion(&config(text), "app", address), Assertion { algorithm, header, claims });
        }
    }
}
