//! What a reference means here: a secret of the mount's workspace.

use serde::Deserialize;
use strongroom_azure::check_secret_name;
use strongroom_plugin::http::{self, Method, Request};
use strongroom_plugin::{Context, Failure, Reference};

/// A workspace, as the mount's config has it.
#[derive(Debug, Deserialize)]
pub struct Workspace {
    subscription: String,
    resource_group: String,
    /// Its name.
    #[serde(rename = "workspace")]
    pub name: String,
    /// The origin of the service.
    pub experimentation: String,
}

impl Workspace {
    /// The workspace that the mount's config names.
    ///
    /// # Errors
    /// Kind invalid-config.
    pub fn of(context: &Context) -> Result<Self, Failure> {
        context.config()
    }

    /// A request to the service, for `more` of the workspace. It has no api-version.
    pub fn request(&self, method: Method, more: &[&str]) -> Request {
        let Self { subscription, resource_group, name, experimentation } = self;
        http::request(method, experimentation)
            .path(["credential", "v2.0", "subscriptions", subscription, "resourceGroups", resource_group])
            .path(["providers", "Microsoft.MachineLearningServices", "workspaces", name])
            .path(more)
            .header("accept", "application/json")
    }
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
