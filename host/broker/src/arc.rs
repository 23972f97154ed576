//! The key files of Azure Arc's agent: how a machine proves that a request comes from it.
//!
//! The agent answers a first request with the path of a key that only its group can read. Whoever can
//! answer there could name any file, so only one of the agent's own folder is read, never another.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom_core::{Failure, Kind};
use strongroom_egress::inject::ChallengeKey;
use zeroize::Zeroizing;

/// Where the agent puts its keys on Linux.
pub const FOLDER: &str = "/var/opt/azcmagent/tokens";

/// The largest key, in bytes.
const MAX_BYTES: u64 = 4096;

/// Who reads the keys in `folder`.
pub(crate) fn keys(folder: PathBuf) -> ChallengeKey {
    Arc::new(move |named| read(&folder, named))
}

/// The key in the file `named`, which must lie in `folder` itself and end in `.key`.
fn read(folder: &Path, named: &str) -> Result<Zeroizing<String>, Failure> {
    let foreign = || {
        let message = "what answers as Azure Arc's agent names a file that is none of the agent's keys";
        Failure::new(Kind::PolicyDenied, "arc.foreign", message)
            .help("IDENTITY_ENDPOINT says where the agent is; see who listens there")
    };
    let folder = folder.to_str().ok_or_else(foreign)?;
    let name = named.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')).ok_or_else(foreign)?;
    if name.contains(['/', '\0']) || name.strip_suffix(".key").is_none_or(str::is_empty) {
        return Err(foreign());
    }
    let key = crate::files::read_beneath(folder, name, MAX_BYTES)
        .map_err(|failure| failure.help("the user who runs this has to be in the group `himds`"))?;
    key.expose_text().map(|text| Zeroizing::new(text.to_owned())).ok_or_else(foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_of_the_agents_own_folder_are_read() {
        let root = std::env::temp_dir().join(format!("strongroom-arc-{}", std::process::id()));
        let folder = root.join("tokens");
        std::fs::create_dir_all(folder.join("below")).unwrap();
        for (file, content) in [
            ("tokens/a.key", "the-key\n".to_owned()),
            ("tokens/a.txt", "no".to_owned()),
            ("tokens/below/b.key", "no".to_owned()),
            ("tokens/.key", "no".to_owned()),
            ("outside.key", "no".to_owned()),
            ("tokens/large.key", "x".repeat(4097)),
        ] {
            std::fs::write(root.join(file), content).unwrap();
        }
        std::os::unix::fs::symlink(root.join("outside.key"), folder.join("link.key")).unwrap();
        let shown = folder.display().to_string();
        // As it is, line end and all: what the agent wrote is what it compares.
        assert_eq!(*read(&folder, &format!("{shown}/a.key")).unwrap(), "the-key\n");
        for (named, code) in [
            (format!("{shown}/a.txt"), "arc.foreign"),
            (format!("{shown}/below/b.key"), "arc.foreign"),
            (format!("{shown}/../outside.key"), "arc.foreign"),
            (format!("{shown}/.key"), "arc.foreign"),
            (format!("{shown}x/a.key"), "arc.foreign"),
            ("/etc/shadow".to_owned(), "arc.foreign"),
            ("a.key".to_owned(), "arc.foreign"),
            (String::new(), "arc.foreign"),
            (format!("{shown}/link.key"), "file.outside"),
            (format!("{shown}/large.key"), "value.too-large"),
        ] {
            assert_eq!(read(&folder, &named).unwrap_err().code(), code, "{named}");
        }
        std::fs::remove_dir_all(root).unwrap();
    }
}
