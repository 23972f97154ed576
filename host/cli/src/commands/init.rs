//! `init`: a config that works, with comments. From a deployment file it takes the mounts and hosts
//! that the file's references need.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use strongroom::{Failure, Kind, Reference, Shapes};
use strongroom_core::template::Unknown;

use crate::args;
use crate::session::{Answer, Outcome, Session};
use crate::variables::{format_of, read_document};

/// The schema's file, written beside the config so that editors find it.
const SCHEMA_NAME: &str = "strongroom.schema.json";

pub fn run(session: &Session, options: &args::Init) -> Answer {
    let needs = match &options.from {
        Some(path) => {
            let document =
                read_document(path, format_of(options.file_format.as_deref()), &Shapes::builtin(), Unknown::Keep)?;
            let references = document.entries.iter().flat_map(|entry| entry.template.references().cloned());
            Some(references.collect::<Vec<_>>())
        }
        None => None,
    };
    let target = target(session, options)?;
    let text = config(needs.as_deref());
    // What is written must be what is read back.
    strongroom_core::Config::parse(&text, "strongroom.toml".into(), strongroom_core::config::Layer::Explicit)?;
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder).map_err(|error| {
            Failure::new(Kind::Unavailable, "init.folder", format!("cannot make {}: {error}", folder.display()))
        })?;
    }
    strongroom_process::write_secret_file(&target, text.as_bytes(), false)?;
    let schema = serde_json::to_string_pretty(&strongroom_core::Config::json_schema()).unwrap_or_default();
    strongroom_process::write_secret_file(&target.with_file_name(SCHEMA_NAME), schema.as_bytes(), true)?;
    session.reporter.note(format!("wrote {}", target.display()));
    if !options.user {
        session.reporter.note("next: read it, then strongroom trust");
    }
    Ok(Outcome::Done)
}

fn target(session: &Session, options: &args::Init) -> Result<PathBuf, Failure> {
    if options.user {
        return strongroom::Paths::from_environment(&session.environment).config.ok_or_else(|| {
            Failure::new(Kind::Unsupported, "state.none", "there is no folder for your own config").help("set HOME")
        });
    }
    Ok(match &session.global.config {
        Some(path) => session.folder.join(path),
        None => session.folder.join("strongroom.toml"),
    })
}

fn config(needs: Option<&[Reference]>) -> String {
    let mut out = format!(
        "#:schema ./{SCHEMA_NAME}\n\
         # Strongroom's config. It holds no secret and can be committed.\n\
         # A mount binds a scheme to a plugin; `strongroom explain REF` says which one answers.\n\
         # The mounts `env` (env:NAME) and `keys` (keys://group/name) exist without being written.\n"
    );
    match needs {
        None => out.push_str(EXAMPLES),
        Some(references) => mounts_for(&mut out, references),
    }
    out
}

/// Commented out, so that the file as written changes nothing.
const EXAMPLES: &str = r#"
# Limit what env: may read. A variable off the list is refused, one that is not set is not found.
# [mounts.env]
# plugin = "env"
# allow = ["APP_*", "CI_TOKEN"]

# Secrets that are mounted as files: file:/run/secrets/db-password
# [mounts.file]
# plugin = "file"
# config = { folders = ["/run/secrets"] }

# A second store of custom keys, asked by name: team+keys://group/name
# [mounts.keys]
# plugin = "keys"
# write = true
# default = true
# [mounts.team]
# plugin = "keys"
# write = true
# ttl = "5m"
"#;

fn mounts_for(out: &mut String, references: &[Reference]) {
    let of = |scheme: &str| references.iter().filter(|r| *r.scheme == *scheme).cloned().collect::<Vec<_>>();
    let variables: BTreeSet<String> = of("env").iter().filter_map(|r| r.path.first().cloned()).collect();
    if !variables.is_empty() {
        let names: Vec<String> = variables.iter().map(|name| quoted(name)).collect();
        let _ = write!(
            out,
            "\n# Only the variables that the file names.\n[mounts.env]\nplugin = \"env\"\nallow = [{}]\n",
            names.join(", ")
        );
    }
    let folders: BTreeSet<String> = of("file")
        .iter()
        .filter_map(|r| r.path.first())
        .filter_map(|path| path.rsplit_once('/').map(|(folder, _)| folder.to_owned()))
        .filter(|folder| !folder.is_empty())
        .collect();
    if !folders.is_empty() {
        let folders: Vec<String> = folders.iter().map(|folder| quoted(folder)).collect();
        let _ = write!(out, "\n[mounts.file]\nplugin = \"file\"\nconfig = {{ folders = [{}] }}\n", folders.join(", "));
    }
    let groups: BTreeSet<String> = of("keys").iter().filter_map(|r| r.path.first().cloned()).collect();
    if !groups.is_empty() {
        let _ = write!(out, "\n# keys:// is answered by the built-in mount `keys`. The file needs the groups:\n");
        for group in &groups {
            let _ = writeln!(out, "#   {}", strongroom::Text::new(group));
        }
        out.push_str("# Set each key with: strongroom set keys://GROUP/NAME\n");
    }
    let hosts: BTreeSet<String> = references.iter().filter_map(|r| r.authority.clone()).collect();
    let unanswered: BTreeSet<&str> =
        references.iter().map(|r| &*r.scheme).filter(|scheme| !matches!(*scheme, "env" | "file" | "keys")).collect();
    if !unanswered.is_empty() {
        let schemes: Vec<String> = unanswered.iter().map(|scheme| format!("{scheme}:")).collect();
        let _ = write!(
            out,
            "\n# The file also uses {}, which no plugin of this release answers.\n# Add one: strongroom plugin add FILE\n",
            schemes.join(" ")
        );
        for host in &hosts {
            let _ = writeln!(out, "#   it names the host {host}");
        }
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}
