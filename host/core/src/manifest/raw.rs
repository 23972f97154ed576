//! The manifest as it is written, and the checks between its fields.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Visitor};
use serde_json::{Map, Value};

use super::schema::ConfigSchema;
use super::{Grant, MAX_VERSION_BYTES, Manifest, Placeholder, RefField, ReferenceRule, Templated};
use crate::reference::is_scheme;
use crate::strict::Sheet;
use crate::{Failure, Name, Shape, Shapes, Text};

/// The longest lists in a manifest: enough for any plugin, few enough for a person to read.
const MAX_ITEMS: usize = 32;

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
    schemes: Vec<String>,
    #[serde(default)]
    wants: Vec<Grant>,
    #[serde(default)]
    batch: Batch,
    reference: Option<RawReference>,
    env: Option<RawEnv>,
    store: Option<RawStore>,
    config: Option<Map<String, Value>>,
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
    let schemes = check_schemes(sheet, raw.schemes)?;
    let shape = check_reference(sheet, &schemes, raw.reference.as_ref())?;
    let wants: BTreeSet<Grant> = raw.wants.iter().copied().collect();
    if wants.len() != raw.wants.len() {
        return Err(sheet.wrong("manifest.wants", &["wants"], "names a grant twice"));
    }
    let env = check_env(sheet, &wants, raw.env)?;
    let store = check_store(sheet, &wants, raw.store)?;
    let batch: &[RefField] = if let Batch::By(fields) = &raw.batch { fields } else { &[] };
    if batch.len() > MAX_ITEMS || batch.iter().collect::<BTreeSet<_>>().len() != batch.len() {
        return Err(sheet.wrong("manifest.batch", &["batch"], "names a field twice, or too many"));
    }
    let spoken = [
        (&["env", "names"][..], env.iter().flat_map(fields_of).collect::<Vec<_>>()),
        (&["store", "prefix"][..], store.iter().flat_map(fields_of).collect()),
        (&["batch"][..], batch.iter().collect()),
    ];
    for (path, fields) in spoken {
        if let Some(field) = fields.into_iter().find(|field| !shape.has(field)) {
            let message = format!("speaks of {field}, which references of this plugin do not have");
            return Err(sheet.wrong("manifest.reference", path, message));
        }
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
        config,
    })
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

fn fields_of(text: &Templated) -> impl Iterator<Item = &RefField> {
    text.placeholders().filter_map(|hole| match hole {
        Placeholder::Ref(field) => Some(field),
        Placeholder::Config(_) => None,
    })
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
