//! The JSON Schema of a mount's config, as the manifest's `[config]` gives it.
//!
//! A schema is untrusted, and a config may wrongly hold a secret. So the schema is compiled only when
//! it is needed, from the keywords listed here and no others (nothing is fetched, nothing recurses,
//! nothing is silently ignored), with a linear regex engine and small limits; and what is reported is a
//! JSON pointer and what the schema expects, never what stands there.
//!
//! The dialect is draft 7 because its meta-schema compiles in 0.4 ms, and that of 2020-12 in 10 ms: a
//! command-line call takes 1 ms in all.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{Draft, PatternOptions, ValidationError};
use serde_json::{Map, Value};

use crate::{Failure, Kind, Text};

/// The deepest schema.
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
    pub(super) fn new(mut schema: Map<String, Value>) -> Result<Self, String> {
        schema.entry("type").or_insert_with(|| "object".into());
        schema.entry("additionalProperties").or_insert_with(|| false.into());
        let mut patterns = 0;
        inspect(&schema, 0, &mut patterns)?;
        if patterns > MAX_PATTERNS {
            return Err(format!("holds more than {MAX_PATTERNS} patterns"));
        }
        Ok(Self(Value::Object(schema)))
    }

    /// Whether the schema names `key` among its properties.
    pub(super) fn names(&self, key: &str) -> bool {
        self.0.get("properties").and_then(|p| p.get(key)).is_some()
    }

    /// Whether a config without `key` is refused for that.
    pub(super) fn requires(&self, key: &str) -> bool {
        let required = self.0.get("required").and_then(Value::as_array);
        required.into_iter().flatten().any(|name| name.as_str() == Some(key))
    }

    /// What is there without being written, at the top of the config.
    pub(super) fn defaults(&self) -> impl Iterator<Item = (&str, &Value)> {
        let properties = self.0.get("properties").and_then(Value::as_object);
        properties.into_iter().flatten().filter_map(|(key, schema)| Some((key.as_str(), schema.get("default")?)))
    }

    /// Compiles the schema, and checks each default against what it says of its key.
    pub(super) fn check_defaults(&self) -> Result<(), Failure> {
        let validator = self.compile()?;
        for (key, default) in self.defaults() {
            let alone = Value::Object(Map::from_iter([(key.to_owned(), default.clone())]));
            let about = |error: &ValidationError<'_>| error.instance_path().to_string().starts_with(&format!("/{key}"));
            if validator.iter_errors(&alone).any(|error| about(&error)) {
                let message =
                    format!("the manifest's [config] gives a default for `{}` that does not fit it", Text::new(key));
                return Err(Failure::new(Kind::InvalidConfig, "manifest.schema", message));
            }
        }
        Ok(())
    }

    /// Whether no config at all is a right one, by keywords that say nothing of an empty object. Most
    /// mounts have none, and compiling costs more than all the rest of a call.
    fn takes_nothing(&self) -> bool {
        self.0.as_object().is_some_and(|schema| {
            schema.iter().all(|(keyword, value)| match keyword.as_str() {
                "additionalProperties"
                | "patternProperties"
                | "properties"
                | "propertyNames"
                | "default"
                | "description"
                | "examples"
                | "title" => true,
                "required" => value.as_array().is_some_and(Vec::is_empty),
                "type" => value == "object",
                _ => false,
            })
        })
    }

    pub(super) fn compile(&self) -> Result<jsonschema::Validator, Failure> {
        jsonschema::options()
            .with_draft(Draft::Draft7)
            .offline()
            .should_validate_formats(true)
            .should_ignore_unknown_formats(false)
            .with_pattern_options(
                PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES),
            )
            .build(&self.0)
            .map_err(|error| {
                let at = error.instance_path().to_string();
                let message = format!(
                    "the manifest's [config] is no JSON Schema (draft 7): at `{at}` it {}",
                    expectation(&error)
                );
                Failure::new(Kind::InvalidConfig, "manifest.schema", message)
                    .help("the plugin's author has to mend it; see `strongroom plugin check`")
            })
    }

    pub(super) fn check(&self, config: &Value) -> Result<(), Failure> {
        // Defaults were checked when the manifest was.
        let own = |config: &Map<String, Value>| {
            config.iter().any(|(key, value)| !self.defaults().any(|(known, default)| known == key && default == value))
        };
        if self.takes_nothing() && config.as_object().is_some_and(|config| !own(config)) {
            return Ok(());
        }
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
        Err(errors.fold(failure, |failure, more| failure.help(format!("also: {more}"))))
    }
}

/// Depth, keywords and patterns, before anything is compiled.
fn inspect(schema: &Map<String, Value>, depth: usize, patterns: &mut usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("is nested more than {MAX_DEPTH} deep"));
    }
    for (keyword, value) in schema {
        // Where a keyword holds something else than a schema, compiling says so.
        let inner: Vec<&Value> = match keyword.as_str() {
            "additionalItems"
            | "additionalProperties"
            | "contains"
            | "else"
            | "if"
            | "not"
            | "propertyNames"
            | "then" => vec![value],
            "allOf" | "anyOf" | "oneOf" => value.as_array().into_iter().flatten().collect(),
            "items" => value.as_array().map_or_else(|| vec![value], |items| items.iter().collect()),
            "patternProperties" | "properties" => {
                let entries = value.as_object();
                if keyword == "patternProperties" {
                    *patterns += entries.map_or(0, Map::len);
                }
                entries.into_iter().flat_map(Map::values).collect()
            }
            "pattern" => {
                *patterns += 1;
                Vec::new()
            }
            "const" | "enum" | "exclusiveMaximum" | "exclusiveMinimum" | "format" | "maxItems" | "maxLength"
            | "maxProperties" | "maximum" | "minItems" | "minLength" | "minProperties" | "minimum" | "multipleOf"
            | "required" | "type" | "uniqueItems" | "default" | "description" | "examples" | "title" => Vec::new(),
            other => return Err(format!("holds the keyword `{other}`, which this release does not read")),
        };
        for inner in inner.into_iter().filter_map(Value::as_object) {
            inspect(inner, depth + 1, patterns)?;
        }
    }
    Ok(())
}

/// What was expected, from the schema's side only. Keys may be told; values never.
fn expectation(error: &ValidationError<'_>) -> Text {
    use ValidationErrorKind as E;
    let keys = |keys: &[String]| keys.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ");
    Text::new(match error.kind() {
        E::AdditionalProperties { unexpected } => format!("knows no key {}", keys(unexpected)),
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
            (json!({"properties": {"a": {"format": "ipv4"}}}), json!({"a": canary}), "`/a` must be of the format ipv4"),
            (
                json!({"properties": {"a": {"if": {"type": "string"}, "then": {"maxLength": 1}}}}),
                json!({"a": canary}),
                "`/a` must have at most 1 characters",
            ),
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
        // A property may be called like a keyword, or like a keyword that is not read.
        let odd = schema(json!({"properties": {"$ref": true, "pattern": {"default": {"$ref": "#"}}}}));
        assert_eq!(odd.check(&json!({"$ref": 1, "pattern": "x"})), Ok(()));
    }

    #[test]
    fn keywords_depth_and_patterns_are_limited() {
        let new = |value: Value| ConfigSchema::new(value.as_object().unwrap().clone()).map(|_| ());
        let unread = ["$ref", "$id", "$schema", "$defs", "definitions", "unevaluatedProperties", "prefixItems", "tpye"];
        for key in unread {
            for outer in ["not", "items", "additionalProperties"] {
                assert!(new(json!({outer: {key: "#"}})).is_err(), "{key}");
            }
            assert!(new(json!({"properties": {"a": {key: "#"}}})).is_err(), "{key}");
            assert!(new(json!({"allOf": [{key: "#"}]})).is_err(), "{key}");
            assert!(new(json!({"items": [{key: "#"}]})).is_err(), "{key}");
        }
        let nested = |depth| (0..depth).fold(json!({}), |inner, _| json!({"not": inner}));
        assert!(new(nested(MAX_DEPTH)).is_ok());
        assert!(new(nested(MAX_DEPTH + 1)).is_err());
        let many: Map<String, Value> = (0..=MAX_PATTERNS).map(|i| (format!("p{i}"), json!(true))).collect();
        assert!(new(json!({"patternProperties": many})).is_err());
    }

    #[test]
    fn a_huge_or_backtracking_pattern_is_refused_and_a_broken_schema_too() {
        for bad in [
            json!({"properties": {"a": {"pattern": "(?:a{1000}){1000}"}}}),
            json!({"properties": {"a": {"pattern": "(a)\\1"}}}),
            json!({"properties": {"a": {"type": "strin"}}}),
            json!({"properties": {"a": {"format": "no-such-format"}}}),
            json!({"properties": {"a": 3}}),
            json!({"allOf": {}}),
            json!({"properties": 3}),
        ] {
            let failure = schema(bad.clone()).compile().unwrap_err();
            assert_eq!(failure.code(), "manifest.schema", "{bad}");
        }
    }
}
