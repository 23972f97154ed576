//! Deletes, recovers and purges.
//!
//! A vault takes a deletion at once and does it in seconds; until then the secret is neither here nor
//! there. So its end is waited for, as long as the call may take. That the wait ended first is no
//! failure: what was asked for was taken.

use strongroom_plugin::http::{Method, Response};
use strongroom_plugin::{Failure, Receipt, clock};

use crate::bundle::Bundle;
use crate::place::Place;
use crate::refusal::{Operation, refused, unsent};

/// Between two looks, in milliseconds: what Microsoft's own clients do.
const PAUSE_MS: u64 = 2000;

/// What is left of the deadline for the last look and the answer, in milliseconds.
const RESERVE_MS: u64 = 1000;

/// The most looks: the host lets a call make 16 requests.
const MAX_LOOKS: usize = 12;

/// Deletes a secret with all its versions, and waits until it is among the deleted ones.
///
/// # Errors
/// Kind unsupported for one version; what the vault says.
pub fn remove(place: &Place, deadline_ms: u32) -> Result<Receipt, Failure> {
    place.only_as_a_whole(
        "Key Vault deletes a secret with all its versions; a version alone can be disabled (enabled = false)",
    )?;
    let until = deadline(deadline_ms);
    let bundle = ask(place, Method::Delete, None, Operation::Delete)?;
    let mut receipt = Receipt { version: None, attributes: bundle.details() };
    let state = if bundle.recovery_id.is_none() {
        // No soft delete: that was final.
        "gone"
    } else if wait(place, "deletedsecrets", until) {
        "deleted"
    } else {
        "deleting"
    };
    receipt.attributes.push(("state".into(), state.into()));
    Ok(receipt)
}

/// Brings a deleted secret back with all its versions, and waits until it can be read.
///
/// # Errors
/// Kind not-found if it is not among the deleted ones; what the vault says.
pub fn recover(place: &Place, deadline_ms: u32) -> Result<Receipt, Failure> {
    place.only_as_a_whole("a deleted secret is recovered with all its versions; leave the version out")?;
    let until = deadline(deadline_ms);
    let bundle = ask(place, Method::Post, Some("recover"), Operation::Recover)?;
    let mut receipt = Receipt { version: bundle.version().map(str::to_owned), attributes: bundle.details() };
    let state = if wait(place, "secrets", until) { "recovered" } else { "recovering" };
    receipt.attributes.push(("state".into(), state.into()));
    Ok(receipt)
}

/// Ends a deleted secret for good.
///
/// # Errors
/// Kind not-found if it is not among the deleted ones; denied where the vault is protected; what the
/// vault says.
pub fn purge(place: &Place) -> Result<Receipt, Failure> {
    place.only_as_a_whole("a deleted secret is purged with all its versions; leave the version out")?;
    let request = place.request(Method::Delete, "deletedsecrets");
    let response = request.send().map_err(|failure| unsent(&place.vault, failure))?;
    match response.status() {
        200 | 204 => Ok(Receipt { version: None, attributes: vec![("state".into(), "purged".into())] }),
        _ => Err(refused(&place.vault, Some(place), Operation::Purge, &response)),
    }
}

fn ask(place: &Place, method: Method, more: Option<&str>, operation: Operation) -> Result<Bundle, Failure> {
    let collection = if operation == Operation::Delete { "secrets" } else { "deletedsecrets" };
    let request = place.request(method, collection).path(more);
    let response = request.send().map_err(|failure| unsent(&place.vault, failure))?;
    if response.status() != 200 {
        return Err(refused(&place.vault, Some(place), operation, &response));
    }
    let bundle: Bundle = response.json()?;
    bundle.check(place)?;
    Ok(bundle)
}

fn deadline(deadline_ms: u32) -> u64 {
    clock::now_ms().saturating_add(u64::from(deadline_ms)).saturating_sub(RESERVE_MS)
}

/// Looks below `collection` until the secret is there. False if it is not by `until`, or nobody can
/// say.
fn wait(place: &Place, collection: &str, until: u64) -> bool {
    for _ in 0..MAX_LOOKS {
        match place.request(Method::Get, collection).send().as_ref().map(Response::status) {
            // It is there, also for who may not read it, and for one that is disabled.
            Ok(200 | 403) => return true,
            Ok(404) => {}
            _ => return false,
        }
        if clock::now_ms().saturating_add(PAUSE_MS) > until {
            return false;
        }
        clock::wait(PAUSE_MS);
    }
    false
}
