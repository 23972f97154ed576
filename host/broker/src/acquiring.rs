//! What an auth plugin's call is made of: the sealed inputs of its credential, what its rules are filled
//! with, and what the host adds to its requests.
//!
//! All of it is bound before the call and overwritten after it. The plugin sees none of it but what its
//! grants say.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use strongroom_core::manifest::http::endpoint_key;
use strongroom_core::manifest::{Held, HttpRule, Injection, TENANT, env_key};
use strongroom_core::{HostPattern, Origin, Secret};
use strongroom_egress::Holdings;
use strongroom_egress::target::Target;
use strongroom_sandbox::capability::sealed::SealedInputs;
use zeroize::Zeroizing;

use crate::capabilities::Touched;
use crate::credentials::Credentialed;
use crate::environment::Environment;

/// What is bound before an auth plugin is asked for a token.
pub(crate) struct Acquiring {
    /// The credential's config, the tenant, and where the environment's endpoints are.
    pub(crate) facts: Arc<Value>,
    /// What the host adds to its requests.
    pub(crate) holdings: Arc<Holdings>,
}

/// The sealed inputs of one acquisition, overwritten when it ends: given to a plugin that may hold them,
/// signed with for one that may sign (`signing.rs`).
pub(crate) struct Inputs {
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// The origins of the plugin's rules: where an assertion may be addressed to.
    pub(crate) origins: Vec<Origin>,
}

impl SealedInputs for Inputs {
    fn reveal(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        self.secrets.get(name).map(|secret| Zeroizing::new(secret.expose().to_vec()))
    }
}

impl Acquiring {
    /// Binds what a token of `tenant` is got with. `kept` is what the plugin kept the last time. What must
    /// be masked is noted in `touched`; Azure Arc's agent keeps its keys in `arc_keys`.
    pub(crate) fn bind(
        credential: &Credentialed,
        tenant: Option<&str>,
        secrets: &BTreeMap<String, Secret>,
        kept: Option<&[u8]>,
        environment: &Environment,
        touched: &Touched,
        arc_keys: &Path,
    ) -> Self {
        let mut holdings = Holdings::default();
        for (input, secret) in secrets {
            touched.note(secret.expose());
            // A file that holds a secret ends in a line end more often than a secret does.
            if let Some(text) = secret.expose_text() {
                let text = text.trim_end_matches(['\r', '\n']);
                holdings.insert(Held::Sealed(input.clone()), Zeroizing::new(text.to_owned()));
            }
        }
        if let Some(text) = kept.and_then(|bytes| std::str::from_utf8(bytes).ok()) {
            touched.note(text.as_bytes());
            holdings.insert(Held::Kept, Zeroizing::new(text.to_owned()));
        }
        if credential.provided.rules.iter().filter_map(|rule| rule.inject.as_ref()).any(|inject| inject.arc) {
            holdings.answer_with(crate::arc::keys(arc_keys.to_owned()));
        }
        let mut facts = stated(credential, tenant);
        for rule in credential.provided.rules.iter() {
            for held in rule.inject.iter().flat_map(Injection::holes) {
                if let Held::Env(variable) = held
                    && let Some(value) = environment.setting(variable)
                {
                    touched.note(value.as_bytes());
                    holdings.insert(held.clone(), Zeroizing::new(value.to_owned()));
                }
            }
            for variable in rule.variables() {
                if let Some(value) = environment.setting(variable) {
                    facts.insert(env_key(variable), json!(value));
                }
            }
            if let Some(variable) = rule.endpoint()
                && let Some(url) = environment.setting(variable).and_then(endpoint)
            {
                facts.insert(endpoint_key(variable), url);
            }
        }
        Self { facts: Arc::new(Value::Object(facts)), holdings: Arc::new(holdings) }
    }

    /// The origins that `rules` go to, as they are bound here.
    pub(crate) fn origins(&self, rules: &[HttpRule]) -> Vec<Origin> {
        let literal = |host: &HostPattern| Origin::of_authority(true, host.as_str()).ok();
        let of = |rule: &HttpRule| match rule.origin.is_any() {
            Some(true) => rule.hosts.iter().filter_map(literal).collect::<Vec<_>>(),
            _ => rule.origin.bind(None, &self.facts).into_iter().collect(),
        };
        rules.iter().flat_map(of).collect()
    }
}

/// What the operator's config and the request say, for holes: the credential's config and the tenant.
pub(crate) fn stated(credential: &Credentialed, tenant: Option<&str>) -> Map<String, Value> {
    let mut facts = credential.credential.config.as_object().cloned().unwrap_or_default();
    if let Some(tenant) = tenant {
        facts.insert(TENANT.to_owned(), json!(tenant));
    }
    facts
}

/// The URL of an endpoint, taken apart once: what [`endpoint_key`] stands for. `None` if it is no URL that a
/// request could go to.
fn endpoint(url: &str) -> Option<Value> {
    let (origin, behind) = Origin::of_url(url).ok()?;
    let target = match behind {
        "" => "/".to_owned(),
        query if query.starts_with('?') => format!("/{query}"),
        target => target.to_owned(),
    };
    let Target { segments, query } = Target::parse_endpoint(&target).ok()?;
    Some(json!({ "origin": origin.to_string(), "path": segments, "query": query }))
}
