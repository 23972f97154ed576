//! Finds a standard library for plugins.
//!
//! Plugins are compiled for `wasm32-unknown-unknown`, which adds no import of its own. Its standard
//! library is a rustup target; where rustup can fetch nothing, Debian's compiler with the matching
//! sources builds one. Nothing is ever installed here: a failure says what to install.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use strongroom_core::{Failure, Kind};

use crate::command::{CommandLine, Run};

/// What plugins are compiled for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// A way to compile for [`TARGET`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Toolchain {
    /// The active toolchain has the target.
    Installed {
        /// Its root.
        sysroot: PathBuf,
    },
    /// Debian's compiler builds the standard library from Debian's sources, with stable cargo.
    Debian {
        /// The compiler.
        rustc: PathBuf,
        /// The linker for wasm.
        linker: PathBuf,
        /// Where the standard library's sources are.
        sources: PathBuf,
    },
}

impl Toolchain {
    /// The variables that make cargo use it.
    pub fn env(&self) -> Vec<(OsString, OsString)> {
        match self {
            Self::Installed { .. } => Vec::new(),
            Self::Debian { rustc, linker, .. } => vec![
                ("RUSTC".into(), rustc.into()),
                // Lets a stable compiler build its own standard library, and nothing else unstable here.
                ("RUSTC_BOOTSTRAP".into(), "1".into()),
                ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER".into(), linker.into()),
            ],
        }
    }

    /// The arguments that make cargo use it.
    pub fn args(&self) -> &'static [&'static str] {
        match self {
            Self::Installed { .. } => &[],
            Self::Debian { .. } => &["-Zbuild-std=std,panic_abort"],
        }
    }

    /// The folder from which the compiler may name sources of the standard library.
    pub fn sources(&self) -> PathBuf {
        match self {
            Self::Installed { sysroot } => sysroot.join("lib/rustlib/src/rust"),
            Self::Debian { sources, .. } => sources.clone(),
        }
    }
}

/// Finds a standard library for the crate in `folder`, whose own `rust-toolchain.toml` may choose the
/// toolchain.
///
/// # Errors
/// `build.no-rust` if there is no Rust at all, `build.no-std` if nothing can compile for [`TARGET`];
/// both say what to install.
pub fn find_std(run: Run<'_>, folder: &Path) -> Result<Toolchain, Failure> {
    find_std_under(run, folder, Path::new("/"))
}

/// As [`find_std`], with Debian's files under `root`.
fn find_std_under(run: Run<'_>, folder: &Path, root: &Path) -> Result<Toolchain, Failure> {
    let asked = CommandLine::new("rustc", folder).args(["--print", "sysroot"]).captured();
    let sysroot = run(&asked).ok().and_then(|output| String::from_utf8(output).ok());
    let Some(sysroot) = sysroot.map(|text| PathBuf::from(text.trim())).filter(|path| path.is_absolute()) else {
        return Err(Failure::new(Kind::Unsupported, "build.no-rust", "no Rust toolchain was found")
            .help("install Rust with rustup, so that `cargo` and `rustc` are in PATH"));
    };
    if has_std(&sysroot.join("lib/rustlib").join(TARGET).join("lib")) {
        return Ok(Toolchain::Installed { sysroot });
    }
    let rustc = root.join("usr/bin/rustc");
    let sources = root.join("usr/lib/rustlib/src/rust");
    let linker = find_linker(&sysroot, root);
    match linker {
        Some(linker) if rustc.is_file() && sources.join("library/std/Cargo.toml").is_file() => {
            Ok(Toolchain::Debian { rustc, linker, sources })
        }
        _ => {
            let message = format!("no standard library for {TARGET} was found, so plugins cannot be compiled");
            Err(Failure::new(Kind::Unsupported, "build.no-std", message)
                .help(format!("with rustup: rustup target add {TARGET}"))
                .help("on Debian: apt-get install --no-install-recommends rustc-web rust-web-src"))
        }
    }
}

fn has_std(folder: &Path) -> bool {
    let Ok(entries) = folder.read_dir() else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

/// A rustup toolchain brings `rust-lld`. (`gcc-ld/wasm-ld` beside it is a wrapper that does not work here.)
fn find_linker(sysroot: &Path, root: &Path) -> Option<PathBuf> {
    let hosts = sysroot.join("lib/rustlib").read_dir().into_iter().flatten().flatten();
    let mut ours: Vec<_> = hosts.map(|host| host.path().join("bin/rust-lld")).collect();
    ours.sort();
    ours.extend(["usr/bin/rust-lld", "usr/bin/wasm-ld"].map(|path| root.join(path)));
    ours.into_iter().find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn touch(path: PathBuf) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    #[test]
    fn the_installed_target_wins_then_debian_then_advice() {
        let folder = tempfile::tempdir().unwrap();
        let (root, sysroot) = (folder.path().join("root"), folder.path().join("sysroot"));
        let run = |line: &CommandLine| {
            assert_eq!((line.program.to_str(), line.captured), (Some("rustc"), true));
            Ok(format!("{}\n", sysroot.display()).into_bytes())
        };
        let find = || find_std_under(&run, folder.path(), &root);

        touch(sysroot.join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld"));
        let failure = find().unwrap_err();
        assert_eq!(failure.code(), "build.no-std");
        let advice = failure.helps().iter().map(|line| line.as_str()).collect::<Vec<_>>().join("\n");
        assert!(
            advice.contains("rustup target add wasm32-unknown-unknown") && advice.contains("rustc-web"),
            "{advice}"
        );

        touch(root.join("usr/bin/rustc"));
        assert_eq!(find().unwrap_err().code(), "build.no-std", "a compiler without the sources is no help");
        touch(root.join("usr/lib/rustlib/src/rust/library/std/Cargo.toml"));
        assert!(matches!(find().unwrap(), Toolchain::Debian { linker, .. } if linker.ends_with("bin/rust-lld")));

        touch(sysroot.join("lib/rustlib/wasm32-unknown-unknown/lib/libstd-1.rlib"));
        assert_eq!(find().unwrap(), Toolchain::Installed { sysroot: sysroot.clone() });
    }

    #[test]
    fn without_rust_the_failure_says_so() {
        let none = |_: &CommandLine| Err(Failure::new(Kind::Internal, "process.not-found", "no such program"));
        assert_eq!(find_std(&none, Path::new("/")).unwrap_err().code(), "build.no-rust");
        let nonsense = |_: &CommandLine| Ok(b"nonsense".to_vec());
        assert_eq!(find_std(&nonsense, Path::new("/")).unwrap_err().code(), "build.no-rust");
    }
}
