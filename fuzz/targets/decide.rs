//! Requests and the decision: what is approved is what the naive decision approves, is written in the
//! one way it reads back, goes to a place of the rules, and holds no header that is the host's.
//!
//! Input: lines. The first chooses by its words: manifest, function, config, the mount's hosts (a list
//! with commas, or `-`). The second holds the references. Then method, scheme, authority, target and
//! the body or its length; all that follow are headers, `name: value`.

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use strongroom_core::manifest::Function;
use strongroom_core::{HostPattern, Manifest, Reference, Shapes, Text};
use strongroom_egress::decide::{Stage, decide, is_reserved};
use strongroom_egress::target::Target;
use strongroom_egress::{Asked, Terms};

#[path = "../../host/egress/tests/decision/bridge.rs"]
mod bridge;
#[path = "../../host/egress/tests/decision/naive.rs"]
mod naive;

struct Fixed {
    manifests: Vec<(Manifest, Vec<naive::Rule>)>,
    shapes: Shapes,
    configs: [Arc<Value>; 4],
}

static FIXED: LazyLock<Fixed> = LazyLock::new(|| {
    let texts = [
        include_str!("../../host/core/tests/fixtures/plugin-http.toml"),
        include_str!("manifests/vault.toml"),
        include_str!("manifests/any.toml"),
        include_str!("manifests/wide.toml"),
        include_str!("../../host/core/tests/fixtures/plugin-auth.toml"),
    ];
    let manifests: Vec<(Manifest, Vec<naive::Rule>)> = texts
        .iter()
        .map(|text| {
            let manifest = Manifest::parse(text.as_bytes(), Text::new("fixed")).unwrap_or_else(|f| panic!("{f}"));
            let rules = manifest.http.iter().map(bridge::as_written).collect();
            (manifest, rules)
        })
        .collect();
    let mut shapes = Shapes::builtin();
    for (manifest, _) in &manifests {
        for scheme in &manifest.schemes {
            if let Some(shape) = manifest.shape() {
                assert!(shapes.insert(scheme, shape));
            }
        }
    }
    let configs = [
        json!({}),
        json!({"address": "https://a.vault.example:8200/", "space": "red", "n": 7}),
        json!({"address": "http://10.0.0.1", "space": "a/b", "n": "..", "zone": "a"}),
        json!({"address": "https://A.vault.example:443", "space": true, "zone": "b.c", "n": "%2e"}),
    ];
    Fixed { manifests, shapes, configs: configs.map(Arc::new) }
});

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let mut words = next().split(' ');
    let mut choice = |count: usize| words.next().and_then(|w| w.parse::<usize>().ok()).unwrap_or_default() % count;
    let (manifest, rules) = &FIXED.manifests[choice(FIXED.manifests.len())];
    let function = Function::ALL[choice(Function::ALL.len())];
    let config = FIXED.configs[choice(FIXED.configs.len())].clone();
    let hosts = words.next().unwrap_or_default().split(',').filter_map(|host| HostPattern::parse(host).ok());
    let references = next().split(' ').take(4).filter_map(|text| Reference::parse(text, &FIXED.shapes).ok());
    let terms = Terms {
        function,
        references: references.collect(),
        config,
        rules: manifest.http.clone().into(),
        hosts: hosts.collect(),
        network: None,
        holdings: Default::default(),
    };
    let (method, scheme, authority, target) = (next(), next(), next(), next());
    // Of this length, or these very bytes.
    let line = next();
    let body = match line.parse::<usize>() {
        Ok(length) => vec![b' '; length.min(64)],
        Err(_) => line.as_bytes().to_vec(),
    };
    let mut headers = HeaderMap::new();
    for line in lines.take(80) {
        let Some((name, value)) = line.split_once(": ") else { continue };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    check(&terms, rules, &Asked { method, scheme, authority, target, headers: &headers, body: &body });
}

fn check(terms: &Terms, rules: &[naive::Rule], asked: &Asked<'_>) {
    let naive = bridge::naively(terms, rules, asked);
    let approved = match decide(terms, asked) {
        Ok(approved) => approved,
        Err(refused) => {
            assert_eq!(naive, None, "refused ({refused:?}), but the naive decision allows {asked:?}");
            assert!(!refused.why.is_empty());
            let silent = matches!(refused.stage, Stage::Form | Stage::Header);
            assert!(refused.advice.is_some() || silent, "{refused:?}");
            assert!(refused.advice.is_none() || refused.stage != Stage::Form, "{refused:?}");
            return;
        }
    };
    assert_eq!(Some(bridge::as_leaves(&approved)), naive, "{asked:?}");
    let read = Target::parse(&approved.target).unwrap();
    assert_eq!(read.to_text(), approved.target);
    assert_eq!(Target::parse(asked.target).unwrap(), read);
    let rule = &terms.rules[approved.rule];
    assert!(rule.on.contains(&terms.function));
    let reference = approved.reference.map(|at| &terms.references[at]);
    match rule.origin.is_any() {
        None => assert_eq!(rule.origin.bind(reference, &terms.config).as_ref(), Some(&approved.origin)),
        Some(secure) => {
            assert_eq!(secure, approved.origin.secure);
            assert!(rule.hosts.iter().any(|host| host.as_str() == approved.origin.authority()));
        }
    }
    for (name, value) in &approved.headers {
        assert!(!is_reserved(name, &terms.rules), "{name} leaves");
        assert!(!["authorization", "cookie", "host", "content-length", "x-vault-token"].contains(&name.as_str()));
        assert_eq!(asked.headers.get(name), Some(value));
    }
    assert_eq!(rule.credential.is_some(), approved.audience.is_some());
    assert!(approved.audience.is_none() || approved.origin.secure);
    // What leaves would be allowed again, as the same.
    let again = Asked {
        method: approved.method.name(),
        scheme: approved.origin.scheme(),
        authority: &approved.origin.authority(),
        target: &approved.target,
        headers: &approved.headers,
        body: asked.body,
    };
    let twice = decide(terms, &again).unwrap();
    assert_eq!(bridge::as_leaves(&twice), bridge::as_leaves(&approved));
}
