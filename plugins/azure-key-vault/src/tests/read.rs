use strongroom_plugin::Kind;
use strongroom_plugin::log::Level;
use strongroom_plugin::testing::Host;

use super::*;

#[test]
fn a_secret_is_its_value_and_what_is_known_of_it() {
    let host = Host::new().at(NOW).answer(json(200, BUNDLE));
    let answer = resolve(&secret()).unwrap();
    assert_eq!(answer.value.as_text(), Some("mysecretvalue"));
    assert_eq!(answer.version.as_deref(), Some(VERSION));
    assert_eq!(answer.content_type.as_deref(), Some("text/plain"));
    assert_eq!(answer.expires_at, Some(1_893_456_000));
    let attributes: Vec<_> = answer.attributes.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert_eq!(
        attributes,
        [
            ("enabled", "true"),
            ("created", "1493938459"),
            ("updated", "1493938459"),
            ("not-before", "1493938459"),
            ("recovery-level", "Recoverable+Purgeable"),
            ("recoverable-days", "90"),
            ("tags.env", "dev"),
        ]
    );
    assert_eq!(host.asked(), ["GET https://myvault.vault.azure.net/secrets/crpsecret?api-version=7.4"]);
    assert_eq!(host.sent()[0].headers, [("accept".to_owned(), "application/json".to_owned())]);
    assert!(host.logged().is_empty());
}

#[test]
fn a_version_is_asked_for_by_its_name() {
    let host = Host::new().at(NOW).answer(json(200, BUNDLE));
    resolve(&secret().with_selector("version", VERSION)).unwrap();
    let asked = format!("GET https://myvault.vault.azure.net/secrets/crpsecret/{VERSION}?api-version=7.4");
    assert_eq!(host.asked(), [asked]);
}

#[test]
fn little_and_much_may_be_known() {
    let id = "https://myvault.vault.azure.net:443/secrets/CRPSECRET/0a";
    for (body, value) in [
        (format!(r#"{{"value":"","id":"{id}"}}"#), ""),
        (format!(r#"{{"value":"x","id":"{id}","contentType":null,"tags":null,"attributes":null}}"#), "x"),
        (
            format!(
                r#"{{"value":"x","id":"{id}","kid":"https://k","managed":true,"attributes":{{"exp":32503680000,"new":[1]}},"previousVersion":"0b"}}"#
            ),
            "x",
        ),
    ] {
        let _host = Host::new().at(NOW).answer(json(200, &body));
        let answer = resolve(&secret()).unwrap();
        assert_eq!((answer.value.as_text(), answer.version.as_deref()), (Some(value), Some("0a")));
        if body.contains("managed") {
            assert_eq!(answer.expires_at, Some(32_503_680_000));
            assert_eq!(answer.attributes, [("managed".to_owned(), "true".to_owned())]);
        }
    }
}

#[test]
fn outside_its_validity_a_secret_is_served_or_refused_as_the_mount_says() {
    for (now, word, code, said) in [
        (1_893_456_000, "expired", "keyvault.expired", "expired at 2030-01-01T00:00:00Z"),
        (1_493_938_458, "not-yet-valid", "keyvault.not-yet-valid", "is valid from 2017-05-04T22:54:19Z on"),
    ] {
        for config in ["{}", r#"{"outside_validity":"warn"}"#] {
            let host = Host::new().at(now).answer(json(200, BUNDLE));
            let answer = KeyVault::resolve(&Context::new(config), &secret()).unwrap();
            assert_eq!(answer.value.as_text(), Some("mysecretvalue"));
            assert!(answer.attributes.contains(&("validity".to_owned(), word.to_owned())));
            let logged = host.logged();
            let [(Level::Warn, line)] = logged.as_slice() else { panic!("one warning: {logged:?}") };
            assert!(line.contains(said) && line.contains("`crpsecret`") && !line.contains("mysecretvalue"), "{line}");
        }
        let host = Host::new().at(now).answer(json(200, BUNDLE));
        let failure = KeyVault::resolve(&Context::new(r#"{"outside_validity":"refuse"}"#), &secret()).unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::Denied, code));
        assert!(failure.message.contains(said) && failure.message.contains("outside_validity"), "{failure}");
        assert!(!format!("{failure:?}").contains("mysecretvalue") && host.logged().is_empty());
    }
    for now in [1_493_938_459, 1_893_455_999] {
        let host = Host::new().at(now).answer(json(200, BUNDLE));
        assert!(!resolve(&secret()).unwrap().attributes.iter().any(|(name, _)| name == "validity"));
        assert!(host.logged().is_empty());
    }
    let wrong = KeyVault::resolve(&Context::new(r#"{"outside_validity":"never"}"#), &secret());
    assert_eq!(told(wrong), (Kind::InvalidConfig, "config.invalid".into()));
}

#[test]
fn a_deleted_secret_is_told_from_one_that_never_was() {
    let host = Host::new().answer(json(404, NOT_FOUND)).answer(json(200, DELETED));
    let failure = resolve(&secret()).unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::NotFound, "keyvault.deleted"));
    assert!(failure.message.contains("2017-05-04T22:53:53Z") && failure.message.contains("2017-08-02T22:53:53Z"));
    assert_eq!(host.asked()[1], "GET https://myvault.vault.azure.net/deletedsecrets/crpsecret?api-version=7.4");

    // Not deleted; nobody may say; the vault answers no more.
    let forbidden = r#"{"error":{"code":"Forbidden","message":"m","innererror":{"code":"ForbiddenByRbac"}}}"#;
    for second in [json(404, NOT_DELETED), json(403, forbidden), json(503, ""), json(200, "<html>")] {
        let _host = Host::new().answer(json(404, NOT_FOUND)).answer(second);
        let failure = resolve(&secret().with_selector("version", VERSION)).unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::NotFound, "SecretNotFound"));
        assert!(failure.message.contains("no such version") && failure.message.contains(VERSION));
    }
}

#[test]
fn an_answer_that_does_not_fit_is_not_taken_and_not_quoted() {
    for (body, code) in [
        (BUNDLE.replace("/crpsecret/", "/another/"), "keyvault.other-secret"),
        (BUNDLE.replace(VERSION, "0a"), "keyvault.other-secret"),
        (BUNDLE.replace("/secrets/", "/keys/"), "keyvault.other-secret"),
        (BUNDLE.replace(VERSION, &format!("{VERSION}/x")), "keyvault.other-secret"),
        (BUNDLE.replace("\"value\":\"mysecretvalue\",", ""), "keyvault.no-value"),
        (BUNDLE.replace("1493938459", "\"mysecretvalue\""), "http.json"),
        (BUNDLE.replace("\"id\":", "\"ID\":"), "http.json"),
        ("mysecretvalue".into(), "http.json"),
        (String::new(), "http.json"),
    ] {
        let host = Host::new().at(NOW).answer(json(200, &body));
        let failure = resolve(&secret().with_selector("version", VERSION)).unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::Protocol, code), "{body}");
        assert!(!format!("{failure:?}{:?}", host.logged()).contains("mysecretvalue"), "{failure:?}");
    }
}
