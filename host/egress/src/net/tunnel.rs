//! Connections whose bytes are somebody else's: what the program of `run --as-azure` reaches through its proxy.
//!
//! Nothing of ours is sent there, neither a credential nor a byte. It must never lead to this machine, to link-local addresses
//! or to where a cloud answers its own machines.

use strongroom_core::{Digest, Network};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Cas, Client, Destination, SendError, dial};

impl Client {
    /// Connects to `host`, a lower-case name or an address (IPv6 in brackets), whatever is spoken there.
    ///
    /// # Errors
    /// [`SendError`]; `Outside` for loopback, link-local, unspecified, multicast and metadata addresses, also behind
    /// a name.
    pub async fn tunnel(&self, host: &str, port: u16, until: Instant) -> Result<TcpStream, SendError> {
        let to = Destination {
            secure: true,
            host: host.into(),
            port,
            network: Network::listable(),
            http2: false,
            partition: *Digest::of(b"strongroom: what a child tunnels").as_bytes(),
            cas: Cas::default(),
        };
        to.check()?;
        let addresses = self.addresses(&to, until).await?;
        let (stream, _) = dial::connect(&to, self.port(&to), &addresses, until).await?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}
