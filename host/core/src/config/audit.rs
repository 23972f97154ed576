//! `[audit]`: where the log of operations goes, and what happens when it cannot.

use schemars::JsonSchema;
use serde::Deserialize;

use super::raw::RawAudit;
use super::{CODES, Source, units};
use crate::Failure;
use crate::strict::Sheet;

/// How large a file may grow, in bytes: from some ten lines to a terabyte.
const ROTATE: (u64, u64) = (4 << 10, 1 << 40);
/// How many older files may be kept.
const KEEP: (u32, u32) = (1, 1000);

/// `[audit]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    /// Where the lines go.
    pub sink: AuditSink,
    /// Whether names stand beside their keyed hashes.
    pub names: bool,
    /// What happens to an operation that cannot be recorded.
    pub on_failure: OnFailure,
    /// The key's file as written: relative to the folder of the config file. `None`: in the user's state folder.
    pub key_file: Option<String>,
    /// Where it is written.
    pub source: Source,
}

/// Where the lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditSink {
    /// A file, and older ones beside it.
    File {
        /// As written: relative to the folder of the config file.
        path: String,
        /// The size in bytes above which a new file is begun.
        rotate: u64,
        /// How many older files are kept.
        keep: u32,
    },
    /// Standard output.
    Stdout,
}

/// Where else than into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Output {
    /// Standard output. For `serve` alone: what the command line prints there is values.
    Stdout,
}

/// What happens to an operation that cannot be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// It fails.
    #[default]
    Refuse,
    /// It goes on, with a warning; how many lines were lost is recorded as soon as that works again.
    Continue,
}

impl AuditConfig {
    /// The size of a file above which a new one is begun, where the config does not say: 64 MiB.
    pub const ROTATE: u64 = 64 << 20;
    /// How many older files are kept, where the config does not say.
    pub const KEEP: u32 = 10;

    pub(super) fn check(sheet: &Sheet<'_>, raw: RawAudit, source: Source) -> Result<Self, Failure> {
        let wrong = |key: &str, message: &str| sheet.wrong(CODES.value, &["audit", key], message);
        let path = |text: &str| !text.is_empty() && !text.contains('\0') && !text.ends_with('/');
        if raw.key_file.as_deref().is_some_and(|file| !path(file)) {
            return Err(wrong("key_file", "must be the path of a file"));
        }
        let sink = match (raw.file, raw.output) {
            (Some(file), None) if path(&file) => {
                let rotate = raw.rotate.map_or(Self::ROTATE, |size| size.0);
                let keep = raw.keep.unwrap_or(Self::KEEP);
                if !(ROTATE.0..=ROTATE.1).contains(&rotate) {
                    let (least, most) = (units::show_size(ROTATE.0), units::show_size(ROTATE.1));
                    return Err(wrong("rotate", &format!("must be from {least} to {most}")));
                }
                if !(KEEP.0..=KEEP.1).contains(&keep) {
                    return Err(wrong("keep", &format!("must be from {} to {}", KEEP.0, KEEP.1)));
                }
                AuditSink::File { path: file, rotate, keep }
            }
            (Some(_), None) => return Err(wrong("file", "must be the path of a file")),
            (None, Some(Output::Stdout)) => {
                for (key, there) in [("rotate", raw.rotate.is_some()), ("keep", raw.keep.is_some())] {
                    if there {
                        return Err(sheet.wrong("config.audit", &["audit", key], "has no effect without `file`"));
                    }
                }
                AuditSink::Stdout
            }
            (file, _) => {
                let message = if file.is_some() { "cannot have both `file` and `output`" } else { "needs a `file`" };
                return Err(sheet
                    .wrong("config.audit", &["audit"], message)
                    .help("write file = \"audit.jsonl\", or output = \"stdout\" for a server"));
            }
        };
        Ok(Self {
            sink,
            names: raw.names,
            on_failure: raw.on_failure.unwrap_or_default(),
            key_file: raw.key_file,
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Layer, Layers};
    use crate::{Kind, Text};

    fn parse(body: &str) -> Result<AuditConfig, Failure> {
        let text = format!("[audit]\n{body}");
        Config::parse(&text, Text::new("strongroom.toml"), Layer::User).map(|config| config.audit.unwrap())
    }

    #[test]
    fn every_key_is_read_and_has_its_default() {
        let audit = parse("file = \"audit.jsonl\"").unwrap();
        let sink = AuditSink::File { path: "audit.jsonl".into(), rotate: 64 << 20, keep: 10 };
        assert_eq!((audit.sink, audit.names), (sink, false));
        assert_eq!((audit.on_failure, audit.key_file), (OnFailure::Refuse, None));
        let audit = parse(
            "file = \"a\"\nnames = true\nrotate = \"4KiB\"\nkeep = 3\non_failure = \"continue\"\nkey_file = \"k\"",
        )
        .unwrap();
        assert_eq!(audit.sink, AuditSink::File { path: "a".into(), rotate: 4096, keep: 3 });
        assert_eq!((audit.names, audit.on_failure, audit.key_file.as_deref()), (true, OnFailure::Continue, Some("k")));
        assert_eq!(parse("output = \"stdout\"").unwrap().sink, AuditSink::Stdout);
    }

    #[test]
    fn what_has_no_effect_or_no_meaning_is_refused() {
        for (body, code, key) in [
            ("", "config.audit", "audit"),
            ("names = true", "config.audit", "audit"),
            ("file = \"a\"\noutput = \"stdout\"", "config.audit", "audit"),
            ("output = \"stdout\"\nrotate = \"1MiB\"", "config.audit", "rotate"),
            ("output = \"stdout\"\nkeep = 3", "config.audit", "keep"),
            ("output = \"canary\"", "config.value", "output"),
            ("file = \"\"", "config.value", "file"),
            ("file = \"canary/\"", "config.value", "file"),
            ("file = \"a\"\nrotate = \"1B\"", "config.value", "rotate"),
            ("file = \"a\"\nrotate = 4711", "config.value", "rotate"),
            ("file = \"a\"\nrotate = \"4711GiB\"", "config.value", "rotate"),
            ("file = \"a\"\nkeep = 0", "config.value", "keep"),
            ("file = \"a\"\nkeep = 4711", "config.value", "keep"),
            ("file = \"a\"\nkey_file = \"\"", "config.value", "key_file"),
            ("file = \"a\"\non_failure = \"canary\"", "config.value", "on_failure"),
            ("file = \"a\"\nmasks = true", "config.unknown-key", "masks"),
        ] {
            let failure = parse(body).unwrap_err();
            assert_eq!((failure.kind(), failure.code()), (Kind::InvalidConfig, code), "{body}: {failure}");
            assert_eq!(failure.place().unwrap().excerpt.as_str(), key, "{body}");
            assert!(!format!("{failure}").contains("canary") && !format!("{failure}").contains("4711"), "{failure}");
        }
    }

    #[test]
    fn it_is_the_users_and_a_named_file_may_overrule_it() {
        let of = |layer, file: &str| Config::parse(&format!("[audit]\nfile = \"{file}\""), Text::new("c"), layer);
        assert_eq!(of(Layer::Project, "a").unwrap_err().code(), "config.project");
        let layers = Layers {
            user: of(Layer::User, "mine").ok(),
            project: None,
            explicit: Config::parse("", Text::new("c"), Layer::Explicit).ok(),
        };
        let sink =
            |layers: &Layers| match layers.clone().merge().unwrap().audit.map(|audit| (audit.sink, audit.source.layer))
            {
                Some((AuditSink::File { path, .. }, layer)) => Some((path, layer)),
                _ => None,
            };
        assert_eq!(sink(&layers), Some(("mine".into(), Layer::User)));
        let named = Layers { explicit: of(Layer::Explicit, "named").ok(), ..layers };
        assert_eq!(sink(&named), Some(("named".into(), Layer::Explicit)));
        assert_eq!(sink(&Layers::default()), None);
    }
}
