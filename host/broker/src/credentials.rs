//! Credentials: which auth plugin gets their tokens, from what, and who may use them.
//!
//! Checked when a config is loaded, as far as no secret is needed for it. A credential's sealed
//! inputs are references, so credentials stand on mounts and mounts on credentials; a cycle among
//! them, or a chain that is too long, is an error before anything runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use strongroom_core::config::{Credential, Layer};
use strongroom_core::manifest::{Grant, Presence};
use strongroom_core::{Failure, Kind, Name, Place, Reference, Text};

use crate::chain::Chain;
use crate::config_from::Filled;
use crate::mounts::{Mounted, Mounts, Provided, Provider};

/// How many credentials may stand behind one another.
pub(crate) const MAX_DEPTH: usize = 3;

/// One credential, checked against its plugin's manifest.
pub(crate) struct Credentialed {
    pub(crate) name: Name,
    pub(crate) credential: Credential,
    pub(crate) provided: Provided,
    /// The sealed inputs by name.
    pub(crate) sealed: BTreeMap<String, Reference>,
    /// Sealed inputs that are files, by the absolute path that the environment names.
    pub(crate) files: BTreeMap<String, String>,
    /// What of its config came from beside the operator's file.
    pub(crate) filled: Filled,
}

/// How a failure says that a sealed input comes from a variable that is not there.
pub(crate) const SEALED_VARIABLE: &str = "sealed-variable";

/// How a failure says that it is of a credential, and of which.
pub(crate) const CREDENTIAL: &str = "credential";

/// Whether what failed is getting a token, and not what the token was for.
pub fn is_of_credential(failure: &Failure) -> bool {
    failure.attributes().iter().any(|(key, _)| key.as_str() == CREDENTIAL)
}

/// The sealed inputs of `credential` as references.
pub(crate) fn sealed_inputs(
    name: &Name,
    credential: &Credential,
    provided: &Provided,
    shapes: &strongroom_core::Shapes,
) -> Result<BTreeMap<String, Reference>, Failure> {
    let place = || credential.source.place(name);
    let wanted = &provided.manifest.sealed;
    let wrong = |code, message: String| Failure::new(Kind::InvalidConfig, code, message).at(place());
    let missing = wanted
        .iter()
        .find(|(input, presence)| **presence == Presence::Required && !credential.sealed.contains_key(*input));
    if let Some((missing, _)) = missing {
        let message = format!("the credential {name} lacks the sealed input `{missing}`");
        return Err(wrong("config.sealed", message)
            .help(format!("say where it is kept: sealed = {{ {missing} = \"${{{{env:NAME}}}}\" }}")));
    }
    if let Some(extra) = credential.sealed.keys().find(|input| !wanted.contains_key(*input)) {
        let message = format!("the plugin {} takes no sealed input `{extra}`", provided.manifest.name);
        let takes: Vec<&str> = wanted.keys().map(String::as_str).collect();
        return Err(wrong("config.sealed", message).help(format!("it takes: {}", takes.join(", "))));
    }
    let read = |(input, text): (&String, &String)| {
        let origin = Text::new(format!("credentials.{name}.sealed.{input}"));
        Reference::parse(text, shapes)
            .map(|reference| (input.clone(), reference))
            .map_err(|error| error.into_failure(text, origin, None))
    };
    credential.sealed.iter().map(read).collect()
}

/// Checks what mounts and credentials say of each other.
pub(crate) fn check(mounts: &Mounts, project: Option<&Path>) -> Result<(), Failure> {
    for mounted in mounts.all.values() {
        check_mount(mounts, mounted, project)?;
    }
    for (name, chain) in &mounts.chains {
        for link in chain.names() {
            check_link(mounts, chain, link).map_err(|failure| failure.at(chain.credential.source.place(name)))?;
        }
    }
    for (name, credential) in &mounts.credentials {
        // Who is signed in to a tool is the user's own.
        let tools = credential.provided.grants.contains(&Grant::Tool);
        if tools && credential.credential.source.layer == Layer::Project {
            let message = format!("the project's credential {name} has tools run, which speak for you");
            return Err(theirs_to_define(message, credential.credential.source.place(name)));
        }
        walk(mounts, name, &mut Vec::new())?;
    }
    Ok(())
}

fn check_mount(mounts: &Mounts, mounted: &Mounted, project: Option<&Path>) -> Result<(), Failure> {
    let Mounted { name, mount, provider, .. } = mounted;
    let wrong = |code, message: String| {
        Failure::new(Kind::InvalidConfig, code, message).on_mount(name).at(mount.source.place(name))
    };
    let rules = match provider {
        Provider::Plugin(provided) => provided.manifest.http.as_slice(),
        Provider::Files(_) => &[],
    };
    if rules.is_empty() && mount.network.is_some() {
        return Err(wrong("config.network", "`network` has no effect: the plugin makes no requests".into()));
    }
    let injects = || rules.iter().filter(|rule| rule.credential.is_some());
    for used in mount.credential.iter().chain(&mount.person) {
        let Some(credential) = mounts.credential(used) else {
            let known: Vec<&str> = mounts.credential_names().map(Name::as_str).collect();
            return Err(wrong("config.credential", format!("there is no credential {used}"))
                .help(format!("there are: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })));
        };
        if injects().next().is_none() {
            return Err(wrong(
                "config.credential",
                "`credential` has no effect: no rule of the plugin uses one".into(),
            ));
        }
        if mount.hosts.is_empty() && injects().any(|rule| rule.origin.follows_reference()) {
            let message = "the mount must say where its credential may be sent: references decide on the host";
            return Err(wrong("config.hosts", message.into()).help("hosts = [\"the-vault.example\"]"));
        }
        check_project(mounted, used, credential, project)?;
    }
    Ok(())
}

/// What a project's file says must not reach what is the user's own, unless the user said so.
fn check_project(
    Mounted { name, mount, .. }: &Mounted,
    used: &Name,
    credential: &Credential,
    project: Option<&Path>,
) -> Result<(), Failure> {
    if mount.source.layer == Layer::Project && credential.source.layer == Layer::User {
        let named = project.is_some_and(|project| {
            credential.projects.iter().any(|folder| std::fs::canonicalize(folder).is_ok_and(|folder| folder == project))
        });
        if !named {
            let message = format!("the project's mount {name} uses the credential {used}, which is yours");
            return Err(Failure::new(Kind::PolicyDenied, "config.credential-project", message)
                .on_mount(name)
                .at(mount.source.place(name))
                .help(
                    "if this project may use it, name its folder in the credential's `projects`, in your own config",
                ));
        }
    }
    Ok(())
}

fn check_link(mounts: &Mounts, chain: &Chain, link: &Name) -> Result<(), Failure> {
    let wrong = |message: String| Failure::new(Kind::InvalidConfig, "config.chain", message);
    let Some(credential) = mounts.credentials.get(link) else {
        let known: Vec<&str> = mounts.credentials.keys().map(Name::as_str).collect();
        return Err(if mounts.chains.contains_key(link) {
            wrong(format!("the link {link} is a chain itself")).help("write its links into this one")
        } else {
            wrong(format!("there is no credential {link}")).help(format!("there are: {}", known.join(", ")))
        });
    };
    let audiences = &credential.credential.audiences;
    if let Some(missing) = chain.credential.audiences.iter().find(|audience| !audiences.contains(audience)) {
        let message = format!("the chain may be used for {missing}, and its link {link} may not");
        return Err(wrong(message).help(format!("audiences = [\"{missing}\"] under [credentials.{link}]")));
    }
    if chain.credential.source.layer == Layer::Project && credential.credential.source.layer != Layer::Project {
        return Err(theirs_to_define(
            format!("the project's chain {} has the link {link}, which is yours", chain.name),
            chain.credential.source.place(&chain.name),
        ));
    }
    Ok(())
}

/// What a project's file says must be said by the user.
fn theirs_to_define(message: String, place: Place) -> Failure {
    Failure::new(Kind::PolicyDenied, "config.credential-project", message)
        .at(place)
        .help("define the credential in your own config, and name the project's folder in its `projects`")
}

/// Follows the sealed inputs of a credential to the mounts that answer them, and on.
fn walk(mounts: &Mounts, name: &Name, above: &mut Vec<Name>) -> Result<(), Failure> {
    if let Some(chain) = mounts.chains.get(name) {
        return chain.names().try_for_each(|link| walk(mounts, link, above));
    }
    let Some(credential) = mounts.credentials.get(name) else { return Ok(()) };
    let place = || credential.credential.source.place(name);
    let chain = |above: &[Name]| above.iter().chain([name]).map(Name::as_str).collect::<Vec<_>>().join(" needs ");
    if above.contains(name) {
        let message = format!("the credentials stand on each other: {}", chain(above));
        return Err(Failure::new(Kind::InvalidConfig, "config.credential-cycle", message)
            .at(place())
            .help("one of them must take its sealed inputs from a mount without a credential, such as env or keys"));
    }
    if above.len() >= MAX_DEPTH {
        let message = format!("more than {MAX_DEPTH} credentials stand behind one another: {}", chain(above));
        return Err(Failure::new(Kind::InvalidConfig, "config.credential-depth", message).at(place()));
    }
    above.push(name.clone());
    for (input, reference) in &credential.sealed {
        let mount = mounts
            .router
            .route(reference)
            .map_err(|failure| failure.at(place()).about(format!("credentials.{name}.sealed.{input}")))?;
        let answers = mounts.all.get(mount);
        // What is the user's own is not a project's to send anywhere.
        let theirs =
            answers.is_some_and(|answers| answers.mount.source.layer != Layer::Project && answers.scheme != "env");
        if credential.credential.source.layer == Layer::Project && theirs {
            let message = format!(
                "the project's credential {name} takes the sealed input `{input}` from the mount {mount}, which is yours"
            );
            return Err(theirs_to_define(message, place()));
        }
        let next = answers.and_then(|mounted| mounted.mount.credential.as_ref());
        if let Some(next) = next {
            walk(mounts, next, above)?;
        }
    }
    above.pop();
    Ok(())
}

/// The variables that feed a sealed input: nobody else reads them, and no child inherits them.
pub(crate) fn sealed_variables(credentials: &BTreeMap<Name, Credentialed>) -> BTreeSet<String> {
    let references = credentials.values().flat_map(|credential| credential.sealed.values());
    references.filter(|r| *r.scheme == *"env").filter_map(|r| r.path.first().cloned()).collect()
}
