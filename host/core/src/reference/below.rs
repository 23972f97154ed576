//! References that are put together instead of read: a front door has a scope from the config and a name from its
//! client, which it has decoded.
//!
//! Nothing is printed and parsed here; what comes out is what the parser could have read.

use super::{
    Form, MAX_BYTES, Reference, ReferenceError, Shape, Shapes, ends_variable, is_azureml, is_vault_name, is_word,
};

impl Shapes {
    /// The reference that `word` names directly below `scope`: its path, and that word as one more segment, as it is.
    ///
    /// # Errors
    /// [`ReferenceError`] where no reference of that scheme reads so: for a word that could be taken for more than
    /// one segment, and for a scope that already is a whole reference.
    ///
    /// ```
    /// use strongroom_core::{Reference, Shapes};
    /// let shapes = Shapes::builtin();
    /// let scope = Reference::parse_scope("keys://team", &shapes)?;
    /// assert_eq!(shapes.below(&scope, "a b")?.to_string(), "keys://team/a%20b");
    /// assert!(shapes.below(&scope, "a/b").is_err());
    /// # Ok::<(), strongroom_core::reference::ReferenceError>(())
    /// ```
    pub fn below(&self, scope: &Reference, word: &str) -> Result<Reference, ReferenceError> {
        self.far_below(scope, &[word], false)
    }

    /// As [`Shapes::below`], for as many segments; `scope_too` lets it end early, as the scope of a listing.
    ///
    /// # Errors
    /// As [`Shapes::below`].
    pub fn far_below(&self, scope: &Reference, words: &[&str], scope_too: bool) -> Result<Reference, ReferenceError> {
        let length: usize = words.iter().map(|word| word.len()).sum();
        let wrong = |message: &str| ReferenceError::new("reference.name", message, 0..length);
        for word in words {
            if matches!(*word, "" | "." | "..") || word.chars().any(|c| matches!(c, '/' | '\\') || c.is_control()) {
                return Err(wrong("a name is one part of a path, without slashes and control characters"));
            }
        }
        if !scope.selectors.is_empty() || scope.field.is_some() {
            return Err(wrong("there is nothing below a version or a field"));
        }
        let mut reference = scope.clone();
        if let (Form::File, Some(folder)) = (self.form(scope), reference.path.first_mut()) {
            for word in words {
                folder.push('/');
                folder.push_str(word);
            }
        } else {
            reference.path.extend(words.iter().map(|word| (*word).to_owned()));
        }
        let path: Vec<&str> = reference.path.iter().map(String::as_str).collect();
        let fits = match (self.form(scope), path.as_slice()) {
            (Form::KeyVault, ["secrets", name]) => is_vault_name(name),
            (Form::KeyVault, [] | ["secrets"]) => scope_too,
            (Form::AzureMl, words) => {
                is_azureml(words) || (scope_too && matches!(*words, [] | ["connections" | "keyvault"]))
            }
            (Form::Env, [name]) => !name.chars().any(ends_variable),
            (Form::File, [file]) => file.starts_with('/'),
            (Form::Env | Form::File, []) => scope_too,
            (Form::Path | Form::Host, words) => {
                let shape = self.get(&reference.scheme);
                let fits = |shape: &Shape| (shape.min_words..=shape.max_words).contains(&words.len());
                shape.is_some_and(|shape| fits(shape) || (scope_too && words.len() < shape.min_words))
            }
            _ => false,
        };
        if !fits {
            return Err(wrong("no reference of this scheme has such a name there"));
        }
        if path.iter().map(|part| part.len()).sum::<usize>() > MAX_BYTES {
            return Err(wrong("the name is too long"));
        }
        Ok(reference)
    }

    /// `reference`, of that version. `None` where references of its scheme have no versions, or none like that.
    pub fn at_version(&self, reference: &Reference, version: &str) -> Option<Reference> {
        let fits = match self.form(reference) {
            Form::KeyVault => is_word(version, ""),
            Form::Path | Form::Host => {
                !version.is_empty() && version.len() <= MAX_BYTES && !version.chars().any(char::is_control)
            }
            Form::AzureMl | Form::Env | Form::File => false,
        };
        if !fits || reference.selector("version").is_some() {
            return None;
        }
        let mut reference = reference.clone();
        reference.selectors.push(("version".to_owned(), version.to_owned()));
        reference.selectors.sort();
        Some(reference)
    }

    /// A scheme that is not known has the form that fits least.
    fn form(&self, reference: &Reference) -> Form {
        self.get(&reference.scheme).map_or(Form::Env, |shape| shape.form)
    }
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

    #[test]
    fn what_is_put_together_is_what_would_be_read() {
        let shapes = shapes();
        for (scope, word, version, whole) in [
            ("keys://team", "db", Some("3"), "keys://team/db?version=3"),
            ("keys://team", "a b%2f?#", Some("x/y&z"), "keys://team/a%20b%252f%3F%23?version=x/y%26z"),
            ("keys://", "team", None, "keys://team"),
            ("env:", "A.B", None, "env:A.B"),
            ("prod+env:", "A", None, "prod+env:A"),
            ("file:/run/secrets", "db", None, "file:/run/secrets/db"),
            ("azureml://keyvault", "db", None, "azureml://keyvault/db"),
            ("azureml://connections", "c", None, "azureml://connections/c"),
            (
                "keyvault:https://v.vault.azure.net/secrets",
                "db",
                Some("7f"),
                "keyvault:https://v.vault.azure.net/secrets/db/7f",
            ),
            ("vault://h:8200/a/b", "c", Some("2"), "vault://h:8200/a/b/c?version=2"),
        ] {
            let scope = Reference::parse_scope(scope, &shapes).unwrap();
            let mut made = shapes.below(&scope, word).unwrap();
            if let Some(version) = version {
                made = shapes.at_version(&made, version).unwrap();
            }
            assert_eq!(made, Reference::parse(whole, &shapes).unwrap(), "{whole}");
            assert_eq!(made.to_string(), whole);
        }
    }

    #[test]
    fn many_words_at_once_are_as_strictly_read() {
        let shapes = shapes();
        for (scope, words, scope_too, made) in [
            ("keys://", &["team", "db"][..], false, Some("keys://team/db")),
            ("keys://", &[], true, Some("keys://")),
            ("keys://", &[], false, None),
            ("keys://", &["a", "b", "c", "d"], true, None),
            ("keys://team", &["a", "../b"], false, None),
            ("acme://", &["t"], true, Some("acme://t")),
            ("vault://h", &["a", "b", "c"], false, Some("vault://h/a/b/c")),
            ("file:/run", &["a", "b"], false, Some("file:/run/a/b")),
            ("azureml://", &["connections"], true, Some("azureml://connections")),
            ("azureml://", &["connections"], false, None),
            ("azureml://", &["connections", "c"], false, Some("azureml://connections/c")),
            (
                "keyvault:https://v.vault.azure.net",
                &["secrets"],
                true,
                Some("keyvault:https://v.vault.azure.net/secrets"),
            ),
            ("env:", &["A", "B"], true, None),
        ] {
            let scope = Reference::parse_scope(scope, &shapes).unwrap();
            let found = shapes.far_below(&scope, words, scope_too).ok();
            assert_eq!(found.map(|found| found.to_string()).as_deref(), made, "{scope} {words:?}");
        }
    }

    #[test]
    fn what_would_not_be_read_is_not_put_together() {
        let shapes = shapes();
        let long = "a".repeat(MAX_BYTES + 1);
        for (scope, word) in [
            ("keys://team", ""),
            ("keys://team", "."),
            ("keys://team", ".."),
            ("keys://team", "a/b"),
            ("keys://team", "a\\b"),
            ("keys://team", "a\0b"),
            ("keys://team", "a\u{85}b"),
            ("keys://team", long.as_str()),
            ("keys://a/b/c", "d"),
            ("keys://team?version=1", "a"),
            ("keys://team#a", "a"),
            ("env:", "A B"),
            ("env:", "A=B"),
            ("env:A", "B"),
            ("azureml://", "keyvault"),
            ("azureml://keyvault/n", "m"),
            ("keyvault:https://v.vault.azure.net", "secrets"),
            ("keyvault:https://v.vault.azure.net/secrets", "a_b"),
            ("keyvault:https://v.vault.azure.net/secrets/n", "m"),
            ("acme://t/n", "m"),
        ] {
            let scope = Reference::parse_scope(scope, &shapes).unwrap();
            assert!(shapes.below(&scope, word).is_err(), "{scope} {word:?}");
        }
        for (reference, version) in [
            ("env:A", "1"),
            ("azureml://keyvault/n", "1"),
            ("file:/a", "1"),
            ("keys://a/b", ""),
            ("keys://a/b", "1\n"),
            ("keys://a/b?version=1", "2"),
            ("keyvault:https://v.vault.azure.net/secrets/n", "a-b"),
        ] {
            let reference = Reference::parse(reference, &shapes).unwrap();
            assert!(shapes.at_version(&reference, version).is_none(), "{reference} {version:?}");
        }
    }
}
