//! A stand-in for the host in native tests: it answers requests, keeps the time, and tells what was
//! asked, waited for and logged. It is not there in WebAssembly.
//!
//! ```
//! use strongroom_plugin::http::{self, Response};
//! use strongroom_plugin::testing::Host;
//!
//! let host = Host::new().answer(Response::new(200, [], "pong"));
//! let answer = http::get("https://h").path(["ping"]).send()?;
//! assert_eq!(answer.into_text()?, "pong");
//! assert_eq!(host.asked(), ["GET https://h/ping"]);
//! # Ok::<(), strongroom_plugin::Failure>(())
//! ```
//!
//! One [`Host`] is in force on its own thread while it lives. No rule is applied: what a manifest
//! allows is the real host's to say.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;

use crate::Failure;
use crate::http::{Request, Response};
use crate::log::Level;

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct State {
    answers: VecDeque<Result<Response, Failure>>,
    sent: Vec<Sent>,
    lines: Vec<(Level, String)>,
    now_ms: u64,
    waited_ms: u64,
}

/// A request as it would have reached the host.
#[derive(Clone, PartialEq, Eq)]
pub struct Sent {
    /// Method and whole URL: `GET https://h/p?q=1`.
    pub line: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body; empty if there is none.
    pub body: Vec<u8>,
}

/// Only what was asked for: a test's output is no place for a value either.
impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sent").field(&self.line).finish()
    }
}

/// The stand-in. When it is dropped, the host's functions are out of reach again.
#[derive(Debug)]
#[must_use = "it is in force while it lives"]
pub struct Host(PhantomData<*const ()>);

impl Host {
    /// A host that has no answers yet, at the beginning of the Unix epoch.
    pub fn new() -> Self {
        STATE.with_borrow_mut(|state| *state = Some(State::default()));
        Self(PhantomData)
    }

    /// Gives `answer` to the next request that has none. A request without an answer fails with
    /// `testing.no-answer`.
    pub fn answer(self, answer: Response) -> Self {
        change(|state| state.answers.push_back(Ok(answer)));
        self
    }

    /// Fails the next request that has no answer.
    pub fn fail(self, failure: Failure) -> Self {
        change(|state| state.answers.push_back(Err(failure)));
        self
    }

    /// Sets the clock, in seconds since the Unix epoch. It moves only when the plugin waits.
    pub fn at(self, seconds: u64) -> Self {
        change(|state| state.now_ms = seconds.saturating_mul(1000));
        self
    }

    /// The requests, in order.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        change(|state| state.sent.clone()).unwrap_or_default()
    }

    /// Method and URL of each request, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.sent().into_iter().map(|sent| sent.line).collect()
    }

    /// How long the plugin waited, in milliseconds.
    #[must_use]
    pub fn waited_ms(&self) -> u64 {
        change(|state| state.waited_ms).unwrap_or_default()
    }

    /// What the plugin logged.
    #[must_use]
    pub fn logged(&self) -> Vec<(Level, String)> {
        change(|state| state.lines.clone()).unwrap_or_default()
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        STATE.with_borrow_mut(|state| *state = None);
    }
}

/// `None` if no stand-in is in force.
fn change<T>(with: impl FnOnce(&mut State) -> T) -> Option<T> {
    STATE.with_borrow_mut(|state| state.as_mut().map(with))
}

pub(crate) fn answer(request: &Request) -> Option<Result<Response, Failure>> {
    change(|state| {
        state.sent.push(request.sent());
        let none = || Err(Failure::internal("testing.no-answer", "the test has no answer to this request"));
        state.answers.pop_front().unwrap_or_else(none)
    })
}

pub(crate) fn now_ms() -> Option<u64> {
    change(|state| state.now_ms)
}

pub(crate) fn wait(milliseconds: u64) -> Option<()> {
    change(|state| {
        state.waited_ms = state.waited_ms.saturating_add(milliseconds);
        state.now_ms = state.now_ms.saturating_add(milliseconds);
    })
}

pub(crate) fn log(level: Level, message: &str) -> Option<()> {
    change(|state| state.lines.push((level, message.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, clock, http, log};

    #[test]
    fn answers_are_given_in_order_and_what_was_asked_is_told() {
        let host = Host::new().answer(Response::new(404, [], "")).fail(Failure::unavailable("http.dns", "no host"));
        let first = http::get("https://h").path(["a b"]).query("q", "1").send().unwrap();
        assert_eq!((first.status(), first.failure().message), (404, missing()));
        let second = http::post("https://h").form([("a", "b")]).send().unwrap_err();
        assert_eq!(second.code, "http.dns");
        assert_eq!(http::get("https://h").send().unwrap_err().code, "testing.no-answer");
        assert_eq!(host.asked(), ["GET https://h/a%20b?q=1", "POST https://h/", "GET https://h/"]);
        assert_eq!(host.sent()[1].body, b"a=b");
        // What is wrong with a request is found before it is sent.
        assert_eq!(http::get("h").send().unwrap_err().kind, Kind::InvalidConfig);
        assert_eq!(host.asked().len(), 3);
    }

    fn missing() -> String {
        "GET https://h/a%20b was answered 404: there is no such thing".into()
    }

    #[test]
    fn the_clock_moves_when_the_plugin_waits() {
        let host = Host::new().at(1000);
        clock::wait(2500);
        assert_eq!((clock::now(), clock::now_ms(), host.waited_ms()), (1002, 1_002_500, 2500));
        log::warn!("slow: {}", 2);
        assert_eq!(host.logged(), [(Level::Warn, "slow: 2".to_owned())]);
    }
}
