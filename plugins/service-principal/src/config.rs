//! What the credential says, and what is to be done for it.

use serde::Deserialize;
use strongroom_entra::{Asked, audience, authority, claims, inputs};
use strongroom_plugin::credential::Request;
use strongroom_plugin::{Context, Failure};

/// The credential's config.
#[derive(Debug, Deserialize)]
pub struct Config {
    pub tenant: Option<String>,
    pub client_id: Option<String>,
    #[serde(default = "public")]
    pub authority: String,
    pub method: Option<Method>,
    #[serde(default)]
    pub algorithm: Algorithm,
    #[serde(default)]
    pub send_chain: bool,
}

fn public() -> String {
    authority::PUBLIC.into()
}

/// How an application proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    Secret,
    Certificate,
    FederatedToken,
    Github,
}

/// How the certificate's key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Algorithm {
    #[default]
    #[serde(rename = "PS256")]
    Ps256,
    #[serde(rename = "RS256")]
    Rs256,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    pub method: Method,
    pub asked: Asked,
    pub claims: String,
}

/// The sealed inputs, each of which is a method.
const INPUTS: [(&str, Method); 3] = [
    ("client_secret", Method::Secret),
    ("certificate", Method::Certificate),
    ("federated_token", Method::FederatedToken),
];

impl Plan {
    /// What `config` and the inputs of this call come to. `in_workflow` is whether a GitHub workflow
    /// offers its token.
    ///
    /// # Errors
    /// Kind not-configured, with all that is missing, if something is.
    pub fn new(config: &Config, context: &Context, request: &Request, in_workflow: bool) -> Result<Self, Failure> {
        let tenant = request.tenant.clone().or_else(|| config.tenant.clone()).filter(|tenant| !tenant.is_empty());
        let client_id = config.client_id.clone().filter(|id| !id.is_empty());
        let method = method(config, context, in_workflow)?;
        let (Some(tenant), Some(client_id), Some(method)) = (&tenant, &client_id, method) else {
            let missing = [
                (tenant.is_none(), "its `tenant`"),
                (client_id.is_none(), "its `client_id`"),
                (method.is_none(), "a sealed input (`client_secret`, `certificate` or `federated_token`)"),
            ];
            let missing: Vec<&str> = missing.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
            let message = format!("no application is set up: the credential lacks {}", missing.join(" and "));
            return Err(Failure::not_configured("service-principal.missing", message));
        };
        let asked = Asked { client_id: client_id.clone(), tenant: tenant.clone(), scope: audience::scope(request)? };
        Ok(Self { method, asked, claims: claims::merged(request.claims.as_deref())? })
    }
}

/// The method that the config names, or else the one whose input there is.
fn method(config: &Config, context: &Context, in_workflow: bool) -> Result<Option<Method>, Failure> {
    let given: Vec<_> = INPUTS.iter().filter(|(name, _)| inputs::has(context, &format!("sealed.{name}"))).collect();
    let named = config.method;
    // The host injects whatever there is, so what is not meant must not be there.
    let extra: Vec<&str> = match (named, given.as_slice()) {
        (Some(named), given) => given.iter().filter(|(_, method)| *method != named).map(|(name, _)| *name).collect(),
        (None, given @ [_, _, ..]) => given.iter().map(|(name, _)| *name).collect(),
        (None, _) => Vec::new(),
    };
    if !extra.is_empty() {
        let message = format!(
            "the credential has more than one way to prove who it is; leave one of them, and remove what is not meant of: {}",
            extra.join(", ")
        );
        return Err(Failure::invalid_config("service-principal.ambiguous", message));
    }
    let found = given.first().map(|(_, method)| *method);
    Ok(named.or(found).or(in_workflow.then_some(Method::Github)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_plugin::Kind;

    const CORP: &str = r#"{"tenant":"contoso.com","client_id":"app"}"#;

    fn plan(config: &str, inputs: &[&str], in_workflow: bool) -> Result<Plan, Failure> {
        let context = inputs::with(config, inputs);
        let request = Request { audience: "https://vault.azure.net".into(), ..Request::default() };
        Plan::new(&context.config()?, &context, &request, in_workflow)
    }

    #[test]
    fn the_input_that_is_given_is_the_method() {
        for (input, method) in [
            ("sealed.client_secret", Method::Secret),
            ("sealed.certificate", Method::Certificate),
            ("sealed.federated_token", Method::FederatedToken),
        ] {
            for in_workflow in [true, false] {
                let plan = plan(CORP, &[input], in_workflow).unwrap();
                assert_eq!(plan.method, method);
                assert_eq!(plan.asked.scope, "https://vault.azure.net/.default");
                assert_eq!((plan.asked.tenant.as_str(), plan.asked.client_id.as_str()), ("contoso.com", "app"));
            }
        }
        assert_eq!(plan(CORP, &[], true).unwrap().method, Method::Github);
    }

    #[test]
    fn the_config_may_name_it() {
        for (word, method) in [
            ("secret", Method::Secret),
            ("certificate", Method::Certificate),
            ("federated-token", Method::FederatedToken),
            ("github", Method::Github),
        ] {
            let config = format!(r#"{{"tenant":"t","client_id":"a","method":"{word}"}}"#);
            assert_eq!(plan(&config, &[], false).unwrap().method, method);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (config, inputs, missing, there) in [
            ("{}", &[][..], &["`tenant`", "`client_id`", "`client_secret`"][..], &[][..]),
            (r#"{"tenant":"t"}"#, &["sealed.client_secret"], &["`client_id`"], &["`tenant`", "sealed"]),
            (r#"{"tenant":"","client_id":"a"}"#, &["sealed.certificate"], &["`tenant`"], &["`client_id`"]),
            (CORP, &[], &["`client_secret`, `certificate` or `federated_token`"], &["`tenant`", "`client_id`"]),
        ] {
            let failure = plan(config, inputs, false).unwrap_err();
            assert_eq!((failure.kind, failure.code.as_str()), (Kind::NotConfigured, "service-principal.missing"));
            assert!(missing.iter().all(|word| failure.message.contains(word)), "{}", failure.message);
            assert!(!there.iter().any(|word| failure.message.contains(word)), "{}", failure.message);
        }
    }

    #[test]
    fn two_ways_are_one_too_many() {
        for (config, inputs) in [
            (CORP, &["sealed.client_secret", "sealed.certificate"][..]),
            (r#"{"tenant":"t","client_id":"a","method":"github"}"#, &["sealed.client_secret"]),
            (
                r#"{"tenant":"t","client_id":"a","method":"secret"}"#,
                &["sealed.client_secret", "sealed.federated_token"],
            ),
        ] {
            let failure = plan(config, inputs, true).unwrap_err();
            assert_eq!((failure.kind, failure.code.as_str()), (Kind::InvalidConfig, "service-principal.ambiguous"));
        }
    }

    #[test]
    fn the_tenant_of_the_request_goes_first() {
        let context = inputs::with(CORP, &["sealed.client_secret"]);
        let request = Request { audience: "https://v".into(), tenant: Some("other".into()), ..Request::default() };
        let plan = Plan::new(&context.config().unwrap(), &context, &request, false).unwrap();
        assert_eq!(plan.asked.tenant, "other");
    }
}
