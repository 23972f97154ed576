//! Opens a page in the browser of whoever sits at this machine.
//!
//! Never through a shell: the address is one argument of one program, or a part of one. The browser
//! may be somebody's whole desktop, so it is neither limited nor ended, and what it writes goes nowhere.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Stdio;

use strongroom_core::{Failure, Kind};

use crate::child::spawn;
use crate::lookup::{find, start_failure};

/// A program that was told to open a page. It goes on when this is dropped.
#[derive(Debug)]
pub struct Opening {
    program: OsString,
    child: std::process::Child,
}

/// Opens `uri` with what `env` says: the first program of `BROWSER` that is there (a list with colons;
/// `%s` stands for the address, which else is the last argument), or else the desktop's own opener.
/// The program gets `env` and nothing beside it, and a process group of its own.
///
/// # Errors
/// `login.no-display` where there is no screen to show a page on; `process.not-found`,
/// `process.not-executable` and the like, of the last program that was tried.
pub fn open_page(uri: &str, env: &[(OsString, OsString)]) -> Result<Opening, Failure> {
    let mut refused = no_display();
    for words in commands(uri, env) {
        let Some((program, args)) = words.split_first() else { continue };
        match start(program, args, env) {
            Ok(child) => return Ok(Opening { program: program.clone(), child }),
            Err(failure) => refused = failure,
        }
    }
    Err(refused)
}

impl Opening {
    /// Waits until the program has ended, which for a browser may be hours.
    ///
    /// # Errors
    /// `login.opener` if it says that it could not do it.
    pub fn wait(mut self) -> Result<(), Failure> {
        let Ok(status) = self.child.wait() else { return Ok(()) };
        let how = match (status.code(), status.signal()) {
            (Some(0), _) | (None, None) => return Ok(()),
            (Some(code), _) => format!("exited with status {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
        };
        let program = self.program.to_string_lossy();
        Err(Failure::new(Kind::Unavailable, "login.opener", format!("no browser was opened: `{program}` {how}")))
    }
}

fn no_display() -> Failure {
    let message = "no browser can be opened: there is no display here (neither DISPLAY nor WAYLAND_DISPLAY is set)";
    Failure::new(Kind::Unsupported, "login.no-display", message)
}

/// The commands that may open `uri`, best first. None where there is nothing to show it on.
fn commands(uri: &str, env: &[(OsString, OsString)]) -> Vec<Vec<OsString>> {
    let setting = |name: &str| {
        env.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value).filter(|value| !value.is_empty())
    };
    if let Some(browsers) = setting("BROWSER") {
        let listed = browsers.as_bytes().split(|byte| *byte == b':');
        return listed.map(|command| command_words(command, uri)).filter(|words| !words.is_empty()).collect();
    }
    let opener = if cfg!(target_os = "macos") { "/usr/bin/open" } else { "xdg-open" };
    let shown = cfg!(target_os = "macos") || setting("DISPLAY").is_some() || setting("WAYLAND_DISPLAY").is_some();
    if shown { vec![vec![opener.into(), uri.into()]] } else { Vec::new() }
}

/// The words of one command of `BROWSER`, with the address in place of `%s` or at the end.
fn command_words(command: &[u8], uri: &str) -> Vec<OsString> {
    let mut filled = false;
    let mut fill = |word: &[u8]| match word.windows(2).position(|two| two == b"%s") {
        None => OsStr::from_bytes(word).to_owned(),
        Some(at) => {
            filled = true;
            let (before, after) = word.split_at(at);
            let whole = [before, uri.as_bytes(), after.get(2..).unwrap_or_default()].concat();
            OsStr::from_bytes(&whole).to_owned()
        }
    };
    let blank = |byte: &u8| byte.is_ascii_whitespace();
    let mut words: Vec<OsString> = command.split(blank).filter(|word| !word.is_empty()).map(&mut fill).collect();
    if !filled && !words.is_empty() {
        words.push(uri.into());
    }
    words
}

fn start(program: &OsStr, args: &[OsString], env: &[(OsString, OsString)]) -> Result<std::process::Child, Failure> {
    let path = find(program, env)?;
    let prepare = |command: &mut std::process::Command| {
        // A key at the terminal that ends this process must not end the person's browser.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Ok(())
    };
    spawn(&path, program, args, Some(env), prepare).map_err(|error| start_failure(&path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn the_address_is_one_argument_whatever_browser_says() {
        let uri = "https://login.example/a?b=c%20d&e=$(f);g";
        for (browser, expected) in [
            ("firefox", vec![vec!["firefox", uri]]),
            ("firefox --new-tab", vec![vec!["firefox", "--new-tab", uri]]),
            ("a:b  -x :", vec![vec!["a", uri], vec!["b", "-x", uri]]),
            ("open --url=%s -n", vec![vec!["open", "--url=https://login.example/a?b=c%20d&e=$(f);g", "-n"]]),
            ("open %s", vec![vec!["open", uri]]),
            (" : ", vec![]),
        ] {
            let commands = commands(uri, &env(&[("BROWSER", browser), ("DISPLAY", ":0")]));
            assert_eq!(commands, expected, "{browser}");
        }
    }

    #[cfg(not(target_os = "macos"))]
    #[test]
    fn without_a_display_nothing_is_tried() {
        for (variables, count) in [
            (vec![], 0),
            (vec![("DISPLAY", "")], 0),
            (vec![("DISPLAY", ":0")], 1),
            (vec![("WAYLAND_DISPLAY", "wayland-0")], 1),
            (vec![("BROWSER", "")], 0),
            (vec![("BROWSER", "w3m")], 1),
        ] {
            assert_eq!(commands("https://x.example/", &env(&variables)).len(), count, "{variables:?}");
        }
        assert_eq!(open_page("https://x.example/", &env(&[])).unwrap_err().code(), "login.no-display");
    }

    #[test]
    fn the_first_program_that_is_there_is_asked_and_its_no_is_told() {
        let path = ("PATH", "/usr/bin:/bin");
        let open = |browser| open_page("https://x.example/", &env(&[path, ("BROWSER", browser)]));
        assert_eq!(open("no-such-browser-here").unwrap_err().code(), "process.not-found");
        assert!(open("no-such-browser-here:true").unwrap().wait().is_ok());
        assert_eq!(open("false").unwrap().wait().unwrap_err().code(), "login.opener");
    }
}
