//! Which mount answers a reference.
//!
//! Pure and total. Among the mounts of the reference's scheme: the one it names outright; else the one
//! whose `hosts` holds its host; else the one whose `match` fits its path; else the default. There is
//! no second try: what the chosen mount denies, no other mount is asked.

use std::cell::OnceCell;
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
        let path = OnceCell::new();
        let path = || path.get_or_init(|| reference.joined_path());
        let fits = |m: &&Routed| m.hosts.is_empty() && m.matches.iter().any(|pattern| pattern.matches(path()));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;

    fn shapes() -> Shapes {
        let mut shapes = Shapes::builtin();
        assert!(shapes.insert("vault", Shape::uri(true, &["a", "b?"]).unwrap()));
        shapes
    }

    /// `name scheme [host:H]... [match:P]... [default]`
    fn routed(line: &str) -> Routed {
        let mut words = line.split(' ');
        let mut next = || words.next().unwrap();
        let (name, scheme) = (Name::parse(next()).unwrap(), next().to_owned());
        let mut mount = Routed { name, scheme, hosts: Vec::new(), matches: Vec::new(), default: false };
        for word in words {
            match word.split_once(':') {
                Some(("host", host)) => mount.hosts.push(HostPattern::parse(host).unwrap()),
                Some(("match", path)) => mount.matches.push(Pattern::parse(path).unwrap()),
                _ => mount.default = word == "default",
            }
        }
        mount
    }

    fn router(lines: &[&str]) -> Result<Router, Failure> {
        Router::new(lines.iter().map(|line| routed(line)), &shapes())
    }

    fn route(lines: &[&str], text: &str) -> Result<String, Failure> {
        let reference = Reference::parse(text, &shapes()).unwrap();
        router(lines).unwrap().route(&reference).map(ToString::to_string)
    }

    #[test]
    fn the_first_rule_that_names_a_mount_wins() {
        let vaults = &[
            "one vault host:a.x",
            "two vault host:*.y",
            "team vault match:team/**",
            "rest vault default",
            "odd vault",
        ];
        let table = [
            (&["env env"][..], "env:A", Some("env")),
            (vaults, "vault://a.x/team/n", Some("one")),
            (vaults, "vault://b.y/p", Some("two")),
            (vaults, "vault://b.z/team/n", Some("team")),
            (vaults, "vault://b.z/p", Some("rest")),
            (vaults, "odd+vault://a.x/p", Some("odd")),
            (vaults, "two+vault://a.x/p", Some("two")),
            (vaults, "env:A", None),
            (vaults, "three+vault://a.x/p", None),
            (&["env env", "ci env"], "env:A", None),
            (&["env env", "ci env"], "ci+env:A", Some("ci")),
            (&["env env", "ci env default"], "env:A", Some("ci")),
            (&["env env", "ci env match:CI_*"], "env:CI_X", Some("ci")),
            (&["env env", "ci env match:CI_*"], "env:A", None),
            (&["ci env match:CI_*"], "env:A", None),
            (&["ci env match:CI_* default"], "env:A", Some("ci")),
            (&["one vault host:a.x"], "vault://b.x/p", None),
        ];
        for (lines, text, mount) in table {
            let chosen = route(lines, text);
            assert_eq!(chosen.as_deref().ok(), mount, "{text} in {lines:?}");
            if let Err(failure) = chosen {
                assert_eq!(failure.kind(), Kind::UnknownMount, "{text}");
                assert!(!failure.helps().is_empty(), "{text}");
            }
        }
    }

    #[test]
    fn candidates_are_listed() {
        let failure = route(&["env env", "ci env match:CI_*"], "env:A").unwrap_err();
        let helps: Vec<&str> = failure.helps().iter().map(|h| h.as_str()).collect();
        assert_eq!(helps[..2], ["env: is asked only by its name", "ci: answers the paths CI_*"]);
        assert!(helps[2].contains("env+env:"), "{helps:?}");
        let failure = route(&["prod env", "env env"], "prd+env:A").unwrap_err();
        assert_eq!(failure.helps()[0].as_str(), "did you mean `prod+env:`?");
        let failure = route(&["prod env", "keys keys"], "keys+env:A").unwrap_err();
        assert_eq!(failure.message().as_str(), "the mount keys answers `keys:`, not `env:`");
    }

    #[test]
    fn overlap_is_found_when_the_mounts_are_put_together() {
        let table = [
            (&["a env default", "b env default"][..], Some("config.overlap")),
            (&["a env match:x*", "b env match:*y"], Some("config.overlap")),
            (&["a env match:x*", "b env match:y*"], None),
            (&["a vault host:*.x", "b vault host:p.x"], Some("config.overlap")),
            (&["a vault host:p.x", "b vault host:q.x"], None),
            (&["a vault host:p.x", "b vault match:**", "c vault default"], None),
            (&["a env default", "b keys default"], None),
            (&["a env", "b env"], None),
            (&["a env host:p.x"], Some("config.hosts")),
            (&["a nothing"], Some("config.scheme")),
        ];
        for (lines, code) in table {
            let failure = router(lines).err();
            assert_eq!(failure.as_ref().map(Failure::code), code, "{lines:?}: {failure:?}");
        }
    }
}
