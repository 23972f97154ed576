use serde_json::{Value as Json, json};
use strongroom_plugin::testing::{Host, Sent};
use strongroom_plugin::{Receipt, Value, Writer};

use super::*;

fn put(path: &str, value: impl Into<Value>) -> Result<Receipt, Failure> {
    WorkspaceConnection::put(&context(), &at(path), value.into(), Vec::new(), None)
}

fn remove(path: &str) -> Result<Receipt, Failure> {
    WorkspaceConnection::remove(&context(), &at(path))
}

fn body(sent: &Sent) -> Json {
    serde_json::from_slice(&sent.body).unwrap()
}

/// What a PUT of `document` sends, with `change` made to its properties.
fn kept(document: &str, change: impl FnOnce(&mut Json)) -> Json {
    let mut document: Json = serde_json::from_str(document).unwrap();
    let mut properties = document["properties"].take();
    properties.as_object_mut().unwrap().retain(|name, _| name != "group" && name != "createdByWorkspaceArmId");
    change(&mut properties);
    json!({ "properties": properties })
}

#[test]
fn a_field_is_set_and_all_else_is_kept() {
    type Change = fn(&mut Json);
    let rows: [(&str, &str, &str, Change); 8] = [
        (CUSTOM, "multi/credentials/SPEECH_KEY", "new", |p| p["credentials"]["keys"]["SPEECH_KEY"] = "new".into()),
        (CUSTOM, "multi/credentials/speech_key", "new", |p| p["credentials"]["keys"]["SPEECH_KEY"] = "new".into()),
        (CUSTOM, "multi/credentials/ANOTHER", "", |p| p["credentials"]["keys"]["ANOTHER"] = "".into()),
        (CUSTOM, "multi/metadata/region", "eu", |p| p["metadata"]["region"] = "eu".into()),
        (CUSTOM, "multi/target", "https://t", |p| p["target"] = "https://t".into()),
        (AOAI, "aoai/credentials/key", "new", |p| p["credentials"]["key"] = "new".into()),
        (AOAI, "aoai/credentials/KEY", "new", |p| p["credentials"]["key"] = "new".into()),
        (AOAI, "aoai/metadata/apiversion", "2025", |p| p["metadata"]["ApiVersion"] = "2025".into()),
    ];
    for (document, path, value, change) in rows {
        let host = Host::new().answer(json(200, document)).answer(json(200, document));
        put(&format!("connections/{path}"), value).unwrap();
        let connection = path.split('/').next().unwrap();
        assert_eq!(
            host.asked(),
            [format!("POST {BASE}/{connection}/listsecrets{VERSION}"), format!("PUT {BASE}/{connection}{VERSION}")]
        );
        assert_eq!(body(&host.sent()[1]), kept(document, change), "{path}");
    }
}

#[test]
fn tags_are_kept_and_missing_maps_are_made() {
    let bare = r#"{"tags":{"a":"b"},"properties":{"authType":"CustomKeys","category":"CustomKeys","credentials":null,"metadata":null}}"#;
    for (path, properties) in [
        (
            "credentials/K",
            json!({"authType":"CustomKeys","category":"CustomKeys","credentials":{"keys":{"K":"v"}},"metadata":null}),
        ),
        (
            "metadata/M",
            json!({"authType":"CustomKeys","category":"CustomKeys","credentials":null,"metadata":{"M":"v"}}),
        ),
    ] {
        let host = Host::new().answer(json(200, bare)).answer(json(201, "{}"));
        put(&format!("connections/con/{path}"), "v").unwrap();
        assert_eq!(body(&host.sent()[1]), json!({"properties": properties, "tags": {"a": "b"}}));
    }
}

#[test]
fn a_key_of_a_connection_that_is_not_there_makes_one_with_custom_keys() {
    let host = Host::new().answer(json(404, NO_CONNECTION)).answer(json(200, "{}"));
    put("connections/fresh/credentials/KEY", "v").unwrap();
    assert_eq!(
        body(&host.sent()[1]),
        json!({"properties":{"authType":"CustomKeys","category":"CustomKeys","target":"_","credentials":{"keys":{"KEY":"v"}},"metadata":{}}})
    );
    // Only a key does, and only if it is the connection that is not there.
    let workspace = r#"{"error":{"code":"ResourceNotFound","message":"m"}}"#;
    for (path, answer, code) in [
        ("metadata/M", NO_CONNECTION, "azureml.no-connection"),
        ("target", NO_CONNECTION, "azureml.no-connection"),
        ("credentials/K", workspace, "ResourceNotFound"),
    ] {
        let host = Host::new().answer(json(404, answer));
        assert_eq!(told(put(&format!("connections/fresh/{path}"), "v")), (Kind::NotFound, code.into()));
        assert_eq!(host.asked().len(), 1);
    }
}

#[test]
fn a_document_is_put_without_what_the_service_writes_itself() {
    let host = Host::new().answer(json(200, AOAI));
    put("connections/copy", AOAI).unwrap();
    assert_eq!(host.asked(), [format!("PUT {BASE}/copy{VERSION}")]);
    assert_eq!(body(&host.sent()[0]), kept(AOAI, |_| ()));
    for document in [
        r#"{"properties":{"authType":"AAD","category":"AzureOpenAI","target":"t"}}"#,
        r#"{"properties":{"authType":"ManagedIdentity","category":"AzureBlob","credentials":null}}"#,
        r#"{"properties":{"authType":"BrandNew","category":"X","credentials":null}}"#,
    ] {
        let _host = Host::new().answer(json(200, "{}"));
        put("connections/con", document).unwrap();
    }
}

#[test]
fn a_document_that_would_lose_secrets_or_is_none_is_not_put() {
    let host = Host::new();
    for document in [
        AOAI.replace(r#"{"key":"s3cret-key"}"#, "null"),
        CUSTOM.replace(r#""credentials":"#, r#""credential":"#),
        AOAI.replace("authType", "authtype"),
        AOAI.replace(r#""category":"AzureOpenAI""#, r#""category":"""#),
        r#"{"authType":"ApiKey","credentials":{"key":"s3cret-key"}}"#.into(),
        r#"["s3cret-key"]"#.into(),
        "s3cret-key".into(),
        String::new(),
    ] {
        let failure = put("connections/con", document.as_str()).unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::InvalidReference, "azureml.document"), "{document}");
        assert!(!format!("{failure:?}").contains("s3cret"), "{failure}");
    }
    assert!(host.asked().is_empty());
}

#[test]
fn what_a_connection_cannot_have_is_not_set() {
    let host = Host::new();
    let attribute = vec![("expires".to_owned(), "1".to_owned())];
    let target = at("connections/con/target");
    for (answer, code) in [
        (put("connections/con/target", vec![0xff_u8]), "azureml.binary"),
        (WorkspaceConnection::put(&context(), &target, "v".into(), attribute, None), "azureml.attribute"),
        (WorkspaceConnection::put(&context(), &target, "v".into(), Vec::new(), Some("1")), "azureml.expected"),
    ] {
        assert_eq!(told(answer), (Kind::Unsupported, code.into()));
    }
    assert!(host.asked().is_empty());
    let aad = AOAI.replace("ApiKey", "AAD").replace(r#"{"key":"s3cret-key"}"#, "null");
    for (document, said) in [(AOAI, "it has key"), (aad.as_str(), "none that can be set")] {
        let host = Host::new().answer(json(200, document));
        let failure = put("connections/aoai/credentials/pat", "s3cret-new").unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::Unsupported, "azureml.no-credential"));
        assert!(failure.message.contains(said) && !failure.message.contains("s3cret"), "{failure}");
        assert_eq!(host.asked().len(), 1);
    }
}

#[test]
fn an_echoed_value_gets_into_no_failure_and_no_line() {
    let echo = r#"{"error":{"code":"ValidationError","message":"credentials.key: s3cret-key is not valid"}}"#;
    let host = Host::new().answer(json(400, echo)).answer(json(200, AOAI)).answer(json(400, echo));
    for answer in [put("connections/aoai", AOAI), put("connections/aoai/target", "t")] {
        let failure = answer.unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::InvalidReference, "ValidationError"));
        assert!(!format!("{failure:?}{:?}", host.logged()).contains("s3cret"), "{failure:?}");
    }
}

#[test]
fn connections_keys_and_metadata_are_deleted() {
    let host = Host::new().answer(json(200, "")).answer(json(204, ""));
    remove("connections/aoai").unwrap();
    assert_eq!(told(remove("connections/aoai")), (Kind::NotFound, "azureml.no-connection".into()));
    assert_eq!(host.asked()[0], format!("DELETE {BASE}/aoai{VERSION}"));

    for (path, member) in [("credentials/SPEECH_KEY", ("credentials", "SPEECH_KEY")), ("metadata/n", ("metadata", "n"))]
    {
        let host = Host::new().answer(json(200, CUSTOM)).answer(json(200, "{}"));
        remove(&format!("connections/multi/{path}")).unwrap();
        let expected = kept(CUSTOM, |properties| {
            let map = &mut properties[member.0];
            let map = if member.0 == "credentials" { &mut map["keys"] } else { map };
            map.as_object_mut().unwrap().remove(member.1).unwrap();
        });
        assert_eq!(body(&host.sent()[1]), expected);
    }
    for (document, path, kind, code) in [
        (CUSTOM, "multi/credentials/nope", Kind::NotFound, "azureml.no-credential"),
        (CUSTOM, "multi/metadata/nope", Kind::NotFound, "azureml.no-metadata"),
        (CUSTOM, "multi/target", Kind::Unsupported, "azureml.needed"),
        (AOAI, "aoai/credentials/key", Kind::Unsupported, "azureml.needed"),
    ] {
        let host = Host::new().answer(json(200, document));
        assert_eq!(told(remove(&format!("connections/{path}"))), (kind, code.into()), "{path}");
        assert_eq!(host.asked().len(), 1);
    }
}
