//! Putting a manifest into a component, where `strongroom_sandbox::section` finds it again.

use strongroom_core::manifest::SECTION;
use strongroom_core::{Failure, Kind};
use strongroom_sandbox::section::check_size;
pub use strongroom_sandbox::section::{Form, MAX_COMPONENT, form, manifest, validate};
use wasm_encoder::{ComponentSection, CustomSection};

/// Puts `manifest` into `component`.
///
/// # Errors
/// Those of [`manifest`], and `plugin.manifest-present` if there is one already.
pub fn embed(component: &[u8], manifest_bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    if manifest(component)?.is_some() {
        return Err(Failure::new(
            Kind::InvalidConfig,
            "plugin.manifest-present",
            "the component has a manifest already",
        )
        .help("give the component as its language's tools made it"));
    }
    check_size(manifest_bytes)?;
    let mut file = component.to_vec();
    CustomSection { name: SECTION.into(), data: manifest_bytes.into() }.append_to_component(&mut file);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use strongroom_core::manifest::MAX_BYTES as MAX_MANIFEST;

    use super::*;

    fn section(name: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        CustomSection { name: name.into(), data: data.into() }.append_to_component(&mut bytes);
        bytes
    }

    fn code<T>(answer: Result<T, Failure>) -> String {
        answer.map_or_else(|failure| failure.code().to_owned(), |_| "ok".into())
    }

    #[test]
    fn what_is_embedded_is_read_back_byte_for_byte() {
        let component = wat::parse_str("(component (core module))").unwrap();
        assert_eq!(manifest(&component).unwrap(), None);
        for text in [&b""[..], b"name = \"x\"\n", &[b'#'; MAX_MANIFEST], b"\xff\0"] {
            let file = embed(&component, text).unwrap();
            validate(&file).unwrap();
            assert_eq!(manifest(&file).unwrap(), Some(text));
            assert_eq!(code(embed(&file, text)), "plugin.manifest-present");
        }
        assert_eq!(code(embed(&component, &[b'#'; MAX_MANIFEST + 1])), "plugin.manifest-too-large");
    }

    #[test]
    fn a_file_with_two_manifests_or_a_hidden_one_is_refused() {
        let twice = [wat::parse_str("(component)").unwrap(), section(SECTION, b"a"), section(SECTION, b"a")].concat();
        assert_eq!(code(manifest(&twice)), "plugin.manifest-twice");
        let large = [wat::parse_str("(component)").unwrap(), section(SECTION, &[0; MAX_MANIFEST + 1])].concat();
        assert_eq!(code(manifest(&large)), "plugin.manifest-too-large");
        for nested in [
            format!("(component (core module (@custom \"{SECTION}\" \"a\")))"),
            format!("(component (component (@custom \"{SECTION}\" \"a\")))"),
            format!(
                "(component (component (core module (@custom \"{SECTION}\" \"a\"))) (@custom \"{SECTION}\" \"a\"))"
            ),
            format!("(component (@custom \"{SECTION}\" \"a\") (core module (@custom \"{SECTION}\" \"a\")))"),
        ] {
            let nested = wat::parse_str(nested).unwrap();
            validate(&nested).unwrap();
            assert_eq!(code(manifest(&nested)), "plugin.manifest-nested");
            assert_eq!(code(embed(&nested, b"a")), "plugin.manifest-nested");
        }
        // Only the exact name counts.
        let other = [wat::parse_str("(component)").unwrap(), section("strongroom:manifest@2", b"a")].concat();
        assert_eq!(manifest(&other).unwrap(), None);
    }

    #[test]
    fn what_is_no_component_says_what_it_is() {
        let module = wat::parse_str("(module)").unwrap();
        assert!(validate(&module).unwrap_err().message().as_str().contains("core WebAssembly module"));
        for bytes in [&b""[..], b"\0asm", b"#!/bin/sh", b"\0asm\x02\0\x01\0", &module] {
            assert_eq!(code(manifest(bytes)), "plugin.not-a-component", "{bytes:?}");
            assert_eq!(code(validate(bytes)), "plugin.not-a-component", "{bytes:?}");
        }
        let mut cut = wat::parse_str("(component (core module (func)))").unwrap();
        cut.pop();
        assert_eq!((code(manifest(&cut)), code(validate(&cut))), ("plugin.invalid".into(), "plugin.invalid".into()));
    }
}
