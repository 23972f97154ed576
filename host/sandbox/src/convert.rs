//! Between the contract's types and the host's: the only place that knows both.

use strongroom_core::secret::Metadata;
use strongroom_core::{Failure, Kind, Reference, Secret, Text, Value};
use zeroize::Zeroizing;

use crate::bindings::strongroom::plugin::types;
use crate::call::{Call, Entry, Page, Receipt};

pub(crate) fn context_to_guest(call: &Call) -> types::Context {
    let left = call.deadline.saturating_duration_since(std::time::Instant::now());
    types::Context {
        config: call.config.clone(),
        deadline_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
        attributes: call.attributes.clone(),
    }
}

pub(crate) fn reference_to_guest(reference: &Reference) -> types::Reference {
    types::Reference {
        authority: reference.authority.clone(),
        path: reference.path.clone(),
        selectors: reference.selectors.clone(),
    }
}

pub(crate) fn value_to_guest(value: &Value) -> types::Value {
    match value {
        Value::Text(text) => types::Value::Text(text.to_string()),
        Value::Binary(bytes) => types::Value::Binary(bytes.to_vec()),
    }
}

/// Takes a guest's answer. The value is moved, so that no unwiped copy of it stays behind.
pub(crate) fn secret_from_guest(secret: types::Secret, limit: usize) -> Result<Secret, Failure> {
    let value = match secret.value {
        types::Value::Text(text) => Value::Text(Zeroizing::new(text)),
        types::Value::Binary(bytes) => Value::Binary(Zeroizing::new(bytes)),
    };
    if value.expose().len() > limit {
        return Err(value_too_large(limit));
    }
    let metadata = Metadata {
        version: secret.version.map(Text::from),
        content_type: secret.content_type.map(Text::from),
        expires_at: secret.expires_at,
        max_age_ms: secret.max_age_ms,
        attributes: attributes_from_guest(secret.attributes),
    };
    Ok(Secret::new(value, metadata))
}

pub(crate) fn value_too_large(limit: usize) -> Failure {
    Failure::new(Kind::LimitExceeded, "value.too-large", format!("the value is larger than {limit} bytes"))
        .help("a secret has at most 1 MiB; keep larger data elsewhere and its key here")
}

pub(crate) fn attributes_from_guest(attributes: Vec<(String, String)>) -> Vec<(Text, Text)> {
    /// More than any backend has (Vault: 64 custom metadata; Key Vault: 15 tags; each a dozen fields).
    const MAX: usize = 96;
    attributes.into_iter().take(MAX).map(|(key, value)| (Text::from(key), Text::from(value))).collect()
}

pub(crate) fn failure_from_guest(failure: types::Failure) -> Failure {
    let kind = match failure.kind {
        types::Kind::InvalidReference => Kind::InvalidReference,
        types::Kind::InvalidConfig => Kind::InvalidConfig,
        types::Kind::NotConfigured => Kind::NotConfigured,
        types::Kind::NotFound => Kind::NotFound,
        types::Kind::Conflict => Kind::Conflict,
        types::Kind::Unsupported => Kind::Unsupported,
        types::Kind::Denied => Kind::Denied,
        types::Kind::Unauthenticated => Kind::Unauthenticated,
        types::Kind::Throttled => Kind::Throttled,
        types::Kind::Unavailable => Kind::Unavailable,
        types::Kind::Protocol => Kind::Protocol,
        types::Kind::Internal => Kind::Internal,
    };
    let mut told = Failure::from_guest(kind, &failure.code, &failure.message).retry_after_ms(failure.retry_after_ms);
    for (key, value) in attributes_from_guest(failure.attributes) {
        told = told.attribute(key, value);
    }
    told
}

/// What a guest is told of a failure of the host: the kind and the code, so that it can act, and
/// no words that only its operator should read.
pub(crate) fn failure_to_guest(failure: &Failure) -> types::Failure {
    let kind = match failure.kind() {
        Kind::InvalidReference => types::Kind::InvalidReference,
        Kind::InvalidConfig => types::Kind::InvalidConfig,
        Kind::NotConfigured => types::Kind::NotConfigured,
        Kind::NotFound | Kind::UnknownMount => types::Kind::NotFound,
        Kind::Conflict => types::Kind::Conflict,
        Kind::Unsupported => types::Kind::Unsupported,
        Kind::Denied | Kind::PolicyDenied => types::Kind::Denied,
        Kind::Unauthenticated => types::Kind::Unauthenticated,
        Kind::Throttled => types::Kind::Throttled,
        Kind::Unavailable | Kind::Deadline => types::Kind::Unavailable,
        Kind::Protocol => types::Kind::Protocol,
        Kind::LimitExceeded | Kind::Trapped | Kind::Integrity | Kind::Internal => types::Kind::Internal,
    };
    types::Failure {
        kind,
        code: failure.code().to_owned(),
        message: failure.kind().name().to_owned(),
        retry_after_ms: failure.retry_after(),
        attributes: Vec::new(),
    }
}

pub(crate) fn page_from_guest(page: types::Page) -> Page {
    let entry = |entry: types::Entry| Entry { name: entry.name, attributes: attributes_from_guest(entry.attributes) };
    Page { entries: page.entries.into_iter().map(entry).collect(), next: page.next }
}

pub(crate) fn receipt_from_guest(receipt: types::Receipt) -> Receipt {
    Receipt { version: receipt.version.map(Text::from), attributes: attributes_from_guest(receipt.attributes) }
}
