//! The way to a backend: from a destination that was allowed to the bytes of its answer.
//!
//! [`Client::exchange`] resolves, checks every address, connects to one that was checked, verifies TLS
//! for the name, sends and reads, all within limits. It must never be given a destination that nobody
//! decided on: nothing here knows what a plugin may do. Neither proxies nor roots come from the
//! environment; no redirect is followed; no connection is shared between partitions.

mod body;
mod dial;
mod error;
mod exchange;
mod http1;
mod http2;
mod pool;
mod resolver;
mod retry;
mod roots;
mod stream;
#[cfg(test)]
mod tests;
mod tunnel;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use strongroom_core::Network;
use tokio::time::{Instant, timeout_at};

pub use self::error::{SendError, Stage};
pub use self::exchange::{Answer, Limits, MAX_FIELDS, MAX_HEAD_BYTES, Outgoing};
use self::exchange::{Failed, Prepared};
use self::pool::{Line, Pool, PoolKey};
use self::resolver::Lookups;
pub use self::resolver::{MAX_DIALLED, Resolver, Resolving, System};
pub use self::retry::MAX_ATTEMPTS;
pub use self::roots::{BUNDLES, Cas, InvalidCa, MAX_CERTIFICATES, OperatorCa};
use self::roots::{CaSet, Roots};

/// Where to, on whose behalf, and how.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Over TLS (`https`).
    pub secure: bool,
    /// A lower-case name, an IPv4 address, or an IPv6 address in brackets.
    pub host: Box<str>,
    /// The port. Never 0.
    pub port: u16,
    /// Which addresses may be connected to.
    pub network: Network,
    /// Whether HTTP/2 is offered. Only over TLS, where the server can choose.
    pub http2: bool,
    /// Requests share connections, and what is remembered of DNS, only where this is the same. It is
    /// the digest of mount, rule and credential; nothing here looks into it.
    pub partition: [u8; 32],
    /// The operator's CAs; those whose hosts do not fit this one do not count.
    pub cas: Cas,
}

/// How a [`Client`] keeps what it keeps.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long checked addresses are used before the name is asked for again. Default 5 s: the time
    /// after which a name that has moved is noticed.
    pub lookup_age: Duration,
    /// How long a connection waits for its next request. Default 30 s: shorter than the idle time-outs
    /// of the load balancers of the field (60 s and more), so that a kept connection is mostly alive.
    pub idle: Duration,
    /// The most connections that wait under one key. Default 32: as many calls as a mount makes side by side, so
    /// that none of them has to connect anew for the next one.
    pub idle_per_key: usize,
    /// The most connections that wait at all. Default 64: each holds 36 KiB of buffer.
    pub idle_total: usize,
    /// Where the operator says that hosts are, by `host` or `host:port` as [`Destination::authority`]
    /// writes it: they are neither looked up nor classified. Default: none.
    pub addresses: BTreeMap<String, SocketAddr>,
    /// The files of which the first that can be read holds the system's roots. Default [`BUNDLES`].
    pub bundles: Vec<PathBuf>,
}

/// Sends requests. Cheap to clone; clones share connections. Needs a tokio runtime with I/O and time.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    addresses: BTreeMap<String, SocketAddr>,
    lookups: Lookups,
    roots: Roots,
    pool: Arc<Pool>,
    gates: Mutex<HashMap<PoolKey, Arc<Gate>>>,
    budgets: retry::Budgets,
}

/// Lets one exchange open the connection that the others then share.
#[derive(Debug, Default)]
struct Gate {
    opening: tokio::sync::Mutex<()>,
    /// The server did not choose HTTP/2: nothing will be shared.
    http1: AtomicBool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lookup_age: Duration::from_secs(5),
            idle: Duration::from_secs(30),
            idle_per_key: 32,
            idle_total: 64,
            addresses: BTreeMap::new(),
            bundles: BUNDLES.map(PathBuf::from).to_vec(),
        }
    }
}

impl Client {
    /// A client that asks `resolver`. Opens nothing and reads nothing yet.
    pub fn new(resolver: Arc<dyn Resolver>, settings: Settings) -> Self {
        Self(Arc::new(Inner {
            addresses: settings.addresses,
            lookups: Lookups::new(resolver, settings.lookup_age),
            roots: Roots::new(settings.bundles),
            pool: Arc::new(Pool::new(settings.idle, settings.idle_per_key, settings.idle_total)),
            gates: Mutex::default(),
            budgets: retry::Budgets::default(),
        }))
    }

    /// Where it takes hosts to be, in place of what DNS says.
    pub fn told_addresses(&self) -> &BTreeMap<String, SocketAddr> {
        &self.0.addresses
    }

    /// Sends `outgoing` once and gives its answer, whatever its status.
    ///
    /// It is sent a second time only where a kept connection turns out to be closed before anything of
    /// an answer came, and only if nothing of the request had gone or its method is idempotent.
    /// Dropping the future ends the exchange: an HTTP/1.1 connection is closed, an HTTP/2 stream reset.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn exchange(&self, to: &Destination, outgoing: Outgoing, limits: &Limits) -> Result<Answer, SendError> {
        let request = Prepared::new(to, outgoing)?;
        self.run(to, &request, limits).await
    }

    /// As [`Client::exchange`], and again where the server asks for patience: after 408, 429, 500, 502,
    /// 503 and 504 by `Retry-After` or after a growing wait, at most [`MAX_ATTEMPTS`] times in all, and
    /// never where the wait does not fit within the deadline, nor more often than for one request in ten of the
    /// partition's, beyond the first few. The last answer is given, or the error.
    ///
    /// # Errors
    /// [`SendError`], of the first attempt that has one.
    pub async fn exchange_patiently(
        &self,
        to: &Destination,
        outgoing: Outgoing,
        limits: &Limits,
    ) -> Result<Answer, SendError> {
        let method = outgoing.method.clone();
        let request = Prepared::new(to, outgoing)?;
        self.0.budgets.earn(&to.partition);
        let mut attempt = 1;
        loop {
            let answer = self.run(to, &request, limits).await?;
            // Without randomness the wait is merely not spread.
            let chance = getrandom::u32().unwrap_or_default();
            let now = SystemTime::now();
            let Some(wait) = retry::wait(&method, answer.status, &answer.headers, attempt, now, chance) else {
                return Ok(answer);
            };
            match Instant::now().checked_add(wait) {
                Some(again) if again < limits.deadline && self.0.budgets.spend(&to.partition) => {
                    tokio::time::sleep_until(again).await;
                }
                _ => return Ok(answer),
            }
            attempt += 1;
        }
    }

    /// Resolves, checks, connects and agrees on keys, and closes again: nothing is asked.
    ///
    /// # Errors
    /// [`SendError`], as an exchange would have it.
    pub async fn probe(&self, to: &Destination, deadline: Instant) -> Result<(), SendError> {
        to.check()?;
        let addresses = self.addresses(to, deadline).await?;
        let mut key = to.key(addresses.first().copied())?;
        self.open(to, &mut key, &addresses, deadline).await.map(drop)
    }

    /// Closes the connections that wait, and forgets nothing else.
    pub fn close_idle(&self) {
        self.0.pool.clear();
    }

    async fn run(&self, to: &Destination, request: &Prepared, limits: &Limits) -> Result<Answer, SendError> {
        to.check()?;
        if Instant::now() >= limits.deadline {
            return Err(SendError::Timeout(Stage::Dns));
        }
        let connected_by = exchange::soonest(limits.deadline, limits.connect);
        let addresses = self.addresses(to, connected_by).await?;
        let mut key = to.key(addresses.first().copied())?;

        if let Some(mut line) = self.kept(&mut key, &addresses) {
            match exchange::exchange(&mut line, request, limits).await {
                Ok(answer) => return Ok(self.keep(key, line, answer)),
                Err(Failed { unsent: true, .. }) => {}
                Err(Failed { unanswered: true, error: SendError::Closed, .. }) if request.is_idempotent() => {}
                Err(failed) => return Err(failed.error),
            }
        }
        let mut line = self.open(to, &mut key, &addresses, connected_by).await?;
        let answer = exchange::exchange(&mut line, request, limits).await.map_err(|failed| failed.error)?;
        Ok(self.keep(key, line, answer))
    }

    /// Where the operator says that `authority` is, if anywhere: [`Settings::addresses`].
    pub fn told_address(&self, authority: &str) -> Option<SocketAddr> {
        self.0.addresses.get(authority).copied()
    }

    /// Where the operator says it is, or the checked addresses of its name.
    async fn addresses(&self, to: &Destination, until: Instant) -> Result<Arc<[IpAddr]>, SendError> {
        if let Some(told) = self.told_address(&to.authority()) {
            return Ok(Arc::new([told.ip()]));
        }
        let asked = self.0.lookups.addresses(to.partition, &to.host, &to.network);
        timeout_at(until, asked).await.map_err(|_| SendError::Timeout(Stage::Dns))?
    }

    /// The port to connect to.
    fn port(&self, to: &Destination) -> u16 {
        self.told_address(&to.authority()).map_or(to.port, |told| told.port())
    }

    /// A waiting connection to any of these addresses.
    fn kept(&self, key: &mut PoolKey, addresses: &[IpAddr]) -> Option<Line> {
        addresses.iter().find_map(|address| {
            key.address = *address;
            self.0.pool.take(key)
        })
    }

    fn keep(&self, key: PoolKey, line: Line, answer: Answer) -> Answer {
        self.0.pool.put(key, line);
        answer
    }

    /// A new connection, or one that another exchange opened meanwhile and that can be shared.
    async fn open(
        &self,
        to: &Destination,
        key: &mut PoolKey,
        addresses: &[IpAddr],
        until: Instant,
    ) -> Result<Line, SendError> {
        let tls = match to.secure {
            true => Some(self.0.roots.config(&to.cas, &to.authority(), key.cas, key.http2).await?),
            false => None,
        };
        if !key.http2 {
            let (line, address) = dial::dial(to, self.port(to), addresses, tls, until).await?;
            key.address = address;
            return Ok(line);
        }
        key.address = addresses.first().copied().unwrap_or(key.address);
        let gate = self.gate(key);
        let opening = timeout_at(until, gate.opening.lock()).await.map_err(|_| SendError::Timeout(Stage::Connect))?;
        let opening = if gate.http1.load(Ordering::Relaxed) {
            drop(opening);
            None
        } else if let Some(line) = self.kept(key, addresses) {
            return Ok(line);
        } else {
            Some(opening)
        };
        let (line, address) = dial::dial(to, self.port(to), addresses, tls, until).await?;
        key.address = address;
        match &line {
            Line::Shared(http2) => self.0.pool.put(key.clone(), Line::Shared(http2.clone())),
            Line::One(_) => gate.http1.store(true, Ordering::Relaxed),
        }
        drop(opening);
        Ok(line)
    }

    fn gate(&self, key: &PoolKey) -> Arc<Gate> {
        let mut gates = self.0.gates.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody is at are of no more use.
        gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        gates.entry(key.clone()).or_default().clone()
    }
}

impl Destination {
    /// `host`, or `host:port` where the port is not the scheme's: what stands in `Host`, and what an
    /// operator's CA is matched against.
    pub fn authority(&self) -> String {
        let default = if self.secure { 443 } else { 80 };
        if self.port == default { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }

    fn check(&self) -> Result<(), SendError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_');
        let name = !self.host.is_empty()
            && self.host.len() <= 253
            && self.host.bytes().all(plain)
            && self.host.split('.').all(|label| !label.is_empty());
        if !name && resolver::literal(&self.host).is_none() {
            return Err(SendError::Request("its host is no lower-case name and no address"));
        }
        if self.port == 0 {
            return Err(SendError::Request("its port is 0"));
        }
        Ok(())
    }

    fn key(&self, address: Option<IpAddr>) -> Result<PoolKey, SendError> {
        Ok(PoolKey {
            partition: self.partition,
            secure: self.secure,
            http2: self.http2 && self.secure,
            host: self.host.clone(),
            port: self.port,
            address: address.ok_or(SendError::Request("its host has no address"))?,
            cas: if self.secure { self.cas.set(&self.authority()) } else { CaSet::NONE },
        })
    }
}
