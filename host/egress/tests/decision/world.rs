//! A plugin's manifest, a call, and requests of it, for tables.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use strongroom_core::manifest::Function;
use strongroom_core::{HostPattern, Manifest, Reference, Shapes, Text};
use strongroom_egress::decide::{Approved, Stage, decide};
use strongroom_egress::{Asked, Refused, Terms};

use crate::{bridge, naive};

pub const HEAD: &str = "name = \"p\"\nversion = \"1.0.0\"\nschemes = [\"acme\"]\nwants = [\"http\"]\n\
                        [reference]\nauthority = true\npath = [\"space\", \"path*\"]\n";

/// What a plugin with these rules may do in one call.
pub struct World {
    pub terms: Terms,
    rules: Vec<naive::Rule>,
    shapes: Shapes,
}

/// One request. What is not said is what the rule of [`World::usual`] allows.
#[derive(Debug, Clone)]
pub struct Try<'a> {
    pub method: &'a str,
    pub scheme: &'a str,
    pub authority: &'a str,
    pub target: &'a str,
    pub headers: Vec<(&'a str, &'a [u8])>,
    pub body: &'a [u8],
}

impl Default for Try<'_> {
    fn default() -> Self {
        Self {
            method: "GET",
            scheme: "https",
            authority: "a.vault.example",
            target: "/v1/team/db",
            headers: Vec::new(),
            body: &[],
        }
    }
}

impl World {
    /// The rules of a manifest's `[[http]]` parts, each of which stands after `[[http]]`.
    pub fn new(rules: &[&str]) -> Self {
        let parts: String = rules.iter().map(|rule| format!("[[http]]\n{rule}\n")).collect();
        Self::of(&format!("{HEAD}{parts}"))
    }

    pub fn of(manifest: &str) -> Self {
        let manifest = Manifest::parse(manifest.as_bytes(), Text::new("plugin.toml"))
            .unwrap_or_else(|failure| panic!("{failure} at {:?}", failure.place()));
        let mut shapes = Shapes::builtin();
        if let (Some(scheme), Some(shape)) = (manifest.schemes.first(), manifest.shape()) {
            assert!(shapes.insert(scheme, shape));
        }
        let rules = manifest.http.iter().map(bridge::as_written).collect();
        let terms = Terms {
            function: Function::Resolve,
            references: Arc::new([]),
            config: Arc::new(json!({})),
            rules: manifest.http.into(),
            hosts: Arc::new([]),
            network: None,
            holdings: Arc::default(),
        };
        Self { terms, rules, shapes }.with_references(&["acme://a.vault.example/team/db?version=3"])
    }

    /// One rule that follows the reference.
    pub fn usual() -> Self {
        Self::new(&["origin = \"https://{ref.authority}\"\nhosts = [\"*.vault.example\"]\n\
                     allow = [\"GET /v1/{ref.path.0}/{ref.path.1}\", \"PUT /v1/{ref.path.0}/{ref.path.1}\"]\n\
                     query = { version = [\"{ref.selector.version}\", \"0\"], cursor = \"any\" }\n\
                     headers = [\"x-request-id\", \"x-op: read\", \"x-op: list\"]"])
    }

    pub fn with_references(mut self, references: &[&str]) -> Self {
        self.terms.references = references.iter().map(|text| Reference::parse(text, &self.shapes).unwrap()).collect();
        self
    }

    pub fn with_config(mut self, config: Value) -> Self {
        self.terms.config = Arc::new(config);
        self
    }

    pub fn with_hosts(mut self, hosts: &[&str]) -> Self {
        self.terms.hosts = hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect();
        self
    }

    pub fn running(mut self, function: Function) -> Self {
        self.terms.function = function;
        self
    }

    /// The decision, which the naive one must agree with.
    pub fn decide(&self, request: &Try<'_>) -> Result<Approved, Refused> {
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        let asked = Asked {
            method: request.method,
            scheme: request.scheme,
            authority: request.authority,
            target: request.target,
            headers: &headers,
            body: request.body,
        };
        let decided = decide(&self.terms, &asked);
        let leaves = decided.as_ref().ok().map(bridge::as_leaves);
        assert_eq!(leaves, bridge::naively(&self.terms, &self.rules, &asked), "{request:?}");
        decided
    }

    #[track_caller]
    pub fn allows(&self, request: &Try<'_>) -> Approved {
        self.decide(request).unwrap_or_else(|refused| panic!("{refused:?}: {request:?}"))
    }

    #[track_caller]
    pub fn refuses(&self, request: &Try<'_>) -> Refused {
        match self.decide(request) {
            Ok(approved) => panic!("{request:?} leaves as {approved:?}"),
            Err(refused) => refused,
        }
    }

    #[track_caller]
    pub fn refuses_at(&self, stage: Stage, request: &Try<'_>) -> Refused {
        let refused = self.refuses(request);
        assert_eq!(refused.stage, stage, "{refused:?}: {request:?}");
        refused
    }
}
