//! Listening: what is bound, and who is at the other end of what is accepted.
//!
//! Each kind of listener knows its callers in its own way; none of them trusts what a request says of its sender.

mod bind;
mod tls;
mod unix;

pub(crate) use self::bind::{Held, Place, Socket, Stream, Wanted, bind};
pub(crate) use self::tls::names;
pub(crate) use self::unix::{SocketFile, open};

/// Who is at the other end of a connection, as far as the connection says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A process of this machine: its user and groups when it connected.
    Unix { uid: u32, gids: Vec<u32> },
    /// Somebody with a certificate of the listener's authorities: the DNS and URI names in it.
    Certificate { names: Vec<String> },
    /// Somebody on the network, over TLS.
    Network,
    /// A program of this machine, which nothing tells from others.
    Loopback,
}
