//! The JSON Schema of a mount's config, as the manifest's `[config]` gives it.
//!
//! A schema is untrusted, and a config may wrongly hold a secret. So the schema is compiled only when
//! it is needed, without references (nothing is fetched, nothing recurses), with a linear regex
//! engine and small limits; and what is reported is a JSON pointer and what the schema expects, never
//! what stands there.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{Draft, PatternOptions, ValidationError};
use serde_json::{Map, Value};

use crate::{Failure, Kind, Text};

/// The deepest schema: the cost of `unevaluatedProperties` doubles with each level.
pub const MAX_DEPTH: usize = 16;

/// The most regular expressions in one schema.
pub const MAX_PATTERNS: usize = 32;

/// The most memory that one compiled regular expression may take, in bytes.
const MAX_PATTERN_BYTES: usize = 256 * 1024;

/// The most errors that are shown at once.
const MAX_SHOWN: usize = 8;

/// A schema, not yet compiled.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ConfigSchema(Value);

impl ConfigSchema {
    /// Takes the manifest's table. An object is what it describes, and a closed one unless it says
    /// otherwise: a key that nobody reads is an error.
    pub(super) fn new(mut schema: Map<String, Value>) -> Result<Self, &'static str> {
        schema.entry("type").or_insert_with(|| "object".into());
        if !schema.contains_key("additionalProperties") && !schema.contains_key("unevaluatedProperties") {
            schema.insert("unevaluatedProperties".to_owned(), false.into());
        }
        let schema = Value::Object(schema);
        let mut patterns = 0;
        inspect(&schema, 0, &mut patterns)?;
        if patterns > MAX_PATTERNS {
            return Err("holds too many patterns");
        }
        Ok(Self(schema))
    }

    /// Whether the schema names `key` among its properties.
    pub(super) fn names(&self, key: &str) -> bool {
        self.0.get("properties").and_then(|p| p.get(key)).is_some()
    }

    pub(super) fn compile(&self) -> Result<jsonschema::Validator, Failure> {
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .offline()
            .with_pattern_options(
                PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES),
            )
            .build(&self.0)
            .map_err(|error| {
                let at = error.instance_path().to_string();
                let message = format!(
                    "the manifest's [config] is no JSON Schema (2020-12): at `{at}` it {}",
                    expectation(&error)
                );
                Failure::new(Kind::InvalidConfig, "manifest.schema", message)
                    .help("the plugin's author has to mend it; see `strongroom plugin check`")
            })
    }

    pub(super) fn check(&self, config: &Value) -> Result<(), Failure> {
        let validator = self.compile()?;
        let mut errors: Vec<String> = validator
            .iter_errors(config)
            .take(MAX_SHOWN)
            .map(|error| {
                let at = error.instance_path().to_string();
                let at = if at.is_empty() { "it".to_owned() } else { format!("`{at}`") };
                format!("{at} {}", expectation(&error))
            })
            .collect();
        errors.dedup();
        let mut errors = errors.into_iter();
        let Some(first) = errors.next() else { return Ok(()) };
        let message = format!("the mount's `config` does not fit its plugin: {first}");
        let failure = Failure::new(Kind::InvalidConfig, "config.plugin-config", message);
        Ok(errors.fold(Err(failure), |failure, more| failure.map_err(|f: Failure| f.help(format!("also: {more}"))))?)
    }
}

/// Depth, references and patterns, before anything is compiled.
fn inspect(value: &Value, depth: usize, patterns: &mut usize) -> Result<(), &'static str> {
    if depth > MAX_DEPTH {
        return Err("is nested too deeply");
    }
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                if key.starts_with('$') {
                    return Err("holds a key that begins with `$`: references and identifiers are not read");
                }
                *patterns += match key.as_str() {
                    "pattern" => 1,
                    "patternProperties" => inner.as_object().map_or(0, Map::len),
                    _ => 0,
                };
                inspect(inner, depth + 1, patterns)?;
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(|item| inspect(item, depth + 1, patterns)),
        _ => Ok(()),
    }
}

/// What was expected, from the schema's side only. Keys may be told; values never.
fn expectation(error: &ValidationError<'_>) -> Text {
    use ValidationErrorKind as E;
    let keys = |keys: &[String]| keys.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ");
    Text::new(match error.kind() {
        E::AdditionalProperties { unexpected } | E::UnevaluatedProperties { unexpected } => {
            format!("knows no key {}", keys(unexpected))
        }
        E::Required { property } => format!("lacks the key {property}"),
        E::Type { kind: TypeKind::Single(kind) } => format!("must be of type {kind}"),
        E::Type { kind: TypeKind::Multiple(kinds) } => {
            let kinds: Vec<String> = kinds.iter().map(|k| k.to_string()).collect();
            format!("must be of type {}", kinds.join(" or "))
        }
        E::Enum { options } => format!("must be one of {options}"),
        E::Constant { expected_value } => format!("must be {expected_value}"),
        E::Pattern { pattern } => format!("must match {pattern}"),
        E::Format { format } => format!("must be of the format {format}"),
        E::Minimum { limit } => format!("must be at least {limit}"),
        E::Maximum { limit } => format!("must be at most {limit}"),
        E::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        E::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        E::MinLength { limit } => format!("must have at least {limit} characters"),
        E::MaxLength { limit } => format!("must have at most {limit} characters"),
        E::MinItems { limit } => format!("must have at least {limit} items"),
        E::MaxItems { limit } => format!("must have at most {limit} items"),
        E::FalseSchema => "holds what the schema does not allow".to_owned(),
        E::UniqueItems => "must not hold an item twice".to_owned(),
        other => format!("must fit the schema's `{}`", other.keyword()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(value: Value) -> ConfigSchema {
        let Value::Object(map) = value else { panic!("an object") };
        ConfigSchema::new(map).unwrap()
    }

    #[test]
    fn a_failure_tells_pointer_and_expectation_and_never_the_value() {
        let canary = "canary-4711";
        let table = [
            (json!({"properties": {"a": {"type": "integer"}}}), json!({"a": canary}), "`/a` must be of type integer"),
            (json!({"properties": {"a": {"type": ["integer", "null"]}}}), json!({"a": canary}), "`/a` must be of type"),
            (json!({"properties": {"a": {"enum": ["x", 1]}}}), json!({"a": canary}), "`/a` must be one of [\"x\",1]"),
            (json!({"properties": {"a": {"const": "x"}}}), json!({"a": canary}), "`/a` must be \"x\""),
            (json!({"properties": {"a": {"pattern": "^x$"}}}), json!({"a": canary}), "`/a` must match ^x$"),
            (
                json!({"properties": {"a": {"maxLength": 3}}}),
                json!({"a": canary}),
                "`/a` must have at most 3 characters",
            ),
            (json!({"properties": {"a": {"minimum": 5}}}), json!({"a": -4711}), "`/a` must be at least 5"),
            (
                json!({"properties": {"a": {"items": {"type": "null"}}}}),
                json!({"a": [canary]}),
                "`/a/0` must be of type null",
            ),
            (
                json!({"properties": {"a": {"uniqueItems": true}}}),
                json!({"a": [canary, canary]}),
                "`/a` must not hold an item twice",
            ),
            (
                json!({"properties": {"a": {"anyOf": [{"type": "null"}]}}}),
                json!({"a": canary}),
                "`/a` must fit the schema's `anyOf`",
            ),
            (
                json!({"properties": {"a": {"oneOf": [{"type": "null"}]}}}),
                json!({"a": canary}),
                "`/a` must fit the schema's `oneOf`",
            ),
            (
                json!({"properties": {"a": {"not": {"type": "string"}}}}),
                json!({"a": canary}),
                "`/a` must fit the schema's `not`",
            ),
            (json!({"properties": {"a": false}}), json!({"a": canary}), "`/a` holds what the schema does not allow"),
            (json!({"required": ["b"], "properties": {"a": true}}), json!({"a": canary}), "it lacks the key \"b\""),
            (json!({"properties": {}}), json!({"b": canary}), "it knows no key `b`"),
            (json!({"additionalProperties": false}), json!({"b": canary}), "it holds what the schema does not allow"),
            (json!({"allOf": [{"properties": {"a": true}}]}), json!({"a": canary, "b": canary}), "it knows no key `b`"),
            (
                json!({"propertyNames": {"maxLength": 1}, "additionalProperties": true}),
                json!({"abc": canary}),
                "it must fit the schema's `propertyNames`",
            ),
        ];
        for (given, config, message) in table {
            let failure = schema(given.clone()).check(&config).unwrap_err();
            assert!(failure.message().as_str().contains(message), "{given}: {failure}");
            assert_eq!(failure.code(), "config.plugin-config");
            let all = format!("{failure}{failure:?}{:?}", failure.helps());
            assert!(!all.contains("4711"), "{given}: {all}");
        }
    }

    #[test]
    fn what_fits_passes() {
        let open = schema(json!({"additionalProperties": {"type": "string"}}));
        assert_eq!(open.check(&json!({"x": "y"})), Ok(()));
        let all_of = schema(json!({"allOf": [{"properties": {"a": true}}]}));
        assert_eq!(all_of.check(&json!({"a": 1})), Ok(()));
    }

    #[test]
    fn references_depth_and_patterns_are_limited() {
        let new = |value: Value| ConfigSchema::new(value.as_object().unwrap().clone()).map(|_| ());
        for key in ["$ref", "$dynamicRef", "$id", "$schema", "$defs"] {
            assert!(new(json!({"properties": {"a": {key: "#"}}})).is_err(), "{key}");
        }
        let mut deep = json!(true);
        for _ in 0..MAX_DEPTH {
            deep = json!({"not": deep});
        }
        assert!(new(json!({"not": deep})).is_err());
        let many: Map<String, Value> = (0..=MAX_PATTERNS).map(|i| (format!("p{i}"), json!(true))).collect();
        assert!(new(json!({"patternProperties": many})).is_err());
    }

    #[test]
    fn a_huge_or_backtracking_pattern_is_refused_and_a_broken_schema_too() {
        for bad in [
            json!({"properties": {"a": {"pattern": "(?:a{1000}){1000}"}}}),
            json!({"properties": {"a": {"pattern": "(a)\\1"}}}),
            json!({"properties": {"a": {"type": "strin"}}}),
            json!({"properties": 3}),
        ] {
            let failure = schema(bad.clone()).compile().unwrap_err();
            assert_eq!(failure.code(), "manifest.schema", "{bad}");
        }
    }
}
