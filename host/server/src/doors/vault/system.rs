//! What clients ask of the server itself: whether it is up, what is mounted, what they may do.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use strongroom::{Failure, Reference};
use strongroom_core::policy::Operation;

use super::answer::{self, Answered, Refused, bad, not_offered, wrong_method};
use super::place::{Found, Mounts, words};
use crate::doors::body;
use crate::gate::Call;
use crate::state::House;

/// The API that is spoken, OpenBao's second, and whose it is: clients compare the numbers.
const VERSION: &str = concat!("2.0.0+strongroom.", env!("CARGO_PKG_VERSION"));

/// The most paths of one request.
const MAX_PATHS: usize = 256;

#[derive(Deserialize)]
struct Paths {
    #[serde(default)]
    paths: Vec<String>,
    path: Option<Box<serde_json::value::RawValue>>,
}

/// Health. The query may choose the status of each state: for load balancers.
pub(super) async fn health(State(house): State<Arc<House>>, RawQuery(query): RawQuery) -> Response {
    let stopping = house.is_draining();
    let query = query.unwrap_or_default();
    let asked = |name: &str| {
        let found = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned())
    };
    let code = |name: &str, usual: u16| match asked(name) {
        None => Ok(usual),
        Some(text) => text.parse::<u16>().ok().filter(|code| (200..600).contains(code)).ok_or(()),
    };
    // A server that stops answers as one that waits for others: its clients go elsewhere.
    let standby_ok = asked("standbyok").is_some_and(|text| text != "false");
    let status = match stopping {
        true if standby_ok => code("activecode", 200),
        true => code("standbycode", 429),
        false => code("activecode", 200),
    };
    let Some(status) = status.ok().and_then(|status| StatusCode::from_u16(status).ok()) else {
        return answer::errors(StatusCode::BAD_REQUEST, &["a status code in the query is no number from 200 to 599"]);
    };
    let document = json!({
        "initialized": true,
        "sealed": false,
        "standby": stopping,
        "performance_standby": false,
        "replication_performance_mode": "disabled",
        "replication_dr_mode": "disabled",
        "server_time_utc": answer::since_epoch().as_secs(),
        "version": VERSION,
        "cluster_name": "strongroom",
        "cluster_id": "",
    });
    answer::json(status, &document)
}

pub(super) async fn seal_status() -> Response {
    let document = json!({
        "type": "shamir",
        "initialized": true,
        "sealed": false,
        "t": 1,
        "n": 1,
        "progress": 0,
        "nonce": "",
        "version": VERSION,
        "build_date": "",
        "migration": false,
        "cluster_name": "strongroom",
        "cluster_id": "",
        "recovery_seal": false,
        "storage_type": "strongroom",
    });
    answer::json(StatusCode::OK, &document)
}

pub(super) async fn leader() -> Response {
    let document = json!({
        "ha_enabled": false,
        "is_self": false,
        "active_time": answer::time(None),
        "leader_address": "",
        "leader_cluster_address": "",
        "performance_standby": false,
        "performance_standby_last_remote_wal": 0,
    });
    answer::json(StatusCode::OK, &document)
}

pub(super) async fn initialized() -> Response {
    answer::json(StatusCode::OK, &json!({ "initialized": true }))
}

/// What is below `sys/` and needs a token.
pub(super) async fn handle(
    call: &Call,
    mounts: &Mounts,
    method: &Method,
    words: &[&str],
    headers: &http::HeaderMap,
    body: axum::body::Body,
) -> Answered {
    let read = matches!(*method, Method::GET | Method::HEAD);
    match words {
        ["internal", "ui", "mounts"] if read => {
            let mut secret = all(call, mounts);
            // As Vault, which tells less there.
            secret.values_mut().filter_map(Value::as_object_mut).for_each(|mount| drop(mount.remove("accessor")));
            Ok(answer::data(call, StatusCode::OK, json!({ "auth": {}, "secret": secret }), &[]))
        }
        ["internal", "ui", "mounts", path @ ..] if read => {
            let path: Vec<String> = path.iter().map(|word| (*word).to_owned()).collect();
            let found = mounts.find(&path).filter(|found| call.touches(found.scope));
            match found {
                Some(Found { mount, .. }) => {
                    let mut shown = mounted(mount);
                    shown.insert("path".to_owned(), format!("{mount}/").into());
                    Ok(answer::data(call, StatusCode::OK, shown, &[]))
                }
                None => {
                    let message =
                        "preflight capability check returned 403, please ensure client's policies grant access to path";
                    Err(Refused::Said(StatusCode::FORBIDDEN, format!("{message} \"{}/\"", path.join("/"))))
                }
            }
        }
        ["mounts"] if read => {
            let all = all(call, mounts);
            Ok(answer::data(call, StatusCode::OK, all, &[]))
        }
        ["capabilities-self"] if matches!(*method, Method::POST | Method::PUT) => {
            let Paths { mut paths, path } = body::parse(&body::read(headers, body).await?)?;
            match path.map(|path| serde_json::from_str::<Value>(path.get())) {
                Some(Ok(Value::String(path))) => paths.push(path),
                Some(Ok(Value::Array(more))) => paths.extend(more.iter().filter_map(Value::as_str).map(str::to_owned)),
                _ => {}
            }
            if paths.is_empty() || paths.len() > MAX_PATHS {
                return Err(bad(format!("`paths` must hold 1 to {MAX_PATHS} paths")));
            }
            let mut shown = Map::new();
            for path in &paths {
                shown.insert(path.clone(), json!(capabilities(call, mounts, path)));
            }
            if let [path] = paths.as_slice() {
                shown.insert("capabilities".to_owned(), json!(capabilities(call, mounts, path)));
            }
            Ok(answer::data(call, StatusCode::OK, shown, &[]))
        }
        ["wrapping", ..] => Err(not_offered("response wrapping")),
        ["health" | "seal-status" | "leader" | "init" | "mounts" | "capabilities-self"]
        | ["internal", "ui", "mounts", ..] => Err(wrong_method()),
        _ => Err(not_offered("this part of `sys/`")),
    }
}

/// The mounts in which the caller may have anything.
fn all(call: &Call, mounts: &Mounts) -> Map<String, Value> {
    let known = mounts.iter().filter(|(_, scope)| call.touches(scope));
    known.map(|(mount, _)| (format!("{mount}/"), Value::Object(mounted(mount)))).collect()
}

/// A mount as Vault describes one.
fn mounted(mount: &str) -> Map<String, Value> {
    let description = json!({
        "accessor": format!("kv_{}", mount.replace('/', "_")),
        "config": { "default_lease_ttl": 0, "force_no_cache": false, "max_lease_ttl": 0 },
        "description": "Strongroom",
        "external_entropy_access": false,
        "local": false,
        "options": { "version": "2" },
        "seal_wrap": false,
        "type": "kv",
        "uuid": "",
    });
    match description {
        Value::Object(description) => description,
        _ => Map::new(),
    }
}

/// What the policy lets the caller do at a path, in Vault's words.
fn capabilities(call: &Call, mounts: &Mounts, path: &str) -> Vec<&'static str> {
    let found = words(path.trim_start_matches('/')).ok();
    let words = found.unwrap_or_default();
    let Some(Found { scope, rest, .. }) = mounts.find(&words) else { return vec!["deny"] };
    let Some((kind, names)) = rest.split_first() else { return vec!["deny"] };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let whole: Result<Reference, Failure> = call.far_below(scope, &names, false);
    let may = |operation| whole.as_ref().is_ok_and(|reference| call.may(reference, operation));
    let lists = || call.far_below(scope, &names, true).is_ok_and(|scope| call.may(&scope, Operation::List));
    let all: &[(&'static str, bool)] = match kind.as_str() {
        "data" => &[
            ("create", may(Operation::Set)),
            ("delete", may(Operation::Delete)),
            ("patch", may(Operation::Set) && may(Operation::Resolve)),
            ("read", may(Operation::Resolve)),
            ("update", may(Operation::Set)),
        ],
        "metadata" => &[
            ("create", may(Operation::Set)),
            ("delete", may(Operation::Delete) && may(Operation::Purge)),
            ("list", lists()),
            ("patch", may(Operation::Set)),
            ("read", may(Operation::Metadata)),
            ("update", may(Operation::Set)),
        ],
        "delete" => &[("update", may(Operation::Delete))],
        "undelete" => &[("update", may(Operation::Recover))],
        "destroy" => &[("update", may(Operation::Purge))],
        _ => &[],
    };
    let granted: Vec<_> = all.iter().filter(|(_, granted)| *granted).map(|(word, _)| *word).collect();
    if granted.is_empty() { vec!["deny"] } else { granted }
}
