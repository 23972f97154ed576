//! The plugins that are part of this very binary: their code, digest and manifest.
//!
//! They are embedded, not found beside the program, so that nothing on disk can take their place and
//! starting one reads no file (docs/decisions/0003-bundled-plugins.md).

use std::collections::BTreeMap;

use strongroom_core::config::Tool;
use strongroom_core::{Digest, Failure, Kind, Manifest, Text};

/// One bundled plugin.
#[derive(Debug)]
pub struct Bundled {
    /// Its name: that of its manifest.
    pub name: &'static str,
    manifest: &'static str,
    digest: &'static str,
    pub(crate) code: &'static [u8],
    /// The tools that the release declares for it, as its `tools.toml` says; empty for most.
    tools: &'static str,
}

macro_rules! bundled {
    ($name:literal, $tools:expr) => {
        Bundled {
            name: $name,
            tools: $tools,
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

    /// The tools that the release declares for it, by name.
    ///
    /// # Errors
    /// None that a test of this crate would not find.
    pub fn tools(&self) -> Result<BTreeMap<String, Tool>, Failure> {
        match self.tools {
            "" => Ok(BTreeMap::new()),
            text => Tool::of_release(text, Text::new(format!("tools of {}", self.name))),
        }
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
            let must_be_told = ["azure-workspace-connection", "azureml-keyvault", "token-command"];
            assert_eq!(told.is_ok(), !must_be_told.contains(&bundled.name), "{}", bundled.name);
            bundled.digest().unwrap();
            let declared = bundled.tools().unwrap();
            let literal = manifest.tools.iter().filter(|name| name.placeholders().next().is_none());
            assert!(literal.into_iter().all(|name| declared.contains_key(name.as_str())), "{}", bundled.name);
        }
    }
}
