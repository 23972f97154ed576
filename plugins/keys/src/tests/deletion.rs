//! What is deleted for a while: kept, brought back, ended.

use super::*;
use crate::list;
use lifecycle::no_soft_delete;

/// The attributes of an entry, by name.
type Known = BTreeMap<String, String>;

fn names(store: &Fake, now: u64, scope: &str, state: Option<&str>) -> Result<Vec<(String, Known)>, Failure> {
    let mut scope = if scope.is_empty() {
        Reference { authority: None, path: Vec::new(), selectors: Vec::new() }
    } else {
        reference(scope)
    };
    scope.selectors.extend(state.map(|state| ("state".into(), state.into())));
    let at = Settings { now: Some(now), ..soft() };
    let page = list::names(store, &at, &scope, "", None)?;
    Ok(page.entries.into_iter().map(|entry| (entry.name, entry.attributes.into_iter().collect())).collect())
}

fn live(store: &Fake, scope: &str) -> Vec<String> {
    names(store, NOW, scope, None).unwrap().into_iter().map(|(name, _)| name).collect()
}

fn deleted(store: &Fake, now: u64, scope: &str) -> Vec<String> {
    names(store, now, scope, Some("deleted")).unwrap().into_iter().map(|(name, _)| name).collect()
}

/// Numbers and states of the versions of a key, newest first.
fn states(store: &Fake, now: u64, uri: &str) -> Vec<String> {
    let at = Settings { now: Some(now), ..soft() };
    let page = list::versions(store, &at, &place(uri), None).unwrap();
    let state = |known: &[(String, String)]| known.iter().find(|(key, _)| key == "state").unwrap().1.clone();
    page.entries.into_iter().map(|entry| format!("{} {}", entry.name, state(&entry.attributes))).collect()
}

fn attribute<'a>(attributes: &'a Attributes, name: &str) -> &'a str {
    attributes.iter().find(|(key, _)| key == name).map(|(_, text)| text.as_str()).unwrap()
}

/// Whether any record holds `value`.
fn holds(store: &Fake, value: &str) -> bool {
    store.records.borrow().values().any(|bytes| bytes.windows(value.len()).any(|window| window == value.as_bytes()))
}

#[test]
fn a_deleted_key_comes_back_with_all_its_versions() {
    let store = Fake::default();
    put_with(&store, "g/k", "canary-1", &[("tags.a".into(), "b".into())], None).unwrap();
    put(&store, "g/k", "canary-2").unwrap();
    put(&store, "g/other", "x").unwrap();
    let receipt = soft_remove(&store, "g/k").unwrap();
    assert_eq!(attribute(&receipt.attributes, "state"), "deleted");
    assert_eq!(attribute(&receipt.attributes, "scheduled-purge"), OVER.to_string());

    for uri in ["g/k", "g/k?version=1", "g/k?version=9"] {
        let failure = get(&store, uri).unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::NotFound, "keys.deleted"), "{uri}");
        assert!(failure.message.contains("for less than 7 days (strongroom recover)"), "{}", failure.message);
        assert_eq!(attribute(&failure.attributes, "deleted"), NOW.to_string());
        assert!(!format!("{failure:?}").contains("canary"));
    }
    assert_eq!(code(list::versions(&store, &soft(), &place("g/k"), None)), "keys.deleted");
    assert_eq!(code(soft_remove(&store, "g/k")), "keys.deleted");
    assert_eq!(code(soft_remove(&store, "g/k?version=1")), "keys.deleted");
    assert_eq!(code(write::annotate(&store, &soft(), &place("g/k"), &[])), "keys.deleted");
    assert!(!text(&store, "g").contains("canary"));
    assert_eq!(live(&store, "g"), ["other"]);
    let gone = names(&store, NOW, "g", Some("deleted")).unwrap();
    let [(name, known)] = gone.as_slice() else { panic!("{gone:?}") };
    assert_eq!((name.as_str(), known["version"].as_str(), known["state"].as_str()), ("k", "2", "deleted"));
    assert_eq!((known["deleted"].clone(), known["scheduled-purge"].clone()), (NOW.to_string(), OVER.to_string()));
    assert!(!format!("{known:?}").contains("canary"));

    let receipt = recover(&store, "g/k").unwrap();
    assert_eq!((receipt.version.as_deref(), attribute(&receipt.attributes, "state")), (Some("2"), "recovered"));
    assert_eq!((text(&store, "g/k"), text(&store, "g/k?version=1")), ("canary-2".into(), "canary-1".into()));
    assert_eq!(attribute(&get(&store, "g/k?version=1").unwrap().attributes, "tags.a"), "b");
    assert_eq!(deleted(&store, NOW, "g"), [""; 0]);
    assert_eq!(put(&store, "g/k", "three").unwrap().version.as_deref(), Some("3"));
}

#[test]
fn a_deleted_name_is_taken_until_it_is_recovered_or_purged() {
    let store = Fake::default();
    put(&store, "g/k", "canary").unwrap();
    soft_remove(&store, "g/k").unwrap();
    let before = store.records.borrow().clone();
    let document = r#"{"properties":{"credentials":{"keys":{"new":"n","k":"v"}}}}"#;
    for (uri, value, expected) in
        [("g/k", "v", None), ("g/k", "v", Some("")), ("g/k", "v", Some("1")), ("g", document, None)]
    {
        // Also where the mount no longer keeps what is deleted.
        let failure = put_with(&store, uri, value, &[], expected).unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::Conflict, "keys.name-taken"));
        assert!(failure.message.contains("strongroom recover") && failure.message.contains("strongroom purge"));
    }
    assert_eq!(*store.records.borrow(), before);
    let receipt = purge(&store, "g/k").unwrap();
    assert_eq!(attribute(&receipt.attributes, "state"), "purged");
    assert!(!holds(&store, "canary"));
    assert_eq!(code(recover(&store, "g/k")), "keys.no-group");
    // A purged name begins anew, and its numbers do not.
    assert_eq!(put_with(&store, "g/k", "v", &[], Some("")).unwrap().version.as_deref(), Some("2"));
}

#[test]
fn only_what_is_deleted_is_recovered_or_purged() {
    let store = Fake::default();
    put(&store, "g/k", "v").unwrap();
    put(&store, "g/target", "t").unwrap();
    put(&store, "g/metadata/m", "m").unwrap();
    for act in [recover, purge] {
        for (uri, expected) in [
            ("g/k", "keys.not-deleted"),
            ("g/none", "keys.not-deleted"),
            ("g", "keys.not-deleted"),
            ("none", "keys.no-group"),
            ("none/k", "keys.no-group"),
            ("g/k?version=9", "keys.no-version"),
            ("g/target", "keys.no-soft-delete"),
            ("g/metadata/m", "keys.no-soft-delete"),
            ("g?version=1", "keys.version"),
        ] {
            assert_eq!(code(act(&store, uri)), expected, "{uri}");
        }
    }
    assert_eq!(code(recover(&store, "g/k?version=1")), "keys.not-deleted");
    assert_eq!(text(&store, "g/k"), "v");
    // Open data is gone at once.
    assert_eq!(soft_remove(&store, "g/metadata/m").unwrap().attributes, []);
    assert_eq!(seen(&store, "g/metadata/m"), "keys.no-metadata");
    assert_eq!(code(names(&store, NOW, "g", Some("gone"))), "keys.state");
}

#[test]
fn a_version_is_deleted_recovered_and_destroyed_by_itself() {
    let store = Fake::default();
    for value in ["canary-1", "canary-2", "canary-3"] {
        put(&store, "g/k", value).unwrap();
    }
    soft_remove(&store, "g/k?version=3").unwrap();
    // No older value stands in for the newest.
    let failure = get(&store, "g/k").unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::NotFound, "keys.version-deleted"));
    assert_eq!(attribute(&failure.attributes, "version"), "3");
    assert_eq!(attribute(&failure.attributes, "created"), NOW.to_string());
    assert_eq!(seen(&store, "g/k?version=3"), "keys.version-deleted");
    assert_eq!(text(&store, "g/k?version=2"), "canary-2");
    assert_eq!(states(&store, NOW, "g/k"), ["3 deleted", "2 enabled", "1 enabled"]);
    assert_eq!(live(&store, "g"), ["k"]);
    assert!(!text(&store, "g").contains("canary"));
    assert_eq!(code(soft_remove(&store, "g/k?version=3")), "keys.version-deleted");

    // Who compares, compares with the newest number, whatever became of it.
    assert_eq!(code(put_with(&store, "g/k", "x", &[], Some("2"))), "keys.not-current");
    assert_eq!(code(put_with(&store, "g/k", "x", &[], Some(""))), "keys.not-current");
    assert_eq!(recover(&store, "g/k?version=3").unwrap().version.as_deref(), Some("3"));
    assert_eq!(text(&store, "g/k"), "canary-3");
    soft_remove(&store, "g/k?version=3").unwrap();
    assert_eq!(put_with(&store, "g/k", "four", &[], Some("3")).unwrap().version.as_deref(), Some("4"));
    assert_eq!(text(&store, "g/k"), "four");

    // Destroyed: one that is deleted, and one that is there.
    purge(&store, "g/k?version=3").unwrap();
    purge(&store, "g/k?version=1").unwrap();
    assert!(!holds(&store, "canary-1") && !holds(&store, "canary-3"));
    assert_eq!(states(&store, NOW, "g/k"), ["4 enabled", "3 destroyed", "2 enabled", "1 destroyed"]);
    // The form in the store: it stays readable.
    let head = String::from_utf8(store.records.borrow()["g/head"].clone()).unwrap();
    assert!(head.contains(r#"{"version":3,"state":{"destroyed":{}},"created":1000}"#), "{head}");
    assert_eq!(seen(&store, "g/k?version=3"), "keys.version-destroyed");
    for act in [recover, purge, soft_remove] {
        assert_eq!(code(act(&store, "g/k?version=3")), "keys.version-destroyed");
    }
    purge(&store, "g/k?version=4").unwrap();
    assert_eq!(seen(&store, "g/k"), "keys.version-destroyed");
    assert_eq!(put(&store, "g/k", "five").unwrap().version.as_deref(), Some("5"));

    // What became of each version outlives the deletion of the key.
    soft_remove(&store, "g/k?version=2").unwrap();
    soft_remove(&store, "g/k").unwrap();
    recover(&store, "g/k").unwrap();
    assert_eq!(states(&store, NOW, "g/k"), ["5 enabled", "4 destroyed", "3 destroyed", "2 deleted", "1 destroyed"]);
    assert_eq!(store.orphans("g"), 0);

    // The user's own marks stay, and those of a version that is named can be changed whatever became of it.
    let mark = |uri: &str, text: &str| {
        code(write::annotate(&store, &settings(), &place(uri), &[("tags.a".into(), text.into())]))
    };
    let marks = |number: usize| {
        let all = list::versions(&store, &soft(), &place("g/k"), None).unwrap().entries;
        all[5 - number].attributes.iter().find(|(key, _)| key == "tags.a").map(|(_, text)| text.clone())
    };
    assert_eq!((mark("g/k?version=2", "1"), mark("g/k?version=4", "2")), ("ok".into(), "ok".into()));
    purge(&store, "g/k?version=2").unwrap();
    assert_eq!((marks(2), marks(4)), (Some("1".into()), Some("2".into())));
    assert_eq!(mark("g/k?version=2", ""), "ok");
    assert_eq!(marks(2), None);
}

#[test]
fn a_key_all_of_whose_versions_are_deleted_is_still_there() {
    let store = Fake::default();
    put(&store, "g/k", "v").unwrap();
    soft_remove(&store, "g/k?version=1").unwrap();
    assert_eq!((live(&store, "g"), seen(&store, "g/k")), (vec!["k".into()], "keys.version-deleted".into()));
    // The group as a document does not show it, and so cannot delete it.
    put(&store, "g", &text(&store, "g")).unwrap();
    recover(&store, "g/k?version=1").unwrap();
    assert_eq!(text(&store, "g/k"), "v");
    soft_remove(&store, "g/k?version=1").unwrap();
    soft_remove(&store, "g/k").unwrap();
    purge(&store, "g/k").unwrap();
    assert_eq!(seen(&store, "g"), "keys.no-group");
}

#[test]
fn a_deleted_group_comes_back_whole() {
    let store = Fake::default();
    put(&store, "g/k", "v").unwrap();
    put(&store, "g/d", "d").unwrap();
    put(&store, "g/target", "t").unwrap();
    put(&store, "h/k", "v").unwrap();
    soft_remove(&store, "g/d").unwrap();
    soft_remove(&store, "g").unwrap();
    for uri in ["g", "g/k", "g/target", "g/d", "g/none"] {
        assert_eq!(seen(&store, uri), "keys.deleted", "{uri}");
        assert_eq!(code(recover(&store, "g/k")), "keys.deleted");
        assert_eq!(code(purge(&store, "g/k?version=1")), "keys.deleted");
    }
    for uri in ["g/k", "g/new", "g/target", "g/metadata/m"] {
        assert_eq!(code(put(&store, uri, "v")), "keys.name-taken", "{uri}");
    }
    assert_eq!((live(&store, ""), deleted(&store, NOW, "")), (vec!["h".into()], vec!["g".into()]));
    assert_eq!(names(&store, NOW, "", Some("deleted")).unwrap()[0].1["scheduled-purge"], OVER.to_string());
    recover(&store, "g").unwrap();
    assert_eq!((text(&store, "g/k"), text(&store, "g/target")), ("v".into(), "t".into()));
    assert_eq!(deleted(&store, NOW, "g"), ["d"]);
    soft_remove(&store, "g").unwrap();
    purge(&store, "g").unwrap();
    assert_eq!((seen(&store, "g"), deleted(&store, NOW, "")), ("keys.no-group".into(), vec![]));
    assert_eq!(store.records.borrow().keys().collect::<Vec<_>>(), ["g/head", "h/head", "h/v/k/1"]);
    assert!(put(&store, "g/k", "w").unwrap().version.unwrap().parse::<u64>().unwrap() > 1);
}

#[test]
fn a_document_deletes_for_a_while_what_it_does_not_name() {
    let store = Fake::default();
    put(&store, "g/k", "v").unwrap();
    let document = Value::Text(r#"{"properties":{"credentials":{"keys":{"n":"n"}}}}"#.into());
    write::put(&store, &soft(), &place("g"), document, &[], None).unwrap();
    assert_eq!((seen(&store, "g/k"), deleted(&store, NOW, "g")), ("keys.deleted".into(), vec!["k".into()]));
    recover(&store, "g/k").unwrap();
    assert_eq!(text(&store, "g/k"), "v");
}

#[test]
fn a_group_whose_last_key_is_deleted_is_there_until_nothing_can_come_back() {
    let store = Fake::default();
    put(&store, "g/k", "v").unwrap();
    soft_remove(&store, "g/k").unwrap();
    assert_eq!((live(&store, "g"), live(&store, "")), (vec![], vec!["g".into()]));
    assert!(text(&store, "g").contains(r#""keys":{}"#));
    assert_eq!(seen(&store, "g/none"), "keys.no-key");
    assert_eq!(seen_at(&store, OVER, "g"), "keys.no-group");
}

#[test]
fn what_is_past_its_time_is_gone_at_once_and_out_of_the_store_with_the_next_change() {
    let late = Settings { now: Some(OVER), ..soft() };
    for (delete, uri) in [("g/k", "g/k"), ("g/k?version=2", "g/k?version=2"), ("g", "g/k")] {
        let store = Fake::default();
        put(&store, "g/k", "one").unwrap();
        put(&store, "g/k", "canary").unwrap();
        put(&store, "g/other", "o").unwrap();
        soft_remove(&store, delete).unwrap();
        assert!(seen_at(&store, OVER - 1, uri).contains("deleted"), "{delete}");
        assert_eq!(
            code(lifecycle::recover(&store.copy(), &Settings { now: Some(OVER - 1), ..soft() }, &place(delete))),
            "ok"
        );
        let seen = seen_at(&store, OVER, uri);
        assert!(["keys.no-key", "keys.version-destroyed", "keys.no-group"].contains(&seen.as_str()), "{seen}");
        assert!(
            code(names(&store, OVER, "g", Some("deleted"))) == "keys.no-group" || deleted(&store, OVER, "g").is_empty()
        );
        assert_eq!(deleted(&store, OVER, ""), [""; 0]);
        // Readers change nothing.
        assert!(holds(&store, "canary"));

        // Any change of the group, and also one that finds nothing any more.
        let (changed, refused) = (store.copy(), store.copy());
        write::put(&changed, &late, &place("g/x"), Value::Text("x".into()), &[], None).unwrap();
        assert!(lifecycle::recover(&refused, &late, &place(delete)).is_err());
        for store in [changed, refused] {
            assert!(!holds(&store, "canary"), "{delete}");
            store.check("g");
            assert_eq!(store.orphans("g"), 0);
            let receipt = write::put(&store, &late, &place("g/k"), Value::Text("new".into()), &[], None).unwrap();
            assert!(receipt.version.unwrap().parse::<u64>().unwrap() > 2, "a number came back");
        }
    }
}

#[test]
fn a_mount_that_keeps_nothing_says_so_and_still_minds_what_was_kept() {
    let store = Fake::default();
    for uri in ["g/k", "g/d", "g/j"] {
        put(&store, uri, "one").unwrap();
        put(&store, uri, "two").unwrap();
    }
    let hard = |act: fn(&Fake, &Settings, &Place) -> Result<Receipt, Failure>, uri: &str| {
        code(act(&store, &settings(), &place(uri)))
    };
    let refused = no_soft_delete().code;
    for uri in ["g/k", "g/none", "g", "none", "none/k", "g/target"] {
        assert_eq!(hard(lifecycle::recover, uri), refused, "{uri}");
        assert_eq!(hard(lifecycle::purge, uri), refused, "{uri}");
    }
    // A version that is purged is gone with its number, as if it were removed.
    assert_eq!(hard(lifecycle::purge, "g/k?version=2"), "ok");
    assert_eq!((text(&store, "g/k"), states(&store, NOW, "g/k")), ("one".into(), vec!["1 enabled".into()]));
    let mut scope = reference("g");
    scope.selectors.push(("state".into(), "deleted".into()));
    let listed = || code(list::names(&store, &settings(), &scope, "", None));
    assert_eq!(listed(), refused);

    for uri in ["g/d", "g/j", "g/k?version=1"] {
        soft_remove(&store, uri).unwrap();
    }
    assert_eq!(listed(), "ok");
    assert_eq!(hard(lifecycle::recover, "g/d"), "ok");
    assert_eq!(hard(lifecycle::purge, "g/j"), "ok");
    assert_eq!(hard(lifecycle::recover, "g/k?version=1"), "ok");
    assert_eq!(
        (seen(&store, "g/d"), seen(&store, "g/j"), seen(&store, "g/k")),
        ("two".into(), "keys.no-key".into(), "one".into())
    );
    soft_remove(&store, "g/d").unwrap();
    remove(&store, "g").unwrap();
    assert_eq!(store.records.borrow().len(), 1);
}

#[test]
fn numbers_of_dead_writers_do_not_come_back_after_a_purge() {
    let store = Fake::default();
    put(&store, "g/k", "one").unwrap();
    put(&store, "g/other", "o").unwrap();
    soft_remove(&store, "g/k").unwrap();
    // A writer that read the group before, claimed a number, and died.
    store.records.borrow_mut().insert("g/v/k/5".into(), b"orphan".into());
    for end in [purge, |store: &Fake, _: &str| {
        write::put(
            store,
            &Settings { now: Some(OVER), ..soft() },
            &place("g/other"),
            Value::Text("x".into()),
            &[],
            None,
        )
    }] {
        let store = store.copy();
        end(&store, "g/k").unwrap();
        assert_eq!(store.orphans("g"), 0);
        assert!(put(&store, "g/k", "new").unwrap().version.unwrap().parse::<u64>().unwrap() > 5);
    }
}

#[test]
fn a_full_group_can_still_be_deleted() {
    let store = Fake::default();
    let keys: Vec<_> = (0..2600).map(|n| format!(r#""{n:0>120}":"v""#)).collect();
    put(&store, "g", &format!(r#"{{"properties":{{"credentials":{{"keys":{{{}}}}}}}}}"#, keys.join(","))).unwrap();
    let room = 512 * 1024 - store.records.borrow()["g/head"].len() - r#""metadata":{"m":""},"#.len();
    put(&store, "g/metadata/m", &"x".repeat(room)).unwrap();
    assert_eq!(code(put(&store, "g/k", "v")), "keys.group-too-large");
    let first = format!("g/{:0>120}", 0);
    soft_remove(&store, &format!("{first}?version=1")).unwrap();
    soft_remove(&store, &first).unwrap();
    let none = Value::Text(format!(
        r#"{{"properties":{{"credentials":{{"keys":{{}}}},"metadata":{{"m":"{}"}}}}}}"#,
        "x".repeat(room)
    ));
    write::put(&store, &soft(), &place("g"), none, &[], None).unwrap();
    assert_eq!(live(&store, "g"), [""; 0]);
    soft_remove(&store, "g").unwrap();
    recover(&store, "g").unwrap();
    recover(&store, &first).unwrap();
    // What is deleted takes the room that it took before.
    assert_eq!(code(put(&store, "g/metadata/n", &"x".repeat(200_000))), "keys.group-too-large");
    soft_remove(&store, "g").unwrap();
    purge(&store, "g").unwrap();
    assert_eq!(code(put(&store, "g/metadata/n", &"x".repeat(200_000))), "ok");
}

#[test]
fn without_a_time_nothing_is_deleted_for_a_while() {
    let store = Fake::default();
    put(&store, "g/k", "v").unwrap();
    let timeless = Settings { now: None, ..soft() };
    for uri in ["g/k", "g/k?version=1", "g"] {
        assert_eq!(code(lifecycle::remove(&store, &timeless, &place(uri))), "keys.no-time");
    }
    assert_eq!(text(&store, "g/k"), "v");
}

/// Written by the release before this one could delete for a while.
#[test]
fn a_store_that_was_written_before_is_read_and_changed() {
    let store = Fake::default();
    let head = br#"{"format":1,"revision":7,"floor":2,"created":500,"updated":900,"target":"https://h","metadata":{"m":"x"},"keys":{"k":{"versions":[{"version":3,"created":500},{"version":4,"binary":true,"created":600,"updated":700,"content_type":"a/b","expires":5000,"tags":{"t":"u"}}]}}}"#;
    let gone = br#"{"format":1,"revision":9,"removed":true,"untidy":true,"floor":4,"target":"_"}"#;
    for (key, value) in [
        ("g/head", &head[..]),
        ("g/v/k/3", b"three"),
        ("g/v/k/4", b"\xff"),
        ("gone/head", gone),
        ("gone/v/k/4", b"left"),
    ] {
        store.records.borrow_mut().insert(key.into(), value.into());
    }
    assert_eq!((text(&store, "g/k?version=3"), text(&store, "g/metadata/m")), ("three".into(), "x".into()));
    let newest = get(&store, "g/k").unwrap();
    assert!(matches!(newest.value, Value::Binary(bytes) if bytes == [0xff]));
    assert_eq!((newest.expires_at, newest.content_type.as_deref()), (Some(5000), Some("a/b")));
    assert_eq!(states(&store, NOW, "g/k"), ["4 enabled", "3 enabled"]);
    assert_eq!(seen(&store, "gone"), "keys.no-group");
    // What no new word is needed for is written as it was: a program of before reads it too.
    put(&store, "g/target", "https://h").unwrap();
    let written = String::from_utf8(store.records.borrow()["g/head"].clone()).unwrap();
    let before = String::from_utf8(head.into()).unwrap();
    assert_eq!(
        written,
        before.replace(r#""revision":7"#, r#""revision":8"#).replace(r#""updated":900"#, r#""updated":1000"#)
    );
    soft_remove(&store, "g/k").unwrap();
    recover(&store, "g/k").unwrap();
    assert_eq!(text(&store, "g/k?version=3"), "three");
    assert_eq!(put(&store, "gone/k", "new").unwrap().version.as_deref(), Some("5"));
    put(&store, "gone/k", "newer").unwrap();
    assert!(!holds(&store, "left"));
}
