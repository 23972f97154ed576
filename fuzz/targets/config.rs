//! A config: what parses means one thing, a project's file says nothing about a server, and whoever is not named in it
//! may do nothing.

use strongroom_core::config::{Config, Layer};
use strongroom_core::policy::{Accounts, Identity, Operation, Policy};
use strongroom_core::{Failure, Name, Text};

/// An account database that has nobody but `app`.
struct Nobody;

impl Accounts for Nobody {
    fn uid(&self, name: &str) -> Option<u32> {
        (name == "app").then_some(1000)
    }

    fn gid(&self, name: &str) -> Option<u32> {
        (name == "app").then_some(1000)
    }
}

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parse = |layer| Config::parse(text, Text::new("strongroom.toml"), layer);
    let user = parse(Layer::User);
    match &user {
        Ok(config) => accepted(config),
        Err(failure) => refused(failure),
    }
    assert_eq!(user.is_ok(), parse(Layer::User).is_ok());
    if let Ok(project) = parse(Layer::Project) {
        let user = user.unwrap_or_else(|failure| panic!("a project may say what its user may not: {failure}"));
        assert!(project.mounts.keys().eq(user.mounts.keys()));
        assert!(project.listeners.is_empty() && project.server.is_none() && project.audit.is_none());
        assert!(project.store.is_none() && project.run.is_none() && project.ca.is_empty() && project.tools.is_empty());
        let access = &project.access;
        assert!(access.callers.is_empty() && access.issuers.is_empty() && access.rules.is_empty());
    }
}

fn refused(failure: &Failure) {
    let shown = format!("{failure}");
    assert!(!shown.is_empty() && !failure.message().as_str().chars().any(char::is_control), "{shown:?}");
    if let Some(place) = failure.place() {
        assert!(place.excerpt.as_str().get(place.span.clone()).is_some(), "{place:?}");
        assert!(place.position.is_none_or(|(line, column)| line > 0 && column > 0), "{place:?}");
    }
}

fn accepted(config: &Config) {
    let policy = match Policy::new(&config.access, &Nobody) {
        Ok(policy) => policy,
        Err(failure) => return refused(&failure),
    };
    let issuer = Name::parse("nobody").unwrap();
    let strangers = [
        Identity::Token { digest: [0x5a; 32] },
        Identity::Unix { uid: 4_000_000_001, gids: vec![4_000_000_002] },
        Identity::Tls { names: vec!["nobody.invalid".into()] },
        Identity::Jwt { issuer, subject: "nobody".into(), claims: Default::default() },
    ];
    for stranger in strangers {
        let caller = policy.identify(&stranger, Some(4_000_000_000));
        if caller.is_known() {
            // Of four billion, one was named.
            return;
        }
        for mount in config.mounts.keys() {
            for operation in [Operation::Resolve, Operation::List, Operation::Set, Operation::Purge, Operation::Explain]
            {
                assert!(policy.permits(&caller, mount, None, "a", operation).is_none(), "{caller:?} {mount}");
            }
            assert!(!policy.shows(&caller, mount, None, "a") && !policy.touches(&caller, mount, None, "a"));
        }
        assert!(policy.permits_any(&caller, Operation::Plugins).is_none());
    }
}
