//! The Azure ML door: the credential service of Azure ML's first SDK, over any mount, and as much of the services
//! around it as a job's `Run.get_context()` asks.
//!
//! Which workspace a request is for stands in its path; `[doors.azureml]` says what stands behind it. Nothing
//! else of Azure ML is here: a run is whatever its client says that it is, and worth nothing.

mod answer;
mod run;
mod secrets;

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use axum::routing::{any, get};
use axum::{Extension, Router};
use http::{HeaderMap, Method, Uri};
use strongroom::{Failure, Kind, Reference};
use strongroom_core::config::listeners::Door;
use strongroom_core::policy::Identity;

use crate::doors::query::Query;
use crate::doors::{Face, behind, in_the_open, path};
use crate::gate::Call;
use crate::state::House;

/// The door. It knows the tokens of a run.
struct Azureml(Arc<House>);

impl Face for Azureml {
    fn door(&self) -> Door {
        Door::Azureml
    }

    fn given(&self, token: &str) -> Option<Identity> {
        self.0.run()?.at_job(token)
    }

    fn refuse(&self, failure: &Failure) -> Response {
        answer::not_admitted(failure)
    }
}

pub(crate) fn router(house: &Arc<House>) -> Router {
    let routes = Router::new().route("/credential/{*rest}", any(serve)).route("/history/{*rest}", any(serve));
    // Where the services are is asked without a token, and is no secret: it is where this was asked.
    let open = Router::new().route("/discovery", get(run::discovery)).route("/discovery/{*rest}", get(run::discovery));
    behind(routes, house, Azureml(Arc::clone(house))).merge(in_the_open(open, answer::failure))
}

/// A request for a workspace that is there.
pub(super) struct Asked<'c> {
    call: &'c Call,
    /// What stands behind the workspace.
    scope: &'c Reference,
    query: Query<'c>,
}

async fn serve(Extension(call): Extension<Call>, method: Method, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    match answer(&call, &method, &uri, &headers, body).await {
        Ok(response) => response,
        Err(failure) => answer::failure(&failure),
    }
}

async fn answer(call: &Call, method: &Method, uri: &Uri, headers: &HeaderMap, body: Body) -> Result<Response, Failure> {
    let parts = path::parts(uri.path())?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let no_route = || Failure::new(Kind::NotFound, "azureml.path", "there is no such route");
    let [
        service,
        version,
        "subscriptions",
        subscription,
        groups,
        group,
        "providers",
        provider,
        "workspaces",
        name,
        rest @ ..,
    ] = parts.as_slice()
    else {
        return Err(no_route());
    };
    // As the resource manager compares them.
    let known = groups.eq_ignore_ascii_case("resourceGroups")
        && provider.eq_ignore_ascii_case("Microsoft.MachineLearningServices");
    if !known {
        return Err(no_route());
    }
    let place = format!("{subscription}/{group}/{name}").to_lowercase();
    let unknown = || Failure::new(Kind::NotFound, "azureml.workspace", "there is no such workspace here");
    let scope = call.doors().workspaces.find(&[&place]).ok_or_else(unknown)?;
    let query = Query::parse(uri.query(), &["systemSecret", "continuationToken"])?;
    let asked = Asked { call, scope, query };
    match (*service, *version, method.as_str(), rest) {
        ("credential", "v2.0", "PUT", ["secrets"]) => secrets::set(&asked, headers, body).await,
        ("credential", "v2.0", "PUT", ["secrets:putbatch"]) => secrets::set_all(&asked, headers, body).await,
        ("credential", "v2.0", "GET", ["secrets"]) => secrets::list(&asked).await,
        ("credential", "v2.0", "GET", ["secrets", name]) => secrets::get(&asked, name).await,
        ("credential", "v2.0", "POST", ["secrets:getbatch"]) => secrets::get_all(&asked, headers, body).await,
        ("credential", "v2.0", "DELETE", ["secrets", name]) => secrets::delete(&asked, name).await,
        ("credential", "v2.0", "POST", ["secrets:deletebatch"]) => secrets::delete_all(&asked, headers, body).await,
        ("history", "v1.0", "GET", ["experimentids" | "experiments", experiment, "runs", run]) => {
            Ok(run::record(experiment, run))
        }
        ("history", "v1.0", "GET", ["experimentids" | "experiments", _, "runs", _, "token"]) => run::token(headers),
        ("credential", "v2.0", _, ["secrets" | "secrets:putbatch" | "secrets:getbatch" | "secrets:deletebatch"])
        | ("credential", "v2.0", _, ["secrets", _]) => {
            Err(Failure::new(Kind::Unsupported, "request.method", "that path is not served with this method"))
        }
        ("history", ..) => {
            let message = "runs are not kept here: their secrets alone are served";
            Err(Failure::new(Kind::Unsupported, "azureml.not-offered", message))
        }
        _ => Err(no_route()),
    }
}
