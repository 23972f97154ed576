//! From start to stop: what is bound, when a config is read anew, and how it ends.
//!
//! A reload is all or nothing: a config that cannot be used, or a listener that cannot be had, changes nothing.
//! Requests that run keep what they began with.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use strongroom::observe::Observe;
use strongroom::{Failure, Kind, Setup, Strongroom};
use strongroom_core::config::listeners::{Door, OpenTo, ServerConfig};
use strongroom_core::{Digest, Name};
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::connection::{self, HANDSHAKE};
use crate::doors;
use crate::listener::{self, Held, Peer, Place, Socket, Stream, Wanted, bind};
use crate::metrics::Metrics;
use crate::open::Open;
use crate::state::{House, State};
use crate::systemd::{self, Passed};
use crate::traces::Traces;
use crate::watched::Watched;

/// How often files are looked at for a change.
const LOOK: Duration = Duration::from_secs(1);

/// How long to wait after a connection could not be accepted: there are too many, and some end.
const AGAIN: Duration = Duration::from_millis(20);

/// How long the last spans may take when the server ends.
const FLUSH: Duration = Duration::from_secs(5);

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

/// What is served at a listener, swapped while it listens.
struct Served {
    router: Router,
    tls: Option<TlsAcceptor>,
    open_to: OpenTo,
    trust: Trust,
    /// Tells the connections that they end after the request that runs. It is handed on from one to the next while `trust` stays.
    stop: Arc<watch::Sender<bool>>,
}

impl Served {
    /// Ends the connections after the request that runs, those too that have been accepted and have not looked yet: `send` alone would
    /// forget it while nobody listens.
    fn end(&self) {
        self.stop.send_replace(true);
    }
}

/// What a connection was let in by, or let in to. Where that is another one, those that are open are worth nothing any more.
#[derive(Clone, PartialEq, Eq)]
struct Trust {
    doors: BTreeSet<Door>,
    open_to: OpenTo,
    /// Of TLS: the clients' authorities.
    tls: Option<Option<Digest>>,
}

/// A listener that is served.
struct Running {
    place: Place,
    /// Of a socket that was passed: which it is.
    held: Option<Held>,
    /// The port that it has, if any.
    port: Option<u16>,
    served: Arc<ArcSwap<Served>>,
    stop: watch::Sender<bool>,
    /// Accepts, and holds the socket: it is closed, and its file removed, with the task.
    accepting: JoinHandle<()>,
}

impl Running {
    /// Listens no more, and ends each connection after the request that runs.
    fn end(&self) {
        let _ = self.stop.send(true);
        self.served.load().end();
    }
}

/// What a config says of serving.
struct Plan {
    listeners: BTreeMap<Name, Wanted>,
    server: ServerConfig,
    state: State,
}

impl Plan {
    /// `before` is what is in force: what it has that still fits is taken over. Files are `watched` from before they are
    /// read, whatever comes of it.
    fn read(
        setup: &Setup,
        metrics: &Arc<Metrics>,
        before: Option<&State>,
        watched: &mut Watched,
    ) -> Result<Self, Failure> {
        for path in setup.config_candidates() {
            watched.before_reading(&path);
        }
        let successor_of = before.map(|before| before.strongroom.clone());
        let observe = Some(Arc::clone(metrics) as Arc<dyn Observe>);
        let strongroom = Strongroom::open(Setup { successor_of, observe, ..setup.clone() })?;
        for path in strongroom.authority_files() {
            watched.before_reading(path);
        }
        let mut listeners: BTreeMap<Name, Wanted> = BTreeMap::new();
        for (name, (listener, folder)) in strongroom.listeners() {
            let placed = |failure: Failure| failure.at(listener.source.place(name));
            let wanted = Wanted::of(listener, folder, &setup.paths, watched).map_err(placed)?;
            if let Some((other, _)) = listeners.iter().find(|(_, other)| other.place.excludes(&wanted.place)) {
                let message = format!("the listeners {other} and {name} cannot both be there");
                let failure = Failure::new(Kind::InvalidConfig, "server.listeners", message);
                return Err(placed(failure.help("name all doors at one of them, or give one another address or path")));
            }
            listeners.insert(name.clone(), wanted);
        }
        let server = strongroom.server_config().clone();
        let doors = doors::scopes::InForce::read(&strongroom)?;
        let traces = server
            .traces
            .clone()
            .map(|to| Traces::new(to, strongroom.clone(), Arc::clone(metrics), setup.warn.clone()));
        let state = State { traces, ..State::read(strongroom, doors, metrics, before)? };
        Ok(Self { listeners, server, state })
    }

    /// The listeners, for people: each with its doors.
    fn shown(&self, bound: &BTreeMap<Name, Socket>) -> Vec<(String, String)> {
        self.listeners.iter().map(|(name, wanted)| wanted.shown(bound.get(name))).collect()
    }
}

/// Where a server would listen: each address with its doors.
///
/// # Errors
/// What is wrong with the config.
pub fn check(setup: &Setup) -> Result<Vec<(String, String)>, Failure> {
    Ok(Plan::read(setup, &Arc::new(Metrics::new()), None, &mut Watched::default())?.shown(&BTreeMap::new()))
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
    let metrics = Arc::new(Metrics::new());
    let mut watched = Watched::default();
    let plan = Plan::read(&setup, &metrics, None, &mut watched)?;
    let mut signals = Signals::new()?;
    let mut running = BTreeMap::new();
    let mut passed = Passed::take(&setup.environment)?;
    let bound = bind_all(&plan.listeners, &running, &mut passed).await?;
    passed.all_taken()?;
    let shown = plan.shown(&bound);
    let Plan { listeners, mut server, state } = plan;
    let open = Open::new(server.connections, metrics.connections.clone());
    let house = Arc::new(House::new(state, Arc::clone(&metrics)));
    apply(&house, &open, &mut running, listeners, bound);
    tell(Event::Ready(&shown));
    systemd::ready();
    while let Told::Reload = signals.next(&mut watched, server.watch).await {
        systemd::reloading();
        let mut seen = Watched::default();
        let read = async {
            let plan = Plan::read(&setup, &metrics, Some(&house.state()), &mut seen)?;
            let bound = bind_all(&plan.listeners, &running, &mut Passed::default()).await?;
            Ok::<_, Failure>((plan, bound))
        };
        match read.await {
            Ok((plan, bound)) => {
                let Plan { listeners, state, .. } = plan;
                server = plan.server;
                watched = seen;
                house.replace(state);
                open.limit(server.connections);
                apply(&house, &open, &mut running, listeners, bound);
                metrics.reloaded(true);
                tell(Event::Reloaded);
            }
            Err(failure) => {
                // What is in force may be put back, and what the refused one lacks may come.
                watched.join(seen);
                metrics.reloaded(false);
                tell(Event::Refused(&failure));
            }
        }
        systemd::ready();
    }
    tell(Event::Stopping(server.drain));
    systemd::stopping();
    house.drain();
    // Connections end after the request that runs.
    for running in running.values() {
        running.end();
    }
    for running in running.into_values() {
        let _ = running.accepting.await;
    }
    tokio::select! {
        () = open.all_closed() => {}
        () = tokio::time::sleep(server.drain) => {}
        // Whoever says it twice does not want to wait.
        () = signals.stop() => {}
    }
    if let Some(traces) = &house.state().traces {
        traces.flush(FLUSH.min(server.drain)).await;
    }
    Ok(())
}

/// The running listener that a wanted one is from now on. A port that the system chose is known by its listener's name.
fn successor_at<'r>(
    running: &'r BTreeMap<Name, Running>,
    name: &Name,
    place: &Place,
) -> Option<(&'r Name, &'r Running)> {
    let mut all = running.iter();
    match running.get_key_value(name) {
        Some((name, same)) if same.held.is_some() || same.place == *place => Some((name, same)),
        _ if place.is_chosen_by_system() => None,
        _ => all.find(|(_, running)| running.held.is_none() && running.place.is(place)),
    }
}

/// Binds what is wanted and not listened at yet.
async fn bind_all(
    wanted: &BTreeMap<Name, Wanted>,
    running: &BTreeMap<Name, Running>,
    passed: &mut Passed,
) -> Result<BTreeMap<Name, Socket>, Failure> {
    // A socket that was passed is its listener's for good, at a start and ever after.
    for (name, held) in running.iter().filter_map(|(name, running)| Some((name, running.held.as_ref()?))) {
        held.fits(name, wanted.get(name))?;
    }
    let mut bound = BTreeMap::new();
    for (name, wanted) in wanted {
        if successor_at(running, name, &wanted.place).is_some() {
            continue;
        }
        let own: Vec<u16> = running.values().filter_map(|running| running.port).collect();
        bound.insert(name.clone(), bind(name, wanted, passed.remove(name), &own).await?);
    }
    Ok(bound)
}

/// Starts what was bound, ends what is not wanted any more, and gives the others what they serve from now on.
fn apply(
    house: &Arc<House>,
    open: &Open,
    running: &mut BTreeMap<Name, Running>,
    wanted: BTreeMap<Name, Wanted>,
    mut bound: BTreeMap<Name, Socket>,
) {
    let mut before = std::mem::take(running);
    for (name, wanted) in wanted {
        let trust = Trust {
            doors: wanted.doors.clone(),
            open_to: wanted.open_to,
            tls: wanted.tls.as_ref().map(|tls| tls.client_ca),
        };
        let served = |stop: Arc<watch::Sender<bool>>| {
            let tls = wanted.tls.map(|tls| TlsAcceptor::from(tls.config));
            Arc::new(Served {
                router: doors::router(house, &wanted.doors),
                tls,
                open_to: wanted.open_to,
                trust: trust.clone(),
                stop,
            })
        };
        let place = wanted.place;
        if let Some(socket) = bound.remove(&name) {
            let served = Arc::new(ArcSwap::new(served(Arc::default())));
            let (stop, stopped) = watch::channel(false);
            let now = Arc::clone(&served);
            let (held, port) = (socket.held(), socket.port());
            let accepting = tokio::spawn(accept(socket, stopped, open.clone(), move |stream| {
                let served = now.load_full();
                let stopped = served.stop.subscribe();
                converse(stream, served, stopped)
            }));
            running.insert(name, Running { place, held, port, served, stop, accepting });
            continue;
        }
        let key = successor_at(&before, &name, &place).map(|(key, _)| key.clone());
        if let Some(there) = key.and_then(|key| before.remove(&key)) {
            if let Place::Socket(path) = &place
                && there.held.is_none()
                && let Err(failure) = listener::open(path, trust.open_to)
            {
                // Who may not connect is refused all the same.
                tracing::warn!(target: "strongroom", code = failure.code(), "{failure}");
            }
            let before = there.served.load_full();
            match before.trust == trust {
                true => there.served.store(served(Arc::clone(&before.stop))),
                false => {
                    there.served.store(served(Arc::default()));
                    before.end();
                }
            }
            running.insert(name, there);
        }
    }
    for gone in before.values() {
        gone.end();
    }
}

/// Accepts connections, each for a task of its own, until told to stop.
pub(crate) async fn accept<F: Future<Output = ()> + Send + 'static>(
    socket: Socket,
    mut stopped: watch::Receiver<bool>,
    open: Open,
    serve: impl Fn(Stream) -> F + Clone + Send + 'static,
) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        let Ok(stream) = accepted else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let Some(place) = open.enter(matches!(stream, Stream::Unix(_))) else { continue };
        let serve = serve.clone();
        // Made in its task: a future that is handed in is kept in two places.
        tokio::spawn(async move {
            let _place = place;
            serve(stream).await;
        });
    }
}

/// Finds out who is there, and serves the connection.
async fn converse(stream: Stream, served: Arc<Served>, stopped: watch::Receiver<bool>) {
    let router = served.router.clone();
    match stream {
        Stream::Unix(stream) => {
            // Who connected, not who is there now: the kernel noted it.
            let Ok(peer) = stream.peer_cred() else { return };
            if served.open_to == OpenTo::User && peer.uid() != rustix::process::geteuid().as_raw() {
                return;
            }
            let Ok(mut gids) = strongroom_process::peer_groups(stream.as_fd()) else { return };
            gids.push(peer.gid());
            connection::serve(stream, Arc::new(Peer::Unix { uid: peer.uid(), gids }), router, stopped).await;
        }
        Stream::Tcp(stream) => {
            let _ = stream.set_nodelay(true);
            let Some(acceptor) = &served.tls else {
                connection::serve(stream, Arc::new(Peer::Loopback), router, stopped).await;
                return;
            };
            // In a box, whose room is free again after the handshake.
            let handshake = Box::pin(tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)));
            let Ok(Ok(stream)) = handshake.await else { return };
            converse_over_tls(stream, router, stopped).await;
        }
    }
}

/// The rest of [`converse`] after a handshake. No `async fn`: one that had looked at the stream would keep its room.
fn converse_over_tls(
    stream: TlsStream<TcpStream>,
    router: Router,
    stopped: watch::Receiver<bool>,
) -> impl Future<Output = ()> {
    let peer = match listener::names(stream.get_ref().1.peer_certificates()) {
        Some(names) => Peer::Certificate { names },
        None => Peer::Network,
    };
    connection::serve(stream, Arc::new(peer), router, stopped)
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

    /// Waits to be told to stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Weak;

    use strongroom::{Environment, Keys, Paths, Trace, Value};

    use super::*;

    /// All that could keep hold of a config: values that are kept, a store, an audit log, issuers, spans.
    const CONFIG: &str = r#"
[mounts.env]
plugin = "env"
ttl = "1h"
[mounts.keys]
plugin = "keys"
write = true
ttl = "1h"
[issuers.ci]
issuer = "https://127.0.0.1:1"
jwks = "https://127.0.0.1:1/keys"
audiences = ["strongroom"]
algorithms = ["RS256"]
[callers.ci]
jwt = { issuer = "ci", subject = "job" }
[[policy]]
callers = ["ci"]
mounts = ["env"]
operations = ["resolve"]
[audit]
file = "audit.jsonl"
"#;

    /// What a config that is read holds, and lets go when it ends.
    type Alive = Weak<dyn Fn(&Name, &str, &strongroom::Event) + Send + Sync>;

    /// Reads a config to be in force after that of `house`.
    fn reload(folder: &Path, house: Option<&House>) -> (Plan, Alive) {
        let trace: Trace = Arc::new(|_, _, _| {});
        let alive = Arc::downgrade(&trace);
        let mut setup = Setup { trace: Some(trace), ..Setup::from_toml(CONFIG, folder) };
        setup.environment = Environment::from_iter([("NAME".into(), "value".into())]);
        setup.paths = Paths { state: Some(folder.join("state")), ..Paths::default() };
        setup.paths.runtime = Some(folder.join("run"));
        setup.keys = Keys { no_keyring: true, ..Keys::default() };
        let metrics = house.map_or_else(|| Arc::new(Metrics::new()), |house| Arc::clone(house.metrics()));
        let before = house.map(House::state);
        (Plan::read(&setup, &metrics, before.as_deref(), &mut Watched::default()).unwrap(), alive)
    }

    /// Reads a variable, writes a key and reads it back.
    async fn use_it(state: &State) {
        let host = &state.strongroom;
        assert_eq!(host.resolve("env:NAME").await.unwrap().expose(), b"value");
        host.set(&host.parse("keys://g/k").unwrap(), &Value::text("v"), &[], None).await.unwrap();
        assert_eq!(host.resolve("keys://g/k").await.unwrap().expose(), b"v");
    }

    #[test]
    fn a_connection_that_looks_only_after_the_end_sees_it() {
        let trust = Trust { doors: BTreeSet::new(), open_to: OpenTo::User, tls: None };
        let stop = Arc::default();
        let served = Served { router: Router::new(), tls: None, open_to: OpenTo::User, trust, stop };
        served.end();
        assert!(*served.stop.subscribe().borrow());
    }

    #[tokio::test]
    async fn a_config_that_was_replaced_ends_with_its_last_request() {
        let folder = tempfile::tempdir().unwrap();
        let (plan, mut alive) = reload(folder.path(), None);
        let house = House::new(plan.state, Arc::new(Metrics::new()));
        for _ in 0..3 {
            let running = house.state();
            use_it(&running).await;
            let (plan, next) = reload(folder.path(), Some(&house));
            house.replace(plan.state);
            assert!(alive.upgrade().is_some(), "a request runs");
            drop(running);
            assert!(alive.upgrade().is_none(), "nobody needs it");
            alive = next;
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn configs_that_were_replaced_leave_no_descriptors_open() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let all = std::fs::read_dir("/proc/self/fd").unwrap();
            let named = all.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
            named.filter(|path| path.starts_with(folder.path())).count()
        };
        let house = House::new(reload(folder.path(), None).0.state, Arc::new(Metrics::new()));
        use_it(&house.state()).await;
        let before = open();
        let mut running = Vec::new();
        for _ in 0..8 {
            running.push(house.state());
            house.replace(reload(folder.path(), Some(&house)).0.state);
            use_it(&house.state()).await;
        }
        drop(running);
        assert_eq!(open(), before);
    }
}
