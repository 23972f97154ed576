//! Somebody who can write the file, but has no key, edits it with plain SQLite.

use std::fs;

use rusqlite::Connection;
use strongroom_core::{Failure, Kind};
use strongroom_store::{Options, Store};

use crate::{Place, assert_failure, got, keys, mount};

const OLD: &[u8] = b"old password";
const NEW: &[u8] = b"new password";

/// A store with three spaces: `keys` of two lineages and `other`, each with `a` and `b`. Space 1 was
/// written last, over earlier values that `before` has seen.
fn store(before: impl FnOnce(&Connection)) -> Place {
    let place = Place::fresh();
    let opened = place.open();
    for (name, lineage) in [("keys", "custom-keys"), ("keys", "stranger"), ("other", "custom-keys")] {
        let space = opened.space(&mount(name), lineage).unwrap();
        space.set("a", OLD).unwrap();
        space.set("b", OLD).unwrap();
    }
    drop(opened);
    before(&place.raw());
    let opened = place.open();
    for key in ["a", "b"] {
        keys(&opened).set(key, NEW).unwrap();
    }
    place
}

fn read(place: &Place, key: &str) -> Result<Option<Vec<u8>>, Failure> {
    let store = Store::open(&place.options(), place.unlock())?;
    keys(&store).get(key).map(|value| value.map(|value| value.to_vec()))
}

/// After `edit`, none of what reads the victim, writes to it or lists it works, and `verify` tells.
#[track_caller]
fn noticed(what: &str, place: &Place, edit: impl FnOnce(&Connection)) {
    assert_eq!(read(place, "a").unwrap().unwrap(), NEW, "{what}: before");
    edit(&place.raw());
    let opened = match Store::open(&place.options(), place.unlock()) {
        Ok(opened) => opened,
        Err(failure) => {
            assert_failure(Err::<(), _>(failure), Kind::Integrity, "store.corrupt");
            return;
        }
    };
    let space = keys(&opened);
    for answer in [
        space.get("a").map(|_| ()),
        space.set("a", b"over it"),
        space.delete("a").map(|_| ()),
        space.swap("a", None, Some(b"over it")).map(|_| ()),
        space.keys("", None).map(|_| ()),
        opened.rotate(place.unlock()).map(|_| ()),
        opened.adopt(&mount("keys"), "custom-keys", "new").map(|_| ()),
    ] {
        match answer {
            Err(failure) => assert_eq!((failure.kind(), failure.code()), (Kind::Integrity, "store.corrupt"), "{what}"),
            Ok(()) => panic!("{what}: not noticed"),
        }
    }
    match opened.verify() {
        Ok(report) => assert!(!report.problems.is_empty(), "{what}: verify finds nothing"),
        Err(failure) => assert_eq!(failure.code(), "store.corrupt", "{what}"),
    }
}

fn run(connection: &Connection, sql: &str) {
    assert!(connection.execute(sql, []).unwrap() > 0, "{sql} changed nothing");
}

#[test]
fn an_edit_of_a_row_is_noticed() {
    for sql in [
        // Another row under its name, and its name under another row.
        "UPDATE entry SET key = 'moved' WHERE space = 1 AND key = 'a'",
        "UPDATE entry SET counter = counter + 1 WHERE space = 1 AND key = 'a'",
        "UPDATE entry SET tag = zeroblob(16) WHERE space = 1 AND key = 'a'",
        "UPDATE entry SET bucket = (bucket + 1) % 128 WHERE space = 1 AND key = 'a'",
        "DELETE FROM entry WHERE space = 1 AND key = 'a'",
        "INSERT INTO entry (space, bucket, key, counter, nonce, tag, body) \
         SELECT space, bucket, 'aa', counter, nonce, tag, body FROM entry WHERE space = 1 AND key = 'a'",
        "UPDATE space SET bytes = 0 WHERE id = 1",
        "UPDATE space SET keys = 0 WHERE id = 1",
        "UPDATE space SET counter = 0 WHERE id = 1",
        "UPDATE space SET digests = zeroblob(2048) WHERE id = 1",
        "UPDATE space SET digests = x'' WHERE id = 1",
        "UPDATE space SET mount = 'else' WHERE id = 1",
        "UPDATE space SET lineage = 'else' WHERE id = 1",
        "UPDATE space SET id = 9 WHERE id = 1",
        "DELETE FROM space WHERE id = 1",
        "DELETE FROM space",
        "UPDATE head SET counter = counter - 1",
        "UPDATE head SET mac = zeroblob(32)",
        "UPDATE head SET mac = x''",
        "UPDATE head SET store = zeroblob(16)",
        "DELETE FROM head",
    ] {
        let place = store(|_| ());
        noticed(sql, &place, |raw| run(raw, sql));
    }
}

/// The value's own bytes are proven when it is opened; its neighbours stay readable.
#[test]
fn an_edit_of_a_value_is_noticed() {
    for sql in [
        "UPDATE entry SET body = zeroblob(length(body)) WHERE space = 1 AND key = 'a'",
        "UPDATE entry SET body = substr(body, 2) WHERE space = 1 AND key = 'a'",
        "UPDATE entry SET body = x'' WHERE space = 1 AND key = 'a'",
        "UPDATE entry SET nonce = zeroblob(24) WHERE space = 1 AND key = 'a'",
        "UPDATE entry SET nonce = x'00' WHERE space = 1 AND key = 'a'",
    ] {
        let place = store(|_| ());
        run(&place.raw(), sql);
        let opened = place.open();
        let space = keys(&opened);
        assert!(matches!(space.get("a"), Err(failure) if failure.code() == "store.corrupt"), "{sql}");
        assert!(space.swap("a", Some(b""), None).is_err(), "{sql}");
        assert_eq!(got(&space, "b").unwrap(), NEW, "{sql}");
        let report = opened.verify().unwrap();
        assert_eq!((report.genuine, report.problems.len()), (5, 1), "{sql}: {report:?}");
        assert!(opened.rotate(place.unlock()).is_err(), "{sql}");
        // It can be replaced, which is the way out.
        space.set("a", b"again").unwrap();
        assert_eq!(got(&space, "a").unwrap(), b"again");
        assert!(opened.verify().unwrap().problems.is_empty());
    }
}

#[test]
fn rows_exchanged_between_keys_lineages_and_mounts_are_noticed() {
    let exchange = |raw: &Connection, here: &str, there: &str, columns: &str| {
        let set: Vec<String> =
            columns.split(", ").map(|column| format!("{column} = (SELECT {column} FROM copy WHERE {there})")).collect();
        raw.execute_batch("CREATE TEMP TABLE copy AS SELECT * FROM entry").unwrap();
        run(raw, &format!("UPDATE entry SET {} WHERE {here}", set.join(", ")));
    };
    let victim = "space = 1 AND key = 'a'";
    for there in ["space = 1 AND key = 'b'", "space = 2 AND key = 'a'", "space = 3 AND key = 'a'"] {
        let place = store(|_| ());
        noticed(there, &place, |raw| exchange(raw, victim, there, "counter, nonce, tag, body"));
    }
    // Both rows, so that nothing is missing.
    let place = store(|_| ());
    noticed("two whole rows", &place, |raw| {
        raw.execute_batch("UPDATE entry SET key = 'x' WHERE space = 1 AND key = 'a'").unwrap();
        raw.execute_batch("UPDATE entry SET key = 'a' WHERE space = 1 AND key = 'b'").unwrap();
        raw.execute_batch("UPDATE entry SET key = 'b' WHERE space = 1 AND key = 'x'").unwrap();
    });
    // Two whole spaces, with all that belongs to them.
    let place = store(|_| ());
    noticed("two whole spaces", &place, |raw| {
        raw.execute_batch(
            "UPDATE space SET lineage = 'x' WHERE id = 1; UPDATE space SET lineage = 'custom-keys' WHERE id = 2; \
             UPDATE space SET lineage = 'stranger' WHERE id = 1;",
        )
        .unwrap();
    });
}

/// Copies of a table's rows as they were, kept where the attacker keeps them.
fn keep(place: &Connection, table: &str, file: &str) {
    place.execute("ATTACH ?1 AS kept", [file]).unwrap();
    place.execute_batch(&format!("CREATE TABLE kept.{table} AS SELECT * FROM main.{table}")).unwrap();
    place.execute_batch("DETACH kept").unwrap();
}

#[test]
fn an_older_copy_of_a_row_or_a_space_is_noticed() {
    let elsewhere = tempfile::tempdir().unwrap();
    for (what, put_back) in [
        ("row", "INSERT OR REPLACE INTO entry SELECT * FROM kept.entry WHERE space = 1 AND key = 'a'"),
        (
            "space",
            "DELETE FROM entry WHERE space = 1; INSERT INTO entry SELECT * FROM kept.entry WHERE space = 1; \
             INSERT OR REPLACE INTO space SELECT * FROM kept.space WHERE id = 1",
        ),
        (
            "all but the head",
            "DELETE FROM entry; DELETE FROM space; INSERT INTO entry SELECT * FROM kept.entry; \
             INSERT INTO space SELECT * FROM kept.space",
        ),
        ("head", "DELETE FROM head; INSERT INTO head SELECT * FROM kept.head"),
    ] {
        let file = elsewhere.path().join(what).to_str().unwrap().to_owned();
        let place = store(|raw| ["entry", "space", "head"].iter().for_each(|table| keep(raw, table, &file)));
        noticed(what, &place, |raw| {
            raw.execute("ATTACH ?1 AS kept", [&file]).unwrap();
            raw.execute_batch(put_back).unwrap();
        });
    }
}

/// The limit that the design states: without memory outside the file this cannot be told.
#[test]
fn an_older_copy_of_everything_opens() {
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("copy");
    let place = store(|raw| {
        raw.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    });
    fs::write(place.path(), fs::read(&copy).unwrap()).unwrap();
    assert_eq!(read(&place, "a").unwrap().unwrap(), OLD);
}

#[test]
fn another_schema_is_refused_before_it_can_act() {
    for sql in [
        "CREATE TRIGGER spy AFTER INSERT ON entry BEGIN DELETE FROM entry; END",
        "CREATE TABLE extra (x)",
        "CREATE VIEW extra AS SELECT * FROM entry",
        "DROP INDEX entry_by_key",
        "ALTER TABLE entry ADD COLUMN spy TEXT DEFAULT 'x'",
    ] {
        let place = store(|_| ());
        place.raw().execute_batch(sql).unwrap();
        assert_failure(read(&place, "a"), Kind::Integrity, "store.corrupt");
    }
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_as_it_is() {
    let sqlite = {
        let place = Place::fresh();
        place.raw().execute_batch("CREATE TABLE head (id INTEGER)").unwrap();
        fs::read(place.path()).unwrap()
    };
    let whole = fs::read(store(|_| ()).path()).unwrap();
    let mut middle = whole.clone();
    middle[4096..8192].fill(0xa5);
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("text", b"not a database at all".to_vec()),
        ("noise", (0..20_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()),
        ("another SQLite file", sqlite),
        ("cut to a page", whole[..4096].to_vec()),
        ("cut within a page", whole[..6000].to_vec()),
        ("a page overwritten", middle),
    ] {
        let place = Place::fresh();
        drop(place.open());
        fs::write(place.path(), &bytes).unwrap();
        let failure = assert_failure(read(&place, "a"), Kind::Integrity, "store.corrupt");
        assert!(failure.helps().iter().any(|line| line.as_str().contains("backup")), "{what}");
        let inspected = Store::inspect(&place.options());
        assert!(inspected.is_err() || inspected.is_ok_and(|s| s.is_some()), "{what}");
        assert_eq!(fs::read(place.path()).unwrap(), bytes, "{what} was changed");
    }
}

#[test]
fn every_byte_of_the_file_may_be_wrong() {
    let place = store(|_| ());
    let whole = fs::read(place.path()).unwrap();
    // A step that is no divisor of a page, so that all parts of pages are met.
    for at in (0..whole.len()).step_by(61) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        fs::write(place.path(), &bytes).unwrap();
        for key in ["a", "b"] {
            // What is read is what was written, or an error: never another value, and never "absent".
            match read(&place, key) {
                Ok(value) => assert_eq!(value.as_deref(), Some(NEW), "byte {at}"),
                Err(failure) => assert!(!failure.code().is_empty()),
            }
        }
        for suffix in ["-wal", "-shm", "-journal"] {
            let _ = fs::remove_file(place.folder.path().join(format!("store.db{suffix}")));
        }
    }
}

#[test]
fn a_newer_format_is_left_to_newer_versions() {
    let place = store(|_| ());
    place.raw().pragma_update(None, "user_version", 2).unwrap();
    assert_failure(read(&place, "a"), Kind::Unsupported, "store.newer");
    place.raw().pragma_update(None, "user_version", 0).unwrap();
    assert_failure(read(&place, "a"), Kind::Integrity, "store.corrupt");
}

#[test]
fn a_log_without_its_store_is_not_mixed_into_a_new_one() {
    let place = Place::fresh();
    let options: Options = place.options();
    let wal = place.folder.path().join("store.db-wal");
    fs::write(&wal, b"frames of the store that was here").unwrap();
    fs::set_permissions(&wal, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_failure(Store::open(&options, place.unlock()), Kind::Integrity, "store.corrupt");
    assert_eq!(place.files(), ["store.db-wal"]);
}
