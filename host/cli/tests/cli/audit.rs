//! The audit log as its owner and its attacker meet it: who did what stands there before the answer does, and whoever
//! changes it without the key is found.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use strongroom_core::audit::{Chain, Head, Keys};

use crate::support::{Home, PROGRAM, chmod, lossy, mode, names_in};

/// A home whose user wants a log.
struct Logged {
    home: Home,
}

impl std::ops::Deref for Logged {
    type Target = Home;

    fn deref(&self) -> &Home {
        &self.home
    }
}

impl Logged {
    fn new(more: &str) -> Self {
        let home = Home::new();
        home.configure(&format!("[audit]\nfile = \"audit.jsonl\"\n{more}"));
        Self { home }
    }

    fn file(&self) -> PathBuf {
        self.user_config().with_file_name("audit.jsonl")
    }

    fn older(&self, number: u32) -> PathBuf {
        self.user_config().with_file_name(format!("audit.jsonl.{number}"))
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Gets a variable, so many times.
    fn gets(&self, count: usize) {
        self.set("A", "not secret");
        for _ in 0..count {
            self.strongroom(["get", "env:A"]).done().ok();
        }
    }

    #[track_caller]
    fn holds(&self, lines: usize) {
        let done = self.strongroom(["audit", "verify", "--json"]).done().ok().json();
        assert_eq!((&done["ok"], &done["lines"]), (&true.into(), &lines.into()), "{done}");
    }

    /// What `verify` finds: code and line of each.
    fn found(&self) -> Vec<(String, u64)> {
        let done = self.strongroom(["audit", "verify", "--json"]).done().status(12).json();
        self.strongroom(["audit", "verify"]).done().status(12).prints("");
        let problems = done["problems"].as_array().unwrap().iter();
        problems.map(|one| (one["code"].as_str().unwrap().to_owned(), one["line"].as_u64().unwrap_or(0))).collect()
    }
}

#[test]
fn every_command_that_reads_or_writes_secrets_leaves_a_line() {
    let home = Logged::new("");
    let (key, variable) = (home.canary("key"), home.variable("VARIABLE"));
    home.put("keys://g/k", &key);
    assert_eq!(home.get("keys://g/k"), key.as_bytes());
    home.strongroom(["get", "env:VARIABLE"]).shows().done().ok().prints(&variable);
    home.strongroom(["get", "env:MISSING"]).done().status(6);
    home.strongroom(["get", "none:x"]).done().status(3);
    home.sh(["-e", "A=keys://g/k", "-e", "B=env:VARIABLE"], "true").done().ok();
    home.strongroom(["inject"]).input("x ${{keys://g/k}}").shows().done().ok();
    home.strongroom(["export", "-e", "A=keys://g/k"]).shows().done().ok();
    home.write("f.env", "A=${{env:VARIABLE}}\n");
    home.strongroom(["check", "-f", "f.env"]).done().ok();
    home.strongroom(["check", "--parse", "-f", "f.env"]).done().ok();
    home.strongroom(["list", "keys://g"]).done().ok();
    home.strongroom(["list", "--versions", "keys://g/k"]).done().ok();
    home.strongroom(["list"]).done().ok();
    home.strongroom(["explain", "keys://g/k"]).done().ok();
    home.strongroom(["delete", "--yes", "keys://g/k"]).done().ok();
    home.strongroom(["recover", "keys://g/k"]).done().status(15);
    home.strongroom(["purge", "--yes", "keys://g/k"]).done().status(15);
    let lines = home.lines();
    let told: Vec<String> = lines
        .iter()
        .map(|line| format!("{} {} {}", line["operation"], line["mount"], line["outcome"]).replace('"', ""))
        .collect();
    assert_eq!(
        told,
        [
            "set keys ok",
            "resolve keys ok",
            "resolve env ok",
            "resolve env not-found",
            "resolve keys ok",
            "resolve env ok",
            "resolve keys ok",
            "resolve keys ok",
            "resolve env ok",
            "list keys ok",
            "metadata keys ok",
            "explain keys ok",
            "delete keys ok",
            "recover keys unsupported",
            "purge keys unsupported",
        ]
    );
    for (index, line) in lines.iter().enumerate() {
        assert_eq!((line["seq"].as_u64(), line["v"].as_u64()), (Some(index as u64 + 1), Some(1)));
        assert_eq!((&line["kind"], &line["door"]), (&"command-line".into(), &"command-line".into()));
        let caller = format!("uid {}", rustix::process::getuid().as_raw());
        assert_eq!(line["caller"], caller);
        assert!(line["plugin"].as_str().unwrap().starts_with("sha256:") && line["micros"].as_u64().is_some());
        assert_eq!(line["name_hash"].as_str().unwrap().len(), 32);
        assert!(line.get("name").is_none() && line.get("claimed").is_none() && line.get("trace").is_none());
    }
    let hash = |at: usize| &lines[at]["name_hash"];
    assert!(hash(0) == hash(1) && hash(2) == hash(5) && hash(1) != hash(2));
    assert!(!home.text().contains("VARIABLE") && !home.text().contains("g/k"));
    assert_eq!((mode(&home.file()), mode(&home.state("audit.key"))), (0o600, 0o600));
    home.holds(15);
    let done = home.strongroom(["audit", "verify"]).done().ok().shows("15 lines hold, 1 to 15");
    let head = home.strongroom(["audit", "head"]).done().ok().quiet().out();
    assert!(done.out().contains(&format!("head {head}")) && head.starts_with("15:"));
    done.says("shows only against a head that was kept elsewhere");
}

#[test]
fn names_stand_there_where_the_config_says_so_and_break_no_line() {
    let home = Logged::new("names = true\n");
    home.gets(1);
    let hostile = "env:a\"},\u{202e}\\u0022";
    home.strongroom(["get", hostile]).done().status(6);
    let lines = home.lines();
    assert_eq!(lines[0]["name"], "env:A");
    assert_eq!(lines[1]["name"], "env:a\"},\\u{202e}\\u0022");
    home.holds(2);
}

#[test]
fn without_the_key_nothing_is_changed_put_in_or_taken_away_unseen() {
    let home = Logged::new("");
    home.gets(6);
    let whole = home.text();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let with = |lines: &[&str]| {
        fs::write(home.file(), lines.concat()).unwrap();
        home.found()
    };
    let one = |code: &str, line: u64| vec![(code.to_owned(), line)];
    let edited = lines[2].replace("\"ok\"", "\"not-found\"");
    assert_eq!(with(&[lines[0], lines[1], &edited, lines[3], lines[4], lines[5]]), one("audit.changed", 3));
    let forged = lines[5].replace("\"seq\":6", "\"seq\":7");
    assert_eq!(with(&[&lines[..3], &[&forged], &lines[3..]].concat()), one("audit.inserted", 4));
    assert_eq!(with(&[&lines[..], &[&forged]].concat()), one("audit.changed", 7));
    assert_eq!(with(&[&lines[..2], &lines[3..]].concat()), one("audit.missing", 3));
    let swapped = [("audit.missing".to_owned(), 2), ("audit.order".to_owned(), 3)];
    assert_eq!(with(&[lines[0], lines[2], lines[1], lines[3], lines[4], lines[5]]), swapped);
    assert_eq!(with(&[&lines[..], &lines[..1]].concat()), one("audit.restart", 7));

    // After such an end nobody goes on, nor is a secret handed out, until a person has looked at it.
    fs::write(home.file(), format!("{whole}{forged}")).unwrap();
    home.strongroom(["get", "env:A"]).done().fails(12, "audit.tampered").prints("").says("audit verify");
    home.strongroom(["audit", "head"]).done().fails(12, "audit.tampered");
    assert_eq!(home.text(), format!("{whole}{forged}"));

    // Another's key verifies nothing and is found out; so is none at all.
    fs::write(home.file(), &whole).unwrap();
    let key = fs::read(home.state("audit.key")).unwrap();
    fs::write(home.state("audit.key"), [7; 32]).unwrap();
    home.strongroom(["audit", "verify"]).done().fails(12, "audit.changed").says("is it the right one?");
    fs::remove_file(home.state("audit.key")).unwrap();
    home.strongroom(["audit", "verify"]).done().fails(12, "audit.key-missing");
    home.strongroom(["get", "env:A"]).done().fails(12, "audit.key-missing").prints("");
    assert!(!home.state("audit.key").exists());
    let kept = home.write("kept.key", &key);
    chmod(&kept, 0o644);
    let with_key = || home.strongroom(["audit", "verify", "--key", "kept.key"]);
    with_key().done().fails(12, "audit.key-permissions");
    chmod(&kept, 0o600);
    with_key().done().ok().shows("6 lines hold");
    fs::write(&kept, &key[1..]).unwrap();
    with_key().done().fails(12, "audit.key");
}

#[test]
fn missing_newest_lines_show_against_a_head() {
    let home = Logged::new("");
    home.gets(2);
    let early = home.strongroom(["audit", "head"]).done().ok().out();
    home.gets(2);
    let late = home.strongroom(["audit", "head", "--json"]).done().ok().json();
    let late = format!("{}:{}", late["seq"], late["mac"].as_str().unwrap());
    let verify = |head: &str| home.strongroom(["audit", "verify", "--head", head.trim()]).done();
    verify(&early).ok().says_not("kept elsewhere");
    verify(&late).ok();
    let whole = home.text();
    let cut: String = whole.split_inclusive('\n').take(3).collect();
    fs::write(home.file(), &cut).unwrap();
    home.holds(3);
    verify(&early).ok();
    verify(&late).fails(12, "audit.head").says("newest lines are missing");
    // The log goes on, and its line of that number is another one.
    home.gets(2);
    verify(&late).fails(12, "audit.head").says("is not the one that it was");
    verify(&early).ok();
    fs::remove_file(home.file()).unwrap();
    home.strongroom(["audit", "head"]).done().fails(6, "audit.unreadable");
    verify(&early).fails(12, "audit.head");
}

#[test]
fn what_a_crash_left_half_is_finished_and_told() {
    let home = Logged::new("");
    home.gets(3);
    let whole = home.text();
    fs::write(home.file(), &whole[..whole.len() - 40]).unwrap();
    home.strongroom(["audit", "verify"]).done().ok().says("is no whole line");
    home.gets(1);
    home.strongroom(["audit", "verify"])
        .done()
        .ok()
        .shows("4 lines hold, 1 to 4")
        .says("torn by a crash, and the log says so");
    let torn = home.text();
    assert!(torn.contains("\"torn\":{\"bytes\":"));
    // Not even what was torn can be changed.
    fs::write(home.file(), torn.replacen(&whole[whole.len() - 60..whole.len() - 40], "", 1)).unwrap();
    assert!(home.found().contains(&("audit.torn".to_owned(), 4)));
    // Zeros, as a crash of the machine leaves them; a line that lacks its end alone; nothing but half a first line.
    for (bytes, lines) in [
        ([whole.as_bytes(), &[0; 5000]].concat(), 5),
        (whole.trim_end().as_bytes().to_vec(), 4),
        (whole.as_bytes()[..50].to_vec(), 2),
    ] {
        fs::write(home.file(), bytes).unwrap();
        home.gets(1);
        home.holds(lines);
    }
}

#[test]
fn writers_that_are_killed_leave_a_log_that_holds() {
    let home = Logged::new("rotate = \"16KiB\"\n");
    home.set("A", "not secret");
    let script = format!(
        "i=0; while [ $i -lt 40 ]; do {PROGRAM} get env:A >/dev/null & \
         sleep 0.00$((i % 10)); kill -9 $! 2>/dev/null; wait $! 2>/dev/null; i=$((i+1)); done; exit 0"
    );
    let mut writers: Vec<_> = (0..3).map(|_| home.program("sh", ["-c", &script]).start()).collect();
    writers.iter_mut().for_each(|writer| assert_eq!(writer.wait(), 0));
    home.gets(1);
    let done = home.strongroom(["audit", "verify", "--json"]).done().ok().json();
    assert!(done["lines"].as_u64().unwrap() >= 1, "{done}");
}

#[test]
fn many_at_once_are_all_there() {
    let home = Logged::new("rotate = \"4KiB\"\nkeep = 1000\nnames = true\n");
    let names: BTreeSet<String> = (0..20).map(|number| format!("env:V{number}")).collect();
    for name in &names {
        home.set(name.trim_start_matches("env:"), "not secret");
    }
    let mut running: Vec<_> = names.iter().map(|name| home.strongroom(["get", name]).start()).collect();
    running.iter_mut().for_each(|one| assert_eq!(one.wait(), 0));
    home.holds(20);
    assert!(home.older(1).exists());
    let folder = home.user_config();
    let folder = folder.parent().unwrap();
    let logs = names_in(folder).into_iter().filter(|name| name.starts_with("audit.jsonl"));
    let text: String = logs.map(|name| fs::read_to_string(folder.join(name)).unwrap()).collect();
    let there: BTreeSet<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(there, names);
}

#[test]
fn rotation_keeps_the_chain_and_as_many_files_as_it_says() {
    let home = Logged::new("rotate = \"4KiB\"\nkeep = 2\n");
    home.gets(30);
    let there = names_in(home.file().parent().unwrap());
    let logs: Vec<&String> = there.iter().filter(|name| name.starts_with("audit")).collect();
    assert_eq!(logs, ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]);
    for file in [home.file(), home.older(1), home.older(2)] {
        assert!(fs::metadata(&file).unwrap().len() <= 4096 && mode(&file) == 0o600, "{}", file.display());
    }
    let done =
        home.strongroom(["audit", "verify"]).done().ok().shows("to 30").says("are not here: they are in older files");
    assert!(!done.out().contains(" 1 to"));
    // A file that is gone from the middle is missed; each by itself holds.
    for file in [home.file(), home.older(1)] {
        home.strongroom(["audit", "verify", file.to_str().unwrap()]).done().ok();
    }
    fs::remove_file(home.older(1)).unwrap();
    assert_eq!(home.found()[0].0, "audit.missing");
    // One file that is gone altogether is continued from the older ones.
    fs::remove_file(home.file()).unwrap();
    home.gets(1);
    home.strongroom(["audit", "verify"]).done().ok();
}

#[test]
fn a_log_that_cannot_be_written_stops_what_it_should_tell() {
    let home = Logged::new("");
    let secret = home.variable("SECRET");
    home.gets(1);
    // The sandboxes need files of some size themselves, so the log is made large first, with its own key.
    let key = fs::read(home.state("audit.key")).unwrap();
    let keys = Keys::new(key[..].try_into().unwrap());
    let head = Head::parse(home.strongroom(["audit", "head"]).done().ok().out().trim()).unwrap();
    let (mut chain, mut whole) = (Chain::after(&keys, head, false), home.text().into_bytes());
    while whole.len() < 100 << 10 {
        chain.lost(&mut whole, Duration::ZERO, 1);
    }
    fs::write(home.file(), &whole).unwrap();
    let lines = usize::try_from(chain.head().seq).unwrap();
    let whole = home.text();
    // A limit on file sizes stands for a full disk: whoever sets it has the signal ignored too.
    let limited = |command: &str| {
        let size = whole.len() + 100;
        home.program("sh", ["-c", &format!("trap '' XFSZ; exec prlimit --fsize={size} {PROGRAM} {command}")]).done()
    };
    limited("get env:SECRET").fails(8, "audit.write").prints("").says("on_failure");
    limited("explain env:SECRET").fails(8, "audit.write").prints("");
    limited("list env:").fails(8, "audit.write").prints("");
    limited("run -e A=env:SECRET -- touch started").fails(108, "audit.write");
    assert!(!home.work("started").exists());
    assert_eq!(home.text(), whole, "half a line was left");
    home.strongroom(["get", "env:SECRET"]).shows().done().ok().prints(&secret);
    home.holds(lines + 1);

    // What cannot be recorded is not done, where that is known before.
    home.put("keys://g/k", "not secret");
    fs::rename(home.file(), home.work("away")).unwrap();
    for (what, code) in
        [("symlink", "audit.permissions"), ("folder", "audit.permissions"), ("open", "audit.permissions")]
    {
        match what {
            "symlink" => std::os::unix::fs::symlink(home.work("target"), home.file()).unwrap(),
            "folder" => fs::create_dir(home.file()).unwrap(),
            _ => {
                fs::write(home.file(), "").unwrap();
                chmod(&home.file(), 0o622);
            }
        }
        home.strongroom(["delete", "--yes", "keys://g/k"]).done().fails(4, code);
        home.strongroom(["get", "env:SECRET"]).done().fails(4, code).prints("");
        let _ = fs::remove_file(home.file()).or_else(|_| fs::remove_dir(home.file()));
    }
    home.configure("[audit]\nfile = \"/dev/full\"\n");
    home.strongroom(["get", "env:SECRET"]).done().fails(4, "audit.permissions").prints("");
    assert!(!home.work("target").exists());
    home.configure("[audit]\nfile = \"audit.jsonl\"\n");
    fs::rename(home.work("away"), home.file()).unwrap();
    home.strongroom(["get", "keys://g/k"]).done().ok().prints("not secret");
    home.holds(lines + 3);
}

#[test]
fn the_config_may_say_that_it_goes_on() {
    let home = Logged::new("on_failure = \"continue\"\n");
    let secret = home.variable("SECRET");
    fs::create_dir(home.file()).unwrap();
    let done = home.strongroom(["get", "env:SECRET"]).shows().done().ok().prints(&secret);
    assert_eq!(done.err().matches("audit.permissions").count(), 1, "{}", done.err());
    fs::remove_dir(home.file()).unwrap();
    home.strongroom(["get", "env:SECRET"]).shows().done().ok().quiet();
    home.holds(1);
}

#[test]
fn the_key_is_where_the_config_says() {
    let home = Logged::new("key_file = \"own.key\"\n");
    home.gets(2);
    let key = home.user_config().with_file_name("own.key");
    assert_eq!((fs::read(&key).unwrap().len(), mode(&key)), (32, 0o600));
    assert!(!home.state("audit.key").exists());
    home.holds(2);
    home.strongroom(["audit", "verify", home.file().to_str().unwrap()]).done().ok();
}

#[test]
fn standard_output_is_for_values_alone() {
    let home = Home::new();
    let secret = home.variable("SECRET");
    home.configure("[audit]\noutput = \"stdout\"\n");
    home.strongroom(["get", "env:SECRET"]).done().fails(2, "audit.output").prints("").says("serve");
    home.strongroom(["audit", "verify"]).done().status(64).says("standard output");
    home.configure("");
    home.strongroom(["audit", "verify"]).done().fails(64, "usage.audit");
    home.strongroom(["get", "env:SECRET"]).shows().done().ok().prints(&secret);
    assert!(!home.state("audit.key").exists());
}

#[test]
fn a_projects_file_cannot_move_the_log() {
    let home = Logged::new("");
    home.write("strongroom.toml", "[audit]\nfile = \"elsewhere.jsonl\"\n");
    home.strongroom(["trust", "--yes"]).done().fails(2, "config.project");
    fs::remove_file(home.work("strongroom.toml")).unwrap();
    // A file named outright has a log of its own, or the user's.
    home.set("A", "not secret");
    home.write("named.toml", "[audit]\nfile = \"named.jsonl\"\n");
    home.strongroom(["--config", "named.toml", "get", "env:A"]).done().ok();
    assert!(!home.file().exists() && lossy(&fs::read(home.work("named.jsonl")).unwrap()).lines().count() == 1);
    home.write("named.toml", "");
    home.strongroom(["--config", "named.toml", "get", "env:A"]).done().ok();
    home.holds(1);
}
