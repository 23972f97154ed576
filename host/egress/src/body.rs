//! What a request's body names: the references of the call, and nothing else.
//!
//! A rule with `body` says which texts of its requests' JSON are bound. They are read from the very bytes
//! that leave, strictly, so that the receiver can read nothing else in them. Pure and total.

use std::collections::BTreeSet;

use serde_json::Value;
use strongroom_core::Reference;
use strongroom_core::manifest::http::Allowed;
use strongroom_core::manifest::{HttpRule, Pointer};

use crate::decide::{Refused, Stage};

/// Whether each text that `rule` binds in `body` is what one of `references` makes of it. They are those
/// that the rest of the request fits, `None` for a call without any. A place with a `*` may hold what
/// several of them make; all others belong to one. Gives the place of the first that it is made for.
///
/// # Errors
/// [`Stage::Body`], with the place in the body and never a text of it.
pub(crate) fn speaks_of(
    rule: &HttpRule,
    references: &[Option<&Reference>],
    config: &Value,
    headers: &[(String, String)],
    body: &[u8],
) -> Result<usize, Refused> {
    let refused = |why: String, advice: &str| Refused::at(Stage::Body, why, advice);
    let kind = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
    if !kind.is_none_or(is_plain_json) {
        let why = "the body is bound, and its content-type is not JSON in UTF-8".to_owned();
        return Err(refused(why, "in the request: content-type: application/json"));
    }
    let mut texts: Vec<(&Pointer, &Allowed, BTreeSet<String>)> = Vec::new();
    for (place, allowed) in &rule.body {
        let found = place.find(body).map_err(|why| {
            refused(
                format!("the body {why}: the rule binds {place}"),
                "send strict JSON that holds what the rule binds",
            )
        })?;
        texts.push((place, allowed, found));
    }
    let (many, single): (Vec<_>, Vec<_>) = texts.iter().partition(|(place, ..)| place.is_many());
    let of_one = |reference: &Option<&Reference>| {
        single.iter().all(|(_, allowed, found)| found.iter().all(|text| allowed.admits(text, *reference, config)))
    };
    let speaking: Vec<usize> =
        references.iter().enumerate().filter(|(_, reference)| of_one(reference)).map(|(at, _)| at).collect();
    let other = |place: &str| {
        let why = format!("{place} of the body names something else than the references of this call");
        refused(why, "in that rule of plugin.toml, under `body`: what the request is to name")
    };
    let Some(first) = speaking.first() else {
        return Err(other(single.first().map_or("a place", |(place, ..)| place.as_str())));
    };
    for (place, allowed, found) in many {
        let made: BTreeSet<String> = speaking
            .iter()
            .filter_map(|at| references.get(*at))
            .flat_map(|reference| allowed.bound(*reference, config))
            .collect();
        if !found.is_subset(&made) {
            return Err(other(place.as_str()));
        }
    }
    Ok(*first)
}

/// `application/json`, or a type made of it, in UTF-8: another charset would be read in another way.
fn is_plain_json(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    let mut parts = kind.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let json = media == "application/json" || media.starts_with("application/") && media.ends_with("+json");
    json && parts.all(|parameter| matches!(parameter, "" | "charset=utf-8" | "charset=\"utf-8\""))
}
