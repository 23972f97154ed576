use strongroom_plugin::testing::Host;
use strongroom_plugin::{Annotator, Kind, Receipt, Value, Writer};

use super::*;

fn put(value: impl Into<Value>, attributes: &[(&str, &str)]) -> Result<Receipt, Failure> {
    KeyVault::put(&context(), &secret(), value.into(), owned(attributes), None)
}

fn owned(attributes: &[(&str, &str)]) -> Vec<(String, String)> {
    attributes.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn body(sent: &strongroom_plugin::testing::Sent) -> &str {
    str::from_utf8(&sent.body).unwrap()
}

#[test]
fn a_value_is_set_with_what_is_to_be_known_of_it() {
    let host = Host::new().answer(json(200, BUNDLE)).answer(json(200, BUNDLE)).answer(json(200, BUNDLE));
    let receipt = put("mysecretvalue", &[]).unwrap();
    assert_eq!(receipt.version.as_deref(), Some(VERSION));
    assert!(receipt.attributes.contains(&("expires".to_owned(), "1893456000".to_owned())));
    put("", &[("content-type", "text/plain"), ("expires", "1893456000"), ("tags.env", "dev"), ("tags.no", "")])
        .unwrap();
    put("v", &[("enabled", "false"), ("nbf", "1"), ("exp", "2"), ("tag.a.b", "c")]).unwrap();
    let sent = host.sent();
    assert_eq!(sent[0].line, "PUT https://myvault.vault.azure.net/secrets/crpsecret?api-version=7.4");
    assert_eq!(body(&sent[0]), r#"{"value":"mysecretvalue"}"#);
    assert_eq!(
        body(&sent[1]),
        r#"{"value":"","contentType":"text/plain","tags":{"env":"dev"},"attributes":{"exp":1893456000}}"#
    );
    assert_eq!(body(&sent[2]), r#"{"value":"v","tags":{"a.b":"c"},"attributes":{"enabled":false,"nbf":1,"exp":2}}"#);
}

#[test]
fn what_a_vault_cannot_hold_is_not_sent() {
    let host = Host::new();
    let long = "x".repeat(513);
    let many: Vec<_> = (0..16).map(|number| (format!("tags.{number}"), "t".to_owned())).collect();
    for (answer, code) in [
        (put("x".repeat(25_601), &[]), "keyvault.too-large"),
        (put(vec![0xff_u8], &[]), "keyvault.binary"),
        (put("s3cret", &[("colour", "blue")]), "keyvault.attribute"),
        (put("s3cret", &[("enabled", "yes")]), "keyvault.attribute"),
        (put("s3cret", &[("expires", "tomorrow")]), "keyvault.attribute"),
        (put("s3cret", &[("nbf", "-1")]), "keyvault.attribute"),
        (put("s3cret", &[("exp", "")]), "keyvault.attribute"),
        (put("s3cret", &[("content-type", &long)]), "keyvault.attribute"),
        (put("s3cret", &[("tags.", "x")]), "keyvault.attribute"),
        (put("s3cret", &[("tags.a", &long)]), "keyvault.attribute"),
        (KeyVault::put(&context(), &secret(), "s3cret".into(), many, None), "keyvault.attribute"),
        (KeyVault::put(&context(), &secret(), "s3cret".into(), Vec::new(), Some(VERSION)), "keyvault.expected"),
        (
            KeyVault::put(&context(), &secret().with_selector("version", VERSION), "s3cret".into(), Vec::new(), None),
            "keyvault.one-version",
        ),
    ] {
        let failure = answer.unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::Unsupported, code));
        assert!(!failure.message.contains("s3cret"));
    }
    assert!(host.asked().is_empty());
    let _host = Host::new().answer(json(200, BUNDLE));
    put("x".repeat(25_600), &[]).unwrap();
}

#[test]
fn a_name_that_is_still_taken_says_what_to_do() {
    let taken = r#"{"error":{"code":"Conflict","message":"Secret crpsecret is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the secret can only be recovered or purged.","innererror":{"code":"ObjectIsDeletedButRecoverable"}}}"#;
    let _host = Host::new().answer(json(409, taken));
    let failure = put("v", &[]).unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::Conflict, "ObjectIsDeletedButRecoverable"));
    assert!(failure.message.contains("recover it (strongroom recover), or purge it"), "{failure}");
    let busy = r#"{"error":{"code":"Conflict","message":"Secret crpsecret is currently being deleted and cannot be re-created; retry later.","innererror":{"code":"ObjectIsBeingDeleted"}}}"#;
    let _host = Host::new().answer(json(409, busy));
    assert_eq!(told(put("v", &[])), (Kind::Unavailable, "ObjectIsBeingDeleted".into()));
}

#[test]
fn an_echoed_value_gets_into_no_failure_and_no_line() {
    for answer in [
        r#"{"error":{"code":"BadParameter","message":"Property s3cret has invalid value\r\n"}}"#,
        r#"{"error":{"code":"s3cret value","message":"","innererror":{"code":"s3cret!"}}}"#,
        r#"s3cret"#,
    ] {
        let host = Host::new().answer(json(400, answer));
        let failure = put("s3cret", &[]).unwrap_err();
        assert_eq!(failure.kind, Kind::InvalidReference);
        assert!(!format!("{failure:?}{:?}", host.logged()).contains("s3cret"), "{failure:?}");
    }
}

#[test]
fn attributes_are_changed_without_the_value() {
    let answer = BUNDLE.replace("\"value\":\"mysecretvalue\",", "");
    let host = Host::new().answer(json(200, &answer)).answer(json(200, &answer)).answer(json(200, &answer));
    let receipt = KeyVault::annotate(&context(), &secret(), owned(&[("enabled", "true"), ("exp", "5")])).unwrap();
    assert_eq!(receipt.version.as_deref(), Some(VERSION));
    // Tags that are not spoken of stay: the first answer tells them.
    let version = secret().with_selector("version", VERSION);
    KeyVault::annotate(&context(), &version, owned(&[("tags.new", "x"), ("content-type", "")])).unwrap();
    let sent = host.sent();
    assert_eq!(sent[0].line, "PATCH https://myvault.vault.azure.net/secrets/crpsecret?api-version=7.4");
    assert_eq!(body(&sent[0]), r#"{"attributes":{"enabled":true,"exp":5}}"#);
    assert_eq!(
        sent[1].line,
        format!("PATCH https://myvault.vault.azure.net/secrets/crpsecret/{VERSION}?api-version=7.4")
    );
    assert_eq!(body(&sent[1]), r#"{"contentType":""}"#);
    assert_eq!(sent[2].line, sent[1].line);
    assert_eq!(body(&sent[2]), r#"{"tags":{"env":"dev","new":"x"}}"#);
}

#[test]
fn the_last_tag_can_be_taken_away() {
    let host = Host::new().answer(json(200, BUNDLE)).answer(json(200, BUNDLE));
    KeyVault::annotate(&context(), &secret(), owned(&[("tags.env", "")])).unwrap();
    assert_eq!(host.sent().iter().map(body).collect::<Vec<_>>(), ["{}", r#"{"tags":{}}"#]);
}
