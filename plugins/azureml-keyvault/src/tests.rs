//! Against answers as the v1 SDK takes them.

use strongroom_plugin::http::Response;
use strongroom_plugin::testing::Host;
use strongroom_plugin::{Catalog, Context, Failure, Kind, Provider, Receipt, Reference, Secret, Value, Writer};

use super::MlKeyVault;

const BASE: &str = "https://centralus.experiments.azureml.net/credential/v2.0/subscriptions/0b1f6471-1bf0-4dda-aec3-111122223333/resourceGroups/RG/providers/Microsoft.MachineLearningServices/workspaces/WS1";
const ITEM: &str = r#"{"name":"n","value":"s3cret","createdTime":"2024-03-22T14:56:56.0857069+00:00","modifiedTime":"2024-03-22T14:56:57.0857069+00:00","contentType":"application/NotProvided"}"#;

fn context() -> Context {
    Context::new(
        r#"{"subscription":"0b1f6471-1bf0-4dda-aec3-111122223333","resource_group":"RG","workspace":"WS1","experimentation":"https://centralus.experiments.azureml.net","audience":"https://management.azure.com"}"#,
    )
}

fn at(name: &str) -> Reference {
    Reference::new(["keyvault", name])
}

fn json(status: u16, body: &str) -> Response {
    Response::new(status, [("content-type", "application/json; charset=utf-8")], body)
}

/// The long envelope of Azure ML's own services.
fn error(code: &str) -> String {
    format!(
        r#"{{"error":{{"code":"UserError","severity":null,"message":"Secret s3cret of user@example.com","messageFormat":"...","messageParameters":{{}},"referenceCode":null,"detailsUri":null,"target":null,"details":[],"innerError":{{"code":"{code}","innerError":null}},"debugInfo":{{"stackTrace":"at X"}}}},"correlation":{{"operation":"o","request":"r"}},"environment":"centralus","location":"centralus","time":"...","componentName":"credential"}}"#
    )
}

fn resolve(name: &str) -> Result<Secret, Failure> {
    MlKeyVault::resolve(&context(), &at(name))
}

fn resolve_all(references: &[Reference]) -> Vec<Result<Secret, Failure>> {
    MlKeyVault::resolve_all(&context(), references)
}

fn put(value: impl Into<Value>, attributes: &[(&str, &str)]) -> Result<Receipt, Failure> {
    let attributes = attributes.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    MlKeyVault::put(&context(), &at("n"), value.into(), attributes, None)
}

fn told<T>(answer: Result<T, Failure>) -> (Kind, String) {
    match answer {
        Ok(_) => panic!("it was to fail"),
        Err(failure) => (failure.kind, failure.code),
    }
}

#[test]
fn a_secret_alone_is_asked_for_by_its_path() {
    let host = Host::new().answer(json(200, ITEM));
    let secret = resolve("n").unwrap();
    assert_eq!(secret.value.as_text(), Some("s3cret"));
    assert_eq!(secret.content_type, None);
    assert_eq!(secret.attributes[1], ("modified-time".to_owned(), "2024-03-22T14:56:57.0857069+00:00".to_owned()));
    assert_eq!(host.asked(), [format!("GET {BASE}/secrets/n")]);

    // Also where several references mean it.
    let host = Host::new().answer(json(200, &ITEM.replace("NotProvided", "vnd.ms-password")));
    let answers = resolve_all(&[at("n"), at("a_b"), at("n")]);
    assert_eq!(host.asked(), [format!("GET {BASE}/secrets/n")]);
    assert_eq!(answers[0].as_ref().unwrap().content_type.as_deref(), Some("application/vnd.ms-password"));
    assert_eq!(told(answers[1].clone()), (Kind::InvalidReference, "keyvault.name".into()));
    assert_eq!(answers[2].as_ref().unwrap().value.as_text(), Some("s3cret"));
}

#[test]
fn several_are_asked_for_at_once_and_answered_each() {
    let batch = r#"{"secrets":[{"name":"B","value":"2"},{"name":"a","value":"1"},{"name":"no-value","value":null},{"name":"stranger","value":"s3cret"}],"notFoundSecrets":["zz"]}"#;
    let host = Host::new().answer(json(200, batch));
    let answers = resolve_all(&["zz", "a", "b", "no-value", "silent", "a/b"].map(at));
    assert_eq!(host.asked(), [format!("POST {BASE}/secrets%3Agetbatch")]);
    let body = str::from_utf8(&host.sent()[0].body).unwrap().to_owned();
    assert_eq!(body, r#"{"secrets":[{"name":"a"},{"name":"b"},{"name":"no-value"},{"name":"silent"},{"name":"zz"}]}"#);
    let value = |at: usize| answers[at].as_ref().unwrap().value.as_text().unwrap();
    assert_eq!([value(1), value(2)], ["1", "2"]);
    assert_eq!(told(answers[0].clone()), (Kind::NotFound, "SecretNotFound".into()));
    assert_eq!(told(answers[3].clone()), (Kind::Protocol, "azureml.no-value".into()));
    assert_eq!(told(answers[4].clone()), (Kind::Protocol, "azureml.no-answer".into()));
    assert_eq!(told(answers[5].clone()), (Kind::InvalidReference, "keyvault.name".into()));
    assert!(!format!("{answers:?}").contains("s3cret"));
}

#[test]
fn many_take_few_requests_and_a_failure_is_that_of_its_batch() {
    let names: Vec<String> = (0..40).map(|number| format!("n{number:02}")).collect();
    let references: Vec<Reference> = names.iter().map(|name| at(name)).collect();
    let items: Vec<String> = names.iter().take(32).map(|name| format!(r#"{{"name":"{name}","value":"v"}}"#)).collect();
    let first = format!(r#"{{"secrets":[{}]}}"#, items.join(","));
    let host = Host::new().answer(json(200, &first)).answer(json(503, ""));
    let answers = resolve_all(&references);
    assert_eq!((host.asked().len(), answers.len()), (2, 40));
    assert!(answers[..32].iter().all(Result::is_ok));
    assert!(answers[32..].iter().all(|answer| answer.as_ref().unwrap_err().kind == Kind::Unavailable));

    let references: Vec<Reference> = (0..1000).map(|number| at(&format!("n{number}"))).collect();
    let host = Host::new();
    assert_eq!(resolve_all(&references).len(), 1000);
    assert!(host.asked().len() <= 16);

    let answers = MlKeyVault::resolve_all(&Context::new("{}"), &references);
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap_err().kind == Kind::InvalidConfig));
    assert!(resolve_all(&[]).is_empty());
}

#[test]
fn every_failure_of_the_service_is_its_own() {
    use Kind::*;
    for (status, body, kind, code, said) in [
        (401, error("Unauthorized"), Unauthenticated, "Unauthorized", "that of a run"),
        (403, error("AuthorizationFailed"), Denied, "AuthorizationFailed", "metadata/secrets/read"),
        (403, "<html>s3cret</html>".into(), Denied, "http.403", "Secrets Reader (ea01e6af"),
        (404, error("SecretNotFound"), NotFound, "SecretNotFound", "has no secret `n`"),
        (404, error("WorkspaceNotFound"), NotFound, "WorkspaceNotFound", "knows no workspace `WS1`"),
        (400, error("BadArgument"), InvalidReference, "BadArgument", "does not take"),
        (429, error("TooManyRequests"), Throttled, "TooManyRequests", "too much"),
        (500, error("ServiceError"), Unavailable, "ServiceError", "(500)"),
        (530, String::new(), Unavailable, "http.530", "(530)"),
        (302, String::new(), Protocol, "http.302", "redirect"),
    ] {
        let _host = Host::new().answer(json(status, &body));
        let failure = resolve("n").unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (kind, code), "{status} {body}");
        assert!(failure.message.contains(said) && failure.message.len() < 500, "{failure}");
        for private in ["s3cret", "user@example.com", "stackTrace", "at X"] {
            assert!(!format!("{failure:?}").contains(private), "{failure:?}");
        }
    }
    let _host = Host::new().fail(Failure::unavailable("http.dns", "no address"));
    let failure = resolve("n").unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Unavailable, "azureml.no-service"));
    assert!(failure.message.contains("experimentation") && failure.message.contains("WS1"));
    let _host = Host::new().answer(Response::new(429, [("retry-after", "32")], ""));
    assert_eq!(resolve("n").unwrap_err().retry_after_ms, Some(32_000));
}

#[test]
fn an_answer_that_does_not_fit_is_not_taken_and_not_quoted() {
    for (body, code) in [
        (ITEM.replace("\"n\"", "\"m\""), "azureml.other-secret"),
        (ITEM.replace("\"s3cret\"", "null"), "azureml.no-value"),
        (ITEM.replace("\"s3cret\"", "{\"s3cret\":1}"), "http.json"),
        ("s3cret".into(), "http.json"),
    ] {
        let _host = Host::new().answer(json(200, &body));
        let failure = resolve("n").unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::Protocol, code));
        assert!(!format!("{failure:?}").contains("s3cret"), "{failure:?}");
    }
}

#[test]
fn a_secret_is_set_as_the_sdk_sets_it() {
    let host = Host::new().answer(json(200, ITEM)).answer(json(200, ITEM));
    put("s3cret", &[]).unwrap();
    put("", &[("content-type", "application/x-pem-file")]).unwrap();
    let sent = host.sent();
    assert_eq!(sent[0].line, format!("PUT {BASE}/secrets"));
    assert_eq!(sent[0].body, br#"{"name":"n","value":"s3cret","contentType":"application/NotProvided"}"#);
    let content_type = ("content-type".to_owned(), "application/json-patch+json; charset=utf-8".to_owned());
    assert!(sent[0].headers.contains(&content_type));
    assert_eq!(sent[1].body, br#"{"name":"n","value":"","contentType":"application/x-pem-file"}"#);
}

#[test]
fn what_the_service_cannot_hold_is_not_sent() {
    let host = Host::new();
    for (answer, code) in [
        (put("x".repeat(25_601), &[]), "keyvault.too-large"),
        (put(vec![0xff_u8], &[]), "azureml.binary"),
        (put("s3cret", &[("expires", "1")]), "azureml.attribute"),
        (MlKeyVault::put(&context(), &at("n"), "s3cret".into(), Vec::new(), Some("1")), "azureml.expected"),
    ] {
        let failure = answer.unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::Unsupported, code));
        assert!(!failure.message.contains("s3cret"));
    }
    assert!(host.asked().is_empty());
    let _host = Host::new().answer(json(409, &error("Conflict")));
    let failure = put("s3cret", &[]).unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::Conflict, "Conflict"));
    assert!(failure.message.contains("purged") && !format!("{failure:?}").contains("s3cret"));
    let _host = Host::new().answer(json(403, &error("AuthorizationFailed")));
    assert!(put("s3cret", &[]).unwrap_err().message.contains("metadata/secrets/write"));
}

#[test]
fn a_secret_is_deleted() {
    let host = Host::new().answer(json(200, "")).answer(json(404, &error("SecretNotFound")));
    MlKeyVault::remove(&context(), &at("n")).unwrap();
    assert_eq!(told(MlKeyVault::remove(&context(), &at("n"))), (Kind::NotFound, "SecretNotFound".into()));
    assert_eq!(host.asked()[0], format!("DELETE {BASE}/secrets/n"));
}

#[test]
fn names_come_in_pages() {
    let page = |names: &str, token: &str| json(200, &format!(r#"{{"value":[{names}],"continuationToken":{token}}}"#));
    let host = Host::new()
        .answer(page("", "\"a+b=\""))
        .answer(page(r#"{"name":"app-a"},{"name":"web"},{}"#, "null"))
        .answer(page(r#"{"name":"n"}"#, "\"\""))
        .answer(page("", "\"x\""));
    let scope = Reference::new(["keyvault"]);
    let first = MlKeyVault::names(&context(), &scope, "", None).unwrap();
    assert_eq!((first.entries.len(), first.next.as_deref()), (0, Some("a+b=")));
    let last = MlKeyVault::names(&context(), &scope, "app-", first.next.as_deref()).unwrap();
    assert_eq!((last.entries.len(), last.entries[0].name.as_str(), last.next), (1, "app-a", None));
    let whole = MlKeyVault::names(&context(), &Reference::default(), "", None).unwrap();
    assert_eq!((whole.entries[0].name.as_str(), whole.next), ("keyvault/n", None));
    let endless = MlKeyVault::names(&context(), &scope, "", Some("x"));
    assert_eq!(told(endless), (Kind::Protocol, "azureml.endless".into()));
    assert_eq!(host.asked()[1], format!("GET {BASE}/secrets?continuationToken=a%2Bb%3D"));
}

#[test]
fn a_reference_that_means_nothing_here_is_not_asked() {
    let host = Host::new();
    for (reference, code) in [
        (Reference::new(["connections", "aoai"]), "azureml.other-mount"),
        (Reference::new(["keyvault"]), "azureml.form"),
        (Reference::new(["keyvault", "n", "v"]), "azureml.form"),
        (Reference::new(["keyvault", ".."]), "keyvault.name"),
        (at("n").with_selector("version", "1"), "reference.selector"),
    ] {
        let answer = MlKeyVault::resolve(&context(), &reference);
        assert_eq!(told(answer), (Kind::InvalidReference, code.to_owned()));
    }
    let names = |scope: Reference| told(MlKeyVault::names(&context(), &scope, "", None)).1;
    assert_eq!(names(Reference::new(["connections"])), "azureml.other-mount");
    assert_eq!(names(at("n")), "azureml.scope");
    assert_eq!(names(Reference::new(["keyvault"]).with_selector("state", "deleted")), "azureml.no-soft-delete");
    assert!(host.asked().is_empty());
}

#[test]
fn where_the_service_is_the_workspace_says() {
    let without = |more: &str| {
        Context::new(format!(
            r#"{{"subscription":"0b1f6471-1bf0-4dda-aec3-111122223333","resource_group":"RG","workspace":"WS1","audience":"https://management.azure.com"{more}}}"#
        ))
    };
    let found =
        r#"{"api":"https://centralus.api.azureml.ms","experimentation":"https://centralus.experiments.azureml.net/"}"#;
    let workspace = r#"{"id":"x","properties":{"discoveryUrl":"https://centralus.api.azureml.ms/discovery"}}"#;
    let host = Host::new().answer(json(200, workspace)).answer(json(200, found)).answer(json(200, ITEM));
    assert!(MlKeyVault::resolve(&without(""), &at("n")).is_ok());
    let manager =
        BASE.replace("https://centralus.experiments.azureml.net/credential/v2.0", "https://management.azure.com");
    assert_eq!(
        host.asked(),
        [
            format!("GET {manager}?api-version=2024-04-01"),
            "GET https://centralus.api.azureml.ms/discovery".to_owned(),
            format!("GET {BASE}/secrets/n"),
        ]
    );
    let host = Host::new().answer(json(200, found)).answer(json(200, ITEM));
    let told = r#","discovery":"https://centralus.api.azureml.ms/discovery?x""#;
    assert!(MlKeyVault::resolve(&without(told), &at("n")).is_ok());
    assert_eq!(host.asked().len(), 2);

    for (status, body, kind, said) in [
        (403, error("AuthorizationFailed"), Kind::Denied, "workspaces/read"),
        (401, error("InvalidAuthenticationToken"), Kind::Denied, "`discovery`"),
        (404, error("ResourceNotFound"), Kind::NotFound, "knows no workspace"),
        (200, "{}".to_owned(), Kind::Protocol, ""),
    ] {
        let _host = Host::new().answer(json(status, &body));
        let failure = MlKeyVault::resolve(&without(""), &at("n")).unwrap_err();
        assert!(failure.kind == kind && failure.message.contains(said), "{failure}");
    }
}
