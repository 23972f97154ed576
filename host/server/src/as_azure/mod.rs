//! `run --as-azure`: the services that a program written for Azure finds in its environment, for that one program.
//!
//! Three listeners on random ports of loopback: a proxy that ends the vaults' names at the Key Vault door and tunnels
//! the others ([`proxy`]), an endpoint of a managed identity ([`identity`]), and the Azure ML door. Any program of the machine can
//! connect to them, so each is worth nothing without a secret of 256 bits that the child alone has, and
//! what is handed out in return is accepted at these doors alone. The key of the authority that makes the vaults'
//! certificates never leaves memory, and is good for vaults only ([`authority`]).
//!
//! It must never answer a link that other programs find by themselves, such as a machine's metadata service, nor hand
//! out a real token that the config does not grant.

mod authority;
mod environment;
mod identity;
mod proxy;
mod tokens;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use strongroom::{Failure, Kind, Secret, Setup, Strongroom};
use strongroom_core::config::listeners::Door;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use zeroize::Zeroizing;

use self::authority::Authority;
use self::tokens::Given;
pub(crate) use self::tokens::RunTokens;
use crate::connection;
use crate::doors;
use crate::doors::scopes::InForce;
use crate::listener::{Peer, Socket, Stream};
use crate::metrics::Metrics;
use crate::open::Open;
use crate::serve;
use crate::state::{House, State};

/// Told of each value before the child gets it.
pub type Handed = Arc<dyn Fn(&Secret) + Send + Sync>;

/// Azure, as far as one child sees it. It ends when dropped.
pub struct AsAzure {
    facts: environment::Facts,
    authority: String,
    /// Ends the listeners and their connections.
    stop: watch::Sender<bool>,
}

/// A file that is removed when it is dropped.
#[derive(Debug)]
pub struct Bundle(tempfile::NamedTempFile);

impl Bundle {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Opens the config of `setup`, and serves it to a child that is still to be started, on the runtime that this is
/// called on.
///
/// # Errors
/// `run.as-azure` where nothing stands behind Azure's names; what is wrong with the config; a machine without ports.
pub async fn as_azure(setup: Setup, handed: Handed) -> Result<AsAzure, Failure> {
    let strongroom = Strongroom::open(setup)?;
    let doors = InForce::of_a_run(&strongroom)?;
    check(&strongroom)?;
    let given = Given::random()?;
    let authority = Arc::new(Authority::new()?);
    let metrics = Arc::new(Metrics::new());
    let workspace = strongroom.doors().azureml.as_ref().map(environment::Workspace::of);
    let state = State::read(strongroom, doors, &metrics, None)?;
    let open = Open::new(state.strongroom.server_config().connections, metrics.connections.clone());
    let house = House::new(State { handed: Some(handed), ..state }, metrics).for_run(given.digests());
    let house = Arc::new(house);
    let (stop, stopped) = watch::channel(false);

    let listener = listen().await?;
    let proxy_port = port(&listener)?;
    let vaults = doors::router(&house, &BTreeSet::from([Door::KeyVault]));
    let proxy = proxy::Proxy::new(Arc::clone(&house), Arc::clone(&authority), vaults, stopped.clone());
    let proxy = Arc::new(proxy);
    accept(listener, &stopped, &open, move |stream, stopped| proxy::serve(Arc::clone(&proxy), stream, stopped));
    let identity_port = serve_alone(identity::router(&house), &stopped, &open).await?;
    let azureml = match workspace {
        Some(workspace) => Some((
            serve_alone(doors::router(&house, &BTreeSet::from([Door::Azureml])), &stopped, &open).await?,
            workspace,
        )),
        None => None,
    };
    let facts = environment::Facts { proxy_port, identity_port, azureml, given };
    Ok(AsAzure { facts, authority: authority.pem(), stop })
}

impl AsAzure {
    /// Leads a child here: `variables`, which are to be its environment, lose what would lead it elsewhere. What
    /// is given back must be kept while it runs.
    ///
    /// # Errors
    /// `run.as-azure-proxy` where the child has a proxy already; a file of authorities that cannot be read or written.
    pub fn lead(&self, variables: &mut Vec<(OsString, OsString)>) -> Result<Bundle, Failure> {
        self.facts.lead(variables, &self.authority)
    }

    /// What the child alone has, to be masked like a value.
    pub fn secrets(&self) -> impl Iterator<Item = &Zeroizing<String>> {
        self.facts.given.all()
    }
}

impl Drop for AsAzure {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

impl std::fmt::Debug for AsAzure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AsAzure(..)")
    }
}

/// Finds out before the child starts what it would find out late.
fn check(strongroom: &Strongroom) -> Result<(), Failure> {
    let doors = strongroom.doors();
    let vaults = doors.key_vault.is_some() || strongroom.mounts().iter().any(|mount| mount.scheme == "keyvault");
    if !vaults && doors.azureml.is_none() {
        let message =
            "nothing stands behind Azure's names: there is no mount for `keyvault:` references, and no [doors]";
        return Err(Failure::new(Kind::NotConfigured, "run.as-azure", message)
            .help("in your own config: [doors.key-vault] vaults = { \"*\" = \"keys://team\" }")
            .help("or a mount of azure-key-vault, whose vaults then stand for themselves"));
    }
    let known = strongroom.credentials();
    let mut lent = doors.managed_identity.iter().flat_map(|door| door.audiences.values());
    if let Some(lent) = lent.find(|lent| !known.contains(&lent.credential)) {
        let message = format!("there is no credential {}", lent.credential);
        let failure = Failure::new(Kind::InvalidConfig, "config.door", message);
        return Err(match &lent.place {
            Some(place) => failure.at(place.clone()),
            None => failure,
        });
    }
    Ok(())
}

/// A listener on a random port.
async fn listen() -> Result<TcpListener, Failure> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.map_err(|error| no_port(&error))
}

fn port(listener: &TcpListener) -> Result<u16, Failure> {
    Ok(listener.local_addr().map_err(|error| no_port(&error))?.port())
}

fn no_port(error: &std::io::Error) -> Failure {
    Failure::new(Kind::Unavailable, "run.as-azure-port", format!("no port on loopback can be listened on: {error}"))
}

/// Serves `router` to whoever connects, and gives the port.
async fn serve_alone(router: Router, stopped: &watch::Receiver<bool>, open: &Open) -> Result<u16, Failure> {
    let listener = listen().await?;
    let port = port(&listener)?;
    accept(listener, stopped, open, move |stream, stopped| {
        connection::serve(stream, Arc::new(Peer::Loopback), router.clone(), stopped)
    });
    Ok(port)
}

/// Accepts connections until told to stop.
fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    stopped: &watch::Receiver<bool>,
    open: &Open,
    serve: impl Fn(TcpStream, watch::Receiver<bool>) -> F + Clone + Send + 'static,
) {
    let now = stopped.clone();
    let socket = Socket::Tcp { listener, passed: false };
    let accepted = serve::accept(socket, stopped.clone(), open.clone(), move |stream| {
        let (serve, stopped) = (serve.clone(), now.clone());
        async move {
            if let Stream::Tcp(stream) = stream {
                let _ = stream.set_nodelay(true);
                serve(stream, stopped).await;
            }
        }
    });
    tokio::spawn(accepted);
}
