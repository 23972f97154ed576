//! Entra's errors.

use serde_json::json;

use crate::clock;
use crate::http::Answer;
use crate::random;

/// An error with its AADSTS number.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// OAuth's word.
    pub error: &'static str,
    /// The number.
    pub number: u32,
    /// What the text says after the number.
    pub text: String,
    /// `suberror`.
    pub suberror: Option<String>,
    /// `claims`, a JSON text.
    pub claims: Option<String>,
    /// The usual status.
    pub status: u16,
}

impl Refusal {
    /// The error of a number, with the word and status that it usually has.
    pub fn new(number: u32, text: &str) -> Self {
        let (error, status) = match number {
            7_000_215 | 7_000_222 | 7_000_216 | 700_027 | 700_024 | 50_027 => ("invalid_client", 401),
            70_021 | 700_211..=700_213 => ("invalid_client", 401),
            700_016 => ("unauthorized_client", 400),
            500_011 => ("invalid_resource", 400),
            70_011 | 1_002_012 => ("invalid_scope", 400),
            65_001 | 70_008 | 700_082 | 70_043 | 50_173 | 50_020 | 501_481 | 54_005 => ("invalid_grant", 400),
            50_076 | 50_079 | 53_003 => ("interaction_required", 400),
            70_003 => ("unsupported_grant_type", 400),
            70_016 => ("authorization_pending", 400),
            70_018 => ("bad_verification_code", 400),
            70_019 | 70_020 => ("expired_token", 400),
            90_055 => ("slow_down", 400),
            65_004 => ("authorization_declined", 400),
            90_033 => ("temporarily_unavailable", 503),
            90_006 => ("server_error", 500),
            50_196 => ("invalid_grant", 400),
            _ => ("invalid_request", 400),
        };
        Self { error, number, text: text.to_owned(), suberror: None, claims: None, status }
    }

    /// On the wire.
    pub fn answer(self, now: i64) -> Answer {
        let (trace, correlation, at) = (random::uuid(), random::uuid(), clock::entra(now));
        let mut body = json!({
            "error": self.error,
            "error_description": format!(
                "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {at}", self.number, self.text
            ),
            "error_codes": [self.number], "timestamp": at, "trace_id": trace, "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={}", self.number),
        });
        if let Some(members) = body.as_object_mut() {
            for (name, value) in [("suberror", self.suberror), ("claims", self.claims)] {
                if let Some(value) = value {
                    members.insert(name.into(), json!(value));
                }
            }
        }
        Answer::json(self.status, &body).with("Cache-Control", "no-store, no-cache").with("Pragma", "no-cache")
    }
}
