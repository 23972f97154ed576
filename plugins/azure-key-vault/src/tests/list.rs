use strongroom_plugin::testing::Host;
use strongroom_plugin::{Catalog, Lifecycle};

use super::*;

const HOST: &str = "myvault.vault.azure.net";

fn page(entries: &str, link: &str) -> Response {
    json(200, &format!(r#"{{"value":[{entries}],"nextLink":{link}}}"#))
}

fn item(name: &str) -> String {
    format!(
        r#"{{"id":"https://{HOST}/secrets/{name}","attributes":{{"enabled":false,"exp":32503680000}},"contentType":"t","tags":{{"a":"b"}}}}"#
    )
}

#[test]
fn names_come_in_pages_and_an_empty_one_is_not_the_end() {
    let link = r#""https://myvault.vault.azure.net:443/secrets?api-version=7.4&$skiptoken=MiEx%3D%3D&maxresults=25""#;
    let host = Host::new().answer(page("", link)).answer(page(&item("one"), "null")).answer(page(&item("one"), "\"\""));
    let scope = at(HOST, &["secrets"]);
    let empty = KeyVault::names(&context(), &scope, "", None).unwrap();
    assert!(empty.entries.is_empty());
    let last = KeyVault::names(&context(), &scope, "", empty.next.as_deref()).unwrap();
    assert_eq!((last.entries[0].name.as_str(), last.next), ("one", None));
    let shown: Vec<_> = last.entries[0].attributes.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    assert_eq!(shown, [("enabled", "false"), ("tags.a", "b"), ("content-type", "t"), ("expires", "32503680000")]);
    // Of the vault itself, names are such that they make a reference with it.
    let whole = KeyVault::names(&context(), &at(HOST, &[]), "secrets/o", None).unwrap();
    assert_eq!(whole.entries[0].name, "secrets/one");
    assert_eq!(
        host.asked(),
        [
            "GET https://myvault.vault.azure.net/secrets?api-version=7.4&maxresults=25",
            "GET https://myvault.vault.azure.net/secrets?api-version=7.4&maxresults=25&%24skiptoken=MiEx%3D%3D",
            "GET https://myvault.vault.azure.net/secrets?api-version=7.4&maxresults=25",
        ]
    );
}

#[test]
fn only_what_begins_with_the_prefix_is_shown() {
    let _host = Host::new().answer(page(&[item("app-a"), item("web"), item("app-b")].join(","), "null"));
    let page = KeyVault::names(&context(), &at(HOST, &["secrets"]), "app-", None).unwrap();
    let names: Vec<_> = page.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["app-a", "app-b"]);
}

#[test]
fn deleted_secrets_are_a_list_of_their_own() {
    let host = Host::new().answer(page(DELETED, "null"));
    let scope = at(HOST, &["secrets"]).with_selector("state", "deleted");
    let page = KeyVault::names(&context(), &scope, "", None).unwrap();
    assert_eq!(page.entries[0].name, "crpsecret");
    assert!(page.entries[0].attributes.contains(&("scheduled-purge".to_owned(), "1501714433".to_owned())));
    assert_eq!(host.asked(), ["GET https://myvault.vault.azure.net/deletedsecrets?api-version=7.4&maxresults=25"]);
}

#[test]
fn versions_are_listed_by_their_ids() {
    let link = r#""https://myvault.vault.azure.net/secrets/crpsecret/versions?api-version=7.4&$skiptoken=2""#;
    let version = format!(r#"{{"id":"https://{HOST}/secrets/crpsecret/{VERSION}","attributes":{{"created":7}}}}"#);
    let host = Host::new().answer(page(&version, link));
    let page = KeyVault::versions(&context(), &secret(), None).unwrap();
    assert_eq!((page.entries[0].name.as_str(), page.next.as_deref()), (VERSION, Some("$skiptoken=2")));
    assert_eq!(
        host.asked(),
        ["GET https://myvault.vault.azure.net/secrets/crpsecret/versions?api-version=7.4&maxresults=25"]
    );
    let one = KeyVault::versions(&context(), &secret().with_selector("version", VERSION), None);
    assert_eq!(told(one), (Kind::Unsupported, "keyvault.one-version".into()));
}

#[test]
fn a_link_to_elsewhere_and_one_that_never_ends_are_refused() {
    for link in [
        "https://evil.example/secrets?$skiptoken=1",
        "http://myvault.vault.azure.net/secrets?$skiptoken=1",
        "https://myvault.vault.azure.net:8443/secrets?$skiptoken=1",
        "https://other.vault.azure.net/secrets?$skiptoken=1",
        "https://myvault.vault.azure.net/secrets?$skiptoken=0",
    ] {
        let host = Host::new().answer(page(&item("one"), &format!("\"{link}\"")));
        let answer = KeyVault::names(&context(), &at(HOST, &["secrets"]), "", Some("$skiptoken=0"));
        assert_eq!(told(answer), (Kind::Protocol, "azure.next-link".into()), "{link}");
        assert_eq!(host.asked().len(), 1);
    }
}
