//! Several references at once: who sees what together, and answers that do not fit the questions.

use serde_json::json;
use strongroom::{Failure, Kind, Secret};

use crate::backend::{Backend, ok};
use crate::world::{Plan, RULES, get, is, manifest, script, told, under_both};

/// A manifest that lets all references share a sandbox.
fn together() -> String {
    manifest(RULES).replace("schemes =", "batch = \"all\"\nschemes =")
}

fn with(selector: &str, path: &str) -> String {
    format!("{}&answers={selector}", script(json!({ "count": true })).at(path))
}

fn count(answer: &Result<Secret, Failure>) -> u64 {
    let secret = answer.as_ref().unwrap_or_else(|failure| panic!("{}", told(failure)));
    let report: serde_json::Value = serde_json::from_slice(secret.expose()).unwrap();
    report[0]["count"].as_u64().unwrap()
}

/// A batch of two whose answers are spoilt ends as a whole, and nobody else's does.
fn spoilt(how: &'static str) {
    under_both(async |allocation| {
        let world = Plan::new(allocation).manifest(together()).open();
        let all = [with(how, "a/x"), with(how, "a/y"), "env:GOOD".to_owned(), with("x", "b/x")];
        let answers = world.resolve_all(&all).await;
        for spoilt in &answers[..2] {
            is(spoilt.as_ref().unwrap_err(), Kind::Protocol, "answers.count");
        }
        assert_eq!(answers[2].as_ref().unwrap().expose_text(), Some("good"));
        assert_eq!(count(&answers[3]), 1, "another part of the store is another batch");
        world.end().await;
    });
}

#[test]
fn an_answer_is_missing() {
    spoilt("missing");
}

#[test]
fn all_answers_are_missing() {
    spoilt("none");
}

#[test]
fn an_answer_too_many() {
    spoilt("surplus");
}

#[test]
fn an_answer_too_many_to_a_single_question() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).open();
        is(&world.resolve(&with("surplus", "a")).await.unwrap_err(), Kind::Protocol, "answers.count");
        is(&world.resolve(&with("none", "a")).await.unwrap_err(), Kind::Protocol, "answers.count");
        world.end().await;
    });
}

#[test]
fn answers_swapped_between_references() {
    under_both(async |allocation| {
        // Without `batch` each has a sandbox to itself: there is nothing to swap with.
        let world = Plan::new(allocation).open();
        let echo = |path: &str| {
            let own = json!({ "answer": path.len() });
            format!("{}&answers=swapped", script(own).at(path))
        };
        let answers = world.resolve_all(&[echo("a/x"), echo("a/xyz")]).await;
        let length = |answer: &Result<Secret, Failure>| answer.as_ref().unwrap().expose_text().unwrap().len();
        assert_eq!(length(&answers[1]), length(&answers[0]) + 2, "each has its own answer");
        world.end().await;
    });
}

#[test]
fn references_of_a_request_do_not_meet_unless_the_manifest_says_so() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).open();
        let answers = world.resolve_all(&[with("x", "a/x"), with("x", "a/y"), with("x", "b/x")]).await;
        assert_eq!(answers.iter().map(count).collect::<Vec<_>>(), [1, 1, 1]);
        world.end().await;
        // What the manifest says is shown and locked, and goes no further than the store's prefix.
        let world = Plan::new(allocation).manifest(together()).open();
        let answers = world.resolve_all(&[with("x", "a/x"), with("x", "a/y"), with("x", "b/x")]).await;
        assert_eq!(answers.iter().map(count).collect::<Vec<_>>(), [1, 2, 1]);
        world.end().await;
    });
}

#[test]
fn references_of_two_requests_never_meet() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).manifest(together()).open();
        for path in ["a/x", "a/y"] {
            assert_eq!(count(&world.resolve(&with("x", path)).await), 1);
        }
        world.end().await;
    });
}

#[test]
fn references_of_two_mounts_never_meet() {
    under_both(async |allocation| {
        let second = "[mounts.second]\nplugin = $HOSTILE\nscheme = \"second\"\n";
        let world = Plan::new(allocation).manifest(together()).config(second).open();
        let other = with("x", "a/y").replace("hostile://", "second://");
        let answers = world.resolve_all(&[with("x", "a/x"), other]).await;
        assert_eq!(answers.iter().map(count).collect::<Vec<_>>(), [1, 1]);
        world.end().await;
    });
}

#[test]
fn two_references_of_a_batch_in_one_request() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok("reached")).await;
        // The path is of one reference, the query of the other; each alone would be allowed.
        let rules = RULES.replace("/open/{ref.path.0}", "/open/{ref.path.1}").replace("{ref.path.0}", "{ref.path.1}");
        let together = manifest(&rules).replace("schemes =", "batch = \"all\"\nschemes =");
        let world = Plan::new(allocation).plain(backend.origin()).manifest(together).open();
        let asks = |target: &str| script(get(&backend.origin(), target)).at("a/x");
        let beside = script(json!({ "count": true })).at("a/y");
        for (target, status) in [
            ("/open/x?page=x", Some(200)),
            ("/open/y?page=y", Some(200)),
            ("/open/x?page=y", None),
            ("/open/y?page=x", None),
        ] {
            let answers = world.resolve_all(&[asks(target), beside.clone()]).await;
            let report: serde_json::Value = serde_json::from_slice(answers[0].as_ref().unwrap().expose()).unwrap();
            assert_eq!(report[0]["status"].as_u64(), status, "{target}: {report}");
        }
        assert_eq!(backend.seen().len(), 2);
        world.end().await;
    });
}

#[test]
fn one_of_a_batch_ends_only_its_batch() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).manifest(together()).open();
        let all =
            [script(json!({ "trap": true })).at("a/x"), with("x", "a/y"), with("x", "b/x"), "env:GOOD".to_owned()];
        let answers = world.resolve_all(&all).await;
        for ended in &answers[..2] {
            is(ended.as_ref().unwrap_err(), Kind::Trapped, "plugin.trapped");
        }
        assert_eq!(count(&answers[2]), 1);
        assert!(answers[3].is_ok());
        world.end().await;
    });
}
