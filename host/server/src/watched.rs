//! Files that decide what is in force, and whether they have changed.
//!
//! What a file is like is noted before it is read, so that a change in between is not lost; a file that is not there is
//! watched, too, as is what a config names that was refused: it may come.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What tells one state of a file from another.
type Mark = Option<(u64, u64, u64, i64, i64, i64, i64)>;

/// Files, as they were when they were last looked at.
#[derive(Debug, Default)]
pub(crate) struct Watched(BTreeMap<PathBuf, Mark>);

impl Watched {
    /// Watches a file that is about to be read.
    pub(crate) fn before_reading(&mut self, path: &Path) {
        if !self.0.contains_key(path) {
            self.0.insert(path.to_owned(), mark(path));
        }
    }

    /// Watches what `other` watches, too, from what that has seen.
    pub(crate) fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether any of them has changed since; each change is told once.
    pub(crate) fn changed(&mut self) -> bool {
        let mut changed = false;
        for (path, before) in &mut self.0 {
            let now = mark(path);
            changed |= now != *before;
            *before = now;
        }
        changed
    }
}

fn mark(path: &Path) -> Mark {
    let about = std::fs::metadata(path).ok()?;
    Some((about.dev(), about.ino(), about.size(), about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_changes_after_it_was_noted_comes_and_goes_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let (there, absent) = (folder.path().join("there"), folder.path().join("absent"));
        fs::write(&there, "one").unwrap();
        let mut watched = Watched::default();
        watched.before_reading(&there);
        watched.before_reading(&absent);
        assert!(!watched.changed());
        let told = |watched: &mut Watched| (watched.changed(), watched.changed());
        fs::write(&there, "of another length").unwrap();
        // Read by somebody who looks at it again: what was noted first counts.
        watched.before_reading(&there);
        assert_eq!(told(&mut watched), (true, false));
        fs::write(&absent, "here").unwrap();
        assert_eq!(told(&mut watched), (true, false));
        fs::remove_file(&there).unwrap();
        assert_eq!(told(&mut watched), (true, false));

        let mut before = Watched::default();
        let other = folder.path().join("other");
        before.before_reading(&other);
        before.before_reading(&there);
        fs::write(&there, "back").unwrap();
        let mut now = Watched::default();
        now.before_reading(&there);
        before.join(now);
        assert!(!before.changed(), "the newer one has seen it");
        fs::write(&other, "came").unwrap();
        assert_eq!(told(&mut before), (true, false));
    }
}
