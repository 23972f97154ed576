//! What both tools have in common when they fail.

use strongroom_entra::shown::shown;
use strongroom_plugin::tool::Output;
use strongroom_plugin::{Failure, Kind};

/// A shell's status for a program that is not there.
const NOT_FOUND: i32 = 127;

/// A tool, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// What is typed: `az`.
    pub command: &'static str,
    /// What it is called.
    pub name: &'static str,
    /// How a person signs in to it.
    pub login: &'static str,
}

impl Tool {
    /// The tool could not be run. That it is not there is not-configured; else the host knows better.
    pub fn unrun(&self, failure: Failure) -> Failure {
        if failure.kind == Kind::NotFound { self.absent() } else { failure }
    }

    /// The tool is not there.
    pub fn absent(&self) -> Failure {
        let Self { command, name, .. } = self;
        let message = format!("the {name} (`{command}`) was not found; install it, or use another credential");
        Failure::not_configured("azure-cli.not-found", message)
    }

    /// Whether `output` is a shell's that did not find the tool.
    pub fn is_absent(&self, output: &Output) -> bool {
        output.status == NOT_FOUND
            || String::from_utf8_lossy(&output.stderr)
                .trim_start()
                .starts_with(&format!("'{}' is not recognized", self.command))
    }

    /// Nobody is signed in.
    pub fn not_signed_in(&self, tenant: Option<&str>, flag: &str) -> Failure {
        let Self { name, login, .. } = self;
        let tenant = tenant.map(|tenant| format!(" {flag} {tenant}")).unwrap_or_default();
        Failure::not_configured(
            "azure-cli.not-signed-in",
            format!("nobody is signed in to the {name}; please run `{login}{tenant}`"),
        )
    }

    /// It said why not, in `words`.
    pub fn refused(&self, status: i32, words: &str) -> Failure {
        let said = match shown(words) {
            said if said.is_empty() => "and said nothing".to_owned(),
            said => format!("and said: {}", said.trim_end_matches('.')),
        };
        let message = format!("the {} gave no token; it ended with status {status} {said}", self.name);
        let code = aadsts(words).unwrap_or_else(|| "azure-cli.failed".into());
        Failure::unauthenticated(code, message)
    }

    /// It ended well and printed something else. What it was is not told: it may hold a token.
    pub fn unexpected(&self) -> Failure {
        let Self { command, name, .. } = self;
        let message = format!(
            "the {name} answered with something that is not the document of a token; update `{command}`, and see that nothing \
             else prints in its place"
        );
        Failure::protocol("azure-cli.output", message)
    }
}

/// `AADSTS` and its number, if `words` name one.
pub fn aadsts(words: &str) -> Option<String> {
    let (_, rest) = words.split_once("AADSTS")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).take(12).collect();
    (!digits.is_empty()).then(|| format!("AADSTS{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found() {
        assert_eq!(aadsts("ERROR: AADSTS50076: Due to a change"), Some("AADSTS50076".into()));
        assert_eq!(aadsts("AADSTS"), None);
        assert_eq!(aadsts("Please run 'az login'"), None);
    }
}
