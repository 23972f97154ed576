//! The log, off unless asked for.
//!
//! Our own targets are shown at the level that was asked for, all others at WARN at most, and
//! nothing in the environment can widen that: libraries print what they handle, which is secrets.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts the log: nothing, `-v` INFO, `-vv` and more TRACE.
pub fn start(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => LevelFilter::INFO,
        _ => LevelFilter::TRACE,
    };
    let own = Targets::new().with_default(LevelFilter::WARN).with_target("strongroom", level);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let _ = tracing_subscriber::registry().with(lines).with(own).try_init();
}
