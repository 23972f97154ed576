//! `--watch`: looks the values up again while the program runs, and says when one that it uses has changed.
//!
//! One thread of its own asks; the thread that keeps the program compares nothing and asks nobody. Values are compared
//! where they are, in memory; what is told of a change is the name of its variable.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc;
use std::time::Duration;

use strongroom::{Failure, Kind, Strongroom};
use strongroom_core::environment;
use strongroom_process::{Change, Changes, Child, Files};
use tokio::runtime::Runtime;

use super::hiding::Hidden;
use super::pace::{Pace, good_for};
use crate::report::Reporter;
use crate::variables::{self, Resolved, Wanted};

/// What the program was given, in the order of what was wanted: variables, then files.
#[derive(Clone)]
pub struct Values {
    pub variables: Vec<Resolved>,
    pub files: Vec<Resolved>,
}

impl Values {
    /// Takes apart what was resolved, where the first `variables` are such.
    pub fn of(mut resolved: Vec<Resolved>, variables: usize) -> Result<Self, Vec<Failure>> {
        let files = resolved.split_off(variables.min(resolved.len()));
        let checked = resolved.iter().map(|one| environment::check_value(&one.name, &one.value));
        let problems: Vec<Failure> = checked.filter_map(Result::err).collect();
        if problems.is_empty() { Ok(Self { variables: resolved, files }) } else { Err(problems) }
    }

    pub fn all(&self) -> impl Iterator<Item = &Resolved> {
        self.variables.iter().chain(&self.files)
    }
}

/// Whoever looks, and with what.
pub struct Watcher {
    pub runtime: Runtime,
    pub strongroom: Strongroom,
    pub wanted: Vec<Wanted>,
    /// How many of these are variables; the others are files.
    pub variables: usize,
    pub enforced: bool,
    pub every: Duration,
    /// A program that is told can be given new files only.
    pub only_files: bool,
    pub reporter: Reporter,
}

/// New values, and what of them the program has not got yet.
struct News {
    values: Values,
    /// A file among them, or a variable of a program that will be started anew.
    wanted: bool,
}

/// What the watcher says, as the program's keeper hears it.
pub struct Heard<'h> {
    news: mpsc::Receiver<News>,
    wake: Option<PipeReader>,
    hidden: &'h Hidden,
    signal: Option<rustix::process::Signal>,
    child: &'h dyn Fn(Values) -> Child,
    reporter: Reporter,
}

impl Watcher {
    /// Goes on looking until this process ends. `given` is what the program has, `child` makes the next one, which
    /// has other values; with a `signal` the program is told.
    pub fn start<'h>(
        self,
        given: Values,
        hidden: &'h Hidden,
        signal: Option<rustix::process::Signal>,
        child: &'h dyn Fn(Values) -> Child,
    ) -> Result<Heard<'h>, Failure> {
        let broken = |error: std::io::Error| {
            Failure::new(Kind::Internal, "watch.start", format!("the values cannot be watched: {error}"))
        };
        let (wake, waker) = std::io::pipe().map_err(broken)?;
        let (sender, news) = mpsc::channel();
        let reporter = self.reporter;
        let look = move || self.look_for_ever(given, &sender, waker);
        std::thread::Builder::new().name("watch".to_owned()).spawn(look).map_err(broken)?;
        Ok(Heard { news, wake: Some(wake), hidden, signal, child, reporter })
    }

    fn look_for_ever(self, mut given: Values, news: &mpsc::Sender<News>, mut waker: PipeWriter) {
        let Self { runtime, strongroom, wanted, variables, enforced, every, only_files, reporter } = self;
        runtime.block_on(async {
            let mut pace = Pace::new(every);
            let mut failing = false;
            loop {
                let secrets = given.all().flat_map(|one| &one.secrets);
                tokio::time::sleep(pace.pause(good_for(secrets))).await;
                let looked = variables::resolve(&strongroom, wanted.clone(), enforced).await;
                let values = match looked.and_then(|resolved| Values::of(resolved, variables)) {
                    Ok(values) => values,
                    Err(failures) => {
                        if !failing {
                            reporter.warning(&kept_as_it_is());
                            reporter.warnings(&failures);
                        }
                        (failing, _) = (true, pace.looked(false));
                        continue;
                    }
                };
                failing = false;
                let in_variables = changed(&given.variables, &values.variables);
                let in_files = changed(&given.files, &values.files);
                let wanted = !in_files.is_empty() || (!only_files && !in_variables.is_empty());
                pace.looked(wanted);
                if wanted || !in_variables.is_empty() {
                    tell(&reporter, &in_variables, &in_files, only_files);
                    let copy = values.clone();
                    // The other side ends with the process, and so does this.
                    if news.send(News { values: copy, wanted }).is_err() || waker.write_all(&[0]).is_err() {
                        return;
                    }
                }
                given = values;
            }
        });
    }
}

/// The names of those whose value is another.
fn changed(old: &[Resolved], new: &[Resolved]) -> Vec<String> {
    let pairs = old.iter().zip(new);
    pairs.filter(|(old, new)| *old.value != *new.value).map(|(_, new)| new.name.clone()).collect()
}

fn kept_as_it_is() -> Failure {
    let message = "the values could not be looked up again: the program goes on with those that it has";
    Failure::new(Kind::Unavailable, "watch.failed", message)
        .help("they are looked up again as before; this is said once")
}

fn tell(reporter: &Reporter, in_variables: &[String], in_files: &[String], only_files: bool) {
    let names = |names: &[String]| names.join(", ");
    if only_files {
        if !in_files.is_empty() {
            reporter.note(format!("changed: {}: the program is told", names(in_files)));
        }
        if !in_variables.is_empty() {
            let message =
                format!("changed: {}: the program keeps the old value until it is started again", names(in_variables));
            let failure = Failure::new(Kind::Unsupported, "watch.variable", message).help(
                "a program that runs cannot be given other variables: use --as-file, or --watch without --signal",
            );
            reporter.warning(&failure);
        }
    } else {
        let all = [in_variables, in_files].concat();
        reporter.note(format!("changed: {}: the program is started again", names(&all)));
    }
}

impl Changes for Heard<'_> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.wake.as_ref().map(AsFd::as_fd)
    }

    fn take(&mut self) -> Vec<Change> {
        let Some(wake) = &mut self.wake else { return Vec::new() };
        if !matches!(wake.read(&mut [0; 16]), Ok(1..)) {
            self.wake = None;
            let message = "the values are not watched any more: the program goes on with those that it has";
            self.failed(Failure::new(Kind::Internal, "watch.ended", message));
        }
        // Only the newest counts, but each is hidden: a program may have seen any of them.
        let mut newest = None;
        while let Ok(News { values, wanted }) = self.news.try_recv() {
            for failure in self.hidden.add(&values) {
                self.reporter.warning(&failure);
            }
            if wanted {
                newest = Some(values);
            }
        }
        let change = newest.map(|values| match self.signal {
            None => Change::Restart((self.child)(values)),
            Some(signal) => {
                let files = values.files.into_iter().map(|one| (one.name.into(), one.value));
                Change::Files(Files(files.collect()), signal)
            }
        });
        change.into_iter().collect()
    }

    fn failed(&mut self, failure: Failure) {
        self.reporter.warning(&failure);
    }
}
