//! The manifest as it is written, and the checks between its fields.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Visitor};
use serde_json::{Map, Value};

use super::browser::{BrowserRule, RawBrowser};
use super::config_from::RawConfigFrom;
use super::http::{Function, HttpRule, RawRule};
use super::schema::ConfigSchema;
use super::{Grant, Held, MAX_VERSION_BYTES, Manifest, Placeholder, Presence, RefField, ReferenceRule, Templated};
use crate::reference::is_scheme;
use crate::strict::Sheet;
use crate::{Failure, Name, Shape, Shapes, Text};

/// The longest lists in a manifest: enough for any plugin, few enough for a person to read.
pub(super) const MAX_ITEMS: usize = 32;

/// Which references of one request to one mount may share a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Batch {
    /// None: every reference has a sandbox to itself.
    #[default]
    None,
    /// All of them.
    All,
    /// Those that agree in these fields.
    By(Vec<RefField>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct RawManifest {
    name: Name,
    version: String,
    description: Option<String>,
    schemes: Option<Vec<String>>,
    #[serde(default)]
    auth: bool,
    #[serde(default)]
    wants: Vec<Grant>,
    #[serde(default)]
    batch: Batch,
    reference: Option<RawReference>,
    env: Option<RawEnv>,
    store: Option<RawStore>,
    #[serde(default)]
    http: Vec<RawRule>,
    #[serde(default)]
    sealed: Vec<String>,
    #[serde(default)]
    tools: Vec<Templated>,
    prompt: Option<RawPrompt>,
    #[serde(default)]
    browser: Vec<RawBrowser>,
    #[serde(default, rename = "config-from")]
    config_from: Vec<RawConfigFrom>,
    config: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct RawPrompt {
    uris: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct RawReference {
    #[serde(default)]
    authority: bool,
    path: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct RawEnv {
    names: Vec<Templated>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct RawStore {
    prefix: Templated,
}

pub(super) fn build(sheet: &Sheet<'_>) -> Result<Manifest, Failure> {
    let raw: RawManifest = sheet.read()?;
    if !is_version(&raw.version) {
        return Err(sheet.wrong(
            "manifest.version",
            &["version"],
            "must be a version such as 1.2.3, of at most 64 bytes",
        ));
    }
    let auth = raw.auth;
    let (schemes, shape) = match raw.schemes.clone() {
        None if auth => {
            check_auth(sheet, &raw)?;
            (Vec::new(), Fields { authority: false, segments: Some(0) })
        }
        Some(_) if auth => {
            return Err(sheet.wrong("manifest.scheme", &["schemes"], "has no meaning for an auth plugin"));
        }
        None => {
            return Err(sheet.wrong(
                "manifest.missing-key",
                &[],
                "lacks `schemes`, which a provider names, or `auth = true`, which an auth plugin says",
            ));
        }
        Some(schemes) => {
            let schemes = check_schemes(sheet, schemes)?;
            let shape = check_reference(sheet, &schemes, raw.reference.as_ref())?;
            (schemes, shape)
        }
    };
    let wants: BTreeSet<Grant> = raw.wants.iter().copied().collect();
    if wants.len() != raw.wants.len() {
        return Err(sheet.wrong("manifest.wants", &["wants"], "names a grant twice"));
    }
    let env = check_env(sheet, &wants, raw.env)?;
    let store = check_store(sheet, &wants, raw.store)?;
    let http = check_http(sheet, &wants, raw.http, if auth { Function::Acquire } else { Function::Resolve })?;
    let sealed = check_sealed(sheet, auth, &wants, raw.sealed)?;
    let batch: &[RefField] = if let Batch::By(fields) = &raw.batch { fields } else { &[] };
    if batch.len() > MAX_ITEMS || batch.iter().collect::<BTreeSet<_>>().len() != batch.len() {
        return Err(sheet.wrong("manifest.batch", &["batch"], "names a field twice, or too many"));
    }
    let spoken = [
        (&["env", "names"][..], env.iter().flat_map(Templated::ref_fields).collect::<Vec<_>>()),
        (&["store", "prefix"][..], store.iter().flat_map(Templated::ref_fields).collect()),
        (&["batch"][..], batch.iter().collect()),
    ];
    for (index, rule) in http.iter().enumerate() {
        if let Some(field) = rule.ref_fields().find(|field| auth || !shape.has(field)) {
            let message = format!("speaks of {field}, which references of this plugin do not have");
            return Err(sheet.wrong("manifest.http", &["http", &index.to_string()], message));
        }
    }
    for (index, rule) in http.iter().enumerate() {
        let wrong = |message: &str| Err(sheet.wrong("manifest.http", &["http", &index.to_string()], message));
        if !auth && (rule.inject.is_some() || rule.endpoint().is_some() || rule.speaks_of_acquiring()) {
            return wrong("has `inject`, `endpoint`, {request.tenant} or {env.*}, which only auth plugins have");
        }
        let holes = || rule.inject.iter().flat_map(super::Injection::holes);
        if holes().any(|held| matches!(held, Held::Sealed(name) if !sealed.contains_key(name))) {
            return wrong("injects a sealed input that `sealed` does not name");
        }
    }
    if env.iter().chain(&store).flat_map(Templated::placeholders).any(Placeholder::is_of_acquiring) {
        return Err(sheet.wrong(
            "manifest.reference",
            &["env"],
            "speaks of {request.tenant} or {env.*}, which only rules can",
        ));
    }
    for (path, fields) in spoken {
        if let Some(field) = fields.into_iter().find(|field| !shape.has(field)) {
            let message = format!("speaks of {field}, which references of this plugin do not have");
            return Err(sheet.wrong("manifest.reference", path, message));
        }
    }
    check_tools(sheet, auth, &wants, &raw.tools)?;
    let prompts = check_prompts(sheet, auth, raw.prompt)?;
    let browser = check_browser(sheet, auth, raw.browser)?;
    if raw.config_from.len() > MAX_ITEMS {
        return Err(sheet.wrong("manifest.config-from", &["config-from"], "has more than 32 tables"));
    }
    let mut config_from = Vec::new();
    for (index, from) in raw.config_from.into_iter().enumerate() {
        let wrong = |why| sheet.wrong("manifest.config-from", &["config-from", &index.to_string()], why);
        config_from.push(from.check().map_err(wrong)?);
    }
    let config = match raw.config.map(ConfigSchema::new) {
        None => None,
        Some(Ok(schema)) => Some(schema),
        Some(Err(why)) => return Err(sheet.wrong("manifest.schema", &["config"], why)),
    };
    Ok(Manifest {
        name: raw.name,
        version: raw.version,
        description: raw.description.map(Text::new),
        schemes,
        wants,
        batch: raw.batch,
        reference: raw.reference.map(|r| ReferenceRule { authority: r.authority, path: r.path }),
        env,
        store,
        http,
        sealed,
        tools: raw.tools,
        prompts,
        browser,
        config_from,
        config,
    })
}

/// An auth plugin answers no references, so nothing of them is its.
fn check_auth(sheet: &Sheet<'_>, raw: &RawManifest) -> Result<(), Failure> {
    let misplaced =
        [("reference", raw.reference.is_some()), ("batch", raw.batch != Batch::None), ("store", raw.store.is_some())];
    match misplaced.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((key, _)) => Err(sheet.wrong(
            "manifest.scheme",
            &[key],
            "has no meaning for an auth plugin, which answers no references",
        )),
    }
}

/// A name that a manifest gives to something of its own: a to z first, then 0 to 9 and _ too, at most 64 bytes.
pub(super) fn is_word(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn check_sealed(
    sheet: &Sheet<'_>,
    auth: bool,
    wants: &BTreeSet<Grant>,
    sealed: Vec<String>,
) -> Result<BTreeMap<String, Presence>, Failure> {
    let wrong = |key: &str, message: &str| sheet.wrong("manifest.sealed", &[key], message);
    let read = |text: &String| match text.strip_suffix('?') {
        Some(name) => (name.to_owned(), Presence::Optional),
        None => (text.clone(), Presence::Required),
    };
    let names: BTreeMap<String, Presence> = sealed.iter().map(read).collect();
    if names.len() != sealed.len() || names.len() > MAX_ITEMS || !names.keys().all(|name| is_word(name)) {
        return Err(wrong(
            "sealed",
            "must be names of inputs (a-z, 0-9, _), a `?` behind each that may be absent, each once, at most 32",
        ));
    }
    if !names.is_empty() && !auth {
        return Err(wrong("sealed", "is for auth plugins: a provider never holds a credential"));
    }
    if names.is_empty() && wants.contains(&Grant::Sealed) {
        return Err(wrong("wants", "holds sealed, but no `sealed` names an input"));
    }
    Ok(names)
}

fn check_tools(sheet: &Sheet<'_>, auth: bool, wants: &BTreeSet<Grant>, tools: &[Templated]) -> Result<(), Failure> {
    let wrong = |key: &str, message: &str| Err(sheet.wrong("manifest.tools", &[key], message));
    let of_config = |tool: &Templated| tool.placeholders().all(|hole| hole.config_key().is_some());
    match (wants.contains(&Grant::Tool), tools.is_empty()) {
        _ if wants.contains(&Grant::Tool) && !auth => wrong("wants", "holds tool, which is for auth plugins"),
        (true, true) => wrong("wants", "holds tool, but `tools` names none"),
        (false, false) => wrong("tools", "is given, but `wants` does not hold tool"),
        _ if tools.len() > MAX_ITEMS || !tools.iter().all(of_config) => {
            wrong("tools", "must be at most 32 names, with holes of the config alone")
        }
        _ => Ok(()),
    }
}

fn check_prompts(sheet: &Sheet<'_>, auth: bool, prompt: Option<RawPrompt>) -> Result<BTreeSet<String>, Failure> {
    let Some(RawPrompt { uris }) = prompt else { return Ok(BTreeSet::new()) };
    let page = |uri: &String| {
        uri.strip_prefix("https://").is_some_and(|rest| !rest.is_empty())
            && uri.len() <= 256
            && uri.bytes().all(|b| (b'!'..=b'~').contains(&b))
    };
    if uris.is_empty() || uris.len() > MAX_ITEMS || !uris.iter().all(page) || !auth {
        return Err(sheet.wrong(
            "manifest.prompt",
            &["prompt", "uris"],
            "must hold 1 to 32 https addresses, and is for auth plugins",
        ));
    }
    Ok(uris)
}

fn check_browser(sheet: &Sheet<'_>, auth: bool, rules: Vec<RawBrowser>) -> Result<BTreeSet<BrowserRule>, Failure> {
    let wrong = |path: &[&str], message: &str| sheet.wrong("manifest.browser", path, message);
    if !rules.is_empty() && !auth {
        return Err(wrong(&["browser"], "is for auth plugins: a provider sends nobody anywhere"));
    }
    if rules.len() > MAX_ITEMS {
        return Err(wrong(&["browser"], "has more than 32 rules"));
    }
    let mut checked = BTreeSet::new();
    for (index, rule) in rules.into_iter().enumerate() {
        let index = index.to_string();
        let rule = rule.check().map_err(|(key, why)| wrong(&["browser", &index, key], why))?;
        if !checked.insert(rule) {
            return Err(wrong(&["browser", &index], "is written twice"));
        }
    }
    Ok(checked)
}

fn check_http(
    sheet: &Sheet<'_>,
    wants: &BTreeSet<Grant>,
    rules: Vec<RawRule>,
    default: Function,
) -> Result<Vec<HttpRule>, Failure> {
    let wrong = |path: &[&str], message: &str| sheet.wrong("manifest.http", path, message);
    match (wants.contains(&Grant::Http), rules.is_empty()) {
        (true, true) => {
            return Err(wrong(&["wants"], "holds http, but no [[http]] says where it may go")
                .help("write a rule: [[http]] with `origin` and `allow`"));
        }
        (false, false) => return Err(wrong(&["http"], "is given, but `wants` does not hold http")),
        _ => {}
    }
    if rules.len() > MAX_ITEMS {
        return Err(wrong(&["http"], "has more than 32 rules"));
    }
    let both = wants.contains(&Grant::Http) && wants.contains(&Grant::Store);
    if both != wants.contains(&Grant::StoreAndHttp) {
        return Err(if both {
            wrong(&["wants"], "holds store and http, which together need store-and-http, too")
                .help("such a plugin could send what it keeps of one reference when it answers another")
        } else {
            wrong(&["wants"], "holds store-and-http, but not both store and http")
        });
    }
    let mut checked = Vec::new();
    for (index, rule) in rules.into_iter().enumerate() {
        let index = index.to_string();
        let functions = rule.on.clone().unwrap_or_default();
        if functions.iter().any(|function| (*function == Function::Acquire) != (default == Function::Acquire)) {
            return Err(wrong(&["http", &index, "on"], "names a function that such a plugin does not have"));
        }
        let rule = rule.check(default).map_err(|(key, why)| wrong(&["http", &index, key], &why))?;
        if default == Function::Acquire && rule.credential.is_some() {
            return Err(wrong(
                &["http", &index, "credential"],
                "is for providers: an auth plugin gets tokens, and uses none",
            ));
        }
        checked.push(rule);
    }
    let told: BTreeSet<&String> = checked.iter().flat_map(|rule| rule.discovers.keys()).collect();
    for (index, rule) in checked.iter().enumerate() {
        if rule.origin.discovered().is_some_and(|name| !told.iter().any(|told| *told == name)) {
            let why = "speaks of an address that no rule `discovers`";
            return Err(wrong(&["http", &index.to_string(), "origin"], why));
        }
    }
    // A header that the host fills for one rule is nobody else's, whatever another rule says.
    let injected: BTreeSet<&String> = checked.iter().filter_map(|r| r.credential.as_ref()).map(|c| &c.header).collect();
    for (index, rule) in checked.iter().enumerate() {
        let mut open = rule.headers.keys().chain(&rule.answers);
        if open.any(|header| injected.contains(header)) {
            return Err(wrong(
                &["http", &index.to_string(), "headers"],
                "names a header that the host fills in another rule",
            ));
        }
    }
    Ok(checked)
}

fn check_schemes(sheet: &Sheet<'_>, schemes: Vec<String>) -> Result<Vec<String>, Failure> {
    let wrong = |message: &str| sheet.wrong("manifest.scheme", &["schemes"], message);
    if schemes.is_empty() || schemes.len() > MAX_ITEMS {
        return Err(wrong("must name 1 to 32 schemes"));
    }
    if schemes.iter().any(|s| !is_scheme(s) || s.len() > 63) {
        return Err(wrong(
            "holds something that is no scheme: 1 to 63 of a-z, 0-9, `.` and `-`, beginning with a letter",
        ));
    }
    if schemes.iter().collect::<BTreeSet<_>>().len() != schemes.len() {
        return Err(wrong("names a scheme twice"));
    }
    Ok(schemes)
}

/// What references of the plugin can have.
struct Fields {
    authority: bool,
    /// `None`: any number of segments.
    segments: Option<usize>,
}

impl Fields {
    fn has(&self, field: &RefField) -> bool {
        match field {
            RefField::Authority => self.authority,
            RefField::Path(index) => self.segments.is_none_or(|segments| *index < segments),
            RefField::Selector(_) => true,
        }
    }
}

fn check_reference(sheet: &Sheet<'_>, schemes: &[String], reference: Option<&RawReference>) -> Result<Fields, Failure> {
    let builtin = Shapes::builtin();
    let fixed: Vec<&Shape> = schemes.iter().filter_map(|s| builtin.get(s)).collect();
    let wrong = |key: &str, message: &str| sheet.wrong("manifest.reference", &[key], message);
    match reference {
        None => match fixed.first() {
            Some(shape) if fixed.len() == schemes.len() && fixed.iter().all(|other| other == shape) => {
                Ok(Fields { authority: shape.has_authority(), segments: Some(shape.words().len()) })
            }
            None => Err(wrong("schemes", "needs a [reference] that says how its references read")
                .help("for scheme://{group}/{name} write: [reference] path = [\"group\", \"name\"]")),
            Some(_) => Err(wrong("schemes", "mixes schemes whose references read differently")
                .help("make it two plugins, one for each scheme")),
        },
        Some(_) if !fixed.is_empty() => {
            Err(wrong("reference", "must be left out: how env, file, keys, keyvault and azureml read is fixed"))
        }
        Some(rule) => {
            if rule.path.len() > MAX_ITEMS {
                return Err(sheet.wrong("manifest.reference", &["reference", "path"], "has too many words"));
            }
            let shape = Shape::uri(rule.authority, &rule.path).map_err(|why| {
                sheet.wrong("manifest.reference", &["reference", "path"], format!("is not valid: {why}"))
            })?;
            let open = rule.path.last().is_some_and(|word| word.ends_with('*'));
            Ok(Fields { authority: rule.authority, segments: (!open).then_some(shape.words().len()) })
        }
    }
}

fn check_env(sheet: &Sheet<'_>, wants: &BTreeSet<Grant>, env: Option<RawEnv>) -> Result<Vec<Templated>, Failure> {
    let wrong = |path: &[&str], message: &str| sheet.wrong("manifest.env", path, message);
    match (env, wants.contains(&Grant::Env)) {
        (None, false) => Ok(Vec::new()),
        (None, true) => Err(wrong(&["wants"], "holds env, but no [env] says which variables")
            .help("for the variable that a reference names, write: [env] names = [\"{ref.path.0}\"]")),
        (Some(_), false) => Err(wrong(&["env"], "is given, but `wants` does not hold env")),
        (Some(env), true) => {
            if env.names.is_empty() || env.names.len() > MAX_ITEMS {
                return Err(wrong(&["env", "names"], "must hold 1 to 32 names"));
            }
            if env.names.iter().any(|name| name.as_str().contains(['=', '/', ' '])) {
                return Err(wrong(&["env", "names"], "holds something that is no variable's name"));
            }
            Ok(env.names)
        }
    }
}

fn check_store(
    sheet: &Sheet<'_>,
    wants: &BTreeSet<Grant>,
    store: Option<RawStore>,
) -> Result<Option<Templated>, Failure> {
    let wrong = |path: &[&str], message: &str| sheet.wrong("manifest.store", path, message);
    let Some(store) = store else { return Ok(None) };
    if !wants.contains(&Grant::Store) {
        return Err(wrong(&["store"], "is given, but `wants` does not hold store"));
    }
    if !store.prefix.is_prefix_of_whole_segments() {
        return Err(wrong(&["store", "prefix"], "must be made of whole segments and end in `/`")
            .help("write {ref.path.0}/: otherwise the prefix of one reference begins that of another"));
    }
    Ok(Some(store.prefix))
}

/// SemVer 2.0's form, within [`MAX_VERSION_BYTES`].
pub(crate) fn is_version(text: &str) -> bool {
    let (rest, build) = match text.split_once('+') {
        Some((rest, build)) => (rest, Some(build)),
        None => (text, None),
    };
    let (core, pre) = match rest.split_once('-') {
        Some((core, pre)) => (core, Some(pre)),
        None => (rest, None),
    };
    let number = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    let words = |part: Option<&str>| {
        part.is_none_or(|part| {
            part.split('.').all(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        })
    };
    let parts: Vec<&str> = core.split('.').collect();
    text.len() <= MAX_VERSION_BYTES && parts.len() == 3 && parts.into_iter().all(number) && words(pre) && words(build)
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BatchVisitor;

        impl<'de> Visitor<'de> for BatchVisitor {
            type Value = Batch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"none\", \"all\", or a list of authority, path.N and selector.NAME")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Batch, E> {
                match text {
                    "none" => Ok(Batch::None),
                    "all" => Ok(Batch::All),
                    _ => Err(E::invalid_value(de::Unexpected::Other("text"), &self)),
                }
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Batch, A::Error> {
                let mut fields = Vec::new();
                while let Some(item) = items.next_element::<String>()? {
                    let field = RefField::parse(&item)
                        .ok_or_else(|| de::Error::invalid_value(de::Unexpected::Other("text"), &self))?;
                    fields.push(field);
                }
                if fields.is_empty() {
                    return Err(de::Error::invalid_length(0, &self));
                }
                Ok(Batch::By(fields))
            }
        }

        deserializer.deserialize_any(BatchVisitor)
    }
}
