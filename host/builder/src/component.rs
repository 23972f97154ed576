//! The format of a plugin file.
//!
//! One component, with exactly one custom section [`SECTION`] at its top level that holds the bytes
//! of `plugin.toml` as they are. A second one, or one inside a nested module or component, would let
//! two readers see two manifests, so either is an error wherever a plugin file is read.

use strongroom_core::{Failure, Kind, Text};
use wasm_encoder::{ComponentSection, CustomSection};
use wasmparser::{Encoding, Parser, Payload, Validator};

/// The custom section that holds the manifest.
pub const SECTION: &str = "strongroom:manifest@1";

/// The largest manifest, in bytes: 64 KiB.
pub const MAX_MANIFEST: usize = 64 * 1024;

/// The largest plugin file, in bytes. A Python plugin is 18 MB.
pub const MAX_COMPONENT: usize = 128 << 20;

/// What a file is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A component.
    Component,
    /// A core module.
    Module,
    /// No WebAssembly, or none of a known version.
    Other,
}

/// Says what a file is. Reads its header only.
pub fn form(bytes: &[u8]) -> Form {
    if !Parser::is_component(bytes) && !Parser::is_core_wasm(bytes) {
        return Form::Other;
    }
    match Parser::new(0).parse_all(bytes).next() {
        Some(Ok(Payload::Version { encoding: Encoding::Component, .. })) => Form::Component,
        Some(Ok(Payload::Version { encoding: Encoding::Module, .. })) => Form::Module,
        _ => Form::Other,
    }
}

/// The manifest's bytes in a component; `None` if it has none. Reads every section, runs nothing,
/// and does not validate the code.
///
/// # Errors
/// `plugin.not-a-component`, `plugin.too-large`, `plugin.invalid`, `plugin.manifest-twice`,
/// `plugin.manifest-nested`, `plugin.manifest-too-large`.
pub fn manifest(component: &[u8]) -> Result<Option<&[u8]>, Failure> {
    check_form(component)?;
    let mut found = None;
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(|error| invalid(&error.to_string()))? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if section.name() == SECTION => {
                if depth != 1 {
                    return Err(wrong(
                        "plugin.manifest-nested",
                        "the manifest is inside a nested module or component, not at the top of the plugin file",
                    ));
                }
                if found.is_some() {
                    return Err(wrong("plugin.manifest-twice", "the plugin file has more than one manifest"));
                }
                check_size(section.data())?;
                found = Some(section.data());
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Puts `manifest` into `component`.
///
/// # Errors
/// Those of [`manifest`], and `plugin.manifest-present` if there is one already.
pub fn embed(component: &[u8], manifest_bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    if manifest(component)?.is_some() {
        return Err(wrong("plugin.manifest-present", "the component has a manifest already")
            .help("give the component as its language's tools made it"));
    }
    check_size(manifest_bytes)?;
    let mut file = component.to_vec();
    CustomSection { name: SECTION.into(), data: manifest_bytes.into() }.append_to_component(&mut file);
    Ok(file)
}

/// Checks that a file is a valid component, code and all.
///
/// # Errors
/// `plugin.not-a-component`, `plugin.too-large`, `plugin.invalid`.
pub fn validate(component: &[u8]) -> Result<(), Failure> {
    check_form(component)?;
    match Validator::new().validate_all(component) {
        Ok(_) => Ok(()),
        Err(error) => Err(invalid(&error.to_string())),
    }
}

fn check_form(bytes: &[u8]) -> Result<(), Failure> {
    let code = "plugin.not-a-component";
    match form(bytes) {
        Form::Component if bytes.len() > MAX_COMPONENT => {
            let message = format!("a plugin file has at most {} MiB", MAX_COMPONENT >> 20);
            Err(Failure::new(Kind::LimitExceeded, "plugin.too-large", message))
        }
        Form::Component => Ok(()),
        Form::Module => Err(wrong(code, "the file is a core WebAssembly module, not a component")
            .help("`strongroom plugin build` makes a component of it")),
        Form::Other => Err(wrong(code, "the file is no WebAssembly component")),
    }
}

fn check_size(manifest: &[u8]) -> Result<(), Failure> {
    if manifest.len() > MAX_MANIFEST {
        let message = format!("the manifest has {} bytes, and may have {MAX_MANIFEST}", manifest.len());
        return Err(wrong("plugin.manifest-too-large", message));
    }
    Ok(())
}

fn invalid(why: &str) -> Failure {
    wrong("plugin.invalid", format!("the file is no valid WebAssembly component: {why}"))
}

fn wrong(code: &'static str, message: impl Into<Text>) -> Failure {
    Failure::new(Kind::InvalidConfig, code, message)
}

#[cfg(test)]
mod tests {
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
