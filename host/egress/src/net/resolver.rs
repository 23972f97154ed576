//! From a name to addresses, and which of them may be used.
//!
//! A name is asked for only when the rule already allows it: a question to DNS is itself a message.
//! Every address of an answer must be in the rule's network, or none is used: nobody publishes public
//! and private addresses under one name by accident. What was checked is what is dialled; the name is
//! never resolved a second time between the check and the connection.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use strongroom_core::{Network, Text};
use tokio::time::Instant;

use super::SendError;

/// The most addresses of one answer that are tried. All of them are checked.
pub const MAX_DIALLED: usize = 8;

/// The most names whose addresses are remembered.
const MAX_REMEMBERED: usize = 256;

/// What [`Resolver::resolve`] gives.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Whoever knows the addresses of names.
pub trait Resolver: fmt::Debug + Send + Sync {
    /// All addresses of `host`, which is a name and no address, in the order in which to try them.
    ///
    /// # Errors
    /// Those of the operating system; [`io::ErrorKind::NotFound`] where there are none.
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a>;
}

/// The operating system's resolver (`getaddrinfo`), with its hosts file and search list.
///
/// A question runs on a thread of tokio's blocking pool. It cannot be called back: when its exchange
/// is cancelled, the thread stays busy until the system's own time-out.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Resolver for System {
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// For whom a name was resolved. The partition is part of it, so that no plugin can tell by time
/// which names another one asks for; so is the network, since the answer was checked against it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    partition: [u8; 32],
    host: Box<str>,
    network: Network,
}

/// The last answer to a question. Whoever holds its lock is asking; the others wait for the answer.
type Slot = Arc<tokio::sync::Mutex<Option<(Instant, Result<Arc<[IpAddr]>, SendError>)>>>;

/// Checked addresses, remembered for a few seconds.
///
/// That is safe against rebinding, because the addresses are what was checked and what is dialled;
/// it only delays that a changed name is noticed. It is needed because a pooled connection is used
/// again only to an address that the name still has, which would otherwise cost a question to the
/// system for every request.
#[derive(Debug)]
pub(super) struct Lookups {
    resolver: Arc<dyn Resolver>,
    age: Duration,
    slots: Mutex<HashMap<Question, Slot>>,
}

impl Lookups {
    /// Remembers for `age`.
    pub(super) fn new(resolver: Arc<dyn Resolver>, age: Duration) -> Self {
        Self { resolver, age, slots: Mutex::default() }
    }

    /// The addresses to dial for `host`, each in `network`: 1 to [`MAX_DIALLED`], in the order to try.
    ///
    /// # Errors
    /// [`SendError::Dns`] and [`SendError::Outside`].
    pub(super) async fn addresses(
        &self,
        partition: [u8; 32],
        host: &str,
        network: &Network,
    ) -> Result<Arc<[IpAddr]>, SendError> {
        if let Some(literal) = literal(host) {
            return check(host, network, &[literal]);
        }
        let asked = Instant::now();
        let slot = self.slot(Question { partition, host: host.into(), network: network.clone() });
        let mut slot = slot.lock().await;
        match &*slot {
            Some((at, Ok(addresses))) if at.elapsed() < self.age => return Ok(addresses.clone()),
            // Whoever waited for this very answer has it; whoever comes later asks anew.
            Some((at, answer)) if *at >= asked => return answer.clone(),
            _ => {}
        }
        let answer = match self.resolver.resolve(host).await {
            Ok(addresses) => check(host, network, &addresses),
            Err(error) => Err(SendError::Dns { host: Text::new(host), kind: error.kind() }),
        };
        *slot = Some((Instant::now(), answer.clone()));
        answer
    }

    fn slot(&self, question: Question) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MAX_REMEMBERED && !slots.contains_key(&question) {
            // Those that somebody waits at stay, so that no question is asked twice at a time.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        slots.entry(question).or_default().clone()
    }
}

fn check(host: &str, network: &Network, addresses: &[IpAddr]) -> Result<Arc<[IpAddr]>, SendError> {
    if addresses.is_empty() {
        return Err(SendError::Dns { host: Text::new(host), kind: io::ErrorKind::NotFound });
    }
    for address in addresses {
        network.admits(*address).map_err(|outside| SendError::Outside { host: Text::new(host), outside })?;
    }
    let mut dialled: Vec<IpAddr> = Vec::with_capacity(addresses.len().min(MAX_DIALLED));
    for address in addresses.iter().map(IpAddr::to_canonical) {
        if dialled.len() < MAX_DIALLED && !dialled.contains(&address) {
            dialled.push(address);
        }
    }
    Ok(dialled.into())
}

/// The address that `host` is, if it is one: `192.0.2.1` or `[2001:db8::1]`.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}
