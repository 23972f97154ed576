//! Where the user's own files lie: the XDG Base Directory Specification 0.8.

use std::path::{Path, PathBuf};

use crate::environment::Environment;

/// The folders and files of one user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paths {
    /// The user's own config file.
    pub config: Option<PathBuf>,
    /// What must last: the store, its key file, the cache's key, trust records.
    pub state: Option<PathBuf>,
    /// What may be lost: compiled code.
    pub cache: Option<PathBuf>,
    /// What ends with the user's session: the server's socket.
    pub runtime: Option<PathBuf>,
}

impl Paths {
    /// As the environment says. Without a home, what needs one is absent.
    pub fn from_environment(environment: &Environment) -> Self {
        let absolute = |name: &str| environment.setting(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("HOME");
        let folder = |name: &str, below_home: &str| {
            absolute(name)
                .or_else(|| home.as_ref().map(|home| home.join(below_home)))
                .map(|base| base.join("strongroom"))
        };
        Self {
            config: folder("XDG_CONFIG_HOME", ".config").map(|folder| folder.join("strongroom.toml")),
            state: folder("XDG_STATE_HOME", ".local/state"),
            cache: folder("XDG_CACHE_HOME", ".cache"),
            runtime: absolute("XDG_RUNTIME_DIR").map(|base| base.join("strongroom")),
        }
    }

    /// The trust records.
    pub fn trust(&self) -> Option<PathBuf> {
        self.state.as_ref().map(|state| state.join("trust.toml"))
    }

    /// The key that proves compiled code ours. In the state folder, so that whoever can write the
    /// cache can prove nothing.
    pub fn code_key(&self) -> Option<PathBuf> {
        self.state.as_ref().map(|state| state.join("code.key"))
    }

    /// The store, unless the config says otherwise.
    pub fn store(&self) -> Option<PathBuf> {
        self.state.as_ref().map(|state| state.join("store.db"))
    }

    /// The store's key file, where it is held by one.
    pub fn store_key(&self) -> Option<PathBuf> {
        self.state.as_ref().map(|state| state.join("store.key"))
    }

    /// The user's own server. Without a folder for the session, in the state folder.
    pub fn socket(&self) -> Option<PathBuf> {
        let folder = self.runtime.clone().or_else(|| self.state.as_ref().map(|state| state.join("run")));
        folder.map(|folder| folder.join("server.sock"))
    }

    /// The audit log's key, unless the config says otherwise.
    pub fn audit_key(&self) -> Option<PathBuf> {
        self.state.as_ref().map(|state| state.join("audit.key"))
    }

    /// Compiled code.
    pub fn code(&self) -> Option<PathBuf> {
        self.cache.as_ref().map(|cache| cache.join("code"))
    }
}

/// `path` as seen from `folder`, where it is relative.
pub(crate) fn beside(folder: &Path, path: &str) -> PathBuf {
    folder.join(path)
}
