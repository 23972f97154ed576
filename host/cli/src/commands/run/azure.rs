//! `--as-azure`: what serves the program as if it were in Azure, for as long as it runs.

use std::ffi::OsString;
use std::sync::Arc;

use strongroom::{Failure, Kind};
use strongroom_core::LiveMasks;
use strongroom_server::{AsAzure, Bundle, as_azure};
use tokio::runtime::Runtime;

use crate::session::Session;

/// Threads that serve: it is one program.
const WORKERS: usize = 2;

/// Azure, as the program sees it.
pub struct Azure {
    variables: Vec<(OsString, OsString)>,
    /// The authorities that the program trusts, in a file that ends with this.
    _bundle: Bundle,
    served: Option<(AsAzure, Runtime)>,
}

impl Azure {
    /// Starts to serve. `variables` is what the program would inherit. What it is given is added to `masks` first.
    pub fn start(
        session: &Session,
        masks: &LiveMasks,
        mut variables: Vec<(OsString, OsString)>,
    ) -> Result<Self, Failure> {
        let mut setup = session.setup();
        // What the program asks for comes through a door, and is written down there.
        setup.audited = None;
        setup.elsewhere = None;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Kind::Internal, "runtime", format!("cannot start: {error}")))?;
        let known = masks.clone();
        let azure = runtime.block_on(as_azure(setup, Arc::new(move |secret| known.add(secret.expose()))))?;
        azure.secrets().for_each(|secret| masks.add(secret.as_bytes()));
        let bundle = azure.lead(&mut variables)?;
        Ok(Self { variables, _bundle: bundle, served: Some((azure, runtime)) })
    }

    /// What the program inherits, led here.
    pub fn variables(&self) -> &Vec<(OsString, OsString)> {
        &self.variables
    }
}

impl Drop for Azure {
    fn drop(&mut self) {
        if let Some((azure, runtime)) = self.served.take() {
            drop(azure);
            // What still runs for a program that has ended must not keep this one.
            runtime.shutdown_background();
        }
    }
}
