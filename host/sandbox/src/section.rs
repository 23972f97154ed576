//! What a plugin file is and the manifest inside it, found without running or compiling anything.
//!
//! A manifest counts only as the one custom section at the component's top: a second one, or one in
//! a nested module, is an attempt to show one thing and be another.

use strongroom_core::manifest::{MAX_BYTES as MAX_MANIFEST, SECTION};
use strongroom_core::{Failure, Kind, Text};
use wasmparser::{Encoding, Parser, Payload, Validator};

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

/// Refuses a manifest above [`MAX_MANIFEST`].
///
/// # Errors
/// `plugin.manifest-too-large`.
pub fn check_size(manifest: &[u8]) -> Result<(), Failure> {
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
