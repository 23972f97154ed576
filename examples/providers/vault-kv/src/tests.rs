//! What OpenBao 2.7.2 answered, byte for byte, and what it means here (`tests/servers/openbao`
//! starts that server).

use strongroom_plugin::Kind;

use super::*;

const CURRENT: &str = r#"{"request_id":"5e560fd8-d23d-732b-092c-167efc3cb937","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":{"password":"second-password","port":5432,"user":"app"},"metadata":{"created_time":"2026-11-22T02:13:58.50041066Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":2}},"wrap_info":null,"warnings":null,"auth":null}
"#;
const DELETED: &str = r#"{"request_id":"676b9cf9-5b0e-e5e7-dd09-b33cce133739","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":null,"metadata":{"created_time":"2026-11-22T02:13:58.770552444Z","custom_metadata":null,"deletion_time":"2026-11-22T02:13:58.796238179Z","destroyed":false,"version":1}},"wrap_info":null,"warnings":null,"auth":null}"#;
const DESTROYED: &str = r#"{"request_id":"e9a45123-5e26-b78a-9778-72322ec9c596","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":null,"metadata":{"created_time":"2026-11-22T02:13:58.472924104Z","custom_metadata":null,"deletion_time":"","destroyed":true,"version":1}},"wrap_info":null,"warnings":null,"auth":null}"#;

fn answer(status: u16, body: &str) -> Result<Secret, Failure> {
    secret(&Response::new(status, [("content-type", "application/json")], body), "secret/app/db")
}

/// Kind, code and message.
fn failure(status: u16, body: &str) -> (Kind, String, String) {
    let failure = answer(status, body).unwrap_err();
    (failure.kind, failure.code, failure.message)
}

#[test]
fn a_secret_is_its_object_as_written() {
    let secret = answer(200, CURRENT).unwrap();
    let text = secret.value.as_text().unwrap();
    assert_eq!(text, r#"{"password":"second-password","port":5432,"user":"app"}"#);
    assert_eq!(secret.version.as_deref(), Some("2"));
    assert_eq!(secret.attributes, [("created_time".to_owned(), "2026-11-22T02:13:58.50041066Z".to_owned())]);

    let exact = CURRENT.replace("5432", "12345678901234567890123.10");
    assert!(answer(200, &exact).unwrap().value.as_text().unwrap().contains("12345678901234567890123.10"));
}

#[test]
fn what_was_deleted_says_so() {
    let (kind, code, message) = failure(404, DELETED);
    assert_eq!((kind, code.as_str()), (Kind::NotFound, "vault.deleted"));
    assert!(message.starts_with("version 1 of `secret/app/db` was deleted at 2026-11-22T02:13:58.796238179Z"));
    let (kind, code, _) = failure(404, DESTROYED);
    assert_eq!((kind, code.as_str()), (Kind::NotFound, "vault.destroyed"));
}

#[test]
fn what_is_not_there_is_not_found() {
    for body in [
        // A secret, and a version, that there never was; also a read of an engine of version 1.
        "{\"errors\":[]}\n",
        "{\"errors\":[\"no handler for route \\\"nope/data/missing\\\". route entry not found.\"]}\n",
        "{\"errors\":[\"namespace not found\"]}\n",
    ] {
        let (kind, code, message) = failure(404, body);
        assert_eq!((kind, code.as_str()), (Kind::NotFound, "vault.not-found"), "{body}");
        assert!(message.contains("`secret/app/db`"));
    }
}

#[test]
fn other_answers_are_failures_of_their_kind() {
    // A wrong token and none; one without the right; a sealed server; a version that is no number.
    assert_eq!(failure(403, "{\"errors\":[\"permission denied\"]}\n").0, Kind::Denied);
    assert_eq!(failure(403, "{\"errors\":[\"1 error occurred:\\n\\t* permission denied\\n\\n\"]}\n").0, Kind::Denied);
    assert_eq!(failure(503, "{\"errors\":[\"Vault is sealed\"]}\n").0, Kind::Unavailable);
    let version = r#"{"errors":["Field validation failed: error converting input for field \"version\": '' cannot parse value as 'int': strconv.ParseInt: invalid syntax"]}"#;
    assert_eq!(failure(400, version).0, Kind::Protocol);
    assert_eq!(failure(429, "").0, Kind::Throttled);
}

#[test]
fn an_answer_of_another_form_is_not_quoted() {
    for body in
        [CURRENT.replace(r#""version":2"#, r#""version":"second-password""#), CURRENT.replace(r#""user":"app"}"#, "")]
    {
        let (kind, code, message) = failure(200, &body);
        assert_eq!((kind, code.as_str()), (Kind::Protocol, "http.json"));
        assert!(!message.contains("second-password"));
    }
}

#[test]
fn what_cannot_be_asked_is_not_asked() {
    let context = Context::new(r#"{"address":"https://vault.example.com:8200"}"#);
    let asked = |reference| VaultKv::resolve(&context, &reference).unwrap_err();
    assert_eq!(asked(Reference::new([] as [&str; 0])).code, "vault.path");
    assert_eq!(asked(Reference::new(["secret", "db"]).with_selector("verson", "2")).code, "reference.selector");
    assert_eq!(asked(Reference::new(["secret", ".."])).code, "http.path");
    let nowhere = VaultKv::resolve(&Context::new("{}"), &Reference::new(["secret", "db"])).unwrap_err();
    assert_eq!(nowhere.message, "the mount's config does not fit: missing field `address`");
    assert_eq!(nowhere.kind, Kind::InvalidConfig);
}
