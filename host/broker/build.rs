//! Says what to do where the bundled plugins are not built yet: `bundled.rs` embeds them.

use std::path::Path;

fn main() {
    let folder = Path::new("../../plugins/bundled");
    for name in [
        "auth-token",
        "azure-key-vault",
        "azure-workspace-connection",
        "device-code",
        "env",
        "keys",
        "managed-identity",
        "service-principal",
    ] {
        for ending in ["cwasm", "digest"] {
            let file = folder.join(format!("{name}.{ending}"));
            println!("cargo::rerun-if-changed={}", file.display());
            if !file.exists() {
                println!("cargo::error=the bundled plugins are not built yet: run `cargo xtask plugins` once");
                return;
            }
        }
    }
}
