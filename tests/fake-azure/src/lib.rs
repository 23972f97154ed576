//! An Azure for tests, on loopback: Entra ID, the identity endpoints of machines, Key Vault, workspace
//! connections and Azure ML's v1 credential service, with faults to switch on.
//!
//! Microsoft's own clients are its judges (`clients/`): what they do not accept is wrong here. Its
//! tokens, secrets and certificates are worth nothing anywhere else, and it must never send anything to
//! a host that is not this machine.
//!
//! ```
//! let fake = fake_azure::Fake::start(fake_azure::Options::default())?;
//! let counters = fake.control("GET", "/control/counters", serde_json::Value::Null)?;
//! assert_eq!(counters["connections"], 0);
//! # Ok::<(), String>(())
//! ```

#![forbid(unsafe_code)]

mod arm;
mod clock;
mod cloud;
mod control;
pub mod defaults;
mod directory;
mod entra;
mod faults;
mod http;
mod identity;
mod ml;
mod random;
mod record;
mod serve;
mod tls;
mod token;
mod vault;
mod world;

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use axum::http::{HeaderMap, Method};
use serde_json::Value;
use tokio::sync::oneshot;

pub use crate::entra::Landing;
use crate::serve::Shared;
use crate::world::World;

/// How to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where files are written; a temporary folder if absent, gone with the fake.
    pub folder: Option<PathBuf>,
    /// Port of all names, with TLS; a free one if 0.
    pub https_port: u16,
    /// Port of local endpoints and of control, without TLS; a free one if 0.
    pub http_port: u16,
    /// Port of the proxy that leads every name here; a free one if 0.
    pub proxy_port: u16,
    /// HTTP/2 is offered.
    pub http2: bool,
    /// A seed document, JSON, on top of the default content.
    pub seed: Option<String>,
    /// Where Arc's challenge files are written; in the folder if absent.
    pub arc_folder: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { folder: None, https_port: 0, http_port: 0, proxy_port: 0, http2: true, seed: None, arc_folder: None }
    }
}

/// A fake that runs, on a thread of its own; dropping it ends it.
pub struct Fake {
    shared: Arc<Shared>,
    folder: PathBuf,
    _temporary: Option<tempfile::TempDir>,
    ports: [u16; 3],
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Fake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Fake").field("folder", &self.folder).field("ports", &self.ports).finish_non_exhaustive()
    }
}

impl Fake {
    /// Starts with the default content, and gives it once all ports listen.
    ///
    /// # Errors
    ///
    /// In words: a port that is taken, a folder that cannot be written, a seed that is wrong.
    pub fn start(options: Options) -> Result<Self, String> {
        let temporary = match &options.folder {
            Some(_) => None,
            None => {
                Some(tempfile::Builder::new().prefix("fake-azure-").tempdir().map_err(words("a temporary folder"))?)
            }
        };
        let folder = match (&options.folder, &temporary) {
            (Some(folder), _) => folder.clone(),
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => PathBuf::new(),
        };
        fs::create_dir_all(&folder).map_err(words(&folder.display().to_string()))?;
        let folder = folder.canonicalize().map_err(words(&folder.display().to_string()))?;

        let listen = |port: u16| -> Result<TcpListener, String> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(words(&format!("port {port}")))?;
            listener.set_nonblocking(true).map_err(words("a listener"))?;
            Ok(listener)
        };
        let listeners = [listen(options.https_port)?, listen(options.http_port)?, listen(options.proxy_port)?];
        let mut ports = [0; 3];
        for (port, listener) in ports.iter_mut().zip(&listeners) {
            *port = listener.local_addr().map_err(words("a listener"))?.port();
        }

        let mut world = World::default();
        world.machine.settings.arc_folder = options.arc_folder.clone().unwrap_or_else(|| folder.join("arc-tokens"));
        fs::create_dir_all(&world.machine.settings.arc_folder).map_err(words("the folder of Arc's challenge files"))?;
        defaults::fill(&mut world)?;
        if let Some(seed) = &options.seed {
            let seed = serde_json::from_str(seed).map_err(|error| format!("the seed: {error}"))?;
            world.seed(seed)?;
        }
        let shared = Arc::new(Shared::new(world, ports));
        let authority = {
            let shared = Arc::clone(&shared);
            Arc::new(tls::Authority::new(Box::new(move |name| shared.serves(name)))?)
        };
        defaults::write(&shared.world(), &folder, &ports, &authority.pem())
            .map_err(words(&folder.display().to_string()))?;
        let config = authority.config(options.http2)?;

        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(words("a runtime"))?;
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("fake-azure".into())
            .spawn(move || runtime.block_on(serve::serve(serving, listeners, config, stopped)))
            .map_err(words("a thread"))?;
        Ok(Self { shared, folder, _temporary: temporary, ports, stop: Some(stop), thread: Some(thread) })
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The certificate to trust.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The port of all names.
    pub fn https_port(&self) -> u16 {
        self.ports[0]
    }

    /// The port of local endpoints and control.
    pub fn http_port(&self) -> u16 {
        self.ports[1]
    }

    /// The proxy's port.
    pub fn proxy_port(&self) -> u16 {
        self.ports[2]
    }

    /// What to put in the environment, or to print: names and values.
    pub fn facts(&self) -> Vec<(String, String)> {
        defaults::facts(&self.folder, &self.ports)
    }

    /// The environment that leads Microsoft's clients here.
    pub fn environment(&self) -> Vec<(String, String)> {
        defaults::environment(&self.world(), &self.folder, &self.ports)
    }

    /// What `POST /control/...` and its like do, without a connection. A null body is none.
    ///
    /// # Errors
    ///
    /// What the answer says, if its status is none of success.
    pub fn control(&self, method: &str, path: &str, body: Value) -> Result<Value, String> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let call = http::Call::new(method, "127.0.0.1", path, HeaderMap::new(), body);
        let answer = control::answer(&mut self.world(), &call);
        if answer.status < 300 { Ok(answer.value()) } else { Err(String::from_utf8_lossy(&answer.body).into_owned()) }
    }

    /// What a person's browser is sent back with from an authorize page, for a test that goes there itself.
    ///
    /// # Errors
    ///
    /// The page's text, where the authority shows an error instead.
    pub fn browse(&self, url: &str) -> Result<Landing, String> {
        entra::browse(&mut self.world(), url)
    }

    /// An access token of the default application for `resource`, good for an hour, as Entra ID would give it.
    pub fn access_token(&self, resource: &str) -> String {
        let world = self.world();
        let app = world.directory.apps.iter().find(|app| app.client_id == defaults::CLIENT);
        let subject = token::Subject {
            object_id: app.map(|app| app.object_id.clone()).unwrap_or_default(),
            app_id: defaults::CLIENT.to_owned(),
            tenant: defaults::TENANT.to_owned(),
            name: None,
        };
        entra::access_token(&world, &cloud::CLOUDS[0], &subject, resource, None, 3600)
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn words(what: &str) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{what}: {error}")
}

impl Shared {
    /// All that the fake knows; a test that panicked with it in hand left it usable.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
