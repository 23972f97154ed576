//! The decision once more, as plainly as it can be written: from texts to texts.
//!
//! It shares no code with what it is compared with: no parser of origins, targets, templates or
//! patterns, only the data of a reference. It writes down the very texts that a rule allows for a
//! reference, and looks for the request among them. Where a rule says "any", the request's own word
//! is what is written down.

use std::collections::BTreeMap;

use serde_json::Value;
use strongroom_core::Reference;

/// One `[[http]]`, as texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub on: Vec<String>,
    pub origin: String,
    pub hosts: Vec<String>,
    pub allow: Vec<String>,
    /// `None` is "any".
    pub query: Vec<(String, Option<Vec<String>>)>,
    pub headers: Vec<String>,
    /// Places in the body, and what may stand there.
    pub body: Vec<(String, Vec<String>)>,
    /// Audience and header.
    pub credential: Option<(String, String)>,
    pub network: String,
    pub http2: bool,
}

/// What a call may ask for.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    pub function: &'a str,
    pub references: &'a [Reference],
    pub config: &'a Value,
    pub rules: &'a [Rule],
    pub hosts: &'a [String],
    pub network: Option<String>,
}

/// A request. The names of headers are in lower case.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    pub method: &'a str,
    pub scheme: &'a str,
    pub authority: &'a str,
    pub target: &'a str,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: &'a [u8],
}

/// What leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaves {
    pub rule: usize,
    pub reference: Option<usize>,
    /// `scheme://host:port`, the port always written.
    pub origin: String,
    pub method: String,
    pub target: String,
    pub headers: BTreeMap<String, String>,
    pub audience: Option<String>,
    pub network: String,
    pub http2: bool,
}

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const FREE_HEADERS: [&str; 5] = ["accept", "content-type", "content-length", "if-match", "if-none-match"];
const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
const IN_PATH: &str = "!$&'()*+,;=:@";
const IN_QUERY: &str = "!$'()*,;:@/?=";

pub fn decide(call: &Call<'_>, asked: &Asked<'_>) -> Option<Leaves> {
    let here = place(asked.scheme, asked.authority)?;
    let (path, query) = path_and_query(asked.target)?;
    if !METHODS.contains(&asked.method) {
        return None;
    }
    if !asked.body.is_empty() && (asked.method == "GET" || asked.method == "HEAD") {
        return None;
    }
    let headers = headers(call, asked)?;
    for (index, rule) in call.rules.iter().enumerate() {
        if !rule.on.iter().any(|on| on == call.function) {
            continue;
        }
        let mut fillings: Vec<(Option<usize>, Option<&Reference>)> = Vec::new();
        for (at, reference) in call.references.iter().enumerate() {
            fillings.push((Some(at), Some(reference)));
        }
        if fillings.is_empty() {
            fillings.push((None, None));
        }
        for (at, reference) in fillings {
            if !origins(rule, reference, call.config).contains(&here) {
                continue;
            }
            let short = short(&here);
            if !rule.hosts.is_empty() && !rule.hosts.iter().any(|pattern| host_fits(pattern, &short)) {
                continue;
            }
            let follows = rule.origin.contains("{ref.");
            let listed = call.hosts.iter().any(|pattern| host_fits(pattern, &short));
            if follows && !call.hosts.is_empty() && !listed {
                continue;
            }
            let request = format!("{} /{}", asked.method, path.join("/"));
            if !routes(rule, reference, call.config, &path).contains(&request) {
                continue;
            }
            let pairs = pairs(rule, reference, call.config, &query);
            if !query.iter().all(|(key, value)| pairs.contains(&format!("{key}\n{value}"))) {
                continue;
            }
            let lines = lines(rule, reference, call.config, &headers);
            if !headers.iter().all(|(name, value)| lines.contains(&format!("{name}: {value}"))) {
                continue;
            }
            let mut audience = None;
            if let Some((template, _)) = &rule.credential {
                if !here.starts_with("https://") || (follows && !listed) {
                    continue;
                }
                let Some(text) = fill(template, reference, call.config, true) else { continue };
                let wild = rule.hosts.iter().chain(call.hosts).any(|pattern| pattern.contains('*'));
                if wild && !rule.origin.starts_with("{discovered.") && !is_above(&text, &here) {
                    continue;
                }
                audience = Some(text);
            }
            if !rule.body.is_empty() && !names(call, rule, reference, asked) {
                continue;
            }
            let mut sent = BTreeMap::new();
            for (name, value) in &headers {
                if name != "content-length" {
                    sent.insert(name.clone(), value.clone());
                }
            }
            return Some(Leaves {
                rule: index,
                reference: at,
                origin: here,
                method: asked.method.to_owned(),
                target: written(&path, &query),
                headers: sent,
                audience,
                network: call.network.clone().unwrap_or_else(|| rule.network.clone()),
                http2: rule.http2,
            });
        }
    }
    None
}

/// Whether the body names what `reference` is, or, at a place with a `*`, references for which all else would
/// be allowed, too.
fn names(call: &Call<'_>, rule: &Rule, reference: Option<&Reference>, asked: &Asked<'_>) -> bool {
    let Ok(body) = serde_json::from_slice::<Value>(asked.body) else { return false };
    let text = std::str::from_utf8(asked.body).unwrap();
    // A key that stands twice is one member, and two colons outside of texts.
    let mut inside = false;
    let mut escaped = false;
    let mut colons = 0;
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            ':' if !inside => colons += 1,
            _ => {}
        }
    }
    if colons != members(&body) {
        return false;
    }
    let kind = asked.headers.iter().find(|(name, _)| name == "content-type");
    if kind.is_some_and(|(_, value)| !JSON_TYPES.contains(&String::from_utf8_lossy(value).to_lowercase().as_str())) {
        return false;
    }
    rule.body.iter().all(|(place, values)| {
        let steps: Vec<&str> = place.split('/').skip(1).collect();
        let Some(found) = at(&body, &steps) else { return false };
        let mut holders = vec![reference];
        if steps.contains(&"*") && reference.is_some() {
            let mut rule = rule.clone();
            rule.body.retain(|(place, _)| !place.contains("/*"));
            let rules = [rule];
            let alone = |r: &&Reference| {
                let call = Call { references: std::slice::from_ref(*r), rules: &rules, ..call.clone() };
                decide(&call, asked).is_some()
            };
            holders = call.references.iter().filter(alone).map(Some).collect();
        }
        let fits = |text: &String| {
            values.iter().any(|v| holders.iter().any(|r| fill(v, *r, call.config, true).as_ref() == Some(text)))
        };
        !found.is_empty() && found.iter().all(fits)
    })
}

const JSON_TYPES: [&str; 3] =
    ["application/json", "application/json; charset=utf-8", "application/json-patch+json; charset=utf-8"];

/// Members of all objects; none where two keys are alike.
fn members(value: &Value) -> usize {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<String> = map.keys().map(|key| key.to_lowercase()).collect();
            keys.sort();
            keys.dedup();
            let alike = if keys.len() < map.len() { 1_000_000 } else { 0 };
            alike + map.len() + map.values().map(members).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(members).sum(),
        _ => 0,
    }
}

/// The texts at a place; `None` where one is missing.
fn at(value: &Value, steps: &[&str]) -> Option<Vec<String>> {
    match steps {
        [] => value.as_str().map(|text| vec![text.to_owned()]),
        ["*", rest @ ..] => {
            let inner: Vec<&Value> = match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(map) => map.values().collect(),
                _ => return None,
            };
            let found: Option<Vec<Vec<String>>> = inner.into_iter().map(|value| at(value, rest)).collect();
            found.map(|found| found.concat())
        }
        [name, rest @ ..] => {
            let map = value.as_object()?;
            let alike = map.keys().filter(|key| key.to_lowercase() == name.to_lowercase()).count();
            if alike == 1 { at(map.get(*name)?, rest) } else { None }
        }
    }
}

/// `scheme://host:port` in lower case, if that is what it is.
pub fn place(scheme: &str, authority: &str) -> Option<String> {
    let default = match scheme {
        "https" => "443",
        "http" => "80",
        _ => return None,
    };
    if !authority.is_ascii() {
        return None;
    }
    let authority = authority.to_lowercase();
    let (host, port) = if let Some(bracketed) = authority.strip_prefix('[') {
        let (inner, rest) = bracketed.split_once(']')?;
        let address: std::net::Ipv6Addr = inner.parse().ok()?;
        let port = if rest.is_empty() { default } else { rest.strip_prefix(':')? };
        (format!("[{address}]"), port.to_owned())
    } else {
        let (host, port) = authority.split_once(':').unwrap_or((&authority, default));
        (host.to_owned(), port.to_owned())
    };
    let number = |text: &str| !text.is_empty() && text.len() < 6 && text.chars().all(|c| c.is_ascii_digit());
    if !number(&port) || port.starts_with('0') || port.parse::<u32>().unwrap_or(0) > 65535 {
        return None;
    }
    if !host.starts_with('[') {
        if host.len() > 253 {
            return None;
        }
        let labels: Vec<&str> = host.split('.').collect();
        for label in &labels {
            let plain = label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
            if label.is_empty() || label.len() > 63 || !plain || label.starts_with('-') || label.ends_with('-') {
                return None;
            }
        }
        // What looks like an address to anybody must be one in its usual form.
        let last = labels.last()?;
        if last.starts_with("0x") || last.chars().all(|c| c.is_ascii_digit()) {
            let byte = |text: &&str| {
                number(text) && (*text == "0" || !text.starts_with('0')) && text.parse::<u32>().unwrap_or(999) < 256
            };
            if labels.len() != 4 || !labels.iter().all(byte) {
                return None;
            }
        }
    }
    Some(format!("{scheme}://{host}:{port}"))
}

/// Without the scheme, and without the port if it is the scheme's.
fn short(place: &str) -> String {
    let (scheme, rest) = place.split_once("://").unwrap();
    let usual = if scheme == "https" { ":443" } else { ":80" };
    rest.strip_suffix(usual).unwrap_or(rest).to_owned()
}

/// Decoded segments and pairs.
type Parts = (Vec<String>, Vec<(String, String)>);

pub fn path_and_query(target: &str) -> Option<Parts> {
    if target.len() > 8192 || target.contains(['#', '\\']) || !target.starts_with('/') {
        return None;
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let controls = ["%7f", "%0", "%1"];
    let hidden = ["%2f", "%5c", "%2e"];
    let (low, low_path) = (target.to_lowercase(), path.to_lowercase());
    if controls.iter().any(|bad| low.contains(bad)) || hidden.iter().any(|bad| low_path.contains(bad)) {
        return None;
    }
    if path.contains("//") {
        return None;
    }
    let mut segments = Vec::new();
    for segment in path[1..].split('/') {
        if segment == "." || segment == ".." {
            return None;
        }
        segments.push(decoded(segment, IN_PATH)?);
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    if !query.is_empty() {
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (decoded(key, IN_QUERY)?, decoded(value, IN_QUERY)?);
            if key.is_empty() || pairs.iter().any(|(known, _)| *known == key) {
                return None;
            }
            pairs.push((key, value));
        }
    }
    if segments.len() > 64 || pairs.len() > 64 {
        return None;
    }
    Some((segments, pairs))
}

fn decoded(text: &str, also: &str) -> Option<String> {
    let mut bytes: Vec<u8> = Vec::new();
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        if chars[at] == '%' {
            let digits: String = chars.get(at + 1..at + 3)?.iter().collect();
            if !digits.chars().all(|c| c.is_ascii_hexdigit()) {
                return None;
            }
            bytes.push(u8::from_str_radix(&digits, 16).ok()?);
            at += 3;
        } else {
            if !LETTERS.contains(chars[at]) && !also.contains(chars[at]) {
                return None;
            }
            bytes.push(chars[at] as u8);
            at += 1;
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    if text.chars().any(char::is_control) { None } else { Some(text) }
}

pub fn encoded(text: &str, also: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if LETTERS.contains(c) || also.contains(c) {
            out.push(c);
        } else {
            for byte in c.to_string().bytes() {
                out += &format!("%{byte:02X}");
            }
        }
    }
    out
}

fn written(path: &[String], query: &[(String, String)]) -> String {
    let path: Vec<String> = path.iter().map(|segment| encoded(segment, IN_PATH)).collect();
    let query: Vec<String> = query.iter().map(|(k, v)| format!("{}={}", encoded(k, ""), encoded(v, ""))).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("/{}{mark}{}", path.join("/"), query.join("&"))
}

/// The guest's headers, if it may set each of them at all.
fn headers(call: &Call<'_>, asked: &Asked<'_>) -> Option<Vec<(String, String)>> {
    if asked.headers.len() > 64 {
        return None;
    }
    let mut known: Vec<(String, String)> = Vec::new();
    for (name, value) in &asked.headers {
        let injected = |rule: &Rule| rule.credential.as_ref().is_some_and(|(_, header)| header.to_lowercase() == *name);
        let listed = |rule: &Rule| rule.headers.iter().any(|header| header_name(header) == *name);
        if call.rules.iter().any(injected) {
            return None;
        }
        if !FREE_HEADERS.contains(&name.as_str()) && !call.rules.iter().any(listed) {
            return None;
        }
        if value.len() > 8192 || !value.iter().all(|b| *b == b'\t' || (b' '..=b'~').contains(b)) {
            return None;
        }
        if known.iter().any(|(other, _)| other == name) {
            return None;
        }
        known.push((name.clone(), String::from_utf8(value.clone()).ok()?));
    }
    Some(known)
}

fn header_name(header: &str) -> String {
    header.split_once(": ").map_or(header, |(name, _)| name).to_lowercase()
}

/// A text with its holes filled from one reference and the config.
pub fn fill(template: &str, reference: Option<&Reference>, config: &Value, slashes: bool) -> Option<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out += before;
        let (hole, tail) = after.split_once('}')?;
        let value = match hole.split_once('.')? {
            ("config", key) => match config.get(key)? {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(true) => "true".to_owned(),
                Value::Bool(false) => "false".to_owned(),
                _ => return None,
            },
            ("ref", "authority") => reference?.authority.clone()?,
            ("ref", field) => match field.split_once('.')? {
                ("path", index) => reference?.path.get(index.parse::<usize>().ok()?)?.clone(),
                ("selector", key) => reference?.selectors.iter().find(|(known, _)| known == key)?.1.clone(),
                _ => return None,
            },
            _ => return None,
        };
        if value.is_empty() || value.chars().any(char::is_control) || (!slashes && value.contains('/')) {
            return None;
        }
        out += &value;
        rest = tail;
    }
    Some(out + rest)
}

/// Every place that the rule goes to.
fn origins(rule: &Rule, reference: Option<&Reference>, config: &Value) -> Vec<String> {
    let mut places = Vec::new();
    if let Some(name) = rule.origin.strip_prefix("{discovered.") {
        let name = name.strip_suffix('}').unwrap();
        let told = config.get(name).or_else(|| config.get(format!("discovered.{name}")));
        if let Some(Value::String(url)) = told
            && let Some(rest) = url.strip_prefix("https://")
        {
            places.extend(place("https", rest.split(['/', '?', '#']).next().unwrap()));
        }
        return places;
    }
    if let Some(key) = rule.origin.strip_prefix("{config.") {
        let key = key.strip_suffix('}').unwrap();
        if let Some(Value::String(text)) = config.get(key)
            && let Some((scheme, rest)) = text.split_once("://")
        {
            places.extend(place(scheme, rest.strip_suffix('/').unwrap_or(rest)));
        }
        return places;
    }
    let (scheme, authority) = rule.origin.split_once("://").unwrap();
    if authority == "{any}" {
        for host in &rule.hosts {
            // As it is written and in no other way: the usual port is not written.
            let place = place(scheme, host);
            places.extend(place.filter(|place| short(place) == host.to_lowercase()));
        }
    } else if let Some(authority) = fill(authority, reference, config, false) {
        places.extend(place(scheme, &authority));
    }
    places
}

fn host_fits(pattern: &str, host: &str) -> bool {
    let split = |text: &str| -> (Vec<String>, String) {
        let text = text.to_lowercase();
        let (name, port) = text.split_once(':').unwrap_or((&text, ""));
        (name.split('.').map(str::to_owned).collect(), port.to_owned())
    };
    let ((labels, port), (others, other_port)) = (split(pattern), split(host));
    port == other_port
        && labels.len() == others.len()
        && labels.iter().zip(&others).all(|(label, other)| label == "*" || label == other)
}

/// Every `METHOD /path` of the rule, decoded.
fn routes(rule: &Rule, reference: Option<&Reference>, config: &Value, asked: &[String]) -> Vec<String> {
    rule.allow.iter().filter_map(|route| one_route(route, reference, config, asked)).collect()
}

fn one_route(route: &str, reference: Option<&Reference>, config: &Value, asked: &[String]) -> Option<String> {
    let (method, path) = route.split_once(' ')?;
    let mut words: Vec<String> = Vec::new();
    for part in path.strip_prefix('/')?.split('/') {
        if part == "{any}" {
            let own = asked.get(words.len())?;
            if own.is_empty() {
                return None;
            }
            words.push(own.clone());
        } else if let Some(from) = part.strip_prefix("{ref.path.").and_then(|rest| rest.strip_suffix("..}")) {
            let from: usize = from.parse().ok()?;
            let rest = reference?.path.get(from..)?;
            if rest.is_empty() || rest.iter().any(|word| word.is_empty() || word.contains('/')) {
                return None;
            }
            words.extend(rest.iter().cloned());
        } else {
            words.push(fill(part, reference, config, false)?);
        }
    }
    Some(format!("{method} /{}", words.join("/")))
}

/// Every key and value of the rule: neither holds a line's end.
fn pairs(rule: &Rule, reference: Option<&Reference>, config: &Value, asked: &[(String, String)]) -> Vec<String> {
    let mut pairs = Vec::new();
    for (key, values) in &rule.query {
        match values {
            Some(values) => {
                let values = values.iter().filter_map(|value| fill(value, reference, config, true));
                pairs.extend(values.map(|value| format!("{key}\n{value}")));
            }
            None => {
                pairs.extend(asked.iter().filter(|(k, _)| k == key).map(|(_, value)| format!("{key}\n{value}")));
            }
        }
    }
    pairs
}

/// Every `name: value` of the rule.
fn lines(rule: &Rule, reference: Option<&Reference>, config: &Value, asked: &[(String, String)]) -> Vec<String> {
    let mut lines = Vec::new();
    for header in &rule.headers {
        if let Some((name, value)) = header.split_once(": ") {
            let value = fill(value, reference, config, true);
            lines.extend(value.map(|value| format!("{}: {value}", name.to_lowercase())));
        }
    }
    for (name, value) in asked {
        let mentions: Vec<&String> = rule.headers.iter().filter(|header| header_name(header) == *name).collect();
        let free = mentions.is_empty() && FREE_HEADERS.contains(&name.as_str());
        if free || mentions.iter().any(|header| !header.contains(": ")) {
            lines.push(format!("{name}: {value}"));
        }
    }
    lines
}

/// Whether the audience is this https host, or one above it.
fn is_above(audience: &str, here: &str) -> bool {
    let Some(rest) = audience.strip_prefix("https://") else { return false };
    let Some(above) = place("https", rest.strip_suffix('/').unwrap_or(rest)) else { return false };
    let host = |place: &str| {
        let rest = place.split_once("://").unwrap().1;
        rest.rsplit_once(':').unwrap().0.to_owned()
    };
    let (above, here) = (host(&above), host(here));
    here == above || here.ends_with(&format!(".{above}"))
}
