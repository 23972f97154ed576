//! Tells the crate which target it is built for: what guests are compiled for, too.

fn main() {
    // Cargo always sets it for build scripts.
    #[allow(clippy::disallowed_methods, reason = "a build script talks to cargo through the environment")]
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=STRONGROOM_TARGET={target}");
    println!("cargo::rerun-if-changed=build.rs");
}
