//! The load: what is in the fake, what is asked of it, and what may come of that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value as Json, json};
use strongroom::{Environment, Failure, Kind, Reference, Secret, Strongroom, Value};

use super::random::{Random, value_of, version_of};
use super::tally::Tally;
use crate::azure::{Azure, VAULT};

/// A vault whose mount keeps values, in memory and in the store.
const KEPT: &str = "myworkspacekv.vault.azure.net";
/// A vault that is asked as somebody who may do nothing.
const FORBIDDEN: &str = "emptyvault.vault.azure.net";
/// A vault that is asked with the machine's identity.
const MACHINE: &str = "protectedvault.vault.azure.net";
/// The machine's identity.
const MACHINE_OBJECT: &str = "55556666-ffff-7777-aaaa-8888bbbb9999";
/// Secrets of each vault that never change, each with [`VERSIONS`] versions.
const SECRETS: u64 = 40;
const VERSIONS: u64 = 3;
const CONNECTIONS: u64 = 5;
const FIELDS: u64 = 20;

/// What the network and a service in trouble may end in.
const TROUBLE: [Kind; 5] = [Kind::Unavailable, Kind::Throttled, Kind::Deadline, Kind::Protocol, Kind::Unauthenticated];

/// What there is.
pub struct World {
    names: Vec<String>,
    connections: Vec<String>,
}

impl World {
    /// Fills the fake.
    ///
    /// # Errors
    /// What control says.
    pub fn fill(azure: &Azure) -> Result<Self> {
        let names: Vec<String> = (0..SECRETS).map(|number| format!("soak-{number}")).collect();
        let connections: Vec<String> = (0..CONNECTIONS).map(|number| format!("soak_{number}")).collect();
        let mut secrets = Vec::new();
        for vault in [VAULT, KEPT, FORBIDDEN, MACHINE] {
            for name in &names {
                for version in 0..VERSIONS {
                    let value = value_of(&format!("{vault}/{name}"), version);
                    secrets.push(json!({"vault": vault, "name": name, "version": id_of(version), "value": value}));
                }
            }
        }
        let workspace = azure.fact("workspace")?;
        let connection = |name: &String| {
            let field = |number| (format!("K{number}"), Json::from(value_of(&format!("{name}/K{number}"), 0)));
            let keys: serde_json::Map<String, Json> = (0..FIELDS).map(field).collect();
            json!({"workspace": workspace, "name": name, "properties": {"authType": "CustomKeys", "category": "CustomKeys",
                "target": "_", "credentials": {"keys": keys}, "metadata": {}}})
        };
        let all: Vec<Json> = connections.iter().map(connection).collect();
        let vault = format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.KeyVault/vaults/protectedvault",
            azure.fact("subscription")?,
            azure.fact("resource-group")?
        );
        let role = json!({"principal": MACHINE_OBJECT, "role": "Key Vault Secrets User", "scope": vault});
        azure.control("POST", "seed", &json!({"secrets": secrets, "connections": all, "assignments": [role]}))?;
        Ok(Self { names, connections })
    }

    /// Mounts for all of it, with three identities.
    ///
    /// # Errors
    /// If the fake did not tell what it needs.
    pub fn config(&self, azure: &Azure, folder: &Path) -> Result<String> {
        let port = azure.fact("https-port")?;
        let config = azure.config(folder, "")?;
        // What the figures' config ends with is the table of addresses.
        let addresses: String =
            [KEPT, FORBIDDEN, MACHINE].iter().map(|host| format!("\"{host}\" = \"127.0.0.1:{port}\"\n")).collect();
        Ok(format!(
            r#"
[mounts.kept]
plugin = "azure-key-vault"
credential = "corp"
hosts = ["{KEPT}"]
ttl = "2s"
stale_ttl = "5s"
keep = "1h"

[mounts.forbidden]
plugin = "azure-key-vault"
credential = "nobody"
hosts = ["{FORBIDDEN}"]

[mounts.machine]
plugin = "azure-key-vault"
credential = "machine"
hosts = ["{MACHINE}"]
limits.parallel = 3

[credentials.nobody]
plugin = "service-principal"
config = {{ tenant = "{tenant}", client_id = "11112222-bbbb-3333-cccc-4444dddd5555" }}
sealed = {{ client_secret = "${{{{env:NOBODY_SECRET}}}}" }}
audiences = ["https://vault.azure.net"]

[credentials.machine]
plugin = "managed-identity"
audiences = ["https://vault.azure.net"]

[ca.vaults]
file = "ca.pem"
hosts = ["{KEPT}", "{FORBIDDEN}", "{MACHINE}"]
{config}{addresses}"#,
            tenant = azure.fact("tenant")?,
        ))
    }

    /// The sealed inputs, and where the machine's identity is asked for.
    ///
    /// # Errors
    /// If the fake's files cannot be read.
    pub fn environment(&self, azure: &Azure) -> Result<Environment> {
        let folder = Path::new(azure.fact("folder")?);
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).map(|text| text.trim().to_owned());
        let endpoint = format!("http://127.0.0.1:{}/app-service/token", azure.fact("http-port")?);
        Ok(Environment::from_iter([
            ("CLIENT_SECRET".into(), text("client-secret")?.into()),
            ("NOBODY_SECRET".into(), text("nobody-client-secret")?.into()),
            ("IDENTITY_ENDPOINT".into(), endpoint.into()),
            ("IDENTITY_HEADER".into(), text("identity-header")?.into()),
        ]))
    }
}

/// The version's id in a vault.
fn id_of(version: u64) -> String {
    format!("{version:032x}")
}

/// What a reference may give.
#[derive(Debug, Clone)]
enum Expected {
    /// Exactly this.
    Value(String),
    /// Nothing, because of this.
    Refused(Kind),
}

/// A reference and what it may give, besides trouble.
type Question = (Reference, Expected);

/// One task.
pub struct Worker {
    number: u64,
    random: Random,
    host: Strongroom,
    world: Arc<World>,
    tally: Arc<Mutex<Tally>>,
    /// Its own secrets, by name: the last version that was surely written, and the last that was tried.
    own: BTreeMap<String, (Option<u64>, u64)>,
    made: u64,
}

impl Worker {
    /// A worker that begins with nothing of its own.
    pub fn new(number: u64, random: Random, host: Strongroom, world: &Arc<World>, tally: &Arc<Mutex<Tally>>) -> Self {
        let (world, tally) = (Arc::clone(world), Arc::clone(tally));
        Self { number, random, host, world, tally, own: BTreeMap::new(), made: 0 }
    }

    /// One thing after another.
    pub async fn work(mut self, until: Instant) {
        while Instant::now() < until {
            match self.random.below(16) {
                0..=4 => self.get(1).await,
                5..=6 => self.many().await,
                7..=9 => self.get(4).await,
                10 => self.list().await,
                11..=12 => self.set().await,
                13 => self.read_own().await,
                14 => self.delete().await,
                _ => self.fields().await,
            }
        }
    }

    fn tally(&self, note: impl FnOnce(&mut Tally)) {
        note(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The reference, which is well formed.
    fn parse(&self, text: &str) -> Option<Reference> {
        let parsed = self.host.parse(text);
        if let Err(failure) = &parsed {
            self.tally(|tally| tally.wrong(format!("{text} does not parse: {failure}")));
        }
        parsed.ok()
    }

    fn question(&mut self) -> Option<Question> {
        let world = Arc::clone(&self.world);
        let name = self.random.one_of(&world.names)?;
        let newest = VERSIONS - 1;
        let vault = *self.random.one_of(&[VAULT, VAULT, KEPT, FORBIDDEN, MACHINE])?;
        let place = format!("{vault}/{name}");
        let (text, expected) = match (vault, self.random.below(8)) {
            (FORBIDDEN, _) => (format!("keyvault:https://{vault}/secrets/{name}"), Expected::Refused(Kind::Denied)),
            (_, 0) => {
                let text = format!("keyvault:https://{vault}/secrets/{name}-absent");
                // Who may not list learns of nothing.
                (text, Expected::Refused(Kind::NotFound))
            }
            (_, 1 | 2) => {
                let version = self.random.below(VERSIONS);
                let text = format!("keyvault:https://{vault}/secrets/{name}/{}", id_of(version));
                (text, Expected::Value(value_of(&place, version)))
            }
            (_, 3) => {
                let connection = self.random.one_of(&world.connections)?;
                let field = self.random.below(FIELDS);
                let text = format!("azureml://connections/{connection}/credentials/K{field}");
                (text, Expected::Value(value_of(&format!("{connection}/K{field}"), 0)))
            }
            _ => (format!("keyvault:https://{vault}/secrets/{name}"), Expected::Value(value_of(&place, newest))),
        };
        Some((self.parse(&text)?, expected))
    }

    async fn get(&mut self, most: u64) {
        let count = 1 + self.random.below(most);
        let questions: Vec<Question> = (0..count).filter_map(|_| self.question()).collect();
        self.ask(if count == 1 { "one secret" } else { "a few secrets" }, questions).await;
    }

    async fn many(&mut self) {
        let count = 20 + self.random.below(60);
        let questions: Vec<Question> = (0..count).filter_map(|_| self.question()).collect();
        self.ask("many secrets at once", questions).await;
    }

    async fn fields(&mut self) {
        let world = Arc::clone(&self.world);
        let Some(connection) = self.random.one_of(&world.connections) else { return };
        let question = |field| {
            let text = format!("azureml://connections/{connection}/credentials/K{field}");
            let expected = Expected::Value(value_of(&format!("{connection}/K{field}"), 0));
            Some((self.parse(&text)?, expected))
        };
        let questions: Vec<Question> = (0..FIELDS).filter_map(question).collect();
        self.ask("all fields of a connection", questions).await;
    }

    async fn ask(&self, what: &'static str, questions: Vec<Question>) {
        let (references, expected): (Vec<_>, Vec<_>) = questions.into_iter().unzip();
        let answers = self.host.resolve_all(&references).await;
        if answers.len() != references.len() {
            self.tally(|tally| tally.wrong(format!("{what}: {} answers", answers.len())));
        }
        for ((reference, expected), answer) in references.iter().zip(expected).zip(answers) {
            self.tally(|tally| settle(tally, what, reference, &expected, &answer));
        }
    }

    async fn list(&mut self) {
        let vault = if self.random.once_in(2) { VAULT } else { KEPT };
        let Ok(scope) = self.host.parse_scope(&format!("keyvault:https://{vault}/secrets")) else {
            return self.tally(|tally| tally.wrong("a scope does not parse".to_owned()));
        };
        let listed = self.host.list(&scope).await;
        let world = &self.world;
        self.tally(|tally| match listed {
            Ok(page) => {
                let there: BTreeSet<&str> = page.entries.iter().map(|entry| entry.name.as_str()).collect();
                match world.names.iter().find(|name| !there.contains(name.as_str())) {
                    Some(missing) => tally.wrong(format!("a list of {} names lacks {missing}", there.len())),
                    None => tally.done("a list"),
                }
            }
            Err(failure) => tally.failed("a list", &failure, &TROUBLE),
        });
    }

    /// One of its own secrets, or a new name.
    fn own_name(&mut self) -> String {
        let names: Vec<String> = self.own.keys().cloned().collect();
        if names.len() < 2 || (names.len() < 4 && self.random.once_in(2)) {
            self.made += 1;
            return format!("worker-{}-{}", self.number, self.made);
        }
        self.random.one_of(&names).cloned().unwrap_or_default()
    }

    async fn set(&mut self) {
        let name = self.own_name();
        let Some(reference) = self.parse(&format!("keyvault:https://{VAULT}/secrets/{name}")) else { return };
        let (sure, tried) = self.own.get(&name).copied().unwrap_or((None, 0));
        let version = tried + 1;
        let set = self.host.set(&reference, &Value::text(value_of(&name, version)), &[], None).await;
        self.own.insert(name, (if set.is_ok() { Some(version) } else { sure }, version));
        self.tally(|tally| match set {
            Ok(_) => tally.done("set"),
            Err(failure) => tally.failed("set", &failure, &TROUBLE),
        });
    }

    async fn read_own(&mut self) {
        let names: Vec<String> = self.own.keys().cloned().collect();
        let Some(name) = self.random.one_of(&names) else { return };
        let Some(reference) = self.parse(&format!("keyvault:https://{VAULT}/secrets/{name}")) else { return };
        let (sure, tried) = self.own.get(name).copied().unwrap_or_default();
        let mut answers = self.host.resolve_all(&[reference]).await;
        let Some(answer) = answers.pop() else { return };
        self.tally(|tally| match answer {
            Ok(secret) => match text(&secret).and_then(|text| version_of(name, text)) {
                // Nobody else writes it, and nothing of this mount is kept.
                Some(version) if sure.is_none_or(|sure| version >= sure) && version <= tried => {
                    tally.done("a secret that was set before");
                }
                found => tally.wrong(format!("{name}: version {found:?}, where {sure:?} to {tried} was set")),
            },
            // One whose writing failed may not be there.
            Err(failure) if sure.is_none() && failure.kind() == Kind::NotFound => tally.done("a secret never set"),
            Err(failure) => tally.failed("a secret that was set before", &failure, &TROUBLE),
        });
    }

    async fn delete(&mut self) {
        let names: Vec<String> = self.own.keys().cloned().collect();
        let Some(name) = self.random.one_of(&names) else { return };
        let Some(reference) = self.parse(&format!("keyvault:https://{VAULT}/secrets/{name}")) else { return };
        let deleted = self.host.delete(&reference).await;
        // What became of it where that failed, nobody knows: the name is used no more.
        let sure = self.own.remove(name).and_then(|(sure, _)| sure);
        let mut again = Vec::new();
        if deleted.is_ok() {
            again = self.host.resolve_all(&[reference]).await;
        }
        self.tally(|tally| {
            match deleted {
                Ok(_) => tally.done("delete"),
                // Its writing failed; or the first try did it and its answer was lost.
                Err(failure) if failure.kind() == Kind::NotFound => tally.done("delete of what was not there"),
                Err(failure) => tally.failed("delete", &failure, &TROUBLE),
            }
            match again.pop() {
                Some(Ok(_)) => tally.wrong(format!("{name} (set: {sure:?}) is there after its deletion")),
                Some(Err(failure)) if failure.kind() == Kind::NotFound => tally.done("a deleted secret is not found"),
                Some(Err(failure)) => tally.failed("a deleted secret", &failure, &TROUBLE),
                None => {}
            }
        });
    }
}

fn text(secret: &Secret) -> Option<&str> {
    secret.expose_text()
}

fn settle(
    tally: &mut Tally,
    what: &'static str,
    reference: &Reference,
    expected: &Expected,
    answer: &Result<Secret, Failure>,
) {
    match (answer, expected) {
        (Ok(secret), Expected::Value(value)) if secret.expose() == value.as_bytes() => tally.done(what),
        (Ok(secret), _) => {
            let got = text(secret).map(|text| text.chars().take(80).collect::<String>());
            tally.wrong(format!("{what}: {reference} gave {got:?} instead of {expected:?}"));
        }
        (Err(failure), Expected::Refused(kind)) if failure.kind() == *kind => tally.done("refused as it should be"),
        (Err(failure), _) => tally.failed(&format!("{what}: {reference}"), failure, &TROUBLE),
    }
}

/// Waits until everything gives what it should.
///
/// # Errors
/// What is still wrong after `patience`.
pub async fn all_is_well(host: &Strongroom, world: &World, patience: Duration) -> Result<()> {
    let begun = Instant::now();
    let mut questions = Vec::new();
    for vault in [VAULT, KEPT, MACHINE] {
        for name in &world.names {
            let reference = host.parse(&format!("keyvault:https://{vault}/secrets/{name}"))?;
            questions.push((reference, value_of(&format!("{vault}/{name}"), VERSIONS - 1)));
        }
    }
    for connection in &world.connections {
        let reference = host.parse(&format!("azureml://connections/{connection}/credentials/K0"))?;
        questions.push((reference, value_of(&format!("{connection}/K0"), 0)));
    }
    let references: Vec<Reference> = questions.iter().map(|(reference, _)| reference.clone()).collect();
    // What is refused too, so that every mount's plugin is loaded, with the file that its memory begins as.
    let forbidden = [host.parse(&format!("keyvault:https://{FORBIDDEN}/secrets/soak-0"))?];
    loop {
        let refused = host.resolve_all(&forbidden).await.into_iter().any(|answer| match answer {
            Err(failure) => failure.kind() == Kind::Denied,
            Ok(_) => false,
        });
        let answers = host.resolve_all(&references).await;
        let wrong = answers.iter().zip(&questions).find_map(|(answer, (reference, value))| match answer {
            Ok(secret) if secret.expose() == value.as_bytes() => None,
            Ok(_) => Some(format!("{reference}: another value")),
            Err(failure) => Some(format!("{failure} [{}] {:?}", failure.code(), failure.helps())),
        });
        match wrong {
            None if refused => return Ok(()),
            None if begun.elapsed() > patience => bail!("who may read nothing is not refused"),
            Some(wrong) if begun.elapsed() > patience => bail!("it does not recover: {wrong}"),
            _ => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
}

/// As many calls at once as there are places, and more: a place or a slot that was lost is missed here, since a
/// full pool is an error.
///
/// # Errors
/// The first that fails.
pub async fn all_places_are_free(host: &Strongroom, world: &World) -> Result<()> {
    let names: Vec<Reference> = [VAULT, KEPT]
        .iter()
        .flat_map(|vault| world.names.iter().map(move |name| format!("keyvault:https://{vault}/secrets/{name}")))
        .map(|text| host.parse(&text))
        .collect::<Result<_, _>>()?;
    host.forget();
    for answer in host.resolve_all(&names).await {
        answer?;
    }
    Ok(())
}
