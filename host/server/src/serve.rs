//! From start to stop: what is bound, when a config is read anew, and how it ends.
//!
//! A reload is all or nothing: a config that cannot be used, or a listener that cannot be had, changes nothing.
//! Requests that run keep what they began with.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use strongroom::{Failure, Kind, Paths, Setup, Strongroom};
use strongroom_core::Name;
use strongroom_core::config::listeners::{Door, OpenTo, ServerConfig};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::connection::{self, HANDSHAKE};
use crate::doors;
use crate::identify::Identifier;
use crate::limits::Limits;
use crate::listener::tls::{self, Certificate};
use crate::listener::{Bound, Peer, Place, Socket, bind, shown};
use crate::open::Open;
use crate::state::{House, State};

/// How often files are looked at for a change.
const LOOK: Duration = Duration::from_secs(1);

/// How long to wait after a connection could not be accepted: there are too many, and some end.
const AGAIN: Duration = Duration::from_millis(20);

/// How to serve.
pub struct Options {
    /// What to open, also each time the config changes.
    pub setup: Setup,
    /// Told of what goes on: where it listens, that a config is in force or refused, that it stops.
    pub tell: Box<dyn Fn(Event<'_>) + Send + Sync>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("setup", &self.setup).finish_non_exhaustive()
    }
}

/// What goes on.
#[derive(Debug)]
pub enum Event<'a> {
    /// Everything that the config names is listened at: address and doors, each.
    Ready(&'a [(String, String)]),
    /// A changed config is in force.
    Reloaded,
    /// A changed config cannot be used, and changes nothing.
    Refused(&'a Failure),
    /// No more requests are taken; those that run have this long.
    Stopping(Duration),
}

/// A listener that is served.
struct Served {
    place: Place,
    doors: BTreeSet<Door>,
    router: Arc<ArcSwap<Router>>,
    certificate: Option<Arc<Certificate>>,
    stop: watch::Sender<bool>,
}

/// What a config file says of serving.
struct Wanted {
    listeners: BTreeMap<Name, (Place, BTreeSet<Door>)>,
    server: ServerConfig,
    state: State,
    files: Vec<PathBuf>,
}

fn read(setup: &Setup) -> Result<Wanted, Failure> {
    let strongroom = Strongroom::open(setup.clone())?;
    let mut files: Vec<PathBuf> = strongroom.files_read();
    let mut listeners = BTreeMap::new();
    let paths: &Paths = &setup.paths;
    for (name, (listener, folder)) in strongroom.listeners() {
        let place = Place::of(listener, folder, paths).map_err(|failure| failure.at(listener.source.place(name)))?;
        if let Place::Tls { files: tls, .. } = &place {
            files.extend(
                [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()].into_iter().flatten().cloned(),
            );
        }
        listeners.insert(name.clone(), (place, listener.doors.clone()));
    }
    let server = strongroom.server_config().clone();
    let state = State {
        audit: strongroom.audit()?,
        identifier: Identifier::new(strongroom.verifier()),
        limits: Limits::new(&server),
        strongroom,
    };
    Ok(Wanted { listeners, server, state, files })
}

/// Where a server would listen: each address with its doors.
///
/// # Errors
/// What is wrong with the config.
pub fn check(setup: &Setup) -> Result<Vec<(String, String)>, Failure> {
    let wanted = read(setup)?;
    Ok(wanted.listeners.values().map(|(place, doors)| (shown(place), crate::listener::doors(doors))).collect())
}

/// Serves until the process is told to stop (SIGTERM, SIGINT), and reads its config anew when it changes or on
/// SIGHUP.
///
/// # Errors
/// What keeps it from starting: the config, a listener that cannot be had.
pub async fn serve(options: Options) -> Result<(), Failure> {
    let Options { setup, tell } = options;
    // As many connections as the system lets it have, whatever the shell allowed.
    let _ = strongroom_process::raise_file_limit();
    let Wanted { listeners, server, state, files } = read(&setup)?;
    let mut server = server;
    let mut watched = Watched::new(files);
    let house = Arc::new(House::new(state));
    let open = Open::new(server.connections);
    let mut served: BTreeMap<Name, Served> = BTreeMap::new();
    let bound = bind_all(&listeners, &BTreeMap::new()).await?;
    apply(&house, &open, &mut served, listeners, bound);
    let mut signals = Signals::new()?;
    let places: Vec<(String, String)> =
        served.values().map(|served| (shown(&served.place), crate::listener::doors(&served.doors))).collect();
    tell(Event::Ready(&places));
    loop {
        match signals.next(&mut watched, server.watch).await {
            Told::Stop => break,
            Told::Reload => {
                let reloaded = async {
                    let wanted = read(&setup)?;
                    for served in served.values() {
                        if let Some(certificate) = &served.certificate {
                            certificate.reload()?;
                        }
                    }
                    let bound = bind_all(&wanted.listeners, &served).await?;
                    Ok::<_, Failure>((wanted, bound))
                };
                match reloaded.await {
                    Ok((wanted, bound)) => {
                        house.replace(wanted.state);
                        open.limit(wanted.server.connections);
                        server = wanted.server;
                        watched = Watched::new(wanted.files);
                        apply(&house, &open, &mut served, wanted.listeners, bound);
                        tell(Event::Reloaded);
                    }
                    Err(failure) => tell(Event::Refused(&failure)),
                }
            }
        }
    }
    tell(Event::Stopping(server.drain));
    house.drain();
    // The sockets close with the tasks that hold them; connections end after the request that runs.
    for served in served.values() {
        let _ = served.stop.send(true);
    }
    let _ = tokio::time::timeout(server.drain, open.all_closed()).await;
    Ok(())
}

/// Binds what is wanted and not served yet.
async fn bind_all(
    wanted: &BTreeMap<Name, (Place, BTreeSet<Door>)>,
    served: &BTreeMap<Name, Served>,
) -> Result<BTreeMap<Name, Bound>, Failure> {
    let mut bound = BTreeMap::new();
    for (name, (place, _)) in wanted {
        let there = served.values().any(|served| served.place == *place);
        if !there {
            bound.insert(name.clone(), bind(name, place).await?);
        }
    }
    Ok(bound)
}

/// Starts what was bound, ends what is not wanted any more, and gives the others their new doors.
fn apply(
    house: &Arc<House>,
    open: &Open,
    served: &mut BTreeMap<Name, Served>,
    wanted: BTreeMap<Name, (Place, BTreeSet<Door>)>,
    mut bound: BTreeMap<Name, Bound>,
) {
    let mut before = std::mem::take(served);
    for (name, (place, doors)) in wanted {
        let router = doors::router(house, &doors);
        if let Some(bound) = bound.remove(&name) {
            let router = Arc::new(ArcSwap::from_pointee(router));
            let (stop, stopped) = watch::channel(false);
            let certificate = bound.socket.certificate();
            tokio::spawn(accept(bound.socket, Arc::clone(&router), stopped, open.clone()));
            served.insert(name, Served { place, doors, router, certificate, stop });
            continue;
        }
        let key = before.iter().find(|(_, served)| served.place == place).map(|(key, _)| key.clone());
        if let Some(mut there) = key.and_then(|key| before.remove(&key)) {
            there.router.store(Arc::new(router));
            there.doors = doors;
            served.insert(name, there);
        }
    }
    for gone in before.values() {
        let _ = gone.stop.send(true);
    }
}

/// Accepts connections until told to stop.
async fn accept(socket: Socket, router: Arc<ArcSwap<Router>>, stopped: watch::Receiver<bool>, open: Open) {
    let mut stop = stopped.clone();
    match socket {
        Socket::Unix { listener, open_to, _file } => {
            let own = rustix::process::geteuid().as_raw();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = stop.wait_for(|stop| *stop) => return,
                };
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                };
                let Some(place) = open.enter() else { continue };
                // Who connected, not who is there now: the kernel noted it.
                let Ok(peer) = stream.peer_cred() else { continue };
                if open_to == OpenTo::User && peer.uid() != own {
                    continue;
                }
                let Ok(mut gids) = strongroom_process::peer_groups(std::os::fd::AsFd::as_fd(&stream)) else { continue };
                gids.push(peer.gid());
                let peer = Arc::new(Peer::Unix { uid: peer.uid(), gids });
                let (router, stopped) = (router.load_full(), stopped.clone());
                tokio::spawn(async move {
                    let _place = place;
                    connection::serve(stream, peer, (*router).clone(), stopped).await;
                });
            }
        }
        Socket::Tcp { listener, certificate } => loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            let Some(place) = open.enter() else { continue };
            let _ = stream.set_nodelay(true);
            let (router, stopped) = (router.load_full(), stopped.clone());
            let acceptor = certificate.as_ref().map(|certificate| certificate.acceptor());
            tokio::spawn(async move {
                let _place = place;
                let Some(acceptor) = acceptor else {
                    connection::serve(stream, Arc::new(Peer::Loopback), (*router).clone(), stopped).await;
                    return;
                };
                let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
                let peer = match tls::names(stream.get_ref().1.peer_certificates()) {
                    Some(names) => Peer::Certificate { names },
                    None => Peer::Network,
                };
                connection::serve(stream, Arc::new(peer), (*router).clone(), stopped).await;
            });
        },
    }
}

/// What the server is told.
enum Told {
    Reload,
    Stop,
}

struct Signals {
    reload: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let on = |kind: SignalKind| {
            signal(kind).map_err(|error| {
                Failure::new(Kind::Internal, "server.signals", format!("signals cannot be received: {error}"))
            })
        };
        Ok(Self {
            reload: on(SignalKind::hangup())?,
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
        })
    }

    /// Waits for a signal or, with `look`, for a changed file.
    async fn next(&mut self, watched: &mut Watched, look: bool) -> Told {
        let changed = async {
            if !look {
                return std::future::pending().await;
            }
            loop {
                tokio::time::sleep(LOOK).await;
                if watched.changed() {
                    return;
                }
            }
        };
        tokio::select! {
            _ = self.reload.recv() => Told::Reload,
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            () = changed => Told::Reload,
        }
    }
}

/// What tells one state of a file from another.
type Mark = Option<(u64, u64, u64, i64, i64, i64, i64)>;

/// Files, as they were when they were last looked at.
struct Watched(Vec<(PathBuf, Mark)>);

impl Watched {
    fn new(files: Vec<PathBuf>) -> Self {
        Self(files.into_iter().map(|path| (path.clone(), mark(&path))).collect())
    }

    /// Whether any of them has changed since; each change is told once.
    fn changed(&mut self) -> bool {
        let mut changed = false;
        for (path, before) in &mut self.0 {
            let now = mark(path);
            changed |= now != *before;
            *before = now;
        }
        changed
    }
}

fn mark(path: &Path) -> Mark {
    let about = std::fs::metadata(path).ok()?;
    Some((about.dev(), about.ino(), about.size(), about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec()))
}
