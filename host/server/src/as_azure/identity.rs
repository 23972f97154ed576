//! The endpoint of a managed identity, as App Service has it (`IDENTITY_ENDPOINT`, `IDENTITY_HEADER`; api-version
//! 2019-08-01).
//!
//! For vaults it gives a random token that the Key Vault door of this run alone accepts. Real tokens it gives
//! only for audiences of `[doors.managed-identity]`. Who has not the header's secret gets nothing, whatever else is sent: there
//! is no form like the machines' metadata service here.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::json;
use strongroom::{Failure, Kind, Strongroom};
use strongroom_core::config::listeners::Door;
use strongroom_core::policy::Identity;
use zeroize::Zeroizing;

use super::authority::SUFFIXES;
use super::environment::IDENTITY_PATH;
use crate::doors::answer::json as document;
use crate::doors::query::Query;
use crate::doors::{Face, behind};
use crate::gate::Call;
use crate::state::House;

/// The only version of the interface.
const API_VERSION: &str = "2019-08-01";

/// How long a vault's token is said to be good. It ends with the run.
const VAULT_TOKEN: Duration = Duration::from_secs(24 * 3600);

/// The door.
struct Identities(Arc<House>);

impl Face for Identities {
    fn door(&self) -> Door {
        Door::ManagedIdentity
    }

    fn token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let mut all = headers.get_all("x-identity-header").iter();
        match (all.next(), all.next()) {
            (Some(one), None) => Some(one.to_str().unwrap_or_default()),
            // Nothing else shows who asks here.
            _ => Some(""),
        }
    }

    fn given(&self, token: &str) -> Option<Identity> {
        self.0.run()?.at_identity(token)
    }

    fn refuse(&self, failure: &Failure) -> Response {
        refusal(failure)
    }
}

pub(super) fn router(house: &Arc<House>) -> Router {
    behind(Router::new().route(IDENTITY_PATH, get(token)), house, Identities(Arc::clone(house)))
        .layer(Extension(Arc::clone(house)))
}

async fn token(Extension(call): Extension<Call>, Extension(house): Extension<Arc<House>>, uri: Uri) -> Response {
    match answer(&call, &house, &uri).await {
        Ok(response) => response,
        Err(failure) => refusal(&failure),
    }
}

async fn answer(call: &Call, house: &House, uri: &Uri) -> Result<Response, Failure> {
    let bad = |message: String| Failure::new(Kind::InvalidReference, "request.parameter", message);
    // Which of several identities is meant says nothing here: there is one.
    let known = ["api-version", "resource", "client_id", "object_id", "principal_id", "mi_res_id", "msi_res_id"];
    let query = Query::parse(uri.query(), &known)?;
    if query.get("api-version") != Some(API_VERSION) {
        return Err(bad(format!("the api-version must be {API_VERSION}")));
    }
    let resource = query.get("resource").ok_or_else(|| bad("resource must be specified".to_owned()))?;
    let audience = resource.strip_suffix("/.default").unwrap_or(resource).trim_end_matches('/');
    let (token, good_for) = if is_vaults(call, audience) {
        let run = house.run().ok_or_else(|| bad("there is no run".to_owned()))?;
        (run.vault().clone(), VAULT_TOKEN)
    } else {
        (call.lend_token(audience).await?, Strongroom::LENT_FOR)
    };
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + good_for;
    Ok(document(
        StatusCode::OK,
        &Token { access_token: &token, expires_on: end.as_secs().to_string(), resource, token_type: "Bearer" },
    ))
}

#[derive(serde::Serialize)]
struct Token<'a> {
    access_token: &'a Zeroizing<String>,
    expires_on: String,
    resource: &'a str,
    token_type: &'static str,
}

/// Whether tokens for it are the Key Vault door's.
fn is_vaults(call: &Call, audience: &str) -> bool {
    let ours = SUFFIXES.iter().any(|suffix| audience.strip_prefix("https://").is_some_and(|host| host == *suffix));
    ours || call.doors().resource.trim_end_matches('/') == audience
}

/// As App Service refuses.
fn refusal(failure: &Failure) -> Response {
    let status = StatusCode::from_u16(failure.kind().meaning().http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let message = failure.message().as_str();
    document(status, &json!({ "statusCode": status.as_u16(), "message": message, "code": failure.code() }))
}
