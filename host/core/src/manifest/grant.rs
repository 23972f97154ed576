//! What an operator can let a plugin import: a closed set.

use std::fmt;

/// One grant. The word is the same in a manifest's `wants`, a mount's `grants` and the lock.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// Write log lines.
    Log,
    /// Read the environment variables that the call may read.
    Env,
    /// Use the mount's own part of the encrypted store.
    Store,
    /// Auth plugins: have the host sign assertions.
    Signer,
    /// Auth plugins: read the credential's sealed inputs.
    Sealed,
    /// Auth plugins: run a tool that the operator declared.
    Tool,
    /// Get a token that the host cannot inject.
    Token,
    /// Make HTTP requests within the egress rules.
    Http,
    /// Keep data and make requests in one plugin.
    StoreAndHttp,
    /// Read wall and monotonic clock, in steps of 1 ms.
    Clock,
    /// Get random bytes.
    Random,
    /// Stand-ins for what language runtimes import and do not need.
    WasiStub,
}

impl Grant {
    /// Every grant.
    pub const ALL: [Grant; 12] = [
        Grant::Log,
        Grant::Env,
        Grant::Store,
        Grant::Signer,
        Grant::Sealed,
        Grant::Tool,
        Grant::Token,
        Grant::Http,
        Grant::StoreAndHttp,
        Grant::Clock,
        Grant::Random,
        Grant::WasiStub,
    ];

    /// The grant's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Env => "env",
            Self::Store => "store",
            Self::Signer => "signer",
            Self::Sealed => "sealed",
            Self::Tool => "tool",
            Self::Token => "token",
            Self::Http => "http",
            Self::StoreAndHttp => "store-and-http",
            Self::Clock => "clock",
            Self::Random => "random",
            Self::WasiStub => "wasi-stub",
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
