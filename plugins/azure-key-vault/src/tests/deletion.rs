use strongroom_plugin::testing::Host;
use strongroom_plugin::{Kind, Lifecycle, Receipt, Writer};

use super::*;

fn state(receipt: &Receipt) -> &str {
    receipt.attributes.iter().find(|(name, _)| name == "state").map(|(_, state)| state.as_str()).unwrap()
}

#[test]
fn a_deletion_is_waited_for() {
    for done in [json(200, DELETED), json(403, DISABLED), json(403, "")] {
        let host = Host::new()
            .at(NOW)
            .answer(json(200, DELETED))
            .answer(json(404, NOT_DELETED))
            .answer(json(404, NOT_DELETED))
            .answer(done);
        let receipt = KeyVault::remove(&context(), &secret()).unwrap();
        assert_eq!((state(&receipt), host.waited_ms()), ("deleted", 4000));
        assert!(receipt.attributes.contains(&("scheduled-purge".to_owned(), "1501714433".to_owned())));
        assert_eq!(host.asked()[0], "DELETE https://myvault.vault.azure.net/secrets/crpsecret?api-version=7.4");
        assert_eq!(host.asked()[3], "GET https://myvault.vault.azure.net/deletedsecrets/crpsecret?api-version=7.4");
    }
}

#[test]
fn the_wait_ends_before_the_deadline_and_is_no_failure() {
    let mut host = Host::new().at(NOW).answer(json(200, DELETED));
    for _ in 0..20 {
        host = host.answer(json(404, NOT_DELETED));
    }
    let receipt = KeyVault::remove(&context(), &secret()).unwrap();
    assert_eq!((state(&receipt), host.waited_ms()), ("deleting", 8000));

    // However long the deadline: the host counts requests.
    let mut long = context();
    long.deadline_ms = 600_000;
    let mut host = Host::new().at(NOW).answer(json(200, DELETED));
    for _ in 0..20 {
        host = host.answer(json(404, NOT_DELETED));
    }
    assert_eq!(state(&KeyVault::remove(&long, &secret()).unwrap()), "deleting");
    assert!(host.asked().len() <= 16);

    // Too little time even for one pause; a vault that stumbles afterwards.
    let mut short = context();
    short.deadline_ms = 500;
    for second in [json(404, NOT_DELETED), json(503, ""), json(429, "")] {
        let host = Host::new().at(NOW).answer(json(200, DELETED)).answer(second);
        assert_eq!(state(&KeyVault::remove(&short, &secret()).unwrap()), "deleting");
        assert_eq!((host.asked().len(), host.waited_ms()), (2, 0));
    }
}

#[test]
fn without_soft_delete_it_is_gone() {
    let host = Host::new().answer(json(200, &BUNDLE.replace("\"value\":\"mysecretvalue\",", "")));
    assert_eq!(state(&KeyVault::remove(&context(), &secret()).unwrap()), "gone");
    assert_eq!(host.asked().len(), 1);
}

#[test]
fn what_is_deleted_comes_back() {
    let back = BUNDLE.replace("\"value\":\"mysecretvalue\",", "");
    let host = Host::new().at(NOW).answer(json(200, &back)).answer(json(404, NOT_FOUND)).answer(json(200, BUNDLE));
    let receipt = KeyVault::recover(&context(), &secret()).unwrap();
    assert_eq!((state(&receipt), receipt.version.as_deref()), ("recovered", Some(VERSION)));
    assert_eq!(
        host.asked(),
        [
            "POST https://myvault.vault.azure.net/deletedsecrets/crpsecret/recover?api-version=7.4",
            "GET https://myvault.vault.azure.net/secrets/crpsecret?api-version=7.4",
            "GET https://myvault.vault.azure.net/secrets/crpsecret?api-version=7.4",
        ]
    );
    assert!(!format!("{receipt:?}").contains("mysecretvalue"));
}

#[test]
fn a_purge_is_final() {
    let host = Host::new().answer(json(204, ""));
    assert_eq!(state(&KeyVault::purge(&context(), &secret()).unwrap()), "purged");
    assert_eq!(host.asked(), ["DELETE https://myvault.vault.azure.net/deletedsecrets/crpsecret?api-version=7.4"]);
    let protected = r#"{"error":{"code":"Forbidden","message":"m","innererror":{"code":"PurgeProtectionEnabled"}}}"#;
    let _host = Host::new().answer(json(403, protected));
    let failure = KeyVault::purge(&context(), &secret()).unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::Denied, "PurgeProtectionEnabled"));
    assert!(failure.message.contains("purge protection"));
}

#[test]
fn only_whole_secrets_are_deleted_recovered_and_purged() {
    let host = Host::new();
    let version = secret().with_selector("version", VERSION);
    for answer in [
        KeyVault::remove(&context(), &version),
        KeyVault::recover(&context(), &version),
        KeyVault::purge(&context(), &version),
    ] {
        assert_eq!(told(answer), (Kind::Unsupported, "keyvault.one-version".into()));
    }
    assert!(host.asked().is_empty());
    for ask in [KeyVault::recover, KeyVault::purge] {
        let _host = Host::new().answer(json(404, NOT_DELETED));
        let failure = ask(&context(), &secret()).unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::NotFound, "SecretNotFound"));
        assert!(failure.message.contains("not among the deleted"), "{failure}");
    }
    let _host = Host::new().answer(json(404, NOT_FOUND));
    assert_eq!(told(KeyVault::remove(&context(), &secret())), (Kind::NotFound, "SecretNotFound".into()));
}
