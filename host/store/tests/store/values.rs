//! What a plugin sees: values, pages, limits, and nothing of others.

use std::fs;

use strongroom_core::Kind;
use strongroom_store::{MAX_VALUE_BYTES, Options, PAGE_KEYS, ROW_OVERHEAD_BYTES, Store};

use crate::{CANARY, Place, assert_failure, got, keys, mount};

#[test]
fn a_value_is_there_after_the_store_was_closed() {
    let place = Place::fresh();
    let store = place.open();
    assert!(store.created());
    let space = keys(&store);
    assert_eq!(got(&space, "db/password"), None);
    space.set("db/password", b"one").unwrap();
    space.set("db/password", b"two").unwrap();
    space.set("empty", b"").unwrap();
    drop((space, store));

    let store = Store::open_existing(&place.options(), place.unlock()).unwrap().unwrap();
    assert!(!store.created());
    let space = keys(&store);
    assert_eq!(got(&space, "db/password").unwrap(), b"two");
    assert_eq!(got(&space, "empty").unwrap(), b"");
    assert!(space.delete("db/password").unwrap());
    assert!(!space.delete("db/password").unwrap());
    assert_eq!(got(&space, "db/password"), None);
}

#[test]
fn changes_that_depend_on_a_key_are_made_together_or_not_at_all() {
    let place = Place::fresh();
    let store = place.open();
    let space = keys(&store);
    let put = |expected: Option<&[u8]>, value: &'static [u8]| {
        space.set_all_where("mark", expected, [("one", Some(value)), ("two", Some(value))].into_iter()).unwrap()
    };
    assert!(put(None, b"a"), "the key is not there, as was expected, nor the space");
    assert!(!put(Some(b"x"), b"b"));
    space.set("mark", b"x").unwrap();
    assert!(!put(None, b"c"));
    assert_eq!((got(&space, "one").unwrap(), got(&space, "two").unwrap()), (b"a".to_vec(), b"a".to_vec()));
    assert!(put(Some(b"x"), b"d"));
    assert_eq!((got(&space, "one").unwrap(), got(&space, "two").unwrap()), (b"d".to_vec(), b"d".to_vec()));
}

#[test]
fn opening_what_is_not_there_makes_nothing() {
    let place = Place::fresh();
    assert!(Store::open_existing(&place.options(), place.unlock()).unwrap().is_none());
    assert!(Store::inspect(&place.options()).unwrap().is_none());
    assert!(place.files().is_empty());
    let deeper = Options::new(place.folder.path().join("no/such/store.db"));
    assert!(!Store::exists(&deeper).unwrap());
    assert!(place.files().is_empty());
}

#[test]
fn another_mount_or_lineage_sees_nothing() {
    let place = Place::fresh();
    let store = place.open();
    keys(&store).set("k", b"mine").unwrap();
    for (name, lineage) in [("keys", "other-plugin"), ("other", "custom-keys")] {
        let other = store.space(&mount(name), lineage).unwrap();
        assert_eq!(got(&other, "k"), None);
        assert!(other.keys("", None).unwrap().keys.is_empty());
        other.set("k", b"theirs").unwrap();
        assert!(other.delete("k").unwrap());
    }
    assert_eq!(got(&keys(&store), "k").unwrap(), b"mine");
}

#[test]
fn swap_changes_only_what_is_expected() {
    let place = Place::fresh();
    let store = place.open();
    let space = keys(&store);
    assert!(!space.swap("k", Some(b"x"), Some(b"y")).unwrap());
    assert!(space.swap("k", None, None).unwrap());
    assert!(space.swap("k", None, Some(b"a")).unwrap());
    assert!(!space.swap("k", None, Some(b"b")).unwrap());
    assert!(!space.swap("k", Some(b""), Some(b"b")).unwrap());
    assert!(space.swap("k", Some(b"a"), Some(b"b")).unwrap());
    assert_eq!(got(&space, "k").unwrap(), b"b");
    assert!(!space.swap("k", Some(b"a"), None).unwrap());
    assert!(space.swap("k", Some(b"b"), None).unwrap());
    assert_eq!(got(&space, "k"), None);
}

#[test]
fn many_changes_are_made_all_or_not_at_all() {
    let place = Place::fresh();
    let options = Options { limit_bytes: 4 * (1 + 100 + ROW_OVERHEAD_BYTES), ..place.options() };
    let store = Store::open(&options, place.unlock()).unwrap();
    let space = keys(&store);
    let all = |changes: &[(&'static str, Option<&'static [u8]>)]| space.set_all(changes.iter().copied());
    all(&[("absent", None)]).unwrap();
    assert!(Store::inspect(&options).unwrap().unwrap().spaces.is_empty(), "nothing was there to be removed");
    all(&[("a", Some(b"1")), ("b", Some(b"2")), ("a", Some(b"3"))]).unwrap();
    all(&[("b", None), ("c", Some(b"4"))]).unwrap();
    assert_eq!(
        (got(&space, "a").unwrap(), got(&space, "b"), got(&space, "c").unwrap()),
        (b"3".to_vec(), None, b"4".to_vec())
    );
    assert_failure(all(&[("a", None), ("d", Some(&[0; 900]))]), Kind::LimitExceeded, "store.mount-size");
    assert_failure(all(&[("a", None), ("", Some(b"5"))]), Kind::InvalidReference, "store.key");
    assert_eq!(space.keys("", None).unwrap().keys, ["a", "c"]);
    drop((space, store));
    let space = keys(&Store::open_existing(&options, place.unlock()).unwrap().unwrap());
    assert_eq!(got(&space, "a").unwrap(), b"3");
}

#[test]
fn keys_come_in_pages_in_order_each_once() {
    let place = Place::fresh();
    let store = place.open();
    let space = keys(&store);
    let mut expected: Vec<String> = (0..PAGE_KEYS + 44).map(|n| format!("a/{n}")).collect();
    for key in &expected {
        space.set(key, b"").unwrap();
    }
    for other in ["Z", "a", "a.", "a0", "b", "ä"] {
        space.set(other, b"").unwrap();
    }
    expected.sort_unstable();
    let first = space.keys("a/", None).unwrap();
    assert_eq!(first.keys.len(), PAGE_KEYS);
    let second = space.keys("a/", first.next.as_deref()).unwrap();
    assert_eq!(second.next, None);
    assert_eq!([first.keys, second.keys].concat(), expected);

    assert_eq!(space.keys("ä", None).unwrap().keys, ["ä"]);
    // Cursors that no page gave.
    assert_eq!(space.keys("a/", Some("a/~")).unwrap().keys, [""; 0]);
    assert_eq!(space.keys("a/", Some("b")).unwrap().keys, [""; 0]);
    assert_eq!(space.keys("b", Some("a")).unwrap().keys, ["b"]);
}

#[test]
fn a_full_last_page_has_no_next() {
    let place = Place::fresh();
    let store = place.open();
    let space = keys(&store);
    for n in 0..PAGE_KEYS {
        space.set(&format!("{n}"), b"").unwrap();
    }
    let page = space.keys("", None).unwrap();
    assert_eq!((page.keys.len(), page.next), (PAGE_KEYS, None));
}

#[test]
fn keys_are_names() {
    let place = Place::fresh();
    let store = place.open();
    let space = keys(&store);
    space.set(&"k".repeat(512), b"v").unwrap();
    assert_failure(space.set(&"k".repeat(513), b"v"), Kind::LimitExceeded, "store.key");
    for bad in ["", "a\0b", "a\nb", "\u{7f}", "\u{85}"] {
        for answer in [
            space.get(bad).map(|_| ()),
            space.set(bad, b""),
            space.delete(bad).map(|_| ()),
            space.swap(bad, None, None).map(|_| ()),
            space.keys("", Some(bad)).map(|_| ()),
        ] {
            assert_eq!(answer.unwrap_err().code(), "store.key", "{bad:?}");
        }
    }
    assert_eq!(store.space(&mount("keys"), "").unwrap_err().code(), "store.lineage");
    assert_eq!(store.space(&mount("keys"), "a\nb").unwrap_err().code(), "store.lineage");
}

#[test]
fn a_large_value_is_kept_and_a_larger_one_refused() {
    let place = Place::fresh();
    let store = place.open();
    let space = keys(&store);
    let large = vec![7; MAX_VALUE_BYTES];
    space.set("large", &large).unwrap();
    assert_eq!(got(&space, "large").unwrap(), large);
    for bytes in [MAX_VALUE_BYTES + 1, 10 << 20] {
        let too_large = vec![7; bytes];
        assert_failure(space.set("large", &too_large), Kind::LimitExceeded, "store.value-size");
        assert_failure(space.swap("large", None, Some(&too_large)), Kind::LimitExceeded, "store.value-size");
    }
    assert_eq!(got(&space, "large").unwrap(), large);
}

#[test]
fn a_mount_cannot_keep_more_than_its_limit() {
    let place = Place::fresh();
    let options = Options { limit_bytes: 3 * (1 + 100 + ROW_OVERHEAD_BYTES), ..place.options() };
    let store = Store::open(&options, place.unlock()).unwrap();
    let space = keys(&store);
    for key in ["a", "b", "c"] {
        space.set(key, &[0; 100]).unwrap();
    }
    let other_lineage = store.space(&mount("keys"), "other").unwrap();
    for full in [&space, &other_lineage] {
        assert_failure(full.set("d", b""), Kind::LimitExceeded, "store.mount-size");
    }
    assert_failure(space.set("a", &[0; 101]), Kind::LimitExceeded, "store.mount-size");
    assert_eq!(space.keys("", None).unwrap().keys, ["a", "b", "c"]);
    // The same size again, another mount, and room made by a delete.
    space.set("a", &[1; 100]).unwrap();
    store.space(&mount("other"), "custom-keys").unwrap().set("d", &[0; 100]).unwrap();
    assert!(space.delete("b").unwrap());
    other_lineage.set("d", &[0; 100]).unwrap();
}

#[test]
fn no_value_stands_in_any_file() {
    let place = Place::fresh();
    let store = Store::open(&place.options(), place.with_passphrase("a passphrase that is a canary too")).unwrap();
    let space = keys(&store);
    space.set("name-in-plain", CANARY.as_bytes()).unwrap();
    space.set("long", CANARY.repeat(4000).as_bytes()).unwrap();
    assert_eq!(got(&space, "name-in-plain").unwrap(), CANARY.as_bytes());
    let search = || {
        let files = place.files();
        let found = |what: &str| {
            let has = |file: &&String| {
                let bytes = fs::read(place.folder.path().join(file.as_str())).unwrap();
                bytes.windows(what.len()).any(|window| window == what.as_bytes())
            };
            files.iter().filter(has).count()
        };
        assert_eq!(found(CANARY) + found("a passphrase that is"), 0, "in one of {files:?}");
        // The search itself works: names are in plain.
        assert!(found("name-in-plain") > 0);
        files
    };
    // Closing a descriptor of the open file drops SQLite's locks in this process; nothing else is
    // using it here, and the store is closed next.
    assert_eq!(search(), ["store.db", "store.db-shm", "store.db-wal"]);
    let shown = format!("{store:?} {space:?} {:?}", place.with_passphrase(CANARY));
    assert!(!shown.contains(CANARY), "{shown}");
    drop((space, store));
    assert_eq!(search(), ["store.db"]);
}

#[test]
fn the_status_tells_how_the_store_is() {
    let place = Place::fresh();
    let store = place.open();
    keys(&store).set("a", b"12345").unwrap();
    let status = Store::inspect(&place.options()).unwrap().unwrap();
    assert_eq!((status.how.name(), status.format), ("file", 1));
    assert_eq!(status.how, store.how().unwrap());
    assert!(status.file_bytes > 0 && status.problems.is_empty());
    let [space] = &status.spaces[..] else { panic!("{status:?}") };
    assert_eq!((space.mount.as_str(), space.lineage.as_str()), ("keys", "custom-keys"));
    assert_eq!((space.keys, space.bytes), (1, 1 + 5 + ROW_OVERHEAD_BYTES));
    let report = store.verify().unwrap();
    assert_eq!((report.genuine, report.problems.len()), (1, 0));
}

#[test]
fn threads_share_one_store() {
    let place = Place::fresh();
    let store = place.open();
    std::thread::scope(|scope| {
        for thread in 0..12 {
            let space = keys(&store);
            scope.spawn(move || {
                for n in 0..10 {
                    let key = format!("{thread}/{n}");
                    space.set(&key, key.as_bytes()).unwrap();
                    assert_eq!(got(&space, &key).unwrap(), key.as_bytes());
                }
            });
        }
    });
    assert_eq!(keys(&store).keys("", None).unwrap().keys.len(), 120);
}
