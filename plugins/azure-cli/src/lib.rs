//! Who is signed in to `az` or `azd` on this machine: the tool gives the token.
//!
//! The operator or the release declares the tool, and this plugin fills its holes. A tool prints its
//! token on standard output, so nothing of that is ever told; of its errors, only what cannot be a
//! secret.

#![forbid(unsafe_code)]

mod az;
mod azd;
mod outcome;

use serde::Deserialize;
use strongroom_entra::authority::check_tenant;
use strongroom_plugin::credential::{Request, Resume, Step};
use strongroom_plugin::{Context, Credential, Failure, tool};

/// The plugin. It has no state: every call is a new instance.
#[derive(Debug)]
pub struct AzureCli;

strongroom_plugin::credential!(AzureCli);

/// The credential's config.
#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default)]
    tool: Tool,
    tenant: Option<String>,
    subscription: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Tool {
    #[default]
    Az,
    Azd,
}

/// What a tool's holes are filled with.
type Holes = Vec<(String, String)>;

impl Credential for AzureCli {
    fn acquire(context: &Context, request: &Request, _: Option<&[u8]>, _: Option<&Resume>) -> Result<Step, Failure> {
        let config: Config = context.config()?;
        let tenant = request.tenant.as_deref().or(config.tenant.as_deref());
        if let Some(tenant) = tenant {
            check_tenant(tenant)?;
        }
        let token = match config.tool {
            Tool::Az => {
                let holes = az::holes(&config, request, tenant)?;
                az::read(tool::run("az", &holes), tenant)?
            }
            Tool::Azd => {
                let holes = azd::holes(&config, request, tenant)?;
                azd::read(tool::run("azd", &holes), tenant)?
            }
        };
        Ok(token.into())
    }
}
