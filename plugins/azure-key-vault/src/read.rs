//! Reading a secret.

use serde::Deserialize;
use strongroom_azure::{Fault, iso};
use strongroom_plugin::http::Method;
use strongroom_plugin::{Failure, Secret, clock, log};

use crate::bundle::{Bundle, Outside};
use crate::place::Place;
use crate::refusal::{Operation, refused, unsent};

/// The mount's config.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    outside_validity: Policy,
}

/// What becomes of a secret that is expired or not yet valid. The service serves it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Policy {
    #[default]
    Warn,
    Refuse,
}

/// The secret at `place`.
///
/// # Errors
/// What the vault says, each reason by itself; and what the mount's policy says.
pub fn secret(config: &Config, place: &Place) -> Result<Secret, Failure> {
    let response = place.versioned(Method::Get).send().map_err(|failure| unsent(&place.vault, failure))?;
    if response.status() == 404 && Fault::of(&response).is("SecretNotFound") {
        return Err(absent(place));
    }
    if response.status() != 200 {
        return Err(refused(&place.vault, Some(place), Operation::Get, &response));
    }
    let bundle: Bundle = response.json()?;
    bundle.check(place)?;
    // The time is asked for only where it matters.
    let outside = if bundle.has_validity() { bundle.outside(clock::now().cast_signed()) } else { None };
    let Some(secret) = bundle.into_secret() else {
        let message = format!("the vault's answer for {} has no value", place.shown());
        return Err(Failure::protocol("keyvault.no-value", message));
    };
    let Some(outside) = outside else { return Ok(secret) };
    let (word, code, what) = match outside {
        Outside::Expired(end) => ("expired", "keyvault.expired", format!("expired at {}", iso(end))),
        Outside::NotYet(start) => {
            ("not-yet-valid", "keyvault.not-yet-valid", format!("is valid from {} on", iso(start)))
        }
    };
    match config.outside_validity {
        Policy::Warn => {
            log::warn!("{} {what}; it is served, as the vault does", place.shown());
            Ok(secret.attribute("validity", word))
        }
        Policy::Refuse => {
            let message =
                format!("{} {what}, and the mount's config has `outside_validity = \"refuse\"`", place.shown());
            Err(Failure::denied(code, message))
        }
    }
}

/// Why a secret is not there: it may have been deleted, and could come back.
fn absent(place: &Place) -> Failure {
    let deleted = place.request(Method::Get, "deletedsecrets").send().and_then(|response| response.success());
    match deleted.and_then(|response| response.json::<Bundle>()) {
        Ok(bundle) => {
            let time = |time: Option<i64>| time.map_or_else(|| "an unknown time".into(), iso);
            let (since, until) = (time(bundle.deleted_date), time(bundle.scheduled_purge_date));
            let message = format!(
                "`{}` in the vault `{}` was deleted at {since}, and can be recovered until {until} (strongroom recover)",
                place.name, place.vault.name
            );
            Failure::not_found("keyvault.deleted", message)
        }
        Err(_) => missing(place),
    }
}

/// There is no such secret, as far as the vault tells.
fn missing(place: &Place) -> Failure {
    let what = if place.version.is_some() { "no such secret, or no such version of it" } else { "no such secret" };
    Failure::not_found("SecretNotFound", format!("{} is not there: {what}", place.shown()))
}
