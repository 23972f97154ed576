//! Random secrets, and the search for them: plain and in every form that is easily read.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A secret that exists in one test only. It can stand in a header and in a reference.
#[derive(Clone)]
pub struct Canary(pub String);

impl Canary {
    pub fn new() -> Self {
        // With characters that percent-encoding, base64 and JSON each write in a form of their own.
        Self(format!("cnry+{:016x}/{:016x}=~", getrandom::u64().unwrap(), getrandom::u64().unwrap()))
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// The secret in one encoding: what an echoing backend might send.
    pub fn in_form(&self, form: &str) -> String {
        let bytes = self.0.as_bytes();
        match form {
            "plain" => self.0.clone(),
            "hex" => hex(bytes),
            "HEX" => hex(bytes).to_uppercase(),
            "percent" => self.0.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"),
            "json" => self.0.replace('/', "\\/"),
            "base64" => STANDARD_NO_PAD.encode(bytes),
            "base64+1" => STANDARD_NO_PAD.encode([b"x", bytes].concat()),
            "base64+2" => STANDARD_NO_PAD.encode([b"xy", bytes].concat()),
            "base64url" => URL_SAFE_NO_PAD.encode(bytes),
            "base64-basic" => STANDARD_NO_PAD.encode(format!("user:{}", self.0)),
            _ => panic!("no such form: {form}"),
        }
    }

    /// What must be found nowhere: the secret, and what of its encodings does not depend on what
    /// stands around it.
    fn traces(&self) -> Vec<Vec<u8>> {
        let bytes = self.0.as_bytes();
        let mut traces = vec![
            self.0.clone(),
            hex(bytes),
            hex(bytes).to_uppercase(),
            self.in_form("percent"),
            self.in_form("percent").to_lowercase(),
            self.in_form("json"),
            // The random halves by themselves.
            self.0[5..21].to_owned(),
            self.0[22..38].to_owned(),
            self.0.chars().rev().collect(),
        ];
        for shift in 0..3 {
            let shifted = [&[0; 3][..shift], bytes].concat();
            for text in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
                traces.push(text[4..text.len() - 4].to_owned());
            }
        }
        traces.into_iter().map(String::into_bytes).collect()
    }

    /// The first trace of the secret in `bytes`.
    pub fn found_in(&self, bytes: &[u8]) -> Option<String> {
        let traces = self.traces();
        let found = traces.into_iter().find(|trace| bytes.windows(trace.len()).any(|window| window == trace));
        found.map(|trace| String::from_utf8_lossy(&trace).into_owned())
    }

    #[track_caller]
    pub fn not_in(&self, what: &str, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        if let Some(trace) = self.found_in(bytes) {
            panic!("{what} holds the secret as {trace}:\n{}", String::from_utf8_lossy(bytes));
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[test]
fn the_search_finds_every_form() {
    let canary = Canary::new();
    let forms =
        ["plain", "hex", "HEX", "percent", "json", "base64", "base64+1", "base64+2", "base64url", "base64-basic"];
    for form in forms {
        let text = format!("before{}after", canary.in_form(form));
        assert!(canary.found_in(text.as_bytes()).is_some(), "{form}");
    }
    assert_eq!(canary.found_in(b"nothing here"), None);
}
