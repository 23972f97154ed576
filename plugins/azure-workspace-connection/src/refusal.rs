//! What the service's failures mean, each reason by itself.
//!
//! They are told apart by status and code. The service's own text names identities and subscriptions;
//! none of it gets into a failure.

use strongroom_azure::{Fault, retold};
use strongroom_plugin::http::Response;
use strongroom_plugin::{Failure, Kind};

use crate::place::Workspace;

/// The code of a connection that is not there. The service's own (`UserError`) says less.
pub const NO_CONNECTION: &str = "azureml.no-connection";

/// What was asked of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the service's operations")]
pub enum Operation {
    ReadSecrets,
    List,
    Write,
    Delete,
}

impl Operation {
    /// The action below `Microsoft.MachineLearningServices/workspaces/connections/`, and a role that
    /// has it.
    const fn needs(self) -> (&'static str, &'static str) {
        match self {
            Self::ReadSecrets => (
                "listsecrets/action",
                "Azure Machine Learning Workspace Connection Secrets Reader (ea01e6af-a1c1-4350-9563-ad00f8c72ec5)",
            ),
            Self::List => ("read", "Reader"),
            Self::Write => ("write", "Contributor"),
            Self::Delete => ("delete", "Contributor"),
        }
    }
}

/// Why `operation` on `connection`, or on all of them, was answered with `response`, which is no
/// success.
#[must_use]
pub fn refused(workspace: &Workspace, connection: Option<&str>, operation: Operation, response: &Response) -> Failure {
    let fault = Fault::of(response);
    let Workspace { name, group, .. } = workspace;
    let what = connection.map_or_else(
        || format!("the connections of the workspace `{name}`"),
        |connection| format!("the connection `{connection}` of the workspace `{name}`"),
    );
    let tell = |kind, code: &str, message: String| retold(response, kind, code, message);
    let own = |status: &str| fault.word().unwrap_or(status).to_owned();
    match response.status() {
        401 => unauthenticated(response, &fault),
        403 => {
            let (action, role) = operation.needs();
            let message = format!(
                "the identity may not do this to {what}: it lacks Microsoft.MachineLearningServices/workspaces/connections/{action}; \
                 assign it the role {role} on the workspace, which takes minutes to act"
            );
            tell(Kind::Denied, &own("http.403"), message).attribute("role", role)
        }
        404 if fault.is("ResourceGroupNotFound") => {
            let message = format!(
                "there is no resource group `{group}`, or the identity may see nothing of it; the mount's config names it"
            );
            tell(Kind::NotFound, "ResourceGroupNotFound", message)
        }
        404 if fault.is("SubscriptionNotFound") => {
            let message =
                "there is no such subscription, or the identity may see nothing of it; the mount's config names it";
            tell(Kind::NotFound, "SubscriptionNotFound", message.into())
        }
        404 if fault.is("ResourceNotFound") || fault.is("ParentResourceNotFound") => {
            let message = format!(
                "there is no workspace `{name}` in the resource group `{group}`, or the identity may see nothing of it; the mount's \
                 config names it"
            );
            tell(Kind::NotFound, &own("ResourceNotFound"), message)
        }
        404 if connection.is_some() => {
            let message = format!("{what} is not there: no such connection, nor one that is shared to the workspace");
            tell(Kind::NotFound, NO_CONNECTION, message)
        }
        404 => tell(Kind::NotFound, &own("http.404"), format!("{what} are not there")),
        400 if ["InvalidApiVersionParameter", "MissingApiVersionParameter", "NoRegisteredProviderFound"]
            .iter()
            .any(|code| fault.is(code)) =>
        {
            let message = "the service does not know the `api_version` of the mount's config, or not in this region";
            tell(Kind::InvalidConfig, &own("http.400"), message.into())
        }
        400 => {
            let message = format!(
                "the service does not take the request for {what}: a name or a property is not one that it accepts"
            );
            tell(Kind::InvalidReference, &own("http.400"), message)
        }
        409 | 412 => {
            tell(Kind::Conflict, &own("http.409"), format!("{what} is being changed by somebody else; try again"))
        }
        429 => {
            let message = "the resource manager is asked too much, by this identity or in this subscription";
            tell(Kind::Throttled, &own("http.429"), message.into())
        }
        status @ (408 | 500..=599) => {
            let code = own(&format!("http.{status}"));
            tell(Kind::Unavailable, &code, format!("the resource manager could not answer for {what} ({status})"))
        }
        _ => response.failure(),
    }
}

/// The host has answered any challenge already: this is final.
fn unauthenticated(response: &Response, fault: &Fault) -> Failure {
    let (code, why) = match fault.word() {
        Some("InvalidAuthenticationTokenTenant") => (
            "InvalidAuthenticationTokenTenant",
            "it is of another tenant than the subscription's; give the credential the tenant of the subscription",
        ),
        Some("InvalidAuthenticationTokenAudience") => (
            "InvalidAuthenticationTokenAudience",
            "it is for another resource; the credential has to get one for the resource manager of this cloud",
        ),
        Some("ExpiredAuthenticationToken") => {
            ("ExpiredAuthenticationToken", "it is expired; sign in anew, and look at this machine's clock")
        }
        other => (other.unwrap_or("http.401"), "it takes no token that the mount's credential gives; sign in anew"),
    };
    retold(response, Kind::Unauthenticated, code, format!("the resource manager does not accept the token: {why}"))
}
