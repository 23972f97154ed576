//! `log`: lines for the operator, capped and escaped.

use strongroom_core::Text;

use crate::bindings::strongroom::plugin::log;
use crate::call::State;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the usual five")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Where a guest's log lines go. The sink masks what the call touched before it writes.
pub trait LogSink: Send + Sync {
    /// One line. Texts are escaped and capped already.
    fn log(&self, level: Level, message: Text, fields: Vec<(Text, Text)>);
}

/// The most fields of a line that are kept.
const MAX_FIELDS: usize = 16;

impl log::Host for State {
    fn log(&mut self, level: log::Level, message: String, fields: Vec<(String, String)>) -> wasmtime::Result<()> {
        let Some(left) = self.log_lines_left.checked_sub(1) else { return Ok(()) };
        self.log_lines_left = left;
        let Some(sink) = &self.capabilities.log else { return Ok(()) };
        let level = match level {
            log::Level::Trace => Level::Trace,
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        let fields = fields.iter().take(MAX_FIELDS).map(|(key, value)| (Text::new(key), Text::new(value))).collect();
        sink.log(level, Text::new(message), fields);
        Ok(())
    }
}
