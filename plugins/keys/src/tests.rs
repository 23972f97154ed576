//! What a user, a second process and a power cut would notice.

mod behaviour;
mod concurrency;
mod deletion;
mod documents;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::change::Settings;
use crate::head::{Head, head_key, value_key};
use crate::place::Place;
use crate::store::Store;
use crate::{
    Attributes, Failure, Kind, Receipt, Reference, Secret, Value, deletion as lifecycle, failure, read, write,
};

/// What happens at the next operations of a [`Fake`].
#[derive(Clone, Copy, PartialEq)]
enum Death {
    /// The process dies before the operation.
    Before,
    /// The operation is done, and the process dies before it learns so.
    After,
}

type Hook = Box<dyn FnOnce(&Fake)>;

/// A store in memory that can die, or let others go first, at any operation.
#[derive(Default)]
struct Fake {
    records: RefCell<BTreeMap<String, Vec<u8>>>,
    operations: Cell<usize>,
    death: Cell<Option<(usize, Death)>>,
    hook: RefCell<Option<(usize, Hook)>>,
}

impl Fake {
    /// A copy of the records, without plans for what happens next.
    fn copy(&self) -> Self {
        Self { records: self.records.clone(), ..Self::default() }
    }

    /// The same store, used by a process that dies at operation `at`, counted from 0.
    fn dying(self, at: usize, death: Death) -> Self {
        self.death.set(Some((at, death)));
        self
    }

    /// Lets `hook` run to its end before operation `at`.
    fn interrupted(self, at: usize, hook: impl FnOnce(&Fake) + 'static) -> Self {
        *self.hook.borrow_mut() = Some((at, Box::new(hook)));
        self
    }

    /// The next process on the same records.
    fn restarted(self) -> Self {
        Self { records: self.records, ..Self::default() }
    }

    fn operation<T>(&self, act: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> T) -> Result<T, Failure> {
        let number = self.operations.get();
        if self.hook.borrow().as_ref().is_some_and(|(at, _)| *at == number) {
            let hook = self.hook.borrow_mut().take();
            if let Some((_, hook)) = hook {
                hook(self);
            }
            self.operations.set(number);
        }
        self.operations.set(number + 1);
        let dead = failure(Kind::Unavailable, "fake.dead", "the process is dead");
        match self.death.get() {
            Some((at, Death::Before)) if number >= at => return Err(dead),
            Some((at, Death::After)) if number > at => return Err(dead),
            _ => {}
        }
        let answer = act(&mut self.records.borrow_mut());
        if self.death.get() == Some((number, Death::After)) { Err(dead) } else { Ok(answer) }
    }

    fn head(&self, group: &str) -> Head {
        Head::read(group, self.records.borrow().get(&head_key(group)).map(Vec::as_slice)).unwrap()
    }

    /// Everything that is listed is there, and no name is there and deleted.
    fn check(&self, group: &str) {
        let head = self.head(group);
        assert!(head.keys.keys().all(|name| !head.deleted.contains_key(name)));
        let deleted = head.deleted.into_iter().map(|(name, deleted)| (name, deleted.key));
        for (name, key) in head.keys.into_iter().chain(deleted) {
            assert!(key.versions.is_sorted_by(|a, b| a.version < b.version), "{name}");
            for version in key.versions.into_iter().filter(|version| version.has_value()) {
                let record = value_key(group, &name, version.version);
                assert!(self.records.borrow().contains_key(&record), "{record} is listed and not there");
            }
        }
    }

    /// How many records are there that nothing lists.
    fn orphans(&self, group: &str) -> usize {
        let head = self.head(group);
        let prefix = format!("{group}/v/");
        let records = self.records.borrow();
        let values = records.keys().filter_map(|key| crate::head::parse_value_key(key.strip_prefix(&prefix)?));
        values.filter(|(name, number)| !head.lists(name, *number)).count()
    }
}

impl Store for Fake {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.operation(|records| records.get(key).cloned())
    }

    fn delete(&self, key: &str) -> Result<bool, Failure> {
        self.operation(|records| records.remove(key).is_some())
    }

    fn swap(&self, key: &str, expected: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, Failure> {
        self.operation(|records| {
            if records.get(key).map(Vec::as_slice) != expected {
                return false;
            }
            match new {
                Some(new) => records.insert(key.into(), new.into()),
                None => records.remove(key),
            };
            true
        })
    }

    fn keys(&self, prefix: &str, cursor: Option<&str>) -> Result<(Vec<String>, Option<String>), Failure> {
        // Small pages, so that tests cross them.
        self.operation(|records| {
            let after = records.keys().filter(|key| key.starts_with(prefix) && cursor.is_none_or(|c| key.as_str() > c));
            let page: Vec<_> = after.take(4).cloned().collect();
            let next = if page.len() == 4 { page.last().cloned() } else { None };
            (page, next)
        })
    }
}

fn reference(uri: &str) -> Reference {
    let (path, version) = uri.split_once("?version=").map_or((uri, None), |(path, version)| (path, Some(version)));
    Reference {
        authority: None,
        path: path.split('/').map(Into::into).collect(),
        selectors: version.map(|version| ("version".into(), version.into())).into_iter().collect(),
    }
}

fn place(uri: &str) -> Place {
    Place::of(&reference(uri)).unwrap()
}

const NOW: u64 = 1000;

/// Nothing is kept of what is deleted.
fn settings() -> Settings {
    Settings { now: Some(NOW), versions: 20, deleted_for: 0 }
}

/// What is deleted is kept for a week.
fn soft() -> Settings {
    Settings { deleted_for: 7, ..settings() }
}

/// The moment from which on it is gone.
const OVER: u64 = NOW + 7 * 24 * 60 * 60;

fn put(store: &impl Store, uri: &str, value: &str) -> Result<Receipt, Failure> {
    put_with(store, uri, value, &[], None)
}

fn put_with(
    store: &impl Store,
    uri: &str,
    value: &str,
    attributes: &Attributes,
    expected: Option<&str>,
) -> Result<Receipt, Failure> {
    write::put(store, &settings(), &Place::of(&reference(uri))?, Value::Text(value.into()), attributes, expected)
}

fn remove(store: &impl Store, uri: &str) -> Result<Receipt, Failure> {
    lifecycle::remove(store, &settings(), &place(uri))
}

fn soft_remove(store: &impl Store, uri: &str) -> Result<Receipt, Failure> {
    lifecycle::remove(store, &soft(), &place(uri))
}

fn recover(store: &impl Store, uri: &str) -> Result<Receipt, Failure> {
    lifecycle::recover(store, &soft(), &place(uri))
}

fn purge(store: &impl Store, uri: &str) -> Result<Receipt, Failure> {
    lifecycle::purge(store, &soft(), &place(uri))
}

fn get(store: &impl Store, uri: &str) -> Result<Secret, Failure> {
    get_at(store, NOW, uri)
}

fn get_at(store: &impl Store, now: u64, uri: &str) -> Result<Secret, Failure> {
    read::resolve(store, Some(now), &[reference(uri)]).pop().unwrap()
}

fn text(store: &impl Store, uri: &str) -> String {
    match get(store, uri).unwrap().value {
        Value::Text(text) => text,
        Value::Binary(_) => panic!("binary"),
    }
}

/// The value, or the failure's code.
fn seen(store: &impl Store, uri: &str) -> String {
    seen_at(store, NOW, uri)
}

fn seen_at(store: &impl Store, now: u64, uri: &str) -> String {
    match get_at(store, now, uri) {
        Ok(Secret { value: Value::Text(text), .. }) => text,
        Ok(_) => "binary".into(),
        Err(failure) => failure.code,
    }
}

fn code<T>(answer: Result<T, Failure>) -> String {
    answer.map(|_| "ok").map_err(|failure| failure.code).map_or_else(|code| code, Into::into)
}
