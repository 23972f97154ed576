//! What a reference means here: a connection of the mount's workspace, or a field of one.

use serde::Deserialize;
use strongroom_azure::Cloud;
use strongroom_plugin::http::{self, Method, Request};
use strongroom_plugin::{Context, Failure, Reference};

/// The mount's config.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    subscription: String,
    resource_group: String,
    workspace: String,
    cloud: Option<String>,
    api_version: Option<String>,
}

/// Stable, and the same in what is used here as all others.
const API_VERSION: &str = "2024-04-01";

/// A workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// Its name.
    pub name: String,
    /// Its resource group's name.
    pub group: String,
    /// The origin of the cloud's resource manager.
    pub origin: &'static str,
    path: Vec<String>,
    api_version: String,
}

/// A connection, or a field of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The connection's name.
    pub connection: String,
    /// What of it.
    pub part: Part,
}

/// What of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// All of it, as the service answers.
    Document,
    /// A credential; of custom keys, a key.
    Credential(String),
    /// A metadata field.
    Metadata(String),
    /// The target.
    Target,
}

impl Workspace {
    /// The workspace that the mount's config names.
    ///
    /// # Errors
    /// Kind invalid-config.
    pub fn of(context: &Context) -> Result<Self, Failure> {
        let Config { subscription, resource_group, workspace, cloud, api_version } = context.config()?;
        let words = [
            "subscriptions",
            &subscription,
            "resourceGroups",
            &resource_group,
            "providers",
            "Microsoft.MachineLearningServices",
            "workspaces",
            &workspace,
            "connections",
        ];
        Ok(Self {
            path: words.map(str::to_owned).to_vec(),
            origin: Cloud::named(cloud.as_deref())?.resource_manager,
            api_version: api_version.unwrap_or_else(|| API_VERSION.to_owned()),
            name: workspace,
            group: resource_group,
        })
    }

    /// The path of its connections.
    #[must_use]
    pub fn path(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    /// A request to its connections, and below them to `more`.
    pub fn request(&self, method: Method, more: &[&str]) -> Request {
        http::request(method, self.origin)
            .path(&self.path)
            .path(more)
            .query("api-version", self.api_version.as_str())
            .header("accept", "application/json")
    }
}

const FORMS: &str =
    "a reference is azureml://connections/{c}, or that with /credentials/{key}, /metadata/{key} or /target";

impl Place {
    /// Reads a reference.
    ///
    /// # Errors
    /// Kind invalid-reference: it names nothing that a connection can have.
    pub fn of(reference: &Reference) -> Result<Self, Failure> {
        reference.only_selectors(&[])?;
        let words: Vec<&str> = reference.path.iter().map(String::as_str).collect();
        let (connection, part) = match *words.as_slice() {
            ["connections", connection] => (connection, Part::Document),
            ["connections", connection, "target"] => (connection, Part::Target),
            ["connections", connection, "credentials", key] if !key.is_empty() => {
                (connection, Part::Credential(key.to_owned()))
            }
            ["connections", connection, "metadata", key] if !key.is_empty() => {
                (connection, Part::Metadata(key.to_owned()))
            }
            ["keyvault", ..] => return Err(other_mount()),
            _ => return Err(Failure::invalid_reference("azureml.form", FORMS)),
        };
        check_connection(connection)?;
        Ok(Self { connection: connection.to_owned(), part })
    }
}

/// `^[a-zA-Z0-9][a-zA-Z0-9_-]{2,32}$`
fn check_connection(name: &str) -> Result<(), Failure> {
    let fits = (3..=33).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if fits {
        return Ok(());
    }
    let message = format!(
        "`{name}` is not the name of a connection: it is 3 to 33 of a-z, A-Z, 0-9, _ and -, and begins with a letter or digit"
    );
    Err(Failure::invalid_reference("azureml.connection-name", message))
}

/// The same scheme has two providers.
pub(crate) fn other_mount() -> Failure {
    let message =
        "this mount answers azureml://connections/; azureml://keyvault/ is for a mount of the plugin azureml-keyvault";
    Failure::invalid_reference("azureml.other-mount", message)
}
