//! The config of mounts whose plugin is the host-built `file` provider: `folders = ["/run/secrets"]`.
//!
//! This decides by text alone. Whether a symbolic link leads out of a folder is for the one who opens
//! the file.

use serde_json::Value;

use crate::{Failure, Kind};

/// The folders whose files a mount may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders(Vec<String>);

impl Folders {
    /// Reads a mount's `config`: `{ folders = [absolute path, ...] }` and nothing else.
    ///
    /// # Errors
    /// `config.plugin-config`; never a value.
    pub fn from_config(config: &Value) -> Result<Self, Failure> {
        let wrong = |message: &str| {
            Failure::new(Kind::InvalidConfig, "config.plugin-config", format!("the mount's `config` {message}"))
                .help("write config = { folders = [\"/run/secrets\"] }")
        };
        let entries = config.as_object().ok_or_else(|| wrong("must be a table"))?;
        if let Some(key) = entries.keys().find(|key| *key != "folders") {
            return Err(wrong(&format!("knows no key `{key}`")));
        }
        let folders = entries.get("folders").and_then(Value::as_array).filter(|f| !f.is_empty() && f.len() <= 64);
        let folders = folders.ok_or_else(|| wrong("must list 1 to 64 folders in `folders`"))?;
        let absolute = |folder: &Value| {
            let path = folder.as_str()?.strip_suffix('/').or(folder.as_str())?;
            let plain =
                |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(char::is_control);
            path.strip_prefix('/')?.split('/').all(plain).then(|| path.to_owned())
        };
        let folders: Option<Vec<String>> = folders.iter().map(absolute).collect();
        folders.map(Self).ok_or_else(|| wrong("must hold absolute paths below `/`, without `.` and `..`"))
    }

    /// The folders, without a slash at their end.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The folder that `path` (absolute, as in a parsed `file:` reference) lies under, and the rest of
    /// the path.
    pub fn holding<'s, 'p>(&'s self, path: &'p str) -> Option<(&'s str, &'p str)> {
        self.iter().find_map(|folder| {
            let rest = path.strip_prefix(folder)?.strip_prefix('/')?;
            (!rest.is_empty()).then_some((folder, rest))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_lies_under_a_folder_or_not() {
        let folders = Folders::from_config(&json!({"folders": ["/run/secrets/", "/etc/app"]})).unwrap();
        for (path, holding) in [
            ("/run/secrets/db", Some(("/run/secrets", "db"))),
            ("/run/secrets/a/b", Some(("/run/secrets", "a/b"))),
            ("/etc/app/x", Some(("/etc/app", "x"))),
            ("/run/secrets", None),
            ("/run/secrets/", None),
            ("/run/secrets-of-others/db", None),
            ("/etc/shadow", None),
        ] {
            assert_eq!(folders.holding(path), holding, "{path}");
        }
    }

    #[test]
    fn only_a_list_of_absolute_folders_passes() {
        for bad in [
            json!({}),
            json!({"folders": []}),
            json!({"folders": "/run/canary"}),
            json!({"folders": ["run/canary"]}),
            json!({"folders": ["/"]}),
            json!({"folders": ["/run//canary"]}),
            json!({"folders": ["/run/../canary"]}),
            json!({"folders": [7]}),
            json!({"folders": ["/run"], "more": "canary"}),
        ] {
            let failure = Folders::from_config(&bad).unwrap_err();
            assert_eq!(failure.code(), "config.plugin-config", "{bad}");
            assert!(!failure.message().as_str().contains("canary"), "{bad}");
        }
    }
}
