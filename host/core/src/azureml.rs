//! What of a value goes beyond the references that Azure ML itself injects, so that a file can be moved there.
//!
//! There the whole value is one `${{azureml://connections/...}}` or `${{keyvault:https://...}}` with a version
//! (Azure ML's "secret injection in online endpoints"). Strongroom reads more than that. Pure: it compares with that
//! grammar and asks nobody, so what it accepts may still not exist.

use std::fmt;

use crate::{Part, Reference, Template};

/// The suffixes of the vaults' hosts in the three clouds.
const VAULTS: [&str; 3] = [".vault.azure.net", ".vault.azure.cn", ".vault.usgovcloudapi.net"];

/// One thing that Azure ML does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beyond {
    /// Stable: `azureml.text-around`.
    pub code: &'static str,
    /// The reference that it is about, normalised.
    pub reference: String,
    /// What is there.
    pub message: String,
    /// What to write in its place.
    pub help: &'static str,
}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)
    }
}

/// All of the value `text`, which reads as `template`, that Azure ML does not take. A value without references is
/// plain text there too.
pub fn beyond(text: &str, template: &Template) -> Vec<Beyond> {
    let mut found = Vec::new();
    let references = template.references().count();
    if references == 0 {
        if text.contains("$${{") {
            found.push(Beyond {
                code: "azureml.escape",
                reference: String::new(),
                message: "`$${{` is written for a literal `${{`, and Azure ML leaves both dollars".to_owned(),
                help: "there, text that begins with something else needs no escape",
            });
        }
        return found;
    }
    for part in &template.parts {
        let Part::Reference(reference, span) = part else { continue };
        let mut add = |code, message: String, help| {
            found.push(Beyond { code, reference: reference.to_string(), message, help });
        };
        let written = text.get(span.clone()).unwrap_or_default();
        if references > 1 {
            let message = "several references stand in one value, and Azure ML takes one";
            add(
                "azureml.several",
                message.to_owned(),
                "give each a variable of its own, and let the program join them",
            );
        } else if *span != (0..text.len()) {
            let message = "text stands around the reference, and in Azure ML the reference is the whole value";
            add(
                "azureml.text-around",
                message.to_owned(),
                "give the secret a variable of its own, and let the program add the text",
            );
        }
        match written.strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}")) {
            Some(inner) if inner.trim() != inner => {
                let message = "blanks stand inside the braces, and no form that Azure ML publishes has any";
                add("azureml.blanks", message.to_owned(), "write ${{ and }} next to the reference");
            }
            Some(_) => {}
            None => {
                let message = "this is App Service's way to write a reference, and Azure ML takes it for plain text";
                add("azureml.form", message.to_owned(), "write ${{keyvault:https://{vault}/secrets/{name}/{version}}}");
            }
        }
        check(reference, add);
    }
    found
}

/// Compares one reference with the grammar.
fn check(reference: &Reference, mut add: impl FnMut(&'static str, String, &'static str)) {
    const SCHEMES: &str = "keep the secret in a vault or in a connection of the workspace, and name it there";
    if let Some(mount) = &reference.mount {
        let message = format!("`{mount}+` names a mount of Strongroom's config, which Azure ML does not have");
        add("azureml.mount-prefix", message, "leave the prefix out, and give the mount the `hosts` that lead to it");
    }
    if reference.field.is_some() {
        let message = "`#` picks a field of a JSON value, and Azure ML gives the whole value";
        add("azureml.field", message.to_owned(), "let the program pick the field, or give it a secret of its own");
    }
    let path: Vec<&str> = reference.path.iter().map(String::as_str).collect();
    match (&*reference.scheme, path.as_slice()) {
        ("keyvault", _) => {
            let host = reference.authority.as_deref().unwrap_or_default();
            let vault = VAULTS.iter().find_map(|suffix| host.strip_suffix(suffix));
            if !vault.is_some_and(is_vault_name) {
                let message = format!("`{host}` is not the host of a vault, which is all that Azure ML asks");
                add("azureml.vault", message, "a vault's host is {vault}.vault.azure.net, or that of another cloud");
            }
            if reference.selector("version").is_none() {
                let message = "the version is missing: without one the reference is malformed in Azure ML";
                add(
                    "azureml.no-version",
                    message.to_owned(),
                    "add /{version}; `strongroom list --versions` tells them",
                );
            }
        }
        ("azureml", ["connections", name, ..]) => {
            if !is_connection_name(name) {
                let message = format!("`{name}` is not the name of a connection");
                let help = "a name is 3 to 33 of a-z, A-Z, 0-9, _ and -, and begins with a letter or digit";
                add("azureml.connection-name", message, help);
            }
        }
        ("azureml", _) => {
            let message = "Azure ML injects connections and secrets of vaults, and no other azureml: reference";
            add("azureml.form", message.to_owned(), SCHEMES);
        }
        (scheme, _) => {
            let message = format!("Azure ML takes no `{scheme}:` references");
            add("azureml.scheme", message, SCHEMES);
        }
    }
}

/// `^[A-Za-z][0-9A-Za-z-]{1,22}[0-9A-Za-z]$`, without `--`.
fn is_vault_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    (3..=24).contains(&bytes.len())
        && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        && !name.contains("--")
}

/// `^[a-zA-Z0-9][a-zA-Z0-9_-]{2,32}$`
fn is_connection_name(name: &str) -> bool {
    (3..=33).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shapes;
    use crate::template::Unknown;

    fn codes(text: &str) -> Vec<&'static str> {
        let template = Template::parse(text, &Shapes::builtin(), Unknown::Keep).unwrap();
        beyond(text, &template).iter().map(|one| one.code).collect()
    }

    #[test]
    fn what_azure_ml_documents_is_not_beyond_it() {
        for text in [
            "",
            "plain",
            "a literal ${{ in text",
            "${{inputs.lr}}",
            "${{azureml://connections/aoai_connection}}",
            "${{azureml://connections/multi_connection_langchain/credentials/OPENAI_API_KEY}}",
            "${{azureml://connections/c-1/metadata/any thing but a slash?#%}}",
            "${{azureml://connections/abc/target}}",
            "${{keyvault:https://mykeyvault.vault.azure.net/secrets/secret1/secretversion1}}",
            "${{keyvault:https://mykeyvault.vault.azure.cn/secrets/s/03bcccc7c8cf4546a0e3e21e52560441}}",
            "${{keyvault:https://MyKeyVault.vault.usgovcloudapi.net/secrets/s/1}}",
        ] {
            assert_eq!(codes(text), <[&str; 0]>::default(), "{text}");
        }
    }

    #[test]
    fn each_thing_beyond_has_its_own_code() {
        let vault = "keyvault:https://v-1.vault.azure.net/secrets/s/1";
        for (text, expected) in [
            (format!("x${{{{{vault}}}}}"), &["azureml.text-around"][..]),
            (format!("${{{{{vault}}}}} "), &["azureml.text-around"]),
            (format!("${{{{{vault}}}}}${{{{{vault}}}}}"), &["azureml.several", "azureml.several"]),
            (format!("${{{{ {vault} }}}}"), &["azureml.blanks"]),
            (format!("${{{{prod+{vault}}}}}"), &["azureml.mount-prefix"]),
            (format!("${{{{{vault}#a.b}}}}"), &["azureml.field"]),
            ("${{keyvault:https://v-1.vault.azure.net/secrets/s}}".into(), &["azureml.no-version"]),
            ("${{keyvault:https://vault.example/secrets/s/1}}".into(), &["azureml.vault"]),
            ("${{keyvault:https://a.b.vault.azure.net/secrets/s/1}}".into(), &["azureml.vault"]),
            ("${{keyvault:https://v--1.vault.azure.net/secrets/s/1}}".into(), &["azureml.vault"]),
            ("${{keyvault:https://v-1.managedhsm.azure.net/secrets/s/1}}".into(), &["azureml.vault"]),
            ("${{azureml://connections/ab}}".into(), &["azureml.connection-name"]),
            ("${{azureml://connections/_abc/target}}".into(), &["azureml.connection-name"]),
            (format!("${{{{azureml://connections/{}}}}}", "a".repeat(34)), &["azureml.connection-name"]),
            ("${{azureml://connections/a.b.c}}".into(), &["azureml.connection-name"]),
            ("${{azureml://keyvault/name}}".into(), &["azureml.form"]),
            ("${{env:NAME}}".into(), &["azureml.scheme"]),
            ("${{keys://group/name}}".into(), &["azureml.scheme"]),
            ("$${{inputs.lr}}".into(), &["azureml.escape"]),
            ("@Microsoft.KeyVault(SecretUri=https://v-1.vault.azure.net/secrets/s/1)".into(), &["azureml.form"]),
            (
                "a ${{ ci+env:NAME }}".into(),
                &["azureml.text-around", "azureml.blanks", "azureml.mount-prefix", "azureml.scheme"],
            ),
        ] {
            assert_eq!(codes(&text), expected, "{text}");
        }
    }
}
