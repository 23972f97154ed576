//! A call whose caller goes away, at every point where it waits: nothing of it goes on, nothing of it
//! stays, and every place it held is free again.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use serde_json::json;
use strongroom::Allocation;

use crate::backend::{Backend, Reply, ok};
use crate::canary::Canary;
use crate::world::{PATIENCE, Plan, World, get, script, under_both};

/// Polls `future` at most `polls` times. `None`: it was dropped before its end.
async fn at_most<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// More calls at once than there are places: if a call that was dropped had kept its own, not all of
/// these would be answered.
async fn all_places_are_free(world: &World) {
    let all: Vec<_> = (0..150).map(|n| script(json!({ "wait": 5 })).at(&format!("w{n}"))).collect();
    let all = world.resolve_all(&all).await;
    assert!(all.iter().all(Result::is_ok), "{:?}", all.iter().find_map(|one| one.as_ref().err()));
}

#[test]
fn a_caller_that_goes_away_at_any_time() {
    under_both(async |allocation| {
        let backend = Backend::secure(|_| ok("reached")).await;
        let token = Canary::new();
        let world = Plan::new(allocation).secure(backend.origin()).token(&token).open();
        let wanted = script(get(&backend.origin(), "/v1/a")).then(json!({ "wait": 2 })).at("a");
        let mut polls = 0;
        // `forget` closes the connections that wait, so that each time the whole way is gone.
        while at_most(polls, world.strongroom.resolve(&wanted)).await.is_none() {
            polls += 1;
            world.strongroom.forget();
            assert!(polls < 1000, "it never ends");
        }
        assert!(polls >= 4, "only {polls} places to go away at");
        world.strongroom.forget();
        backend.until_open(0).await;
        all_places_are_free(&world).await;
        world.end().await;
    });
}

#[test]
fn a_caller_that_goes_away_while_writing() {
    under_both(async |allocation| {
        let own = Canary::new();
        let world = Plan::new(allocation).variable("UNREAD", &own).mount("write = true\n").open();
        let keep = script(json!({ "store": { "op": "set", "key": "a/k", "value": "$plain" } })).at("a");
        let keep = world.strongroom.parse(&keep).unwrap();
        let mut polls = 0;
        let value = strongroom::Value::text(own.text());
        while at_most(polls, world.strongroom.set(&keep, &value, &[], None)).await.is_none() {
            polls += 1;
            // All of the value or nothing of it.
            let read = script(json!({ "store": { "op": "get", "key": "a/k" } }));
            let report = world.report("a", &read).await;
            assert!(report[0]["value"].is_null() || report[0]["value"] == own.text());
            assert!(polls < 1000, "it never ends");
        }
        all_places_are_free(&world).await;
        world.end().await;
    });
}

/// Drops a call that hangs at `origin`'s server, a hundred times.
async fn dropped(world: &World, origin: &str, path: &str) {
    for n in 0..100 {
        let wanted = script(get(origin, path)).at("a");
        let hanging = world.strongroom.resolve(&wanted);
        let ended = tokio::time::timeout(Duration::from_millis(if n < 3 { 100 } else { 5 }), hanging).await;
        assert!(ended.is_err(), "it hangs until it is dropped: {ended:?}");
    }
}

fn plain_world(allocation: Allocation, backend: &Backend) -> World {
    Plan::new(allocation).plain(backend.origin()).open()
}

#[test]
fn a_caller_that_goes_away_during_a_question_to_dns() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok("reached")).await;
        let world = plain_world(allocation, &backend);
        world.names.silence();
        dropped(&world, &backend.origin(), "/open/a").await;
        assert_eq!(backend.accepted(), 0);
        all_places_are_free(&world).await;
        world.end().await;
    });
}

#[test]
fn a_caller_that_goes_away_during_the_handshake() {
    under_both(async |allocation| {
        let backend = Backend::mute().await;
        let token = Canary::new();
        let world = Plan::new(allocation).secure(backend.origin()).token(&token).open();
        dropped(&world, &backend.origin(), "/v1/a").await;
        backend.until_open(0).await;
        all_places_are_free(&world).await;
        world.end().await;
    });
}

/// A caller that goes away while the backend does this instead of answering: nothing stays open.
fn dropped_while(reply: impl Fn() -> Reply + Copy + Send + Sync + 'static) {
    under_both(async |allocation| {
        let backend = Backend::plain(move |_| reply()).await;
        let world = plain_world(allocation, &backend);
        dropped(&world, &backend.origin(), "/open/a").await;
        backend.until_open(0).await;
        all_places_are_free(&world).await;
        world.end().await;
    });
}

#[test]
fn a_caller_that_goes_away_before_the_answer() {
    dropped_while(|| Reply::Silence);
}

#[test]
fn a_caller_that_goes_away_in_the_middle_of_the_answer() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
    dropped_while(|| Reply::Drip([&head[..], &[b'x'; 999]].concat(), Duration::from_millis(1)));
}

#[test]
fn a_caller_that_goes_away_while_the_auth_plugin_works() {
    under_both(async |allocation| {
        let backend = Backend::secure(|_| ok("reached")).await;
        let token = Canary::new();
        let world = Plan::new(allocation).secure(backend.origin()).token(&token).auth("hang", "").open();
        dropped(&world, &backend.origin(), "/v1/a").await;
        assert_eq!(backend.accepted(), 0);
        all_places_are_free(&world).await;
        world.end().await;
    });
}

#[test]
fn a_caller_that_goes_away_while_the_plugin_computes() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).open();
        for _ in 0..100 {
            let spinning = script(json!({ "spin": true })).at("a");
            let ended = tokio::time::timeout(Duration::from_millis(3), world.strongroom.resolve(&spinning)).await;
            assert!(ended.is_err(), "it spins until it is dropped");
        }
        all_places_are_free(&world).await;
        world.end().await;
    });
}

#[test]
fn a_caller_that_goes_away_in_the_queue() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).open();
        let waits: Vec<_> = (0..100).map(|n| script(json!({ "wait": 400 })).at(&format!("w{n}"))).collect();
        for _ in 0..3 {
            let parsed: Vec<_> = waits.iter().map(|text| world.strongroom.parse(text).unwrap()).collect();
            let all = tokio::time::timeout(Duration::from_millis(50), world.strongroom.resolve_all(&parsed)).await;
            assert!(all.is_err());
        }
        tokio::time::timeout(PATIENCE, all_places_are_free(&world)).await.unwrap();
        world.end().await;
    });
}
