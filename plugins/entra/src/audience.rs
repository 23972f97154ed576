//! What a token is for: scopes for Entra's own endpoints, a resource for all the others.

use strongroom_plugin::Failure;
use strongroom_plugin::credential::Request;

const DEFAULT: &str = "/.default";

/// The scopes that `request` comes to, as they are sent: those that the rule names, else all of the
/// audience (`{audience}/.default`). A `/` at the audience's end stays, so that there are two then,
/// as Entra wants it.
///
/// # Errors
/// `entra.scope`, kind invalid-config, if one of them is nothing that a scope may be.
pub fn scope(request: &Request) -> Result<String, Failure> {
    let scope = match request.scopes.as_slice() {
        [] if request.audience.ends_with(DEFAULT) => request.audience.clone(),
        [] => format!("{}{DEFAULT}", request.audience),
        scopes => scopes.join(" "),
    };
    match scope.split(' ').all(|one| one != DEFAULT && is_scope(one)) {
        true => Ok(scope),
        false => Err(malformed("scope", &scope)),
    }
}

/// The resource of `request`: its audience, or its one scope without `/.default`.
///
/// # Errors
/// `entra.scope`, kind invalid-config, if it is none, or if there are several scopes.
pub fn resource(request: &Request) -> Result<String, Failure> {
    let given = match request.scopes.as_slice() {
        [] => &request.audience,
        [scope] => scope,
        _ => {
            let message = "this way to sign in gets a token for one resource, and the rule names several scopes";
            return Err(Failure::invalid_config("entra.scope", message));
        }
    };
    let resource = given.strip_suffix(DEFAULT).unwrap_or(given);
    if is_scope(resource) { Ok(resource.to_owned()) } else { Err(malformed("resource", resource)) }
}

/// Non-empty, `[A-Za-z0-9_.:/-]`; and no option of a program.
fn is_scope(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'/' | b'-'))
}

fn malformed(what: &str, text: &str) -> Failure {
    let message = format!("`{text}` is no {what}: it holds letters, digits, `_`, `.`, `:`, `/` and `-`");
    Failure::invalid_config("entra.scope", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(audience: &str, scopes: &[&str]) -> Request {
        Request {
            audience: audience.into(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            ..Request::default()
        }
    }

    #[test]
    fn a_scope_is_the_resource_and_default() {
        let of = |audience, scopes: &[&str]| scope(&request(audience, scopes)).unwrap();
        assert_eq!(of("https://vault.azure.net", &[]), "https://vault.azure.net/.default");
        assert_eq!(of("https://vault.azure.net/.default", &[]), "https://vault.azure.net/.default");
        assert_eq!(of("https://management.core.windows.net/", &[]), "https://management.core.windows.net//.default");
        assert_eq!(of("https://x", &["https://x/a.read", "https://x/b"]), "https://x/a.read https://x/b");
        assert_eq!(
            of("api://04b07795-8ddb-461a-bbee-02f9e1bf7b46", &[]),
            "api://04b07795-8ddb-461a-bbee-02f9e1bf7b46/.default"
        );
    }

    #[test]
    fn a_resource_is_the_scope_without_default_once() {
        let of = |audience, scopes: &[&str]| resource(&request(audience, scopes)).unwrap();
        assert_eq!(of("https://vault.azure.net", &[]), "https://vault.azure.net");
        assert_eq!(of("https://vault.azure.net", &["https://v/.default/.default"]), "https://v/.default");
        assert_eq!(of("x", &["https://management.core.windows.net//.default"]), "https://management.core.windows.net/");
    }

    #[test]
    fn what_could_mean_something_else_is_refused() {
        for audience in ["", "a b", "a&b", "--debug", "@file", "https://v?x", "\u{e4}", "a\nb"] {
            assert_eq!(resource(&request(audience, &[])).unwrap_err().code, "entra.scope", "{audience}");
        }
        for audience in ["", "a&b", "a\nb", "@file"] {
            assert_eq!(scope(&request(audience, &[])).unwrap_err().code, "entra.scope", "{audience}");
        }
        assert_eq!(resource(&request("x", &["a", "b"])).unwrap_err().code, "entra.scope");
    }
}
