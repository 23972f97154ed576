//! Lists the bundled plugins for `bundled.rs`, which embeds them, and says what to do where they are not
//! built yet.

use std::path::Path;

const BUNDLED: &[&str] = &include!("../../plugins/bundled.rs");

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=../../plugins/bundled.rs");
    let folder = Path::new("../../plugins/bundled");
    let mut entries = String::new();
    for name in BUNDLED {
        for ending in ["cwasm", "digest"] {
            let file = folder.join(format!("{name}.{ending}"));
            println!("cargo::rerun-if-changed={}", file.display());
            if !file.exists() {
                println!("cargo::error=the bundled plugins are not built yet: run `cargo xtask plugins` once");
                return Ok(());
            }
        }
        let tools = Path::new("../../plugins").join(name).join("tools.toml");
        println!("cargo::rerun-if-changed={}", tools.display());
        let declared = if tools.exists() { std::fs::read_to_string(tools)? } else { String::new() };
        entries += &format!("bundled!({name:?}, {declared:?}), ");
    }
    let out = std::env::var_os("OUT_DIR").unwrap_or_default();
    std::fs::write(Path::new(&out).join("bundled.rs"), format!("&[{entries}]"))
}
