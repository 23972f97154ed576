//! `[listeners]` and `[server]`: where `strongroom serve` is reached, and how much it takes on.
//!
//! A listener is a Unix socket or a TCP address. TCP without TLS is spoken on loopback alone, and only
//! where the config says outright that it is insecure: any program of the machine can connect there.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::traces::{RawTraces, TracesConfig};
use super::units::DurationText;
use super::{CODES, Layer, Source};
use crate::strict::Sheet;
use crate::{Failure, Name, Text};

/// The longest path of a Unix socket, in bytes: what the kernels' `sun_path` holds on the smallest (macOS), without
/// its NUL.
const MAX_SOCKET_BYTES: usize = 103;

/// A surface that clients speak to, each a module of the server.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// Strongroom's own REST interface.
    Native,
    /// Azure Key Vault's secrets.
    KeyVault,
    /// The KV version 2 engine of HashiCorp Vault and OpenBao.
    Vault,
    /// The credential service of Azure ML's first SDK.
    Azureml,
    /// Prometheus' metrics. Always alone on a listener of its own.
    Metrics,
    /// Tokens for the program of `run --as-azure`. No listener has it.
    #[serde(skip)]
    ManagedIdentity,
}

impl Door {
    /// Its word in a config, in metrics and in the audit log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::KeyVault => "key-vault",
            Self::Vault => "vault",
            Self::Azureml => "azureml",
            Self::Metrics => "metrics",
            Self::ManagedIdentity => "managed-identity",
        }
    }
}

/// Who may connect to a Unix socket at all; the policy says what they may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OpenTo {
    /// The server's own user.
    #[default]
    User,
    /// The group that the socket belongs to.
    Group,
    /// Every user of the machine.
    All,
}

/// One listener.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Where.
    pub at: At,
    /// What is served there. At least one.
    pub doors: BTreeSet<Door>,
    /// Where it is written.
    pub source: Source,
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// A Unix socket: its path as written, relative to the folder of the config file; `None`: the user's own.
    Socket {
        /// The path.
        path: Option<String>,
        /// Who may connect.
        open_to: OpenTo,
    },
    /// TLS.
    Tls {
        /// The address.
        address: SocketAddr,
        /// The certificate.
        tls: Tls,
    },
    /// TCP without TLS, on loopback.
    InsecureLoopback {
        /// The address.
        address: SocketAddr,
    },
}

/// The files of a TLS listener, as written: relative to the folder of the config file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct Tls {
    /// The certificate and what is between it and its root, PEM, leaf first.
    #[schemars(length(min = 1))]
    pub certificate: String,
    /// Its private key, PEM. Readable by nobody else.
    #[schemars(length(min = 1))]
    pub key: String,
    /// The authorities whose certificates clients may show, PEM. By default none is asked for.
    pub client_ca: Option<String>,
}

/// A listener as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawListener {
    /// A Unix socket, relative to the folder of the config file.
    #[schemars(length(min = 1))]
    socket: Option<String>,
    /// Who may connect to the socket: "user" (by default), "group" or "all".
    open_to: Option<OpenTo>,
    /// An IP address and a port.
    address: Option<String>,
    /// The certificate of an address.
    tls: Option<Tls>,
    /// Whether an address on loopback is served without TLS. Every program of the machine can connect to it, so each caller
    /// needs a token.
    #[serde(default)]
    insecure_loopback: bool,
    /// What is served: "native", "key-vault", "vault", "azureml", or "metrics" alone.
    #[schemars(length(min = 1))]
    doors: BTreeSet<Door>,
}

/// `[server]`: how much the server takes on.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// Connections that are open at once, of all listeners.
    pub connections: u32,
    /// Requests that are answered at once.
    pub requests: u32,
    /// Requests of one caller that are answered at once.
    pub per_caller: u32,
    /// How long running requests may take to end when the server is told to.
    pub drain: Duration,
    /// Whether changed files are noticed without a signal.
    pub watch: bool,
    /// Where spans of requests go; `None`: there are none.
    pub traces: Option<TracesConfig>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let drain = Duration::from_secs(30);
        Self { connections: 16_384, requests: 1024, per_caller: 256, drain, watch: true, traces: None }
    }
}

/// `[server]` as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawServer {
    /// Connections that are open at once. 16384.
    #[schemars(range(min = 1))]
    connections: Option<u32>,
    /// Requests that are answered at once; further ones are told to come back later. 1024.
    #[schemars(range(min = 1))]
    requests: Option<u32>,
    /// Requests of one caller that are answered at once. 256.
    #[schemars(range(min = 1))]
    per_caller: Option<u32>,
    /// How long running requests may take to end when the server is stopped. 30s.
    drain: Option<DurationText>,
    /// Whether a changed config is read without a signal. true.
    watch: Option<bool>,
    /// Where spans of requests go. By default there are none.
    traces: Option<RawTraces>,
}

impl RawServer {
    pub(super) fn check(self, sheet: &Sheet<'_>, layer: Layer) -> Result<ServerConfig, Failure> {
        let least = |key: &str, number: Option<u32>, default: u32| match number {
            Some(0) => Err(sheet.wrong(CODES.value, &["server", key], "must be at least 1")),
            number => Ok(number.unwrap_or(default)),
        };
        let default = ServerConfig::default();
        Ok(ServerConfig {
            connections: least("connections", self.connections, default.connections)?,
            requests: least("requests", self.requests, default.requests)?,
            per_caller: least("per_caller", self.per_caller, default.per_caller)?,
            drain: self.drain.map_or(default.drain, |drain| drain.0),
            watch: self.watch.unwrap_or(default.watch),
            traces: self.traces.map(|traces| traces.check(sheet, layer)).transpose()?,
        })
    }
}

impl Listener {
    /// The listener that exists where no config has any: the user's own socket, with Strongroom's own interface.
    pub fn built_in() -> Self {
        Self {
            at: At::Socket { path: None, open_to: OpenTo::User },
            doors: BTreeSet::from([Door::Native]),
            source: Source { layer: Layer::BuiltIn, origin: Text::new("built in"), position: None },
        }
    }

    pub(super) fn check(
        sheet: &Sheet<'_>,
        name: &Name,
        raw: RawListener,
        origin: &Text,
        layer: Layer,
    ) -> Result<Self, Failure> {
        let path = ["listeners", name.as_str()];
        let wrong = |key: &str, message: &str| sheet.wrong("config.listener", &[path[0], path[1], key], message);
        let entry = |message: &str| sheet.wrong("config.listener", &path, message);
        let RawListener { socket, open_to, address, tls, insecure_loopback, doors } = raw;
        if doors.is_empty() {
            return Err(wrong("doors", "must name at least one door"));
        }
        if doors.contains(&Door::Metrics) && doors.len() > 1 {
            return Err(wrong("doors", "metrics are served on a listener of their own"));
        }
        let address = match &address {
            None => None,
            Some(text) => Some(text.parse::<SocketAddr>().map_err(|_| {
                wrong("address", "must be an IP address and a port: \"127.0.0.1:8200\" or \"[::1]:8200\"")
            })?),
        };
        let at = match (socket, address) {
            (Some(_), Some(_)) => return Err(entry("has both a socket and an address")),
            (None, None) => return Err(entry("has neither a socket nor an address")),
            (Some(path), None) => {
                if tls.is_some() || insecure_loopback {
                    let key = if tls.is_some() { "tls" } else { "insecure_loopback" };
                    return Err(wrong(key, "has no effect on a Unix socket"));
                }
                if path.is_empty() || path.contains('\0') || path.len() > MAX_SOCKET_BYTES {
                    return Err(wrong("socket", "must be a path of at most 103 bytes"));
                }
                At::Socket { path: Some(path), open_to: open_to.unwrap_or_default() }
            }
            (None, Some(address)) => {
                if open_to.is_some() {
                    return Err(wrong("open_to", "has no effect on an address"));
                }
                match tls {
                    Some(tls) if !insecure_loopback => {
                        let files = [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()];
                        if files.into_iter().flatten().any(|file| file.is_empty() || file.contains('\0')) {
                            return Err(wrong("tls", "must hold paths of PEM files"));
                        }
                        At::Tls { address, tls }
                    }
                    Some(_) => return Err(wrong("insecure_loopback", "contradicts `tls`")),
                    None if !insecure_loopback => {
                        return Err(entry("needs `tls`: values do not cross a network in the clear")
                            .help("on loopback alone, TLS can be left out: insecure_loopback = true"));
                    }
                    None if !address.ip().is_loopback() => {
                        return Err(wrong("insecure_loopback", "is for addresses on loopback: 127.0.0.1 or [::1]"));
                    }
                    None => At::InsecureLoopback { address },
                }
            }
        };
        let position = sheet.place(&path).and_then(|place| place.position);
        Ok(Self { at, doors, source: Source { layer, origin: origin.clone(), position } })
    }
}
