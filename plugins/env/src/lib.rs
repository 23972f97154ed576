//! The environment provider: `env:NAME` is the variable NAME of the host's environment.
//!
//! It imports `env` and nothing else, and what `env` shows it is decided by the host: the variables
//! that the references of this very call name, narrowed by the mount's list. A variable that may
//! not be read looks absent here; telling the two apart is the host's work. This plugin must never
//! guess, fall back to another name, or answer for a variable that is not set.

mod bindings {
    #![allow(unsafe_code, missing_docs, clippy::all, clippy::mem_forget, clippy::indexing_slicing, clippy::unwrap_used)]
    //! Made from the contract by wit-bindgen.

    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package strongroom:env-plugin;
            world plugin {
                import strongroom:plugin/env@0.1.0;
                export strongroom:plugin/provider@0.1.0;
                export strongroom:plugin/catalog@0.1.0;
            }
        ",
        world: "strongroom:env-plugin/plugin",
        generate_all,
    });

    #[cfg(target_arch = "wasm32")]
    export!(Plugin with_types_in self);

    #[cfg(target_arch = "wasm32")]
    use super::Plugin;
}

use bindings::exports::strongroom::plugin::{catalog, provider};
use bindings::strongroom::plugin::env;
use bindings::strongroom::plugin::types::{Context, Entry, Failure, Kind, Page, Reference, Secret, Value};

/// Names on one page of `names`.
const PAGE: usize = 500;

/// The standard library's own allocator, in a patch that begins with the room that the builder leaves: a call that needs no
/// more has a memory that does not grow.
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static HEAP: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// The plugin. It has no state: every call is a new instance.
#[derive(Debug)]
pub struct Plugin;

impl provider::Guest for Plugin {
    fn resolve(_ctx: Context, refs: Vec<Reference>) -> Vec<Result<Secret, Failure>> {
        refs.iter().map(|reference| resolve(reference, env::get)).collect()
    }
}

impl catalog::Guest for Plugin {
    fn names(
        _ctx: Context,
        _scope: Reference,
        prefix: Option<String>,
        cursor: Option<String>,
    ) -> Result<Page, Failure> {
        Ok(page(env::names(), prefix.as_deref().unwrap_or_default(), cursor.as_deref()))
    }
}

/// Answers one reference from `get`.
fn resolve(reference: &Reference, get: impl Fn(&str) -> Option<String>) -> Result<Secret, Failure> {
    let [name] = reference.path.as_slice() else {
        return Err(failure(Kind::InvalidReference, "env.name", "an env reference is one variable's name".into()));
    };
    if let Some((selector, _)) = reference.selectors.first() {
        let message = format!("an env reference has no `{selector}`: a variable has one value");
        return Err(failure(Kind::InvalidReference, "env.selector", message));
    }
    match get(name) {
        Some(value) => Ok(Secret {
            value: Value::Text(value),
            version: None,
            content_type: None,
            expires_at: None,
            max_age_ms: None,
            attributes: Vec::new(),
        }),
        None => Err(failure(Kind::NotFound, "env.not-set", format!("the environment variable `{name}` is not set"))),
    }
}

/// The sorted names after `cursor`, which is the last name of the page before.
fn page(mut names: Vec<String>, prefix: &str, cursor: Option<&str>) -> Page {
    names.retain(|name| name.starts_with(prefix) && cursor.is_none_or(|last| name.as_str() > last));
    names.sort_unstable();
    names.dedup();
    let more = names.len() > PAGE;
    names.truncate(PAGE);
    let next = if more { names.last().cloned() } else { None };
    let entries = names.into_iter().map(|name| Entry { name, attributes: Vec::new() }).collect();
    Page { entries, next }
}

fn failure(kind: Kind, code: &str, message: String) -> Failure {
    Failure { kind, code: code.into(), message, retry_after_ms: None, attributes: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(path: &[&str]) -> Reference {
        Reference { authority: None, path: path.iter().map(|s| (*s).into()).collect(), selectors: Vec::new() }
    }

    fn get(name: &str) -> Option<String> {
        match name {
            "SET" => Some("value".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn text(secret: Secret) -> String {
        match secret.value {
            Value::Text(text) => text,
            Value::Binary(_) => panic!("a variable is text"),
        }
    }

    #[test]
    fn unset_and_empty_are_different_answers() {
        assert_eq!(text(resolve(&reference(&["SET"]), get).unwrap()), "value");
        assert_eq!(text(resolve(&reference(&["EMPTY"]), get).unwrap()), "");
        let absent = resolve(&reference(&["UNSET"]), get).unwrap_err();
        assert_eq!((absent.kind, absent.code.as_str()), (Kind::NotFound, "env.not-set"));
        assert_eq!(absent.message, "the environment variable `UNSET` is not set");
    }

    #[test]
    fn what_is_not_one_name_is_refused() {
        for path in [&[][..], &["A", "B"]] {
            assert_eq!(resolve(&reference(path), get).unwrap_err().kind, Kind::InvalidReference);
        }
        let mut versioned = reference(&["SET"]);
        versioned.selectors.push(("version".into(), "1".into()));
        assert_eq!(resolve(&versioned, get).unwrap_err().code, "env.selector");
    }

    #[test]
    fn names_are_sorted_filtered_and_paged_without_loss() {
        let names: Vec<String> = (0..1203).rev().map(|n| format!("N{n:04}")).chain(["OTHER".into()]).collect();
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let page = page(names.clone(), "N", cursor.as_deref());
            seen.extend(page.entries.into_iter().map(|e| e.name));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..1203).map(|n| format!("N{n:04}")).collect::<Vec<_>>());
    }
}
