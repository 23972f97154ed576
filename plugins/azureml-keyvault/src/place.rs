//! What a reference means here: a secret of the mount's workspace.

use serde::Deserialize;
use strongroom_azure::check_secret_name;
use strongroom_plugin::http::{self, Method, Request};

use crate::refusal::{Operation, refused, unsent};
use strongroom_plugin::{Context, Failure, Reference};

/// A workspace, as the mount's config has it.
#[derive(Debug, Deserialize)]
pub struct Workspace {
    subscription: String,
    resource_group: String,
    /// Its name.
    #[serde(rename = "workspace")]
    pub name: String,
    /// The origin of the service; empty as long as it is not found.
    #[serde(default)]
    pub experimentation: String,
    discovery: Option<String>,
    /// The resource manager of its cloud, which its tokens are for.
    audience: String,
}

/// What of a workspace tells where its services are.
#[derive(Deserialize)]
struct Resource {
    properties: Properties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    discovery_url: String,
}

/// What of the discovery's answer is needed: the address that the service is at.
#[derive(Deserialize)]
struct Services {
    experimentation: String,
}

/// The version of the resource manager's interface.
const API_VERSION: &str = "2024-04-01";

impl Workspace {
    /// The workspace that the mount's config names, and where its service is: as the config says, else as
    /// the workspace does. The host reads the same answers, and lets no request go elsewhere.
    ///
    /// # Errors
    /// Kind invalid-config; why the service cannot be found.
    pub fn of(context: &Context) -> Result<Self, Failure> {
        let mut workspace: Self = context.config()?;
        if workspace.experimentation.is_empty() {
            let discovery = match &workspace.discovery {
                Some(url) => url.clone(),
                None => workspace.discovery_url()?,
            };
            let request = http::request(Method::Get, origin_of(&discovery)).path(["discovery"]);
            let response = request.header("accept", "application/json").send();
            let response = response.map_err(|failure| unsent(&workspace, failure))?;
            if response.status() != 200 {
                return Err(refused(&workspace, None, Operation::Find, &response));
            }
            workspace.experimentation = response.json::<Services>()?.experimentation;
        }
        workspace.experimentation = origin_of(&workspace.experimentation).to_owned();
        Ok(workspace)
    }

    fn discovery_url(&self) -> Result<String, Failure> {
        let Self { subscription, resource_group, name, audience, .. } = self;
        let request = http::request(Method::Get, audience)
            .path(["subscriptions", subscription, "resourceGroups", resource_group])
            .path(["providers", "Microsoft.MachineLearningServices", "workspaces", name])
            .query("api-version", Some(API_VERSION))
            .header("accept", "application/json");
        let response = request.send().map_err(|failure| unsent(self, failure))?;
        if response.status() != 200 {
            return Err(refused(self, None, Operation::Find, &response));
        }
        Ok(response.json::<Resource>()?.properties.discovery_url)
    }

    /// A request to the service, for `more` of the workspace. It has no api-version.
    pub fn request(&self, method: Method, more: &[&str]) -> Request {
        let Self { subscription, resource_group, name, experimentation, .. } = self;
        http::request(method, experimentation)
            .path(["credential", "v2.0", "subscriptions", subscription, "resourceGroups", resource_group])
            .path(["providers", "Microsoft.MachineLearningServices", "workspaces", name])
            .path(more)
            .header("accept", "application/json")
    }
}

/// Scheme, host and port of an address. What it is to be, the host says.
fn origin_of(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let rest = url.get(start..).unwrap_or_default();
    let end = rest.find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    url.get(..end).unwrap_or(url)
}

/// The name of the secret that `reference` means.
///
/// # Errors
/// Kind invalid-reference: it is none of `azureml://keyvault/{name}`.
pub fn name_of(reference: &Reference) -> Result<&str, Failure> {
    reference.only_selectors(&[])?;
    let words: Vec<&str> = reference.path.iter().map(String::as_str).collect();
    match *words.as_slice() {
        ["keyvault", name] => check_secret_name(name).map(|()| name),
        ["connections", ..] => Err(other_mount()),
        _ => Err(Failure::invalid_reference("azureml.form", "a reference is azureml://keyvault/{name}")),
    }
}

/// What comes before a name to make a path of it: `keyvault/`, where the scope is the whole scheme.
///
/// # Errors
/// Kind invalid-reference: it is no scope of this mount.
pub fn before_names(scope: &Reference) -> Result<&'static str, Failure> {
    if scope.selector("state").is_some() {
        let message = "the service does not list what is deleted; the workspace's own vault does";
        return Err(Failure::unsupported("azureml.no-soft-delete", message));
    }
    scope.only_selectors(&[])?;
    let words: Vec<&str> = scope.path.iter().map(String::as_str).collect();
    match *words.as_slice() {
        [] => Ok("keyvault/"),
        ["keyvault"] => Ok(""),
        ["connections", ..] => Err(other_mount()),
        _ => {
            let message = "names are listed of the workspace: azureml://keyvault";
            Err(Failure::invalid_reference("azureml.scope", message))
        }
    }
}

/// The same scheme has two providers.
fn other_mount() -> Failure {
    let message = "this mount answers azureml://keyvault/; azureml://connections/ is for a mount of the plugin azure-workspace-connection";
    Failure::invalid_reference("azureml.other-mount", message)
}
