//! The cache of compiled code: what was put there comes back, and nothing else does.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use strongroom_core::{Failure, Kind, Name};
use strongroom_sandbox::aot::{Cache, Entry};
use strongroom_sandbox::{Allocation, Plugin, Runtime};
use tempfile::TempDir;

use crate::support::*;

const DIGEST: [u8; 32] = [0x11; 32];
const NOTES: &[u8] = b"name = \"guest\"\nversion = \"0.1.0\"\n";

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new(Allocation::OnDemand).expect("a runtime"));
static CODE: LazyLock<Vec<u8>> = LazyLock::new(|| RUNTIME.compile(&guest().build()).expect("code"));
/// The guest with 5 MiB of data: too large to be copied, so that it is mapped.
static LARGE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let data = format!(r#"(data (i32.const 262144) "{}")"#, "0123456789abcdef".repeat(5 << 16));
    let code = RUNTIME.compile(&guest().memory("100").items(&data).build()).expect("code");
    assert!(code.len() > 5 << 20, "{} bytes", code.len());
    code
});

/// An installation: a cache folder and, elsewhere, a key.
struct Installation {
    root: TempDir,
    cache: Cache,
}

fn installation() -> Installation {
    let root = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(&root.path().join("cache"), &root.path().join("state/aot.key")).expect("a cache");
    Installation { root, cache }
}

/// An installation that holds `code`.
fn holding(code: &[u8]) -> Installation {
    let installation = installation();
    installation.cache.insert(&RUNTIME, &DIGEST, NOTES, code).expect("inserted");
    installation
}

impl Installation {
    fn key(&self) -> PathBuf {
        self.root.path().join("state/aot.key")
    }

    fn find(&self) -> Result<Option<Entry>, Failure> {
        self.cache.find(&RUNTIME, &DIGEST)
    }

    fn file(&self, extension: &str) -> PathBuf {
        let mut files = files(self.cache.folder());
        files.retain(|path| path.extension().is_some_and(|found| found == extension));
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }

    fn is_corrupt(&self, what: &str) {
        match self.find() {
            Err(failure) => {
                assert_eq!((failure.kind(), failure.code()), (Kind::Integrity, "aot.corrupt"), "{what}: {failure:?}");
            }
            Ok(found) => panic!("{what}: {found:?}"),
        }
    }

    /// What the caller does about a corrupt entry.
    fn heals(&self) {
        self.cache.insert(&RUNTIME, &DIGEST, NOTES, &CODE).expect("inserted again");
        answers(self.find().expect("no failure").expect("an entry"));
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}

/// Puts `bytes` in the place of a read-only file, with its permissions.
fn rewrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).expect("removed");
    fs::write(path, bytes).expect("written");
    fs::set_permissions(path, Permissions::from_mode(0o400)).expect("read-only");
}

fn answers(entry: Entry) {
    assert_eq!(entry.notes, NOTES);
    let name = Name::parse("guest").expect("a name");
    let plugin = Plugin::load(&RUNTIME, &name, "11111111", &entry.code, &[].into()).expect("it loads");
    let answers = block_on(plugin.resolve(call(), &references(1))).expect("an answer");
    assert_eq!(only(answers).expose_text(), Some("good"));
}

#[test]
fn what_was_inserted_is_found_with_its_notes_and_answers() {
    for (code, origin) in [(&*CODE, "Code(compiled)"), (&*LARGE, "Code(checked)")] {
        let installation = installation();
        assert!(installation.find().expect("no failure").is_none());
        assert!(installation.cache.notes(&RUNTIME, &DIGEST).expect("no failure").is_none());
        installation.cache.insert(&RUNTIME, &DIGEST, NOTES, code).expect("inserted");
        assert_eq!(installation.cache.notes(&RUNTIME, &DIGEST).expect("no failure").as_deref(), Some(NOTES));
        let entry = installation.find().expect("no failure").expect("an entry");
        assert_eq!(format!("{:?}", entry.code), origin);
        answers(entry);
    }
}

#[test]
fn an_entry_outlives_the_process_that_made_it() {
    let installation = holding(&CODE);
    let again = Cache::open(installation.cache.folder(), &installation.key()).expect("the same cache");
    answers(again.find(&RUNTIME, &DIGEST).expect("no failure").expect("an entry"));
}

#[test]
fn a_removed_entry_is_gone() {
    let installation = holding(&CODE);
    installation.cache.remove(&RUNTIME, &DIGEST).expect("removed");
    assert!(installation.find().expect("no failure").is_none());
    assert_eq!(files(installation.cache.folder()), Vec::<PathBuf>::new());
    installation.cache.remove(&RUNTIME, &DIGEST).expect("removing nothing is no failure");
}

#[test]
fn only_two_read_only_files_are_left_by_an_insert() {
    let installation = holding(&CODE);
    installation.heals();
    let files = files(installation.cache.folder());
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        assert_eq!(fs::metadata(&file).expect("metadata").permissions().mode() & 0o777, 0o400, "{file:?}");
    }
    let key = fs::metadata(installation.key()).expect("metadata");
    assert_eq!((key.permissions().mode() & 0o777, key.len()), (0o600, 32));
    assert_eq!(fs::read_dir(installation.root.path().join("state")).expect("a folder").count(), 1);
}

#[test]
fn every_flipped_bit_of_a_seal_is_found() {
    let installation = holding(&CODE);
    let path = installation.file("seal");
    let seal = fs::read(&path).expect("a seal");
    for bit in 0..seal.len() * 8 {
        let mut flipped = seal.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        rewrite(&path, &flipped);
        installation.is_corrupt(&format!("bit {bit}"));
        // All but the MAC over the code, which nothing but the code is held against.
        if bit / 8 < seal.len() - 32 {
            let notes = installation.cache.notes(&RUNTIME, &DIGEST).expect_err("its notes are not believed");
            assert_eq!(notes.code(), "aot.corrupt");
        }
    }
    rewrite(&path, &seal);
    answers(installation.find().expect("no failure").expect("as it was"));
}

#[test]
fn flipped_bits_of_code_are_found_wherever_they_are() {
    for code in [&*CODE, &*LARGE] {
        let installation = holding(code);
        let path = installation.file("code");
        let step = if code.len() > 1 << 20 { code.len() / 7 } else { code.len() / 200 };
        for at in (0..code.len()).step_by(step).chain([code.len() - 1]) {
            let mut flipped = code.clone();
            flipped[at] ^= 1 << (at % 8);
            rewrite(&path, &flipped);
            installation.is_corrupt(&format!("byte {at}"));
        }
        installation.heals();
    }
}

#[test]
fn a_cut_or_lengthened_file_is_found() {
    let installation = holding(&CODE);
    for extension in ["code", "seal"] {
        let path = installation.file(extension);
        let whole = fs::read(&path).expect("a file");
        for length in [0, 1, 8, 71, 87, 88, 119, whole.len() / 2, whole.len() - 32, whole.len() - 1] {
            rewrite(&path, &whole[..length]);
            installation.is_corrupt(&format!("{length} bytes of the {extension}"));
        }
        rewrite(&path, &[&whole[..], b"\0"].concat());
        installation.is_corrupt(&format!("a {extension} with a byte more"));
        rewrite(&path, &[&whole[..], &vec![0; 2 << 20]].concat());
        installation.is_corrupt(&format!("a {extension} with 2 MiB more"));
        rewrite(&path, &whole);
    }
    answers(installation.find().expect("no failure").expect("as it was"));
}

#[test]
fn a_seal_without_code_and_code_without_a_seal_are_a_miss() {
    for extension in ["code", "seal"] {
        let installation = holding(&CODE);
        fs::remove_file(installation.file(extension)).expect("removed");
        assert!(installation.find().expect("no failure").is_none(), "without the {extension}");
        installation.heals();
    }
}

#[test]
fn two_entries_exchanged_are_both_found() {
    let installation = holding(&CODE);
    let [code, seal] = ["code", "seal"].map(|extension| installation.file(extension));
    let other = [0x22; 32];
    let worse = RUNTIME.compile(&guest().resolve("unreachable").build()).expect("code");
    installation.cache.insert(&RUNTIME, &other, NOTES, &worse).expect("inserted");
    let others = |path: &Path| {
        let name = path.file_name().expect("a name").to_str().expect("hex");
        path.with_file_name(name.replace(&"11".repeat(32), &"22".repeat(32)))
    };
    // Both files of the other: authentic, and of another component.
    for exchanged in [vec![&code], vec![&seal], vec![&code, &seal]] {
        for path in &exchanged {
            let kept = path.with_extension("kept");
            fs::rename(path, &kept).expect("renamed");
            fs::rename(others(path), path).expect("renamed");
            fs::rename(&kept, others(path)).expect("renamed");
        }
        for digest in [DIGEST, other] {
            let failure = installation.cache.find(&RUNTIME, &digest).expect_err("exchanged");
            assert_eq!((failure.kind(), failure.code()), (Kind::Integrity, "aot.corrupt"));
        }
        for path in &exchanged {
            let kept = path.with_extension("kept");
            fs::rename(path, &kept).expect("renamed");
            fs::rename(others(path), path).expect("renamed");
            fs::rename(&kept, others(path)).expect("renamed");
        }
    }
    answers(installation.find().expect("no failure").expect("put back"));
}

#[test]
fn an_older_entry_of_the_same_component_does_not_mix_with_a_newer() {
    let installation = holding(&CODE);
    let old = fs::read(installation.file("seal")).expect("a seal");
    installation.cache.insert(&RUNTIME, &DIGEST, NOTES, &LARGE).expect("inserted");
    rewrite(&installation.file("seal"), &old);
    installation.is_corrupt("the old seal beside the new code");
}

#[test]
fn what_another_installation_compiled_is_not_believed() {
    let theirs = holding(&CODE);
    let ours = installation();
    for path in files(theirs.cache.folder()) {
        let to = ours.cache.folder().join(path.file_name().expect("a name"));
        fs::copy(&path, &to).expect("copied");
        fs::set_permissions(&to, Permissions::from_mode(0o400)).expect("read-only");
    }
    ours.is_corrupt("another installation's entry");
    assert_eq!(ours.cache.notes(&RUNTIME, &DIGEST).expect_err("nor its notes").code(), "aot.corrupt");
    ours.heals();
}

#[test]
fn entries_of_another_engine_are_not_found() {
    let installation = holding(&CODE);
    for extension in ["code", "seal"] {
        let path = installation.file(extension);
        let name = path.file_name().expect("a name").to_str().expect("hex").to_owned();
        let (digest, _engine) = name.split_once('-').expect("digest and engine");
        fs::rename(&path, path.with_file_name(format!("{digest}-0000000000000000.{extension}"))).expect("renamed");
    }
    assert!(installation.find().expect("no failure").is_none());
    assert!(installation.cache.find(&RUNTIME, &[0x33; 32]).expect("no failure").is_none(), "nor another component's");
}

#[test]
fn code_that_others_can_change_is_not_believed() {
    for mode in [0o420, 0o402, 0o666] {
        let installation = holding(&CODE);
        fs::set_permissions(installation.file("code"), Permissions::from_mode(mode)).expect("set");
        installation.is_corrupt(&format!("mode {mode:o}"));
        installation.heals();
    }
    let installation = holding(&CODE);
    fs::hard_link(installation.file("code"), installation.root.path().join("another name")).expect("linked");
    installation.is_corrupt("two names");
    installation.heals();
}

#[test]
fn what_lies_in_a_files_place_is_neither_followed_nor_waited_for() {
    for extension in ["code", "seal"] {
        let installation = holding(&CODE);
        let path = installation.file(extension);
        let elsewhere = installation.root.path().join("elsewhere");
        fs::rename(&path, &elsewhere).expect("moved");
        symlink(&elsewhere, &path).expect("linked");
        installation.is_corrupt(&format!("a link to the {extension}"));
        installation.heals();

        let path = installation.file(extension);
        fs::remove_file(&path).expect("removed");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).expect("a FIFO");
        installation.is_corrupt(&format!("a FIFO for the {extension}"));
        installation.heals();

        let path = installation.file(extension);
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("a folder");
        installation.is_corrupt(&format!("a folder for the {extension}"));
    }
}

fn opening_fails(installation: &Installation, code: &str) {
    let failure = Cache::open(installation.cache.folder(), &installation.key()).expect_err(code);
    assert_eq!((failure.kind(), failure.code()), (Kind::Integrity, code), "{failure:?}");
    assert!(!failure.helps().is_empty(), "it says what to do");
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    for mode in [0o640, 0o604, 0o620, 0o666] {
        let installation = holding(&CODE);
        fs::set_permissions(installation.key(), Permissions::from_mode(mode)).expect("set");
        opening_fails(&installation, "aot.key-permissions");
    }
}

#[test]
fn a_key_that_is_no_key_is_not_used() {
    for key in [&b""[..], &[7; 31], &[7; 33]] {
        let installation = installation();
        fs::write(installation.key(), key).expect("written");
        opening_fails(&installation, "aot.corrupt");
    }
}

#[test]
fn a_lost_key_makes_old_entries_unbelievable_and_not_unusable() {
    let installation = holding(&CODE);
    fs::remove_file(installation.key()).expect("removed");
    let again = Cache::open(installation.cache.folder(), &installation.key()).expect("a new key");
    assert_eq!(again.find(&RUNTIME, &DIGEST).expect_err("another key").code(), "aot.corrupt");
    again.insert(&RUNTIME, &DIGEST, NOTES, &CODE).expect("inserted again");
    answers(again.find(&RUNTIME, &DIGEST).expect("no failure").expect("an entry"));
}

#[test]
fn a_folder_that_others_can_write_is_not_used() {
    for folder in ["cache", "state"] {
        for mode in [0o770, 0o707, 0o1777] {
            let installation = holding(&CODE);
            fs::set_permissions(installation.root.path().join(folder), Permissions::from_mode(mode)).expect("set");
            opening_fails(&installation, "state.permissions");
        }
    }
}

#[test]
fn what_is_made_is_made_for_its_owner_alone() {
    let installation = installation();
    for folder in ["cache", "state"] {
        let mode = fs::metadata(installation.root.path().join(folder)).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{folder}");
    }
}

#[test]
fn notes_beyond_the_limit_are_refused_and_at_the_limit_kept() {
    let installation = installation();
    let notes = vec![b'x'; 1 << 20];
    installation.cache.insert(&RUNTIME, &DIGEST, &notes, &CODE).expect("1 MiB");
    assert_eq!(installation.find().expect("no failure").expect("an entry").notes, notes);
    let failure =
        installation.cache.insert(&RUNTIME, &DIGEST, &[&notes[..], b"x"].concat(), &CODE).expect_err("too much");
    assert_eq!((failure.kind(), failure.code()), (Kind::LimitExceeded, "aot.notes"));
}

/// First use by many at once: all open, look, compile, insert and look again.
#[test]
fn whoever_inserts_and_finds_at_once_finds_nothing_or_the_whole() {
    for (code, times) in [(&*CODE, 300), (&*LARGE, 10)] {
        let root = tempfile::tempdir().expect("a folder");
        let path = |name: &str| root.path().join(name);
        let open = || Cache::open(&path("cache"), &path("state/aot.key")).expect("one key for all");
        let inserting = AtomicUsize::new(2);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let cache = open();
                    for _ in 0..times {
                        cache.insert(&RUNTIME, &DIGEST, NOTES, code).expect("inserted");
                    }
                    inserting.fetch_sub(1, Ordering::SeqCst);
                });
            }
            for _ in 0..4 {
                scope.spawn(|| {
                    let cache = open();
                    while inserting.load(Ordering::SeqCst) > 0 {
                        let found = cache.find(&RUNTIME, &DIGEST).expect("never corrupt");
                        assert!(found.is_none_or(|entry| entry.notes == NOTES));
                    }
                });
            }
        });
        answers(open().find(&RUNTIME, &DIGEST).expect("no failure").expect("an entry"));
        assert_eq!(files(&path("cache")).len(), 2, "no temporary file is left");
        assert_eq!(files(&path("state")).len(), 1, "no temporary key is left");
    }
}

/// What another process's insert does while this one reads: the same code takes the file's place.
#[test]
fn code_that_is_replaced_while_it_is_read_is_not_called_corrupt() {
    let installation = holding(&CODE);
    let (path, other) = (installation.file("code"), installation.root.path().join("other"));
    let finding = AtomicUsize::new(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while finding.load(Ordering::SeqCst) > 0 {
                fs::write(&other, &*CODE).expect("written");
                fs::set_permissions(&other, Permissions::from_mode(0o400)).expect("read-only");
                fs::rename(&other, &path).expect("renamed");
            }
        });
        for _ in 0..5000 {
            let found = installation.find();
            if !matches!(found, Ok(Some(_))) {
                finding.store(0, Ordering::SeqCst);
                panic!("{found:?}");
            }
        }
        finding.store(0, Ordering::SeqCst);
    });
}

#[test]
fn code_is_compiled_the_same_each_time() {
    // Concurrent inserts write one component's code twice; a seal of one fits the code of the other.
    assert_eq!(RUNTIME.compile(&guest().build()).expect("code"), *CODE);
}
