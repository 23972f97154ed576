//! `decide` against the naive decision, over requests that nearly fit.
//!
//! Rules, references and a config are drawn from small pools, a request is made to fit one of the
//! rules, and then up to three things about it are changed. So about a third of all requests are
//! allowed, and most others fail by one detail.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};
use strongroom_core::manifest::Function;
use strongroom_core::{HostPattern, Manifest, Network, Reference, Shape, Shapes, Text};
use strongroom_egress::decide::{decide, is_reserved};
use strongroom_egress::target::Target;
use strongroom_egress::{Asked, Terms};

use crate::{bridge, naive};

const CASES: u32 = 24_000;

const ORIGINS: &[&str] = &[
    "https://a.vault.example",
    "https://a.vault.example:8443",
    "http://b.vault.example",
    "https://{ref.authority}",
    "https://{ref.authority}",
    "http://{ref.authority}",
    "{config.address}",
    "https://{any}",
    "http://{any}",
    "https://{config.zone}.vault.example",
    "https://{config.zone}.{ref.authority}",
    "https://10.0.0.1",
    "https://[2001:db8::1]:8443",
];
const HOSTS: &[&str] = &[
    "*.vault.example",
    "a.vault.example",
    "B.Vault.Example",
    "*.*.example",
    "a.vault.example:8443",
    "*.vault.example:8443",
    "a.vault.example:8444",
    "10.0.0.1",
    "*",
];
const ROUTES: &[&str] = &[
    "GET /v1/{ref.path.0}/data/{ref.path.1}",
    "GET /v1/{ref.path.1..}",
    "GET /v1/{ref.path.0..}/end",
    "GET /",
    "GET /list/",
    "GET /x/{any}",
    "GET /{any}/{any}",
    "HEAD /p q/\u{fc}",
    "POST /{config.zone}/{ref.selector.version}",
    "POST /",
    "PUT /v1/{ref.path.0}",
    "PUT /{ref.authority}",
    "PATCH /a/{config.list}",
    "PATCH /a/{config.n}",
    "DELETE /v1/{ref.path.0}/x-{ref.path.1}",
];
const QUERY: &[(&str, &[&str])] = &[
    ("version", &["{ref.selector.version}", "0"]),
    ("cursor", &[]),
    ("api-version", &["7.4"]),
    ("p", &["{config.zone}", "{ref.path.1}"]),
    ("q r", &[]),
];
const HEADERS: &[&str] = &[
    "x-request-id",
    "x-space: {config.zone}",
    "X-Op: read",
    "x-op: list",
    "x-tok",
    "content-type: application/json",
    "accept: {ref.path.0}",
];
const AUDIENCES: &[&str] = &[
    "https://vault.example",
    "https://a.vault.example/",
    "https://other.example",
    "https://ult.example",
    "https://{ref.authority}",
    "{config.address}",
    "api://x",
];
const REFERENCES: &[&str] = &[
    "acme://a.vault.example/team/db?version=3",
    "acme://b.vault.example/team/db/main",
    "acme://a.vault.example:8443/ops/key?version=7",
    "acme://A.Vault.Example/t%20m/d%25b",
    "acme://a.vault.example:443/a/%C3%BC?version=b/c",
    "acme://vault.example/one/two",
    "acme://10.0.0.1/x/%7Bref.path.0%7D",
    "acme://127.1/x/y",
    "acme://evil.example/team/db",
    "acme://a.vault.example/a/b%2Bc/d?version=%26x%3D1",
];
const METHODS: &[&str] =
    &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "get", "TRACE", "CONNECT", "OPTIONS", "", "GET /x"];
const PLACES: &[&str] = &[
    "a.vault.example",
    "b.vault.example",
    "a.vault.example:443",
    "a.vault.example:8443",
    "evil.example",
    "vault.example",
    "a.b.vault.example",
    "10.0.0.1",
    "10.1",
    "0x0a000001",
    "[2001:db8::1]:8443",
    "[2001:DB8:0::1]:8443",
    "[::ffff:10.0.0.1]",
    "",
    ":443",
    "a.vault.example:",
    "a.vault.example:0",
    "a.vault.example:080",
    "a.vault.example:65536",
    "a.vault.example.",
    "a..example",
    "a.vault.ex\u{e4}mple",
    "user@a.vault.example",
    "a.vault.example@evil.example",
    "a.vault.example/x",
    "a.vault.example\\.evil.example",
    "a.vault.example#",
    "a%2evault.example",
];
const SNIPPETS: &[&str] = &[
    "/", "//", "/.", "/..", "/../", "%2e", "%2E%2e", "%2f", "%5C", "\\", "%00", "%0a", "%7f", "%C2%85", "%", "%4",
    "%zz", "%ff", "%20", " ", "+", "%2B", "#", "?", "&", "=", ";", ":", "@", "\u{fc}", "%C3%BC", "%25", "%252e", "{",
    "%7B", "a", "\t", "\r\n", "|",
];
const PAIRS: &[&str] = &[
    "version=3",
    "version=0",
    "version=4",
    "version",
    "cursor=x",
    "cursor=",
    "%63ursor=y",
    "api-version=7.4",
    "api-version=7.5",
    "API-Version=7.4",
    "q%20r=1",
    "q+r=1",
    "evil=1",
    "=x",
    "p=a",
    "",
];
const SET: &[(&str, &str)] = &[
    ("accept", "text/plain"),
    ("Accept", "team"),
    ("Content-Type", "application/json"),
    ("content-type", "text/plain"),
    ("Content-Length", "3"),
    ("If-Match", "\"x\""),
    ("if-none-match", "*"),
    ("X-Request-ID", "1"),
    ("x-space", "a"),
    ("X-SPACE", "b"),
    ("x-op", "read"),
    ("x-op", "list"),
    ("x-op", "delete"),
    ("x-tok", "t"),
    ("X-Vault-Token", "t"),
    ("Authorization", "Bearer t"),
    ("cookie", "a=b"),
    ("Host", "evil.example"),
    ("transfer-encoding", "chunked"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("x-other", "1"),
];

/// One change to a request.
#[derive(Debug, Clone)]
enum Change {
    Method(&'static str),
    Scheme(&'static str),
    Place(&'static str),
    Port(u16),
    UpperHost,
    /// Percent-encodes one character of the target, in upper or lower case.
    Encode(usize, bool),
    Insert(usize, &'static str),
    Remove(usize),
    Pair(&'static str),
    PairTwice(usize),
    WithoutPair(usize),
    /// Another reference's words in the place of this one's.
    PathOf(usize),
    PlaceOf(usize),
    Absolute,
    Header(&'static str, &'static str),
    HeaderTwice(usize),
    ManyHeaders,
    LongHeader(usize),
    HeaderBytes,
    Body(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        1 => select(METHODS).prop_map(Change::Method),
        1 => select(&["https", "http", "HTTPS", "ftp", ""][..]).prop_map(Change::Scheme),
        2 => select(PLACES).prop_map(Change::Place),
        1 => select(&[80, 443, 8443, 1, 65535][..]).prop_map(Change::Port),
        1 => Just(Change::UpperHost),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(at, upper)| Change::Encode(at, upper)),
        3 => (any::<usize>(), select(SNIPPETS)).prop_map(|(at, text)| Change::Insert(at, text)),
        1 => any::<usize>().prop_map(Change::Remove),
        2 => select(PAIRS).prop_map(Change::Pair),
        1 => any::<usize>().prop_map(Change::PairTwice),
        1 => any::<usize>().prop_map(Change::WithoutPair),
        2 => any::<usize>().prop_map(Change::PathOf),
        1 => any::<usize>().prop_map(Change::PlaceOf),
        1 => Just(Change::Absolute),
        3 => select(SET).prop_map(|(name, value)| Change::Header(name, value)),
        1 => any::<usize>().prop_map(Change::HeaderTwice),
        1 => Just(Change::ManyHeaders),
        1 => select(&[8192, 8193][..]).prop_map(Change::LongHeader),
        1 => Just(Change::HeaderBytes),
        1 => select(&[0, 1, 4096][..]).prop_map(Change::Body),
    ]
}

/// Which rule, reference and route a request is made for, and how it is changed then.
#[derive(Debug, Clone)]
struct Plan {
    rule: usize,
    reference: usize,
    route: usize,
    words: Vec<&'static str>,
    pairs: Vec<usize>,
    headers: Vec<usize>,
    body: usize,
    changes: Vec<Change>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let changes = prop_oneof![
        4 => Just(Vec::new()),
        4 => prop::collection::vec(change(), 1..=1),
        1 => prop::collection::vec(change(), 2..=3),
    ];
    (
        any::<(usize, usize, usize)>(),
        prop::collection::vec(select(&["w", "\u{fc}b", "a b", "{any}", "x%y"][..]), 2),
        prop::collection::vec(any::<usize>(), 0..3),
        prop::collection::vec(any::<usize>(), 0..3),
        select(&[0, 0, 5][..]),
        changes,
    )
        .prop_map(|((rule, reference, route), words, pairs, headers, body, changes)| Plan {
            rule,
            reference,
            route,
            words,
            pairs,
            headers,
            body,
            changes,
        })
}

fn texts(pool: &'static [&'static str], counts: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<String>> {
    subsequence(pool, counts).prop_map(|texts| texts.into_iter().map(str::to_owned).collect())
}

fn rule() -> impl Strategy<Value = naive::Rule> {
    (
        texts(&["resolve", "names", "put"], 2..=3),
        select(ORIGINS),
        prop_oneof![1 => Just(Vec::new()), 2 => texts(HOSTS, 1..=5)],
        texts(ROUTES, 1..=5),
        subsequence(QUERY, 0..=3),
        texts(HEADERS, 0..=3),
        prop::option::of((select(AUDIENCES), select(&["authorization", "X-Vault-Token", "x-tok"][..]))),
        select(&["public", "private", "10.0.0.0/8"][..]),
        any::<bool>(),
    )
        .prop_map(|(on, origin, hosts, allow, query, headers, credential, network, http2)| naive::Rule {
            on,
            origin: origin.to_owned(),
            hosts,
            allow,
            query: query
                .into_iter()
                .map(|(key, values)| {
                    let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
                    (key.to_owned(), (!values.is_empty()).then_some(values))
                })
                .collect(),
            headers,
            credential: credential.map(|(audience, header)| (audience.to_owned(), header.to_owned())),
            network: network.to_owned(),
            http2,
            // What bodies name has tables of its own (`tables.rs`, `egress::body`).
            body: Vec::new(),
        })
}

/// What no manifest may say, said in another way.
fn mended(mut rules: Vec<naive::Rule>) -> Vec<naive::Rule> {
    for rule in &mut rules {
        if rule.origin.ends_with("{any}") {
            rule.hosts.retain(|host| !host.contains('*'));
        }
        if rule.hosts.is_empty() && (rule.origin.contains("{ref.") || rule.origin.ends_with("{any}")) {
            rule.hosts.push("a.vault.example".to_owned());
        }
        if rule.origin.starts_with("http://") {
            rule.credential = None;
        }
        if let Some((audience, _)) = &mut rule.credential
            && audience == "api://x"
            && rule.hosts.iter().any(|host| host.contains('*'))
        {
            *audience = "https://vault.example".to_owned();
        }
    }
    let injected = rules.iter().any(|rule| rule.credential.as_ref().is_some_and(|(_, header)| header == "x-tok"));
    for rule in rules.iter_mut().filter(|_| injected) {
        rule.headers.retain(|header| header != "x-tok");
    }
    rules
}

/// The rules as an author would write them.
fn manifest(rules: &[naive::Rule]) -> String {
    let mut text = "name = \"p\"\nversion = \"1.0.0\"\nschemes = [\"acme\"]\nwants = [\"http\"]\n\
                    [reference]\nauthority = true\npath = [\"space\", \"path*\"]\n"
        .to_owned();
    for rule in rules {
        let list = |items: &[String]| Value::from(items.to_vec()).to_string();
        text += "[[http]]\n";
        text += &format!("on = {}\norigin = {:?}\n", list(&rule.on), rule.origin);
        text += &format!("hosts = {}\nallow = {}\n", list(&rule.hosts), list(&rule.allow));
        text += &format!("headers = {}\nhttp2 = {}\n", list(&rule.headers), rule.http2);
        for (key, values) in &rule.query {
            text +=
                &format!("query.{key:?} = {}\n", values.as_ref().map_or("\"any\"".to_owned(), |values| list(values)));
        }
        if let Some((audience, header)) = &rule.credential {
            text += &format!("credential = {{ audience = {audience:?}, header = {header:?} }}\n");
        }
        text += &match rule.network.as_str() {
            range if range.contains('/') => format!("network = [{range:?}]\n"),
            word => format!("network = {word:?}\n"),
        };
    }
    text
}

fn config() -> impl Strategy<Value = Value> {
    let zone = select(vec![json!("a"), json!("A"), json!("a.b"), json!("a/b"), json!(""), json!(7), json!(null)]);
    let address = select(vec![
        json!("https://a.vault.example"),
        json!("https://A.vault.example:443/"),
        json!("http://b.vault.example:8080"),
        json!("https://10.0.0.1:8200"),
        json!("https://a.vault.example/x"),
        json!("ftp://a.vault.example"),
        json!(8),
    ]);
    (zone, address, select(vec![json!(".."), json!("x"), json!(3), json!(true)])).prop_map(|(zone, address, n)| {
        let mut config = json!({"list": ["x"], "zone": zone, "address": address, "n": n});
        config.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        config
    })
}

fn shapes() -> Shapes {
    let mut shapes = Shapes::builtin();
    assert!(shapes.insert("acme", Shape::uri(true, &["space", "path*"]).unwrap()));
    shapes
}

/// A request in parts that can be changed.
#[derive(Debug, Clone)]
struct Request {
    method: String,
    scheme: String,
    authority: String,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// A request that fits, as far as one can.
fn request(
    plan: &Plan,
    function: Function,
    rules: &[naive::Rule],
    references: &[Reference],
    config: &Value,
) -> Request {
    let serves = |rule: &&naive::Rule| rule.on.iter().any(|on| on == function.name());
    let serving: Vec<&naive::Rule> = rules.iter().filter(serves).collect();
    let rule = plan.rule.checked_rem(serving.len()).map_or(&rules[0], |at| serving[at]);
    let at = plan.reference.checked_rem(references.len());
    let reference = at.map(|at| &references[at]);
    let fill = |text: &str| naive::fill(text, reference, config, true).unwrap_or_else(|| "nothing".to_owned());
    let origin = match fill(&rule.origin.replace("{any}", &rule.hosts.join("|"))) {
        origin if origin.contains('|') => origin.split('|').next().unwrap().to_owned(),
        origin => origin,
    };
    let (scheme, authority) = origin.trim_end_matches('/').split_once("://").unwrap_or(("https", "nowhere"));
    let (method, path) = rule.allow[plan.route % rule.allow.len()].split_once(' ').unwrap();
    let mut words = plan.words.iter().cycle();
    let segments = path[1..].split('/').flat_map(|part| match part {
        "{any}" => vec![(*words.next().unwrap()).to_owned()],
        _ => match part.strip_prefix("{ref.path.").and_then(|rest| rest.strip_suffix("..}")) {
            Some(from) => {
                let from: usize = from.parse().unwrap();
                reference.and_then(|reference| reference.path.get(from..)).unwrap_or_default().to_vec()
            }
            None => vec![fill(part)],
        },
    });
    let segments: Vec<String> = segments.map(|segment| naive::encoded(&segment, "")).collect();
    let mut pairs = BTreeMap::new();
    for pick in plan.pairs.iter().filter(|_| !rule.query.is_empty()) {
        let (key, values) = &rule.query[pick % rule.query.len()];
        let value = values.as_ref().map_or("any?".to_owned(), |values| fill(&values[pick / 8 % values.len()]));
        pairs.insert(naive::encoded(key, ""), naive::encoded(&value, "/"));
    }
    let pairs: Vec<String> = pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mark = if pairs.is_empty() { "" } else { "?" };
    let mut headers = BTreeMap::new();
    for pick in plan.headers.iter().filter(|_| !rule.headers.is_empty()) {
        let header = &rule.headers[pick % rule.headers.len()];
        let (name, value) = header.split_once(": ").unwrap_or((header, "free"));
        headers.insert(name.to_lowercase(), fill(value).into_bytes());
    }
    Request {
        method: method.to_owned(),
        scheme: scheme.to_owned(),
        authority: authority.to_owned(),
        target: format!("/{}{mark}{}", segments.join("/"), pairs.join("&")),
        headers: headers.into_iter().collect(),
        body: vec![b' '; if method == "GET" || method == "HEAD" { 0 } else { plan.body }],
    }
}

/// A place in the text where a character begins.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at % (text.len() + 1)).rev().find(|at| text.is_char_boundary(*at)).unwrap()
}

fn apply(change: &Change, request: &mut Request, references: &[Reference]) {
    match change {
        Change::Method(method) => request.method = (*method).to_owned(),
        Change::Scheme(scheme) => request.scheme = (*scheme).to_owned(),
        Change::Place(place) => request.authority = (*place).to_owned(),
        Change::Port(port) => {
            let host = request.authority.rsplit_once(':').map_or(&*request.authority, |(host, _)| host);
            request.authority = format!("{host}:{port}");
        }
        Change::UpperHost => request.authority = request.authority.to_uppercase(),
        Change::Encode(at, upper) => {
            let at = boundary(&request.target, *at);
            if let Some(c) = request.target[at..].chars().next() {
                let encode = |b: u8| if *upper { format!("%{b:02X}") } else { format!("%{b:02x}") };
                let text: String = c.to_string().bytes().map(encode).collect();
                request.target.replace_range(at..at + c.len_utf8(), &text);
            }
        }
        Change::Insert(at, text) => request.target.insert_str(boundary(&request.target, *at), text),
        Change::Remove(at) => {
            let at = boundary(&request.target, *at);
            if at < request.target.len() {
                request.target.remove(at);
            }
        }
        Change::Pair(pair) => {
            request.target.push(if request.target.contains('?') { '&' } else { '?' });
            request.target += pair;
        }
        Change::PairTwice(at) => {
            if let Some((_, query)) = request.target.split_once('?') {
                let pair = query.split('&').nth(at % query.split('&').count()).unwrap().to_owned();
                request.target += &format!("&{pair}");
            }
        }
        Change::WithoutPair(at) => {
            if let Some((path, query)) = request.target.split_once('?') {
                let mut pairs: Vec<&str> = query.split('&').collect();
                pairs.remove(at % pairs.len());
                request.target = format!("{path}?{}", pairs.join("&"));
            }
        }
        Change::PathOf(at) if !references.is_empty() => {
            let words = &references[at % references.len()].path;
            let mut segments: Vec<String> = request.target.split('/').map(str::to_owned).collect();
            let place = 1 + at % (segments.len().max(2) - 1);
            if let Some(segment) = segments.get_mut(place) {
                *segment = naive::encoded(&words[at / 8 % words.len()], "");
            }
            request.target = segments.join("/");
        }
        Change::PlaceOf(at) if !references.is_empty() => {
            request.authority = references[at % references.len()].authority.clone().unwrap();
        }
        Change::PathOf(_) | Change::PlaceOf(_) => {}
        Change::Absolute => {
            request.target = format!("{}://{}{}", request.scheme, request.authority, request.target);
        }
        Change::Header(name, value) => request.headers.push(((*name).to_owned(), value.as_bytes().to_vec())),
        Change::HeaderTwice(at) => {
            if let Some(at) = at.checked_rem(request.headers.len()) {
                request.headers.push(request.headers[at].clone());
            }
        }
        Change::ManyHeaders => {
            request.headers.extend((0..65).map(|index| (format!("x-{index}"), Vec::new())));
        }
        Change::LongHeader(length) => request.headers.push(("accept".to_owned(), vec![b'a'; *length])),
        Change::HeaderBytes => request.headers.push(("if-match".to_owned(), vec![b'a', 0xe4])),
        Change::Body(length) => request.body = vec![b' '; *length],
    }
}

#[derive(Debug, Clone)]
struct Case {
    function: Function,
    rules: Vec<naive::Rule>,
    references: Vec<&'static str>,
    config: Value,
    hosts: Vec<String>,
    network: Option<&'static str>,
    plans: Vec<Plan>,
}

fn case() -> impl Strategy<Value = Case> {
    (
        prop_oneof![
            6 => Just(Function::Resolve),
            3 => select(&[Function::Names, Function::Put][..]),
            1 => Just(Function::Versions),
        ],
        prop::collection::vec(rule(), 1..=3).prop_map(mended),
        prop_oneof![1 => Just(Vec::new()), 9 => subsequence(REFERENCES, 1..=3)],
        config(),
        prop_oneof![1 => Just(Vec::new()), 2 => texts(HOSTS, 1..=6)],
        prop::option::weighted(0.2, select(&["loopback", "10.0.0.0/8, fd00::/8"][..])),
        prop::collection::vec(plan(), 4),
    )
        .prop_map(|(function, rules, references, config, hosts, network, plans)| Case {
            function,
            rules,
            references,
            config,
            hosts,
            network,
            plans,
        })
}

/// How often a request came to what end.
type Ends = BTreeMap<String, u32>;

fn compare(case: &Case, shapes: &Shapes, ends: &RefCell<Ends>) -> Result<(), TestCaseError> {
    let text = manifest(&case.rules);
    let manifest = Manifest::parse(text.as_bytes(), Text::new("p")).map_err(|f| TestCaseError::fail(f.to_string()))?;
    let references: Vec<Reference> =
        case.references.iter().map(|text| Reference::parse(text, shapes).unwrap()).collect();
    let terms = Terms {
        function: case.function,
        references: references.clone().into(),
        config: Arc::new(case.config.clone()),
        rules: manifest.http.into(),
        hosts: case.hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect(),
        network: case.network.map(|network| Network::parse(network).unwrap()),
        holdings: Arc::default(),
    };
    for plan in &case.plans {
        let mut made = request(plan, case.function, &case.rules, &references, &case.config);
        plan.changes.iter().for_each(|change| apply(change, &mut made, &references));
        let mut headers = HeaderMap::new();
        for (name, value) in &made.headers {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value).unwrap());
        }
        let asked = Asked {
            method: &made.method,
            scheme: &made.scheme,
            authority: &made.authority,
            target: &made.target,
            headers: &headers,
            body: &made.body,
        };
        let expected = bridge::naively(&terms, &case.rules, &asked);
        let decided = decide(&terms, &asked);
        let end = decided.as_ref().map_or_else(|refused| format!("{:?}", refused.stage), |_| "allowed".to_owned());
        *ends.borrow_mut().entry(end).or_default() += 1;
        match decided {
            Err(refused) => prop_assert_eq!(None, expected, "refused, {:?}: {:?}", refused, made),
            Ok(approved) => {
                prop_assert_eq!(Some(bridge::as_leaves(&approved)), expected, "allowed: {:?}", made);
                prop_assert!(approved.headers.keys().all(|name| !is_reserved(name, &terms.rules)));
                let read = Target::parse(&approved.target).map(|target| target.to_text());
                prop_assert_eq!(read, Ok(approved.target));
            }
        }
    }
    Ok(())
}

#[test]
fn whatever_one_decision_allows_the_other_allows_and_the_same_leaves() {
    let ends = RefCell::new(Ends::new());
    let shapes = shapes();
    let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let outcome = TestRunner::new(config).run(&case(), |case| compare(&case, &shapes, &ends));
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let ends = ends.into_inner();
    // A comparison that never meets one of the ends would prove nothing about it.
    let total: u32 = ends.values().sum();
    for end in ["Form", "Function", "Origin", "Host", "Route", "Query", "Header", "Credential"] {
        assert!(ends.get(end).is_some_and(|count| count * 200 > total), "{end} is rare: {ends:?}");
    }
    assert!(ends.get("allowed").is_some_and(|count| count * 8 > total), "{ends:?}");
}
