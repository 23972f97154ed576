//! Control: seeds, faults, settings, the clock, device codes and the record of requests. It must never be
//! reachable by another machine, and never shows a value.

use axum::http::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::defaults;
use crate::http::{Answer, Call};
use crate::world::World;

/// Answers below `/control`.
pub fn answer(world: &mut World, call: &Call) -> Answer {
    respond(world, call).unwrap_or_else(|why| Answer::error(400, "BadControl", &why))
}

fn body<T: DeserializeOwned>(call: &Call) -> Result<T, String> {
    let text: &[u8] = if call.body.is_empty() { b"{}" } else { &call.body };
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

fn shown<T: serde::Serialize>(value: &T) -> Result<Answer, String> {
    Ok(Answer::json(200, &serde_json::to_value(value).map_err(|error| error.to_string())?))
}

/// Members of a document replace those of what is set; the rest stays.
fn merged<T: serde::Serialize + DeserializeOwned>(old: &T, call: &Call) -> Result<T, String> {
    let mut all = serde_json::to_value(old).map_err(|error| error.to_string())?;
    let change: serde_json::Map<String, Value> = body(call)?;
    if let Some(members) = all.as_object_mut() {
        members.extend(change);
    }
    serde_json::from_value(all).map_err(|error| error.to_string())
}

fn respond(world: &mut World, call: &Call) -> Result<Answer, String> {
    let done = || Ok(Answer::json(200, &json!({})));
    let route = call.route();
    let rest = route.get(1..).unwrap_or_default();
    match (call.method.as_str(), rest) {
        ("GET", []) => Ok(state(world)),
        ("POST", ["seed"]) => {
            world.seed(body(call)?)?;
            done()
        }
        ("POST", ["remove"]) => {
            world.remove(&body(call)?);
            done()
        }
        ("POST", ["reset"]) => {
            defaults::reset(world)?;
            done()
        }
        ("GET", ["faults"]) => shown(&world.faults.list()),
        ("POST", ["faults"]) => {
            let faults: Value = body(call)?;
            let list = if faults.is_array() { faults } else { json!([faults]) };
            let faults: Vec<crate::faults::Fault> = serde_json::from_value(list).map_err(|error| error.to_string())?;
            let ids: Vec<u64> = faults.into_iter().map(|fault| world.faults.add(fault)).collect();
            shown(&json!({"ids": ids}))
        }
        ("DELETE", ["faults"]) => {
            world.faults.remove(None);
            done()
        }
        ("DELETE", ["faults", id]) => {
            world.faults.remove(Some(id.parse().map_err(|_| format!("{id} is no fault's id"))?));
            done()
        }
        ("GET", ["requests"]) => {
            let is = |name: &str, value: &str| call.parameter(name).is_none_or(|wanted| wanted == value);
            let after: u64 = call.parameter("after").and_then(|after| after.parse().ok()).unwrap_or_default();
            let fits = |entry: &&crate::record::Entry| {
                entry.number > after
                    && is("service", &entry.service)
                    && is("method", &entry.method)
                    && is("host", &entry.host)
            };
            shown(&world.record.entries().filter(fits).collect::<Vec<_>>())
        }
        ("DELETE", ["requests"]) => {
            world.record.clear();
            done()
        }
        ("GET", ["counters"]) => shown(&world.record.counters()),
        ("GET", ["settings"]) => shown(&world.settings),
        ("PATCH", ["settings"]) => {
            world.settings = merged(&world.settings, call)?;
            shown(&world.settings)
        }
        ("GET", ["machine"]) => shown(&world.machine.settings),
        ("PATCH", ["machine"]) => {
            world.machine.settings = merged(&world.machine.settings, call)?;
            shown(&world.machine.settings)
        }
        ("GET", ["clock"]) => shown(&json!({"now": world.clock.now()})),
        ("POST", ["clock"]) => {
            let change: Value = body(call)?;
            world
                .clock
                .advance(change.get("advance_seconds").and_then(Value::as_i64).ok_or("advance_seconds is missing")?);
            shown(&json!({"now": world.clock.now()}))
        }
        ("POST", ["tokens", "revoke"]) => {
            // Tokens say when they were issued to the second; one of this second may be from before.
            world.revoked_before = world.clock.now().saturating_add(1);
            world.clock.advance(1);
            done()
        }
        ("POST", ["person-token"]) => {
            let body: Value = body(call)?;
            let resource = body.get("resource").and_then(Value::as_str).ok_or("resource is missing")?;
            let (token, expires) = crate::identity::person_token(world, resource).ok_or("no such resource")?;
            shown(&json!({"access_token": token, "expires_on": expires}))
        }
        ("POST", ["refresh-tokens", "revoke"]) => {
            world.sign_ins.revoke();
            done()
        }
        ("GET", ["claims"]) => shown(&world.demands),
        ("POST", ["claims"]) => {
            world.demands.push(body(call)?);
            done()
        }
        ("DELETE", ["claims"]) => {
            world.demands.clear();
            done()
        }
        ("GET", ["device-codes"]) => shown(&world.sign_ins.devices.values().collect::<Vec<_>>()),
        ("POST", ["device-codes", code, verdict]) => device(world, call, code, verdict),
        ("POST", ["assertion"]) => assertion(world, call),
        ("POST", ["run-token"]) => run_token(world, call),
        (method, _) if method == Method::OPTIONS.as_str() => done(),
        _ => Ok(Answer::error(404, "NotFound", "There is no such control.")),
    }
}

fn device(world: &mut World, call: &Call, code: &str, verdict: &str) -> Result<Answer, String> {
    let body: Value = body(call)?;
    let person = match body.get("user").and_then(Value::as_str) {
        Some(name) => {
            Some(world.directory.user(name).ok_or_else(|| format!("there is no user {name}"))?.object_id.clone())
        }
        None => None,
    };
    let device = world.sign_ins.devices.values_mut().find(|device| device.user_code == code);
    let device = device.ok_or_else(|| format!("there is no device code {code}"))?;
    device.decide(verdict, person, body.get("times").and_then(Value::as_u64))?;
    shown(device)
}

/// An assertion of any issuer that Entra can verify: for tests of what it refuses.
fn assertion(world: &World, call: &Call) -> Result<Answer, String> {
    let body: Value = body(call)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).ok_or_else(|| format!("{name} is missing"));
    let lasts = body.get("lifetime").and_then(Value::as_i64).unwrap_or(600);
    let jwt = crate::identity::assertion(world, text("issuer")?, text("subject")?, text("audience")?, lasts);
    shown(&json!({"assertion": jwt}))
}

/// A token of the run `run`, which lasts `lifetime` seconds: for tests of what renews it.
fn run_token(world: &World, call: &Call) -> Result<Answer, String> {
    let body: Value = body(call)?;
    let run = world.runs.iter().find(|run| body.get("run").and_then(Value::as_str) == Some(&run.id));
    let lasts = body.get("lifetime").and_then(Value::as_i64).unwrap_or(600);
    shown(&json!({"token": crate::ml::run_token(world, run.ok_or("there is no such run")?, lasts)}))
}

/// Names only.
fn state(world: &World) -> Answer {
    let directory = &world.directory;
    let apps: Vec<_> = directory.apps.iter().map(|app| &app.client_id).collect();
    let users: Vec<_> = directory.users.iter().map(|user| &user.name).collect();
    Answer::json(
        200,
        &json!({
            "tenants": directory.tenants, "apps": apps, "users": users, "identities": directory.identities,
            "assignments": directory.assignments, "vaults": world.vaults.keys().collect::<Vec<_>>(),
            "workspaces": world.workspaces.iter().map(crate::arm::Workspace::id).collect::<Vec<_>>(),
            "runs": world.runs, "faults": world.faults.list(), "settings": world.settings,
        }),
    )
}
