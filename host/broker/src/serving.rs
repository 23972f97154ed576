//! What a config says of serving: the server's own part of it, handed on as it stands.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use strongroom_core::config::doors::Doors;
use strongroom_core::config::listeners::{At, Door, Listener, ServerConfig};
use strongroom_core::{Digest, Failure, Name, Reference};

use crate::discover::{self, Found};
use crate::mounts::Provider;
use crate::paths::{Paths, beside};
use crate::{Setup, Strongroom};

/// The listeners, each with the folder that its relative paths are seen from, the limits, and what stands behind doors.
pub(crate) struct Serving {
    listeners: BTreeMap<Name, (Listener, PathBuf)>,
    server: ServerConfig,
    doors: Doors,
}

impl Serving {
    pub(crate) fn new(found: &mut Found) -> Self {
        let listeners = std::mem::take(&mut found.effective.listeners);
        let server = std::mem::take(&mut found.effective.server);
        let doors = std::mem::take(&mut found.effective.doors);
        let placed = |(name, listener): (Name, Listener)| {
            let home = found.homes.get(&listener.source.layer);
            (name, (listener, home.map(|home| home.folder.clone()).unwrap_or_default()))
        };
        Self { listeners: listeners.into_iter().map(placed).collect(), server, doors }
    }

    /// The Unix socket at which a server of this config speaks Strongroom's own interface.
    pub(crate) fn own_socket(&self, paths: &Paths) -> Option<PathBuf> {
        self.listeners.values().filter(|(listener, _)| listener.doors.contains(&Door::Native)).find_map(
            |(listener, folder)| match &listener.at {
                At::Socket { path: Some(path), .. } => Some(beside(folder, path)),
                At::Socket { path: None, .. } => paths.socket(),
                At::Tls { .. } | At::InsecureLoopback { .. } => None,
            },
        )
    }
}

impl Setup {
    /// The config files that [`Strongroom::open`] would read, there or not, and the lock beside each.
    pub fn config_candidates(&self) -> Vec<PathBuf> {
        discover::candidates(&self.source, &self.environment, &self.paths)
    }
}

impl Strongroom {
    /// Where a server of this config listens: each listener by its name, with the folder that its relative paths are
    /// seen from.
    pub fn listeners(&self) -> impl Iterator<Item = (&Name, (&Listener, &Path))> {
        let listeners = self.0.serving.listeners.iter();
        listeners.map(|(name, (listener, folder))| (name, (listener, folder.as_path())))
    }

    /// What stands behind the doors of a server of this config.
    pub fn doors(&self) -> &Doors {
        &self.0.serving.doors
    }

    /// The reference that `name` names directly below `scope`: as one part of its path, as it is.
    ///
    /// # Errors
    /// `invalid-reference` for what could not be read as such a reference.
    pub fn below(&self, scope: &Reference, name: &str) -> Result<Reference, Failure> {
        let made = self.shapes().below(scope, name);
        made.map_err(|error| Failure::new(error.kind, error.code, error.message))
    }

    /// As [`Strongroom::below`], for as many parts; `scope_too` lets it end early, as the scope of a listing.
    ///
    /// # Errors
    /// As [`Strongroom::below`].
    pub fn far_below(&self, scope: &Reference, names: &[&str], scope_too: bool) -> Result<Reference, Failure> {
        let made = self.shapes().far_below(scope, names, scope_too);
        made.map_err(|error| Failure::new(error.kind, error.code, error.message))
    }

    /// How much a server of this config takes on.
    pub fn server_config(&self) -> &ServerConfig {
        &self.0.serving.server
    }

    /// The files of certificate authorities. They are read when they are needed first.
    pub fn authority_files(&self) -> impl Iterator<Item = &Path> {
        self.0.ca.iter().map(|(path, _)| path.as_path())
    }

    /// The digest of the component that answers a mount; `None` for the host's own provider.
    pub fn plugin_of(&self, mount: &Name) -> Option<&Digest> {
        match &self.0.mounts.all.get(mount)?.provider {
            Provider::Files(_) => None,
            Provider::Plugin(provided) => Some(&provided.digest),
        }
    }

    /// How many answers are kept now, of all mounts.
    pub fn kept_answers(&self) -> usize {
        self.0.cache.len()
    }

    /// Whether callers of a server are told what the mount's plugin and its backend say in their own words.
    pub fn shows_failures(&self, mount: &Name) -> bool {
        self.0.mounts.all.get(mount).is_some_and(|mounted| mounted.mount.show_failures)
    }
}
