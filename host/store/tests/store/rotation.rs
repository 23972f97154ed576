//! A new key for a store that is in use, and a new owner for a space.

use std::fs;
use std::sync::Arc;

use strongroom_core::Kind;
use strongroom_store::{How, Store, Unlock};

use crate::{FakeKeyring, Place, absent, assert_failure, got, keys, mount};

/// Each value as it is sealed, tag and all: the body alone is as short as the value, and may by
/// chance be the same under two keys.
fn sealed_rows(place: &Place) -> Vec<Vec<u8>> {
    let raw = place.raw();
    let mut all = raw.prepare("SELECT CAST(tag || body AS BLOB) FROM entry ORDER BY space, key").unwrap();
    all.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn every_way_can_become_every_other() {
    let place = Place::fresh();
    let keyring = Arc::new(FakeKeyring::default());
    let offer = |how| Unlock { prefer: Some(how), keyring: keyring.offered(), ..place.with_passphrase("p") };
    let store = Store::open(&place.options(), offer(How::File)).unwrap();
    for n in 0..300 {
        keys(&store).set(&format!("{n}"), format!("value {n}").as_bytes()).unwrap();
    }
    store.space(&mount("other"), "x").unwrap().set("k", b"v").unwrap();
    let mut before = how_and_rows(&place, store);
    for how in [How::Passphrase, How::Passphrase, How::Keyring, How::Keyring, How::File, How::File, How::Keyring] {
        let store = Store::open(&place.options(), offer(How::File)).unwrap();
        assert_eq!(store.rotate(offer(how)).unwrap(), how);
        // The very handle that rotated goes on.
        assert_eq!(got(&keys(&store), "7").unwrap(), b"value 7");
        assert_eq!(store.verify().unwrap().genuine, 301);
        assert_eq!(keyring.items.lock().unwrap().len(), usize::from(how == How::Keyring), "{how}: keys left over");
        assert_eq!(place.key_file().exists(), how == How::File);
        let after = how_and_rows(&place, store);
        assert_eq!(after.0, how);
        assert!(before.1.iter().zip(&after.1).all(|(old, new)| old != new), "{how}: a value was not sealed again");
        before = after;
    }
}

fn how_and_rows(place: &Place, store: Store) -> (How, Vec<Vec<u8>>) {
    let how = store.how().unwrap();
    drop(store);
    (how, sealed_rows(place))
}

#[test]
fn a_store_is_in_place_while_its_file_and_its_key_are_those_that_were_opened() {
    let place = Place::fresh();
    let (store, other) = (place.open(), place.open());
    other.rotate(place.unlock()).unwrap();
    assert!(store.is_in_place(), "it opens the new key by itself");
    other.rotate(Unlock { prefer: Some(How::Passphrase), ..place.with_passphrase("p") }).unwrap();
    assert!(other.is_in_place());
    assert!(!store.is_in_place(), "it knows no passphrase");
    let copy = place.folder.path().join("copy");
    fs::copy(place.path(), &copy).unwrap();
    fs::rename(copy, place.path()).unwrap();
    assert!(!other.is_in_place(), "it is another file");
    fs::remove_file(place.path()).unwrap();
    assert!(!other.is_in_place(), "it is none");
}

#[test]
fn who_has_the_store_open_notices() {
    let place = Place::fresh();
    let one = place.open();
    let (two, three) = (place.open(), place.open());
    keys(&one).set("k", b"1").unwrap();
    assert_eq!(got(&keys(&two), "k").unwrap(), b"1");
    for round in 0..3 {
        one.rotate(place.unlock()).unwrap();
        let value = format!("round {round}");
        keys(&two).set("k", value.as_bytes()).unwrap();
        assert_eq!(got(&keys(&one), "k").unwrap(), value.as_bytes());
    }
    // One that slept through all of it.
    assert_eq!(got(&keys(&three), "k").unwrap(), b"round 2");

    // To a passphrase that the others do not have: they are told, and see nothing.
    one.rotate(place.with_passphrase("new")).unwrap();
    for answer in [keys(&two).get("k").map(|_| ()), keys(&three).set("k", b"x")] {
        let failure = assert_failure(answer, Kind::Unauthenticated, "store.passphrase-missing");
        assert!(failure.helps().iter().any(|line| line.as_str().contains("rotated")), "{:?}", failure.helps());
    }
    assert_eq!(got(&keys(&one), "k").unwrap(), b"round 2");
}

#[test]
fn the_old_passphrase_is_of_no_use() {
    let place = Place::fresh();
    let store = Store::open(&place.options(), place.with_passphrase("old")).unwrap();
    keys(&store).set("k", b"v").unwrap();
    let other = Store::open(&place.options(), place.with_passphrase("old")).unwrap();
    store.rotate(place.with_passphrase("new")).unwrap();
    assert_failure(keys(&other).get("k"), Kind::Unauthenticated, "store.passphrase");
    drop((store, other));
    let open = |passphrase| Store::open(&place.options(), place.with_passphrase(passphrase));
    assert_failure(open("old"), Kind::Unauthenticated, "store.passphrase");
    assert_eq!(got(&keys(&open("new").unwrap()), "k").unwrap(), b"v");
}

#[test]
fn a_rotation_that_fails_changes_nothing() {
    let place = Place::fresh();
    let store = place.open();
    keys(&store).set("k", b"v").unwrap();
    let key = fs::read(place.key_file()).unwrap();
    let keyring = Arc::new(FakeKeyring::default());
    keyring.fail_with(absent());
    let to_keyring = Unlock { prefer: Some(How::Keyring), keyring: keyring.offered(), ..place.unlock() };
    assert_failure(store.rotate(to_keyring), Kind::Unauthenticated, "store.keyring-absent");
    let to_passphrase = Unlock { prefer: Some(How::Passphrase), ..place.unlock() };
    assert_failure(store.rotate(to_passphrase), Kind::Unauthenticated, "store.passphrase-missing");
    assert_eq!(got(&keys(&store), "k").unwrap(), b"v");
    assert_eq!(fs::read(place.key_file()).unwrap(), key);

    // In the midst of it, with the new key made already.
    drop(store);
    place.raw().execute("UPDATE entry SET body = zeroblob(1)", []).unwrap();
    let store = place.open();
    keyring.fail_with(None);
    let to_keyring = Unlock { prefer: Some(How::Keyring), keyring: keyring.offered(), ..place.unlock() };
    assert_failure(store.rotate(to_keyring), Kind::Integrity, "store.corrupt");
    assert!(keyring.items.lock().unwrap().is_empty());
    assert_failure(store.rotate(place.unlock()), Kind::Integrity, "store.corrupt");
    assert_eq!(fs::read(place.key_file()).unwrap(), key);
    keys(&store).set("k", b"again").unwrap();
}

#[test]
fn a_space_changes_its_owner_only_by_adoption() {
    let place = Place::fresh();
    let store = place.open();
    let space = |name, lineage| store.space(&mount(name), lineage).unwrap();
    for n in 0..300 {
        space("keys", "old").set(&format!("{n}"), format!("value {n}").as_bytes()).unwrap();
    }
    space("other", "old").set("k", b"stays").unwrap();
    let keys = mount("keys");
    assert_failure(store.adopt(&keys, "nobody", "new"), Kind::NotFound, "store.adopt-nothing");
    assert_eq!(store.adopt(&keys, "old", "new").unwrap(), 300);
    assert_eq!(got(&space("keys", "new"), "299").unwrap(), b"value 299");
    assert_eq!(space("keys", "old").keys("", None).unwrap().keys, [""; 0]);
    assert_eq!(got(&space("keys", "old"), "1"), None);
    assert_eq!(got(&space("other", "old"), "k").unwrap(), b"stays");
    assert_eq!(store.verify().unwrap().genuine, 301);

    assert_failure(store.adopt(&keys, "old", "new"), Kind::NotFound, "store.adopt-nothing");
    space("keys", "old").set("k", b"new life").unwrap();
    assert_failure(store.adopt(&keys, "old", "new"), Kind::Conflict, "store.adopt-conflict");
    assert_failure(store.adopt(&keys, "new", "new"), Kind::Conflict, "store.adopt-conflict");
    assert_eq!(got(&space("keys", "old"), "k").unwrap(), b"new life");
    // Back again, over what is empty.
    assert!(space("keys", "old").delete("k").unwrap());
    assert_eq!(store.adopt(&keys, "new", "old").unwrap(), 300);
    assert!(store.verify().unwrap().problems.is_empty());
}
