//! The plugins that are part of this very binary: their code, digest and manifest.
//!
//! They are embedded, not found beside the program, so that nothing on disk can take their place and
//! starting one reads no file (docs/decisions/0003-bundled-plugins.md).

use strongroom_core::{Digest, Failure, Kind, Manifest, Text};

/// One bundled plugin.
#[derive(Debug)]
pub struct Bundled {
    /// Its name: that of its manifest.
    pub name: &'static str,
    manifest: &'static str,
    digest: &'static str,
    pub(crate) code: &'static [u8],
}

macro_rules! bundled {
    ($name:literal) => {
        Bundled {
            name: $name,
            manifest: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/", $name, "/plugin.toml")),
            digest: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/bundled/", $name, ".digest")),
            code: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/bundled/", $name, ".cwasm")),
        }
    };
}

/// All of them: an entry for each name in `plugins/bundled.rs`, which the build script writes.
pub static ALL: &[Bundled] = include!(concat!(env!("OUT_DIR"), "/bundled.rs"));

/// The bundled plugin `name`.
pub fn find(name: &str) -> Option<&'static Bundled> {
    ALL.iter().find(|bundled| bundled.name == name)
}

impl Bundled {
    /// Its manifest.
    ///
    /// # Errors
    /// None that a test of this crate would not find.
    pub fn manifest(&self) -> Result<Manifest, Failure> {
        Manifest::parse(self.manifest.as_bytes(), Text::new(format!("manifest of {}", self.name)))
    }

    /// The digest of its component.
    ///
    /// # Errors
    /// None that a test of this crate would not find.
    pub fn digest(&self) -> Result<Digest, Failure> {
        Digest::parse(self.digest.trim())
            .map_err(|_| Failure::new(Kind::Internal, "bundled.digest", "this build of Strongroom is broken"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bundled_plugin_names_itself_and_checks() {
        for bundled in ALL {
            let manifest = bundled.manifest().unwrap();
            assert_eq!(manifest.name.as_str(), bundled.name);
            manifest.check().unwrap();
            // Those that must be told something say so; the others take no config at all.
            let told = manifest.check_config(&serde_json::json!({}));
            assert_eq!(told.is_ok(), bundled.name != "azure-workspace-connection", "{}", bundled.name);
            bundled.digest().unwrap();
        }
    }
}
