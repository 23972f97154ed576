//! What a config leaves out and its plugin's manifest says where to find: `[[config-from]]`.
//!
//! Variables of the environment, or a file of the project, which counts only as trusted (`discover.rs`):
//! whoever can write it says which backend a person's credential is used on. What is wrong with a source
//! stops the calls of that mount or credential and of no other, and is never skipped for the next one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use strongroom_core::manifest::{ConfigFrom, Unread};
use strongroom_core::{Failure, Kind, Manifest, Text};

use crate::discover::{self, Source};
use crate::environment::{Environment, is_withheld};
use crate::mounts::{Mounts, Provider};
use crate::paths::Paths;

/// What of a config came from beside the operator's file.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    /// Which keys, and from where, in words.
    pub(crate) told: Vec<String>,
    /// Why a source that is there cannot be used.
    failure: Option<Failure>,
}

/// Where configs may be filled from.
struct Surroundings<'a> {
    folder: Option<&'a Path>,
    environment: &'a Environment,
    paths: &'a Paths,
    /// The variables that feed a credential: nobody is told them.
    sealed: &'a BTreeSet<String>,
}

impl Mounts {
    /// Fills the configs of all mounts and credentials, as their manifests say.
    pub(crate) fn fill(&mut self, source: &Source, environment: &Environment, paths: &Paths) {
        let folder = match source {
            Source::Discover { folder, .. } | Source::Text { folder, .. } => Some(folder.as_path()),
            // A server belongs to no folder.
            Source::OwnFiles { .. } | Source::Nothing => None,
        };
        let around = Surroundings { folder, environment, paths, sealed: &self.sealed_variables };
        for mounted in self.all.values_mut() {
            if let Provider::Plugin(provided) = &mounted.provider {
                mounted.filled = around.fill(&mut mounted.mount.config, &provided.manifest);
                if let Some(person) = &mut mounted.person {
                    person.filled = around.fill(&mut person.mount.config, &provided.manifest);
                }
            }
        }
        for credential in self.credentials.values_mut() {
            credential.filled = around.fill(&mut credential.credential.config, &credential.provided.manifest);
        }
    }
}

impl Surroundings<'_> {
    fn fill(&self, config: &mut Value, manifest: &Manifest) -> Filled {
        let mut filled = Filled::default();
        for from in &manifest.config_from {
            // What the operator or an earlier source says is not mixed with another's word.
            if from.keys().any(|key| config.get(key).is_some()) {
                continue;
            }
            match (self.look(from), config.as_object_mut()) {
                (Ok(Some((place, told))), Some(config)) => {
                    filled.told.push(format!("{} from {place}", from.keys().collect::<Vec<_>>().join(", ")));
                    config.extend(told);
                }
                (Err(failure), _) => {
                    filled.failure = Some(failure);
                    break;
                }
                _ => {}
            }
        }
        filled
    }

    /// What the source tells, all of it, and where; `None` if it is not there.
    fn look(&self, from: &ConfigFrom) -> Result<Option<Told>, Failure> {
        match from {
            ConfigFrom::Env(env) => {
                let told = env.iter().map(|(key, name)| Some((key.clone(), self.variable(name)?.into())));
                Ok(told.collect::<Option<_>>().map(|told| (from.place(), told)))
            }
            ConfigFrom::Files { files, keys } => {
                let Some(path) = self.folder.and_then(|folder| nearest(folder, files)) else { return Ok(None) };
                let text = discover::read_data(&path, self.paths)?;
                let told = keys.iter().map(|(key, place)| match place.find(text.as_bytes()) {
                    Ok(found) => Ok((key.clone(), found.into_iter().next().unwrap_or_default().into())),
                    Err(why) => Err(unread(&path, place.as_str(), why)),
                });
                Ok(Some((path.display().to_string(), told.collect::<Result<_, _>>()?)))
            }
        }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.setting(name).filter(|_| !is_withheld(name.as_ref(), self.sealed))
    }
}

/// A place in words, and what it tells.
type Told = (String, Vec<(String, Value)>);

impl Filled {
    /// The config as the plugin is told it. `of` is whose it is, in words.
    ///
    /// # Errors
    /// What is wrong with a source of it; `config.unfilled` if no source tells what it lacks; as
    /// [`Manifest::check_config`].
    pub(crate) fn check(&self, of: &str, manifest: &Manifest, config: &Value) -> Result<String, Failure> {
        let untold: Vec<&str> = manifest.untold(config).into_iter().collect();
        match &self.failure {
            Some(failure) => return Err(failure.clone()),
            None if untold.is_empty() => return manifest.check_config(config),
            None => {}
        }
        let message = format!("the {of} does not say {}, and nothing else does", untold.join(" and "));
        let example: Vec<String> = untold.iter().map(|key| format!("{key} = \"...\"")).collect();
        let mut failure = Failure::new(Kind::InvalidConfig, "config.unfilled", message)
            .help(format!("in the {of}: config = {{ {} }}", example.join(", ")));
        let sources = || manifest.config_from.iter().filter(|from| from.keys().any(|key| untold.contains(&key)));
        if sources().flat_map(ConfigFrom::keys).any(|key| config.get(key).is_some()) {
            return Err(failure.help("what its `config` says in part is not taken from elsewhere in part"));
        }
        for from in sources() {
            failure = failure.help(format!("or {}", from.place()));
        }
        Err(failure)
    }
}

/// The first of `files` that is there, each sought from `folder` upwards to the root.
fn nearest(folder: &Path, files: &[String]) -> Option<PathBuf> {
    let there = |file: &String| folder.ancestors().map(|above| above.join(file)).find(|path| path.is_file());
    files.iter().find_map(there)
}

fn unread(path: &Path, place: &str, why: Unread) -> Failure {
    let path = Text::new(path.display().to_string());
    let message = format!("{path} cannot tell a config: it {why}, at {place}");
    Failure::new(Kind::InvalidConfig, "config.source", message)
        .help("if the file is not meant for this: say in the `config` of the mount or credential what it lacks")
}
