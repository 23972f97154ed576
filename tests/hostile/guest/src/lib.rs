//! A provider that does whatever its reference says: `hostile://NAME?do=HEX`, where HEX is the JSON of
//! a list of steps. Its answer is the JSON of what each step came to, so that a test sees what a
//! hostile plugin would have seen; with `then=fail` it gives up at the first step that did not work.
//!
//! It uses the raw bindings where the SDK would not let it misbehave.

mod http;

use serde_json::{Value as Json, json};
use strongroom_plugin::bindings::strongroom::plugin::{env, log, store};
use strongroom_plugin::bindings::wasi::clocks::{monotonic_clock, wall_clock};
use strongroom_plugin::bindings::wasi::random::random;
use strongroom_plugin::{
    Attributes, Catalog, Context, Entry, Failure, Kind, Page, Provider, Receipt, Reference, Secret, Value, Writer,
};

struct Hostile;

strongroom_plugin::provider!(Hostile: catalog, writer);

impl Provider for Hostile {
    fn resolve(context: &Context, reference: &Reference) -> Result<Secret, Failure> {
        run(context, reference).map(Secret::text)
    }

    fn resolve_all(context: &Context, references: &[Reference]) -> Vec<Result<Secret, Failure>> {
        let mut answers: Vec<_> = references.iter().map(|reference| Self::resolve(context, reference)).collect();
        match references.first().and_then(|reference| reference.selector("answers")) {
            Some("swapped") => answers.reverse(),
            Some("missing") => drop(answers.pop()),
            Some("none") => answers.clear(),
            Some("surplus") => answers.push(Ok(Secret::text("surplus"))),
            _ => {}
        }
        answers
    }
}

impl Catalog for Hostile {
    fn names(context: &Context, scope: &Reference, _: &str, cursor: Option<&str>) -> Result<Page, Failure> {
        if let Some(size) = scope.selector("pages").and_then(|size| size.parse().ok()) {
            // There is always another one.
            let page = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0_u64);
            let entry = Entry { name: "n".repeat(size), attributes: Vec::new() };
            return Ok(Page { entries: vec![entry], next: Some((page + 1).to_string()) });
        }
        let name = run(context, scope)?;
        Ok(Page { entries: vec![Entry { name, attributes: Vec::new() }], next: None })
    }
}

impl Writer for Hostile {
    fn put(
        context: &Context,
        reference: &Reference,
        value: Value,
        _: Attributes,
        _: Option<&str>,
    ) -> Result<Receipt, Failure> {
        let Value::Text(text) = value else { return Err(failure("put.binary", "")) };
        let done = run_with(context, reference, text)?;
        Ok(Receipt { version: Some(done), attributes: Vec::new() })
    }

    fn remove(context: &Context, reference: &Reference) -> Result<Receipt, Failure> {
        run(context, reference).map(|done| Receipt { version: Some(done), attributes: Vec::new() })
    }
}

fn failure(code: &str, message: impl Into<String>) -> Failure {
    Failure::new(Kind::Internal, code, message)
}

fn run(context: &Context, reference: &Reference) -> Result<String, Failure> {
    run_with(context, reference, String::new())
}

/// `learned` is what the plugin knows that it should not tell: at first the value to be set.
fn run_with(context: &Context, reference: &Reference, mut learned: String) -> Result<String, Failure> {
    let steps: Vec<Json> = match reference.selector("do") {
        Some(hex) => serde_json::from_slice(&unhex(hex)).map_err(|_| failure("script", "no such script"))?,
        None => Vec::new(),
    };
    let fails = reference.selector("then") == Some("fail");
    let mut done = Vec::new();
    for step in &steps {
        let came = one(context, step, &mut learned)?;
        if let (true, Some(error)) = (fails, came["error"].as_str()) {
            return Err(failure(error, "it did not work"));
        }
        done.push(came);
    }
    Ok(Json::from(done).to_string())
}

fn one(context: &Context, step: &Json, learned: &mut String) -> Result<Json, Failure> {
    let Some((verb, argument)) = step.as_object().and_then(|step| step.iter().next()) else {
        return Err(failure("script", "a step has one verb"));
    };
    let text = argument.as_str().unwrap_or_default();
    Ok(match verb.as_str() {
        "http" => {
            let mut wanted = argument.clone();
            for part in ["authority", "target"] {
                if let Some(text) = wanted[part].as_str() {
                    wanted[part] = said(&Json::from(text), learned).into();
                }
            }
            let came = http::exchange(&wanted);
            if let Some(body) = came["body"].as_str() {
                *learned = body.to_owned();
            }
            came
        }
        "env" => match env::get(text) {
            Some(value) => {
                *learned = value.clone();
                json!({ "value": value })
            }
            None => json!({ "error": "absent" }),
        },
        "names" => json!({ "names": env::names() }),
        "store" => stored(argument, learned),
        "context" => json!({ "config": context.config, "attributes": context.attributes }),
        "log" => {
            let message = said(&argument["message"], learned);
            let fields: Vec<(String, String)> = argument["fields"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|f| ("field".into(), said(f, learned)))
                .collect();
            for _ in 0..argument["times"].as_u64().unwrap_or(1) {
                log::log(log::Level::Error, &message, &fields);
            }
            json!({})
        }
        "fail" => {
            let message = said(&argument["message"], learned);
            let mut failed = failure(&said(&argument["code"], learned), message);
            failed.attributes.push(("told".into(), said(&argument["attribute"], learned)));
            return Err(failed);
        }
        "clock" => clocks(),
        "random" => json!({ "bytes": random::get_random_bytes(argument.as_u64().unwrap_or(8)).len() }),
        "count" => json!({ "count": count() }),
        "scan" => json!({ "found": scan(text.as_bytes()) }),
        "plant" => {
            core::mem::forget(vec![text.to_owned(); 64]);
            json!({})
        }
        "spin" => loop {
            core::hint::black_box(());
        },
        "recurse" => json!({ "depth": recurse(1) }),
        "grow" => {
            let mut held: Vec<Vec<u8>> = Vec::new();
            loop {
                let mut block: Vec<u8> = Vec::new();
                if block.try_reserve_exact(1 << 20).is_err() {
                    break;
                }
                block.resize(1 << 20, 1);
                held.push(block);
            }
            // Whoever is refused memory and goes on is still bounded; whoever insists is ended.
            if text == "insist" {
                core::arch::wasm32::unreachable();
            }
            json!({ "mebibytes": held.len() })
        }
        "trap" => core::arch::wasm32::unreachable(),
        "panic" => panic!("{learned}"),
        "wait" => {
            monotonic_clock::subscribe_duration(argument.as_u64().unwrap_or(0) * 1_000_000).block();
            json!({})
        }
        "handles" => {
            let timers: Vec<_> = (0..argument.as_u64().unwrap_or(0)).map(monotonic_clock::subscribe_duration).collect();
            json!({ "handles": timers.len() })
        }
        "answer" => json!({ "answer": "x".repeat(usize::try_from(argument.as_u64().unwrap_or(0)).unwrap_or(0)) }),
        _ => return Err(failure("script", "no such verb")),
    })
}

fn stored(argument: &Json, learned: &mut String) -> Json {
    let key = argument["key"].as_str().unwrap_or_default();
    let value = said(&argument["value"], learned).into_bytes();
    let came = match argument["op"].as_str() {
        Some("get") => store::get(key).map(|value| {
            let value = value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            if let Some(value) = &value {
                learned.clone_from(value);
            }
            json!({ "value": value })
        }),
        Some("set") => store::set(key, &value).map(|()| json!({})),
        Some("delete") => store::delete(key).map(|was| json!({ "was": was })),
        Some("swap") => store::swap(key, None, Some(&value)).map(|did| json!({ "did": did })),
        _ => store::keys(key, argument["cursor"].as_str()).map(|(keys, next)| json!({ "keys": keys, "next": next })),
    };
    came.unwrap_or_else(|failure| json!({ "error": failure.code }))
}

/// A text in which `$plain`, `$base64` and so on stand for what was learned, in that form.
fn said(text: &Json, learned: &str) -> String {
    let bytes = learned.as_bytes();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let percent: String =
        bytes.iter().map(|b| if plain(*b) { char::from(*b).to_string() } else { format!("%{b:02X}") }).collect();
    text.as_str()
        .unwrap_or_default()
        .replace("$plain", learned)
        .replace("$base64", &base64(bytes))
        .replace("$shifted", &base64(&[b"x", bytes].concat()))
        .replace("$hex", &hex)
        .replace("$percent", &percent)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().chain([0, 0].iter()).take(3).fold(0_u32, |n, b| n << 8 | u32::from(*b));
        for place in 0..=chunk.len() {
            text.push(char::from(DIGITS[(number >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).unwrap_or(0) as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(*pair.last().unwrap_or(&b'0'))).collect()
}

/// The finest steps that the clocks show in 20 ms of reading them.
fn clocks() -> Json {
    let begun = monotonic_clock::now();
    let (mut last, mut finest, mut remainder, mut readings) = (begun, u64::MAX, 0_u32, 0_u32);
    while last - begun < 20_000_000 {
        let now = monotonic_clock::now();
        if now > last {
            finest = finest.min(now - last);
        }
        last = now;
        remainder = remainder.max(wall_clock::now().nanoseconds % 1_000_000);
        readings += 1;
    }
    json!({ "finest": finest, "remainder": remainder, "readings": readings, "begun": begun })
}

/// What an earlier call in this instance would have counted up.
fn count() -> u32 {
    use core::sync::atomic::{AtomicU32, Ordering};
    static CALLS: AtomicU32 = AtomicU32::new(0);
    CALLS.fetch_add(1, Ordering::Relaxed) + 1
}

/// Whether the whole linear memory holds `text` more often than the script and its copies explain.
fn scan(hex: &[u8]) -> usize {
    let wanted = unhex(core::str::from_utf8(hex).unwrap_or_default());
    let mut found = 0;
    let end = core::arch::wasm32::memory_size(0) * 65536;
    let mut at = 1024;
    while at + wanted.len() <= end {
        // SAFETY: below the end of the memory, which only grows.
        let here = |offset: usize| unsafe { core::ptr::read_volatile((at + offset) as *const u8) };
        if (0..wanted.len()).all(|offset| here(offset) == wanted[offset]) {
            found += 1;
        }
        at += 1;
    }
    // `wanted` itself is one of them.
    found - 1
}

#[inline(never)]
#[allow(unconditional_recursion, reason = "that is the attack")]
fn recurse(depth: u64) -> u64 {
    let block = core::hint::black_box([depth; 16]);
    recurse(block[3] + 1) + block[7]
}
