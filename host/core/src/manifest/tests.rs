use serde_json::json;

use super::*;
use crate::rights::{Right, Rights};

const HEAD: &str = "name = \"x\"\nversion = \"1.0.0\"\n";

fn parse(body: &str) -> Result<Manifest, Failure> {
    Manifest::parse(format!("{HEAD}{body}").as_bytes(), Text::new("plugin.toml"))
}

fn reference(text: &str) -> Reference {
    Reference::parse(text, &Shapes::builtin()).unwrap()
}

#[test]
fn a_small_manifest_asks_for_nothing() {
    let manifest = parse("schemes = [\"env\"]").unwrap();
    assert_eq!((manifest.wants.len(), manifest.batch.clone(), manifest.shape()), (0, Batch::None, None));
    assert_eq!(manifest.reserved_scheme(), Some("env"));
    assert_eq!(manifest.group_key(&reference("env:A")), None);
    assert!(manifest.env_names(&reference("env:A"), &json!({})).is_empty());
}

#[test]
fn what_does_not_fit_is_refused_with_its_key() {
    let rule = |lines: &str| format!("auth = true\nwants = [\"http\"]\n[[http]]\n{lines}\n");
    let page = |kind: &str, origin: &str, path: &str| {
        format!("{kind}\n[[browser]]\norigin = \"{origin}\"\npath = \"{path}\"\n")
    };
    let long = format!("schemes = [\"env\"]\ndescription = \"{}\"", "x".repeat(MAX_BYTES));
    let table = [
        ("schemes = []", "manifest.scheme", "schemes"),
        ("schemes = [\"A\"]", "manifest.scheme", "schemes"),
        ("schemes = [\"a+b\"]", "manifest.scheme", "schemes"),
        ("schemes = [\"env\", \"env\"]", "manifest.scheme", "schemes"),
        ("schemes = \"env\"", "manifest.value", "schemes"),
        ("", "manifest.missing-key", ""),
        ("schemes = [\"acme\"]", "manifest.reference", "schemes"),
        ("schemes = [\"env\", \"acme\"]", "manifest.reference", "schemes"),
        ("schemes = [\"env\", \"keyvault\"]", "manifest.reference", "schemes"),
        ("schemes = [\"env\"]\n[reference]\npath = [\"name\"]", "manifest.reference", "reference"),
        ("schemes = [\"acme\"]\n[reference]\npath = [\"a\", \"b?\", \"c\"]", "manifest.reference", "path"),
        ("schemes = [\"acme\"]\n[reference]\npath = []", "manifest.reference", "path"),
        ("schemes = [\"acme\"]\n[reference]\npath = [\"a\"]\nhost = true", "manifest.unknown-key", "host"),
        ("schemes = [\"env\"]\nwants = [\"network\"]", "manifest.value", "wants"),
        ("schemes = [\"env\"]\nwants = [\"log\", \"log\"]", "manifest.wants", "wants"),
        ("schemes = [\"env\"]\nwants = [\"env\"]", "manifest.env", "wants"),
        ("schemes = [\"env\"]\n[env]\nnames = [\"A\"]", "manifest.env", "env"),
        ("schemes = [\"env\"]\nwants = [\"env\"]\n[env]\nnames = []", "manifest.env", "names"),
        ("schemes = [\"env\"]\nwants = [\"env\"]\n[env]\nnames = [\"A=B\"]", "manifest.env", "names"),
        ("schemes = [\"env\"]\nwants = [\"env\"]\n[env]\nnames = [\"{ref.path.1}\"]", "manifest.reference", "names"),
        ("schemes = [\"env\"]\nwants = [\"env\"]\n[env]\nnames = [\"{ref.authority}\"]", "manifest.reference", "names"),
        ("schemes = [\"env\"]\nwants = [\"env\"]\n[env]\nnames = [\"{any}\"]", "manifest.value", "names"),
        ("schemes = [\"keys\"]\n[store]\nprefix = \"a/\"", "manifest.store", "store"),
        ("schemes = [\"keys\"]\nwants = [\"store\"]\n[store]\nprefix = \"{ref.path.0}\"", "manifest.store", "prefix"),
        (
            "schemes = [\"keys\"]\nwants = [\"store\"]\n[store]\nprefix = \"{ref.path.7}/\"",
            "manifest.reference",
            "prefix",
        ),
        ("schemes = [\"env\"]\nbatch = \"some\"", "manifest.value", "batch"),
        ("schemes = [\"env\"]\n[[config-from]]\nfiles = [\"a.json\"]", "manifest.config-from", "config-from"),
        ("schemes = [\"env\"]\n[[config-from]]\nenv = {}", "manifest.config-from", "config-from"),
        ("schemes = [\"env\"]\n[[config-from]]\nenv = { a = \"A=B\" }", "manifest.config-from", "config-from"),
        (
            "schemes = [\"env\"]\n[[config-from]]\nfiles = [\"../a.json\"]\nkeys = { a = \"/a\" }",
            "manifest.config-from",
            "config-from",
        ),
        (
            "schemes = [\"env\"]\n[[config-from]]\nfiles = [\"/a.json\"]\nkeys = { a = \"/a\" }",
            "manifest.config-from",
            "config-from",
        ),
        (
            "schemes = [\"env\"]\n[[config-from]]\nfiles = [\".netrc\"]\nkeys = { a = \"/a\" }",
            "manifest.config-from",
            "config-from",
        ),
        (
            "schemes = [\"env\"]\n[[config-from]]\nfiles = [\"a.json\"]\nkeys = { a = \"/*\" }",
            "manifest.config-from",
            "config-from",
        ),
        ("schemes = [\"env\"]\n[[config-from]]\nenv = { a = \"A\" }\nsealed = true", "manifest.unknown-key", "sealed"),
        ("schemes = [\"env\"]\nbatch = []", "manifest.value", "batch"),
        ("schemes = [\"env\"]\nbatch = [\"path\"]", "manifest.value", "batch"),
        ("schemes = [\"env\"]\nbatch = [\"path.0\", \"path.0\"]", "manifest.batch", "batch"),
        ("schemes = [\"env\"]\nbatch = [\"authority\"]", "manifest.reference", "batch"),
        ("schemes = [\"env\"]\nname = \"y\"", "manifest.duplicate-key", "name"),
        ("schemes = [\"env\"]\n[config.properties.a]\n\"$ref\" = \"#\"", "manifest.schema", "config"),
        ("auth = true\nschemes = [\"env\"]", "manifest.scheme", "schemes"),
        ("auth = true\nbatch = \"all\"", "manifest.scheme", "batch"),
        ("schemes = [\"env\"]\nsealed = [\"token\"]", "manifest.sealed", "sealed"),
        ("auth = true\nsealed = [\"a\", \"a\"]", "manifest.sealed", "sealed"),
        ("auth = true\nsealed = [\"A\"]", "manifest.sealed", "sealed"),
        ("auth = true\nwants = [\"sealed\"]", "manifest.sealed", "wants"),
        ("auth = true\nwants = [\"tool\"]", "manifest.tools", "wants"),
        ("auth = true\ntools = [\"az\"]", "manifest.tools", "tools"),
        ("auth = true\nwants = [\"tool\"]\ntools = [\"{ref.path.0}\"]", "manifest.tools", "tools"),
        ("schemes = [\"env\"]\nwants = [\"tool\"]\ntools = [\"az\"]", "manifest.tools", "wants"),
        ("auth = true\n[prompt]\nuris = []", "manifest.prompt", "uris"),
        ("auth = true\n[prompt]\nuris = [\"http://x.example\"]", "manifest.prompt", "uris"),
        ("schemes = [\"env\"]\n[prompt]\nuris = [\"https://x.example\"]", "manifest.prompt", "uris"),
        ("auth = true\nsealed = [\"a\", \"a?\"]", "manifest.sealed", "sealed"),
        (&page("schemes = [\"env\"]", "https://x.example", "/a"), "manifest.browser", "browser"),
        (&page("auth = true", "http://x.example", "/a"), "manifest.browser", "origin"),
        (&page("auth = true", "{config.x}", "/a"), "manifest.browser", "origin"),
        (&page("auth = true", "https://{any}", "/a"), "manifest.browser", "origin"),
        (&page("auth = true", "https://{ref.authority}", "/a"), "manifest.browser", "origin"),
        (&page("auth = true", "https://{env.X}", "/a"), "manifest.value", "origin"),
        (&page("auth = true", "https://x.example/", "/a"), "manifest.value", "origin"),
        (&page("auth = true", "https://x.example", "a"), "manifest.value", "path"),
        (&page("auth = true", "https://x.example", "/a?b=c"), "manifest.value", "path"),
        (&page("auth = true", "https://x.example", "/../a"), "manifest.value", "path"),
        (&page("auth = true", "https://x.example", "/{any}"), "manifest.browser", "path"),
        (&page("auth = true", "https://x.example", "/{ref.path.0}"), "manifest.browser", "path"),
        (&page("auth = true", "https://x.example", "/{ref.path.0..}"), "manifest.browser", "path"),
        (&page("auth = true", "https://x.example", "/{env.X}"), "manifest.browser", "path"),
        (&page("auth = true", "https://x.example", "/a\"\nhosts = [\"x.example:443\"] #"), "manifest.browser", "hosts"),
        (&page("auth = true", "https://x.example", "/a\"\nquery = \"b"), "manifest.unknown-key", "query"),
        ("auth = true\n[[browser]]\norigin = \"https://x.example\"", "manifest.missing-key", "browser"),
        (&rule("origin = \"https://x.example\"\nallow = [\"POST /t\"]\ninject = {}"), "manifest.http", "inject"),
        (
            &rule("origin = \"https://x.example\"\nallow = [\"POST /t\"]\ninject = { form = { s = \"{sealed.s}\" } }"),
            "manifest.http",
            "http",
        ),
        (
            &rule("origin = \"https://x.example\"\nallow = [\"GET /t\"]\ninject = { form = { s = \"{kept}\" } }"),
            "manifest.http",
            "inject",
        ),
        (
            &rule("origin = \"http://x.example\"\nallow = [\"POST /t\"]\ninject = { form = { s = \"{kept}\" } }"),
            "manifest.http",
            "inject",
        ),
        (
            &rule("origin = \"https://x.example\"\nallow = [\"POST /t\"]\ninject = { header = \"x-a\" }"),
            "manifest.http",
            "inject",
        ),
        (
            &rule(
                "origin = \"https://x.example\"\nallow = [\"POST /t\"]\ninject = { header = \"host\", format = \"{kept}\" }",
            ),
            "manifest.http",
            "inject",
        ),
        (
            &rule("origin = \"https://x.example\"\nallow = [\"POST /t\"]\ninject = { challenge = \"basic\" }"),
            "manifest.http",
            "inject",
        ),
        (
            &rule("origin = \"https://x.example\"\nallow = [\"POST /t\"]\ninject = { form = { s = \"secret\" } }"),
            "manifest.value",
            "s",
        ),
        (&rule("endpoint = \"{env.E}\""), "manifest.http", "endpoint"),
        (&rule("endpoint = \"http://x\"\nmethods = [\"GET\"]"), "manifest.http", "endpoint"),
        (&rule("endpoint = \"{env.E}\"\nmethods = [\"GET\"]\nnetwork = \"public\""), "manifest.http", "network"),
        (
            &rule("endpoint = \"{env.E}\"\nmethods = [\"GET\"]\norigin = \"https://x.example\""),
            "manifest.http",
            "origin",
        ),
        (&rule("origin = \"https://x.example\"\nallow = [\"GET /\"]\nmethods = [\"GET\"]"), "manifest.http", "methods"),
        (
            &rule("origin = \"https://x.example\"\nallow = [\"GET /\"]\nnetwork = \"identity\""),
            "manifest.http",
            "network",
        ),
        (
            "schemes = [\"env\"]\nwants = [\"http\"]\n[[http]]\norigin = \"https://x.example\"\nallow = [\"POST /{request.tenant}\"]",
            "manifest.http",
            "http",
        ),
        (
            "schemes = [\"env\"]\nwants = [\"http\"]\n[[http]]\nendpoint = \"{env.E}\"\nmethods = [\"GET\"]",
            "manifest.http",
            "http",
        ),
        (&long, "manifest.too-large", ""),
    ];
    for (body, code, key) in table {
        let failure = parse(body).unwrap_err();
        assert_eq!(failure.code(), code, "{body}: {failure}");
        assert_eq!(failure.place().map(|p| p.excerpt.as_str()).unwrap_or_default(), key, "{body}: {failure}");
        assert_eq!(failure.kind(), Kind::InvalidConfig);
    }
}

const RULE: &str = "schemes = [\"keyvault\"]\nwants = [\"http\"]\n[[http]]\norigin = \"https://{ref.authority}\"\n\
                    hosts = [\"*.x.example\"]\nallow = [\"GET /secrets/{ref.path.1}\"]\n";

#[test]
fn a_rule_that_could_mean_more_than_it_says_is_refused() {
    let with = |line: &str| {
        let key = line.split([' ', '=']).next().unwrap();
        let kept: Vec<&str> = RULE.lines().filter(|l| !l.starts_with(&format!("{key} "))).collect();
        format!("{}\n{line}\n", kept.join("\n"))
    };
    let table = [
        ("origin = \"x.example\"", "manifest.value", "origin"),
        ("origin = \"ftp://x.example\"", "manifest.value", "origin"),
        ("origin = \"https://u@x.example\"", "manifest.value", "origin"),
        ("origin = \"https://x.example/p\"", "manifest.value", "origin"),
        ("origin = \"https://x.example.\"", "manifest.value", "origin"),
        ("origin = \"https://127.1\"", "manifest.value", "origin"),
        ("origin = \"https://x.example:0\"", "manifest.value", "origin"),
        ("origin = \"https://{ref.path.1}.x\"", "manifest.value", "origin"),
        ("origin = \"{ref.authority}\"", "manifest.value", "origin"),
        ("origin = \"{config.address}x\"", "manifest.value", "origin"),
        ("origin = \"https://{any}\"", "manifest.http", "hosts"),
        ("hosts = []", "manifest.http", "hosts"),
        ("hosts = [\"a*.x\"]", "manifest.value", "hosts"),
        ("hosts = [\"a.x.example:443\"]", "manifest.http", "hosts"),
        ("allow = []", "manifest.http", "allow"),
        ("allow = [\"/secrets\"]", "manifest.value", "allow"),
        ("allow = [\"get /secrets\"]", "manifest.value", "allow"),
        ("allow = [\"TRACE /\"]", "manifest.value", "allow"),
        ("allow = [\"CONNECT /\"]", "manifest.value", "allow"),
        ("allow = [\"* /\"]", "manifest.value", "allow"),
        ("allow = [\"GET secrets\"]", "manifest.value", "allow"),
        ("allow = [\"GET //x\"]", "manifest.value", "allow"),
        ("allow = [\"GET /a/../b\"]", "manifest.value", "allow"),
        ("allow = [\"GET /a%2fb\"]", "manifest.value", "allow"),
        ("allow = [\"GET /a?b\"]", "manifest.value", "allow"),
        ("allow = [\"GET /x{any}\"]", "manifest.value", "allow"),
        ("allow = [\"GET /{any..}\"]", "manifest.value", "allow"),
        ("allow = [\"GET /x{ref.path.1..}\"]", "manifest.value", "allow"),
        ("allow = [\"GET /{ref.path.7}\"]", "manifest.http", "http"),
        ("allow = [\"GET /{ref.path.7..}\"]", "manifest.http", "http"),
        ("on = []", "manifest.http", "on"),
        ("on = [\"acquire\"]", "manifest.http", "on"),
        ("on = [\"everything\"]", "manifest.value", "on"),
        ("query = { a = [] }", "manifest.value", "a"),
        ("query = { a = \"all\" }", "manifest.value", "a"),
        ("query = { \"\" = \"any\" }", "manifest.http", "query"),
        ("body = { \"/a\" = \"any\" }", "manifest.http", "body"),
        ("body = { \"a\" = [\"b\"] }", "manifest.value", "\"a\""),
        ("body = { \"/a\" = [\"{ref.path.1}\"] }", "manifest.http", "body"),
        ("allow = [\"PUT /\"]\nbody = { \"/a/*\" = [\"b\"], \"/b/*\" = [\"b\"] }", "manifest.http", "body"),
        ("allow = [\"PUT /\"]\nbody = { \"/a\" = [\"{ref.path.7}\"] }", "manifest.http", "http"),
        (
            "allow = [\"PUT /\"]\nbody = { \"/a\" = [\"b\"] }\nheaders = [\"content-encoding\"]",
            "manifest.http",
            "headers",
        ),
        ("discovers = { a = \"/*\" }", "manifest.http", "discovers"),
        ("discovers = { \"a.b\" = \"/a\" }", "manifest.http", "discovers"),
        ("origin = \"{discovered.a}\"", "manifest.http", "origin"),
        ("headers = [\"Authorization\"]", "manifest.http", "headers"),
        ("headers = [\"cookie\"]", "manifest.http", "headers"),
        ("headers = [\"Host: x\"]", "manifest.http", "headers"),
        ("headers = [\"x-http-method-override\"]", "manifest.http", "headers"),
        ("headers = [\"transfer-encoding\"]", "manifest.http", "headers"),
        ("headers = [\"x y\"]", "manifest.http", "headers"),
        ("headers = [\"x-a\", \"x-a: b\"]", "manifest.http", "headers"),
        ("answers = [\"set-cookie\"]", "manifest.http", "answers"),
        ("answers = [\"location\"]", "manifest.http", "answers"),
        ("network = \"all\"", "manifest.value", "network"),
        ("network = [\"0.0.0.0/33\"]", "manifest.value", "network"),
        ("credential = {}", "manifest.missing-key", "credential"),
        ("credential = { audience = \"x\" }", "manifest.http", "credential"),
        ("credential = { audience = \"https://x.example\", header = \"host\" }", "manifest.http", "credential"),
        ("credential = { audience = \"https://x.example\", header = \"accept\" }", "manifest.http", "credential"),
        ("credential = { audience = \"https://x.example\", format = \"x\" }", "manifest.http", "credential"),
        (
            "credential = { audience = \"https://x.example\", format = \"{token}{token}\" }",
            "manifest.http",
            "credential",
        ),
        ("http3 = true", "manifest.unknown-key", "http3"),
    ];
    assert!(parse(RULE).is_ok());
    for (line, code, key) in table {
        let failure = parse(&with(line)).unwrap_err();
        assert_eq!(failure.code(), code, "{line}: {failure}");
        assert_eq!(failure.place().map(|p| p.excerpt.as_str()).unwrap_or_default(), key, "{line}: {failure}");
    }
    let told = RULE.replace("https://{ref.authority}", "{discovered.a}") + "discovers = { a = \"/a\" }\n";
    assert!(parse(&told).is_ok());
    let whole = [
        (told.replace("hosts = [\"*.x.example\"]\n", ""), ""),
        ("schemes = [\"env\"]\nwants = [\"http\"]".to_owned(), "wants"),
        (RULE.replace("wants = [\"http\"]\n", ""), "http"),
        (RULE.replace("[\"http\"]", "[\"http\", \"store\"]"), "wants"),
        (RULE.replace("[\"http\"]", "[\"http\", \"store-and-http\"]"), "wants"),
        (
            format!("{RULE}headers = [\"x-token\"]\n{}", RULE.split_once('\n').unwrap().1.split_once('\n').unwrap().1)
                + "credential = { audience = \"https://x.example\", header = \"X-Token\" }",
            "headers",
        ),
        (
            "auth = true\nwants = [\"http\"]\n[[http]]\norigin = \"https://x.example\"\nallow = [\"POST /t\"]\n\
             credential = { audience = \"https://x.example\" }"
                .to_owned(),
            "credential",
        ),
        (
            "auth = true\nwants = [\"http\"]\n[[http]]\norigin = \"https://x.example\"\nallow = [\"POST /t\"]\n\
             on = [\"resolve\"]"
                .to_owned(),
            "on",
        ),
    ];
    for (text, key) in whole {
        let failure = parse(&text).unwrap_err();
        assert_eq!(failure.code(), "manifest.http", "{text}: {failure}");
        assert_eq!(failure.place().map(|p| p.excerpt.as_str()).unwrap_or_default(), key, "{text}: {failure}");
    }
}

#[test]
fn a_page_of_a_sign_in_stands_in_the_lock_with_every_field_and_any_change_is_growth() {
    let all = "auth = true\n[[browser]]\norigin = \"https://x.example\"\nhosts = [\"x.example\"]\npath = \"/{request.tenant}/a\"";
    let rights = |text: &str| Rights::new(&parse(text).unwrap(), [], []);
    let base = rights(all);
    for line in base.rights.iter().map(ToString::to_string) {
        assert_eq!(Right::parse(&line).map(|right| right.to_string()), Some(line));
    }
    assert_eq!(
        base.in_words().iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "may open https://x.example/{request.tenant}/a in the browser of a person who signs in, where the host is x.example"
        ]
    );
    for (from, to) in [
        ("https://x.example", "https://y.example"),
        ("hosts = [\"x.example\"]\n", ""),
        ("[\"x.example\"]", "[\"x.example\", \"*.x.example\"]"),
        ("/{request.tenant}/a", "/common/a"),
    ] {
        let other = all.replace(from, to);
        assert_ne!(all, other, "{from}");
        assert!(!rights(&other).since(&base).is_narrowing(), "{from} to {to}");
        assert!(!base.since(&rights(&other)).is_narrowing(), "{to} to {from}");
    }
    assert!(rights("auth = true").since(&base).is_narrowing());
}

#[test]
fn a_page_is_the_one_of_its_rule_for_this_config_and_tenant() {
    let text = "auth = true\n[[browser]]\norigin = \"https://{config.host}\"\nhosts = [\"a.example\", \"*.b.example\"]\n\
                path = \"/{request.tenant}/authorize\"";
    let manifest = parse(text).unwrap();
    assert_eq!(manifest.check().unwrap_err().code(), "manifest.schema", "the config must describe `host`");
    let rule = manifest.browser.first().unwrap();
    let table = [
        ("a.example", Some("t"), "https://a.example", vec!["t", "authorize"], true),
        ("x.b.example", Some("t"), "https://x.b.example", vec!["t", "authorize"], true),
        ("c.example", Some("t"), "https://c.example", vec!["t", "authorize"], false),
        ("a.example", Some("t"), "http://a.example", vec!["t", "authorize"], false),
        ("a.example", Some("t"), "https://a.example:444", vec!["t", "authorize"], false),
        ("a.example", Some("t"), "https://x.b.example", vec!["t", "authorize"], false),
        ("a.example", Some("u"), "https://a.example", vec!["t", "authorize"], false),
        ("a.example", None, "https://a.example", vec!["t", "authorize"], false),
        ("a.example", Some("t"), "https://a.example", vec!["t", "authorize", "x"], false),
        ("a.example", Some("t"), "https://a.example", vec!["t", "Authorize"], false),
        ("a.example", Some("t/u"), "https://a.example", vec!["t", "u", "authorize"], false),
    ];
    for (host, tenant, origin, path, admitted) in table {
        let facts = match tenant {
            Some(tenant) => json!({"host": host, TENANT: tenant}),
            None => json!({"host": host}),
        };
        let path: Vec<String> = path.into_iter().map(str::to_owned).collect();
        let origin = crate::Origin::parse(origin).unwrap();
        assert_eq!(rule.admits(&origin, &path, &facts), admitted, "{host} {tenant:?} {origin} {path:?}");
    }
}

#[test]
fn a_rule_stands_in_the_lock_with_every_field_and_any_change_is_growth() {
    let all = format!(
        "{RULE}on = [\"resolve\", \"put\"]\nquery = {{ v = [\"1\", \"{{ref.selector.version}}\"], w = \"any\" }}\n\
         headers = [\"x-a\", \"x-b: c\"]\nanswers = [\"x-d\"]\nhttp2 = true\ndiscovers = {{ next = \"/links/next\" }}\n\
         body = {{ \"/a/*\" = [\"{{ref.path.1}}\"], \"/b\" = [\"x\", \"y\"] }}\nnetwork = [\"10.0.0.0/8\"]\n\
         credential = {{ audience = \"https://x.example\", header = \"X-Key\", format = \"k {{token}}\" }}\n"
    );
    let all = all.replace("GET /", "PUT /");
    let rights = |text: &str| Rights::new(&parse(text).unwrap(), [], []);
    let base = rights(&all);
    let lines: Vec<String> = base.rights.iter().map(ToString::to_string).collect();
    for line in &lines {
        assert_eq!(Right::parse(line).map(|right| right.to_string()).as_ref(), Some(line));
    }
    assert_eq!(lines.iter().filter(|line| line.starts_with("http ")).count(), 2, "{lines:?}");
    for (from, to) in [
        ("\"resolve\", \"put\"", "\"resolve\", \"put\", \"remove\""),
        ("PUT /secrets/{ref.path.1}", "PUT /secrets"),
        ("/a/*", "/a"),
        ("\"/a/*\" = [\"{ref.path.1}\"], ", ""),
        ("[\"x\", \"y\"]", "[\"x\", \"y\", \"z\"]"),
        ("next = \"/links/next\"", "next = \"/next\""),
        ("next = \"/links/next\"", "last = \"/links/next\""),
        ("*.x.example", "*.y.example"),
        ("[\"1\", ", "[\"1\", \"2\", "),
        ("w = \"any\"", "w = \"any\", u = \"any\""),
        ("\"x-b: c\"", "\"x-b: d\""),
        ("[\"x-d\"]", "[\"x-d\", \"x-e\"]"),
        ("10.0.0.0/8", "10.0.0.0/7"),
        ("http2 = true\n", ""),
        ("audience = \"https://x.example\"", "audience = \"https://z.x.example\""),
        ("X-Key", "X-Other"),
        ("k {token}", "{token}"),
    ] {
        let changed = all.replace(from, to);
        assert_ne!(changed, all, "{from}");
        assert!(!rights(&changed).since(&base).is_narrowing(), "{from} -> {to}");
    }
    assert!(rights(&all.replace("\"resolve\", \"put\"", "\"resolve\"")).since(&base).is_narrowing());
}

#[test]
fn names_versions_and_bytes_are_checked() {
    let with = |name: &str, version: &str| {
        let text = format!("name = \"{name}\"\nversion = \"{version}\"\nschemes = [\"env\"]");
        Manifest::parse(text.as_bytes(), Text::new("p")).map(|_| ()).map_err(|f| f.code().to_owned())
    };
    for good in ["0.1.0", "10.20.30", "1.0.0-rc.1", "1.0.0+sha-5", "1.0.0-a+b"] {
        assert_eq!(with("x", good), Ok(()), "{good}");
    }
    let long = format!("1.0.0-{}", "a".repeat(MAX_VERSION_BYTES));
    for bad in [
        "",
        "1",
        "1.0",
        "1.0.0.0",
        "v1.0.0",
        "01.0.0",
        "1.0.-1",
        "1.0.0-",
        "1.0.0+",
        "1.0.0-a..b",
        "1.0.0 ",
        "1.0.ä",
        &long,
    ] {
        assert_eq!(with("x", bad).unwrap_err(), "manifest.version", "{bad}");
    }
    assert_eq!(with("X", "1.0.0").unwrap_err(), "manifest.value");
    let failure = Manifest::parse(b"name = \"\xff\"", Text::new("p")).unwrap_err();
    assert_eq!(failure.code(), "manifest.utf8");
}

#[test]
fn no_error_repeats_a_value() {
    for body in [
        "schemes = [\"Canary\"]",
        "schemes = [\"env\"]\nwants = [\"canary\"]",
        "schemes = [\"env\"]\nbatch = \"canary\"",
        "schemes = [\"env\"]\nbatch = [\"canary\"]",
        "schemes = \"canary\"",
        "schemes = [\"env\"]\ndescription = [\"canary\"]",
        "schemes = [\"acme\"]\n[reference]\npath = [\"Canary\"]",
        "schemes = [\"env\"]\nwants = [\"env\"]\n[env]\nnames = [\"{canary}\"]",
        "schemes = [\"keys\"]\nwants = [\"store\"]\n[store]\nprefix = \"canary\"",
        "schemes = [\"env\"]\ndescription = canary",
    ] {
        let failure = parse(body).unwrap_err();
        let all = format!("{failure:?}{failure}{:?}{:?}", failure.helps(), failure.place()).to_lowercase();
        assert!(!all.contains("canary"), "{body}: {all}");
    }
}

#[test]
fn a_call_reaches_only_what_its_reference_names() {
    let manifest = parse(
        "schemes = [\"keys\"]\nwants = [\"store\"]\nbatch = \"all\"\n[store]\nprefix = \"{ref.path.0}/{ref.path.1}/\"",
    )
    .unwrap();
    let config = json!({});
    assert_eq!(manifest.store_prefix(&reference("keys://g/n"), &config).unwrap(), "g/n/");
    let failure = manifest.store_prefix(&reference("keys://g"), &config).unwrap_err();
    assert_eq!(failure.code(), "reference.store-prefix", "a shorter reference must not see more");
    assert_eq!(manifest.store_prefix_of_scope(&reference("keys://g"), &config).unwrap(), "g/");
    assert_eq!(
        manifest.group_key(&reference("keys://g/n?version=1")),
        manifest.group_key(&reference("keys://g/n?version=2"))
    );
    assert_ne!(manifest.group_key(&reference("keys://g/n")), manifest.group_key(&reference("keys://g/m")));
}

#[test]
fn references_are_grouped_as_the_manifest_says() {
    let by = |batch: &str, a: &str, b: &str| {
        let manifest = parse(&format!("schemes = [\"azureml\"]\nbatch = {batch}")).unwrap();
        let (a, b) = (manifest.group_key(&reference(a)), manifest.group_key(&reference(b)));
        a.is_some() && a == b
    };
    let (a, b, c) =
        ("azureml://connections/x/credentials/k", "azureml://connections/x/target", "azureml://connections/y/target");
    assert!(!by("\"none\"", a, a));
    assert!(by("\"all\"", a, c));
    assert!(by("[\"path.1\"]", a, b));
    assert!(!by("[\"path.1\"]", b, c));
}

#[test]
fn a_variable_is_read_only_if_the_reference_names_it() {
    let manifest = parse(
        "schemes = [\"acme\"]\nwants = [\"env\"]\n[env]\nnames = [\"{ref.path.0}\"]\n[reference]\npath = [\"name?\"]",
    )
    .unwrap();
    let mut shapes = Shapes::builtin();
    assert!(shapes.insert("acme", manifest.shape().unwrap()));
    let names = |text: &str| {
        let reference = Reference::parse(text, &shapes).unwrap();
        manifest.env_names(&reference, &json!({})).into_iter().collect::<Vec<_>>()
    };
    assert_eq!(names("acme://A"), ["A"]);
    assert!(names("acme://").is_empty());
    assert!(names("acme://A%3DB").is_empty(), "no variable has such a name");
}

#[test]
fn config_is_checked_and_given_in_one_form() {
    let manifest = parse("schemes = [\"env\"]\n[config.properties]\nb = true\na = {}\n").unwrap();
    assert_eq!(
        manifest.check_config(&json!({"b": {"y": [1, null], "x": "ü\"\n"}, "a": 1.5})).unwrap(),
        "{\"a\":1.5,\"b\":{\"x\":\"ü\\\"\\n\",\"y\":[1,null]}}"
    );
    assert_eq!(manifest.check_config(&json!({"c": 1})).unwrap_err().code(), "config.plugin-config");
    let none = parse("schemes = [\"env\"]").unwrap();
    assert_eq!(none.check_config(&json!({})).unwrap(), "{}");
    let failure = none.check_config(&json!({"a": "canary"})).unwrap_err();
    assert_eq!(failure.message().as_str(), "the plugin x takes no `config`");
}

#[test]
fn what_parsing_leaves_is_found_by_check() {
    let broken = parse("schemes = [\"env\"]\n[config]\nproperties.a.type = \"strin\"").unwrap();
    assert_eq!(broken.check().unwrap_err().code(), "manifest.schema");
    let unnamed = parse("schemes = [\"keys\"]\nwants = [\"store\"]\n[store]\nprefix = \"{config.team}/\"").unwrap();
    assert_eq!(unnamed.check().unwrap_err().code(), "manifest.schema");
}

#[test]
fn what_a_mount_is_told_is_a_right_and_described() {
    let text = "schemes = [\"env\"]\n[[config-from]]\nenv = { a = \"A\", b = \"B\" }\n\
                [[config-from]]\nfiles = [\".x/a.json\", \"a.json\"]\nkeys = { a = \"/a\", b = \"/in~1/b\" }\n";
    let manifest =
        parse(&format!("{text}[config]\nrequired = [\"a\"]\n[config.properties]\na = {{}}\nb = {{}}\n")).unwrap();
    assert!(manifest.check().is_ok());
    assert_eq!(manifest.untold(&json!({"b": "x"})), BTreeSet::from(["a"]));
    let rights = Rights::new(&manifest, [], []);
    let lines: Vec<String> = rights.rights.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "scheme env",
            r#"config-from { env = { a = "A", b = "B" } }"#,
            r#"config-from { files = [".x/a.json", "a.json"], keys = { a = "/a", b = "/in~1/b" } }"#,
        ]
    );
    for line in &lines {
        assert_eq!(Right::parse(line).map(|right| right.to_string()).as_ref(), Some(line));
    }
    assert!(rights.in_words().iter().any(|words| words.as_str().contains("environment variables A, B")));
    for schema in ["", "[config.properties]\na = {}\n", "[config.properties]\na = {}\nb = { default = 1 }\n"] {
        assert_eq!(
            parse(&format!("{text}{schema}")).unwrap().check().unwrap_err().code(),
            "manifest.schema",
            "{schema}"
        );
    }
}
