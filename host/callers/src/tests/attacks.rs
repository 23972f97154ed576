//! What must not get through: tokens that lie about how they are to be verified, and all the rest.

use ring::hmac;

use super::*;

/// A server with one key of each kind, each under the name of its kind, and the signers.
fn bench() -> (Signer, Signer, Signer, Signer, Vec<Value>) {
    let (rsa, p256, p384, ed) = (Signer::rsa(), Signer::p256(), Signer::p384(), Signer::ed25519());
    let keys = vec![rsa.jwk("rsa"), p256.jwk("p256"), p384.jwk("p384"), ed.jwk("ed")];
    (rsa, p256, p384, ed, keys)
}

const ALL: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

#[test]
fn each_algorithm_is_verified_with_its_own_key_and_no_other() {
    let (rsa, p256, p384, ed, keys) = bench();
    let of = |algorithm: &str| match &algorithm[..2] {
        "RS" | "PS" => (&rsa, "rsa"),
        "Ed" => (&ed, "ed"),
        _ if algorithm == "ES256" => (&p256, "p256"),
        _ => (&p384, "p384"),
    };
    run(async {
        let server = Server::of(&keys);
        let verifier = server.verifier(&access(&ALL));
        for algorithm in ALL {
            let (signer, id) = of(algorithm);
            let token = signer.token(&json!({"alg": algorithm, "kid": id, "typ": "JWT"}), &claims());
            let identity = verifier.identify(&token, at(0)).await.unwrap();
            let Identity::Jwt { issuer, subject, claims: left } = identity else { panic!("{identity:?}") };
            assert_eq!((issuer.as_str(), subject.as_str()), ("i", "repo:acme/train:ref:refs/heads/main"));
            let left: Vec<&str> = left.keys().map(String::as_str).collect();
            assert_eq!(left, ["environment", "groups", "run_attempt"], "what is checked or nested is no property");

            // Under the name of another algorithm, by a key of another kind, with one bit turned.
            for other in ALL.into_iter().filter(|other| *other != algorithm) {
                let lie = signer.token(&json!({"alg": algorithm, "kid": of(other).1}), &claims());
                let expected = if of(other).1 == id { "ok" } else { "token.key" };
                assert_eq!(outcome(&verifier, &lie, at(0)).await, expected, "{algorithm} by {other}'s key");
                let (text, signature) = token.rsplit_once('.').unwrap();
                let header = encode(json!({"alg": other, "kid": id}).to_string());
                let lie = format!("{header}.{}.{signature}", text.split_once('.').unwrap().1);
                let expected = if of(other).1 == id { "token.signature" } else { "token.key" };
                assert_eq!(outcome(&verifier, &lie, at(0)).await, expected, "{algorithm} called {other}");
            }
            for at_byte in [0, 17, 63] {
                let (text, signature) = token.rsplit_once('.').unwrap();
                let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
                bytes[at_byte] ^= 1;
                let lie = format!("{text}.{}", encode(bytes));
                assert_eq!(outcome(&verifier, &lie, at(0)).await, "token.signature");
            }
            // Signed by nobody, or not as long as it must be.
            let (text, signature) = token.rsplit_once('.').unwrap();
            let zero = vec![0; URL_SAFE_NO_PAD.decode(signature).unwrap().len()];
            for lie in [String::new(), encode([0]), encode(zero), format!("{signature}AAAA")] {
                assert_eq!(outcome(&verifier, &format!("{text}.{lie}"), at(0)).await, "token.signature", "{algorithm}");
            }
            // An algorithm that the issuer's entry does not have.
            let narrow: Vec<&str> = ALL.into_iter().filter(|other| *other != algorithm).collect();
            let narrow = Server::of(&keys).verifier(&access(&narrow));
            assert_eq!(outcome(&narrow, &token, at(0)).await, "token.algorithm");
        }
        assert_eq!(server.fetched(), 1);
    });
}

#[test]
fn an_algorithm_that_needs_no_key_or_a_public_one_is_refused() {
    let rsa = Signer::rsa();
    let jwk = rsa.jwk("rsa");
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    run(async {
        let server = Server::of(std::slice::from_ref(&jwk));
        let verifier = server.verifier(&access(&["RS256"]));
        for none in ["none", "None", "NONE", "nOnE", ""] {
            let text = format!("{}.{}", encode(json!({"alg": none}).to_string()), encode(claims().to_string()));
            for signature in ["", "AA"] {
                assert_eq!(
                    outcome(&verifier, &format!("{text}.{signature}"), at(0)).await,
                    "token.algorithm",
                    "{none}"
                );
            }
        }
        // What an attacker knows of the key, as a shared secret.
        let public = [PEM.as_bytes().to_vec(), modulus, jwk.to_string().into_bytes(), Vec::new()];
        for (name, algorithm) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
            ("RS256", hmac::HMAC_SHA256),
        ] {
            for secret in &public {
                let header = json!({"alg": name, "kid": "rsa", "typ": "JWT"});
                let text = format!("{}.{}", encode(header.to_string()), encode(claims().to_string()));
                let tag = hmac::sign(&hmac::Key::new(algorithm, secret), text.as_bytes());
                let expected = if name == "RS256" { "token.signature" } else { "token.algorithm" };
                assert_eq!(outcome(&verifier, &format!("{text}.{}", encode(tag)), at(0)).await, expected, "{name}");
            }
        }
        // Not even one fetch for what no key could save.
        assert_eq!(server.fetched(), 1);
    });
}

#[test]
fn a_header_that_brings_its_own_key_or_asks_for_more_is_refused() {
    let rsa = Signer::rsa();
    run(async {
        let verifier = Server::of(&[rsa.jwk("rsa")]).verifier(&access(&["RS256"]));
        let base = json!({"alg": "RS256", "kid": "rsa"});
        let table = [
            (json!({}), "ok"),
            (json!({"typ": "JWT"}), "ok"),
            (json!({"typ": "jwt"}), "ok"),
            (json!({"typ": "at+jwt"}), "ok"),
            (json!({"typ": "application/at+JWT"}), "ok"),
            (json!({"x5t": "AAAA"}), "ok"),
            (json!({"jku": "https://evil.example/keys"}), "token.header"),
            (json!({"x5u": "https://evil.example/cert"}), "token.header"),
            (json!({"jwk": rsa.jwk("rsa")}), "token.header"),
            (json!({"x5c": ["AAAA"]}), "token.header"),
            (json!({"crit": ["exp"]}), "token.header"),
            (json!({"crit": []}), "token.header"),
            (json!({"b64": false}), "token.header"),
            (json!({"b64": true}), "token.header"),
            (json!({"zip": "DEF"}), "token.header"),
            (json!({"enc": "A256GCM"}), "token.header"),
            (json!({"cty": "JWT"}), "token.header"),
            (json!({"typ": "secevent+jwt"}), "token.type"),
            (json!({"typ": "logout+jwt"}), "token.type"),
            (json!({"typ": "dpop+jwt"}), "token.type"),
            (json!({"typ": ""}), "token.type"),
            (json!({"typ": ["JWT"]}), "token.type"),
            (json!({"alg": null}), "token.algorithm"),
            (json!({"alg": "rs256"}), "token.algorithm"),
            (json!({"alg": ["RS256"]}), "token.algorithm"),
            (json!({"alg": "RS256 "}), "token.algorithm"),
            (json!({"kid": ""}), "token.key"),
            (json!({"kid": 1}), "token.key"),
            (json!({"kid": ["rsa"]}), "token.key"),
            (json!({"kid": "a".repeat(257)}), "token.key"),
            (json!({"kid": "RSA"}), "token.key"),
            (json!({"kid": "rsa\u{0}"}), "token.key"),
            (json!({"kid": "../../etc/passwd"}), "token.key"),
            (json!({"kid": "' or 1=1 --"}), "token.key"),
        ];
        for (change, code) in table {
            let token = rsa.token(&but(base.clone(), change.clone()), &claims());
            assert_eq!(outcome(&verifier, &token, at(0)).await, code, "{change}");
        }
        let null = rsa.token_of(r#"{"alg":"RS256","kid":"rsa","crit":null}"#, &claims().to_string());
        assert_eq!(outcome(&verifier, &null, at(0)).await, "token.header");
    });
}

#[test]
fn claims_that_are_not_for_us_or_not_for_now_are_refused() {
    let rsa = Signer::rsa();
    run(async {
        let verifier = Server::of(&[rsa.jwk("rsa")]).verifier(&access(&["RS256"]));
        let table = [
            (json!({}), "ok"),
            // With the leeway of a minute, and not a second more.
            (json!({"exp": NOW - 59}), "ok"),
            (json!({"exp": NOW - 60}), "token.expired"),
            (json!({"exp": NOW as f64 + 0.5}), "ok"),
            (json!({"exp": 0}), "token.expired"),
            (json!({"exp": -1}), "token.expired"),
            (json!({"exp": null}), "token.time"),
            (json!({"exp": (NOW + 600).to_string()}), "token.time"),
            (json!({"exp": true}), "token.time"),
            (json!({"exp": [NOW + 600]}), "token.time"),
            (json!({"nbf": NOW + 60}), "ok"),
            (json!({"nbf": NOW + 61}), "token.early"),
            (json!({"nbf": "now"}), "token.time"),
            (json!({"nbf": null, "iat": null}), "ok"),
            (json!({"iat": NOW + 61}), "token.early"),
            (json!({"iat": {}}), "token.time"),
            (json!({"aud": "other"}), "ok"),
            (json!({"aud": ["x", "strongroom"]}), "ok"),
            (json!({"aud": null}), "token.audience"),
            (json!({"aud": ""}), "token.audience"),
            (json!({"aud": "Strongroom"}), "token.audience"),
            (json!({"aud": "strongroom/"}), "token.audience"),
            (json!({"aud": ["x", "y"]}), "token.audience"),
            (json!({"aud": []}), "token.audience"),
            (json!({"aud": ["strongroom", 1]}), "token.audience"),
            (json!({"aud": {"strongroom": true}}), "token.audience"),
            (json!({"iss": "https://other.example"}), "token.issuer"),
            (json!({"iss": "https://i.example/"}), "token.issuer"),
            (json!({"iss": "https://I.example"}), "token.issuer"),
            (json!({"iss": "https://i.example\u{0}"}), "token.issuer"),
            (json!({"iss": null}), "token.issuer"),
            (json!({"iss": ["https://i.example"]}), "token.issuer"),
            (json!({"sub": null}), "ok"),
            (json!({"sub": 7}), "token.subject"),
            (json!({"sub": ["a"]}), "token.subject"),
            (json!({"sub": "a".repeat(1025)}), "token.subject"),
            (json!({"cnf": {"jkt": "AAAA"}}), "token.bound"),
        ];
        for (change, code) in table {
            let token = rsa.token(&json!({"alg": "RS256", "kid": "rsa"}), &but(claims(), change.clone()));
            assert_eq!(outcome(&verifier, &token, at(0)).await, code, "{change}");
        }
        let token = rsa.token(&json!({"alg": "RS256", "kid": "rsa"}), &claims());
        for (now, code) in [(at(659), "ok"), (at(660), "token.expired"), (SystemTime::UNIX_EPOCH, "token.early")] {
            assert_eq!(outcome(&verifier, &token, now).await, code);
        }
    });
}

#[test]
fn one_issuers_key_does_not_speak_for_another() {
    let (own, other) = (Signer::p256(), Signer::p256());
    run(async {
        let (i, j) = (set(&[own.jwk("k")]), set(&[other.jwk("k")]));
        let fetch: Fetch = Arc::new(move |issuer| {
            let keys = if issuer.target == "/i?v=1" { i.clone() } else { j.clone() };
            Box::pin(async move { Ok(keys) })
        });
        let verifier = Verifier::new(&access(&["ES256"]).issuers, fetch);
        let header = json!({"alg": "ES256", "kid": "k"});
        let at_j = but(claims(), json!({"iss": "https://j.example"}));
        for (signer, claims, code) in [
            (&own, claims(), "ok"),
            (&other, claims(), "token.signature"),
            (&other, at_j.clone(), "ok"),
            (&own, at_j, "token.signature"),
        ] {
            assert_eq!(outcome(&verifier, &signer.token(&header, &claims), at(0)).await, code, "{claims}");
        }
        let token = other.token(&header, &but(claims(), json!({"iss": "https://j.example"})));
        let Identity::Jwt { issuer, .. } = verifier.verify(&token, at(0)).await.unwrap() else { panic!("no JWT") };
        assert_eq!(issuer.as_str(), "j");
    });
}

#[test]
fn a_text_that_could_be_read_in_two_ways_is_refused() {
    let key = Signer::p256();
    run(async {
        let server = Server::of(&[key.jwk("k")]);
        let verifier = server.verifier(&access(&["ES256"]));
        let header = r#"{"alg":"ES256","kid":"k"}"#;
        let good = key.token_of(header, &claims().to_string());
        assert_eq!(outcome(&verifier, &good, at(0)).await, "ok");
        let parts: Vec<&str> = good.split('.').collect();
        let (head, body, tail) = (parts[0], parts[1], parts[2]);
        for length in 0..good.len() {
            let code = outcome(&verifier, &good[..length], at(0)).await;
            assert!(["token.form", "token.signature"].contains(&code.as_str()), "{length}: {code}");
        }
        // The last character of 64 bytes holds two bits that mean nothing, and must be zero.
        let last = tail.chars().last().unwrap();
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
        let spare = format!("{}{next}", &tail[..tail.len() - 1]);
        let forms = [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            "...".to_owned(),
            format!("{good}="),
            format!("{good}=="),
            format!("{head}=.{body}.{tail}"),
            format!(" {good}"),
            format!("{good} "),
            format!("{good}\n"),
            format!("\u{feff}{good}"),
            format!("{good}\0"),
            format!("{head}.{body}.{tail}.{tail}"),
            format!("{head}..{body}.{tail}"),
            format!("{head}.{body}.{spare}"),
            format!("{head}.{body}.{}+/", &tail[..tail.len() - 2]),
            format!("{head}.{} .{tail}", body),
            format!("Bearer {good}"),
            "\u{ff45}yJ.\u{ff45}yJ.x".to_owned(),
        ];
        for text in &forms {
            let code = outcome(&verifier, text, at(0)).await;
            assert!(["token.form", "token.json"].contains(&code.as_str()), "{text:?}: {code}");
        }
        let text = claims().to_string();
        let doubled = [
            (header.replace('}', r#","alg":"ES256"}"#), text.clone()),
            (header.replace('}', r#","\u0061lg":"none"}"#), text.clone()),
            (header.to_owned(), text.replacen('{', r#"{"iss":"https://other.example","#, 1)),
            (header.to_owned(), text.replacen('{', r#"{"sub":"x","#, 1)),
            (header.to_owned(), text.replacen(r#"{"a":1}"#, r#"{"a":1,"a":2}"#, 1)),
            (header.to_owned(), format!("[{text}]")),
            (header.to_owned(), format!("{text}{text}")),
            (header.to_owned(), format!("{text} x")),
            (header.to_owned(), text.replacen('{', "{/**/", 1)),
            (header.to_owned(), text.replacen("\"1\"", "NaN", 1)),
            (header.to_owned(), text.replacen("\"1\"", "1e999", 1)),
            (header.to_owned(), text.replacen("\"1\"", r#""\ud800""#, 1)),
            (header.to_owned(), text.replacen("\"1\"", &"[".repeat(200), 1)),
            (header.to_owned(), "null".to_owned()),
            (header.to_owned(), String::new()),
            (String::new(), text.clone()),
            ("\"alg\"".to_owned(), text.clone()),
        ];
        for (header, claims) in doubled {
            let token = key.token_of(&header, &claims);
            assert_eq!(outcome(&verifier, &token, at(0)).await, "token.json", "{header} {claims}");
        }
        let broken =
            [head.as_bytes(), b".", encode([b'{', b'"', 0xff, b'"', b':', b'1', b'}']).as_bytes(), b".AA"].concat();
        assert_eq!(outcome(&verifier, std::str::from_utf8(&broken).unwrap(), at(0)).await, "token.json");
        let huge = key.token_of(header, &but(claims(), json!({"x": "a".repeat(MAX_TOKEN_BYTES)})).to_string());
        assert_eq!(outcome(&verifier, &huge, at(0)).await, "token.too-large");
        assert_eq!(outcome(&verifier, &"a".repeat(1 << 20), at(0)).await, "token.too-large");
        assert_eq!(server.fetched(), 1, "what is no token fetches nothing");
    });
}

#[test]
fn a_token_of_three_parts_is_a_jwt() {
    for (text, jwt) in [("a.b.c", true), ("a.b", false), ("a.b.c.d", false), ("", false), ("..", true), ("abc", false)]
    {
        assert_eq!(is_jwt(text), jwt, "{text}");
    }
}
