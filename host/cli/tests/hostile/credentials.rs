//! Hostile auth plugins, and providers that starve a good one.

use std::time::{Duration, Instant};

use serde_json::json;
use strongroom::{Kind, Strongroom};

use crate::backend::{Backend, ok};
use crate::canary::Canary;
use crate::world::{Plan, get, is, logged, request, script, told, under_both, within};

/// The call that needs the token ends in this way; no request is sent, and the auth plugin's hold over
/// the host ends with its call.
fn ends(attack: &'static str, url: &'static str, kind: Kind, code: &'static str) {
    under_both(async |allocation| {
        let backend = Backend::secure(|_| ok("reached")).await;
        let token = Canary::new();
        let world = Plan::new(allocation)
            .secure(backend.origin())
            .token(&token)
            .auth(attack, url)
            .plain_variable("HOSTILE_a", "the provider's own")
            .open();
        let wanted = script(get(&backend.origin(), "/v1/a")).or_fail();
        let failure = within(Duration::from_secs(10), world.failure("a", &wanted)).await;
        is(&failure, kind, code);
        assert!(told(&failure).contains("hostile-auth@"), "it says who it was: {}", told(&failure));
        // A provider that does not mind learns that there is no token, and not why.
        let report = world.report("a", &script(get(&backend.origin(), "/v1/a"))).await;
        assert_eq!(report[0]["error"], "ErrorCode::ConfigurationError");
        assert_eq!(backend.accepted(), 0);
        world.end().await;
    });
}

#[test]
fn an_auth_plugin_that_traps() {
    ends("trap", "", Kind::Trapped, "plugin.trapped");
}

#[test]
fn an_auth_plugin_that_loops() {
    ends("spin", "", Kind::LimitExceeded, "limit.cpu");
}

#[test]
fn an_auth_plugin_that_waits_for_ever() {
    ends("hang", "", Kind::Deadline, "deadline");
}

#[test]
fn an_empty_token() {
    ends("empty", "", Kind::Protocol, "token.form");
}

#[test]
fn a_token_of_three_bytes() {
    ends("short", "", Kind::Protocol, "token.form");
}

#[test]
fn a_token_with_a_line_end() {
    ends("crlf", "", Kind::Protocol, "token.form");
}

#[test]
fn a_token_with_control_characters() {
    ends("control", "", Kind::Protocol, "token.form");
}

#[test]
fn a_scheme_with_a_line_end() {
    ends("scheme", "", Kind::Protocol, "token.form");
}

#[test]
fn a_token_that_has_expired() {
    ends("expired", "", Kind::Unauthenticated, "token.expired");
}

#[test]
fn an_auth_plugin_that_asks_for_patience_for_ever() {
    ends("pending", "", Kind::Unauthenticated, "credential.interactive");
}

#[test]
fn an_auth_plugin_that_opens_a_browser() {
    ends("browser", "", Kind::Unauthenticated, "credential.interactive");
}

#[test]
fn an_auth_plugin_that_reads_a_variable_off_its_list() {
    ends("env", "HOSTILE_a", Kind::NotConfigured, "auth.absent");
}

#[test]
fn an_auth_plugin_that_reads_strongrooms_variables() {
    ends("env", "STRONGROOM_MARK", Kind::NotConfigured, "auth.absent");
}

#[test]
fn an_auth_plugin_that_reads_the_variable_of_its_sealed_input() {
    ends("env", "TOKEN", Kind::NotConfigured, "auth.absent");
}

#[test]
fn an_auth_plugin_that_reads_the_sealed_input_of_another() {
    ends("sealed", "client_secret", Kind::NotConfigured, "sealed.none");
}

#[test]
fn a_token_of_a_mebibyte() {
    under_both(async |allocation| {
        let backend = Backend::secure(|_| ok("reached")).await;
        let token = Canary::new();
        let world = Plan::new(allocation).secure(backend.origin()).token(&token).auth("huge", "").open();
        let failure = world.failure("a", &script(get(&backend.origin(), "/v1/a")).or_fail()).await;
        is(&failure, Kind::Protocol, "token.form");
        assert_eq!(backend.seen().len(), 0);
        world.end().await;
    });
}

#[test]
fn a_token_that_never_ends() {
    under_both(async |allocation| {
        let backend = Backend::secure(|_| ok("reached")).await;
        let token = Canary::new();
        let world = Plan::new(allocation).secure(backend.origin()).token(&token).auth("forever", "").open();
        let report = world.report("a", &script(get(&backend.origin(), "/v1/a"))).await;
        assert_eq!(report[0]["body"], "reached", "an end beyond all time is no end");
        world.end().await;
    });
}

#[test]
fn an_auth_plugin_that_tells_what_it_sees() {
    under_both(async |allocation| {
        let backend = Backend::secure(|_| ok("reached")).await;
        let (token, own) = (Canary::new(), Canary::new());
        let world = Plan::new(allocation)
            .secure(backend.origin())
            .token(&token)
            .auth("tell", "")
            .variable("HOSTILE_theplace", &own)
            .open();
        let wanted =
            script(json!({ "env": "HOSTILE_theplace" })).then(get(&backend.origin(), "/v1/theplace")).or_fail();
        let failure = world.failure("theplace", &wanted).await;
        is(&failure, Kind::Unauthenticated, "auth.told");
        let seen = failure.message().as_str();
        assert!(seen.contains(&backend.origin()), "it is told the audience: {seen}");
        for hidden in ["theplace", "/v1", "hostile:", "HOSTILE_", "STRONGROOM_", "GOOD"] {
            assert!(!seen.contains(hidden), "it saw {hidden}: {seen}");
        }
        world.end().await;
    });
}

#[test]
fn an_auth_plugin_that_writes_its_secret_into_the_log() {
    under_both(async |allocation| {
        let backend = Backend::secure(|_| ok("reached")).await;
        let token = Canary::new();
        let world = Plan::new(allocation).secure(backend.origin()).token(&token).auth("leak", "").open();
        let failure = world.failure("a", &script(get(&backend.origin(), "/v1/a")).or_fail()).await;
        is(&failure, Kind::Unauthenticated, "auth.leak");
        assert!(failure.message().as_str().contains("***"), "{failure}");
        assert!(logged("hostile-auth@").iter().any(|line| line.contains("the input is ***")));
        world.end().await;
    });
}

#[test]
fn an_auth_plugin_that_sends_its_secret_away() {
    under_both(async |allocation| {
        let (backend, evil) = (Backend::secure(|_| ok("reached")).await, Backend::plain(|_| ok("thanks")).await);
        let token = Canary::new();
        // Its rule goes there, but not with this method and path.
        let world = Plan::new(allocation).secure(backend.origin()).token(&token).auth("send", &evil.origin()).open();
        let failure = world.failure("a", &script(get(&backend.origin(), "/v1/a")).or_fail()).await;
        is(&failure, Kind::PolicyDenied, "egress.refused");
        assert_eq!((evil.accepted(), backend.accepted()), (0, 0));
        world.end().await;
    });
}

#[test]
fn two_hundred_providers_that_wait_for_a_token() {
    under_both(async |allocation| {
        let backend = Backend::secure(|_| ok("reached")).await;
        let token = Canary::new();
        let world = Plan::new(allocation).secure(backend.origin()).token(&token).auth("slow", "").open();
        let all: Vec<_> =
            (0..200).map(|n| script(get(&backend.origin(), &format!("/v1/n{n}"))).at(&format!("n{n}"))).collect();
        let all = within(Duration::from_secs(30), world.resolve_all(&all)).await;
        assert!(all.iter().all(Result::is_ok), "{:?}", all.iter().find_map(|one| one.as_ref().err()));
        world.end().await;
    });
}

#[test]
fn two_hundred_providers_whose_token_never_comes() {
    under_both(async |allocation| {
        let backend = Backend::secure(|_| ok("reached")).await;
        let token = Canary::new();
        let world = Plan::new(allocation)
            .secure(backend.origin())
            .mount("network = \"loopback\"\nlimits.deadline = \"2s\"\n")
            .token(&token)
            .auth("hang", "")
            .open();
        let wanted = |n| script(get(&backend.origin(), &format!("/v1/n{n}"))).or_fail().at(&format!("n{n}"));
        let all: Vec<_> = (0..200).map(wanted).collect();
        let begun = Instant::now();
        let all = within(Duration::from_secs(20), world.resolve_all(&all)).await;
        assert!(all.iter().all(|one| one.as_ref().is_err_and(|failure| failure.kind() == Kind::Deadline)));
        assert!(begun.elapsed() >= Duration::from_millis(1500));
        world.end().await;
    });
}

#[test]
fn a_token_for_a_resource_that_the_credential_is_not_for() {
    under_both(async |allocation| {
        let backend = Backend::secure(|_| ok("reached")).await;
        let token = Canary::new();
        // Another mount of the plugin names a resource of its own.
        let other = format!(
            "[mounts.second]\nplugin = $HOSTILE\nscheme = \"second\"\nnetwork = \"loopback\"\ncredential = \"c\"\n\
             config = {{ plain = \"http://plain.test:1\", secure = \"https://elsewhere.test:{}\", space = \"own\" }}\n",
            backend.port
        );
        let world = Plan::new(allocation).secure(backend.origin()).token(&token).config(&other).open();
        let wanted = script(get(&format!("https://elsewhere.test:{}", backend.port), "/v1/a")).or_fail();
        let failure = world.resolve(&wanted.at("a").replace("hostile://", "second://")).await.unwrap_err();
        is(&failure, Kind::PolicyDenied, "credential.audience");
        assert_eq!((backend.accepted(), world.names.asked().len()), (0, 0));
        world.end().await;
    });
}

#[test]
fn a_provider_that_chooses_the_credentials_header() {
    under_both(async |allocation| {
        let backend = Backend::secure(|_| ok("reached")).await;
        let token = Canary::new();
        let world = Plan::new(allocation).secure(backend.origin()).token(&token).open();
        let wanted = json!({ "headers": [["x-vault-token", "chosen"], ["authorization", "chosen"]] });
        let report = world.report("a", &script(request(&backend.origin(), "/v1/a", wanted))).await;
        assert_eq!(report[0]["refused"], json!(["header-forbidden", "header-forbidden"]));
        let seen = backend.seen();
        assert_eq!(seen[0].header("x-vault-token"), Some(token.text()));
        assert!(!seen[0].head.contains("chosen"));
        world.end().await;
    });
}

#[test]
fn an_auth_plugin_in_a_providers_place_and_the_reverse() {
    let open = |config: &str| {
        let config = format!("[store]\nkey = \"file\"\n{config}");
        let folder = tempfile::tempdir().unwrap();
        Strongroom::open(strongroom::Setup {
            source: strongroom::Source::Text { text: config, folder: folder.path().to_owned() },
            ..strongroom::Setup::without_config()
        })
        .map(drop)
        .unwrap_err()
    };
    is(&open("[mounts.m]\nplugin = \"auth-token\"\nscheme = \"x\"\n"), Kind::InvalidConfig, "config.auth-plugin");
    is(
        &open("[credentials.c]\nplugin = \"env\"\naudiences = [\"https://vault.test\"]\n"),
        Kind::InvalidConfig,
        "config.auth-plugin",
    );
}
