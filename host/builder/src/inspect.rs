//! Says what a plugin file holds, in the words of the contract, without running any of it.
//!
//! The file is untrusted. All names come back as strings of the file and are `Text` before anybody
//! sees them.

use strongroom_core::{Digest, Failure, Kind, Text};
use wasmparser::{KnownCustom, Parser, Payload};
use wit_component::DecodedWasm;
use wit_parser::{Resolve, WorldItem, WorldKey};

use crate::component::{manifest, validate};

/// What a plugin file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Its size in bytes.
    pub size: usize,
    /// Its SHA-256, as `sha256:` and 64 lower-case hexadecimal digits.
    pub digest: String,
    /// What it imports, in the file's order.
    pub imports: Vec<Item>,
    /// What it exports, in the file's order.
    pub exports: Vec<Item>,
    /// The bytes of its manifest, if it has one.
    pub manifest: Option<Vec<u8>>,
    /// The tools that made it, as it says itself.
    pub producers: Vec<Producer>,
}

/// One import or export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// `strongroom:plugin/env@0.1.0`, or the plain name of a function or type.
    pub name: String,
    /// The functions of an interface. An interface without any, such as `types`, gives no ability.
    pub functions: Vec<String>,
}

/// One entry of the producers section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// `language`, `processed-by` or `sdk`.
    pub field: String,
    /// The tool.
    pub name: String,
    /// Its version, or nothing.
    pub version: String,
}

/// Reads a plugin file. One without a manifest is read too: a caller that needs one asks for it.
///
/// # Errors
/// Those of [`manifest`] and [`validate`]; `plugin.invalid` if its imports and exports are not WIT.
pub fn inspect(component: &[u8]) -> Result<Inspection, Failure> {
    let manifest = manifest(component)?.map(<[u8]>::to_vec);
    validate(component)?;
    let not_wit = |why: &str| {
        let message = format!("the imports and exports of the component cannot be read as WIT: {why}");
        Failure::new(Kind::InvalidConfig, "plugin.invalid", message)
    };
    let (resolve, world) = match wit_component::decode(component) {
        Ok(DecodedWasm::Component(resolve, world)) => (resolve, world),
        Ok(DecodedWasm::WitPackage(..)) => return Err(not_wit("it is a WIT package, which holds no code")),
        Err(error) => return Err(not_wit(&format!("{error:#}"))),
    };
    let world = resolve.worlds.get(world).ok_or_else(|| not_wit("it has no world"))?;
    let items = |items: &mut dyn Iterator<Item = (&WorldKey, &WorldItem)>| {
        items.map(|(key, item)| self::item(&resolve, key, item)).collect()
    };
    Ok(Inspection {
        size: component.len(),
        digest: Digest::of(component).to_string(),
        imports: items(&mut world.imports.iter()),
        exports: items(&mut world.exports.iter()),
        manifest,
        producers: producers(component),
    })
}

fn item(resolve: &Resolve, key: &WorldKey, item: &WorldItem) -> Item {
    let functions = match item {
        WorldItem::Interface { id, .. } => {
            resolve.interfaces.get(*id).map(|interface| interface.functions.keys().cloned().collect())
        }
        _ => None,
    };
    Item { name: resolve.name_world_key(key), functions: functions.unwrap_or_default() }
}

/// The top-level producers section. It is the file's own word, so what cannot be read is left out.
fn producers(component: &[u8]) -> Vec<Producer> {
    let mut all = Vec::new();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component).flatten() {
        match payload {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 1 => {
                let KnownCustom::Producers(fields) = section.as_known() else { continue };
                for field in fields.into_iter().flatten() {
                    all.extend(field.values.into_iter().flatten().map(|value| Producer {
                        field: field.name.into(),
                        name: value.name.into(),
                        version: value.version.into(),
                    }));
                }
            }
            _ => {}
        }
    }
    all
}

impl std::fmt::Display for Producer {
    /// The entry as people read it: `wit-component 0.254.2`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", Text::new(format!("{} {}", self.name, self.version).trim_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::embed;

    const GUEST: &str = r#"(component
        (import "strongroom:plugin/env@0.1.0" (instance
            (export "get" (func (param "name" string) (result (option string))))
            (export "names" (func (result (list string))))))
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (export "go" (func $f)))"#;

    #[test]
    fn imports_and_exports_are_told_in_wit_words() {
        let component = wat::parse_str(GUEST).unwrap();
        let file = embed(&component, b"name = \"x\"").unwrap();
        let seen = inspect(&file).unwrap();
        let names = ["get", "names"].map(String::from).to_vec();
        assert_eq!(seen.imports, [Item { name: "strongroom:plugin/env@0.1.0".into(), functions: names }]);
        assert_eq!(seen.exports, [Item { name: "go".into(), functions: Vec::new() }]);
        assert_eq!(seen.manifest.as_deref(), Some(&b"name = \"x\""[..]));
        assert_eq!(seen.size, file.len());
        assert_eq!(inspect(&component).unwrap().manifest, None);
    }

    #[test]
    fn digests_are_written_in_one_way() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
    }

    #[test]
    fn hostile_names_of_tools_are_shown_harmless() {
        let producer = Producer { field: "sdk".into(), name: "x\u{1b}[2J".into(), version: String::new() };
        assert!(!producer.to_string().chars().any(char::is_control));
    }

    #[test]
    fn what_is_broken_is_a_failure_and_no_panic() {
        let component = wat::parse_str(GUEST).unwrap();
        for end in 0..component.len() {
            let _ = inspect(component.get(..end).unwrap());
            let mut bent = component.clone();
            for flip in [0x01, 0x40, 0xff] {
                bent[end] = component[end] ^ flip;
                let _ = inspect(&bent);
            }
        }
        let module = wat::parse_str("(module)").unwrap();
        assert_eq!(inspect(&module).unwrap_err().code(), "plugin.not-a-component");
    }
}
