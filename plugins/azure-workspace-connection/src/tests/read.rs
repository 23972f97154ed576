use strongroom_plugin::testing::Host;

use super::*;
use crate::document::AUTH_TYPES;

/// The value of `part` of a connection that is `body`.
fn field(body: &str, part: &str) -> Result<String, Failure> {
    let _host = Host::new().answer(json(200, body));
    let secret = resolve(&format!("connections/con/{part}"))?;
    Ok(secret.value.as_text().unwrap().to_owned())
}

fn of_type(auth_type: &str, credentials: &str) -> String {
    format!(
        r#"{{"name":"con","properties":{{"authType":"{auth_type}","category":"X","target":"t","credentials":{credentials},"metadata":{{}}}}}}"#
    )
}

#[test]
fn the_whole_document_is_the_answer_as_it_is() {
    let host = Host::new().answer(json(200, AOAI));
    let secret = resolve("connections/aoai").unwrap();
    assert_eq!(secret.value.as_text(), Some(AOAI));
    assert_eq!(secret.content_type.as_deref(), Some("application/json"));
    let shown: Vec<_> = secret.attributes.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    assert_eq!(shown, [("auth-type", "ApiKey"), ("category", "AzureOpenAI")]);
    assert_eq!(host.asked(), [format!("POST {BASE}/aoai/listsecrets{VERSION}")]);
    assert!(host.sent()[0].body.is_empty());
}

#[test]
fn every_auth_type_has_its_credentials() {
    for (auth_type, members) in AUTH_TYPES {
        let values: Vec<String> = members.iter().map(|member| format!(r#""{member}":"v-{member}""#)).collect();
        let body = match auth_type {
            "CustomKeys" => of_type(auth_type, r#"{"keys":{"A":"v-A","B":"v-B"}}"#),
            _ => of_type(auth_type, &format!("{{{}}}", values.join(","))),
        };
        let members = if auth_type == "CustomKeys" { &["A", "B"] } else { members };
        for member in members {
            assert_eq!(field(&body, &format!("credentials/{member}")).unwrap(), format!("v-{member}"), "{auth_type}");
        }
        let failure = field(&body, "credentials/other").unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::NotFound, "azureml.no-credential"), "{auth_type}");
        if members.is_empty() {
            assert!(failure.message.contains(&format!("its auth type is {auth_type}, and it holds no")), "{failure}");
        } else {
            assert!(members.iter().all(|member| failure.message.contains(member)), "{failure}");
        }
        assert!(!failure.message.contains("v-"), "{failure}");
    }
    assert_eq!(AUTH_TYPES.len(), 12);
}

#[test]
fn without_credentials_there_is_no_credential() {
    for auth_type in ["AAD", "None", "ManagedIdentity", "ApiKey", "DelegatedSAS", "AgenticUser", "NobodyKnows"] {
        for credentials in ["null", "{}", "[]", r#""s3cret""#, r#"{"key":null}"#] {
            let failure = field(&of_type(auth_type, credentials), "credentials/key").unwrap_err();
            assert_eq!((failure.kind, failure.code.as_str()), (Kind::NotFound, "azureml.no-credential"));
            assert!(failure.message.contains(auth_type) && !failure.message.contains("s3cret"), "{failure}");
        }
    }
    let failure = field(&of_type("CustomKeys", "null"), "credentials/A").unwrap_err();
    assert_eq!(failure.message, "the connection `con` has no keys");
    // An auth type that nobody knows yet, with credentials.
    assert_eq!(field(&of_type("Brand-New", r#"{"token":"x"}"#), "credentials/token").unwrap(), "x");
}

#[test]
fn fields_are_found_exactly_and_else_whatever_their_case() {
    let body = CUSTOM.replace("\"multi\"", "\"con\"");
    for (part, value) in [
        ("credentials/OPENAI_API_KEY", "s3cret-1"),
        ("credentials/speech_key", "s3cret-2"),
        ("credentials/empty", ""),
        ("metadata/OPENAI_API_VERSION", "2024-02-01"),
        ("metadata/openai_api_version", "2024-02-01"),
        ("metadata/n", "7"),
        ("target", "_"),
    ] {
        assert_eq!(field(&body, part).unwrap(), value, "{part}");
    }
    let twins = of_type("CustomKeys", r#"{"keys":{"Key":"a","KEY":"b"}}"#);
    assert_eq!(field(&twins, "credentials/Key").unwrap(), "a");
    assert_eq!(field(&twins, "credentials/KEY").unwrap(), "b");
    assert_eq!(told(field(&twins, "credentials/key")), (Kind::InvalidReference, "azureml.ambiguous".into()));
}

#[test]
fn a_field_that_is_not_there_names_those_that_are() {
    let body = CUSTOM.replace("\"multi\"", "\"con\"");
    let failure = field(&body, "credentials/gone").unwrap_err();
    assert_eq!(
        failure.message,
        "the connection `con` has no credential `gone`; it has OPENAI_API_KEY, SPEECH_KEY, empty"
    );
    let failure = field(&body, "metadata/gone").unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::NotFound, "azureml.no-metadata"));
    assert!(failure.message.ends_with("it has OPENAI_API_VERSION, n"), "{failure}");
    assert_eq!(
        told(field(r#"{"properties":{"target":null}}"#, "target")),
        (Kind::NotFound, "azureml.no-target".into())
    );
    assert_eq!(told(field(r#"{"properties":{}}"#, "metadata/x")), (Kind::NotFound, "azureml.no-metadata".into()));

    let many: Vec<String> = (0..200).map(|n| format!(r#""KEY_NUMBER_{n}":"s3cret""#)).collect();
    let failure = field(&of_type("CustomKeys", &format!(r#"{{"keys":{{{}}}}}"#, many.join(","))), "credentials/x");
    let failure = failure.unwrap_err();
    assert!(failure.message.len() < 500 && failure.message.ends_with(" more"), "{failure}");
    assert!(!failure.message.contains("s3cret"));
}

#[test]
fn many_fields_of_a_connection_are_one_request() {
    let host = Host::new().answer(json(200, CUSTOM));
    let parts = ["", "/credentials/OPENAI_API_KEY", "/credentials/nope", "/metadata/n", "/target", "/oops"];
    let mut references: Vec<Reference> = parts.iter().map(|part| at(&format!("connections/multi{part}"))).collect();
    references.extend((0..44).map(|_| at("connections/multi/credentials/SPEECH_KEY")));
    let answers = WorkspaceConnection::resolve_all(&context(), &references);
    assert_eq!((answers.len(), host.asked().len()), (50, 1));
    let text = |at: usize| answers[at].as_ref().unwrap().value.as_text().unwrap();
    assert_eq!([text(0), text(1), text(3), text(4), text(49)], [CUSTOM, "s3cret-1", "7", "_", "s3cret-2"]);
    assert_eq!(answers[2].as_ref().unwrap_err().code, "azureml.no-credential");
    assert_eq!(answers[5].as_ref().unwrap_err().code, "azureml.form");
    let known = &answers[1].as_ref().unwrap().attributes;
    assert!(known.contains(&("expiry-time".to_owned(), "2030-01-01T00:00:00.0000000Z".to_owned())));

    // A failure is everybody's, and also asked for once.
    let host = Host::new().answer(json(404, NO_CONNECTION));
    let answers = WorkspaceConnection::resolve_all(&context(), &references);
    assert_eq!(host.asked().len(), 1);
    assert_eq!(answers[49].as_ref().unwrap_err().code, "azureml.no-connection");
    // A config that does not fit is everybody's too.
    let answers = WorkspaceConnection::resolve_all(&Context::new("{}"), &references);
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap_err().kind == Kind::InvalidConfig));
    assert_eq!(answers.len(), 50);
}

#[test]
fn the_config_says_where() {
    let host = Host::new().answer(json(503, "")).answer(json(503, ""));
    for more in [
        r#","cloud":"AzureChinaCloud","api_version":"2025-06-01""#,
        r#","cloud":"AzureUSGovernment","api_version":"2023-08-01-preview""#,
    ] {
        WorkspaceConnection::resolve(&config(more), &at("connections/con")).unwrap_err();
    }
    let path = BASE.strip_prefix("https://management.azure.com").unwrap();
    assert_eq!(
        host.asked(),
        [
            format!("POST https://management.chinacloudapi.cn{path}/con/listsecrets?api-version=2025-06-01"),
            format!("POST https://management.usgovcloudapi.net{path}/con/listsecrets?api-version=2023-08-01-preview"),
        ]
    );
    let nowhere = WorkspaceConnection::resolve(&config(r#","cloud":"AzureGermany""#), &at("connections/con"));
    assert_eq!(told(nowhere), (Kind::InvalidConfig, "azure.cloud".into()));
}

#[test]
fn a_reference_that_no_connection_can_mean_is_not_asked() {
    let host = Host::new();
    let long = format!("connections/{}", "c".repeat(34));
    for (path, code) in [
        ("connections", "azureml.form"),
        ("connections/con/credentials", "azureml.form"),
        ("connections/con/credentials/", "azureml.form"),
        ("connections/con/secrets/x", "azureml.form"),
        ("connections/con/target/x", "azureml.form"),
        ("datastores/con", "azureml.form"),
        ("keyvault/n", "azureml.other-mount"),
        ("connections/..", "azureml.connection-name"),
        ("connections/ab", "azureml.connection-name"),
        ("connections/_ab", "azureml.connection-name"),
        ("connections/a%2fb", "azureml.connection-name"),
        ("connections/a.b.c", "azureml.connection-name"),
        (&long, "azureml.connection-name"),
    ] {
        assert_eq!(told(resolve(path)), (Kind::InvalidReference, code.to_owned()), "{path}");
    }
    let slash = Reference::new(["connections", "con/../other"]);
    assert_eq!(told(WorkspaceConnection::resolve(&context(), &slash)).1, "azureml.connection-name");
    let selector = at("connections/con").with_selector("version", "1");
    assert_eq!(told(WorkspaceConnection::resolve(&context(), &selector)).1, "reference.selector");
    assert!(host.asked().is_empty());
}

#[test]
fn an_answer_that_does_not_fit_is_not_taken_and_not_quoted() {
    for (body, code) in [
        (AOAI.into(), "azureml.other-connection"),
        (r#"{"name":"con","properties":"s3cret"}"#.into(), "azureml.no-properties"),
        (r#""s3cret""#.into(), "azureml.no-properties"),
        (AOAI.replace("}}", ""), "http.json"),
        ("<html>s3cret</html>".to_owned(), "http.json"),
    ] {
        let host = Host::new().answer(json(200, &body));
        let failure = resolve("connections/con/credentials/key").unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::Protocol, code), "{body}");
        assert!(!format!("{failure:?}{:?}", host.logged()).contains("s3cret"), "{failure:?}");
    }
}
