//! Key sets: what of them counts, and when they are fetched.

use super::*;

fn header(id: &str) -> Value {
    json!({"alg": "ES256", "kid": id})
}

#[test]
fn a_key_verifies_only_what_it_is_for() {
    let (rsa, p256) = (Signer::rsa(), Signer::p256());
    let weak = json!({"kty": "RSA", "kid": "k", "n": encode([0xff; 128]), "e": "AQAB"});
    let padded = but(rsa.jwk("k"), json!({"n": encode([vec![0], vec![0xff; 255]].concat())}));
    let table = [
        (rsa.jwk("k"), "ok"),
        (but(rsa.jwk("k"), json!({"use": null})), "ok"),
        (but(rsa.jwk("k"), json!({"alg": "RS256"})), "ok"),
        (but(rsa.jwk("k"), json!({"key_ops": ["verify"]})), "ok"),
        (but(rsa.jwk("k"), json!({"use": "enc"})), "token.key"),
        (but(rsa.jwk("k"), json!({"use": ["sig"]})), "token.key"),
        (but(rsa.jwk("k"), json!({"key_ops": ["encrypt"]})), "token.key"),
        (but(rsa.jwk("k"), json!({"key_ops": "verify"})), "token.key"),
        (but(rsa.jwk("k"), json!({"alg": "RS512"})), "token.key"),
        (but(rsa.jwk("k"), json!({"alg": "PS256"})), "token.key"),
        (but(rsa.jwk("k"), json!({"alg": "RSA-OAEP"})), "token.key"),
        (but(rsa.jwk("k"), json!({"alg": 1})), "token.key"),
        (but(rsa.jwk("k"), json!({"kty": "EC"})), "token.key"),
        (but(rsa.jwk("k"), json!({"kty": "oct", "k": "AAAA"})), "token.key"),
        (but(rsa.jwk("k"), json!({"kty": "rsa"})), "token.key"),
        (but(rsa.jwk("k"), json!({"kty": null})), "token.key"),
        (but(rsa.jwk("k"), json!({"crv": "P-256"})), "token.key"),
        (but(rsa.jwk("k"), json!({"d": "AAAA"})), "token.key"),
        (but(rsa.jwk("k"), json!({"n": null})), "token.key"),
        (but(rsa.jwk("k"), json!({"n": ""})), "token.key"),
        (but(rsa.jwk("k"), json!({"n": "a=b"})), "token.key"),
        (but(rsa.jwk("k"), json!({"e": null})), "token.key"),
        (but(rsa.jwk("k"), json!({"e": "AQ"})), "token.signature"),
        (but(rsa.jwk("k"), json!({"e": encode([0xff; 32])})), "token.signature"),
        (weak, "token.key"),
        (padded, "token.key"),
        (but(p256.jwk("k"), json!({"kty": "RSA"})), "token.key"),
        (p256.jwk("k"), "token.key"),
        (but(rsa.jwk("k"), json!({"kid": "other"})), "token.key"),
        (but(rsa.jwk("k"), json!({"kid": null})), "token.key"),
        (but(rsa.jwk("k"), json!({"kid": ["k"]})), "token.key"),
    ];
    run(async {
        for (key, code) in table {
            let verifier = Server::of(std::slice::from_ref(&key)).verifier(&access(&["RS256"]));
            let token = rsa.token(&json!({"alg": "RS256", "kid": "k"}), &claims());
            assert_eq!(outcome(&verifier, &token, at(0)).await, code, "{key}");
        }
        // Points that are on no curve, too short, too long.
        for (x, code) in
            [(encode([1; 32]), "token.signature"), (encode([1; 31]), "token.key"), (encode([1; 33]), "token.key")]
        {
            let key = but(p256.jwk("k"), json!({"x": x}));
            let verifier = Server::of(&[key]).verifier(&access(&["ES256"]));
            assert_eq!(outcome(&verifier, &p256.token(&header("k"), &claims()), at(0)).await, code);
        }
    });
}

#[test]
fn without_an_id_the_only_key_that_fits_is_meant() {
    let (one, two, rsa) = (Signer::p256(), Signer::p256(), Signer::rsa());
    let token = one.token(&json!({"alg": "ES256"}), &claims());
    let nameless = but(one.jwk(""), json!({"kid": null}));
    let table = [
        (vec![one.jwk("a")], "ok"),
        (vec![nameless.clone()], "ok"),
        (vec![one.jwk("a"), rsa.jwk("b")], "ok"),
        (vec![two.jwk("a")], "token.signature"),
        (vec![one.jwk("a"), two.jwk("b")], "token.key"),
        (vec![rsa.jwk("a")], "token.key"),
    ];
    run(async {
        for (keys, code) in table {
            let verifier = Server::of(&keys).verifier(&access(&["ES256", "RS256"]));
            assert_eq!(outcome(&verifier, &token, at(0)).await, code, "{keys:?}");
        }
        // A name that two keys have says nothing; one that two have of different kinds does.
        let token = one.token(&header("a"), &claims());
        for (keys, code) in [
            (vec![one.jwk("a"), two.jwk("a")], "token.key"),
            (vec![one.jwk("a"), rsa.jwk("a")], "ok"),
            (vec![nameless], "token.key"),
        ] {
            let verifier = Server::of(&keys).verifier(&access(&["ES256", "RS256"]));
            assert_eq!(outcome(&verifier, &token, at(0)).await, code, "{keys:?}");
        }
    });
}

#[test]
fn what_is_no_key_set_is_no_key_set() {
    let key = Signer::p256();
    let token = key.token(&header("k"), &claims());
    let jwk = key.jwk("k").to_string();
    let many: Vec<Value> = (0..=MAX_KEYS).map(|_| key.jwk("k")).collect();
    let wrong = [
        b"".to_vec(),
        b"<html>".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        br#"{"keys":null}"#.to_vec(),
        br#"{"keys":{}}"#.to_vec(),
        br#"{"keys":[]}"#.to_vec(),
        br#"{"keys":[1]}"#.to_vec(),
        format!("[{jwk}]").into_bytes(),
        jwk.clone().into_bytes(),
        format!(r#"{{"keys":[{jwk}],"keys":[{jwk}]}}"#).into_bytes(),
        format!(r#"{{"keys":[{}]}}"#, jwk.replacen('{', r#"{"kid":"x","#, 1)).into_bytes(),
        set(&many),
        [set(&[key.jwk("k")]), vec![b' '; MAX_SET_BYTES]].concat(),
        [set(&[key.jwk("k")]), vec![b'x']].concat(),
        vec![0xff; 64],
    ];
    run(async {
        for bytes in wrong {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
            let verifier = Server::new([Ok(bytes)]).verifier(&access(&["ES256"]));
            assert_eq!(outcome(&verifier, &token, at(0)).await, "token.keys", "{shown}");
        }
        let verifier = Server::new([down()]).verifier(&access(&["ES256"]));
        assert_eq!(outcome(&verifier, &token, at(0)).await, "token.keys");
    });
}

#[test]
fn keys_are_fetched_once_an_hour_and_together() {
    let key = Signer::p256();
    run(async {
        let server = Server::gated(&[key.jwk("k")]);
        let verifier = server.verifier(&access(&["ES256"]));
        let token = key.token(&header("k"), &but(claims(), json!({"exp": NOW + 90_000})));
        // Many at once wait for one fetch, also when the first of them goes away.
        let tasks: Vec<_> = (0..50)
            .map(|task| {
                let (verifier, token) = (verifier.clone(), token.clone());
                tokio::spawn(
                    async move { verifier.verify(&token, at(0) + Duration::from_millis(task % 7)).await.is_ok() },
                )
            })
            .collect();
        server.begun.notified().await;
        tasks[0].abort();
        server.gate.as_ref().unwrap().notify_one();
        for task in tasks.into_iter().skip(1) {
            assert!(task.await.unwrap());
        }
        assert_eq!(server.fetched(), 1);
        for second in [1, 60, 3599] {
            verifier.verify(&token, at(second)).await.unwrap();
        }
        assert_eq!(server.fetched(), 1);
        server.gate.as_ref().unwrap().notify_one();
        verifier.verify(&token, at(3600)).await.unwrap();
        assert_eq!(server.fetched(), 2);
    });
}

#[test]
fn the_entrys_max_age_says_how_often() {
    let key = Signer::p256();
    run(async {
        let mut access = access(&["ES256"]);
        for issuer in access.issuers.values_mut() {
            issuer.max_age = Duration::from_secs(120);
        }
        let server = Server::of(&[key.jwk("k")]);
        let verifier = server.verifier(&access);
        let token = key.token(&header("k"), &claims());
        for (second, fetched) in [(0, 1), (119, 1), (120, 2), (239, 2), (240, 3)] {
            verifier.verify(&token, at(second)).await.unwrap();
            assert_eq!(server.fetched(), fetched, "{second}");
        }
    });
}

#[test]
fn a_flood_of_unknown_keys_is_one_fetch_a_minute() {
    let key = Signer::p256();
    run(async {
        let server = Server::of(&[key.jwk("k")]);
        let verifier = server.verifier(&access(&["ES256"]));
        let good = key.token(&header("k"), &claims());
        verifier.verify(&good, at(0)).await.unwrap();
        for (second, fetched) in [(1, 1), (59, 1), (60, 2), (119, 2), (120, 3)] {
            for number in 0..100 {
                let token = key.token(&header(&format!("k{number}")), &claims());
                let code = verifier.verify(&token, at(second)).await.unwrap_err();
                assert_eq!(code.code(), "token.key");
            }
            assert_eq!(server.fetched(), fetched, "{second}");
            verifier.verify(&good, at(second)).await.unwrap();
        }
        // Nor do all issuers' keys hang on one of them.
        let other = key.token(&header("k"), &but(claims(), json!({"iss": "https://j.example"})));
        verifier.verify(&other, at(121)).await.unwrap();
        assert_eq!(server.fetched(), 4);
    });
}

#[test]
fn a_new_key_is_found_and_one_that_is_gone_is_forgotten() {
    let (old, new) = (Signer::p256(), Signer::p256());
    run(async {
        let server = Server::new([Ok(set(&[old.jwk("old")])), Ok(set(&[new.jwk("new")]))]);
        let verifier = server.verifier(&access(&["ES256"]));
        let (of_old, of_new) = (old.token(&header("old"), &claims()), new.token(&header("new"), &claims()));
        assert_eq!(outcome(&verifier, &of_old, at(0)).await, "ok");
        assert_eq!(outcome(&verifier, &of_new, at(61)).await, "ok");
        assert_eq!(outcome(&verifier, &of_old, at(62)).await, "token.key");
        assert_eq!(server.fetched(), 2);
    });
}

#[test]
fn what_is_known_stays_in_use_for_a_day_when_nobody_answers() {
    let key = Signer::p256();
    let day = 24 * 3600;
    run(async {
        let server = Server::new([Ok(set(&[key.jwk("k")])), down()]);
        let verifier = server.verifier(&access(&["ES256"]));
        let token = key.token(&header("k"), &but(claims(), json!({"exp": NOW + 2 * day})));
        for (second, code, fetched) in [
            (0, "ok", 1),
            (3599, "ok", 1),
            (3600, "ok", 2),
            (3609, "ok", 2),
            (3610, "ok", 3),
            (day - 1, "ok", 4),
            (day, "token.keys", 4),
            (day + 9, "token.keys", 5),
            (day + 10, "token.keys", 5),
            (day + 19, "token.keys", 6),
        ] {
            assert_eq!(outcome(&verifier, &token, at(second)).await, code, "{second}");
            assert_eq!(server.fetched(), fetched, "{second}");
        }
    });
}

#[test]
fn keys_that_never_came_are_asked_for_again_every_ten_seconds() {
    let key = Signer::p256();
    run(async {
        let server = Server::new([down(), down(), Ok(set(&[key.jwk("k")]))]);
        let verifier = server.verifier(&access(&["ES256"]));
        let token = key.token(&header("k"), &claims());
        for (second, code, fetched) in
            [(0, "token.keys", 1), (9, "token.keys", 1), (10, "token.keys", 2), (20, "ok", 3)]
        {
            assert_eq!(outcome(&verifier, &token, at(second)).await, code, "{second}");
            assert_eq!(server.fetched(), fetched, "{second}");
        }
    });
}

#[test]
fn old_keys_serve_while_new_ones_are_asked_for() {
    let key = Signer::p256();
    run(async {
        let server = Server::gated(&[key.jwk("k")]);
        let verifier = server.verifier(&access(&["ES256"]));
        let token = key.token(&header("k"), &but(claims(), json!({"exp": NOW + 90_000})));
        server.gate.as_ref().unwrap().notify_one();
        verifier.verify(&token, at(0)).await.unwrap();
        server.begun.notified().await;
        let waiting = tokio::spawn({
            let (verifier, token) = (verifier.clone(), token.clone());
            async move { verifier.verify(&token, at(4000)).await.is_ok() }
        });
        server.begun.notified().await;
        // The address does not answer, and yet:
        verifier.verify(&token, at(4001)).await.unwrap();
        server.gate.as_ref().unwrap().notify_one();
        assert!(waiting.await.unwrap());
        assert_eq!(server.fetched(), 2);
    });
}

#[test]
fn a_clock_that_is_put_back_does_not_keep_keys_for_ever() {
    let key = Signer::p256();
    run(async {
        let server = Server::of(&[key.jwk("k")]);
        let verifier = server.verifier(&access(&["ES256"]));
        let token = key.token(&header("k"), &but(claims(), json!({"exp": NOW + 90_000})));
        verifier.verify(&token, at(5000)).await.unwrap();
        verifier.verify(&token, at(4995)).await.unwrap();
        assert_eq!(server.fetched(), 1, "callers do not read their clocks in order");
        verifier.verify(&token, at(0)).await.unwrap();
        assert_eq!(server.fetched(), 2);
    });
}
