//! Files that hold secrets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests are tests"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use strongroom_process::write_secret_file;

fn code(path: &Path, overwrite: bool) -> String {
    write_secret_file(path, b"secret", overwrite).unwrap_err().code().to_owned()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_for_its_owner_whatever_the_umask() {
    let folder = tempfile::tempdir().unwrap();
    for mask in [0o000, 0o022, 0o777] {
        let path = folder.path().join(format!("out-{mask:o}"));
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
        let result = write_secret_file(&path, b"secret", false);
        rustix::process::umask(before);
        result.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read(&path).unwrap(), b"secret");
    }
    assert_eq!(names(folder.path()), ["out-0", "out-22", "out-777"]);
}

#[test]
fn what_is_there_is_kept_unless_it_may_be_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut reader = fs::File::open(&path).unwrap();
    assert_eq!(code(&path, false), "output.exists");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    write_secret_file(&path, b"new", true).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    // Whoever had it open under the wider mode sees the old file, never the secret.
    let mut seen = String::new();
    std::io::Read::read_to_string(&mut reader, &mut seen).unwrap();
    assert_eq!(seen, "old");
    assert_eq!(names(folder.path()), ["out"]);
}

#[test]
fn nothing_is_written_through_a_link_or_to_what_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("target"), "old").unwrap();
    symlink(at("target"), at("link")).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    for overwrite in [false, true] {
        assert_eq!(code(&at("link"), overwrite), "output.symlink");
        assert_eq!(code(&at("dangling"), overwrite), "output.symlink");
        assert_eq!(code(&at("folder"), overwrite), "output.not-a-file");
        assert_eq!(code(Path::new("/dev/null"), overwrite), "output.not-a-file");
        assert_eq!(code(&at("no-folder/out"), overwrite), "output.folder");
        assert_eq!(code(&at("target/out"), overwrite), "output.folder");
        assert_eq!(code(Path::new("/"), overwrite), "output.not-a-file");
        assert_eq!(code(&folder.path().join("new/"), overwrite), "output.not-a-file");
    }
    assert_eq!(fs::read(at("target")).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["dangling", "folder", "link", "target"]);
}

#[test]
fn on_a_full_disk_nothing_is_left_and_the_old_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=64k none \"$0\" && cd \"$0\" && exec \"$1\" --exact inner_full_disk --ignored";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(folder.path()).arg(std::env::current_exe().unwrap());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if !said.contains("running 1 test") {
        eprintln!("SKIPPED: this user may not mount: {said}");
        return;
    }
    assert!(output.status.success(), "{said}");
}

#[test]
#[ignore = "runs inside on_a_full_disk_nothing_is_left_and_the_old_file_stays"]
fn inner_full_disk() {
    fs::write("old", "old").unwrap();
    let big = vec![b'x'; 256 * 1024];
    for (name, overwrite) in [("new", false), ("old", true)] {
        let failure = write_secret_file(Path::new(name), &big, overwrite).unwrap_err();
        assert_eq!(failure.code(), "output.full");
    }
    assert_eq!(fs::read("old").unwrap(), b"old");
    assert_eq!(names(Path::new(".")), ["old"]);
}
