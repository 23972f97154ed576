//! Between the decision's types and the naive one's texts.

use std::collections::BTreeMap;

use strongroom_core::manifest::HttpRule;
use strongroom_core::manifest::http::Allowed;
use strongroom_egress::decide::Approved;
use strongroom_egress::{Asked, Terms};

use super::naive;

/// A rule as texts.
pub fn as_written(rule: &HttpRule) -> naive::Rule {
    let texts = |allowed: &Allowed| match allowed {
        Allowed::Any => None,
        Allowed::Values(values) => Some(values.iter().map(ToString::to_string).collect::<Vec<_>>()),
    };
    let headers = rule.headers.iter().flat_map(|(name, allowed)| match texts(allowed) {
        None => vec![name.clone()],
        Some(values) => values.iter().map(|value| format!("{name}: {value}")).collect(),
    });
    naive::Rule {
        on: rule.on.iter().map(ToString::to_string).collect(),
        origin: rule.origin.as_str().to_owned(),
        hosts: rule.hosts.iter().map(ToString::to_string).collect(),
        allow: rule.allow.iter().map(ToString::to_string).collect(),
        query: rule.query.iter().map(|(key, allowed)| (key.clone(), texts(allowed))).collect(),
        headers: headers.collect(),
        body: rule.body.iter().map(|(place, allowed)| (place.to_string(), texts(allowed).unwrap())).collect(),
        credential: rule.credential.as_ref().map(|used| (used.audience.to_string(), used.header.clone())),
        network: rule.network.to_string(),
        http2: rule.http2,
    }
}

/// What the naive decision says over the same.
pub fn naively(terms: &Terms, rules: &[naive::Rule], asked: &Asked<'_>) -> Option<naive::Leaves> {
    let hosts: Vec<String> = terms.hosts.iter().map(ToString::to_string).collect();
    let call = naive::Call {
        function: terms.function.name(),
        references: &terms.references,
        config: &terms.config,
        rules,
        hosts: &hosts,
        network: terms.network.as_ref().map(ToString::to_string),
    };
    let headers = asked.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    let asked = naive::Asked {
        method: asked.method,
        scheme: asked.scheme,
        authority: asked.authority,
        target: asked.target,
        headers: headers.collect(),
        body: asked.body,
    };
    naive::decide(&call, &asked)
}

/// What leaves, as texts.
pub fn as_leaves(approved: &Approved) -> naive::Leaves {
    let origin = &approved.origin;
    let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
    let headers: BTreeMap<String, String> =
        approved.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    assert_eq!(headers.len(), approved.headers.len(), "a header leaves once");
    naive::Leaves {
        rule: approved.rule,
        reference: approved.reference,
        origin: format!("{}://{}:{}", origin.scheme(), origin.host, origin.port),
        method: approved.method.name().to_owned(),
        target: approved.target.clone(),
        headers,
        audience: approved.audience.clone(),
        network: approved.network.to_string(),
        http2: approved.http2,
    }
}
