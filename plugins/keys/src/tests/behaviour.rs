//! One process at a time.

use super::*;
use crate::list;

#[test]
fn a_key_is_read_back_with_its_version_and_what_is_known_about_it() {
    let store = Fake::default();
    let attributes: Vec<(String, String)> = [("content-type", "text/plain"), ("expires", "4000"), ("tags.owner", "me")]
        .map(|(k, v)| (k.into(), v.into()))
        .into();
    let receipt = put_with(&store, "g/k", "one", &attributes, None).unwrap();
    assert_eq!(receipt.version.as_deref(), Some("1"));
    let secret = get(&store, "g/k").unwrap();
    assert_eq!(secret.version.as_deref(), Some("1"));
    assert_eq!(secret.content_type.as_deref(), Some("text/plain"));
    assert_eq!(secret.expires_at, Some(4000));
    assert!(secret.attributes.contains(&("tags.owner".into(), "me".into())));
    assert!(secret.attributes.contains(&("created".into(), "1000".into())));
    put(&store, "g/k", "two").unwrap();
    assert_eq!((text(&store, "g/k"), text(&store, "g/k?version=1")), ("two".into(), "one".into()));
    assert_eq!(seen(&store, "g/k?version=3"), "keys.no-version");
    // Nothing of the old version's attributes sticks to the new one.
    assert_eq!(get(&store, "g/k").unwrap().content_type, None);
}

#[test]
fn empty_and_binary_values_are_values() {
    let store = Fake::default();
    put(&store, "g/empty", "").unwrap();
    assert_eq!(text(&store, "g/empty"), "");
    write::put(&store, &settings(), &place("g/raw"), Value::Binary(vec![0xff, 0]), &[], None).unwrap();
    assert!(matches!(get(&store, "g/raw").unwrap().value, Value::Binary(bytes) if bytes == [0xff, 0]));
    // JSON cannot hold it, and leaving it out silently would be worse.
    let failure = get(&store, "g").unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::Unsupported, "keys.binary"));
}

#[test]
fn what_is_not_there_says_what_is_by_name_only() {
    let store = Fake::default();
    assert_eq!(seen(&store, "g"), "keys.no-group");
    put(&store, "g/alpha", "canary-1").unwrap();
    let failure = get(&store, "g/beta").unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::NotFound, "keys.no-key"));
    assert_eq!(failure.message, "group `g` has no key `beta`; it has: `alpha`");
    assert_eq!(seen(&store, "g/Alpha"), "keys.no-key");
    assert_eq!(seen(&store, "g/metadata/m"), "keys.no-metadata");
    assert_eq!(text(&store, "g/target"), "_");
}

#[test]
fn names_that_mean_something_else_or_could_reach_elsewhere_are_refused() {
    let store = Fake::default();
    for (uri, expected) in [
        ("g/metadata", "keys.reserved"),
        ("g/credentials", "keys.reserved"),
        ("g/credentials/k", "keys.form"),
        ("g/k/x", "keys.form"),
        ("g/metadata/x/y", "keys.form"),
        ("", "keys.name"),
        ("g/", "keys.name"),
    ] {
        assert_eq!(code(put(&store, uri, "v")), expected, "{uri}");
        assert_eq!(seen(&store, uri), expected, "{uri}");
    }
    for bad in ["a/head", "a\nb", "a\0", &"x".repeat(128)] {
        for path in [vec![bad.to_owned()], vec!["g".into(), bad.to_owned()]] {
            let reference = Reference { authority: None, path, selectors: Vec::new() };
            assert_eq!(code(Place::of(&reference)), "keys.name", "{bad:?}");
        }
    }
    assert!(store.records.borrow().is_empty());
    assert_eq!(code(put(&store, &format!("g/{}", "x".repeat(127)), "v")), "ok");
}

#[test]
fn compare_and_set_takes_the_current_version_only() {
    let store = Fake::default();
    assert_eq!(code(put_with(&store, "g/k", "a", &[], Some("1"))), "keys.not-current");
    assert!(store.records.borrow().is_empty());
    put(&store, "g/k", "a").unwrap();
    assert_eq!(code(put_with(&store, "g/k", "b", &[], Some("1"))), "ok");
    assert_eq!(code(put_with(&store, "g/k", "c", &[], Some("1"))), "keys.not-current");
    assert_eq!(text(&store, "g/k"), "b");
    let revision = get(&store, "g").unwrap().version;
    assert_eq!(code(put_with(&store, "g/target", "t", &[], revision.as_deref())), "ok");
    assert_eq!(code(put_with(&store, "g/target", "u", &[], revision.as_deref())), "keys.not-current");
    assert_eq!(store.orphans("g"), 0);
}

#[test]
fn an_empty_expected_version_means_that_there_is_none_yet() {
    let store = Fake::default();
    assert_eq!(code(put_with(&store, "g/k", "a", &[], Some(""))), "ok");
    let failure = put_with(&store, "g/k", "b", &[], Some("")).unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::Conflict, "keys.not-current"));
    assert_eq!(code(put_with(&store, "g/other", "b", &[], Some(""))), "ok");
    assert_eq!(code(put_with(&store, "g/target", "t", &[], Some(""))), "keys.not-current");
    assert_eq!(code(put_with(&store, "new/target", "t", &[], Some(""))), "ok");
    assert_eq!(code(put_with(&store, "new/k", "a", &[], Some(""))), "ok");
    assert_eq!(text(&store, "g/k"), "a");
    // What was removed for good is new again.
    remove(&store, "g/k").unwrap();
    assert_eq!(code(put_with(&store, "g/k", "c", &[], Some(""))), "ok");
}

#[test]
fn a_disabled_version_is_not_given_out() {
    let store = Fake::default();
    put(&store, "g/k", "one").unwrap();
    put(&store, "g/j", "jay").unwrap();
    let set = |uri: &str, key: &str, text: &str| {
        code(write::annotate(&store, &settings(), &place(uri), &[(key.into(), text.into())]))
    };
    assert_eq!(set("g/k", "enabled", "false"), "ok");
    assert_eq!(set("g/k", "enabled", "no"), "keys.attribute");
    assert_eq!(set("g/k", "not-before", "soon"), "keys.attribute");
    let failure = get(&store, "g/k").unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::Denied, "keys.disabled"));
    assert_eq!(seen(&store, "g/k?version=1"), "keys.disabled");
    assert!(!text(&store, "g").contains("\"k\""));
    let versions = list::versions(&store, &settings(), &place("g/k"), None).unwrap();
    assert!(versions.entries[0].attributes.contains(&("state".into(), "disabled".into())));
    // A document that does not name what it does not show leaves it alone.
    put(&store, "g", &text(&store, "g")).unwrap();
    assert_eq!(set("g/k", "enabled", "true"), "ok");
    assert_eq!(set("g/k", "not-before", "77"), "ok");
    assert_eq!(text(&store, "g/k"), "one");
    assert!(get(&store, "g/k").unwrap().attributes.contains(&("not-before".into(), "77".into())));
    let off = [("enabled".into(), "false".into())];
    put_with(&store, "g/k", "two", &off, None).unwrap();
    assert_eq!((seen(&store, "g/k"), text(&store, "g/k?version=1")), ("keys.disabled".into(), "one".into()));
}

#[test]
fn only_the_newest_versions_are_kept() {
    let store = Fake::default();
    let few = Settings { versions: 3, ..settings() };
    for n in 0..10 {
        write::put(&store, &few, &place("g/k"), Value::Text(format!("v{n}")), &[], None).unwrap();
    }
    assert_eq!((text(&store, "g/k"), text(&store, "g/k?version=8")), ("v9".into(), "v7".into()));
    assert_eq!(seen(&store, "g/k?version=7"), "keys.no-version");
    assert_eq!(store.records.borrow().len(), 1 + 3);
}

#[test]
fn deleting_leaves_no_value_behind_and_no_number_comes_back() {
    let store = Fake::default();
    for value in ["a", "b", "c"] {
        put(&store, "g/k", value).unwrap();
    }
    put(&store, "g/other", "o").unwrap();
    remove(&store, "g/k?version=3").unwrap();
    assert_eq!(text(&store, "g/k"), "b");
    assert_eq!(put(&store, "g/k", "d").unwrap().version.as_deref(), Some("4"));
    assert_eq!(seen(&store, "g/k?version=3"), "keys.no-version");
    remove(&store, "g/k").unwrap();
    assert_eq!(seen(&store, "g/k"), "keys.no-key");
    assert_eq!(code(remove(&store, "g/k")), "keys.no-key");
    assert_eq!((store.orphans("g"), store.records.borrow().len()), (0, 2));
    assert!(put(&store, "g/k", "e").unwrap().version.unwrap().parse::<u64>().unwrap() > 4);
    remove(&store, "g").unwrap();
    assert_eq!(seen(&store, "g"), "keys.no-group");
    assert_eq!(code(remove(&store, "g")), "keys.no-group");
    assert_eq!(store.records.borrow().keys().collect::<Vec<_>>(), ["g/head"]);
    put(&store, "g/k", "f").unwrap();
    assert_eq!(seen(&store, "g/k?version=4"), "keys.no-version");
    assert_eq!(text(&store, "g/k"), "f");
}

#[test]
fn a_group_whose_last_part_is_deleted_is_gone() {
    let store = Fake::default();
    put(&store, "g/metadata/m", "x").unwrap();
    put(&store, "g/target", "https://h").unwrap();
    put(&store, "g/k", "v").unwrap();
    for (part, still) in [("g/k", "ok"), ("g/target", "ok"), ("g/metadata/m", "keys.no-group")] {
        remove(&store, part).unwrap();
        assert_eq!(code(get(&store, "g")), still, "after {part}");
    }
}

#[test]
fn annotating_changes_what_is_known_and_not_the_value() {
    let store = Fake::default();
    put(&store, "g/k", "v").unwrap();
    let set = |uri: &str, pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        write::annotate(&store, &Settings { now: Some(2000), ..settings() }, &place(uri), &pairs)
    };
    set("g/k", &[("tags.a", "1"), ("tags.b", "2"), ("expires", "5")]).unwrap();
    set("g/k", &[("tags.a", ""), ("expires", "")]).unwrap();
    let secret = get(&store, "g/k").unwrap();
    assert_eq!((secret.version.as_deref(), secret.expires_at), (Some("1"), None));
    let attributes = [("created", "1000"), ("updated", "2000"), ("tags.b", "2")].map(|(k, v)| (k.into(), v.into()));
    assert_eq!(secret.attributes, attributes);
    assert_eq!(code(set("g/k", &[("color", "red")])), "keys.attribute");
    assert_eq!(code(set("g/k", &[("expires", "soon")])), "keys.attribute");
    assert_eq!(code(set("g/k", &[("tags.a", "x\u{1b}[2J")])), "keys.attribute");
    assert_eq!(code(set("g", &[("tags.a", "x")])), "keys.attribute");
    assert_eq!(code(set("g/none", &[("tags.a", "x")])), "keys.no-key");
}

#[test]
fn a_key_that_is_still_to_come_can_be_given_tags() {
    let store = Fake::default();
    let set = |uri: &str, pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        write::annotate(&store, &settings(), &place(uri), &pairs)
    };
    let awaited = |uri: &str| match list::versions(&store, &settings(), &place(uri), None) {
        Ok(page) => {
            page.entries.into_iter().flat_map(|entry| entry.attributes).map(|(k, v)| format!("{k}={v}")).collect()
        }
        Err(failure) => vec![failure.code],
    };
    let none: [(&str, &str); 0] = [];
    assert_eq!(code(set("g/k?version=next", &none)), "keys.no-key");
    assert!(store.records.borrow().is_empty(), "nothing is written for nothing");
    set("g/k?version=next", &[("tags.a", "1"), ("tags.b", "2")]).unwrap();
    set("g/k?version=next", &[("tags.b", ""), ("tags.c", "3")]).unwrap();
    assert_eq!(awaited("g/k?version=next"), ["tags.a=1", "tags.c=3", "state=awaited"]);
    assert_eq!(awaited("g/k"), ["keys.no-key"]);
    assert_eq!((seen(&store, "g/k"), seen(&store, "g/k?version=next")), ("keys.no-key".into(), "keys.no-key".into()));
    assert_eq!(code(set("g/k?version=next", &[("expires", "5")])), "keys.attribute");
    // The first version has them, with what is said with the value; the next one has not.
    put_with(&store, "g/k", "v", &[("tags.c".into(), "4".into())], Some("")).unwrap();
    let tags = |uri: &str| {
        get(&store, uri).unwrap().attributes.into_iter().filter(|(k, _)| k.starts_with("tags")).collect::<Vec<_>>()
    };
    assert_eq!(tags("g/k"), [("tags.a".into(), "1".into()), ("tags.c".into(), "4".into())]);
    assert_eq!(code(set("g/k?version=next", &[("tags.a", "x")])), "keys.not-current");
    put(&store, "g/k", "w").unwrap();
    assert_eq!(tags("g/k"), []);
    // A document makes keys, too.
    set("d/k?version=next", &[("tags.a", "1")]).unwrap();
    put(&store, "d", r#"{"properties":{"credentials":{"keys":{"k":"v"}}}}"#).unwrap();
    assert_eq!(tags("d/k"), [("tags.a".into(), "1".into())]);
    // What waits is taken back: one by one, as a whole, with its group.
    for uri in ["h/k", "h", "h/k?version=next"] {
        set("h/k?version=next", &[("tags.a", "1")]).unwrap();
        let taken = if uri.contains('?') { code(set(uri, &[("tags.a", "")])) } else { code(remove(&store, uri)) };
        assert_eq!((taken, seen(&store, "h")), ("ok".into(), "keys.no-group".into()), "{uri}");
    }
}

#[test]
fn tags_are_as_long_as_in_the_services_that_have_them() {
    let store = Fake::default();
    put(&store, "g/k", "v").unwrap();
    let set = |key: String, text: String| code(write::annotate(&store, &settings(), &place("g/k"), &[(key, text)]));
    let of = |count: usize| "\u{e9}".repeat(count);
    assert_eq!(set(format!("tags.{}", of(512)), of(512)), "ok");
    assert_eq!(set(format!("tags.{}", of(513)), of(1)), "keys.attribute");
    assert_eq!(set("tags.a".into(), of(513)), "keys.attribute");
    assert_eq!(set("tags.a/b".into(), of(1)), "ok");
    assert_eq!(set("tags.".into(), of(1)), "keys.attribute");
    for n in 2..64 {
        assert_eq!(set(format!("tags.{n}"), of(1)), "ok");
    }
    assert_eq!(set("tags.more".into(), of(1)), "keys.attribute");
}

#[test]
fn lists_show_names_in_pages_and_never_values() {
    let store = Fake::default();
    for n in 0..120 {
        put(&store, &format!("g{n:03}/key"), "canary-list").unwrap();
        put(&store, &format!("big/k{n:03}"), "canary-list").unwrap();
    }
    remove(&store, "g007").unwrap();
    let all = |scope: &str, prefix: &str| {
        let scope = if scope.is_empty() {
            Reference { authority: None, path: Vec::new(), selectors: Vec::new() }
        } else {
            reference(scope)
        };
        let (mut names, mut cursor) = (Vec::new(), None);
        loop {
            let page = list::names(&store, &settings(), &scope, prefix, cursor.as_deref()).unwrap();
            assert!(page.entries.len() <= list::PAGE);
            assert!(
                page.entries.iter().all(|e| e.attributes.iter().all(|(k, v)| !format!("{k}{v}").contains("canary")))
            );
            names.extend(page.entries.into_iter().map(|e| e.name));
            cursor = page.next;
            if cursor.is_none() {
                return names;
            }
        }
    };
    let groups: Vec<_> =
        ["big".into()].into_iter().chain((0..120).filter(|n| *n != 7).map(|n| format!("g{n:03}"))).collect();
    assert_eq!(all("", ""), groups);
    assert_eq!(all("", "g11").len(), 10);
    assert_eq!(all("big", ""), (0..120).map(|n| format!("k{n:03}")).collect::<Vec<_>>());
    assert_eq!(all("big", "k00").len(), 10);
    assert_eq!(code(list::names(&store, &settings(), &reference("none"), "", None)), "keys.no-group");
    assert_eq!(code(list::names(&store, &settings(), &reference("big/k001"), "", None)), "keys.scope");
}

#[test]
fn versions_are_listed_newest_first() {
    let store = Fake::default();
    let many = Settings { versions: 100, ..settings() };
    for n in 0..100 {
        write::put(&store, &many, &place("g/k"), Value::Text(format!("{n}")), &[], None).unwrap();
    }
    let names = |cursor: Option<&str>| {
        let page = list::versions(&store, &settings(), &place("g/k"), cursor).unwrap();
        (page.entries.into_iter().map(|e| e.name).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(names(None), ((1..=100).rev().map(|n| n.to_string()).collect(), None));
    assert_eq!(names(Some("3")), (vec!["2".into(), "1".into()], None));
    assert_eq!(code(list::versions(&store, &settings(), &place("g/none"), None)), "keys.no-key");
    assert_eq!(code(list::versions(&store, &settings(), &place("g"), None)), "keys.no-versions");
}

#[test]
fn several_references_are_answered_one_by_one_and_in_order() {
    let store = Fake::default();
    put(&store, "g/a", "1").unwrap();
    put(&store, "g/b", "2").unwrap();
    let refs: Vec<_> = ["g/b", "g/none", "g/a", "g/metadata", "g/target"].map(reference).into();
    let answers: Vec<_> = read::resolve(&store, Some(NOW), &refs).into_iter().map(code).collect();
    assert_eq!(answers, ["ok", "keys.no-key", "ok", "keys.reserved", "ok"]);
}

#[test]
fn a_record_of_another_form_or_a_lost_value_is_a_failure_and_no_answer() {
    let store = Fake::default();
    put(&store, "g/k", "v").unwrap();
    let head = store.records.borrow().get("g/head").cloned().unwrap();
    for other in [&br#"{"format":2}"#[..], b"", b"{", br#"{"format":1,"revision":1,"target":"_","new":1}"#] {
        store.records.borrow_mut().insert("g/head".into(), other.into());
        assert_eq!(seen(&store, "g/k"), "keys.format");
        assert_eq!(code(put(&store, "g/k", "w")), "keys.format");
        assert_eq!(store.records.borrow().get("g/head").unwrap(), other);
    }
    store.records.borrow_mut().insert("g/head".into(), head);
    store.records.borrow_mut().remove("g/v/k/1");
    assert_eq!(get(&store, "g/k").unwrap_err().code, "keys.value-lost");
    assert_eq!(code(put(&store, "g/k", "again")), "ok");
    assert_eq!(text(&store, "g/k"), "again");
}

#[test]
fn a_group_that_would_not_fit_a_call_is_refused_whole() {
    let store = Fake::default();
    put(&store, "g/k", "v").unwrap();
    assert_eq!(code(put(&store, "g/metadata/m", &"x".repeat(600 * 1024))), "keys.group-too-large");
    assert_eq!(text(&store, "g/k"), "v");
    put(&store, "g/k", &"x".repeat(1 << 20)).unwrap();
    assert_eq!(text(&store, "g/k").len(), 1 << 20);
}
