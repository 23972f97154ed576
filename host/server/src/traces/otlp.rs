//! Spans as a collector reads them: the JSON form of OTLP 1.0's `ExportTraceServiceRequest`
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>).
//!
//! Names of fields are those of the protocol's messages in lower camel case, ids are hexadecimal, 64-bit
//! numbers are text, and enumerations are numbers.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::recording::{Finished, Role, Span, Value};
use crate::doors::hex;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource {
    attributes: [KeyValue<'static>; 3],
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<Told<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    name: &'static str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<KeyValue<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Serialize)]
struct Status {
    code: u8,
}

/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

#[derive(Serialize)]
struct KeyValue<'a> {
    key: &'static str,
    value: AnyValue<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum AnyValue<'a> {
    StringValue(&'a str),
    IntValue(String),
}

/// The request that hands these in.
pub(super) fn request(batch: &[Finished]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let attribute = |key, text| KeyValue { key, value: AnyValue::StringValue(text) };
    let attributes = [
        attribute("service.name", "strongroom"),
        attribute("service.version", version),
        attribute("service.instance.id", instance()),
    ];
    let spans = batch.iter().flat_map(told).collect();
    let scope = Scope { name: "strongroom", version };
    let scope_spans = [ScopeSpans { scope, spans }];
    let request = Request { resource_spans: [ResourceSpans { resource: Resource { attributes }, scope_spans }] };
    // It writes into memory, and no key is anything but text.
    serde_json::to_vec(&request).unwrap_or_default()
}

/// What tells this process from others of its kind.
fn instance() -> &'static str {
    static INSTANCE: OnceLock<String> = OnceLock::new();
    INSTANCE.get_or_init(|| {
        let mut id = [0; 16];
        // Without randomness instances are told apart by nothing.
        let _ = getrandom::fill(&mut id);
        hex(&id)
    })
}

fn told(finished: &Finished) -> impl Iterator<Item = Told<'_>> {
    let own = id(finished.first_id, 0);
    finished.spans.iter().zip(0..).map(move |(span, index)| {
        let Span { name, role, began, took, failed, attributes } = span;
        let start = since_epoch(finished, *began);
        Told {
            trace_id: hex(&finished.trace),
            span_id: id(finished.first_id, index),
            parent_span_id: match index {
                0 => finished.parent.map(|parent| format!("{:016x}", u64::from_be_bytes(parent))),
                _ => Some(own.clone()),
            },
            name,
            kind: match role {
                Role::Internal => 1,
                Role::Server => 2,
                Role::Client => 3,
            },
            start_time_unix_nano: start.as_nanos().to_string(),
            end_time_unix_nano: start.saturating_add(*took).as_nanos().to_string(),
            attributes: attributes.iter().map(|(key, value)| KeyValue { key, value: any(value) }).collect(),
            status: failed.then_some(Status { code: ERROR }),
        }
    })
}

/// The id of a span.
fn id(first: u64, index: u64) -> String {
    format!("{:016x}", first.wrapping_add(index))
}

fn any(value: &Value) -> AnyValue<'_> {
    match value {
        Value::Word(word) => AnyValue::StringValue(word),
        Value::Name(name) => AnyValue::StringValue(name.as_str()),
        Value::Digest(digest) => AnyValue::StringValue(digest),
        Value::Number(number) => AnyValue::IntValue(number.to_string()),
    }
}

/// The time of day, by the request's own clock: spans of one request never disagree.
fn since_epoch(finished: &Finished, at: Instant) -> Duration {
    let later = at.checked_duration_since(finished.began).unwrap_or_default();
    finished.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().saturating_add(later)
}

/// How many spans the collector says it has refused, in an answer that says it has the others.
pub(super) fn refused(answer: &[u8]) -> usize {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        partial_success: Option<Partial>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Partial {
        rejected_spans: Option<serde_json::Value>,
    }
    let answer: Option<Answer> = serde_json::from_slice(answer).ok();
    let rejected = answer.and_then(|answer| answer.partial_success?.rejected_spans);
    let count = match rejected {
        Some(serde_json::Value::Number(number)) => number.as_u64(),
        Some(serde_json::Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;
    use strongroom_core::Name;

    use super::*;

    /// The messages of opentelemetry-proto 1.x that are used: each field in its JSON name, and what it holds there.
    const MESSAGES: &[(&str, &[(&str, &str)])] = &[
        ("ExportTraceServiceRequest", &[("resourceSpans", "repeated ResourceSpans")]),
        ("ResourceSpans", &[("resource", "Resource"), ("scopeSpans", "repeated ScopeSpans"), ("schemaUrl", "string")]),
        ("Resource", &[("attributes", "repeated KeyValue"), ("droppedAttributesCount", "number")]),
        ("ScopeSpans", &[("scope", "InstrumentationScope"), ("spans", "repeated Span"), ("schemaUrl", "string")]),
        ("InstrumentationScope", &[("name", "string"), ("version", "string"), ("attributes", "repeated KeyValue")]),
        (
            "Span",
            &[
                ("traceId", "hex16"),
                ("spanId", "hex8"),
                ("traceState", "string"),
                ("parentSpanId", "hex8"),
                ("flags", "number"),
                ("name", "string"),
                ("kind", "number"),
                ("startTimeUnixNano", "fixed64"),
                ("endTimeUnixNano", "fixed64"),
                ("attributes", "repeated KeyValue"),
                ("status", "Status"),
            ],
        ),
        ("Status", &[("message", "string"), ("code", "number")]),
        ("KeyValue", &[("key", "string"), ("value", "AnyValue")]),
        ("AnyValue", &[("stringValue", "string"), ("boolValue", "bool"), ("intValue", "fixed64")]),
    ];

    fn check(message: &str, json: &Json, seen: &mut Vec<String>) {
        let (_, fields) = MESSAGES.iter().find(|(name, _)| *name == message).unwrap();
        for (key, value) in json.as_object().unwrap_or_else(|| panic!("{message} is {json}")) {
            let (_, holds) = fields.iter().find(|(name, _)| name == key).unwrap_or_else(|| panic!("{message}.{key}"));
            seen.push(format!("{message}.{key}"));
            let digits = |count: usize| value.as_str().is_some_and(|t| t.len() == count && t.bytes().all(lower_hex));
            match *holds {
                "string" => assert!(value.is_string(), "{message}.{key}: {value}"),
                "number" => assert!(value.is_u64(), "{message}.{key}: {value}"),
                "fixed64" => assert!(value.as_str().unwrap().parse::<u64>().is_ok(), "{message}.{key}: {value}"),
                "hex16" => assert!(digits(32), "{message}.{key}: {value}"),
                "hex8" => assert!(digits(16), "{message}.{key}: {value}"),
                other => match other.strip_prefix("repeated ") {
                    Some(inner) => value.as_array().unwrap().iter().for_each(|one| check(inner, one, seen)),
                    None => check(other, value, seen),
                },
            }
        }
    }

    fn lower_hex(b: u8) -> bool {
        b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
    }

    fn span(role: Role, failed: bool) -> Span {
        let attributes = vec![
            ("strongroom.mount", Value::Name(Name::parse("m").unwrap())),
            ("strongroom.operations", Value::Number(u64::MAX >> 1)),
            ("strongroom.plugin.digest", Value::Digest("0123456789ab".to_owned())),
            ("strongroom.outcome", Value::Word("ok")),
        ];
        Span { name: "s", role, began: Instant::now(), took: Duration::from_millis(1), failed, attributes }
    }

    #[test]
    fn what_is_sent_is_what_the_protocol_names() {
        let finished = Finished {
            trace: [0xab; 16],
            parent: Some([0x0c; 8]),
            first_id: 1,
            began: Instant::now(),
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            spans: vec![span(Role::Server, false), span(Role::Internal, false), span(Role::Client, true)],
        };
        let json: Json = serde_json::from_slice(&request(&[finished])).unwrap();
        let mut seen = Vec::new();
        check("ExportTraceServiceRequest", &json, &mut seen);
        for field in ["Span.traceId", "Span.parentSpanId", "Span.status", "AnyValue.intValue", "Resource.attributes"] {
            assert!(seen.iter().any(|seen| seen == field), "{field}");
        }
        let spans = json["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
        assert_eq!(spans.iter().map(|span| span["kind"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 1, 3]);
        assert_eq!(spans[0]["parentSpanId"], "0c0c0c0c0c0c0c0c");
        assert!(spans[1..].iter().all(|span| span["parentSpanId"] == spans[0]["spanId"]));
        let ids: Vec<_> = spans.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
        assert_eq!(ids, ["0000000000000001", "0000000000000002", "0000000000000003"]);
        assert_eq!((&spans[0]["status"], &spans[2]["status"]["code"]), (&Json::Null, &Json::from(2)));
        assert!(spans[0]["startTimeUnixNano"].as_str().unwrap().starts_with("1700000000"));
    }

    #[test]
    fn refused_spans_are_counted_however_they_are_written() {
        assert_eq!(refused(br#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"x"}}"#), 3);
        assert_eq!(refused(br#"{"partialSuccess":{"rejectedSpans":2}}"#), 2);
        for none in
            [&b"{}"[..], b"", b"no json", br#"{"partialSuccess":{}}"#, br#"{"partialSuccess":{"rejectedSpans":-1}}"#]
        {
            assert_eq!(refused(none), 0);
        }
    }
}
