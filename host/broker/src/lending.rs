//! What a program is lent that runs as if it were in Azure: connections that carry its own bytes, and the tokens of a
//! credential where the config grants that.

use std::time::{Duration, Instant};

use strongroom_core::{Failure, Kind, Name};
use strongroom_egress::{Tokens, Unsent};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::Strongroom;
use crate::tokens::MountTokens;

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(20);

/// How long a token may take that no call waits for.
const TOKEN: Duration = Duration::from_secs(60);

impl Strongroom {
    /// Connects to `host`, a lower-case name or an address (IPv6 in brackets), for somebody else's bytes; never to this
    /// machine, a link-local address or a cloud's metadata service.
    ///
    /// # Errors
    /// `egress.*`, as for a plugin's request.
    pub async fn tunnel(&self, host: &str, port: u16) -> Result<TcpStream, Failure> {
        let until = tokio::time::Instant::now() + CONNECT;
        self.0.client.tunnel(host, port, until).await.map_err(|error| Unsent::Failed(error).failure())
    }

    /// A token of `credential`, or of that chain, for `audience`: for a program outside, whom the config lets have it. It is
    /// good for [`Strongroom::LENT_FOR`] in nearly every case.
    ///
    /// # Errors
    /// `credential.audience` where the credential may not be used for that; what its plugin says.
    pub async fn lend_token(&self, credential: &Name, audience: &str) -> Result<Zeroizing<String>, Failure> {
        let tokens = MountTokens {
            inner: self.0.clone(),
            mount: credential.clone(),
            credential: credential.clone(),
            depth: 0,
            deadline: Instant::now() + TOKEN,
            follower: crate::observe::follower(),
        };
        let token = tokens.token(audience, None).await?;
        match token.expose() {
            (text, scheme) if scheme.eq_ignore_ascii_case("bearer") => Ok(text.clone()),
            _ => {
                let message = format!("the tokens of the credential {credential} are no bearer tokens");
                Err(Failure::new(Kind::Unsupported, "token.scheme", message))
            }
        }
    }

    /// How long a token that was just lent is good for: tokens are renewed so long before they end.
    pub const LENT_FOR: Duration = crate::tokens::AHEAD;
}
