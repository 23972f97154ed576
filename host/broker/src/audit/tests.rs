use std::fs;

use strongroom_core::config::{Config, Layer};
use strongroom_core::policy::Operation;
use strongroom_core::{Kind, Reference, Shapes, Text};

use super::*;
use crate::{Setup, Strongroom};

struct Fixture {
    folder: tempfile::TempDir,
    warnings: Arc<Mutex<Vec<String>>>,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), warnings: Arc::default() }
    }

    fn paths(&self) -> Paths {
        Paths { state: Some(self.folder.path().join("state")), ..Paths::default() }
    }

    /// The log, as another process would open it.
    fn open(&self, more: &str) -> Audit {
        self.try_open(more).unwrap()
    }

    fn try_open(&self, more: &str) -> Result<Audit, Failure> {
        let text = format!("[audit]\nfile = \"audit.jsonl\"\n{more}");
        let config = Config::parse(&text, Text::new("c"), Layer::User).unwrap().audit.unwrap();
        let warnings = Arc::clone(&self.warnings);
        let warn: Warn = Arc::new(move |failure| warnings.lock().unwrap().push(failure.code().to_owned()));
        Audit::open(&config, self.folder.path(), &self.paths(), warn)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    fn report(&self) -> Report {
        verify(&Files::of_log(&self.file()).unwrap(), &self.paths().audit_key().unwrap(), None).unwrap()
    }

    #[track_caller]
    fn holds(&self, lines: u64) {
        let report = self.report();
        assert_eq!((report.lines, &report.problems[..]), (lines, &[][..]));
    }
}

fn record(caller: &str) -> Record<'_> {
    Record {
        caller,
        kind: "token",
        door: "native",
        operation: Operation::Resolve,
        mount: None,
        reference: None,
        plugin: None,
        outcome: Err(Kind::PolicyDenied),
        rule: None,
        micros: 7,
        trace: None,
        claimed: &[],
    }
}

#[test]
fn writers_side_by_side_make_one_chain_across_files() {
    let fixture = Fixture::new();
    let writers: Vec<Audit> = (0..4).map(|_| fixture.open("rotate = \"8KiB\"\nkeep = 1000")).collect();
    std::thread::scope(|scope| {
        for (index, writer) in writers.iter().chain(&writers).enumerate() {
            scope.spawn(move || {
                let caller = format!("writer {index}");
                for count in 1..20 {
                    writer.write(&vec![record(&caller); count % 5]).unwrap();
                }
            });
        }
    });
    fixture.holds(8 * 40);
    assert!(Files::of_log(&fixture.file()).unwrap().paths().count() > 5);
    // Fewer are kept from now on: what is beyond goes, and leaves no gap.
    let fewer = fixture.open("rotate = \"8KiB\"\nkeep = 2");
    fewer.write(&vec![record("a"); 30]).unwrap();
    assert_eq!(Files::of_log(&fixture.file()).unwrap().paths().count(), 3);
    assert_eq!(fixture.report().problems, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_together_is_whole_and_told_to_each() {
    let fixture = Fixture::new();
    let audit = fixture.open("rotate = \"64KiB\"\nkeep = 100");
    let writers = (0..200).map(|index| {
        let audit = audit.clone();
        tokio::spawn(async move {
            let caller = format!("writer {index}");
            for count in 1..5 {
                audit.queue(std::iter::repeat_n(record(&caller), count)).written().await.unwrap();
            }
        })
    });
    let writers = writers.collect::<Vec<_>>();
    // Who writes at once, as the command line does, tells those who found the log taken meanwhile.
    let at_once = (0..4).map(|_| {
        let audit = audit.clone();
        std::thread::spawn(move || (0..50).for_each(|_| audit.write(&[record("at once")]).unwrap()))
    });
    at_once.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
    for writer in writers {
        writer.await.unwrap();
    }
    fixture.holds(200 * 10 + 200);
    // Nothing to tell is nothing to wait for.
    audit.queue(std::iter::empty()).written().await.unwrap();
    // Who goes away leaves the line all the same.
    let mut gone = Box::pin(audit.queue(std::iter::once(record("gone"))).written());
    assert!(polled(&mut gone).await.is_pending());
    drop(gone);
    fixture.holds(200 * 10 + 201);
    // Where it cannot be written, everybody hears so.
    fs::rename(fixture.file(), fixture.folder.path().join("away")).unwrap();
    fs::create_dir(fixture.file()).unwrap();
    let refused = (0..8).map(|_| {
        let audit = audit.clone();
        tokio::spawn(async move { audit.queue([record("a"), record("b")].into_iter()).written().await.is_err() })
    });
    for refused in refused.collect::<Vec<_>>() {
        assert!(refused.await.unwrap());
    }
    fs::remove_dir(fixture.file()).unwrap();
    fs::rename(fixture.folder.path().join("away"), fixture.file()).unwrap();
    audit.queue(std::iter::once(record("a"))).written().await.unwrap();
    fixture.holds(200 * 10 + 203);
    assert!(fs::read_to_string(fixture.file()).unwrap().contains(",\"lost\":{\"records\":16}"));
}

/// Polls once.
async fn polled<F: Future + Unpin>(future: &mut F) -> std::task::Poll<F::Output> {
    std::future::poll_fn(|context| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context))).await
}

#[test]
fn lines_that_are_taken_away_while_somebody_writes_are_missed() {
    let fixture = Fixture::new();
    let audit = fixture.open("");
    (0..6).for_each(|_| audit.write(&[record("a")]).unwrap());
    let whole = fs::read_to_string(fixture.file()).unwrap();
    let cut: String = whole.split_inclusive('\n').take(4).collect();
    fs::write(fixture.file(), cut).unwrap();
    audit.write(&[record("a")]).unwrap();
    let problems = fixture.report().problems;
    assert_eq!(problems.iter().map(|one| one.what).collect::<Vec<_>>(), [What::Missing { from: 5, to: 6 }]);
    // Moved away by a tool that rotates logs, it goes on in a new file, and both are one chain.
    fs::write(fixture.file(), &whole).unwrap();
    drop(audit);
    let audit = fixture.open("");
    audit.write(&[record("a")]).unwrap();
    fs::rename(fixture.file(), fixture.folder.path().join("audit.jsonl.1")).unwrap();
    audit.write(&[record("a")]).unwrap();
    fixture.holds(8);
    fs::remove_file(fixture.file()).unwrap();
    fs::remove_file(fixture.folder.path().join("audit.jsonl.1")).unwrap();
    audit.write(&[record("a")]).unwrap();
    assert_eq!((fixture.report().first, fixture.report().lines), (Some(9), 1));
}

#[test]
fn what_could_not_be_written_is_counted() {
    for (mode, refused) in [("refuse", true), ("continue", false)] {
        let fixture = Fixture::new();
        let audit = fixture.open(&format!("on_failure = \"{mode}\""));
        audit.write(&[record("a")]).unwrap();
        fs::rename(fixture.file(), fixture.folder.path().join("away")).unwrap();
        fs::create_dir(fixture.file()).unwrap();
        for _ in 0..3 {
            assert_eq!(audit.write(&[record("a"), record("b")]).is_err(), refused);
        }
        assert_eq!(fixture.try_open(&format!("on_failure = \"{mode}\"")).is_err(), refused);
        let warned = if refused { 0 } else { 2 };
        assert_eq!(*fixture.warnings.lock().unwrap(), vec!["audit.permissions"; warned], "once for each opening");
        fs::remove_dir(fixture.file()).unwrap();
        fs::rename(fixture.folder.path().join("away"), fixture.file()).unwrap();
        audit.write(&[record("a")]).unwrap();
        fixture.holds(3);
        assert!(fs::read_to_string(fixture.file()).unwrap().contains(",\"lost\":{\"records\":6}"));
        audit.write(&[record("a")]).unwrap();
        fixture.holds(4);
    }
}

#[test]
fn no_value_and_no_hostile_word_comes_into_a_line() {
    let fixture = Fixture::new();
    let audit = fixture.open("names = true");
    let reference = Reference::parse("keys://g/k#canary%22", &Shapes::builtin()).unwrap();
    let claimed = [("agent", Text::new("x\",\"mac\":\"\n\u{202e}\0"))];
    let hostile = Record { reference: Some(&reference), claimed: &claimed, ..record("a\"\n\u{1b}[2J") };
    audit.write(&[hostile, hostile]).unwrap();
    fixture.holds(2);
    let text = fs::read_to_string(fixture.file()).unwrap();
    assert_eq!(text.lines().count(), 2);
    let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(line["claimed"]["agent"], claimed[0].1.as_str());
    assert_eq!(line["name"], reference.to_string());
}

/// The key alone, or the log alone, is not enough to go on.
#[test]
fn a_log_is_only_continued_with_its_own_key() {
    let fixture = Fixture::new();
    drop(fixture.open(""));
    let key = fixture.paths().audit_key().unwrap();
    let first = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    fixture.open("").write(&[record("a")]).unwrap();
    assert_ne!(fs::read(&key).unwrap(), first, "a log without a line has no key to keep");
    fs::write(&key, first).unwrap();
    assert_eq!(fixture.try_open("").unwrap_err().code(), "audit.tampered");
    fs::remove_file(&key).unwrap();
    assert_eq!(fixture.try_open("").unwrap_err().code(), "audit.key-missing");
    std::os::unix::fs::symlink(fixture.folder.path().join("elsewhere"), &key).unwrap();
    assert_eq!(fixture.try_open("").unwrap_err().kind(), Kind::Unavailable);
    assert!(!fixture.folder.path().join("elsewhere").exists());
}

#[test]
fn a_config_that_replaces_another_goes_on_with_its_log_unless_another_is_to_begin() {
    let fixture = Fixture::new();
    let host = |more: &str, before: Option<&Strongroom>| {
        let text = format!("[audit]\nfile = \"audit.jsonl\"\n{more}");
        let setup = Setup { successor_of: before.cloned(), ..Setup::from_toml(text, fixture.folder.path()) };
        Strongroom::open(Setup { paths: fixture.paths(), ..setup }).unwrap()
    };
    let log = |host: &Strongroom| host.audit().unwrap().unwrap();
    let same = |one: &Strongroom, another: &Strongroom| Arc::ptr_eq(&log(one).0, &log(another).0);
    let first = host("", None);
    log(&first).write(&[record("a")]).unwrap();
    let next = host("", Some(&first));
    assert!(same(&first, &next));
    assert!(!same(&next, &host("names = true", Some(&next))), "it asks for more");

    // Who moves a log away begins another; with its key, one of another key.
    fs::rename(fixture.file(), fixture.folder.path().join("moved")).unwrap();
    let anew = host("", Some(&next));
    log(&anew).write(&[record("a"), record("b")]).unwrap();
    fixture.holds(2);
    for path in [fixture.file(), fixture.paths().audit_key().unwrap()] {
        fs::remove_file(path).unwrap();
    }
    let last = host("", Some(&anew));
    log(&last).write(&[record("c")]).unwrap();
    fixture.holds(1);
}

/// A stopped process must not stop others again and again.
#[test]
fn who_holds_the_log_and_does_nothing_is_waited_for_once() {
    let fixture = Fixture::new();
    let audit = fixture.open("");
    audit.write(&[record("a")]).unwrap();
    let stopped = fs::File::open(fixture.file()).unwrap();
    stopped.lock().unwrap();
    let timed = || {
        let began = std::time::Instant::now();
        let refused = audit.write(&[record("b")]).unwrap_err();
        assert_eq!(refused.code(), "audit.busy");
        began.elapsed()
    };
    let first = timed();
    let rest: std::time::Duration = (0..20).map(|_| timed()).sum();
    assert!(rest < first, "{rest:?} for twenty, {first:?} for the first");
    stopped.unlock().unwrap();
    audit.write(&[record("c")]).unwrap();
    // The first, how many were lost, and the last.
    fixture.holds(3);
}

#[test]
fn a_log_that_is_rotated_while_it_is_verified_holds() {
    let fixture = Fixture::new();
    let audit = fixture.open("rotate = \"4KiB\"\nkeep = 1000");
    audit.write(&[record("first")]).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2_000 {
                audit.write(&[record("a"), record("b")]).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        let mut before = 0;
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            let report = fixture.report();
            assert_eq!(report.problems, []);
            assert!(report.lines >= before, "{} after {before}", report.lines);
            before = report.lines;
        }
    });
    assert!(Files::of_log(&fixture.file()).unwrap().paths().count() > 20);
    fixture.holds(4_001);
}
