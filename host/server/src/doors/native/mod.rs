//! Strongroom's own interface: REST, version 1, below `/api/v1`. `openapi.json` is its description.

mod answer;
mod read;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use strongroom::{Failure, Kind};
use strongroom_core::config::listeners::Door;

use crate::doors::{Face, behind, finish, in_the_open, trace_of};
use crate::state::House;

/// The door.
struct Native;

impl Face for Native {
    fn door(&self) -> Door {
        Door::Native
    }

    fn refuse(&self, failure: &Failure) -> Response {
        answer::failure(failure)
    }
}

pub(crate) fn router(house: &Arc<House>) -> Router {
    let wrong = || async { answer::with_status(StatusCode::METHOD_NOT_ALLOWED, &wrong_method()) };
    let secret = get(read::secret).put(write::set).patch(write::annotate).delete(write::delete);
    let routes = Router::new()
        .route("/api/v1/resolve", post(read::resolve).fallback(wrong))
        .route("/api/v1/secret", secret.fallback(wrong))
        .route("/api/v1/metadata", get(read::metadata).fallback(wrong))
        .route("/api/v1/versions", get(read::versions).fallback(wrong))
        .route("/api/v1/names", get(read::names).fallback(wrong))
        .route("/api/v1/recover", post(write::recover).fallback(wrong))
        .route("/api/v1/purge", post(write::purge).fallback(wrong))
        .route("/api/v1/explain", get(read::explain).fallback(wrong))
        .route("/api/v1/plugins", get(read::plugins).fallback(wrong))
        .route("/api/v1/server", get(read::server).fallback(wrong));
    // Whoever watches the server need not be a caller, and learns nothing but that it runs.
    let open = Router::new()
        .route("/api/v1/health", get(health).fallback(wrong))
        .route("/api/v1/ready", get(ready).fallback(wrong))
        .route("/api/v1/openapi.json", get(openapi).fallback(wrong))
        .layer(from_fn(finished))
        .with_state(Arc::clone(house));
    behind(routes, house, Native).merge(in_the_open(open, answer::failure))
}

async fn finished(request: Request, next: Next) -> Response {
    let trace = trace_of(request.headers());
    let mut response = next.run(request).await;
    finish(&mut response, trace);
    response
}

fn wrong_method() -> Failure {
    Failure::new(Kind::Unsupported, "request.method", "that path is not served with this method")
}

/// For paths that no door has.
pub(crate) async fn nothing_there(headers: HeaderMap) -> Response {
    let mut response = failure(&Failure::new(Kind::NotFound, "request.path", "nothing is served at that path"));
    finish(&mut response, trace_of(&headers));
    response
}

/// A failure in the shape of this door.
pub(crate) fn failure(failure: &Failure) -> Response {
    answer::failure(failure)
}

async fn health() -> Response {
    answer::json(StatusCode::OK, &serde_json::json!({ "status": "alive" }))
}

async fn ready(State(house): State<Arc<House>>) -> Response {
    match house.is_draining() {
        false => answer::json(StatusCode::OK, &serde_json::json!({ "status": "ready" })),
        true => answer::json(StatusCode::SERVICE_UNAVAILABLE, &serde_json::json!({ "status": "stopping" })),
    }
}

async fn openapi() -> Response {
    let mut response = Response::new(Body::from(include_str!("openapi.json")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
