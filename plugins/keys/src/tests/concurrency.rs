//! Several processes at once, and processes that die.

use std::rc::Rc;
use std::sync::Mutex;

use super::*;
use crate::{Page, list};

const DOCUMENT: &str = r#"{"properties":{"credentials":{"keys":{"k":"document","n":"document"}},"target":"t"}}"#;

type Act = fn(&Fake) -> Result<Receipt, Failure>;

/// Everything that changes a group, small and large.
const ACTS: [(&str, Act); 26] = [
    ("put", |s| put(s, "g/k", "put")),
    ("put another key", |s| put(s, "g/j", "put")),
    ("put a deleted key", |s| put(s, "g/d", "put")),
    ("compare and set", |s| put_with(s, "g/k", "cas", &[], Some("2"))),
    ("create", |s| put_with(s, "g/n", "created", &[], Some(""))),
    ("create what may be there", |s| put_with(s, "g/j", "created", &[], Some(""))),
    ("put a document", |s| put(s, "g", DOCUMENT)),
    ("put a document, softly", |s| write::put(s, &soft(), &place("g"), Value::Text(DOCUMENT.into()), &[], None)),
    ("remove a key", |s| remove(s, "g/k")),
    ("remove a version", |s| remove(s, "g/k?version=2")),
    ("remove the group", |s| remove(s, "g")),
    ("delete a key", |s| soft_remove(s, "g/k")),
    ("delete a version", |s| soft_remove(s, "g/k?version=2")),
    ("delete the group", |s| soft_remove(s, "g")),
    ("recover a key", |s| recover(s, "g/d")),
    ("recover the key that others delete", |s| recover(s, "g/k")),
    ("recover a version", |s| recover(s, "g/j?version=1")),
    ("recover the group", |s| recover(s, "g")),
    ("purge a key", |s| purge(s, "g/d")),
    ("purge the key that others delete", |s| purge(s, "g/k")),
    ("purge a version", |s| purge(s, "g/k?version=2")),
    ("purge a deleted version", |s| purge(s, "g/j?version=1")),
    ("purge the group", |s| purge(s, "g")),
    ("put when deletions are over", |s| {
        let late = Settings { now: Some(OVER), ..settings() };
        write::put(s, &late, &place("g/j"), Value::Text("late".into()), &[], None)
    }),
    ("annotate", |s| write::annotate(s, &settings(), &place("g/k"), &[("tags.a".into(), "b".into())])),
    ("put with few versions", |s| {
        let few = Settings { versions: 1, ..settings() };
        write::put(s, &few, &place("g/k"), Value::Text("few".into()), &[], None)
    }),
];

/// A group as it is when most things can go wrong: two versions, a second key with a deleted version,
/// a deleted key, and orphans of a process that died.
fn start() -> Fake {
    let store = Fake::default();
    put(&store, "g/k", "one").unwrap();
    put(&store, "g/k", "two").unwrap();
    put(&store, "g/j", "jot").unwrap();
    put(&store, "g/j", "jay").unwrap();
    put(&store, "g/d", "dee").unwrap();
    soft_remove(&store, "g/j?version=1").unwrap();
    soft_remove(&store, "g/d").unwrap();
    for name in ["k", "d"] {
        store.records.borrow_mut().insert(format!("g/v/{name}/3"), b"orphan".into());
    }
    store.restarted()
}

/// All that a reader can see, at once and when deletions are over.
fn view(store: &Fake) -> Vec<String> {
    store.check("g");
    let store = store.copy();
    let mut view = Vec::new();
    for now in [NOW, OVER] {
        let uris = ["g", "g/k", "g/j", "g/d", "g/n", "g/target", "g/k?version=1", "g/k?version=2", "g/j?version=1"];
        view.extend(uris.map(|uri| seen_at(&store, now, uri)));
        let at = Settings { now: Some(now), ..soft() };
        // Without numbers: those may have gaps.
        let known = |page: Page| {
            let states = page.entries.into_iter().flat_map(|entry| entry.attributes);
            format!("{:?}", states.filter(|(key, _)| key != "version").collect::<Vec<_>>())
        };
        for uri in ["g/k", "g/j", "g/d"] {
            let versions = list::versions(&store, &at, &place(uri), None);
            view.push(versions.map_or_else(|failure| failure.code, known));
        }
        for state in [None, Some("deleted")] {
            let mut scope = reference("g");
            scope.selectors.extend(state.map(|state| ("state".into(), state.into())));
            let names = list::names(&store, &at, &scope, "", None);
            let name = |page: &Page| page.entries.iter().map(|entry| entry.name.clone() + " ").collect::<String>();
            view.push(names.map_or_else(|failure| failure.code, |page| name(&page) + &known(page)));
        }
    }
    view
}

/// Brings back what is deleted and would be in the way.
fn ready(store: &Fake, uri: &str) {
    let _ = recover(store, "g");
    let _ = recover(store, uri);
}

#[test]
fn who_dies_at_any_operation_leaves_all_or_nothing_and_the_next_change_tidies_up() {
    for (name, act) in ACTS {
        let (before, done) = (start(), start());
        let refused = act(&done).err();
        let (old, new) = (view(&before), view(&done));
        for at in 0..done.operations.get() {
            for death in [Death::Before, Death::After] {
                let store = start().dying(at, death);
                let answer = act(&store);
                let store = store.restarted();
                let seen = view(&store);
                if answer.is_ok() || refused.is_some() {
                    assert_eq!(seen, new, "{name} was acknowledged and died at {at}");
                } else {
                    assert!(seen == old || seen == new, "{name} died at {at} half way: {seen:?}");
                }
                // Whatever it left is no obstacle, and does not stay.
                for uri in ["g/k", "g/n", "g/j", "g/d"] {
                    ready(&store, uri);
                    // Often enough to pass the number that it may have claimed.
                    for value in ["next", "next", "after"] {
                        put(&store, uri, value).unwrap();
                    }
                }
                store.check("g");
                assert_eq!(store.orphans("g"), 0, "{name} died at {at}");
                assert_eq!(text(&store, "g/k"), "after");
                remove(&store, "g").unwrap();
                assert_eq!(store.records.borrow().len(), 1, "{name} died at {at}");
            }
        }
    }
}

#[test]
fn any_two_changes_that_meet_end_as_one_after_the_other() {
    for (first_name, first) in ACTS {
        for (second_name, second) in ACTS {
            let one_two = {
                let store = start();
                let _ = first(&store);
                let _ = second(&store);
                view(&store)
            };
            let two_one = {
                let store = start();
                let _ = second(&store);
                let _ = first(&store);
                view(&store)
            };
            for at in 0..60 {
                let store = start().interrupted(at, move |store| {
                    let other = Fake { records: RefCell::new(store.records.take()), ..Fake::default() };
                    let _ = second(&other);
                    other.check("g");
                    store.records.replace(other.records.take());
                });
                let _ = first(&store);
                if store.hook.borrow().is_some() {
                    break;
                }
                let seen = view(&store);
                assert!(
                    seen == one_two || seen == two_one,
                    "{second_name} at {at} within {first_name}: {seen:#?}\nis neither {one_two:#?}\nnor {two_one:#?}"
                );
            }
        }
    }
}

#[test]
fn a_change_that_slept_while_the_group_was_removed_and_made_again_harms_nothing() {
    for (name, act) in ACTS {
        for at in 0..40 {
            let swapped = Rc::new(Cell::new(false));
            let seen = swapped.clone();
            let unchanged = start().head("g");
            let store = start().interrupted(at, move |store| {
                seen.set(store.head("g") != unchanged);
                let other = Fake { records: RefCell::new(store.records.take()), ..Fake::default() };
                // Again and again, so that numbers would come back if they could.
                for value in ["one", "two", "kept"] {
                    let _ = recover(&other, "g");
                    let _ = remove(&other, "g");
                    for _ in 0..3 {
                        put(&other, "g/k", value).unwrap();
                        put(&other, "g/j", value).unwrap();
                    }
                }
                store.records.replace(other.records.take());
            });
            let _ = act(&store);
            if store.hook.borrow().is_some() {
                break;
            }
            store.check("g");
            let store = store.copy();
            if swapped.get() || name.contains("version") && !name.contains("few") || name == "compare and set" {
                // What it was about had happened before, or is no more.
                assert_eq!(
                    (text(&store, "g/k"), text(&store, "g/j")),
                    ("kept".into(), "kept".into()),
                    "{name} at {at}"
                );
            }
        }
    }
}

#[test]
fn a_reader_sees_one_state_of_a_group_whatever_happens_meanwhile() {
    let refs: Vec<_> = ["g/k", "g/j", "g"].map(reference).into();
    for (name, act) in ACTS {
        let show = |store: &Fake| -> Vec<String> {
            let value = |secret: Secret| match secret.value {
                Value::Text(text) => text,
                Value::Binary(_) => "binary".into(),
            };
            read::resolve(store, Some(NOW), &refs).into_iter().map(|a| a.map_or_else(|f| f.code, value)).collect()
        };
        let before = show(&start());
        let done = start();
        let _ = act(&done);
        let after = show(&done);
        for at in 0..20 {
            let store = start().interrupted(at, move |store| {
                let other = Fake { records: RefCell::new(store.records.take()), ..Fake::default() };
                let _ = act(&other);
                store.records.replace(other.records.take());
            });
            let seen = show(&store);
            if store.hook.borrow().is_some() {
                break;
            }
            assert!(seen == before || seen == after, "{name} at {at}: {seen:?}");
        }
    }
}

/// A store that threads share.
struct Shared(Mutex<BTreeMap<String, Vec<u8>>>);

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&Fake) -> T) -> T {
        let mut records = self.0.lock().unwrap();
        let fake = Fake { records: RefCell::new(std::mem::take(&mut *records)), ..Fake::default() };
        let answer = act(&fake);
        *records = fake.records.take();
        drop(records);
        // Others get a chance between any two operations.
        std::thread::yield_now();
        answer
    }
}

impl Store for Shared {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.with(|fake| fake.get(key))
    }

    fn delete(&self, key: &str) -> Result<bool, Failure> {
        self.with(|fake| fake.delete(key))
    }

    fn swap(&self, key: &str, expected: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, Failure> {
        self.with(|fake| fake.swap(key, expected, new))
    }

    fn keys(&self, prefix: &str, cursor: Option<&str>) -> Result<(Vec<String>, Option<String>), Failure> {
        self.with(|fake| fake.keys(prefix, cursor))
    }
}

#[test]
fn twenty_writers_of_one_group_lose_nothing() {
    const WRITERS: usize = 20;
    const PUTS: usize = 4;
    let store = Shared(Mutex::default());
    let acknowledged: Vec<(String, String)> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || {
                    let mut done = Vec::new();
                    for n in 0..PUTS {
                        let many = Settings { versions: 100, ..settings() };
                        // Its own key, and one that all write.
                        for uri in [format!("g/own{writer}"), "g/common".into()] {
                            let value = format!("{writer}-{n}");
                            let put = write::put(store, &many, &place(&uri), Value::Text(value.clone()), &[], None);
                            let version = put.unwrap().version.unwrap();
                            done.push((format!("{uri}?version={version}"), value));
                        }
                    }
                    done
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            for _ in 0..200 {
                for answer in read::resolve(&store, Some(NOW), &["g", "g/common", "g/own3"].map(reference)) {
                    let seen = code(answer);
                    assert!(["ok", "keys.no-group", "keys.no-key"].contains(&seen.as_str()), "{seen}");
                }
            }
        });
        reader.join().unwrap();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(acknowledged.len(), WRITERS * PUTS * 2);
    for (uri, value) in acknowledged {
        assert_eq!(text(&store, &uri), value, "{uri}");
    }
    store.with(|fake| {
        fake.check("g");
        assert_eq!(fake.orphans("g"), 0);
    });
}
