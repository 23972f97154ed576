//! `[server.traces]`: where a server's spans go, and of how many requests.
//!
//! Spans hold names of the config and no secret. They cross a network in the clear all the same only where the
//! operator has said that the network is not the public one.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{CODES, Layer, check_network};
use crate::strict::Sheet;
use crate::{Failure, Network, Origin};

/// The longest endpoint, in bytes.
const MAX_ENDPOINT_BYTES: usize = 512;

/// Of how many requests there are spans by default: one in ten.
const SAMPLE: f64 = 0.1;

/// How many requests a second get spans by default because their callers want them to.
const CLAIMED: u32 = 10;

/// Where spans go, and of how many requests.
#[derive(Debug, Clone, PartialEq)]
pub struct TracesConfig {
    /// The collector's origin.
    pub origin: Origin,
    /// Path and query of its endpoint. Begins with a slash.
    pub target: String,
    /// What addresses it is at.
    pub network: Network,
    /// The part of requests that the server itself draws, from 0 to 1.
    pub sample: f64,
    /// How many more a second there may be because callers say that theirs are traced.
    pub claimed: u32,
}

/// `[server.traces]` as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawTraces {
    /// Where an OpenTelemetry collector takes traces (OTLP over HTTP): "http://127.0.0.1:4318/v1/traces". Without TLS only
    /// where `network` is not the public one.
    #[schemars(regex(pattern = "^https?://"))]
    endpoint: String,
    /// What addresses it is at: "public", "private", "loopback", or CIDRs. By default public with https, and loopback
    /// without.
    network: Option<Network>,
    /// The part of requests that spans are made of: 0 to 1. 0.1.
    #[schemars(range(min = 0, max = 1))]
    sample: Option<f64>,
    /// How many more requests a second because their callers say that they are traced (W3C Trace Context). 10.
    claimed: Option<u32>,
}

impl RawTraces {
    pub(super) fn check(self, sheet: &Sheet<'_>, layer: Layer) -> Result<TracesConfig, Failure> {
        let wrong = |key: &str, message: &str| sheet.wrong(CODES.value, &["server", "traces", key], message);
        let no_url = || wrong("endpoint", "must be an http or https address, with a path and no fragment");
        let plain = self.endpoint.len() <= MAX_ENDPOINT_BYTES && self.endpoint.bytes().all(|b| b.is_ascii_graphic());
        let (origin, target) = Origin::of_url(&self.endpoint).ok().filter(|_| plain).ok_or_else(no_url)?;
        if !target.starts_with('/') || target.contains('#') {
            return Err(no_url());
        }
        check_network(self.network.as_ref(), layer, |_, _, message| wrong("network", message))?;
        let network = match self.network {
            Some(network) => network,
            None if origin.secure => Network::Public,
            None => Network::Loopback,
        };
        if !origin.secure && network == Network::Public {
            return Err(wrong("network", "cannot be the public one without TLS: the endpoint begins with http"));
        }
        let sample = self.sample.unwrap_or(SAMPLE);
        if !(0.0..=1.0).contains(&sample) {
            return Err(wrong("sample", "must be from 0 to 1"));
        }
        let (target, claimed) = (target.to_owned(), self.claimed.unwrap_or(CLAIMED));
        Ok(TracesConfig { origin, target, network, sample, claimed })
    }
}
