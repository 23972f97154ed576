//! What goes wrong, and when: faults of the fake, tokens that are revoked.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use super::random::Random;
use crate::azure::Azure;

/// Switches trouble on and off.
pub struct Trouble {
    random: Random,
    next: Instant,
    revoke: Instant,
}

impl Trouble {
    /// From the first step on.
    pub fn new(random: Random) -> Self {
        let now = Instant::now();
        Self { random, next: now, revoke: now + Duration::from_secs(35) }
    }

    /// Does what is due.
    ///
    /// # Errors
    /// What control says.
    pub fn step(&mut self, azure: &Azure) -> Result<()> {
        let now = Instant::now();
        if now >= self.next {
            self.next = now + Duration::from_millis(500 + self.random.below(4500));
            azure.control("DELETE", "faults", &Value::Null)?;
            // Now and then all is well.
            if !self.random.once_in(5) {
                let faults = self.faults();
                azure.control("POST", "faults", &faults)?;
            }
        }
        if now >= self.revoke {
            self.revoke = now + Duration::from_secs(20 + self.random.below(60));
            azure.control("POST", "tokens/revoke", &Value::Null)?;
        }
        Ok(())
    }

    /// Each kind, as likely as chance wants, and some of them not at all.
    fn faults(&mut self) -> Value {
        let slow = 20 + self.random.below(400);
        let kinds = [
            json!({"kind": "status", "status": 429}),
            json!({"kind": "status", "status": 429, "retry_after": "0"}),
            json!({"kind": "status", "status": 429, "retry_after": "1"}),
            json!({"kind": "status", "status": 429, "retry_after": "http-date:2"}),
            json!({"kind": "status", "status": 500}),
            json!({"kind": "status", "status": 502}),
            json!({"kind": "status", "status": 503}),
            json!({"kind": "status", "status": 503, "retry_after": "1"}),
            json!({"kind": "status", "status": 504}),
            json!({"kind": "slow", "ms": slow}),
            json!({"kind": "drop"}),
            json!({"kind": "drop", "after": true}),
            json!({"kind": "truncate"}),
            json!({"kind": "content_type", "value": "text/html"}),
            json!({"kind": "not_json", "status": 200}),
            json!({"kind": "not_json", "status": 503}),
        ];
        let mut on = Vec::new();
        for mut fault in kinds {
            if self.random.once_in(3) {
                continue;
            }
            // All of them together meet a request in ten or so.
            let thousandths = 1 + self.random.below(20);
            if let Some(members) = fault.as_object_mut() {
                members.insert("probability".to_owned(), json!(thousandths as f64 / 1000.0));
            }
            on.push(fault);
        }
        Value::Array(on)
    }
}
