//! Tools for an auth plugin: programs of this machine, declared by the operator or the release.
//!
//! A call may have run what its plugin's manifest names and nothing else; a plugin that is a file gets the
//! operator's declarations alone. A tool has the declared environment, no input, the folder `/` and a time;
//! what it prints goes to the plugin and is never shown.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use strongroom_core::config::Tool;
use strongroom_core::{Failure, Kind, Text};
use strongroom_process::tool::{Destination, Limits, guarded, run_limited};
use strongroom_process::{Exit, tool};
use strongroom_sandbox::capability::tool::{Output, Tools};

use crate::capabilities::Touched;
use crate::environment::{Environment, is_withheld};

/// The most that a tool may print, in bytes.
const MAX_OUTPUT_BYTES: usize = 64 << 10;

/// The tools of one call.
pub(crate) struct BoundTools {
    /// By name: what the manifest names, and its declaration if there is one.
    pub(crate) declared: BTreeMap<String, Option<Tool>>,
    pub(crate) environment: Arc<Environment>,
    /// The variables that feed credentials, which no tool inherits.
    pub(crate) sealed_variables: BTreeSet<String>,
    pub(crate) deadline: Instant,
    pub(crate) touched: Arc<Touched>,
}

impl BoundTools {
    /// The tool's whole environment.
    fn environment_of(&self, tool: &Tool) -> Vec<(OsString, OsString)> {
        let handed = |name: &&String| !is_withheld(OsStr::new(name.as_str()), &self.sealed_variables);
        let inherited = tool.inherit.iter().filter(handed);
        let inherited = inherited.filter_map(|name| Some((name.into(), self.environment.get(name)?.to_owned())));
        let own = tool.env.iter().map(|(name, value)| (name.into(), value.into()));
        inherited.chain(own).collect()
    }
}

#[async_trait]
impl Tools for BoundTools {
    async fn run(&self, name: String, holes: Vec<(String, String)>) -> Result<Output, Failure> {
        let shown = Text::capped(&name, 64);
        let tool = match self.declared.get(&name) {
            Some(Some(tool)) => tool,
            Some(None) => {
                let message = format!("the plugin needs the tool {shown}, which nobody has declared");
                return Err(Failure::new(Kind::InvalidConfig, "tool.undeclared", message)
                    .help(format!("in your own config: [tools.{shown}] with `program` and `args`")));
            }
            None => {
                let message = format!("the plugin asks for the tool {shown}, which its manifest does not name");
                return Err(Failure::new(Kind::PolicyDenied, "tool.refused", message));
            }
        };
        let args = tool.fill(&holes)?;
        let env = self.environment_of(tool);
        let program = guarded(OsStr::new(&tool.program), &env)?;
        let wall = tool.timeout.min(self.deadline.saturating_duration_since(Instant::now()));
        let task = tokio::task::spawn_blocking(move || {
            run_limited(&tool::Tool {
                program,
                args: args.into_iter().map(OsString::from).collect(),
                env,
                folder: PathBuf::from("/"),
                input: None,
                output: Destination::Captured,
                limits: Limits { wall, output_bytes: MAX_OUTPUT_BYTES },
            })
        });
        let done = task.await.map_err(|_| Failure::new(Kind::Internal, "tool.task", "a tool's end was not seen"))??;
        self.touched.note(&done.output);
        let status = match done.exit {
            Exit::Code(code) => i32::from(code),
            Exit::Signal(signal) => -i32::from(signal),
        };
        Ok(Output { status, stdout: done.output, stderr: done.errors })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use strongroom_core::config::{Config, Layer};

    use super::*;

    fn bound(declaration: &str) -> BoundTools {
        let text = format!("[tools.mint]\nprogram = \"/usr/bin/env\"\n{declaration}");
        let config = Config::parse(&text, Text::new("c"), Layer::User).unwrap();
        let names = ["mint", "other"].map(|name| (name.to_owned(), config.tools.get(name).cloned()));
        let variables = [("HANDED", "yes"), ("SECRET", "s3cret"), ("STRONGROOM_PASSPHRASE", "s3cret"), ("OTHER", "no")];
        BoundTools {
            declared: names.into(),
            environment: Arc::new(Environment::from_iter(variables.map(|(k, v)| (k.into(), v.into())))),
            sealed_variables: ["SECRET".to_owned()].into(),
            deadline: Instant::now() + Duration::from_secs(60),
            touched: Arc::default(),
        }
    }

    #[tokio::test]
    async fn a_plugin_has_run_what_its_manifest_names_and_somebody_declared() {
        let tools = bound("");
        for (name, code, kind) in [
            ("other", "tool.undeclared", Kind::InvalidConfig),
            ("env", "tool.refused", Kind::PolicyDenied),
            ("/usr/bin/env", "tool.refused", Kind::PolicyDenied),
            ("", "tool.refused", Kind::PolicyDenied),
        ] {
            let failure = tools.run(name.to_owned(), Vec::new()).await.unwrap_err();
            assert_eq!((failure.code(), failure.kind()), (code, kind), "{name}");
        }
        assert_eq!(tools.run("mint".to_owned(), Vec::new()).await.unwrap().status, 0);
    }

    #[tokio::test]
    async fn its_environment_is_the_declared_one_without_what_feeds_credentials() {
        let inherit =
            "inherit = [\"HANDED\", \"SECRET\", \"STRONGROOM_PASSPHRASE\", \"ABSENT\"]\nenv = { OWN = \"1\" }";
        let output = bound(inherit).run("mint".to_owned(), Vec::new()).await.unwrap();
        let text = String::from_utf8(output.stdout.to_vec()).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["HANDED=yes", "OWN=1"]);
    }
}
