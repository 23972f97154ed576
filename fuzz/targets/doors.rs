//! The parsers of the server's doors, without the server: it would bring Wasmtime along.

#[path = "../../host/server/src/doors/path.rs"]
pub(crate) mod path;
#[path = "../../host/server/src/doors/query.rs"]
pub(crate) mod query;
