//! On a terminal: masked and yet a terminal, questions, and what is typed unseen.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::time::Instant;

use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::support::{Home, PATIENCE, PROGRAM, Stream, chmod, collect, lossy};

/// A program on a terminal of its own. `setsid` (util-linux) makes the terminal its controlling one.
struct Terminal {
    child: Child,
    keyboard: File,
    screen: Stream,
}

impl Terminal {
    fn start<'a>(home: &Home, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        Self::program(home, PROGRAM, arguments)
    }

    fn program<'a>(home: &Home, program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let slave: OwnedFd = rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty()).unwrap();
        tcsetwinsize(&slave, Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let stream = || Stdio::from(slave.try_clone().unwrap());
        let mut command = std::process::Command::new("setsid");
        command.args(["--ctty", "--wait", program]).args(arguments).current_dir(home.work(".")).env_clear();
        command.envs(home.variables()).env("TERM", "xterm");
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        drop(command);
        let master = File::from(master);
        Self { child, screen: collect(master.try_clone().unwrap()), keyboard: master }
    }

    fn see(&mut self, text: &str) -> &mut Self {
        self.screen.wait_for(text);
        self
    }

    fn enter(&mut self, text: &str) -> &mut Self {
        self.keyboard.write_all(text.as_bytes()).unwrap();
        self
    }

    /// Waits until what is typed is not shown. No event tells it, so this looks again and again.
    fn hidden(&mut self) -> &mut Self {
        let start = Instant::now();
        while tcgetattr(&self.keyboard).unwrap().local_modes.contains(LocalModes::ECHO) {
            assert!(start.elapsed() < PATIENCE, "what is typed stays visible");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        self
    }

    /// The exit status and all that was on the screen, with plain line ends.
    fn end(mut self) -> (i32, String) {
        // A second carriage return is one that nobody sees (`host/process/src/monitored.rs`).
        let seen = lossy(&self.screen.rest()).replace("\r\r\n", "\n").replace("\r\n", "\n");
        (self.child.wait().unwrap().code().unwrap_or(-1), seen)
    }

    /// As [`Terminal::end`], of a call that shows no secret.
    fn done(self, home: &Home) -> (i32, String) {
        let (status, seen) = self.end();
        home.assert_clean("the terminal", seen.as_bytes());
        (status, seen)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Only after a failed test is there anything left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_program_keeps_its_terminal_and_is_masked() {
    let home = Home::new();
    home.variable("X");
    home.write("job", "test -t 0 && test -t 1 && test -t 2 && echo terminal\nstty size\nprintf '\\033[31mred\\033[0m %s\\n' \"$A\"\necho \"$A\" >&2\nexit 7\n");
    let (status, seen) = Terminal::start(&home, ["run", "-e", "A=env:X", "--", "sh", "job"]).done(&home);
    assert_eq!((status, seen.as_str()), (7, "terminal\n33 77\n\u{1b}[31mred\u{1b}[0m ***\n***\n"));
}

#[test]
fn what_is_typed_reaches_the_program_and_keys_interrupt_it() {
    let home = Home::new();
    home.variable("X");
    home.write("job", "trap 'echo interrupted; exit 3' INT\nread line\necho \"got $line $A\"\necho ready\nwhile :; do read more; done\n");
    let mut terminal = Terminal::start(&home, ["run", "-e", "A=env:X", "--", "sh", "job"]);
    terminal.enter("hello\r").see("got hello ***").see("ready").enter("\u{3}").see("interrupted");
    assert_eq!(terminal.done(&home).0, 3);
}

#[test]
fn a_watched_program_gets_the_terminal_again_when_it_starts_again() {
    let home = Home::new();
    home.put("keys://g/k", "old-value");
    home.write(
        "job",
        "trap 'echo ending; exit 0' TERM\ntrap 'echo interrupted; exit 3' INT\ntest -t 0 && test -t 1 && stty size\n\
         echo \"has ${#A} $A\"\nwhile :; do read -r line && echo \"got $line\"; done\n",
    );
    let arguments = ["run", "--watch", "--watch-every", "100ms", "-e", "A=keys://g/k", "--", "sh", "job"];
    let mut terminal = Terminal::start(&home, arguments);
    terminal.see("33 77").see("has 9 ***").enter("one\r").see("got one");
    home.put("keys://g/k", "newer-value");
    terminal.see("started again\r\n").see("has 11 ***").enter("two\r").see("got two").enter("\u{3}").see("interrupted");
    let (status, seen) = terminal.end();
    assert_eq!((status, seen.matches("33 77").count()), (3, 2), "{seen}");
    assert!(!seen.contains("-value"), "{seen}");
}

#[test]
fn a_program_that_hides_what_is_typed_still_can() {
    let home = Home::new();
    home.variable("X");
    let typed = home.canary("typed");
    home.write("job", "stty -echo; printf 'Password: '; read p; stty echo; echo; test -n \"$p\" && echo thanks\n");
    let mut terminal = Terminal::start(&home, ["run", "-e", "A=env:X", "--", "sh", "job"]);
    terminal.see("Password: ").enter(&format!("{typed}\r")).see("thanks");
    assert_eq!(terminal.done(&home).0, 0);
}

#[test]
fn a_program_that_is_stopped_goes_on_in_its_shell() {
    let home = Home::new();
    home.variable("X");
    home.write("job", "echo begun\nread line\necho \"went on with $line $A\"\n");
    // A shell with job control, as a person has it.
    let mut terminal = Terminal::program(&home, "bash", ["--norc", "--noprofile", "--noediting", "-i"]);
    // Written so that the echo of the line is not taken for the prompt.
    terminal.enter("PS1='rea''dy> '\r").see("ready> ");
    terminal.enter(&format!("{PROGRAM} run -e A=env:X -- sh job\r")).see("begun");
    terminal.enter("\u{1a}").see("Stopped");
    // Quoted, so that the echo of the line is not taken for what it prints.
    terminal.enter("echo in-'the'-shell\r").see("in-the-shell");
    // Keys that are typed before the shell has its terminal back go to the job, as anywhere.
    terminal.enter("fg; echo ov''er\r").enter("typed\r").see("went on with typed ***").see("over");
    terminal.enter("exit\r");
    terminal.done(&home);
}

#[test]
fn get_ends_the_line_and_escapes_what_would_move_the_cursor() {
    let home = Home::new();
    home.set("X", "red\u{1b}[31m\u{7}\ttab\u{9b}");
    let (status, seen) = Terminal::start(&home, ["get", "env:X"]).end();
    assert_eq!((status, seen.as_str()), (0, "red\\u{1b}[31m\\u{7}\ttab\\u{9b}\n"));
    let (_, seen) = Terminal::start(&home, ["get", "--json", "env:X"]).end();
    assert!(!seen.contains(['\u{1b}', '\u{9b}', '\u{7}']), "{seen:?}");
}

#[test]
fn a_value_is_asked_for_and_not_shown() {
    let home = Home::new();
    let secret = home.canary("typed");
    let mut terminal = Terminal::start(&home, ["set", "keys://g/k"]);
    terminal.see("Value").hidden().enter(&format!("{secret}\r"));
    let (status, seen) = terminal.done(&home);
    assert_eq!(status, 0, "{seen}");
    assert_eq!(home.get("keys://g/k"), secret.as_bytes());
    let mut terminal = Terminal::start(&home, ["set", "keys://g/k"]);
    terminal.see("Value").hidden().enter("\r").see("[set.empty]");
    assert_eq!(terminal.done(&home).0, 2);
    let mut terminal = Terminal::start(&home, ["set", "keys://g/k"]);
    terminal.see("Value").hidden().enter("\u{3}");
    assert_ne!(terminal.done(&home).0, 0);
    assert_eq!(home.get("keys://g/k"), secret.as_bytes());
}

#[test]
fn deleting_asks() {
    let home = Home::new();
    home.put("keys://g/k", home.canary("key"));
    for (answer, there) in [("n", true), ("", true), ("yellow", true), ("y", false)] {
        let mut terminal = Terminal::start(&home, ["delete", "keys://g/k"]);
        terminal.see("Delete keys://g/k? [y/N]").enter(&format!("{answer}\r"));
        let (status, seen) = terminal.done(&home);
        assert_eq!(status, 0, "{seen}");
        assert_eq!(seen.contains("nothing was deleted"), there, "{answer}: {seen}");
        assert_eq!(home.strongroom(["get", "keys://g/k"]).shows().done().status == 0, there, "{answer}");
    }
}

#[test]
fn trusting_asks_and_names_the_file() {
    let home = Home::new();
    home.write("strongroom.toml", "");
    let mut terminal = Terminal::start(&home, ["trust"]);
    terminal.see("strongroom.toml").see("[y/N]").enter("n\r").see("not trusted");
    terminal.done(&home);
    home.strongroom(["list"]).done().fails(4, "trust.unknown");
    let mut terminal = Terminal::start(&home, ["trust"]);
    terminal.see("[y/N]").enter("y\r").see("trusted");
    assert_eq!(terminal.done(&home).0, 0);
    home.strongroom(["list"]).done().ok();
}

#[test]
fn the_stores_passphrase_is_asked_for() {
    let home = Home::new();
    home.configure("[store]\nkey = \"passphrase\"\n");
    let (passphrase, secret) = (home.canary("passphrase"), home.canary("key"));
    home.write_secret("value", &secret);
    let set = ["set", "keys://g/k", "--from-file", "value"];
    let mut terminal = Terminal::start(&home, set);
    terminal.see("New passphrase").hidden().enter(&format!("{passphrase}\r"));
    terminal.see("Once more").hidden().enter("another\r").see("[store.passphrase-differs]");
    assert_eq!(terminal.done(&home).0, 2);
    home.strongroom(["store", "status"]).done().ok().shows("no store yet");
    let mut terminal = Terminal::start(&home, set);
    terminal.see("New passphrase").hidden().enter(&format!("{passphrase}\r"));
    terminal.see("Once more").hidden().enter(&format!("{passphrase}\r"));
    let (status, seen) = terminal.done(&home);
    assert_eq!(status, 0, "{seen}");
    let mut terminal = Terminal::start(&home, ["run", "-e", "A=keys://g/k", "--", "sh", "-c", "echo \"<$A>\""]);
    terminal.see("Passphrase of the store").hidden().enter(&format!("{passphrase}\r")).see("<***>");
    assert_eq!(terminal.done(&home).0, 0);
    let mut terminal = Terminal::start(&home, ["get", "keys://g/k"]);
    terminal.see("Passphrase of the store").hidden().enter("wrong\r").see("[store.passphrase]");
    assert_eq!(terminal.done(&home).0, 5);
    home.strongroom(["get", "keys://g/k"])
        .env("STRONGROOM_PASSPHRASE", &passphrase)
        .shows()
        .done()
        .ok()
        .prints(&secret);
}

#[test]
fn an_export_to_a_terminal_says_what_that_means() {
    let home = Home::new();
    home.set("X", "value");
    let (status, seen) = Terminal::start(&home, ["export", "-e", "A=env:X"]).end();
    assert_eq!(status, 0);
    assert!(seen.contains("A=value") && seen.contains("plain secrets"), "{seen}");
}

#[test]
fn an_error_is_coloured_on_a_terminal_unless_nobody_wants_it() {
    let home = Home::new();
    let coloured = |home: &Home| Terminal::start(home, ["get", "env:MISSING"]).end().1.contains('\u{1b}');
    assert!(coloured(&home));
    home.set("NO_COLOR", "1");
    assert!(!coloured(&home));
}

#[test]
fn a_terminal_for_errors_alone_is_kept_as_well() {
    let home = Home::new();
    home.variable("X");
    let job = home.write(
        "job",
        "test -t 1 || echo 'no terminal'\ntest -t 2 && echo 'terminal' >&2\necho \"$A\"; echo \"$A\" >&2\n",
    );
    chmod(&job, 0o755);
    let call = format!("{PROGRAM} run -e A=env:X -- ./job >out");
    let (status, seen) = Terminal::program(&home, "sh", ["-c", &call]).done(&home);
    assert_eq!((status, seen.as_str()), (0, "terminal\n***\n"));
    assert_eq!(std::fs::read_to_string(home.work("out")).unwrap(), "no terminal\n***\n");
}
