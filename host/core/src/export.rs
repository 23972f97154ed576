//! Resolved variables as a file for tools that cannot run under Strongroom.
//!
//! Whoever exports takes the secrets out of Strongroom's hands, so this writes plain values, exactly,
//! in the words of the tool that reads them: no `${{` is escaped, because other tools do not know
//! that escape. (A value that holds `${{` is therefore no round trip through
//! [`Document`](crate::Document); every other one is.) Nothing is written that would be
//! read as something else than one variable with this value: what a format cannot say is an error.

use std::collections::BTreeSet;
use std::io::Write;

use memchr::memmem;
use zeroize::Zeroizing;

use crate::{Failure, Kind, environment};

/// The format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExportFormat {
    /// dotenv: `NAME=value`, in single quotes where it holds more than plain characters, and in double
    /// quotes with `\n \r \" \\ \$` where it holds a line's end or a single quote. Node, Python, Ruby and
    /// Rust read it; Docker's `--env-file` knows no quotes.
    Env,
    /// `export NAME='value'` for any POSIX shell (`eval "$(strongroom export ...)"`). Names with a dot
    /// or a dash are errors: no shell can export them. Values may be any bytes but NUL.
    Shell,
    /// One JSON object of strings.
    Json,
    /// One YAML map of quoted strings.
    Yaml,
    /// GitHub Actions' environment file, to append to `$GITHUB_ENV`. Print [`gha_masks`] first.
    Gha,
}

impl ExportFormat {
    /// Every format, in the order of messages.
    pub const ALL: [Self; 5] = [Self::Env, Self::Shell, Self::Json, Self::Yaml, Self::Gha];

    /// The format's word, as `--format` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::Shell => "shell",
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Gha => "gha",
        }
    }

    /// The format of that word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// The shortest text that [`gha_masks`] hides, in bytes: as for masked output.
pub const MIN_MASK_BYTES: usize = 4;

/// Writes `entries`, in their order.
///
/// `nonce` goes into the delimiter of [`ExportFormat::Gha`] and should be random; the delimiter is
/// one that no value holds, whatever it is. The other formats do not use it.
///
/// # Errors
/// `environment.name` for what is no name (for a shell, no shell's name), `export.duplicate` for a name that
/// stands twice, `export.not-utf8` for bytes that are not UTF-8 (all formats but
/// [`ExportFormat::Shell`]), `environment.nul` for a NUL byte (all but JSON and YAML). None shows a value.
pub fn write(format: ExportFormat, entries: &[(String, &[u8])], nonce: u128) -> Result<Zeroizing<Vec<u8>>, Failure> {
    check(format, entries)?;
    // Grown once: a vector that moves leaves copies of the values behind.
    let size = entries.iter().map(|(name, value)| 2 * name.len() + 6 * value.len() + 2 * DELIMITER_BYTES + 16).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(size));
    let delimiter = if format == ExportFormat::Gha { delimiter(entries, nonce) } else { String::new() };
    if format == ExportFormat::Json {
        out.extend_from_slice(b"{");
    }
    if format == ExportFormat::Yaml && entries.is_empty() {
        out.extend_from_slice(b"{}\n");
    }
    for (index, (name, value)) in entries.iter().enumerate() {
        match format {
            ExportFormat::Env => {
                put(&mut out, &[name.as_bytes(), b"="]);
                dotenv_value(&mut out, value);
                put(&mut out, &[b"\n"]);
            }
            ExportFormat::Shell => {
                put(&mut out, &[b"export ", name.as_bytes(), b"='"]);
                replace(&mut out, value, |byte| (byte == b'\'').then_some(b"'\\''"));
                put(&mut out, &[b"'\n"]);
            }
            ExportFormat::Json => {
                put(&mut out, &[if index > 0 { b",\n  \"" } else { b"\n  \"" }, name.as_bytes(), b"\": "]);
                json_string(&mut out, name, value)?;
            }
            ExportFormat::Yaml => {
                // Quoted, because `y` and `null` are names, and no texts in some readers' YAML.
                put(&mut out, &[b"\"", name.as_bytes(), b"\": \""]);
                yaml_inside(&mut out, text(name, value)?)?;
                put(&mut out, &[b"\"\n"]);
            }
            ExportFormat::Gha => {
                let delimiter = delimiter.as_bytes();
                put(&mut out, &[name.as_bytes(), b"<<", delimiter, b"\n", value, b"\n", delimiter, b"\n"]);
            }
        }
    }
    if format == ExportFormat::Json {
        out.extend_from_slice(if entries.is_empty() { b"}\n" } else { b"\n}\n" });
    }
    Ok(out)
}

fn check(format: ExportFormat, entries: &[(String, &[u8])]) -> Result<(), Failure> {
    let mut names = BTreeSet::new();
    for (name, value) in entries {
        environment::check_name(name).map_err(|failure| failure.about(name.as_str()))?;
        if format == ExportFormat::Shell && !environment::is_shell_name(name) {
            let message = format!("{name}: no shell can export a variable with a dot or a dash in its name");
            return Err(Failure::new(Kind::Unsupported, "environment.name", message)
                .help("use another --format, or strongroom run, which passes such names on"));
        }
        if !names.insert(name) {
            let message = format!("{name}: this name would be written twice");
            return Err(Failure::new(Kind::InvalidConfig, "export.duplicate", message));
        }
        if format != ExportFormat::Shell {
            text(name, value)?;
        }
        if !matches!(format, ExportFormat::Json | ExportFormat::Yaml) {
            environment::check_nul(name, value)?;
        }
    }
    Ok(())
}

fn text<'v>(name: &str, value: &'v [u8]) -> Result<&'v str, Failure> {
    std::str::from_utf8(value).map_err(|_| {
        let message = format!("{name}: the value is not UTF-8, and this format holds text only");
        Failure::new(Kind::Unsupported, "export.not-utf8", message)
            .help("use --format shell, or hand it over as a file: strongroom run --as-file NAME=REF -- CMD")
    })
}

fn put(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    for piece in pieces {
        out.extend_from_slice(piece);
    }
}

/// Copies `value`, with the bytes replaced for which `by` gives something.
fn replace<const N: usize>(out: &mut Vec<u8>, value: &[u8], by: impl Fn(u8) -> Option<&'static [u8; N]>) {
    for &byte in value {
        match by(byte) {
            Some(replacement) => out.extend_from_slice(replacement),
            None => out.push(byte),
        }
    }
}

fn dotenv_value(out: &mut Vec<u8>, value: &[u8]) {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"_./:@%+,=-".contains(b);
    if value.iter().all(plain) {
        out.extend_from_slice(value);
    } else if value.iter().any(|b| matches!(b, b'\'' | b'\n' | b'\r')) {
        out.push(b'"');
        replace(out, value, |byte| match byte {
            b'\n' => Some(b"\\n"),
            b'\r' => Some(b"\\r"),
            b'"' => Some(b"\\\""),
            b'\\' => Some(b"\\\\"),
            b'$' => Some(b"\\$"),
            _ => None,
        });
        out.push(b'"');
    } else {
        put(out, &[b"'", value, b"'"]);
    }
}

fn json_string(out: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), Failure> {
    serde_json::to_writer(out, text(name, value)?).map_err(|_| unwritten())
}

/// Writes what stands between the quotes of a double-quoted YAML scalar (YAML 1.2.2, section 5.7).
fn yaml_inside(out: &mut Vec<u8>, value: &str) -> Result<(), Failure> {
    for c in value.chars() {
        let code = u32::from(c);
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\t' => out.extend_from_slice(b"\\t"),
            ' '..='~'
            | '\u{a0}'..='\u{2027}'
            | '\u{202a}'..='\u{d7ff}'
            | '\u{e000}'..='\u{fefe}'
            | '\u{ff00}'..='\u{fffd}'
            | '\u{10000}'..='\u{10ffff}' => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            // What is left is not printable in YAML, or a line's end to some of its readers.
            _ => write!(out, "\\u{code:04x}").map_err(|_| unwritten())?,
        }
    }
    Ok(())
}

fn unwritten() -> Failure {
    Failure::new(Kind::Internal, "export.unwritten", "a value could not be written to memory")
}

/// The length of a [`delimiter`].
const DELIMITER_BYTES: usize = "strongroom_".len() + 32;

/// A delimiter that no value holds, not even inside a line.
fn delimiter(entries: &[(String, &[u8])], nonce: u128) -> String {
    let mut nonce = nonce;
    loop {
        let delimiter = format!("strongroom_{nonce:032x}");
        if !entries.iter().any(|(_, value)| memmem::find(value, delimiter.as_bytes()).is_some()) {
            return delimiter;
        }
        nonce = nonce.wrapping_add(1);
    }
}

/// GitHub Actions' commands that hide `values` in the job's log from here on: `::add-mask::` lines, escaped
/// as `@actions/core` does it (`%25`, `%0D`, `%0A`).
///
/// They are commands, so they go to the step's output and never into the environment file that [`write`]
/// makes. The runner reads commands on standard error too, so the command line prints them there,
/// before it writes anything else, and this hides the values and sets them:
///
/// ```sh
/// strongroom export -f deployment.yaml --format gha >> "$GITHUB_ENV"
/// ```
///
/// The runner compares line by line, so each line of a value is a mask of its own. What is shorter than
/// [`MIN_MASK_BYTES`] is left out: it would hide every `1` or `{` of the log.
pub fn gha_masks(values: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    const COMMAND: &[u8] = b"::add-mask::";
    let lines = || values.iter().flat_map(|value| value.split(|b| matches!(b, b'\n' | b'\r')));
    let mut out = Zeroizing::new(Vec::with_capacity(lines().map(|line| COMMAND.len() + 3 * line.len() + 1).sum()));
    for line in lines().map(<[u8]>::trim_ascii).filter(|line| line.len() >= MIN_MASK_BYTES) {
        out.extend_from_slice(COMMAND);
        // No line holds a CR or an LF any more.
        replace(&mut out, line, |byte| (byte == b'%').then_some(b"%25"));
        out.push(b'\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::Format;
    use crate::template::Unknown;
    use crate::{Document, Shapes};

    fn export(format: ExportFormat, name: &str, value: &[u8]) -> Result<String, String> {
        match write(format, &[(name.to_owned(), value)], 7) {
            Ok(out) => Ok(String::from_utf8_lossy(&out).into_owned()),
            Err(failure) => Err(failure.code().to_owned()),
        }
    }

    /// What a POSIX shell makes of the words of `export NAME=...` (XCU 2.2): quotes and backslashes only.
    fn sh(script: &str) -> Option<(String, String)> {
        let mut rest = script.strip_prefix("export ")?.chars();
        let mut word = String::new();
        let mut quoted = false;
        while let Some(c) = rest.next() {
            match c {
                '\'' => quoted = !quoted,
                '\\' if !quoted => word.push(rest.next()?),
                '\n' if !quoted => {
                    let done = rest.as_str().is_empty();
                    return word.split_once('=').filter(|_| done).map(|(n, v)| (n.to_owned(), v.to_owned()));
                }
                c if !quoted && !c.is_ascii_alphanumeric() && !matches!(c, '_' | '=') => return None,
                c => word.push(c),
            }
        }
        None
    }

    /// What the runner makes of an environment file with one heredoc (`FileCommandManager`).
    fn runner(file: &str) -> Option<(String, String)> {
        let (head, rest) = file.split_once('\n')?;
        let (name, delimiter) = head.split_once("<<")?;
        let lines: Vec<_> = rest.split('\n').collect();
        let end = lines.iter().position(|line| *line == delimiter)?;
        (lines[end + 1..] == [""]).then(|| (name.to_owned(), lines[..end].join("\n")))
    }

    fn read_back(format: ExportFormat, text: &str) -> Option<(String, String)> {
        let format = match format {
            ExportFormat::Env => Format::Dotenv,
            ExportFormat::Json => Format::Json,
            ExportFormat::Yaml => Format::Yaml,
            ExportFormat::Shell => return sh(text),
            ExportFormat::Gha => return runner(text),
        };
        let document = Document::parse(text, format, "x".into(), &Shapes::builtin(), Unknown::Refuse).ok()?;
        let [entry] = document.entries.as_slice() else { return None };
        Some((entry.name.clone(), entry.template.as_literal()?.to_owned()))
    }

    fn assert_round_trip(value: &str) {
        for format in ExportFormat::ALL {
            let text = export(format, "NAME", value.as_bytes()).unwrap();
            let expected = Some(("NAME".to_owned(), value.to_owned()));
            assert_eq!(read_back(format, &text), expected, "{}: {text:?}", format.name());
        }
    }

    #[test]
    fn awkward_values_come_back_the_same() {
        for value in [
            "",
            " ",
            "plain",
            "a b",
            " a ",
            "#x",
            "a #b",
            "'",
            "\"",
            "it's \"$HOME\"",
            "`id`",
            "$(id)",
            "\\",
            "\\n",
            "\\'",
            "a\nb",
            "a\n",
            "\n",
            "\r\n",
            "a\rb",
            "\tx\t",
            "null",
            "~",
            "1.10",
            "- a",
            "{a: b}",
            "%0A",
            "größe 日本",
            "=",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "\u{1b}[31m",
            "\u{7f}",
            "\u{1f512}",
            "a=b",
            "@",
            "!",
            "'''",
            "\"\"\"",
            "$",
            "$${",
            "x\\",
            "-----BEGIN KEY-----\nMIIE'\"\\\n-----END KEY-----\n",
            "strongroom_00000000000000000000000000000007",
        ] {
            assert_round_trip(value);
        }
    }

    proptest! {
        #[test]
        fn any_text_without_nul_comes_back_the_same(value in "(?s:[^\\x00]|['\"$\\\\#\n\r ]){0,40}") {
            prop_assume!(!value.contains("${{") && !value.starts_with("@Microsoft.KeyVault("));
            assert_round_trip(&value);
        }
    }

    #[test]
    fn an_export_never_outgrows_what_was_reserved_for_it() {
        let value: String = (1..0x20).filter_map(char::from_u32).chain("'\"\\\u{85}".chars()).collect();
        for format in ExportFormat::ALL {
            let entries = [("N".to_owned(), value.as_bytes()), ("M".to_owned(), b"".as_slice())];
            let bound: usize = entries.iter().map(|(n, v)| 2 * n.len() + 6 * v.len() + 2 * DELIMITER_BYTES + 16).sum();
            let out = write(format, &entries, 7).unwrap();
            assert!(out.len() <= bound && out.capacity() == bound, "{}: it moved in memory", format.name());
        }
    }

    #[test]
    fn several_entries_keep_their_order() {
        let entries = [("B".to_owned(), b"1".as_slice()), ("A".to_owned(), b"it's".as_slice())];
        let text = |format| String::from_utf8(write(format, &entries, 7).unwrap().to_vec()).unwrap();
        assert_eq!(text(ExportFormat::Env), "B=1\nA=\"it's\"\n");
        assert_eq!(text(ExportFormat::Shell), "export B='1'\nexport A='it'\\''s'\n");
        assert_eq!(text(ExportFormat::Json), "{\n  \"B\": \"1\",\n  \"A\": \"it's\"\n}\n");
        assert_eq!(text(ExportFormat::Yaml), "\"B\": \"1\"\n\"A\": \"it's\"\n");
        for format in [ExportFormat::Json, ExportFormat::Yaml] {
            assert_eq!(write(format, &[], 7).unwrap().as_slice(), b"{}\n");
        }
    }

    #[test]
    fn a_value_cannot_end_its_own_heredoc() {
        let guessed = format!("strongroom_{:032x}", 7);
        let text = export(ExportFormat::Gha, "A", format!("x\n{guessed}\nPATH=/evil").as_bytes()).unwrap();
        assert!(text.starts_with(&format!("A<<strongroom_{:032x}\n", 8)), "{text}");
    }

    #[test]
    fn what_a_format_cannot_say_is_an_error() {
        for format in ExportFormat::ALL {
            let utf8 = export(format, "A", b"\xffx").map(|_| ());
            let expected = if format == ExportFormat::Shell { Ok(()) } else { Err("export.not-utf8".to_owned()) };
            assert_eq!(utf8, expected, "{}", format.name());
            for name in ["", "A B", "A\nB=1", "A'$(id)'"] {
                assert_eq!(export(format, name, b"x").unwrap_err(), "environment.name");
            }
            let twice = [("A".to_owned(), b"1".as_slice()), ("A".to_owned(), b"2".as_slice())];
            assert_eq!(write(format, &twice, 7).unwrap_err().code(), "export.duplicate");
        }
        for format in [ExportFormat::Env, ExportFormat::Shell, ExportFormat::Gha] {
            assert_eq!(export(format, "A", b"a\0b").unwrap_err(), "environment.nul");
        }
        assert_eq!(export(ExportFormat::Json, "A", b"a\0b").unwrap(), "{\n  \"A\": \"a\\u0000b\"\n}\n");
        assert_eq!(export(ExportFormat::Shell, "a.b", b"x").unwrap_err(), "environment.name");
        let bytes = write(ExportFormat::Shell, &[("A".to_owned(), b"\xff")], 7).unwrap();
        assert_eq!(bytes.as_slice(), b"export A='\xff'\n");
    }

    #[test]
    fn masks_are_single_commands_a_line_each() {
        let masks = gha_masks(&[b"100%25\r\nsecond line\n\n  {\nabc", b"::stop-commands::x", b""]);
        assert_eq!(
            String::from_utf8(masks.to_vec()).unwrap(),
            "::add-mask::100%2525\n::add-mask::second line\n::add-mask::::stop-commands::x\n"
        );
    }
}
