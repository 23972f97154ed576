//! Against answers as they are recorded of the real service.

mod change;
mod deletion;
mod list;
mod place;
mod read;
mod refusal;

use strongroom_plugin::http::Response;
use strongroom_plugin::{Context, Failure, Kind, Provider, Reference, Secret};

use super::KeyVault;

const BUNDLE: &str = r#"{"value":"mysecretvalue","id":"https://myvault.vault.azure.net/secrets/crpsecret/03bcccc7c8cf4546a0e3e21e52560441","contentType":"text/plain","tags":{"env":"dev"},"attributes":{"enabled":true,"nbf":1493938459,"exp":1893456000,"created":1493938459,"updated":1493938459,"recoveryLevel":"Recoverable+Purgeable","recoverableDays":90}}"#;
const DELETED: &str = r#"{"recoveryId":"https://myvault.vault.azure.net/deletedsecrets/crpsecret","deletedDate":1493938433,"scheduledPurgeDate":1501714433,"id":"https://myvault.vault.azure.net/secrets/crpsecret/03bcccc7c8cf4546a0e3e21e52560441","attributes":{"enabled":true,"created":1493938433,"updated":1493938433,"recoveryLevel":"Recoverable+Purgeable","recoverableDays":90}}"#;
const NOT_FOUND: &str = r#"{"error":{"code":"SecretNotFound","message":"A secret with (name/id) crpsecret was not found in this key vault. If you recently deleted this secret you may be able to recover it using the correct recovery command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182"}}"#;
const NOT_DELETED: &str = r#"{"error":{"code":"SecretNotFound","message":"Deleted Secret not found: crpsecret"}}"#;
const DISABLED: &str = r#"{"error":{"code":"Forbidden","message":"Operation get is not allowed on a disabled secret.","innererror":{"code":"SecretDisabled"}}}"#;
const VERSION: &str = "03bcccc7c8cf4546a0e3e21e52560441";
/// Within the bundle's validity.
const NOW: u64 = 1_800_000_000;

fn at(host: &str, path: &[&str]) -> Reference {
    let mut reference = Reference::new(path.iter().copied());
    reference.authority = Some(host.to_owned());
    reference
}

fn secret() -> Reference {
    at("myvault.vault.azure.net", &["secrets", "crpsecret"])
}

fn json(status: u16, body: &str) -> Response {
    Response::new(status, [("content-type", "application/json; charset=utf-8")], body)
}

fn context() -> Context {
    Context::new("{}")
}

fn resolve(reference: &Reference) -> Result<Secret, Failure> {
    KeyVault::resolve(&context(), reference)
}

/// Kind and code.
fn told<T>(answer: Result<T, Failure>) -> (Kind, String) {
    match answer {
        Ok(_) => panic!("it was to fail"),
        Err(failure) => (failure.kind, failure.code),
    }
}
