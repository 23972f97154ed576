//! The load: what clients ask, and what may come of that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value as Json, json};
use strongroom::Kind;

use super::Shared;
use super::ask::{Answer, Client, Way, encode};
use super::program::Program;
use crate::azure::{VAULT, value};
use crate::soak::random::{Random, value_of, version_of};
use crate::soak::tally::Tally;

/// Secrets of the vault, which never change.
pub const SECRETS: usize = 40;

/// Variables of the server. The config shows one of the last two.
pub const VARIABLES: [&str; 6] = ["SOAK_0", "SOAK_1", "SOAK_2", "SOAK_3", "FORM_A", "FORM_B"];

/// A key that clients may not read. It is there.
pub const PRIVATE: &str = "private/key";

/// What the network and a service in trouble may end in.
const TROUBLE: [Kind; 5] = [Kind::Unavailable, Kind::Throttled, Kind::Deadline, Kind::Protocol, Kind::Unauthenticated];

/// What a disk that is slower than its writers may end in: custom keys ask nobody else.
const SLOW: [Kind; 3] = [Kind::Unavailable, Kind::Throttled, Kind::Deadline];

/// What a variable holds.
pub fn variable(name: &str) -> String {
    value_of(name, 0)
}

/// The reference of a custom key.
pub fn key(name: &str) -> String {
    format!("keys://{name}")
}

/// What a worker has of a name that nobody else writes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Own {
    /// The last version that was acknowledged.
    pub sure: Option<u64>,
    /// The last version that was tried. What became of one that failed, nobody knows.
    pub tried: u64,
}

impl Own {
    /// Whether this is what the name holds.
    pub fn fits(self, name: &str, value: &str) -> bool {
        version_of(name, value).is_some_and(|version| self.sure <= Some(version) && version <= self.tried)
    }
}

/// What a reference may give.
#[derive(Debug)]
enum Expected {
    /// Exactly this.
    Value(String),
    /// Exactly this, or what trouble ends in.
    Troubled(String),
    /// Nothing, because of one of these.
    Refused(&'static [Kind]),
}

/// A reference to the hostile guest, which does these things.
pub fn hostile(name: &str, script: &Json) -> String {
    let hex: String = script.to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("hostile://{name}?do={hex}")
}

/// One client.
pub struct Worker {
    number: u64,
    way: Way,
    random: Random,
    shared: Arc<Shared>,
    own: BTreeMap<String, Own>,
    made: u64,
}

impl Worker {
    /// A client that begins with nothing of its own.
    pub fn new(number: u64, way: Way, random: Random, shared: Arc<Shared>) -> Self {
        Self { number, way, random, shared, own: BTreeMap::new(), made: 0 }
    }

    /// One thing after another, until it is over. Gives what it wrote.
    pub async fn work(mut self) -> BTreeMap<String, Own> {
        while !self.shared.is_over() {
            // No answer is a lost one: nothing here ends a connection but the client itself.
            if let Err(error) = self.connected().await {
                let way = self.way;
                self.shared.tally(|tally| tally.wrong(format!("over {way:?}: no answer: {error:#}")));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        self.own
    }

    async fn connected(&mut self) -> Result<()> {
        let mut client = Client::connect(&self.shared.program, self.way).await?;
        for _ in 0..1 + self.random.below(200) {
            if self.shared.is_over() {
                break;
            }
            match self.random.below(64) {
                0..=15 => self.get(&mut client).await?,
                16..=27 => self.many(&mut client).await?,
                28..=41 => self.read_own(&mut client).await?,
                42 => self.delete(&mut client).await?,
                43..=44 => self.list(&mut client).await?,
                45..=47 => self.set(&mut client).await?,
                // Nobody asks without a pause: each write is one of the disk's.
                _ => tokio::time::sleep(Duration::from_millis(self.random.below(200))).await,
            }
        }
        Ok(())
    }

    fn question(&mut self) -> (String, Expected) {
        let number = usize::try_from(self.random.below(SECRETS as u64)).unwrap_or_default();
        match self.random.below(12) {
            0..=3 => {
                let name = self.random.one_of(&["SOAK_0", "SOAK_1", "SOAK_2", "SOAK_3"]).copied().unwrap_or("SOAK_0");
                (format!("env:{name}"), Expected::Value(variable(name)))
            }
            4 => ("env:SOAK_NONE".to_owned(), Expected::Refused(&[Kind::NotFound])),
            5 if self.way == Way::Tls => (key(PRIVATE), Expected::Refused(&[Kind::PolicyDenied])),
            5 => (key(PRIVATE), Expected::Value(value_of(PRIVATE, 0))),
            6 => (hostile("good", &json!([])), Expected::Value("[]".to_owned())),
            7 => self.wild(),
            _ => {
                let reference = format!("keyvault:https://{VAULT}/secrets/bench-{number}");
                (reference, Expected::Troubled(value(number)))
            }
        }
    }

    /// A plugin that misbehaves.
    fn wild(&mut self) -> (String, Expected) {
        match self.random.below(5) {
            0..=2 => (hostile("trap", &json!([{ "trap": null }])), Expected::Refused(&[Kind::Trapped])),
            3 => {
                let all = &[Kind::LimitExceeded, Kind::Trapped];
                (hostile("grow", &json!([{ "grow": "insist" }])), Expected::Refused(all))
            }
            _ => (hostile("spin", &json!([{ "spin": null }])), Expected::Refused(&[Kind::LimitExceeded])),
        }
    }

    fn settle(&self, what: &'static str, reference: &str, expected: &Expected, answer: &Answer) {
        self.shared.tally(|tally| match (answer, expected) {
            (Answer::Value(value), Expected::Value(right) | Expected::Troubled(right)) if value == right => {
                tally.done(what);
            }
            (Answer::Failed(kind, ..), Expected::Refused(kinds)) if kinds.contains(kind) => {
                tally.done(match kind {
                    Kind::Trapped | Kind::LimitExceeded => "a wild plugin was ended",
                    _ => "refused as it should be",
                });
            }
            (Answer::Failed(kind, code, told), Expected::Troubled(_)) => {
                tally.failed_as(reference, *kind, code, told, &TROUBLE);
            }
            _ => tally.wrong(format!("{what}: {reference} gave {answer:?} instead of {expected:?}")),
        });
    }

    async fn get(&mut self, client: &mut Client) -> Result<()> {
        let (reference, expected) = self.question();
        let answer = client.get(&reference).await?;
        self.settle("one secret", &reference, &expected, &answer);
        Ok(())
    }

    async fn many(&mut self, client: &mut Client) -> Result<()> {
        let count = 2 + self.random.below(20);
        let (references, expected): (Vec<_>, Vec<_>) = (0..count).map(|_| self.question()).unzip();
        let answers = client.many(&references).await?;
        if answers.len() != references.len() {
            bail!("{} answers to {count}", answers.len());
        }
        for ((reference, expected), answer) in references.iter().zip(&expected).zip(&answers) {
            self.settle("one of many", reference, expected, answer);
        }
        Ok(())
    }

    fn written(&self, what: &'static str, name: &str, answer: &Answer) -> bool {
        self.shared.tally(|tally| match answer {
            Answer::Value(_) => tally.done(what),
            Answer::Failed(kind, code, told) => tally.failed_as(&format!("{what}: {name}"), *kind, code, told, &SLOW),
        });
        matches!(answer, Answer::Value(_))
    }

    async fn set(&mut self, client: &mut Client) -> Result<()> {
        let names: Vec<String> = self.own.keys().cloned().collect();
        let mut name = self.random.one_of(&names).cloned().unwrap_or_default();
        if names.len() < 3 {
            self.made += 1;
            name = format!("soak/worker-{}-{}", self.number, self.made);
        }
        let own = self.own.get(&name).copied().unwrap_or_default();
        let version = own.tried + 1;
        let body = json!({ "value": value_of(&name, version) });
        let answer = client.about("PUT", &key(&name), Some(&body)).await?;
        let sure = if self.written("a key was set", &name, &answer) { Some(version) } else { own.sure };
        self.own.insert(name, Own { sure, tried: version });
        Ok(())
    }

    async fn read_own(&mut self, client: &mut Client) -> Result<()> {
        let names: Vec<(String, Own)> = self.own.iter().map(|(name, own)| (name.clone(), *own)).collect();
        let Some((name, own)) = self.random.one_of(&names) else { return Ok(()) };
        let answer = client.get(&key(name)).await?;
        self.shared.tally(|tally| read_back(tally, name, *own, &answer));
        Ok(())
    }

    async fn delete(&mut self, client: &mut Client) -> Result<()> {
        let names: Vec<String> = self.own.keys().cloned().collect();
        let Some(name) = self.random.one_of(&names) else { return Ok(()) };
        let answer = client.about("DELETE", &key(name), None).await?;
        let own = self.own.remove(name).unwrap_or_default();
        if let (Answer::Failed(Kind::NotFound, ..), None) = (&answer, own.sure) {
            return Ok(());
        }
        // The name is used no more.
        if !self.written("a key was deleted", name, &answer) {
            return Ok(());
        }
        let again = client.get(&key(name)).await?;
        self.settle("a deleted key", name, &Expected::Refused(&[Kind::NotFound]), &again);
        Ok(())
    }

    /// What is listed has all that this client wrote.
    async fn list(&mut self, client: &mut Client) -> Result<()> {
        let mut target = "/api/v1/names?scope=".to_owned();
        encode(&mut target, "keys://soak");
        let (status, page) = client.ask("GET", &target, None).await?;
        let names: Vec<&str> = page
            .get("names")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.get("name").and_then(Json::as_str))
            .collect();
        let mut sure = self.own.iter().filter(|(_, own)| own.sure.is_some()).map(|(name, _)| name);
        let missing = sure.find(|own| !names.iter().any(|name| own.ends_with(name) && !name.is_empty()));
        self.shared.tally(|tally| match missing {
            None if status == 200 => tally.done("a list"),
            // The group is not there before its first key.
            None if status == 404 => tally.done("an empty list"),
            _ => tally.wrong(format!("a list lacks {missing:?}: {status} with {page}")),
        });
        Ok(())
    }
}

/// Nobody else writes it: what is read is what was acknowledged last, or tried after it.
fn read_back(tally: &mut Tally, name: &str, own: Own, answer: &Answer) {
    match answer {
        Answer::Value(value) if own.fits(name, value) => tally.done("what was set is read"),
        Answer::Value(value) => {
            let version = version_of(name, value);
            tally.wrong(format!("{name}: version {version:?} was read, where {:?} was acknowledged", own.sure));
        }
        Answer::Failed(Kind::NotFound, ..) if own.sure.is_none() => tally.done("a key that was never acknowledged"),
        Answer::Failed(kind, code, told) if SLOW.contains(kind) => tally.failed_as(name, *kind, code, told, &SLOW),
        failed @ Answer::Failed(..) => {
            tally.wrong(format!("{name}: {failed:?}, where {:?} was acknowledged", own.sure))
        }
    }
}

/// Reads all that was acknowledged.
///
/// # Errors
/// If there is no answer.
pub async fn all_is_kept(program: &Program, own: &BTreeMap<String, Own>, tally: &mut Tally) -> Result<()> {
    let mut client = Client::connect(program, Way::Unix).await?;
    for (name, own) in own {
        let answer = client.get(&key(name)).await?;
        read_back(tally, name, *own, &answer);
    }
    Ok(())
}

/// Waits until everything gives what it should, over both ways.
///
/// # Errors
/// What is still wrong after `patience`.
pub async fn all_is_well(program: &Program, patience: Duration) -> Result<()> {
    let mut owner = Client::connect(program, Way::Unix).await?;
    let body = json!({ "value": value_of(PRIVATE, 0) });
    let Answer::Value(_) = owner.about("PUT", &key(PRIVATE), Some(&body)).await? else { bail!("a key cannot be set") };
    let mut questions: Vec<(String, String)> = (0..SECRETS)
        .map(|number| (format!("keyvault:https://{VAULT}/secrets/bench-{number}"), value(number)))
        .collect();
    questions.push(("env:SOAK_0".to_owned(), variable("SOAK_0")));
    questions.push((hostile("good", &json!([])), "[]".to_owned()));
    let references: Vec<String> = questions.iter().map(|(reference, _)| reference.clone()).collect();
    let begun = Instant::now();
    for way in [Way::Unix, Way::Tls] {
        let mut client = Client::connect(program, way).await?;
        loop {
            let answers = client.many(&references).await?;
            let wrong = answers.into_iter().zip(&questions).find_map(|(answer, (reference, right))| match answer {
                Answer::Value(value) if value == *right => None,
                other => Some(format!("{reference}: {other:?}")),
            });
            match wrong {
                None => break,
                Some(wrong) if begun.elapsed() > patience => bail!("it does not recover: {wrong}"),
                Some(_) => tokio::time::sleep(Duration::from_millis(250)).await,
            }
        }
    }
    Ok(())
}
