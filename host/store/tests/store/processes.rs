//! Many processes at once, processes that are killed, and a disk that is full.
//!
//! A worker is this test binary again, running [`worker`] alone; its orders are one line on its
//! standard input, its answers are lines on its standard output.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "what is tested is what other processes do, and only they can be killed"
)]

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use strongroom_store::{Options, Space, Store, Unlock};

use crate::{Place, assert_failure, got, keys};

/// A value that tells if it is half there: its number, again and again.
fn pattern(n: u64) -> Vec<u8> {
    // Sizes on both sides of a page.
    format!("{n};").repeat(1 + usize::try_from(n * 37 % 900).unwrap()).into_bytes()
}

fn number(value: &[u8]) -> u64 {
    let text = std::str::from_utf8(value).unwrap();
    let n = text.split(';').next().unwrap().parse().unwrap();
    assert!(value == pattern(n), "a value is half there");
    n
}

struct Worker {
    child: Child,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    fn start(place: &Place, order: &str) -> Self {
        let program = std::env::current_exe().unwrap();
        Self::run(Command::new(program), place, order)
    }

    /// With a limit on the size of files. The signal that goes with it is ignored, as it is in every
    /// service manager's and Python's children; without that the process would just be killed.
    fn start_limited(place: &Place, order: &str, blocks: u32) -> Self {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("ulimit -f {blocks}; trap '' XFSZ; exec \"$0\" \"$@\""));
        shell.arg(std::env::current_exe().unwrap());
        Self::run(shell, place, order)
    }

    fn run(mut command: Command, place: &Place, order: &str) -> Self {
        command.args(["--exact", "processes::worker", "--ignored", "--nocapture", "--test-threads=1"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let line = format!("{order}\t{}\n", place.folder.path().display());
        child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, answers }
    }

    /// The next answer that begins with `word`; `None` when the worker has ended.
    fn answer(&mut self, word: &str) -> Option<String> {
        self.answers.by_ref().map(Result::unwrap).find_map(|line| Some(line.strip_prefix(word)?.trim().to_owned()))
    }

    /// Kills it (SIGKILL) and gives the last number it acknowledged, if any.
    fn kill(mut self, mut last: Option<u64>) -> Option<u64> {
        self.child.kill().unwrap();
        while let Some(more) = self.answer("ack ") {
            last = Some(more.parse().unwrap());
        }
        last
    }

    /// Waits for it to end well.
    fn done(mut self) {
        let rest: Vec<String> = self.answers.by_ref().map(Result::unwrap).collect();
        assert!(self.child.wait().unwrap().success(), "a worker failed: {rest:?}");
    }
}

/// A test that fails leaves no process behind.
impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).and_then(|()| out.flush()).unwrap();
}

#[test]
#[ignore = "started by the other tests, as a process of its own"]
fn worker() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let Some((order, folder)) = line.trim_end().split_once('\t') else { return };
    let options = || Options { patience: Duration::from_secs(300), ..Options::new(Path::new(folder).join("store.db")) };
    let unlock = || Unlock::with_key_file(Path::new(folder).join("store.key"));
    let open = || Store::open(&options(), unlock()).unwrap();
    let (order, number) = order.split_once(' ').unwrap_or((order, "0"));
    let number: u64 = number.parse().unwrap();
    match order {
        "create" => {
            let store = open();
            keys(&store).set(&format!("from/{number}"), &pattern(number)).unwrap();
            say(if store.created() { "created yes" } else { "created no" });
        }
        "count" => count(&keys(&open()), number),
        "read" => read(&keys(&open()), number),
        "write" => {
            let space = keys(&open());
            for n in number.. {
                space.set("last", &pattern(n)).unwrap();
                space.set(&format!("ring/{}", n % 7), &pattern(n)).unwrap();
                say(&format!("ack {n}"));
            }
        }
        "rotate" => {
            let store = open();
            for n in number.. {
                store.rotate(unlock()).unwrap();
                say(&format!("ack {n}"));
            }
        }
        "fill" => fill(&keys(&open())),
        "make" => match Store::open(&options(), unlock()) {
            Ok(_) => say("made"),
            Err(failure) => say(&format!("failed {}", failure.code())),
        },
        other => panic!("{other}?"),
    }
}

/// Adds one to a shared number, thirty times, and keeps one of its own.
fn count(space: &Space, me: u64) {
    for n in 0..30 {
        loop {
            let now = space.get("shared").unwrap();
            let next = now.as_ref().map_or(0, |now| number(now)) + 1;
            if space.swap("shared", now.as_ref().map(|now| now.as_slice()), Some(&pattern(next))).unwrap() {
                break;
            }
        }
        space.set(&format!("own/{me}"), &pattern(n)).unwrap();
    }
}

/// Reads until the shared number has got to its end; it never goes back.
fn read(space: &Space, end: u64) {
    let mut seen = 0;
    while seen < end {
        let now = space.get("shared").unwrap().map_or(0, |now| number(&now));
        assert!(now >= seen, "{seen}, then {now}");
        seen = now;
        for key in space.keys("own/", None).unwrap().keys {
            number(&space.get(&key).unwrap().unwrap());
        }
    }
}

/// Writes until there is no more room; then reads, and makes room.
fn fill(space: &Space) {
    for n in 0.. {
        match space.set(&format!("fill/{n}"), &pattern(600)) {
            Ok(()) => say(&format!("ack {n}")),
            Err(failure) => {
                say(&format!("failed {} {n}", failure.code()));
                assert_eq!(number(&space.get("fill/0").unwrap().unwrap()), 600);
                assert!(space.get(&format!("fill/{n}")).unwrap().is_none());
                return;
            }
        }
    }
}

#[test]
fn of_twenty_that_make_a_store_one_does_and_all_use_it() {
    let place = Place::fresh();
    let workers: Vec<_> = (0..20).map(|n| Worker::start(&place, &format!("create {n}"))).collect();
    let mut made = 0;
    for mut worker in workers {
        made += usize::from(worker.answer("created ").unwrap() == "yes");
        worker.done();
    }
    assert_eq!(made, 1);
    assert_eq!(place.files(), ["store.db", "store.key"]);
    let store = place.open();
    for n in 0..20 {
        assert_eq!(number(&got(&keys(&store), &format!("from/{n}")).unwrap()), n);
    }
    assert_eq!(store.verify().unwrap().genuine, 20);
}

#[test]
fn twenty_writers_and_readers_at_once() {
    let place = Place::fresh();
    let start = |order: &str| Worker::start(&place, order);
    let (writers, readers): (Vec<_>, Vec<_>) =
        (0..10).map(|n| (start(&format!("count {n}")), start("read 300"))).unzip();
    // Writers first: if one of them fails, the readers would wait for ever.
    writers.into_iter().chain(readers).for_each(Worker::done);
    let store = place.open();
    assert_eq!(number(&got(&keys(&store), "shared").unwrap()), 300);
    let report = store.verify().unwrap();
    assert_eq!((report.genuine, report.problems.len()), (11, 0));
}

#[test]
fn a_killed_writer_loses_nothing_it_acknowledged() {
    let place = Place::fresh();
    let mut next = 0;
    for round in 0..40_u64 {
        let mut writer = Worker::start(&place, &format!("write {next}"));
        // Some rounds end before the first write, others within one of the next.
        let mut last = None;
        for _ in 0..round % 9 {
            last = Some(writer.answer("ack ").unwrap().parse().unwrap());
        }
        std::thread::yield_now();
        let last = writer.kill(last);
        let store = place.open();
        let space = keys(&store);
        let report = store.verify().unwrap();
        assert_eq!(report.problems, [], "round {round}");
        let found = got(&space, "last").map(|value| number(&value));
        if let Some(last) = last {
            let found = found.unwrap();
            assert!(found == last || found == last + 1, "round {round}: acknowledged {last}, found {found}");
            assert!(number(&got(&space, &format!("ring/{}", last % 7)).unwrap()) >= last);
        }
        next = found.map_or(next, |found| found + 1);
    }
    assert!(next > 40, "the writers hardly wrote");
}

#[test]
fn a_killed_rotation_leaves_a_store_that_opens() {
    let place = Place::fresh();
    for n in 0..200 {
        keys(&place.open()).set(&format!("{n}"), &pattern(n)).unwrap();
    }
    for round in 0..20 {
        let mut rotator = Worker::start(&place, "rotate");
        for _ in 0..round % 4 {
            rotator.answer("ack ").unwrap();
        }
        rotator.kill(None);
        let store = place.open();
        let report = store.verify().unwrap();
        assert_eq!((report.genuine, report.problems.len()), (200, 0), "round {round}");
        assert_eq!(number(&got(&keys(&store), "123").unwrap()), 123);
    }
}

#[test]
fn one_that_is_killed_while_making_a_store_is_not_in_the_way() {
    for round in 0..20_u32 {
        let place = Place::fresh();
        let maker = Worker::start(&place, "make");
        // The start of a process takes some milliseconds; there is no event within the making.
        std::thread::sleep(Duration::from_micros(400) * round);
        maker.kill(None);
        let store = place.open();
        keys(&store).set("k", b"v").unwrap();
        assert_eq!(store.verify().unwrap().genuine, 1);
    }
}

#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    let place = Place::fresh();
    drop(place.open());
    let mut filler = Worker::start_limited(&place, "fill", 1200);
    let mut acknowledged = 0;
    let failed = loop {
        let line = filler.answers.next().expect("it ended without an error").unwrap();
        if line.starts_with("ack ") {
            acknowledged += 1;
        } else if let Some(failed) = line.strip_prefix("failed ") {
            break failed.to_owned();
        }
    };
    filler.done();
    assert_eq!(failed, format!("store.disk-full {acknowledged}"));
    assert!(acknowledged > 3);
    let store = place.open();
    let report = store.verify().unwrap();
    assert_eq!((report.genuine, report.problems.len()), (acknowledged, 0));
    keys(&store).set("room again", b"v").unwrap();
}

#[test]
fn a_full_disk_makes_no_half_store() {
    for blocks in [1, 4, 16] {
        let place = Place::fresh();
        let mut maker = Worker::start_limited(&place, "make", blocks);
        assert_eq!(maker.answer("failed ").unwrap(), "store.disk-full", "{blocks} blocks");
        maker.done();
        assert_eq!(place.files(), [""; 0], "{blocks} blocks");
        place.open();
    }
}

#[test]
fn one_that_holds_the_lock_is_waited_for_and_then_reported() {
    let place = Place::fresh();
    let options = Options { patience: Duration::from_millis(50), ..place.options() };
    let store = Store::open(&options, place.unlock()).unwrap();
    keys(&store).set("k", b"v").unwrap();
    let other = place.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_failure(keys(&store).set("k", b"w"), strongroom_core::Kind::Unavailable, "store.busy");
    // Readers are not in anybody's way.
    assert_eq!(got(&keys(&store), "k").unwrap(), b"v");
    other.execute_batch("ROLLBACK").unwrap();
    keys(&store).set("k", b"w").unwrap();
}
