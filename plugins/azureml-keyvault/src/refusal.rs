//! What the service's failures mean, each reason by itself.
//!
//! They are told apart by status and by the innermost code of the envelope. The service's own text, and
//! the stack traces that it may add, get into no failure.

use strongroom_azure::{Fault, retold};
use strongroom_plugin::http::Response;
use strongroom_plugin::{Failure, Kind};

use crate::place::Workspace;

/// What was asked of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the service's operations")]
pub enum Operation {
    Find,
    Read,
    Write,
    Delete,
}

impl Operation {
    /// The action, and a role that has it.
    const fn needs(self) -> (&'static str, &'static str) {
        match self {
            Self::Find => ("Microsoft.MachineLearningServices/workspaces/read", "Reader"),
            Self::Read => (
                "Microsoft.MachineLearningServices/workspaces/metadata/secrets/read",
                "Azure Machine Learning Workspace Connection Secrets Reader (ea01e6af-a1c1-4350-9563-ad00f8c72ec5)",
            ),
            Self::Write => ("Microsoft.MachineLearningServices/workspaces/metadata/secrets/write", "Contributor"),
            Self::Delete => ("Microsoft.MachineLearningServices/workspaces/metadata/secrets/delete", "Contributor"),
        }
    }
}

/// Codes of a 404 that mean the workspace, and no secret.
const NO_WORKSPACE: [&str; 4] =
    ["WorkspaceNotFound", "ResourceNotFound", "ResourceGroupNotFound", "SubscriptionNotFound"];

/// Why `operation` on the secret `name`, or on several, was answered with `response`, which is no
/// success.
#[must_use]
pub fn refused(workspace: &Workspace, name: Option<&str>, operation: Operation, response: &Response) -> Failure {
    let fault = Fault::of(response);
    let of = format!("of the workspace `{}`", workspace.name);
    let what = match (name, operation) {
        (_, Operation::Find) => format!("the address of the service {of}"),
        (Some(name), _) => format!("the secret `{name}` {of}"),
        (None, _) => format!("the secrets {of}"),
    };
    let tell = |kind, code: &str, message: String| retold(response, kind, code, message);
    let own = |status: &str| fault.word().unwrap_or(status).to_owned();
    match response.status() {
        401 | 403 if operation == Operation::Find => {
            let (action, role) = operation.needs();
            let message = format!(
                "the resource manager does not tell {what} to this identity, which needs {action} (the role {role}), and tells no \
                 run; say it in the mount's config, as `experimentation` or `discovery`"
            );
            tell(Kind::Denied, &own("http.403"), message)
        }
        401 => {
            let message = "the service does not accept the token: it takes one for the resource manager, of the workspace's own \
                           tenant, or that of a run of this workspace; sign in anew";
            tell(Kind::Unauthenticated, &own("http.401"), message.into())
        }
        403 => {
            let (action, role) = operation.needs();
            let message = format!(
                "the identity may not do this to {what}: it lacks {action}; assign it the role {role} on the workspace. A run's token is for its own workspace alone"
            );
            tell(Kind::Denied, &own("http.403"), message)
        }
        404 if NO_WORKSPACE.iter().any(|code| fault.is(code)) => {
            let message = format!(
                "the service knows no workspace `{}`, or the identity may see nothing of it; the mount's config names workspace, \
                 resource group, subscription and region",
                workspace.name
            );
            tell(Kind::NotFound, &own("WorkspaceNotFound"), message)
        }
        404 => match name {
            Some(name) => missing(workspace, name),
            None => tell(Kind::NotFound, &own("http.404"), format!("{what} are not there")),
        },
        409 => {
            let message = format!(
                "{what} is in conflict with what is there: a deleted secret keeps its name until it is recovered or purged in the \
                 workspace's own vault"
            );
            tell(Kind::Conflict, &own("http.409"), message)
        }
        400 => {
            let message = format!(
                "the service does not take the request for {what}: a name, a value or a content type does not fit"
            );
            tell(Kind::InvalidReference, &own("http.400"), message)
        }
        429 => tell(Kind::Throttled, &own("http.429"), "the service is asked too much".into()),
        status @ (408 | 500..=599) => {
            let code = own(&format!("http.{status}"));
            tell(Kind::Unavailable, &code, format!("the service could not answer for {what} ({status})"))
        }
        _ => response.failure(),
    }
}

/// There is no such secret.
#[must_use]
pub fn missing(workspace: &Workspace, name: &str) -> Failure {
    let message = format!("the workspace `{}` has no secret `{name}`", workspace.name);
    Failure::not_found("SecretNotFound", message)
}

/// Why a request did not get to the service.
#[must_use]
pub fn unsent(workspace: &Workspace, failure: Failure) -> Failure {
    if failure.code != "http.dns" {
        return failure;
    }
    let message = format!(
        "the service of the workspace `{}` has no address: the mount's `experimentation` or `discovery`, or the workspace, names \
         a host that is not there",
        workspace.name
    );
    Failure { code: "azureml.no-service".into(), message, ..failure }
}
