//! Accepting a plugin: from a file to an entry in config and lock, by a person.
//!
//! A [`Proposal`] holds what is to be shown before; writing it changes two files and nothing else.
//! What a person reads is made from the parsed rights, never from the manifest's own prose.

use std::fs;
use std::path::{Path, PathBuf};

use strongroom_core::config::Layer;
use strongroom_core::config::trust::Trust;
use strongroom_core::lock::{Locked, difference};
use strongroom_core::rights::RightsDiff;
use strongroom_core::{Digest, Failure, Kind, Lock, Manifest, Name, Rights, Text};
use toml_edit::{DocumentMut, InlineTable, Item, Table, value};

use crate::Strongroom;
use crate::discover::{self, LOCK_NAME};
use crate::paths::Paths;

/// What accepting a plugin would mean.
#[derive(Debug)]
pub struct Proposal {
    /// What the plugin says about itself.
    pub manifest: Manifest,
    /// The file's digest.
    pub digest: Digest,
    /// What it may do.
    pub rights: Rights,
    /// The mount it would answer.
    pub mount: Name,
    /// What changes against the lock, if it holds the plugin already.
    pub difference: Option<RightsDiff>,
    /// The config file that would be written.
    pub config: PathBuf,
    /// The plugin's path as it would stand there.
    pub path: String,
}

/// The config file that plugins are written into: the one that was named, else the project's, else
/// the user's own.
///
/// # Errors
/// `unsupported` where the user has no folder for one.
pub fn target(files: &[(Layer, PathBuf)], paths: &Paths) -> Result<PathBuf, Failure> {
    let strongest = [Layer::Explicit, Layer::Project, Layer::User];
    let found = strongest.iter().find_map(|layer| files.iter().find(|(of, _)| of == layer));
    match found {
        Some((_, path)) => Ok(path.clone()),
        None => paths.config.clone().ok_or_else(discover::no_state),
    }
}

impl Strongroom {
    /// Looks at the plugin file and says what accepting it would mean. It is compiled and not run.
    ///
    /// # Errors
    /// What is wrong with the file, or with its place: a project's config names only plugins inside
    /// the project.
    pub fn propose(&self, file: &Path, mount: Option<&str>, paths: &Paths) -> Result<Proposal, Failure> {
        let file = fs::canonicalize(file).map_err(|error| {
            Failure::new(Kind::NotFound, "plugin.unreadable", format!("cannot read {}: {error}", file.display()))
        })?;
        let (manifest, digest, rights) = self.look_at_plugin(&file)?;
        let mount = match mount {
            Some(name) => Name::parse(name).map_err(|error| {
                Failure::new(Kind::InvalidConfig, "usage.mount", format!("this is no mount's name: {error}"))
            })?,
            None => manifest.name.clone(),
        };
        let config = target(self.config_files(), paths)?;
        let folder = config.parent().map(Path::to_owned).unwrap_or_default();
        let folder = fs::canonicalize(&folder).unwrap_or(folder);
        let project = self.config_files().iter().any(|(layer, path)| *layer == Layer::Project && *path == config);
        let path = match file.strip_prefix(&folder) {
            Ok(inside) => inside,
            Err(_) if project => {
                return Err(Failure::new(
                    Kind::InvalidConfig,
                    "config.project",
                    format!(
                        "a project's config names only plugins inside the project, and {} is outside",
                        file.display()
                    ),
                )
                .help("copy the plugin into the project, or name your own config with --config"));
            }
            Err(_) => &file,
        };
        let path = path.to_str().ok_or_else(|| {
            Failure::new(Kind::InvalidConfig, "plugin.path", "a plugin whose path is no UTF-8 cannot stand in a config")
        })?;
        let lock = read_lock(&config)?;
        let difference = lock.get(&manifest.name).map(|locked| difference(&locked.rights, &rights));
        Ok(Proposal { manifest, digest, rights, mount, difference, config, path: path.to_owned() })
    }
}

impl Proposal {
    /// For an auth plugin: the credential that its operator has yet to write, as TOML to begin with.
    pub fn credential(&self) -> Option<String> {
        let text = |text: &str| toml_edit::Value::from(text).to_string();
        let inputs = self.manifest.sealed.keys().map(|input| format!("{input} = \"${{{{env:NAME}}}}\""));
        self.manifest.is_auth().then(|| {
            format!(
                "[credentials.{}]\nplugin = {{ path = {}, digest = \"{}\" }}\nsealed = {{ {} }}\naudiences = [\"https://...\"]\n",
                self.mount,
                text(&self.path).trim(),
                self.digest,
                inputs.collect::<Vec<_>>().join(", "),
            )
        })
    }

    /// Writes config and lock. A project's file that was trusted stays so: who accepts the plugin
    /// agrees with what it becomes.
    ///
    /// # Errors
    /// What cannot be read or written. The lock is written first: a lock entry by itself runs nothing.
    pub fn accept(self, paths: &Paths) -> Result<(), Failure> {
        let trusted = discover::trust_of(&self.config, paths)? == Some(Trust::Trusted);
        let mut document = read_document(&self.config)?;
        // In a file of comments alone they stand after everything, which is what is added here; the
        // first of them may be the line that tells editors the schema.
        let comments = if document.is_empty() {
            document.trailing().as_str().unwrap_or_default().to_owned()
        } else {
            String::new()
        };
        if !comments.is_empty() && !self.manifest.is_auth() {
            document.set_trailing("");
        }
        let mut plugin = InlineTable::new();
        plugin.insert("path", self.path.as_str().into());
        plugin.insert("digest", self.digest.to_string().into());
        if self.manifest.is_auth() {
            // What a credential is for, nobody but its operator knows: an entry that is there follows the
            // new digest, and a new one is theirs to write.
            for (_, entry) in
                document.get_mut("credentials").and_then(Item::as_table_like_mut).into_iter().flat_map(|c| c.iter_mut())
            {
                let named = entry.get("plugin").and_then(|plugin| plugin.get("path")).and_then(Item::as_str);
                if named == Some(self.path.as_str())
                    && let Some(entry) = entry.as_table_like_mut()
                {
                    entry.insert("plugin", value(plugin.clone()));
                }
            }
        } else {
            let mounts = document.entry("mounts").or_insert_with(|| Item::Table(implicit_table()));
            let mounts = mounts.as_table_mut().ok_or_else(|| not_editable(&self.config, "mounts"))?;
            let entry = mounts.entry(self.mount.as_str()).or_insert_with(|| {
                let mut table = Table::new();
                if !comments.is_empty() {
                    table.decor_mut().set_prefix(format!("{comments}\n"));
                }
                Item::Table(table)
            });
            let entry = entry.as_table_like_mut().ok_or_else(|| not_editable(&self.config, self.mount.as_str()))?;
            entry.insert("plugin", value(plugin));
            if !entry.contains_key("scheme")
                && let Some(scheme) = self.manifest.schemes.first()
            {
                entry.insert("scheme", value(scheme));
            }
        }
        let mut lock = read_lock(&self.config)?;
        lock.insert(Locked {
            name: self.manifest.name.clone(),
            version: self.manifest.version.clone(),
            digest: self.digest,
            rights: self.rights,
        });
        write(&self.config.with_file_name(LOCK_NAME), &lock.to_toml()?)?;
        write(&self.config, &document.to_string())?;
        if trusted {
            discover::trust(&self.config, paths)?;
        }
        Ok(())
    }
}

/// Takes the plugin `name` out of `config` and its lock, with the mounts it answers. Gives their
/// names.
///
/// # Errors
/// `not-found` if the lock does not hold it; what cannot be read or written.
pub fn remove(name: &Name, config: &Path, paths: &Paths) -> Result<Vec<String>, Failure> {
    let trusted = discover::trust_of(config, paths)? == Some(Trust::Trusted);
    let mut lock = read_lock(config)?;
    let locked = lock.remove(name).ok_or_else(|| {
        Failure::new(
            Kind::NotFound,
            "plugin.not-accepted",
            format!("{} holds no plugin {name}", config.with_file_name(LOCK_NAME).display()),
        )
        .help("strongroom plugin list tells which there are")
    })?;
    let mut document = read_document(config)?;
    let mut removed = Vec::new();
    for kind in ["mounts", "credentials"] {
        let Some(mounts) = document.get_mut(kind).and_then(Item::as_table_like_mut) else { continue };
        let digest = locked.digest.to_string();
        let answers = |item: &Item| {
            let plugin = item.as_table_like().and_then(|mount| mount.get("plugin")).and_then(Item::as_table_like);
            plugin.and_then(|plugin| plugin.get("digest")).and_then(Item::as_str) == Some(digest.as_str())
        };
        let of_it: Vec<String> =
            mounts.iter().filter(|(_, item)| answers(item)).map(|(name, _)| name.to_owned()).collect();
        for mount in &of_it {
            mounts.remove(mount);
        }
        removed.extend(of_it);
    }
    // The config first: a mount without its lock entry would stop everything.
    write(config, &document.to_string())?;
    write(&config.with_file_name(LOCK_NAME), &lock.to_toml()?)?;
    if trusted {
        discover::trust(config, paths)?;
    }
    Ok(removed)
}

/// The lock beside `config`; empty if there is none.
///
/// # Errors
/// As reading config files.
pub fn read_lock(config: &Path) -> Result<Lock, Failure> {
    let path = config.with_file_name(LOCK_NAME);
    match discover::read_text(&path)? {
        Some(text) => Lock::parse(&text, Text::new(path.display().to_string())),
        None => Ok(Lock::default()),
    }
}

fn implicit_table() -> Table {
    let mut table = Table::new();
    table.set_implicit(true);
    table
}

fn read_document(config: &Path) -> Result<DocumentMut, Failure> {
    let text = discover::read_text(config)?.unwrap_or_default();
    text.parse().map_err(|_| not_editable(config, "the file"))
}

fn not_editable(config: &Path, what: &str) -> Failure {
    Failure::new(Kind::InvalidConfig, "config.edit", format!("cannot edit {what} in {}", config.display()))
        .help("write the mount by hand; strongroom plugin inspect shows the digest")
}

/// Replaces a config file at once. It is no secret, and others may read it.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let failed = |error: std::io::Error| {
        Failure::new(Kind::Unavailable, "config.write", format!("cannot write {}: {error}", path.display()))
    };
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    let mode = fs::metadata(path).map_or(0o644, |metadata| metadata.permissions().mode() & 0o755);
    strongroom_process::write_secret_file(path, text.as_bytes(), true)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)
}
