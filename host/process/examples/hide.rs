//! Runs a program and hides a word in what it writes: the smallest complete user of this crate.
//!
//! `cargo run -p strongroom-process --example hide -- --hide hunter2 -- sh -c 'echo hunter2'`
//!
//! The tests in `tests/` drive it, because what they test needs a process of its own.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a program, so the environment is its to read")]

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::exit;

use strongroom_process::{Child, Filter, Io, MonitorCommand, Stream};
use zeroize::Zeroizing;

/// The hidden first argument that makes this program the monitor.
const MONITOR: &str = "__monitor";

/// Replaces one word, also where it is cut in two.
struct Hide {
    word: Vec<u8>,
    held: Vec<u8>,
}

impl Filter for Hide {
    fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(chunk);
        while let Some(at) = self.held.windows(self.word.len()).position(|window| window == self.word) {
            out.extend(self.held.drain(..at));
            self.held.drain(..self.word.len());
            out.extend_from_slice(b"[hidden]");
        }
        let kept = (1..self.word.len()).rev().find(|n| self.held.ends_with(self.word.get(..*n).unwrap_or_default()));
        out.extend(self.held.drain(..self.held.len() - kept.unwrap_or(0)));
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }

    fn pending(&self) -> bool {
        !self.held.is_empty()
    }
}

fn main() {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.next_if(|first| first == MONITOR).is_some() {
        exit(i32::from(strongroom_process::monitor_main(args)));
    }
    let (mut word, mut bare, mut replace, mut tell) = (b"hunter2".to_vec(), false, false, false);
    let mut files = Vec::new();
    for arg in args.by_ref() {
        match arg.as_bytes().splitn(3, |byte| *byte == b'=').collect::<Vec<_>>().as_slice() {
            [b"--"] => break,
            [b"--bare"] => bare = true,
            [b"--filtered"] => bare = false,
            [b"--dumpable"] => tell = true,
            [b"--exec"] => replace = true,
            [b"--hide", hidden] => word = hidden.to_vec(),
            [b"--file", name, value] => {
                files.push((OsString::from_vec(name.to_vec()), Zeroizing::new(value.to_vec())));
            }
            _ => exit(64),
        }
    }
    let env = std::env::vars_os().collect();
    let child = Child { program: args.next().unwrap_or_default(), args: args.collect(), env, files };
    let before = rustix::process::dumpable_behavior();
    let hardened = strongroom_process::harden();
    if let (true, Ok(before), Ok(after)) = (tell, before, rustix::process::dumpable_behavior()) {
        let _ = writeln!(std::io::stdout(), "{before:?} {after:?}");
    }
    let result = if replace {
        Err(strongroom_process::exec(&child))
    } else {
        let io = Io::standard(MonitorCommand { program: "/proc/self/exe".into(), args: vec![MONITOR.into()] });
        let mut make = |_: Stream| -> Box<dyn Filter> { Box::new(Hide { word: word.clone(), held: Vec::new() }) };
        hardened.and_then(|()| strongroom_process::run(child, &io, if bare { None } else { Some(&mut make) }))
    };
    exit(i32::from(match result {
        Ok(exit) => exit.status(),
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "{}: {failure}", failure.code());
            strongroom_process::exit_status(&failure)
        }
    }));
}
