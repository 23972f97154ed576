//! Finding and reading config files, and who is trusted to have written them.
//!
//! A file is read once, and the bytes that were hashed for trust are the bytes that are parsed. A
//! project's file that nobody trusted is an error, never skipped: skipping would run the same command
//! with another meaning.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use strongroom_core::config::trust::{Trust, TrustRecord, TrustRecords};
use strongroom_core::config::{Config, Effective, Layer, Layers};
use strongroom_core::{Digest, Failure, Kind, Lock, Text};

use crate::elsewhere::ConfigFile;
use crate::environment::Environment;
use crate::paths::Paths;

/// The name of a config file.
pub const CONFIG_NAME: &str = "strongroom.toml";
/// The name of the lock beside it.
pub const LOCK_NAME: &str = "strongroom.lock";

/// Which files to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `--config`'s file if there is one, else `STRONGROOM_CONFIG`'s, else the nearest
    /// `strongroom.toml` from this folder up to the repository's root; and the user's own.
    Discover {
        /// Where to begin.
        folder: PathBuf,
        /// A file that was named outright.
        explicit: Option<PathBuf>,
    },
    /// As [`Source::Discover`], but never a project's file: for a server, which belongs to no folder.
    OwnFiles {
        /// What a relative path of `explicit` is seen from.
        folder: PathBuf,
        /// A file that was named outright.
        explicit: Option<PathBuf>,
    },
    /// This text, as a file that was named outright, with relative paths seen from `folder`.
    Text {
        /// TOML.
        text: String,
        /// For relative paths, and for the lock.
        folder: PathBuf,
    },
    /// No file at all: the built-in mounts.
    Nothing,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) effective: Effective,
    /// The folder and lock of each layer that has a file.
    pub(crate) homes: BTreeMap<Layer, Home>,
    /// The project's file that was used, for `list --sources` and `doctor`.
    pub(crate) files: Vec<(Layer, PathBuf)>,
    /// The same with what was in them, where that was asked for.
    pub(crate) contents: Vec<ConfigFile>,
}

/// Where a config file lies, for its relative paths, and the lock beside it.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub(crate) folder: PathBuf,
    pub(crate) lock: Lock,
}

/// A file's text and the folder it lies in.
struct Sheet {
    path: PathBuf,
    text: String,
    lock: Option<String>,
}

/// Finds and reads the files. `digests` is whether [`Found::contents`] is wanted.
pub(crate) fn find(source: &Source, environment: &Environment, paths: &Paths, digests: bool) -> Result<Found, Failure> {
    let mut layers = Layers::default();
    let mut homes = BTreeMap::new();
    let mut files = Vec::new();
    let mut contents = Vec::new();
    let mut take = |sheet: Sheet, layer: Layer| -> Result<Config, Failure> {
        let origin = Text::new(sheet.path.display().to_string());
        let config = Config::parse(&sheet.text, origin, layer)?;
        let folder = sheet.path.parent().map(Path::to_owned).unwrap_or_default();
        let lock_name = Text::new(folder.join(LOCK_NAME).display().to_string());
        let lock_text = if digests { sheet.lock.clone().unwrap_or_default() } else { String::new() };
        let lock = sheet.lock.map(|text| Lock::parse(&text, lock_name)).transpose()?.unwrap_or_default();
        homes.insert(layer, Home { folder, lock });
        if digests {
            let digest = Digest::of(format!("{}\n{}\n{lock_text}", sheet.text.len(), sheet.text).as_bytes());
            contents.push(ConfigFile { path: sheet.path.clone(), digest });
        }
        files.push((layer, sheet.path));
        Ok(config)
    };
    match source {
        Source::Nothing => {}
        Source::Text { text, folder } => {
            let lock = read_text(&folder.join(LOCK_NAME))?;
            let sheet = Sheet { path: folder.join(CONFIG_NAME), text: text.clone(), lock };
            layers.explicit = Some(take(sheet, Layer::Explicit)?);
        }
        Source::Discover { folder, explicit } | Source::OwnFiles { folder, explicit } => {
            let discovers = matches!(source, Source::Discover { .. });
            let named = explicit.clone().or_else(|| environment.setting("STRONGROOM_CONFIG").map(PathBuf::from));
            let user = paths.config.as_deref();
            if let Some(path) = named {
                let path = folder.join(path);
                let sheet = read_sheet(&path)?.ok_or_else(|| absent(&path))?;
                layers.explicit = Some(take(sheet, Layer::Explicit)?);
            } else if let Some(path) = nearest(folder, user).filter(|_| discovers) {
                let sheet = read_sheet(&path)?.ok_or_else(|| absent(&path))?;
                check_trust(&sheet, paths, "to run without it: name another config with --config")?;
                layers.project = Some(take(sheet, Layer::Project)?);
            }
            if let Some(sheet) = user.map(read_sheet).transpose()?.flatten() {
                layers.user = Some(take(sheet, Layer::User)?);
            }
        }
    }
    Ok(Found { effective: layers.merge()?, homes, files, contents })
}

/// The config files that would be read, there or not, and the lock beside each.
pub(crate) fn candidates(source: &Source, environment: &Environment, paths: &Paths) -> Vec<PathBuf> {
    let (folder, explicit) = match source {
        Source::Nothing | Source::Text { .. } => return Vec::new(),
        Source::Discover { folder, explicit } | Source::OwnFiles { folder, explicit } => (folder, explicit),
    };
    let named = explicit.clone().or_else(|| environment.setting("STRONGROOM_CONFIG").map(PathBuf::from));
    let named = named.map(|path| folder.join(path));
    let project = match source {
        Source::Discover { .. } if named.is_none() => nearest(folder, paths.config.as_deref()),
        _ => None,
    };
    let configs = named.into_iter().chain(project).chain(paths.config.clone());
    configs.flat_map(|config| [config.with_file_name(LOCK_NAME), config]).collect()
}

/// The nearest `strongroom.toml`, from `folder` up to the first that holds `.git`, or the root.
/// The user's own file is not a project's.
pub fn nearest(folder: &Path, user: Option<&Path>) -> Option<PathBuf> {
    for folder in folder.ancestors() {
        let candidate = folder.join(CONFIG_NAME);
        if user != Some(candidate.as_path()) && candidate.symlink_metadata().is_ok() {
            return Some(candidate);
        }
        if folder.join(".git").symlink_metadata().is_ok() {
            return None;
        }
    }
    None
}

fn read_sheet(path: &Path) -> Result<Option<Sheet>, Failure> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    let lock = if is_data(path) { None } else { read_text(&path.with_file_name(LOCK_NAME))? };
    Ok(Some(Sheet { path: path.to_owned(), text, lock }))
}

/// Whether the file is one that a manifest's `[[config-from]]` reads, and no config.
pub fn is_data(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

/// A file that tells mounts their config: the text, if it is trusted as it is now.
pub(crate) fn read_data(path: &Path, paths: &Paths) -> Result<String, Failure> {
    let sheet = read_sheet(path)?.ok_or_else(|| {
        Failure::new(Kind::InvalidConfig, "config.absent", format!("there is no file at {}", path.display()))
    })?;
    check_trust(&sheet, paths, "to run without it: say in the mount's own `config` what it tells")?;
    Ok(sheet.text)
}

/// A config file's text, if it is there and nobody but its owner can write it.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>, Failure> {
    let shown = path.display();
    let cannot =
        |why: String| Failure::new(Kind::InvalidConfig, "config.unreadable", format!("cannot read {shown}: {why}"));
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(cannot(error.to_string())),
    };
    let metadata = file.metadata().map_err(|error| cannot(error.to_string()))?;
    if !metadata.is_file() {
        return Err(cannot("it is no file".to_owned()));
    }
    let mine = metadata.uid() == 0 || metadata.uid() == rustix::process::geteuid().as_raw();
    if !mine || metadata.mode() & 0o022 != 0 {
        return Err(Failure::new(
            Kind::InvalidConfig,
            "config.permissions",
            format!("others could have written {shown}"),
        )
        .help(format!("it must belong to you or root: chmod go-w {shown}")));
    }
    let mut text = String::new();
    let limit = strongroom_core::config::MAX_BYTES as u64 + 1;
    file.by_ref().take(limit).read_to_string(&mut text).map_err(|error| cannot(error.to_string()))?;
    Ok(Some(text))
}

fn absent(path: &Path) -> Failure {
    Failure::new(Kind::InvalidConfig, "config.absent", format!("there is no config file at {}", path.display()))
        .help("strongroom init writes one")
}

/// What trusting this file means: its path and the digests of its bytes and its lock's.
fn record_of(sheet: &Sheet) -> Result<TrustRecord, Failure> {
    let resolved = fs::canonicalize(&sheet.path).map_err(|error| {
        Failure::new(Kind::InvalidConfig, "config.unreadable", format!("cannot read {}: {error}", sheet.path.display()))
    })?;
    let path = resolved.to_str().ok_or_else(|| {
        Failure::new(Kind::InvalidConfig, "trust.path", "a project whose path is no UTF-8 cannot be trusted")
    })?;
    Ok(TrustRecord {
        path: path.to_owned(),
        config: Digest::of(sheet.text.as_bytes()),
        lock: sheet.lock.as_ref().map(|text| Digest::of(text.as_bytes())),
        ca: BTreeMap::new(),
    })
}

fn read_records(paths: &Paths) -> Result<TrustRecords, Failure> {
    let Some(path) = paths.trust() else { return Ok(TrustRecords::default()) };
    let text = read_text(&path)?.unwrap_or_default();
    TrustRecords::parse(&text, Text::new(path.display().to_string()))
}

fn check_trust(sheet: &Sheet, paths: &Paths, without: &str) -> Result<(), Failure> {
    let shown = sheet.path.display().to_string();
    let (what, name) = match is_data(&sheet.path) {
        true => ("file", format!(" {shown}")),
        false => ("config", String::new()),
    };
    let (code, message) = match read_records(paths)?.look_up(&record_of(sheet)?) {
        Trust::Trusted => return Ok(()),
        Trust::Unknown => ("trust.unknown", format!("you have not trusted the project's {what} {shown}")),
        Trust::Changed(parts) => {
            let parts = parts.join(" and the ").replace("config", if what == "file" { "content" } else { "config" });
            ("trust.changed", format!("the {parts} of {shown} changed since you trusted it"))
        }
    };
    Err(Failure::new(Kind::PolicyDenied, code, message)
        .help(format!("read it; if you agree with what it does: strongroom trust{name}"))
        .help(without))
}

/// Whether the file at `path` is trusted as it is now; `None` if there is no file.
pub(crate) fn trust_of(path: &Path, paths: &Paths) -> Result<Option<Trust>, Failure> {
    let Some(sheet) = read_sheet(path)? else { return Ok(None) };
    Ok(Some(read_records(paths)?.look_up(&record_of(&sheet)?)))
}

/// Trusts the project's file at `path` as it is now. Gives what was recorded.
///
/// # Errors
/// As reading config files; `unsupported` without a state folder.
pub fn trust(path: &Path, paths: &Paths) -> Result<TrustRecord, Failure> {
    let sheet = read_sheet(path)?.ok_or_else(|| absent(path))?;
    // What does not parse is not worth trusting, and its error is the more useful one.
    if !is_data(path) {
        Config::parse(&sheet.text, Text::new(path.display().to_string()), Layer::Project)?;
    }
    let record = record_of(&sheet)?;
    let file = paths.trust().ok_or_else(no_state)?;
    let mut records = read_records(paths)?;
    records.insert(record.clone());
    write_private(&file, records.to_toml()?.as_bytes())?;
    Ok(record)
}

/// Forgets that `path` was trusted. True if it was.
///
/// # Errors
/// As [`trust`].
pub fn distrust(path: &Path, paths: &Paths) -> Result<bool, Failure> {
    let file = paths.trust().ok_or_else(no_state)?;
    let mut records = read_records(paths)?;
    let resolved = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let known = records.remove(&resolved.to_string_lossy()).is_some();
    if known {
        write_private(&file, records.to_toml()?.as_bytes())?;
    }
    Ok(known)
}

pub(crate) fn no_state() -> Failure {
    Failure::new(Kind::Unsupported, "state.none", "there is no folder for Strongroom's own files")
        .help("set HOME, or XDG_STATE_HOME to an absolute path")
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
            Failure::new(Kind::Internal, "state.folder", format!("cannot make {}: {error}", folder.display()))
        })?;
    }
    strongroom_process::write_secret_file(path, bytes, true)
}
