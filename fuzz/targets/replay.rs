//! Gives a target all that is kept for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

pub(crate) fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "{} holds {} inputs", folder.display(), files.len());
    for file in files {
        let data = std::fs::read(&file).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| run(&data))).is_ok(), "{} fails {target}", file.display());
    }
}
