//! Tools: programs of this machine that an auth plugin may have run, such as a cloud's own command line.
//!
//! Whoever declares a tool decides on the program, its arguments, its environment and its time; a plugin
//! fills the holes and nothing more. A hole is a whole argument or the tail of one, its value matches a
//! pattern in full, and none begins with `-` or `@`, which many programs read as an option or a file.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use regex::{Regex, RegexBuilder};

use super::raw::RawTool;
use super::{CODES, Source};
use crate::strict::Sheet;
use crate::{Failure, Kind, Text};

/// The most arguments, holes and variables of a tool.
const MAX_ITEMS: usize = 64;

/// The longest value of a hole, in bytes.
const MAX_VALUE_BYTES: usize = 4096;

/// The most memory that one compiled pattern may take, in bytes.
const MAX_PATTERN_BYTES: usize = 256 * 1024;

/// How long a tool runs at most, where its declaration does not say.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A declared tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// The program: an absolute path; of a tool of this release a bare name, searched on `PATH`.
    pub program: String,
    args: Vec<Argument>,
    /// Its environment, as written.
    pub env: BTreeMap<String, String>,
    /// The variables that it inherits.
    pub inherit: BTreeSet<String>,
    /// How long it may run.
    pub timeout: Duration,
    holes: BTreeMap<String, Whole>,
    /// Where it is written.
    pub source: Source,
}

/// One argument: literal text, and a hole behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Argument {
    literal: String,
    hole: Option<Hole>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hole {
    name: String,
    /// Left out, with its whole argument, where it is not filled.
    optional: bool,
}

/// What a hole may be filled with: a pattern for the whole of it.
#[derive(Debug, Clone)]
struct Whole(Regex);

impl PartialEq for Whole {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Tool {
    /// The tools that a release declares: a file of `[tools.NAME]` tables and nothing else, in which a
    /// program may be a bare name.
    ///
    /// # Errors
    /// As of a config; of a release none that its tests would not find.
    pub fn of_release(text: &str, origin: Text) -> Result<BTreeMap<String, Self>, Failure> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Tools {
            tools: BTreeMap<String, RawTool>,
        }
        let sheet = Sheet::parse(text, origin.clone(), &CODES, super::MAX_BYTES)?;
        let Tools { tools } = sheet.read()?;
        let source = Source { layer: super::Layer::BuiltIn, origin, position: None };
        tools
            .into_iter()
            .map(|(name, raw)| {
                let bare = !raw.program.is_empty() && !raw.program.contains(['/', '\0']);
                let tool = Self::check(&sheet, &name, raw, source.clone(), bare)?;
                Ok((name, tool))
            })
            .collect()
    }

    /// Checks one table. `bare` is whether the program may stand without its folder.
    pub(super) fn check(
        sheet: &Sheet<'_>,
        name: &str,
        raw: RawTool,
        source: Source,
        bare: bool,
    ) -> Result<Self, Failure> {
        let wrong = |key: &str, message: &str| sheet.wrong("config.tool", &["tools", name, key], message);
        let plain = |text: &str| !text.contains('\0');
        if !bare && (!raw.program.starts_with('/') || raw.program.ends_with('/') || !plain(&raw.program)) {
            return Err(wrong("program", "must be the absolute path of a program"));
        }
        if raw.args.len() > MAX_ITEMS || raw.env.len() > MAX_ITEMS || raw.inherit.len() > MAX_ITEMS {
            return Err(wrong("args", "or `env` or `inherit` has more than 64 entries"));
        }
        let variable = |name: &String| !name.is_empty() && plain(name) && !name.contains('=');
        if !raw.env.iter().all(|(name, value)| variable(name) && plain(value)) {
            return Err(wrong("env", "must hold names of variables and their values"));
        }
        if !raw.inherit.iter().all(variable) {
            return Err(wrong("inherit", "must hold names of variables"));
        }
        let mut args = Vec::new();
        let mut used = BTreeSet::new();
        for text in &raw.args {
            let argument = Argument::parse(text).ok_or_else(|| {
                wrong("args", "must be texts, each with at most one hole {name} or {name?}, at its end")
            })?;
            used.extend(argument.hole.iter().map(|hole| hole.name.clone()));
            args.push(argument);
        }
        let mut holes = BTreeMap::new();
        for (hole, pattern) in raw.holes {
            if !used.contains(&hole) {
                return Err(sheet.wrong(
                    "config.tool",
                    &["tools", name, "holes", &hole],
                    "is in none of the arguments",
                ));
            }
            let whole = RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(MAX_PATTERN_BYTES).build();
            let whole = whole.map_err(|_| {
                sheet.wrong("config.tool", &["tools", name, "holes", &hole], "must be a regular expression")
            })?;
            holes.insert(hole, Whole(whole));
        }
        if let Some(missing) = used.iter().find(|hole| !holes.contains_key(*hole)) {
            return Err(wrong("holes", &format!("lacks the pattern of {{{missing}}}, which an argument has")));
        }
        let timeout = raw.timeout.map_or(TIMEOUT, |timeout| timeout.0);
        if timeout.is_zero() {
            return Err(wrong("timeout", "must be more than nothing"));
        }
        Ok(Self { program: raw.program, args, env: raw.env, inherit: raw.inherit, timeout, holes, source })
    }

    /// The arguments, with what a plugin gave for the holes.
    ///
    /// # Errors
    /// `tool.hole`, kind `policy-denied`, for a hole that is missing, is given twice, or whose value is not one that the declaration lets through. The value is never repeated.
    pub fn fill(&self, values: &[(String, String)]) -> Result<Vec<String>, Failure> {
        let refused = |hole: &str, why: &str| {
            let message = format!("the plugin's value for the hole `{}` of a tool {why}", Text::capped(hole, 64));
            Failure::new(Kind::PolicyDenied, "tool.hole", message)
        };
        let mut given = BTreeMap::new();
        for (hole, value) in values {
            // What the declaration has no use for is left out.
            let Some(pattern) = self.holes.get(hole) else { continue };
            if given.insert(hole.as_str(), value.as_str()).is_some() {
                return Err(refused(hole, "is given twice"));
            }
            if value.starts_with(['-', '@']) {
                return Err(refused(hole, "begins with - or @, which a program may take for an option or a file"));
            }
            if value.len() > MAX_VALUE_BYTES || value.contains('\0') || !pattern.0.is_match(value) {
                return Err(refused(hole, "does not match its pattern"));
            }
        }
        let mut filled = Vec::with_capacity(self.args.len());
        for Argument { literal, hole } in &self.args {
            match hole {
                None => filled.push(literal.clone()),
                Some(Hole { name, optional }) => match given.get(name.as_str()) {
                    Some(value) => filled.push(format!("{literal}{value}")),
                    None if *optional => {}
                    None => return Err(refused(name, "is missing")),
                },
            }
        }
        Ok(filled)
    }
}

impl Argument {
    fn parse(text: &str) -> Option<Self> {
        if text.contains('\0') {
            return None;
        }
        let Some((literal, behind)) = text.split_once('{') else {
            return (!text.contains('}')).then(|| Self { literal: text.to_owned(), hole: None });
        };
        let name = behind.strip_suffix('}')?;
        let (name, optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let fits = !name.is_empty() && name.bytes().all(word) && !literal.contains('}');
        fits.then(|| Self { literal: literal.to_owned(), hole: Some(Hole { name: name.to_owned(), optional }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Layer};

    const TOOL: &str = r#"
        [tools.mint]
        program = "/usr/bin/mint"
        args = ["token", "--for={audience}", "--tenant={tenant?}", "{extra?}"]
        holes = { audience = "[a-z:/.]+", tenant = "[a-z]+", extra = "[a-z@-]+" }
    "#;

    fn parse(text: &str, layer: Layer) -> Result<Config, Failure> {
        Config::parse(text, Text::new("c"), layer)
    }

    fn filled(values: &[(&str, &str)]) -> Result<String, &'static str> {
        let config = parse(TOOL, Layer::User).unwrap();
        let values: Vec<_> = values.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let filled = config.tools["mint"].fill(&values);
        filled.map(|args| args.join(" ")).map_err(|failure| {
            assert_eq!((failure.code(), failure.kind()), ("tool.hole", Kind::PolicyDenied));
            assert!(values.iter().all(|(_, value)| value.len() < 4 || !failure.to_string().contains(value)));
            "refused"
        })
    }

    #[test]
    fn holes_are_filled_with_what_matches_in_full() {
        assert_eq!(filled(&[("audience", "https://v")]), Ok("token --for=https://v".into()));
        assert_eq!(filled(&[("audience", "a"), ("tenant", "t")]), Ok("token --for=a --tenant=t".into()));
        assert_eq!(filled(&[("audience", "a"), ("extra", "x-y")]), Ok("token --for=a x-y".into()));
        assert_eq!(filled(&[("audience", "a"), ("other", "--b")]), Ok("token --for=a".into()));
        for bad in [
            &[][..],
            &[("tenant", "t")],
            &[("audience", "")],
            &[("audience", "a b")],
            &[("audience", "a\nb")],
            &[("audience", "a\n")],
            &[("audience", "x\nhttps")],
            &[("audience", "a"), ("audience", "b")],
            &[("audience", "a"), ("extra", "--debug")],
            &[("audience", "a"), ("extra", "@file")],
        ] {
            assert_eq!(filled(bad), Err("refused"), "{bad:?}");
        }
    }

    #[test]
    fn a_declaration_says_all_of_it() {
        for (from, to) in [
            ("/usr/bin/mint", "mint"),
            ("/usr/bin/mint", "./mint"),
            ("/usr/bin/mint", "/usr/bin/"),
            ("--for={audience}", "--for={audience}x"),
            ("--for={audience}", "--for={audience}{tenant}"),
            ("--for={audience}", "--for={Audience}"),
            ("--for={audience}", "--for=audience}"),
            ("--for={audience}", "--for"),
            ("audience = \"[a-z:/.]+\", ", ""),
            ("[a-z:/.]+", "[a-z"),
            ("args =", "timeout = \"0s\"\nargs ="),
            ("args =", "inherit = [\"A=B\"]\nargs ="),
            ("args =", "env = { \"\" = \"x\" }\nargs ="),
        ] {
            let text = TOOL.replace(from, to);
            assert_ne!(text, TOOL);
            assert_eq!(parse(&text, Layer::User).unwrap_err().code(), "config.tool", "{to}");
        }
        let unknown = TOOL.replace("args =", "shell = true\nargs =");
        assert_eq!(parse(&unknown, Layer::User).unwrap_err().code(), "config.unknown-key");
    }

    #[test]
    fn a_project_declares_no_tools() {
        assert!(parse(TOOL, Layer::Explicit).is_ok());
        assert_eq!(parse(TOOL, Layer::Project).unwrap_err().code(), "config.project");
    }

    #[test]
    fn a_release_may_leave_the_folder_to_path() {
        let release = |program: &str| Tool::of_release(&TOOL.replace("/usr/bin/mint", program), Text::new("r"));
        assert!(release("mint").is_ok() && release("/usr/bin/mint").is_ok());
        assert!(release("./mint").is_err() && release("").is_err());
    }
}
