//! Section 1 of the wall, a table each: what is refused, and beside it what is not.

use serde_json::json;
use strongroom_core::Manifest;
use strongroom_core::Text;
use strongroom_core::manifest::Function;
use strongroom_egress::decide::{Stage, decide, is_reserved};
use strongroom_egress::{Asked, Terms};

use crate::world::{HEAD, Try, World};

fn to<'a>(authority: &'a str) -> Try<'a> {
    Try { authority, ..Try::default() }
}

fn at<'a>(target: &'a str) -> Try<'a> {
    Try { target, ..Try::default() }
}

fn with<'a>(headers: &[(&'a str, &'a str)]) -> Try<'a> {
    Try { headers: headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect(), ..Try::default() }
}

#[test]
fn what_the_rule_says_leaves_as_the_rule_says() {
    let world = World::usual();
    let approved = world.allows(&Try {
        authority: "A.Vault.Example:443",
        target: "/v1/t%65am/db?cursor=%41b&version=3",
        headers: vec![("X-Request-ID", b"7"), ("X-Op", b"list"), ("Content-Length", b"0"), ("Accept", b"*/*")],
        ..Try::default()
    });
    assert_eq!(approved.origin.to_string(), "https://a.vault.example");
    assert_eq!(approved.target, "/v1/team/db?cursor=Ab&version=3");
    let mut names: Vec<&str> = approved.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "x-op", "x-request-id"], "the length is the sender's to say");
    assert_eq!((approved.rule, approved.reference, approved.audience), (0, Some(0), None));
}

#[test]
fn an_authority_that_could_mean_another_host_is_refused() {
    for authority in [
        "",
        ":443",
        "user@a.vault.example",
        "user:p@a.vault.example",
        "@a.vault.example",
        "a.vault.example@evil.example",
        "a.vault.ex\u{e4}mple",
        "\u{430}.vault.example",
        "a.vault.example\u{3002}",
        "a.vault.example.",
        "a..vault.example",
        ".vault.example",
        "a.vault.example:0",
        "a.vault.example:",
        "a.vault.example:00443",
        "a.vault.example:+443",
        "a.vault.example:65979",
        "a.vault.example:443:443",
        "a.vault.example/",
        "a.vault.example?",
        "a.vault.example#",
        "a.vault.example\\",
        "a.vault.example ",
        " a.vault.example",
        "a.vault.example\0",
        "a%2evault.example",
        "[a.vault.example]",
        "2130706433",
        "127.1",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "127.0.0.1.",
        "::1",
        "[::1",
        "[::1%25lo]",
    ] {
        let refused = World::usual().refuses_at(Stage::Form, &to(authority));
        assert_eq!(refused.advice, None, "nothing would allow {authority:?}");
    }
    for scheme in ["", "HTTPS", "ftp", "https:", "file", "ws"] {
        World::usual().refuses_at(Stage::Form, &Try { scheme, ..Try::default() });
    }
}

#[test]
fn a_path_that_two_servers_could_read_differently_is_refused() {
    for target in [
        "",
        "*",
        "v1/team/db",
        "a.vault.example:443",
        "https://evil.example/v1/team/db",
        "http://a.vault.example/v1/team/db",
        "//evil.example/v1/team/db",
        "/https://evil.example",
        "/v1/team//db",
        "/v1/team/db//",
        "/v1/team%2fdb",
        "/v1/team%2Fdb",
        "/v1/team%5cdb",
        "/v1/team%5Cdb",
        "/v1/team\\db",
        "/v1/team/db%00",
        "/v1/team/%00db",
        "/v1/team/db%0d%0aX: y",
        "/v1/team/db\r\nX: y",
        "/v1/team/db%7f",
        "/v1/team/d%C2%85b",
        "/v1/./team/db",
        "/v1/x/../team/db",
        "/v1/team/db/.",
        "/v1/team/db/..",
        "/v1/%2e/team/db",
        "/v1/x/%2e%2e/team/db",
        "/v1/x/.%2E/team/db",
        "/v1/team/db%2ejson",
        "/v1/team/db#x",
        "/v1/team/db?version=3#x",
        "/v1/team/db;v=1#",
        "/v1/team/d b",
        "/v1/team/d\u{fc}",
        "/v1/team/d%",
        "/v1/team/d%6",
        "/v1/team/d%6x",
        "/v1/team/d%ff",
        "/v1/team/d%C0%AF",
        "/v1/team/d|b",
        "/v1/team/db?version=3&version=3",
        "/v1/team/db?version=3&%76ersion=4",
        "/v1/team/db?=3",
        "/v1/team/db?version=3&",
        "/v1/team/db?cursor=a+b",
        "/v1/team/db?cursor=%00",
    ] {
        World::usual().refuses_at(Stage::Form, &at(target));
    }
    let long = format!("/v1/team/db?cursor={}", "x".repeat(8192));
    World::usual().refuses_at(Stage::Form, &at(&long));
}

#[test]
fn a_slash_in_a_query_is_part_of_its_value() {
    let world = World::usual();
    for target in ["/v1/team/db?cursor=a%2Fb%2E", "/v1/team/db?cursor=a/b."] {
        assert_eq!(world.allows(&at(target)).target, "/v1/team/db?cursor=a%2Fb.");
    }
}

#[test]
fn a_double_encoding_stays_what_it_is() {
    for target in ["/v1/team/%252e%252e", "/v1/team%252fdb", "/v1/te%2561m/db"] {
        World::usual().refuses_at(Stage::Route, &at(target));
    }
    let world = World::usual().with_references(&["acme://a.vault.example/team/d%25b"]);
    assert_eq!(world.allows(&at("/v1/team/d%25b")).target, "/v1/team/d%25b");
    world.refuses(&at("/v1/team/d%2525b"));
}

#[test]
fn only_six_methods_exist_and_get_has_no_body() {
    for method in ["CONNECT", "TRACE", "OPTIONS", "get", "Get", "", "PURGE", "GET ", "GET /x HTTP/1.1\r\n", "*"] {
        World::usual().refuses_at(Stage::Form, &Try { method, ..Try::default() });
    }
    for method in ["HEAD", "POST", "PATCH", "DELETE"] {
        World::usual().refuses_at(Stage::Route, &Try { method, ..Try::default() });
    }
    World::usual().allows(&Try { method: "PUT", body: b"{\"a\": 1}", ..Try::default() });
    for method in ["GET", "HEAD"] {
        World::usual().refuses_at(Stage::Form, &Try { method, body: b"1", ..Try::default() });
    }
}

#[test]
fn no_port_means_the_schemes_port_and_no_other() {
    let world = World::usual();
    world.allows(&to("a.vault.example:443"));
    for authority in ["a.vault.example:80", "a.vault.example:8443", "a.vault.example:444"] {
        world.refuses_at(Stage::Origin, &to(authority));
    }
    world.refuses_at(Stage::Origin, &Try { scheme: "http", ..Try::default() });
    world.refuses_at(Stage::Origin, &Try { scheme: "http", authority: "a.vault.example:443", ..Try::default() });

    let written = World::new(&["origin = \"https://{ref.authority}\"\nhosts = [\"*.vault.example:8443\"]\n\
                                allow = [\"GET /v1/{ref.path.0}/{ref.path.1}\"]"])
    .with_references(&["acme://a.vault.example:8443/team/db"]);
    written.allows(&to("a.vault.example:8443"));
    written.refuses_at(Stage::Origin, &to("a.vault.example"));
    let without = World::usual().with_references(&["acme://a.vault.example:8443/team/db"]);
    without.refuses_at(Stage::Host, &to("a.vault.example:8443"));
}

#[test]
fn a_rule_serves_the_functions_it_names() {
    let rules = |on: &str| {
        World::new(&[&format!("{on}origin = \"https://a.vault.example\"\nallow = [\"GET /v1/{{ref.path.0}}/db\"]")])
    };
    let every = Function::ALL;
    for (on, serves) in [
        ("", vec![Function::Resolve]),
        ("on = [\"names\", \"put\"]\n", vec![Function::Names, Function::Put]),
        ("on = [\"annotate\"]\n", vec![Function::Annotate]),
    ] {
        for function in every {
            let world = rules(on).running(function);
            if serves.contains(&function) {
                world.allows(&Try::default());
            } else {
                world.refuses_at(Stage::Function, &Try::default());
            }
        }
    }
}

#[test]
fn a_route_is_bound_to_one_reference_of_the_call() {
    let two = ["acme://a.vault.example/team/db?version=3", "acme://b.vault.example/ops/key?version=7"];
    let world = World::usual().with_references(&two);
    let fits = |authority: &'static str, target: &'static str| Try { authority, target, ..Try::default() };
    assert_eq!(world.allows(&fits("a.vault.example", "/v1/team/db?version=3")).reference, Some(0));
    assert_eq!(world.allows(&fits("b.vault.example", "/v1/ops/key?version=7")).reference, Some(1));
    for (authority, target, stage) in [
        ("a.vault.example", "/v1/team/key", Stage::Route),
        ("a.vault.example", "/v1/ops/db", Stage::Route),
        ("a.vault.example", "/v1/ops/key", Stage::Route),
        ("b.vault.example", "/v1/team/db", Stage::Route),
        ("a.vault.example", "/v1/team/db?version=7", Stage::Query),
        ("c.vault.example", "/v1/team/db", Stage::Origin),
        ("a.vault.example", "/v1/team/sibling", Stage::Route),
        ("a.vault.example", "/v1/Team/db", Stage::Route),
        ("a.vault.example", "/v1/team/db/", Stage::Route),
        ("a.vault.example", "/v1/team", Stage::Route),
        ("a.vault.example", "/", Stage::Route),
    ] {
        world.refuses_at(stage, &fits(authority, target));
    }
    let none = World::usual().with_references(&[]);
    none.refuses_at(Stage::Origin, &Try::default());
}

#[test]
fn the_rest_of_a_path_is_all_of_it() {
    let world = World::new(&["origin = \"https://a.vault.example\"\n\
                              allow = [\"GET /v1/{ref.path.0}/data/{ref.path.1..}\", \"GET /pages/{any}\"]"])
    .with_references(&["acme://a.vault.example/team/db/main%20x"]);
    world.allows(&at("/v1/team/data/db/main%20x"));
    world.allows(&at("/pages/whatever"));
    for target in [
        "/v1/team/data/db",
        "/v1/team/data/",
        "/v1/team/data",
        "/v1/team/data/main%20x",
        "/v1/team/data/db/main%20x/more",
        "/v1/team/data/db/main%20x/",
        "/v1/team/data/main%20x/db",
        "/pages/",
        "/pages",
        "/pages/a/b",
    ] {
        world.refuses_at(Stage::Route, &at(target));
    }
}

#[test]
fn a_query_is_keys_and_values_of_the_rule() {
    let world = World::usual();
    for (query, sent) in [
        ("", ""),
        ("?", ""),
        ("?version=3", "?version=3"),
        ("?version=0", "?version=0"),
        ("?cursor=", "?cursor="),
        ("?cursor", "?cursor="),
        ("?cursor=a%2Fb%26c", "?cursor=a%2Fb%26c"),
        ("?cursor=x&version=3", "?cursor=x&version=3"),
    ] {
        let target = format!("/v1/team/db{query}");
        assert_eq!(world.allows(&at(&target)).target, format!("/v1/team/db{sent}"));
    }
    for query in [
        "?version=",
        "?version",
        "?version=30",
        "?version=4",
        "?Version=3",
        "?version%20=3",
        "?evil=1",
        "?version=3&evil",
    ] {
        world.refuses_at(Stage::Query, &at(&format!("/v1/team/db{query}")));
    }
    let unversioned = World::usual().with_references(&["acme://a.vault.example/team/db"]);
    unversioned.allows(&at("/v1/team/db?version=0"));
    unversioned.refuses_at(Stage::Query, &at("/v1/team/db?version="));
}

#[test]
fn headers_are_a_list_with_values() {
    let world = World::usual();
    for headers in [
        &[("accept", "a"), ("content-type", "b"), ("content-length", "0"), ("if-match", "c"), ("if-none-match", "*")][..],
        &[("x-request-id", "anything at all")],
        &[("X-OP", "read")],
        &[("x-op", "list")],
    ] {
        world.allows(&with(headers));
    }
    for headers in [
        &[("x-op", "delete")][..],
        &[("x-op", "")],
        &[("x-op", "read, list")],
        &[("x-op", "Read")],
        &[("x-other", "read")],
        &[("user-agent", "x")],
        &[("accept-encoding", "gzip")],
        &[("x-http-method-override", "DELETE")],
        &[("x-forwarded-host", "evil.example")],
        &[("host", "evil.example")],
        &[("te", "trailers")],
        &[("trailer", "x")],
        &[("transfer-encoding", "chunked")],
        &[("connection", "x-op")],
        &[("upgrade", "h2c")],
        &[("expect", "100-continue")],
    ] {
        world.refuses_at(Stage::Header, &with(headers));
    }
    for headers in
        [&[("x-op", "read"), ("x-op", "read")][..], &[("accept", "a"), ("Accept", "b")], &[("accept", "\u{e4}")]]
    {
        world.refuses_at(Stage::Form, &with(headers));
    }
    let long = "x".repeat(8193);
    world.refuses_at(Stage::Form, &with(&[("accept", &long)]));
    world.allows(&with(&[("accept", &long[..8192])]));
    // A header that another rule of the plugin lists is not one that this rule lists.
    let other = World::new(&[
        "origin = \"https://a.vault.example\"\nallow = [\"GET /v1/{ref.path.0}/db\"]",
        "on = [\"names\"]\norigin = \"https://a.vault.example\"\nallow = [\"GET /\"]\nheaders = [\"x-op\"]",
    ]);
    other.refuses_at(Stage::Header, &with(&[("x-op", "read")]));
}

#[test]
fn a_guest_never_sets_what_the_host_injects() {
    let credential = "origin = \"https://a.vault.example\"\nallow = [\"GET /v1/{ref.path.0}/db\"]\n\
                      credential = { audience = \"https://vault.example\", header = \"X-Vault-Token\", format = \"{token}\" }";
    let plain = "on = [\"names\"]\norigin = \"https://b.vault.example\"\nallow = [\"GET /\"]";
    let world = World::new(&[credential, plain]);
    let names = World::new(&[credential, plain]).running(Function::Names);
    for name in ["x-vault-token", "X-VAULT-TOKEN", "authorization", "Cookie", "proxy-authorization", "set-cookie"] {
        world.refuses_at(Stage::Header, &with(&[(name, "Bearer x")]));
        let elsewhere =
            Try { authority: "b.vault.example", target: "/", headers: vec![(name, b"x")], ..Try::default() };
        names.refuses_at(Stage::Header, &elsewhere);
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        assert!(is_reserved(&name, &world.terms.rules), "{name} is refused as soon as the guest sets it");
    }
    // Also where no rule injects anything.
    for name in ["authorization", "cookie"] {
        World::usual().refuses_at(Stage::Header, &with(&[(name, "x")]));
    }
    // And no manifest can say otherwise, in the same rule or in another.
    for rules in [
        format!("[[http]]\n{credential}\nheaders = [\"x-vault-token\"]"),
        format!("[[http]]\n{credential}\n[[http]]\n{plain}\nheaders = [\"X-Vault-Token: a\"]"),
        format!("[[http]]\n{credential}\n[[http]]\n{plain}\nanswers = [\"x-vault-token\"]"),
        format!("[[http]]\n{plain}\nheaders = [\"Authorization\"]"),
        format!("[[http]]\n{plain}\nheaders = [\"cookie: a\"]"),
    ] {
        let failure = Manifest::parse(format!("{HEAD}{rules}").as_bytes(), Text::new("p")).unwrap_err();
        assert_eq!(failure.code(), "manifest.http", "{rules}");
    }
}

const FOLLOWS: &str = "origin = \"https://{ref.authority}\"\nhosts = [\"*.vault.example\"]\n\
                       allow = [\"GET /v1/{ref.path.0}/{ref.path.1}\"]\n";

fn follows(audience: &str) -> World {
    World::new(&[&format!("{FOLLOWS}credential = {{ audience = \"{audience}\" }}")])
}

#[test]
fn a_credential_follows_a_reference_only_to_the_mounts_hosts() {
    let world = || follows("https://vault.example");
    world().refuses_at(Stage::Credential, &Try::default());
    world().with_hosts(&["b.vault.example"]).refuses_at(Stage::Host, &Try::default());
    world().with_hosts(&["*.example"]).refuses_at(Stage::Host, &Try::default());
    world().with_hosts(&["a.vault.example:8443"]).refuses_at(Stage::Host, &Try::default());
    for hosts in [&["a.vault.example"][..], &["*.vault.example"], &["b.vault.example", "A.Vault.Example"]] {
        let approved = world().with_hosts(hosts).allows(&Try::default());
        assert_eq!(approved.audience.as_deref(), Some("https://vault.example"));
    }
    // Without a credential the rule's own hosts are enough, and the mount's can narrow them.
    World::new(&[FOLLOWS]).allows(&Try::default());
    World::new(&[FOLLOWS]).with_hosts(&["b.vault.example"]).refuses_at(Stage::Host, &Try::default());
    // A fixed origin needs no word of the mount.
    let fixed = "origin = \"https://a.vault.example\"\nallow = [\"GET /v1/{ref.path.0}/db\"]\n\
                 credential = { audience = \"api://anything\" }";
    assert_eq!(World::new(&[fixed]).allows(&Try::default()).audience.as_deref(), Some("api://anything"));
}

#[test]
fn with_a_wildcard_the_audience_is_the_host_or_above_it() {
    for (audience, fits) in [
        ("https://vault.example", true),
        ("https://vault.example/", true),
        ("https://VAULT.example", true),
        ("https://a.vault.example", true),
        ("https://example", true),
        ("https://b.vault.example", false),
        ("https://ault.example", false),
        ("https://x.a.vault.example", false),
        ("https://other.example", false),
        ("http://vault.example", false),
        ("https://{ref.authority}", true),
        ("https://{config.host}", false),
        ("{config.audience}", true),
        ("{config.other}", false),
        ("{config.scope}", false),
    ] {
        let config = json!({"host": "evil.example", "audience": "https://vault.example", "other": "https://other.example",
                            "scope": "https://vault.example/.default"});
        let world = follows(audience).with_hosts(&["a.vault.example"]).with_config(config);
        match world.decide(&Try::default()) {
            Ok(_) => assert!(fits, "{audience}"),
            Err(refused) => assert!(!fits && refused.stage == Stage::Credential, "{audience}: {refused:?}"),
        }
    }
    // The wildcard may as well stand in the mount.
    let literal = FOLLOWS.replace("*.vault.example", "a.vault.example");
    let literal = format!("{literal}credential = {{ audience = \"https://other.example\" }}");
    World::new(&[&literal]).with_hosts(&["a.vault.example"]).allows(&Try::default());
    World::new(&[&literal]).with_hosts(&["*.vault.example"]).refuses_at(Stage::Credential, &Try::default());
    // An audience that lacks what it is made of is none.
    let world = follows("{config.missing}").with_hosts(&["a.vault.example"]);
    world.refuses_at(Stage::Credential, &Try::default());
}

#[test]
fn a_credential_never_leaves_without_tls() {
    let rule = "origin = \"{config.address}\"\nallow = [\"GET /v1/{ref.path.0}/db\"]\n\
                credential = { audience = \"{config.address}\" }";
    let world = |address: &str| World::new(&[rule]).with_config(json!({"address": address}));
    let plain = Try { scheme: "http", ..Try::default() };
    world("http://a.vault.example").refuses_at(Stage::Credential, &plain);
    world("https://a.vault.example").allows(&Try::default());
    world("https://a.vault.example").refuses_at(Stage::Origin, &plain);
    for origin in ["http://a.vault.example", "http://{ref.authority}", "http://{any}"] {
        let text = format!(
            "{HEAD}[[http]]\norigin = \"{origin}\"\nhosts = [\"a.vault.example\"]\nallow = [\"GET /\"]\n\
             credential = {{ audience = \"https://vault.example\" }}"
        );
        assert!(Manifest::parse(text.as_bytes(), Text::new("p")).is_err(), "{origin}");
    }
}

#[test]
fn any_chooses_among_literal_hosts_and_nothing_else() {
    let world = World::new(&["origin = \"https://{any}\"\nhosts = [\"one.example\", \"two.example:8443\"]\n\
                              allow = [\"GET /v1/{ref.path.0}/db\"]"]);
    world.allows(&to("one.example"));
    world.allows(&to("ONE.example:443"));
    world.allows(&to("two.example:8443"));
    for authority in [
        "two.example",
        "one.example:8443",
        "three.example",
        "x.one.example",
        "example",
        "one.example.evil.example",
        "10.0.0.1",
    ] {
        world.refuses_at(Stage::Origin, &to(authority));
    }
    world.refuses_at(Stage::Origin, &Try { scheme: "http", authority: "one.example", ..Try::default() });
    for hosts in ["", "hosts = []\n", "hosts = [\"*.example\"]\n", "hosts = [\"one.example\", \"*\"]\n"] {
        let text = format!("{HEAD}[[http]]\norigin = \"https://{{any}}\"\n{hosts}allow = [\"GET /\"]");
        assert!(Manifest::parse(text.as_bytes(), Text::new("p")).is_err(), "{hosts}");
    }
}

#[test]
fn an_origin_of_the_config_is_one_whole_origin() {
    let world = |config| {
        World::new(&["origin = \"{config.address}\"\nallow = [\"GET /v1/{ref.path.0}/db\"]"]).with_config(config)
    };
    for address in ["https://a.vault.example", "https://A.vault.example:443/"] {
        world(json!({"address": address})).allows(&Try::default());
    }
    let port = to("a.vault.example:8200");
    world(json!({"address": "https://a.vault.example:8200"})).allows(&port);
    world(json!({"address": "https://a.vault.example"})).refuses_at(Stage::Origin, &port);
    for config in [
        json!({}),
        json!({"address": null}),
        json!({"address": ""}),
        json!({"address": 7}),
        json!({"address": ["https://a.vault.example"]}),
        json!({"address": "a.vault.example"}),
        json!({"address": "https://a.vault.example/v1"}),
        json!({"address": "https://a.vault.example?x"}),
        json!({"address": "https://user@a.vault.example"}),
        json!({"address": "https://a.vault.example."}),
        json!({"address": "https://a.vault.example//"}),
        json!({"address": "{ref.authority}"}),
        json!({"other": "https://a.vault.example"}),
    ] {
        world(config).refuses_at(Stage::Origin, &Try::default());
    }
    // A hole of the config within an authority is no more than a part of a host.
    let zoned = |zone: &str| {
        World::new(&["origin = \"https://{config.zone}.vault.example\"\nallow = [\"GET /v1/{ref.path.0}/db\"]"])
            .with_config(json!({"zone": zone}))
    };
    zoned("a").allows(&Try::default());
    for zone in ["evil.example/", "evil.example#", "evil.example?", "u@evil", "evil.example:443", "", "a b", "a\\"] {
        zoned(zone).refuses_at(Stage::Origin, &Try::default());
    }
}

#[test]
fn what_fills_a_hole_is_one_segment() {
    let world = |n: serde_json::Value| {
        World::new(&["origin = \"https://a.vault.example\"\nallow = [\"GET /v1/{config.n}/db\"]"])
            .with_config(json!({"n": n}))
    };
    for (value, target) in
        [(json!("x"), "/v1/x/db"), (json!(7), "/v1/7/db"), (json!(true), "/v1/true/db"), (json!("a%b"), "/v1/a%25b/db")]
    {
        world(value).allows(&at(target));
    }
    for (value, target) in [
        (json!("a/b"), "/v1/a/b/db"),
        (json!(""), "/v1/db"),
        (json!(".."), "/v1/db"),
        (json!("%2e%2e"), "/v1/db"),
        (json!(["x"]), "/v1/x/db"),
        (json!(null), "/v1/null/db"),
    ] {
        world(value).refuses_at(Stage::Route, &at(target));
    }
    world(json!("..")).refuses_at(Stage::Form, &at("/v1/../db"));
}

#[test]
fn the_mounts_network_takes_the_place_of_the_rules() {
    let mut world = World::new(&["origin = \"https://a.vault.example\"\nallow = [\"GET /v1/{ref.path.0}/db\"]\n\
                                  network = \"private\"\nhttp2 = true"]);
    let approved = world.allows(&Try::default());
    assert_eq!((approved.network.to_string().as_str(), approved.http2), ("private", true));
    world.terms.network = Some(strongroom_core::Network::Loopback);
    assert_eq!(world.allows(&Try::default()).network.to_string(), "loopback");
}

#[test]
fn a_path_with_an_empty_segment_is_an_endpoints_own_or_none() {
    let manifest = Manifest::parse(
        b"name = \"p\"\nversion = \"1.0.0\"\nauth = true\nwants = [\"http\"]\n\
          [[http]]\nendpoint = \"{env.URL}\"\nhosts = [\"*.runs.example\"]\nnetwork = \"public\"\nmethods = [\"GET\"]\nquery = { audience = [\"a\"] }\n\
          [[http]]\norigin = \"https://eu.runs.example\"\nallow = [\"GET /{any}/{any}/x\"]",
        Text::new("plugin.toml"),
    )
    .unwrap();
    let terms = Terms {
        function: Function::Acquire,
        references: [].into(),
        config: json!({"endpoint.URL": {
            "origin": "https://eu.runs.example", "path": ["106", "", "token"], "query": [["v", "2"]],
        }})
        .into(),
        rules: manifest.http.into(),
        hosts: [].into(),
        network: None,
        holdings: Default::default(),
    };
    let ask = |target: &str| {
        let headers = http::HeaderMap::new();
        decide(
            &terms,
            &Asked {
                method: "GET",
                scheme: "https",
                authority: "eu.runs.example",
                target,
                headers: &headers,
                body: &[],
            },
        )
        .map(|approved| (approved.rule, approved.target))
        .map_err(|refused| refused.stage)
    };
    assert_eq!(ask("/106//token?v=2&audience=a"), Ok((0, "/106//token?v=2&audience=a".to_owned())));
    assert_eq!(ask("/106/token/x"), Ok((1, "/106/token/x".to_owned())));
    for other in
        ["/106//token/?v=2&audience=a", "/106///token?v=2&audience=a", "//106/token?v=2", "/a//x", "//a/x", "/106//x"]
    {
        assert_eq!(ask(other), Err(Stage::Form), "{other}");
    }
}
