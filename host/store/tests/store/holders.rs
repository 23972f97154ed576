//! How the key is held: what is chosen, what is recorded, and that nothing else is ever tried.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use strongroom_core::Kind;
use strongroom_store::{Ask, Cost, How, Keyring, KeyringError, OsKeyring, Store, Unlock};
use zeroize::Zeroizing;

use crate::{FakeKeyring, Place, absent, assert_failure, got, keys};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn made_with(place: &Place, unlock: Unlock) -> How {
    let store = Store::open(&place.options(), unlock).unwrap();
    keys(&store).set("k", b"v").unwrap();
    store.how().unwrap()
}

#[test]
fn a_new_key_is_held_by_the_first_way_there_is() {
    let keyring = Arc::new(FakeKeyring::default());
    let all = |place: &Place| Unlock { keyring: keyring.offered(), ..place.with_passphrase("p") };

    let place = Place::fresh();
    assert_eq!(made_with(&place, all(&place)), How::Passphrase);
    assert_eq!(place.files(), ["store.db"]);
    assert!(keyring.items.lock().unwrap().is_empty());

    let place = Place::fresh();
    assert_eq!(made_with(&place, Unlock { passphrase: None, ..all(&place) }), How::Keyring);
    assert_eq!(place.files(), ["store.db"]);
    assert_eq!(keyring.items.lock().unwrap().len(), 1);

    let place = Place::fresh();
    assert_eq!(made_with(&place, place.unlock()), How::File);
    assert_eq!(place.files(), ["store.db", "store.key"]);

    for how in [How::Passphrase, How::Keyring, How::File] {
        let place = Place::fresh();
        assert_eq!(made_with(&place, Unlock { prefer: Some(how), ..all(&place) }), how);
    }

    keyring.fail_with(absent());
    let place = Place::fresh();
    assert_eq!(made_with(&place, Unlock { passphrase: None, ..all(&place) }), How::File);
}

#[test]
fn a_preferred_way_that_is_absent_is_an_error_and_makes_nothing() {
    let place = Place::fresh();
    let keyring = Arc::new(FakeKeyring::default());
    let prefer = |how, keyring| Unlock { prefer: Some(how), keyring, ..place.unlock() };
    let open = |unlock| Store::open(&place.options(), unlock);
    assert_failure(open(prefer(How::Keyring, None)), Kind::Unauthenticated, "store.keyring-absent");
    keyring.fail_with(absent());
    assert_failure(open(prefer(How::Keyring, keyring.offered())), Kind::Unauthenticated, "store.keyring-absent");
    assert_failure(open(prefer(How::Passphrase, None)), Kind::Unauthenticated, "store.passphrase-missing");
    // A keyring that may be waiting for its person is there: no key file behind that person's back.
    keyring.fail_with(Some(KeyringError::Slow));
    let slow = Unlock { keyring: keyring.offered(), ..place.unlock() };
    assert_failure(open(slow), Kind::Unavailable, "store.keyring-slow");
    assert!(place.files().is_empty());
}

#[test]
fn a_store_held_by_the_keyring_opens_with_nothing_else() {
    let place = Place::fresh();
    let keyring = Arc::new(FakeKeyring::default());
    let with_keyring = || Unlock { keyring: keyring.offered(), ..place.unlock() };
    made_with(&place, with_keyring());
    // A key file and a passphrase are at hand, and both are of no use.
    made_with(&Place { folder: tempfile::tempdir().unwrap() }, place.unlock());
    let without = || place.with_passphrase("p");
    let open = |unlock| Store::open(&place.options(), unlock);

    let failure = assert_failure(open(without()), Kind::Unauthenticated, "store.keyring-absent");
    assert!(failure.helps().iter().any(|line| line.as_str().contains("ssh")), "{:?}", failure.helps());
    let prefer = Unlock { prefer: Some(How::File), ..without() };
    assert_failure(open(prefer), Kind::Unauthenticated, "store.keyring-absent");
    keyring.fail_with(absent());
    let failure = assert_failure(open(with_keyring()), Kind::Unauthenticated, "store.keyring-absent");
    assert!(failure.message().as_str().contains("no D-Bus session"), "{failure}");
    keyring.fail_with(Some(KeyringError::Slow));
    assert_failure(open(with_keyring()), Kind::Unavailable, "store.keyring-slow");
    keyring.fail_with(None);

    let kept: Vec<_> = keyring.items.lock().unwrap().drain().collect();
    assert_failure(open(with_keyring()), Kind::Unauthenticated, "store.keyring-entry");
    let (account, key) = kept.into_iter().next().unwrap();
    keyring.items.lock().unwrap().insert(account.clone(), b"short".to_vec());
    assert_failure(open(with_keyring()), Kind::Unauthenticated, "store.keyring-entry");
    keyring.items.lock().unwrap().insert(account.clone(), vec![0; 32]);
    assert_failure(open(with_keyring()), Kind::Integrity, "store.corrupt");
    keyring.items.lock().unwrap().insert(account, key);
    assert_eq!(got(&keys(&open(with_keyring()).unwrap()), "k").unwrap(), b"v");
    // The store is still there, and still held as it was.
    assert_eq!(Store::inspect(&place.options()).unwrap().unwrap().how, How::Keyring);
}

#[test]
fn a_passphrase_opens_and_a_wrong_or_missing_one_does_not() {
    let place = Place::fresh();
    made_with(&place, place.with_passphrase("correct horse"));
    let open = |unlock| Store::open(&place.options(), unlock);
    assert_eq!(got(&keys(&open(place.with_passphrase("correct horse")).unwrap()), "k").unwrap(), b"v");
    for wrong in ["correct hors", "correct horse ", "Correct horse"] {
        let failure = assert_failure(open(place.with_passphrase(wrong)), Kind::Unauthenticated, "store.passphrase");
        assert!(!format!("{failure:?} {:?}", failure.helps()).contains(wrong));
    }
    assert_failure(open(place.unlock()), Kind::Unauthenticated, "store.passphrase-missing");
    assert_failure(open(place.with_passphrase("")), Kind::Unauthenticated, "store.passphrase-missing");
    // How it is held can be asked without it.
    assert_eq!(Store::inspect(&place.options()).unwrap().unwrap().how, How::Passphrase);
}

#[test]
fn a_person_is_asked_only_where_it_is_needed() {
    let asked = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let asking = |place: &Place, answer: &'static str| {
        let asked = Arc::clone(&asked);
        let prompt = move |ask: Ask| {
            asked[usize::from(ask == Ask::New)].fetch_add(1, Ordering::Relaxed);
            Ok(Zeroizing::new(answer.to_owned()))
        };
        Unlock { prompt: Some(Box::new(prompt)), ..place.unlock() }
    };
    let count = || [asked[0].load(Ordering::Relaxed), asked[1].load(Ordering::Relaxed)];
    // A key file needs nobody.
    let place = Place::fresh();
    made_with(&place, asking(&place, "p"));
    assert_eq!(count(), [0, 0]);
    let place = Place::fresh();
    made_with(&place, Unlock { prefer: Some(How::Passphrase), ..asking(&place, "p") });
    assert_eq!(count(), [0, 1]);
    made_with(&place, asking(&place, "p"));
    assert_eq!(count(), [1, 1]);
    made_with(&place, Unlock { prompt: asking(&place, "no").prompt, ..place.with_passphrase("p") });
    assert_eq!(count(), [1, 1]);
    let nothing = Store::open(&place.options(), asking(&place, ""));
    assert_failure(nothing, Kind::Unauthenticated, "store.passphrase-missing");
}

#[test]
fn a_cheaper_record_does_not_open() {
    assert_eq!(Cost::new(8, 1), Cost::FLOOR);
    let place = Place::fresh();
    made_with(&place, Unlock { cost: Cost::new(32 * 1024, 2), ..place.with_passphrase("p") });
    let open = || Store::open(&place.options(), place.with_passphrase("p"));
    let edit = |from: &str, to: &str| {
        let changed = place.raw().execute("UPDATE head SET holder = replace(holder, ?1, ?2)", [from, to]).unwrap();
        assert_eq!(changed, 1);
    };
    edit("32768", "20000");
    assert_failure(open(), Kind::Unauthenticated, "store.passphrase");
    // Below the floor, and more than a machine should be asked for.
    edit("20000", "8");
    assert_failure(open(), Kind::Integrity, "store.corrupt");
    edit(":8,", ":4000000000,");
    assert_failure(open(), Kind::Integrity, "store.corrupt");
    edit(":4000000000,", ":32768,");
    open().unwrap();
    // A record of another way, with a key of the attacker's: what was wrapped does not follow.
    edit("passphrase", "file");
    assert_failure(open(), Kind::Integrity, "store.corrupt");
}

#[test]
fn the_key_file_must_be_there_whole_and_private() {
    let place = Place::fresh();
    made_with(&place, place.unlock());
    let open = || Store::open(&place.options(), place.with_passphrase("p"));
    let good = fs::read(place.key_file()).unwrap();
    assert_eq!(mode(&place.key_file()), 0o600);

    for loose in [0o640, 0o604, 0o660, 0o622] {
        chmod(&place.key_file(), loose);
        let failure = assert_failure(open(), Kind::PolicyDenied, "store.permissions");
        assert!(failure.helps()[0].as_str().contains("chmod 600 '"), "{:?}", failure.helps());
    }
    fs::remove_file(place.key_file()).unwrap();
    assert_failure(open(), Kind::Unauthenticated, "store.key-file-missing");
    let elsewhere = place.folder.path().join("elsewhere");
    fs::write(&elsewhere, &good).unwrap();
    chmod(&elsewhere, 0o600);
    symlink(&elsewhere, place.key_file()).unwrap();
    assert_failure(open(), Kind::PolicyDenied, "store.permissions");
    fs::remove_file(place.key_file()).unwrap();
    fs::rename(&elsewhere, place.key_file()).unwrap();

    let text = String::from_utf8(good.clone()).unwrap();
    for bad in ["\u{1}", "nonsense\n", &text[..text.len() - 3], &text.replace(' ', "")] {
        fs::write(place.key_file(), bad).unwrap();
        let code = assert_failure(open(), Kind::Integrity, "store.key-file");
        assert!(!format!("{code:?}").contains(bad.trim()));
    }
    fs::write(place.key_file(), [0xff; 10]).unwrap();
    assert_failure(open(), Kind::Integrity, "store.key-file");
    fs::write(place.key_file(), b"# no key\n").unwrap();
    assert_failure(open(), Kind::Unauthenticated, "store.key-file");
    // The right name with another key.
    let last = if text.trim_end().ends_with('0') { "1\n" } else { "0\n" };
    fs::write(place.key_file(), format!("{}{last}", &text[..text.len() - 2])).unwrap();
    assert_failure(open(), Kind::Integrity, "store.corrupt");
    fs::write(place.key_file(), &good).unwrap();
    open().unwrap();
}

#[test]
fn two_stores_may_share_a_key_file() {
    let (one, two) = (Place::fresh(), Place::fresh());
    let unlock = || one.unlock();
    for place in [&one, &two] {
        made_with(place, unlock());
    }
    assert_eq!(two.files(), ["store.db"]);
    for place in [&one, &two] {
        let store = Store::open(&place.options(), unlock()).unwrap();
        store.rotate(unlock()).unwrap();
        assert_eq!(got(&keys(&store), "k").unwrap(), b"v");
    }
    assert_eq!(fs::read_to_string(one.key_file()).unwrap().lines().filter(|line| !line.starts_with('#')).count(), 2);
}

#[test]
fn files_and_folders_are_private() {
    let place = Place::fresh();
    let options = strongroom_store::Options::new(place.folder.path().join("state/strongroom/store.db"));
    let key_file = place.folder.path().join("state/keys/store.key");
    let unlock = || Unlock::with_key_file(&key_file);
    let store = Store::open(&options, unlock()).unwrap();
    keys(&store).set("k", b"v").unwrap();
    let folder = options.path.parent().unwrap();
    assert_eq!((mode(folder), mode(key_file.parent().unwrap())), (0o700, 0o700));
    for file in ["store.db", "store.db-wal", "store.db-shm"] {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
    }
    drop(store);

    let open = || Store::open(&options, unlock());
    for (path, loose, tight) in
        [(folder, 0o777, 0o700), (folder, 0o720, 0o750), (&options.path, 0o644, 0o600), (&options.path, 0o620, 0o600)]
    {
        chmod(path, loose);
        let failure = assert_failure(open(), Kind::PolicyDenied, "store.permissions");
        assert!(failure.helps()[0].as_str().contains("chmod"), "{:?}", failure.helps());
        assert_failure(Store::inspect(&options), Kind::PolicyDenied, "store.permissions");
        chmod(path, tight);
        open().unwrap();
    }
    chmod(key_file.parent().unwrap(), 0o777);
    assert_failure(open(), Kind::PolicyDenied, "store.permissions");
    chmod(key_file.parent().unwrap(), 0o700);

    let moved = folder.join("moved");
    fs::rename(&options.path, &moved).unwrap();
    symlink(&moved, &options.path).unwrap();
    assert_failure(open(), Kind::PolicyDenied, "store.permissions");
    fs::remove_file(&options.path).unwrap();
    fs::create_dir(&options.path).unwrap();
    assert_failure(open(), Kind::PolicyDenied, "store.permissions");
}

/// Whatever this machine has: an answer comes in time, and a working keyring keeps and forgets.
#[test]
fn the_keyring_of_this_machine_answers_or_is_absent() {
    let keyring = OsKeyring::with_limit(Duration::from_secs(10));
    let account = format!("test of the store {}", std::process::id());
    match keyring.read(&account) {
        Ok(found) => {
            assert!(found.is_none());
            keyring.write(&account, &[0, 159, 146, 150]).unwrap();
            assert_eq!(keyring.read(&account).unwrap().unwrap().as_slice(), [0, 159, 146, 150]);
            keyring.remove(&account).unwrap();
            keyring.remove(&account).unwrap();
            assert!(keyring.read(&account).unwrap().is_none());
        }
        Err(KeyringError::Absent(why)) => assert!(!why.is_empty()),
        Err(KeyringError::Slow) => panic!("neither an answer nor an error"),
    }
}
