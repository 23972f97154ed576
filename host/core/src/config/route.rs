//! Which mount answers a reference.
//!
//! Pure and total. Among the mounts of the reference's scheme: the one it names outright; else the one
//! whose `hosts` holds its host; else the one whose `match` fits its path; else the default. There is
//! no second try: what the chosen mount denies, no other mount is asked.

use std::collections::BTreeMap;

use crate::reference::edit_distance;
use crate::{Failure, HostPattern, Kind, Name, Pattern, Reference, Shapes};

/// A mount as routing sees it: with its scheme resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// The mount's name.
    pub name: Name,
    /// The scheme it answers.
    pub scheme: String,
    /// The only hosts it answers; empty: no limit.
    pub hosts: Vec<HostPattern>,
    /// The paths that are routed to it.
    pub matches: Vec<Pattern>,
    /// Whether it was declared the default of its scheme.
    pub default: bool,
}

/// The mounts, by scheme. Built once, when a config is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    schemes: BTreeMap<String, Vec<Routed>>,
}

impl Router {
    /// Puts mounts together. A mount that is the only one of its scheme and has neither `hosts` nor
    /// `match` is its default.
    ///
    /// # Errors
    /// `config.overlap` if a reference could fall to two mounts; `config.hosts` if a mount has `hosts`
    /// and its scheme's references have none; `config.scheme` if nothing says how a scheme reads.
    pub fn new(mounts: impl IntoIterator<Item = Routed>, shapes: &Shapes) -> Result<Self, Failure> {
        let mut schemes: BTreeMap<String, Vec<Routed>> = BTreeMap::new();
        for mount in mounts {
            let wrong = |code, message: String| Failure::new(Kind::InvalidConfig, code, message).on_mount(&mount.name);
            let Some(shape) = shapes.get(&mount.scheme) else {
                let message =
                    format!("the mount {} answers `{}:`, and no plugin says how that reads", mount.name, mount.scheme);
                return Err(wrong("config.scheme", message));
            };
            if !mount.hosts.is_empty() && !shape.has_authority() {
                let message =
                    format!("the mount {} has `hosts`, but `{}:` references name no host", mount.name, mount.scheme);
                return Err(wrong("config.hosts", message).help("route by path with `match`, or limit with `allow`"));
            }
            schemes.entry(mount.scheme.clone()).or_default().push(mount);
        }
        for mounts in schemes.values_mut() {
            if let [only] = mounts.as_mut_slice() {
                only.default |= only.hosts.is_empty() && only.matches.is_empty();
            }
            for (index, a) in mounts.iter().enumerate() {
                if let Some((b, why)) = mounts.iter().skip(index + 1).find_map(|b| overlap(a, b).map(|why| (b, why))) {
                    let message = format!("the mounts {} and {} both answer `{}:` and {why}", a.name, b.name, a.scheme);
                    return Err(Failure::new(Kind::InvalidConfig, "config.overlap", message)
                        .on_mount(&b.name)
                        .help("a reference must have exactly one mount; make the patterns distinct"));
                }
            }
        }
        Ok(Self { schemes })
    }

    /// The mount that answers `reference`. Whether that mount allows it is another question.
    ///
    /// # Errors
    /// `unknown-mount`, listing the candidates.
    pub fn route(&self, reference: &Reference) -> Result<&Name, Failure> {
        let scheme = &*reference.scheme;
        let mounts = self.schemes.get(scheme).map(Vec::as_slice).unwrap_or_default();
        if let Some(named) = &reference.mount {
            return match mounts.iter().find(|m| m.name == *named) {
                Some(mount) => Ok(&mount.name),
                None => Err(self.no_such_mount(named, reference)),
            };
        }
        let host = reference.authority.as_deref();
        let holds = |m: &&Routed| host.is_some_and(|host| m.hosts.iter().any(|pattern| pattern.matches(host)));
        let path = reference.joined_path();
        let fits = |m: &&Routed| m.hosts.is_empty() && m.matches.iter().any(|pattern| pattern.matches(&path));
        let by_default = |m: &&Routed| m.hosts.is_empty() && m.default;
        let steps: [&dyn Fn(&&Routed) -> bool; 3] = [&holds, &fits, &by_default];
        for step in steps {
            let mut chosen = mounts.iter().filter(step);
            match (chosen.next(), chosen.next()) {
                (Some(mount), None) => return Ok(&mount.name),
                (Some(_), Some(_)) => break,
                (None, _) => {}
            }
        }
        Err(nobody(reference, mounts))
    }

    /// All mounts.
    pub fn iter(&self) -> impl Iterator<Item = &Routed> {
        self.schemes.values().flatten()
    }

    fn no_such_mount(&self, named: &Name, reference: &Reference) -> Failure {
        let scheme = &reference.scheme;
        let failure = |message: String| {
            Failure::new(Kind::UnknownMount, "route.no-such-mount", message).about(reference.to_string())
        };
        if let Some(other) = self.iter().find(|m| m.name == *named) {
            return failure(format!("the mount {named} answers `{}:`, not `{scheme}:`", other.scheme));
        }
        let near = self.iter().filter(|m| *m.scheme == **scheme).map(|m| m.name.as_str());
        let near =
            near.filter(|n| edit_distance(n, named.as_str()) <= 2).min_by_key(|n| edit_distance(n, named.as_str()));
        let failure = failure(format!("there is no mount {named}"));
        match near {
            Some(near) => failure.help(format!("did you mean `{near}+{scheme}:`?")),
            None => failure.help("`strongroom list --sources` tells which mounts there are"),
        }
    }
}

/// Why some reference could fall to both.
fn overlap(a: &Routed, b: &Routed) -> Option<&'static str> {
    if a.hosts.iter().any(|x| b.hosts.iter().any(|y| x.overlaps(y))) {
        Some("have `hosts` in common")
    } else if a.matches.iter().any(|x| b.matches.iter().any(|y| x.overlaps(y))) {
        Some("have paths in common that fit `match`")
    } else if a.default && b.default {
        Some("are both the default")
    } else {
        None
    }
}

fn nobody(reference: &Reference, mounts: &[Routed]) -> Failure {
    let scheme = &reference.scheme;
    if mounts.is_empty() {
        let message = format!("no mount answers `{scheme}:`");
        return Failure::new(Kind::UnknownMount, "route.no-mount", message)
            .about(reference.to_string())
            .help("add a mount to strongroom.toml; `strongroom list --sources` tells which there are");
    }
    let message = format!("no one mount answers this reference, out of {} for `{scheme}:`", mounts.len());
    let failure = Failure::new(Kind::UnknownMount, "route.no-mount", message).about(reference.to_string());
    let failure = mounts.iter().take(16).fold(failure, |failure, mount| {
        let how = if !mount.hosts.is_empty() {
            format!("answers the hosts {}", mount.hosts.iter().map(HostPattern::as_str).collect::<Vec<_>>().join(", "))
        } else if !mount.matches.is_empty() {
            format!("answers the paths {}", mount.matches.iter().map(Pattern::as_str).collect::<Vec<_>>().join(", "))
        } else {
            "is asked only by its name".to_owned()
        };
        failure.help(format!("{}: {how}", mount.name))
    });
    let name = mounts.first().map(|m| m.name.as_str()).unwrap_or_default();
    failure
        .help(format!("name the mount in the reference, as in {name}+{scheme}:..., or write `default = true` in one"))
}
