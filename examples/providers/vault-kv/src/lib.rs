//! KV version 2 of HashiCorp Vault and OpenBao.
//!
//! `vault://{engine}/{path...}` is the whole secret, as the JSON object it is; `#field` picks one of
//! its fields, in the host; `?version=N` asks for an older one. The mount's config says where the
//! server is and, if it has namespaces, which one.
//!
//! There is no token here: the host adds `X-Vault-Token` to the requests that `plugin.toml` allows.
//! This plugin must never put a piece of an answer's `data` in a failure.

#![forbid(unsafe_code)]

use serde::Deserialize;
use serde_json::value::RawValue;
use strongroom_plugin::http::{self, Response};
use strongroom_plugin::{Context, Failure, Provider, Reference, Secret};

/// The plugin. It has no state: every call is a new instance.
#[derive(Debug)]
pub struct VaultKv;

strongroom_plugin::provider!(VaultKv);

/// The mount's config.
#[derive(Deserialize)]
struct Config {
    address: String,
    namespace: Option<String>,
}

impl Provider for VaultKv {
    fn resolve(context: &Context, reference: &Reference) -> Result<Secret, Failure> {
        let config: Config = context.config()?;
        reference.only_selectors(&["version"])?;
        let [engine, path @ ..] = reference.path.as_slice() else {
            return Err(Failure::invalid_reference("vault.path", "a reference is `vault://engine/path`"));
        };
        let response = http::get(&config.address)
            .path(["v1", engine, "data"])
            .path(path)
            .query("version", reference.selector("version"))
            .header("x-vault-namespace", config.namespace.as_deref())
            .header("x-vault-request", "true")
            .send()?;
        secret(&response, &reference.path.join("/"))
    }
}

/// The answer of `GET /v1/{engine}/data/{path}`, which a version that was deleted has too, with 404.
#[derive(Deserialize)]
struct Answer {
    data: Version,
}

#[derive(Deserialize)]
struct Version {
    /// As it is written, so that `1.10` stays `1.10`.
    data: Option<Box<RawValue>>,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
    created_time: String,
    deletion_time: String,
    destroyed: bool,
}

/// What the server's answer for `name` means.
fn secret(response: &Response, name: &str) -> Result<Secret, Failure> {
    let answer = match (response.status(), response.json()) {
        (200, answer) => answer?,
        (404, Ok(answer)) => answer,
        (404, Err(_)) => return Err(missing(name)),
        _ => return Err(response.failure()),
    };
    let Answer { data: Version { data, metadata } } = answer;
    match data {
        Some(data) => Ok(Secret::text(Box::<str>::from(data))
            .version(metadata.version.to_string())
            .content_type("application/json")
            .attribute("created_time", metadata.created_time)),
        None => Err(gone(name, &metadata)),
    }
}

fn missing(name: &str) -> Failure {
    let help = "no such secret, version, engine or namespace; or the engine is not of KV version 2";
    Failure::not_found("vault.not-found", format!("`{name}` is not there: {help}"))
}

fn gone(name: &str, Metadata { version, deletion_time, destroyed, .. }: &Metadata) -> Failure {
    if *destroyed {
        let message = format!("version {version} of `{name}` was destroyed; its data is gone for good");
        return Failure::not_found("vault.destroyed", message);
    }
    let message =
        format!("version {version} of `{name}` was deleted at {deletion_time}; `bao kv undelete` brings it back");
    Failure::not_found("vault.deleted", message)
}

#[cfg(test)]
mod tests;
