//! Azure's own plugins hold no key: while their requests are on the way, the memory of each guest is
//! searched for what the host added to them.
//!
//! A process of its own resolves one reference with the library; this one is its identity provider and its
//! vault, and searches the memory of that one each time it is asked for something.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::json;
use strongroom::{Environment, Kind, Paths, Setup, Strongroom};
use strongroom_core::Digest;

use crate::backend::{Backend, Seen, answer, authority};
use crate::memory::{Marker, guests, places, search};
use crate::residue::{Searched, turned};

const TENANT: &str = "aaaabbbb-0000-cccc-1111-dddd2222eeee";
const CLIENT: &str = "00001111-aaaa-2222-bbbb-3333cccc4444";
const NAME: &str = "a-name-that-only-this-reference-has";
const REFERENCE: &str = "keyvault:https://keyless.vault.azure.net/secrets/a-name-that-only-this-reference-has";
const JSON: &str = "content-type: application/json\r\n";

fn config(login: &Backend, vault: &Backend) -> String {
    format!(
        "[mounts.vault]\nplugin = \"azure-key-vault\"\ncredential = \"corp\"\nhosts = [\"*.vault.azure.net\"]\n\
         [credentials.corp]\nplugin = \"service-principal\"\nconfig = {{ tenant = \"{TENANT}\", client_id = \"{CLIENT}\" }}\n\
         sealed = {{ client_secret = \"env:CLIENT_SECRET\" }}\naudiences = [\"https://vault.azure.net\"]\n\
         [ca.test]\nfile = \"ca.pem\"\nhosts = [\"*.vault.azure.net\", \"login.microsoftonline.com\"]\n\
         [addresses]\n\"login.microsoftonline.com\" = \"127.0.0.1:{}\"\n\"keyless.vault.azure.net\" = \"127.0.0.1:{}\"\n",
        login.port, vault.port
    )
}

fn granted(token: &Marker) -> crate::backend::Reply {
    let body = json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token.text()});
    answer("200 OK", JSON, body.to_string())
}

/// What was found while a request was on its way.
#[derive(Default)]
struct Found {
    /// Guests that hold the client's id, and those that hold the reference's name.
    clients: Vec<Range<u64>>,
    names: Vec<Range<u64>>,
    /// Traces of a secret in any guest, for people.
    leaked: String,
    looks: usize,
}

/// Searches the process for `secret` in the memories of its guests.
fn look(process: u32, secret: &Marker, found: &Mutex<Found>) {
    let guests = guests(process);
    let holding = |text: &str| -> Vec<Range<u64>> {
        let places = places(process, text);
        guests.iter().filter(|guest| places.iter().any(|place| guest.contains(place))).cloned().collect()
    };
    let traces = search(process, secret);
    assert!(!traces.is_empty(), "the host holds it, so the search finds it");
    let leaked = traces.within(&guests);
    let mut found = found.lock().unwrap();
    found.clients.extend(holding(CLIENT));
    found.names.extend(holding(NAME));
    found.leaked += &leaked.to_string();
    found.looks += 1;
}

#[test]
fn no_guest_holds_a_token_a_client_secret_or_what_is_not_its_own() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (secret, token, value) = (Marker::new(), Marker::new(), Marker::new());
        let process = Arc::new(OnceLock::new());
        let (at_login, at_vault) = (Arc::new(Mutex::new(Found::default())), Arc::new(Mutex::new(Found::default())));
        let login = {
            let (secret, token, process, found) = (secret.clone(), token.clone(), process.clone(), at_login.clone());
            Backend::named("login.microsoftonline.com", move |_: &Seen| {
                look(*process.get().unwrap(), &secret, &found);
                granted(&token)
            })
            .await
        };
        let vault = {
            let (token, process, found) = (token.clone(), process.clone(), at_vault.clone());
            let body = json!({"value": value.text(), "id": "https://keyless.vault.azure.net/secrets/a-name-that-only-this-reference-has/0123456789abcdef0123456789abcdef", "attributes": {"enabled": true}});
            Backend::named("keyless.vault.azure.net", move |seen: &Seen| {
                assert_eq!(seen.header("authorization"), Some(format!("Bearer {}", token.text()).as_str()));
                look(*process.get().unwrap(), &token, &found);
                answer("200 OK", JSON, body.to_string())
            })
            .await
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority().pem()).unwrap();
        let mut searched = Searched::start(&json!({
            "config": config(&login, &vault),
            "folder": folder.path(),
            "allocation": "on demand",
            "variables": { "CLIENT_SECRET": turned(secret.text()) },
        }));
        process.set(searched.id()).unwrap();
        let answered = tokio::task::block_in_place(|| searched.does(&REFERENCE.into()));
        assert_eq!(answered, Digest::of(value.text().as_bytes()).to_string());

        let found = at_login.lock().unwrap();
        assert_eq!((found.looks, found.leaked.as_str()), (1, ""));
        // The auth plugin is there, and so is the provider that waits for it: neither knows of the other.
        assert!(!found.clients.is_empty() && !found.names.is_empty());
        assert!(!found.clients.iter().any(|guest| found.names.contains(guest)), "an auth plugin got a reference");
        let found = at_vault.lock().unwrap();
        assert_eq!((found.looks, found.leaked.as_str()), (1, ""));
        assert!(!found.names.is_empty() && found.clients.is_empty());
    });
}

#[test]
fn a_vault_that_sends_the_token_back_gives_azures_own_plugin_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (secret, token) = (Marker::new(), Marker::new());
        let minted = token.clone();
        let login = Backend::named("login.microsoftonline.com", move |_: &Seen| granted(&minted)).await;
        let echoed = token.clone();
        let echo = move |seen: &Seen| {
            let body = json!({"value": seen.header("authorization"), "id": "x"});
            match seen.path().contains("in-a-header") {
                true => answer("200 OK", &format!("etag: {}\r\n{JSON}", echoed.text()), "{}"),
                false => answer("200 OK", JSON, body.to_string()),
            }
        };
        let vault = Backend::named("keyless.vault.azure.net", echo).await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority().pem()).unwrap();
        let mut setup = Setup::from_toml(config(&login, &vault), folder.path());
        setup.environment = Environment::from_iter([("CLIENT_SECRET".into(), secret.text().into())]);
        setup.paths = Paths::default();
        let strongroom = Strongroom::open(setup).unwrap();
        for reference in [REFERENCE.to_owned(), REFERENCE.replace(NAME, "in-a-header")] {
            let failure = strongroom.resolve(&reference).await.unwrap_err();
            assert_eq!((failure.kind(), failure.code()), (Kind::Protocol, "egress.echo"), "{failure}");
            assert!(!format!("{failure} {failure:?}").contains(token.text()));
        }
    });
}
