//! `serve`: the same mounts, for other programs. Here is only what a person sees of it.

use std::num::NonZero;

use strongroom::{Allocation, Failure, Kind};
use strongroom_server::{Event, Options};

use crate::args;
use crate::session::{Answer, Outcome, Session};

/// Sandboxes that are alive at once, of all mounts.
const SLOTS: u32 = 256;

/// The largest memory of one: what plugins written in JavaScript and Python need.
const MEMORY_BYTES: usize = 128 << 20;

pub fn run(session: &Session, options: &args::Serve) -> Answer {
    let mut setup = session.setup();
    setup.source = session.source_of_server();
    // It knows its callers, and writes the log itself.
    setup.audited = None;
    setup.elsewhere = None;
    setup.allocation = Allocation::Pooled { slots: SLOTS, memory_bytes: MEMORY_BYTES };
    if options.check {
        for (place, doors) in strongroom_server::check(&setup)? {
            session.reporter.note(format!("would listen on {place}: {doors}"));
        }
        return Ok(Outcome::Done);
    }
    let reporter = session.reporter;
    let tell = move |event: Event<'_>| match event {
        Event::Ready(places) => {
            for (place, doors) in places {
                reporter.note(format!("listening on {place}: {doors}"));
            }
            reporter.note("ready");
        }
        Event::Reloaded => reporter.note("the changed config is in force"),
        Event::Refused(failure) => {
            reporter.warning(&failure.clone().help("the config that was in force before stays so"));
        }
        Event::Stopping(drain) => reporter.note(format!("stopping; running requests have {} s", drain.as_secs())),
    };
    // One more than there are processors: one that waits, for the audit log's disk say, leaves no processor idle.
    let workers = std::thread::available_parallelism().map_or(2, NonZero::get).saturating_add(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Kind::Internal, "runtime", format!("cannot start: {error}")))?;
    let served = runtime.block_on(strongroom_server::serve(Options { setup, tell: Box::new(tell) }));
    runtime.shutdown_background();
    served?;
    Ok(Outcome::Done)
}
