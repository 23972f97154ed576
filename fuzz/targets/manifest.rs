//! Manifests: what parses can be checked, told and locked, and its rights read back from their lines.
//!
//! A comment `#= JSON` is a mount's config, a comment `#> TEXT` a reference; neither changes what the
//! manifest says.

use serde_json::{Value, json};
use strongroom_core::rights::{Right, Rights};
use strongroom_core::{Manifest, Reference, Shapes, Text};

pub fn run(data: &[u8]) {
    let manifest = match Manifest::parse(data, Text::new("plugin.toml")) {
        Ok(manifest) => manifest,
        Err(failure) => {
            let _ = format!("{failure}");
            return;
        }
    };
    let text = std::str::from_utf8(data).unwrap();
    let after = |mark: &'static str| text.lines().filter_map(move |line| line.strip_prefix(mark));
    rights(&manifest);
    let checked = manifest.check().is_ok();
    let mut configs = vec![json!({})];
    configs.extend(after("#= ").take(4).filter_map(|text| serde_json::from_str(text).ok()));
    if checked {
        for config in &configs {
            if let Ok(told) = manifest.check_config(config) {
                assert_eq!(serde_json::from_str::<Value>(&told).unwrap(), *config);
            }
        }
    }
    let mut shapes = Shapes::builtin();
    for scheme in &manifest.schemes {
        let shape = manifest.shape().or_else(|| Shapes::builtin().get(scheme).cloned()).unwrap();
        assert!(shapes.get(scheme).is_some() || shapes.insert(scheme, shape), "{scheme}");
    }
    assert_eq!(manifest.is_auth(), manifest.schemes.is_empty());
    for reference in after("#> ").take(4).filter_map(|text| Reference::parse_scope(text, &shapes).ok()) {
        let _ = manifest.group_key(&reference);
        for config in &configs {
            bound(&manifest, &reference, config);
        }
    }
}

fn rights(manifest: &Manifest) {
    let rights = Rights::new(manifest, [], []);
    for right in &rights.rights {
        let line = right.to_string();
        assert_eq!(Right::parse(&line).as_ref(), Some(right), "{line}");
    }
    assert!(rights.since(&rights).is_narrowing());
    for words in rights.in_words() {
        assert!(!words.as_str().chars().any(char::is_control));
    }
}

fn bound(manifest: &Manifest, reference: &Reference, config: &Value) {
    for name in manifest.env_names(reference, config) {
        assert!(!name.is_empty() && !name.contains(['=', '/', '\0']), "{name:?}");
    }
    if let Ok(prefix) = manifest.store_prefix(reference, config) {
        let whole = prefix.is_empty() || (prefix.ends_with('/') && !prefix.starts_with('/') && !prefix.contains("//"));
        assert!(whole, "{prefix:?}");
    }
    let _ = manifest.store_prefix_of_scope(reference, config);
    for rule in &manifest.http {
        if let Some(origin) = rule.origin.bind(Some(reference), config) {
            assert!(origin.secure || rule.origin.may_be_plain());
        }
    }
}
