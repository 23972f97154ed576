//! Lists names and versions, page by page. Never a value.

use strongroom_azure::{next, turned};
use strongroom_plugin::http::Method;
use strongroom_plugin::{Entry, Failure, Page};

use crate::bundle::{Bundle, Listed};
use crate::place::{Place, Scope, Vault};
use crate::refusal::{Operation, refused, unsent};

/// The most that the service puts on a page.
const PAGE: &str = "25";

/// What a link of the service turns the page with.
const TURN: [&str; 1] = ["$skiptoken"];

/// A page of the vault's secrets, or of the deleted ones. It may be empty and not the last.
///
/// # Errors
/// What the vault says.
pub fn names(scope: &Scope, prefix: &str, cursor: Option<&str>) -> Result<Page, Failure> {
    let list = if scope.deleted { "deletedsecrets" } else { "secrets" };
    let entry = |bundle: &Bundle| {
        let (name, _) = bundle.named()?;
        let name = format!("{}{name}", scope.before);
        name.starts_with(prefix).then(|| Entry { name, attributes: bundle.all_details() })
    };
    page(&scope.vault, None, &[list], cursor, entry)
}

/// A page of the versions of a secret.
///
/// # Errors
/// What the vault says; kind unsupported where one version is named.
pub fn versions(place: &Place, cursor: Option<&str>) -> Result<Page, Failure> {
    place.only_as_a_whole("the versions of a secret are listed, not those of one version; leave the version out")?;
    let entry = |bundle: &Bundle| Some(Entry { name: bundle.version()?.to_owned(), attributes: bundle.all_details() });
    page(&place.vault, Some(place), &["secrets", &place.name, "versions"], cursor, entry)
}

fn page(
    vault: &Vault,
    place: Option<&Place>,
    path: &[&str],
    cursor: Option<&str>,
    entry: impl Fn(&Bundle) -> Option<Entry>,
) -> Result<Page, Failure> {
    let request = vault.request(Method::Get, path.iter().copied()).query("maxresults", PAGE);
    let response = turned(request, cursor)?.send().map_err(|failure| unsent(vault, failure))?;
    if response.status() != 200 {
        return Err(refused(vault, place, Operation::List, &response));
    }
    let listed: Listed = response.json()?;
    let next = next(listed.next_link.as_deref(), &vault.origin, path, &TURN, cursor)?;
    Ok(Page { entries: listed.value.iter().flatten().filter_map(entry).collect(), next })
}
