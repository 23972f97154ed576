//! The manifest inside a component, found without running or compiling anything.

use strongroom_core::{Failure, Kind, manifest};
use wasmparser::{Encoding, Parser, Payload};

/// The bytes of the one top-level custom section that holds the manifest.
///
/// # Errors
/// `plugin.not-a-component` for anything else, `plugin.no-manifest`, `plugin.manifest-twice` (also
/// where a second one hides in an inner component or module), `manifest.too-large`.
pub fn manifest(component: &[u8]) -> Result<&[u8], Failure> {
    let mut found: Option<&[u8]> = None;
    let mut depth = 0_u32;
    let mut first = true;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(|_| not_a_component())? {
            Payload::Version { encoding, .. } => {
                if std::mem::take(&mut first) {
                    if encoding != Encoding::Component {
                        return Err(not_a_component());
                    }
                } else {
                    depth += 1;
                }
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if section.name() == manifest::SECTION => {
                if depth > 0 || found.is_some() {
                    return Err(Failure::new(
                        Kind::InvalidConfig,
                        "plugin.manifest-twice",
                        "the component has more than one manifest, or one where none belongs",
                    )
                    .help("build it again with strongroom plugin build, which embeds exactly one"));
                }
                found = Some(section.data());
            }
            _ => {}
        }
    }
    let found = found.ok_or_else(|| {
        Failure::new(Kind::InvalidConfig, "plugin.no-manifest", "the component has no manifest in it")
            .help("strongroom plugin build --component FILE --manifest plugin.toml adds one")
    })?;
    if found.len() > manifest::MAX_BYTES {
        return Err(Failure::new(Kind::InvalidConfig, "manifest.too-large", "the manifest is larger than 64 KiB"));
    }
    Ok(found)
}

fn not_a_component() -> Failure {
    Failure::new(Kind::InvalidConfig, "plugin.not-a-component", "this is no WebAssembly component")
        .help("strongroom plugin build makes one from source")
}
