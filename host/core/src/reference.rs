//! The one parser of references.
//!
//! A reference is read once, here, into a [`Reference`]; nobody prints one and parses it again. How
//! the part after the scheme reads is a [`Shape`]: those of our own schemes are fixed here, those of
//! third-party providers come from their manifests. Whatever could be read in two ways is refused,
//! with the position of the trouble. A reference is never a secret, and may be shown.

mod below;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use crate::text::is_plain;
use crate::{Failure, Kind, Name, Place, Text};

/// The longest reference, in bytes. Names in the backends are far shorter.
pub const MAX_BYTES: usize = 4096;

/// One reference, parsed and normalised.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The mount that was named outright: `prod` in `prod+keyvault:https://...`.
    pub mount: Option<Name>,
    /// The scheme, without its colon: `keyvault`.
    pub scheme: Box<str>,
    /// The host it points to, lower-cased, for schemes that have one.
    pub authority: Option<String>,
    /// Decoded path segments: `["secrets", "db-password"]`.
    pub path: Vec<String>,
    /// What narrows it: `("version", "7f3c...")`. Sorted by key, no key twice.
    pub selectors: Vec<(String, String)>,
    /// Which part of a JSON value is meant.
    pub field: Option<Field>,
}

/// The way to one field of a JSON value, from the top.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field(pub Vec<String>);

/// How the references of one scheme read after the scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    form: Form,
    /// Names of the path's words, for messages.
    words: Vec<String>,
    min_words: usize,
    max_words: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `keyvault:https://{host}/secrets/{name}[/{version}]`
    KeyVault,
    /// `azureml://connections/...`; `?`, `#` and `%` are literal.
    AzureMl,
    /// `env:NAME` or `env://NAME`; all literal.
    Env,
    /// `file:/absolute/path`; all literal.
    File,
    /// `scheme://a/b?selector=x#field`
    Path,
    /// `scheme://host[:port]/a/b?selector=x#field`
    Host,
}

impl Shape {
    /// The shape of a third-party scheme: `scheme://[host/]word/word...[?selector=][#field]`.
    ///
    /// A word that ends in `?` may be absent, with all that follow it; one that ends in `*` stands
    /// for one segment or more and must be the last.
    ///
    /// # Errors
    /// A message for the manifest's author.
    pub fn uri<S: AsRef<str>>(authority: bool, words: &[S]) -> Result<Self, &'static str> {
        let form = if authority { Form::Host } else { Form::Path };
        let mut shape = Self { form, words: Vec::new(), min_words: 0, max_words: 0 };
        for word in words {
            let word = word.as_ref();
            if shape.max_words == usize::MAX {
                return Err("the word with `*` must be the last one");
            }
            let (name, optional, rest) = match (word.strip_suffix('?'), word.strip_suffix('*')) {
                (Some(name), _) => (name, true, false),
                (None, Some(name)) => (name, false, true),
                (None, None) => (word, false, false),
            };
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
                return Err("a word of `reference.path` is made of a-z, 0-9 and -");
            }
            if !optional {
                if shape.min_words < shape.words.len() {
                    return Err("a word after an optional one must be optional too");
                }
                shape.min_words += 1;
            }
            shape.max_words = if rest { usize::MAX } else { shape.max_words + 1 };
            shape.words.push(name.to_owned());
        }
        if shape.words.is_empty() {
            return Err("`reference.path` names at least one word");
        }
        Ok(shape)
    }

    /// Whether references of this shape name a host.
    pub fn has_authority(&self) -> bool {
        matches!(self.form, Form::Host | Form::KeyVault)
    }

    /// The names of the path's words.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    fn fixed(form: Form, words: &[&str], min_words: usize, max_words: usize) -> Self {
        Self { form, words: words.iter().map(|w| (*w).to_owned()).collect(), min_words, max_words }
    }
}

/// The shapes of all schemes that are known to this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shapes(BTreeMap<Box<str>, Shape>);

impl Shapes {
    /// The schemes of Strongroom's own providers. No plugin may claim one of them.
    pub fn builtin() -> Self {
        let mut shapes = BTreeMap::new();
        let mut add = |scheme: &str, shape| shapes.insert(scheme.into(), shape);
        add("azureml", Shape::fixed(Form::AzureMl, &["connections", "connection", "part", "key"], 2, 4));
        add("env", Shape::fixed(Form::Env, &["name"], 1, 1));
        add("file", Shape::fixed(Form::File, &["path"], 1, 1));
        add("keys", Shape::fixed(Form::Path, &["group", "name", "key"], 1, 3));
        add("keyvault", Shape::fixed(Form::KeyVault, &["secrets", "name"], 2, 2));
        Self(shapes)
    }

    /// Adds a third-party scheme. False if the scheme has another shape already, or is no scheme.
    pub fn insert(&mut self, scheme: &str, shape: Shape) -> bool {
        if !is_scheme(scheme) {
            return false;
        }
        match self.0.get(scheme) {
            Some(known) => *known == shape,
            None => {
                self.0.insert(scheme.into(), shape);
                true
            }
        }
    }

    /// The shape of `scheme`.
    pub fn get(&self, scheme: &str) -> Option<&Shape> {
        self.0.get(scheme)
    }

    /// All known schemes, sorted.
    pub fn schemes(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|k| &**k)
    }
}

/// True for `[a-z][a-z0-9.-]*`, what a manifest may claim as a scheme. (`+` separates the mount.)
pub fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-')
}

/// Why a text is no reference, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceError {
    /// What the host acts on.
    pub kind: Kind,
    /// Stable.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The bytes at fault, within the text that was parsed.
    pub span: Range<usize>,
}

impl ReferenceError {
    fn new(code: &'static str, message: impl Into<String>, span: Range<usize>) -> Self {
        Self { kind: Kind::InvalidReference, code, message: message.into(), help: None, span }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn shifted(mut self, by: usize) -> Self {
        self.span = self.span.start + by..self.span.end + by;
        self
    }

    /// The failure to report, for the reference `text` that stands at `origin` and `position`.
    pub fn into_failure(self, text: &str, origin: Text, position: Option<(usize, usize)>) -> Failure {
        let place = Place { origin, position, excerpt: Text::new(text), span: self.span };
        let failure = Failure::new(self.kind, self.code, self.message).about(text).at(place);
        match self.help {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)
    }
}

impl std::error::Error for ReferenceError {}

impl Reference {
    /// Reads a bare reference (`env:NAME`), or one that stands alone in `${{...}}` or in App
    /// Service's `@Microsoft.KeyVault(...)`.
    ///
    /// # Errors
    /// [`ReferenceError`] with the bytes at fault.
    ///
    /// ```
    /// use strongroom_core::{Reference, Shapes};
    /// let shapes = Shapes::builtin();
    /// let reference = Reference::parse("${{keyvault:https://V.vault.azure.net/secrets/n/7f}}", &shapes)?;
    /// assert_eq!(reference.authority.as_deref(), Some("v.vault.azure.net"));
    /// assert_eq!(reference.path, ["secrets", "n"]);
    /// assert_eq!(reference.selectors, [("version".to_owned(), "7f".to_owned())]);
    /// # Ok::<(), strongroom_core::reference::ReferenceError>(())
    /// ```
    pub fn parse(text: &str, shapes: &Shapes) -> Result<Self, ReferenceError> {
        Self::parse_any(text, shapes, false)
    }

    /// As [`Reference::parse`], for the scope of a listing: the path may end early (`keys://`).
    ///
    /// # Errors
    /// As [`Reference::parse`].
    pub fn parse_scope(text: &str, shapes: &Shapes) -> Result<Self, ReferenceError> {
        Self::parse_any(text, shapes, true)
    }

    fn parse_any(text: &str, shapes: &Shapes, scope: bool) -> Result<Self, ReferenceError> {
        if let Some(reference) = parse_app_service(text)? {
            return Ok(reference);
        }
        if let Some(inner) = text.strip_prefix("${{") {
            let Some(inner) = inner.strip_suffix("}}") else {
                return Err(unterminated(0..text.len()));
            };
            let (blanks, bare) = trim_blanks(inner);
            return Self::parse_bare(bare, shapes, scope).map_err(|e| e.shifted(3 + blanks));
        }
        Self::parse_bare(text, shapes, scope)
    }

    /// Reads what stands between `${{` and `}}`, blanks removed.
    pub(crate) fn parse_bare(text: &str, shapes: &Shapes, scope: bool) -> Result<Self, ReferenceError> {
        let all = 0..text.len();
        check_text(text)?;
        if memchr::memchr2(b'{', b'}', text.as_bytes()).is_some()
            && let Some(at) = text.find("${{").or_else(|| text.find("}}"))
        {
            return Err(ReferenceError::new("reference.nested", "references cannot be nested", at..at + 2));
        }
        let Some((prefix, rest)) = split_scheme(text) else {
            return Err(ReferenceError::new(
                "reference.no-scheme",
                "this is no reference: it does not begin with a scheme",
                all,
            )
            .help(
                "a reference looks like env:NAME, keys://group/name or keyvault:https://v.vault.azure.net/secrets/n",
            ));
        };
        let (mount, scheme) = match prefix.rsplit_once('+') {
            None => (None, prefix),
            Some((mount, scheme)) => match Name::parse(mount) {
                Ok(name) => (Some(name), scheme),
                Err(error) => {
                    return Err(ReferenceError::new(
                        "reference.mount-name",
                        format!("before the `+` stands a mount's name: {error}"),
                        0..mount.len(),
                    ));
                }
            },
        };
        let scheme_at = prefix.len() - scheme.len();
        let Some(shape) = shapes.get(scheme) else {
            return Err(unknown_scheme(scheme, shapes, scheme_at..prefix.len()));
        };
        let mut reference = Self {
            mount,
            scheme: scheme.into(),
            authority: None,
            path: Vec::new(),
            selectors: Vec::new(),
            field: None,
        };
        let body = Body { text: rest, at: prefix.len() + 1 };
        match shape.form {
            Form::KeyVault => reference.read_key_vault(body, scope)?,
            Form::AzureMl => reference.read_azureml(body, scope)?,
            Form::Env => reference.read_env(body, scope)?,
            Form::File => reference.read_file(body, scope)?,
            Form::Path | Form::Host => reference.read_uri(body, shape, scope)?,
        }
        Ok(reference)
    }

    /// The selector `key`, if it is there.
    pub fn selector(&self, key: &str) -> Option<&str> {
        self.selectors.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// What it asks for, as text: references that differ only in the mount they name or in their field ask the same.
    pub fn question(&self) -> Question<'_> {
        Question(self)
    }

    /// The path as patterns see it: segments joined by `/`.
    pub fn joined_path(&self) -> Cow<'_, str> {
        match self.path.as_slice() {
            [only] => Cow::Borrowed(only),
            path => Cow::Owned(path.join("/")),
        }
    }

    fn read_key_vault(&mut self, body: Body<'_>, scope: bool) -> Result<(), ReferenceError> {
        const FORM: &str = "write keyvault:https://{vault-host}/secrets/{name} or .../{name}/{version}";
        let rest = body
            .strip("https://")
            .ok_or_else(|| body.error("reference.form", "after `keyvault:` comes https://").help(FORM))?;
        let (rest, field) = rest.split_field()?;
        self.field = field;
        if let Some(at) = rest.text.find('?') {
            return Err(rest
                .error_at("reference.selector", "a vault reference has no selectors", at..rest.text.len())
                .help("the version is the last part of the path"));
        }
        let (host, path) = rest.split_once('/');
        self.authority = Some(read_authority(host, false)?);
        let mut segments = path.into_iter().flat_map(Body::segments);
        let word = segments.next();
        if word.is_none_or(|w| w.text != "secrets") {
            if scope && word.is_none() {
                return Ok(());
            }
            return Err(word
                .unwrap_or(rest)
                .error("reference.form", "a vault reference names a secret: /secrets/{name}")
                .help(FORM));
        }
        self.path.push("secrets".to_owned());
        let Some(name) = segments.next() else {
            return if scope {
                Ok(())
            } else {
                Err(rest.error("reference.form", "the secret's name is missing").help(FORM))
            };
        };
        if !is_vault_name(name.text) {
            return Err(name.error("reference.name", "a vault secret's name is 1 to 127 of A-Z, a-z, 0-9 and -"));
        }
        self.path.push(name.text.to_owned());
        if let Some(version) = segments.next() {
            if !is_word(version.text, "") {
                return Err(version.error("reference.version", "a version is made of letters and digits"));
            }
            self.selectors.push(("version".to_owned(), version.text.to_owned()));
        }
        match segments.next() {
            Some(extra) => Err(extra.error("reference.form", "nothing may follow the version").help(FORM)),
            None => Ok(()),
        }
    }

    fn read_azureml(&mut self, body: Body<'_>, scope: bool) -> Result<(), ReferenceError> {
        const FORM: &str = "write azureml://connections/{c}, .../credentials/{key}, .../metadata/{key}, .../target, or azureml://keyvault/{name}";
        let rest =
            body.strip("//").ok_or_else(|| body.error("reference.form", "after `azureml:` comes //").help(FORM))?;
        if rest.text.is_empty() && scope {
            return Ok(());
        }
        let segments: Vec<_> = rest.segments().collect();
        for segment in &segments {
            segment.check_plain_segment()?;
        }
        let words: Vec<&str> = segments.iter().map(|s| s.text).collect();
        if !(is_azureml(&words) || scope && matches!(*words, ["connections" | "keyvault"])) {
            return Err(rest.error("reference.form", "this is none of the forms of an azureml reference").help(FORM));
        }
        self.path = words.into_iter().map(str::to_owned).collect();
        Ok(())
    }

    fn read_env(&mut self, body: Body<'_>, scope: bool) -> Result<(), ReferenceError> {
        let name = body.strip("//").unwrap_or(body);
        if name.text.is_empty() && scope {
            return Ok(());
        }
        if name.text.is_empty() {
            return Err(body.error("reference.form", "the variable's name is missing").help("write env:NAME"));
        }
        if let Some((at, c)) = name.text.char_indices().find(|(_, c)| ends_variable(*c)) {
            return Err(name.error_at(
                "reference.name",
                format!("a variable's name holds no `{c}`"),
                at..at + c.len_utf8(),
            ));
        }
        self.path.push(name.text.to_owned());
        Ok(())
    }

    fn read_file(&mut self, body: Body<'_>, scope: bool) -> Result<(), ReferenceError> {
        let path = body.strip("//").unwrap_or(body);
        if path.text.is_empty() && scope {
            return Ok(());
        }
        let Some(relative) = path.strip("/") else {
            return Err(path
                .error("reference.form", "a file reference is an absolute path")
                .help("write file:/run/secrets/name"));
        };
        for segment in relative.segments() {
            segment.check_plain_segment()?;
        }
        self.path.push(path.text.to_owned());
        Ok(())
    }

    fn read_uri(&mut self, body: Body<'_>, shape: &Shape, scope: bool) -> Result<(), ReferenceError> {
        let form = || describe(&self.scheme, shape);
        let rest = body
            .strip("//")
            .ok_or_else(|| body.error("reference.form", format!("after `{}:` comes //", self.scheme)).help(form()))?;
        let (rest, field) = rest.split_field()?;
        let (rest, query) = rest.split_once('?');
        let mut path = Some(rest);
        if shape.form == Form::Host && !(scope && rest.text.is_empty()) {
            let (host, tail) = rest.split_once('/');
            self.authority = Some(read_authority(host, true)?);
            path = tail;
        }
        let mut segments = Vec::new();
        if let Some(path) = path.filter(|p| !p.text.is_empty()) {
            for segment in path.segments() {
                segments.push(segment.decode_segment()?);
            }
        }
        if segments.len() > shape.max_words {
            return Err(rest.error("reference.form", "this reference has too many parts").help(form()));
        }
        if segments.len() < shape.min_words && !scope {
            let missing = shape.words.get(segments.len()).map_or("path", String::as_str);
            return Err(rest.error("reference.form", format!("the {missing} is missing")).help(form()));
        }
        let selectors = query.map(Body::read_selectors).transpose()?.unwrap_or_default();
        self.path = segments;
        self.selectors = selectors;
        self.field = field;
        Ok(())
    }
}

/// What a [`Reference`] asks for, as text: without the mount that it names outright and without its field.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a>(&'a Reference);

impl fmt::Display for Question<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_question(f)
    }
}

/// The bare reference, normalised: what `explain`, the audit and error messages call it.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_mount(f)?;
        self.write_question(f)?;
        self.write_field(f)
    }
}

impl Reference {
    /// As text, and where in that stands its [`question`](Self::question).
    pub fn written(&self) -> (String, Range<usize>) {
        let mut text = String::with_capacity(64);
        // It writes into memory, and cannot fail.
        let _ = self.write_mount(&mut text);
        let start = text.len();
        let _ = self.write_question(&mut text);
        let end = text.len();
        let _ = self.write_field(&mut text);
        (text, start..end)
    }

    fn write_mount(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match &self.mount {
            Some(mount) => write!(out, "{mount}+"),
            None => Ok(()),
        }
    }

    fn write_question(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Self { scheme, authority, path, selectors, .. } = self;
        out.write_str(scheme)?;
        match (&**scheme, authority) {
            ("keyvault", Some(host)) => {
                write!(out, ":https://{host}")?;
                path.iter().try_for_each(|part| write!(out, "/{part}"))?;
                if let Some(version) = self.selector("version") {
                    write!(out, "/{version}")?;
                }
            }
            ("env" | "file", _) => write!(out, ":{}", self.joined_path())?,
            ("azureml", _) => write!(out, "://{}", self.joined_path())?,
            (_, host) => {
                out.write_str("://")?;
                out.write_str(host.as_deref().unwrap_or_default())?;
                for (index, part) in path.iter().enumerate() {
                    if index > 0 || host.is_some() {
                        out.write_char('/')?;
                    }
                    encode(out, part, "")?;
                }
                for (index, (key, value)) in selectors.iter().enumerate() {
                    write!(out, "{}{key}=", if index == 0 { '?' } else { '&' })?;
                    encode(out, value, "/")?;
                }
            }
        }
        Ok(())
    }

    fn write_field(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Some(Field(tokens)) = &self.field else { return Ok(()) };
        let pointer: String = tokens.iter().map(|t| format!("/{}", t.replace('~', "~0").replace('/', "~1"))).collect();
        out.write_char('#')?;
        encode(out, &pointer, "/")
    }
}

impl serde::Serialize for Reference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What holds for a reference in any of its forms.
fn check_text(text: &str) -> Result<(), ReferenceError> {
    if text.len() > MAX_BYTES {
        return Err(ReferenceError::new(
            "reference.too-long",
            format!("a reference has at most {MAX_BYTES} bytes"),
            0..text.len(),
        ));
    }
    if is_plain(text) {
        return Ok(());
    }
    match text.char_indices().find(|(_, c)| c.is_control()) {
        None => Ok(()),
        Some((at, c)) => Err(ReferenceError::new(
            "reference.character",
            "a reference holds no control characters",
            at..at + c.len_utf8(),
        )),
    }
}

/// The error for `${{` without its `}}`.
pub(crate) fn unterminated(span: Range<usize>) -> ReferenceError {
    ReferenceError::new("reference.unterminated", "this reference is not closed: `}}` is missing", span)
        .help("write $${{ if a literal ${{ is meant")
}

/// True if `inner` begins as references do: blanks, then `[a-z][a-z0-9+.-]*:`.
pub(crate) fn begins_like_reference(inner: &str) -> bool {
    split_scheme(trim_blanks(inner).1).is_some()
}

/// `text` without the blanks around it, and how many bytes of them stood in front.
pub(crate) fn trim_blanks(text: &str) -> (usize, &str) {
    let blank = |c| c == ' ' || c == '\t';
    let rest = text.trim_start_matches(blank);
    (text.len() - rest.len(), rest.trim_end_matches(blank))
}

/// 1 to 127 letters, digits and characters of `extra`.
fn is_word(text: &str, extra: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || extra.contains(c);
    (1..=127).contains(&text.len()) && text.chars().all(plain)
}

/// True for the name of a vault's secret.
fn is_vault_name(text: &str) -> bool {
    is_word(text, "-")
}

/// True for the path of an `azureml` reference.
fn is_azureml(words: &[&str]) -> bool {
    matches!(
        words,
        ["connections", _]
            | ["connections", _, "target"]
            | ["connections", _, "credentials" | "metadata", _]
            | ["keyvault", _]
    )
}

/// What no variable's name holds.
fn ends_variable(c: char) -> bool {
    c == '=' || c == '/' || c.is_whitespace()
}

fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let fits = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-".contains(&b));
    fits.then_some((scheme, rest))
}

fn unknown_scheme(scheme: &str, shapes: &Shapes, span: Range<usize>) -> ReferenceError {
    let known: Vec<&str> = shapes.schemes().collect();
    let near = known.iter().filter(|k| edit_distance(k, scheme) <= 2).min_by_key(|k| edit_distance(k, scheme));
    let help = match near {
        Some(near) => format!("did you mean `{near}:`?"),
        None => format!("known schemes are {}; a plugin adds its own: strongroom plugin add FILE", known.join(", ")),
    };
    let mut error =
        ReferenceError::new("reference.unknown-scheme", format!("no mount answers the scheme `{scheme}`"), span)
            .help(help);
    error.kind = Kind::UnknownMount;
    error
}

/// Levenshtein's distance, in characters: for a "did you mean" over a handful of short words.
pub fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let above = *cell;
            left = (above + 1).min(left + 1).min(diagonal + usize::from(x != y));
            diagonal = above;
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

fn describe(scheme: &str, shape: &Shape) -> String {
    let host = if shape.has_authority() { "{host}/" } else { "" };
    let mut words = String::new();
    for (index, word) in shape.words.iter().enumerate() {
        let slash = if index == 0 { "" } else { "/" };
        let dots = if shape.max_words == usize::MAX && index + 1 == shape.words.len() { "..." } else { "" };
        words +=
            &if index < shape.min_words { format!("{slash}{{{word}}}{dots}") } else { format!("[{slash}{{{word}}}]") };
    }
    format!("write {scheme}://{host}{words}")
}

/// A piece of the reference and where it stands in it.
#[derive(Debug, Clone, Copy)]
struct Body<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Body<'a> {
    fn error(self, code: &'static str, message: impl Into<String>) -> ReferenceError {
        self.error_at(code, message, 0..self.text.len())
    }

    fn error_at(self, code: &'static str, message: impl Into<String>, span: Range<usize>) -> ReferenceError {
        ReferenceError::new(code, message, span).shifted(self.at)
    }

    fn strip(self, prefix: &str) -> Option<Self> {
        self.text.strip_prefix(prefix).map(|text| Body { text, at: self.at + prefix.len() })
    }

    fn split_once(self, separator: char) -> (Self, Option<Self>) {
        match self.text.split_once(separator) {
            Some((head, tail)) => (
                Body { text: head, at: self.at },
                Some(Body { text: tail, at: self.at + head.len() + separator.len_utf8() }),
            ),
            None => (self, None),
        }
    }

    fn segments(self) -> impl Iterator<Item = Self> {
        self.text.split('/').scan(self.at, |next, text| {
            let at = *next;
            *next += text.len() + 1;
            Some(Body { text, at })
        })
    }

    /// A segment without meaning of its own: not empty, not `.` or `..`, no backslash.
    fn check_plain_segment(self) -> Result<(), ReferenceError> {
        match self.text {
            "" => Err(self.error("reference.empty-segment", "an empty part between slashes")),
            "." | ".." => Err(self.error("reference.dot-segment", "`.` and `..` are not resolved in references")),
            text => match text.find('\\') {
                Some(at) => Err(self.error_at("reference.character", "a backslash is not allowed here", at..at + 1)),
                None => Ok(()),
            },
        }
    }

    fn decode(self) -> Result<String, ReferenceError> {
        if !self.text.contains('%') {
            return Ok(self.text.to_owned());
        }
        let mut bytes = Vec::with_capacity(self.text.len());
        let mut rest = self.text.bytes().enumerate();
        while let Some((at, byte)) = rest.next() {
            if byte != b'%' {
                bytes.push(byte);
                continue;
            }
            let digits = (rest.next().and_then(|(_, b)| hex_digit(b)), rest.next().and_then(|(_, b)| hex_digit(b)));
            let (Some(high), Some(low)) = digits else {
                let end = self
                    .text
                    .char_indices()
                    .map(|(i, c)| i + c.len_utf8())
                    .find(|end| *end > at + 2)
                    .unwrap_or(self.text.len());
                return Err(self
                    .error_at("reference.escape", "`%` is followed by two hexadecimal digits", at..end)
                    .help("write %25 for a literal %"));
            };
            let decoded = high << 4 | low;
            if decoded == b'/' || decoded < 0x20 || decoded == 0x7f {
                return Err(self.error_at(
                    "reference.escape",
                    "an escaped slash or control character is not allowed",
                    at..at + 3,
                ));
            }
            bytes.push(decoded);
        }
        let decoded =
            String::from_utf8(bytes).map_err(|_| self.error("reference.escape", "the escapes are no UTF-8"))?;
        // Those of Latin-1 take two bytes.
        if decoded.chars().any(char::is_control) {
            return Err(self.error("reference.escape", "an escaped control character is not allowed"));
        }
        Ok(decoded)
    }

    fn decode_segment(self) -> Result<String, ReferenceError> {
        self.check_plain_segment()?;
        let decoded = self.decode()?;
        Body { text: &decoded, at: self.at }.check_plain_segment().map_err(|e| self.error(e.code, e.message))?;
        Ok(decoded)
    }

    fn split_field(self) -> Result<(Self, Option<Field>), ReferenceError> {
        let (rest, field) = self.split_once('#');
        Ok((rest, field.map(Body::read_field).transpose()?))
    }

    fn read_field(self) -> Result<Field, ReferenceError> {
        // The fragment is decoded as a whole: `~1` is how a pointer writes a slash.
        let decoded = self.decode()?;
        let tokens: Vec<String> = match decoded.strip_prefix('/') {
            Some(pointer) => {
                let mut tokens = Vec::new();
                for token in pointer.split('/') {
                    if token.replace("~0", "").replace("~1", "").contains('~') {
                        return Err(self.error("reference.field", "in a JSON pointer `~` is followed by 0 or 1"));
                    }
                    tokens.push(token.replace("~1", "/").replace("~0", "~"));
                }
                tokens
            }
            None => decoded.split('.').map(str::to_owned).collect(),
        };
        if decoded.is_empty() || (!decoded.starts_with('/') && tokens.iter().any(String::is_empty)) {
            return Err(self
                .error("reference.field", "the field's name is missing")
                .help("write #name, #outer.inner or #/json/pointer"));
        }
        Ok(Field(tokens))
    }

    fn read_selectors(self) -> Result<Vec<(String, String)>, ReferenceError> {
        let mut selectors: Vec<(String, String)> = Vec::new();
        let mut at = self.at;
        for pair in self.text.split('&') {
            let pair = Body { text: pair, at };
            at += pair.text.len() + 1;
            let (key, Some(value)) = pair.split_once('=') else {
                return Err(pair.error("reference.selector", "a selector is written name=value"));
            };
            let fits = key.text.starts_with(|c: char| c.is_ascii_lowercase())
                && key.text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b));
            if !fits {
                return Err(key.error("reference.selector", "a selector's name is made of a-z, 0-9, - and _"));
            }
            if selectors.iter().any(|(k, _)| k == key.text) {
                return Err(key.error("reference.selector", format!("the selector `{}` stands twice", key.text)));
            }
            let value_text = value.decode()?;
            if value_text.is_empty() {
                return Err(pair.error("reference.selector", "the selector's value is missing"));
            }
            selectors.push((key.text.to_owned(), value_text));
        }
        selectors.sort();
        Ok(selectors)
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

/// `also` are the characters that mean themselves in this part alone: an escaped slash is never read.
fn encode(out: &mut dyn fmt::Write, part: &str, also: &str) -> fmt::Result {
    let plain = |c: char| {
        !c.is_ascii()
            || c.is_ascii_alphanumeric()
            || matches!(c, '-' | '.' | '_' | '~' | '!' | '$' | '\'' | '(' | ')' | '*' | ',' | ':' | '@' | '+')
            || also.contains(c)
    };
    let mut rest = part;
    while let Some((at, c)) = rest.char_indices().find(|(_, c)| !plain(*c)) {
        let (before, from) = rest.split_at(at);
        write!(out, "{before}%{:02X}", u32::from(c))?;
        // What is not plain is one byte long.
        rest = from.get(1..).unwrap_or_default();
    }
    out.write_str(rest)
}

/// A host, and where `port` says so a port. No user-info, no trailing dot, no brackets.
fn read_authority(host: Body<'_>, port: bool) -> Result<String, ReferenceError> {
    let bad = |message: &str| Err(host.error("reference.host", message));
    let (name, digits) = match host.text.split_once(':') {
        Some((name, digits)) if port => (name, Some(digits)),
        Some(_) => return bad("a port is not allowed here"),
        None => (host.text, None),
    };
    if name.is_empty() {
        return bad("the host is missing");
    }
    if name.contains('@') {
        return bad("user information before the host is not allowed");
    }
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return bad("this is no host name: labels of A-Z, a-z, 0-9 and -, separated by dots");
    }
    let lower = name.to_ascii_lowercase();
    let Some(digits) = digits else { return Ok(lower) };
    match digits.parse::<u16>() {
        Ok(number) if number != 0 && !digits.starts_with(['0', '+']) => Ok(format!("{lower}:{number}")),
        _ => bad("the port is no number from 1 to 65535"),
    }
}

/// `@Microsoft.KeyVault(SecretUri=...)` and `(VaultName=...;SecretName=...;SecretVersion=...)`, as
/// App Service reads them. `None` if the text is not of that form at all.
fn parse_app_service(text: &str) -> Result<Option<Reference>, ReferenceError> {
    const PREFIX: &str = "@Microsoft.KeyVault(";
    const FORM: &str = "write @Microsoft.KeyVault(SecretUri=https://{vault-host}/secrets/{name}) or @Microsoft.KeyVault(VaultName={v};SecretName={n};SecretVersion={ver})";
    let Some(inner) = text.strip_prefix(PREFIX) else { return Ok(None) };
    check_text(text)?;
    let whole = Body { text, at: 0 };
    let Some(inner) = inner.strip_suffix(')') else {
        return Err(whole.error("reference.unterminated", "this reference is not closed: `)` is missing").help(FORM));
    };
    let mut reference = Reference {
        mount: None,
        scheme: "keyvault".into(),
        authority: None,
        path: Vec::new(),
        selectors: Vec::new(),
        field: None,
    };
    let (mut uri, mut vault, mut name, mut version) = (None, None, None, None);
    let mut at = PREFIX.len();
    for pair in inner.split(';') {
        let pair = Body { text: pair, at };
        at += pair.text.len() + 1;
        let (key, Some(value)) = pair.split_once('=') else {
            return Err(pair.error("reference.form", "a part is written Name=value").help(FORM));
        };
        let slot = match key.text.trim() {
            "SecretUri" => &mut uri,
            "VaultName" => &mut vault,
            "SecretName" => &mut name,
            "SecretVersion" => &mut version,
            _ => return Err(key.error("reference.form", "this part is not known").help(FORM)),
        };
        if slot.replace(value).is_some() {
            return Err(key.error("reference.form", "this part stands twice").help(FORM));
        }
    }
    match (uri, vault, name) {
        (Some(uri), None, None) if version.is_none() => {
            // App Service writes the version-less form with a slash at the end.
            let text = uri.text.strip_suffix('/').unwrap_or(uri.text);
            reference.read_key_vault(Body { text, at: uri.at }, false)?;
        }
        (None, Some(vault), Some(name)) => {
            if !vault.text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                return Err(vault.error("reference.host", "a vault's name is made of A-Z, a-z, 0-9 and -"));
            }
            let version = version.filter(|v| !v.text.is_empty()).map(|v| format!("/{}", v.text)).unwrap_or_default();
            let text = format!("https://{}.vault.azure.net/secrets/{}{version}", vault.text, name.text);
            reference
                .read_key_vault(Body { text: &text, at: 0 }, false)
                .map_err(|e| ReferenceError { span: 0..whole.text.len(), ..e })?;
        }
        _ => return Err(whole.error("reference.form", "this form of a Key Vault reference is not known").help(FORM)),
    }
    Ok(Some(reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes() -> Shapes {
        let mut shapes = Shapes::builtin();
        assert!(shapes.insert("acme", Shape::uri(false, &["team", "name?"]).unwrap()));
        assert!(shapes.insert("vault", Shape::uri(true, &["path*"]).unwrap()));
        shapes
    }

    fn parse(text: &str) -> Reference {
        Reference::parse(text, &shapes()).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn error(text: &str) -> ReferenceError {
        Reference::parse(text, &shapes()).expect_err(text)
    }

    #[test]
    fn the_documented_forms() {
        let table = [
            ("env:NAME", "env:NAME", vec!["NAME"]),
            ("env://NAME", "env:NAME", vec!["NAME"]),
            ("env:A?B#C%20", "env:A?B#C%20", vec!["A?B#C%20"]),
            ("${{ env:NAME }}", "env:NAME", vec!["NAME"]),
            ("file:/run/secrets/db", "file:/run/secrets/db", vec!["/run/secrets/db"]),
            ("keys://openai", "keys://openai", vec!["openai"]),
            ("keys://openai/KEY?version=3", "keys://openai/KEY?version=3", vec!["openai", "KEY"]),
            ("keys://a%20b/c%25d", "keys://a%20b/c%25d", vec!["a b", "c%d"]),
            ("azureml://connections/c", "azureml://connections/c", vec!["connections", "c"]),
            (
                "azureml://connections/c/credentials/A?B#%41",
                "azureml://connections/c/credentials/A?B#%41",
                vec!["connections", "c", "credentials", "A?B#%41"],
            ),
            ("azureml://keyvault/n", "azureml://keyvault/n", vec!["keyvault", "n"]),
            (
                "prod+keyvault:https://v.vault.azure.net/secrets/n/ab12",
                "prod+keyvault:https://v.vault.azure.net/secrets/n/ab12",
                vec!["secrets", "n"],
            ),
            ("acme://t/n#a.b", "acme://t/n#/a/b", vec!["t", "n"]),
            ("acme://t/n#%24%7B%7Bb%7D%7D", "acme://t/n#/$%7B%7Bb%7D%7D", vec!["t", "n"]),
            ("acme://t/n?a=b/c", "acme://t/n?a=b/c", vec!["t", "n"]),
            ("vault://Host:8200/a/b/c?version=2", "vault://host:8200/a/b/c?version=2", vec!["a", "b", "c"]),
            (
                "@Microsoft.KeyVault(SecretUri=https://V.vault.azure.net/secrets/n/)",
                "keyvault:https://v.vault.azure.net/secrets/n",
                vec!["secrets", "n"],
            ),
            (
                "@Microsoft.KeyVault(VaultName=v;SecretName=n;SecretVersion=ab)",
                "keyvault:https://v.vault.azure.net/secrets/n/ab",
                vec!["secrets", "n"],
            ),
        ];
        for (text, shown, path) in table {
            let reference = parse(text);
            assert_eq!(reference.path, path, "{text}");
            assert_eq!(reference.to_string(), shown, "{text}");
            assert_eq!(parse(&reference.to_string()), reference, "{text}");
        }
    }

    #[test]
    fn fields_are_pointers_or_dotted_names() {
        let field = |text| parse(text).field.unwrap().0;
        assert_eq!(field("keys://g#/a~1b/c~0d"), ["a/b", "c~d"]);
        assert_eq!(field("keys://g#a.b"), ["a", "b"]);
        assert_eq!(field("keys://g#/"), [""]);
        for bad in ["keys://g#", "keys://g#a..b", "keys://g#/a~2"] {
            assert_eq!(error(bad).code, "reference.field", "{bad}");
        }
    }

    #[test]
    fn refusals_name_the_code_and_the_bytes() {
        let table = [
            ("NAME", "reference.no-scheme", "NAME"),
            ("", "reference.no-scheme", ""),
            ("Env:NAME", "reference.no-scheme", "Env:NAME"),
            ("envv:NAME", "reference.unknown-scheme", "envv"),
            ("Prod+env:X", "reference.no-scheme", "Prod+env:X"),
            ("9+env:X", "reference.no-scheme", "9+env:X"),
            ("a.b+env:X", "reference.mount-name", "a.b"),
            ("env:", "reference.form", ""),
            ("env:A/B", "reference.name", "/"),
            ("env:A=B", "reference.name", "="),
            ("env:A B", "reference.name", " "),
            ("${{env:X", "reference.unterminated", "${{env:X"),
            ("${{env:${{env:X}}}}", "reference.nested", "${"),
            ("keys:openai", "reference.form", "openai"),
            ("keys://", "reference.form", ""),
            ("keys://a//b", "reference.empty-segment", ""),
            ("keys://a/", "reference.empty-segment", ""),
            ("keys://a/../b", "reference.dot-segment", ".."),
            ("keys://a/%2e%2e", "reference.dot-segment", "%2e%2e"),
            ("keys://a/b%2fc", "reference.escape", "%2f"),
            ("keys://a/b%00c", "reference.escape", "%00"),
            ("keys://a/b%C2%85c", "reference.escape", "b%C2%85c"),
            ("keys://a/b%4", "reference.escape", "%4"),
            ("keys://a/b%ff", "reference.escape", "b%ff"),
            ("keys://a/b\\c", "reference.character", "\\"),
            ("keys://a/b/c/d", "reference.form", "a/b/c/d"),
            ("keys://a?version", "reference.selector", "version"),
            ("keys://a?version=1&version=2", "reference.selector", "version"),
            ("keys://a?Version=1", "reference.selector", "Version"),
            ("keyvault:http://v.vault.azure.net/secrets/n", "reference.form", "http://v.vault.azure.net/secrets/n"),
            ("keyvault:https://v.vault.azure.net/keys/n", "reference.form", "keys"),
            ("keyvault:https://v.vault.azure.net:443/secrets/n", "reference.host", "v.vault.azure.net:443"),
            ("keyvault:https://u@v.vault.azure.net/secrets/n", "reference.host", "u@v.vault.azure.net"),
            ("keyvault:https://v.vault.azure.net./secrets/n", "reference.host", "v.vault.azure.net."),
            ("keyvault:https://v.vault.azure.net/secrets/n_m", "reference.name", "n_m"),
            ("keyvault:https://v.vault.azure.net/secrets/n/", "reference.version", ""),
            ("keyvault:https://v.vault.azure.net/secrets/n/a/b", "reference.form", "b"),
            ("keyvault:https://v.vault.azure.net/secrets/n?version=1", "reference.selector", "?version=1"),
            ("azureml://connections", "reference.form", "connections"),
            ("azureml://connections/c/secrets/x", "reference.form", "connections/c/secrets/x"),
            ("azureml://connections/../x", "reference.dot-segment", ".."),
            ("file:run/x", "reference.form", "run/x"),
            ("file:/run/../etc/shadow", "reference.dot-segment", ".."),
            ("vault://h:0/a", "reference.host", "h:0"),
            ("vault://h:65536/a", "reference.host", "h:65536"),
            ("vault://[::1]/a", "reference.host", "[::1]"),
            ("env:A\u{7}", "reference.character", "\u{7}"),
            (
                "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/n",
                "reference.unterminated",
                "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/n",
            ),
            ("@Microsoft.KeyVault(Uri=x)", "reference.form", "Uri"),
            ("@Microsoft.KeyVault(SecretUri=https://v.x/secrets/n#a\nb)", "reference.character", "\n"),
        ];
        for (text, code, at) in table {
            let error = error(text);
            assert_eq!(error.code, code, "{text}: {error}");
            assert_eq!(&text[error.span.clone()], at, "{text}: {error}");
        }
    }

    #[test]
    fn a_near_scheme_is_suggested() {
        assert_eq!(error("keyvualt:https://v/secrets/n").help.unwrap(), "did you mean `keyvault:`?");
        assert_eq!(error("envv:X").kind, Kind::UnknownMount);
    }

    #[test]
    fn scopes_may_end_early() {
        let shapes = shapes();
        for scope in [
            "keys://",
            "env:",
            "azureml://connections",
            "keyvault:https://v.vault.azure.net",
            "keyvault:https://v.vault.azure.net/secrets",
        ] {
            let read = Reference::parse_scope(scope, &shapes).unwrap();
            assert_eq!(read.to_string(), scope);
            assert!(Reference::parse(scope, &shapes).is_err(), "{scope}");
        }
    }

    #[test]
    fn a_shape_is_read_from_a_manifests_words() {
        assert!(Shape::uri(false, &["a", "b?", "c"]).is_err());
        assert!(Shape::uri(false, &["a*", "b"]).is_err());
        assert!(Shape::uri::<&str>(false, &[]).is_err());
        assert!(Shape::uri(false, &["A"]).is_err());
        let mut shapes = shapes();
        assert!(!shapes.insert("env", Shape::uri(false, &["x"]).unwrap()), "our own schemes are taken");
        assert!(!shapes.insert("a+b", Shape::uri(false, &["x"]).unwrap()));
    }
}
