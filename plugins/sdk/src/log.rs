//! Lines for `--verbose`; the grant `log`.
//!
//! The host masks what the call touched and takes 64 lines a call. That is a net, not a licence: a
//! plugin never logs a value.
//!
//! ```no_run
//! use strongroom_plugin::log;
//!
//! log::debug!("reading page {}", 2);
//! log::write(log::Level::Warn, "slow backend", &[("seconds".into(), "4".into())]);
//! ```

use crate::bindings::strongroom::plugin::log;

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Each step.
    Trace,
    /// For who looks for a fault.
    Debug,
    /// Worth knowing.
    Info,
    /// Not as it should be, and the call goes on.
    Warn,
    /// The call fails for this.
    Error,
}

/// Writes one line, with `fields` as data.
pub fn write(level: Level, message: &str, fields: &[(String, String)]) {
    #[cfg(not(target_arch = "wasm32"))]
    if crate::testing::log(level, message).is_some() {
        return;
    }
    let level = match level {
        Level::Trace => log::Level::Trace,
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    };
    log::log(level, message, fields);
}

#[doc(hidden)]
pub fn line(level: Level, message: std::fmt::Arguments<'_>) {
    write(level, &message.to_string(), &[]);
}

/// Writes a trace line, formatted as by [`format!`]; the grant `log`.
#[macro_export]
macro_rules! __log_trace {
    ($($text:tt)+) => { $crate::log::line($crate::log::Level::Trace, ::core::format_args!($($text)+)) };
}

/// Writes a debug line, formatted as by [`format!`]; the grant `log`.
#[macro_export]
macro_rules! __log_debug {
    ($($text:tt)+) => { $crate::log::line($crate::log::Level::Debug, ::core::format_args!($($text)+)) };
}

/// Writes an info line, formatted as by [`format!`]; the grant `log`.
#[macro_export]
macro_rules! __log_info {
    ($($text:tt)+) => { $crate::log::line($crate::log::Level::Info, ::core::format_args!($($text)+)) };
}

/// Writes a warn line, formatted as by [`format!`]; the grant `log`.
#[macro_export]
macro_rules! __log_warn {
    ($($text:tt)+) => { $crate::log::line($crate::log::Level::Warn, ::core::format_args!($($text)+)) };
}

/// Writes an error line, formatted as by [`format!`]; the grant `log`.
#[macro_export]
macro_rules! __log_error {
    ($($text:tt)+) => { $crate::log::line($crate::log::Level::Error, ::core::format_args!($($text)+)) };
}

#[doc(inline)]
pub use crate::{
    __log_debug as debug, __log_error as error, __log_info as info, __log_trace as trace, __log_warn as warn,
};
