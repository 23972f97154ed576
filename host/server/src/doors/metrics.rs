//! The door for Prometheus: always alone on a listener of its own, so that who may reach it is the network's and the
//! socket's to say. It tells numbers and names of the config, and leads nowhere.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::{in_the_open, native};
use crate::state::House;

pub(super) fn router(house: &Arc<House>) -> Router {
    let routes = Router::new().route("/metrics", get(metrics)).with_state(Arc::clone(house));
    in_the_open(routes, native::failure)
}

async fn metrics(State(house): State<Arc<House>>) -> Response {
    let mut response = Response::new(Body::from(house.metrics().shown(house.state().strongroom.kept_answers())));
    let text = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}
