//! `azd auth token`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use strongroom_entra::{audience, jwt, time};
use strongroom_plugin::Failure;
use strongroom_plugin::credential::{Request, Token};
use strongroom_plugin::tool::Output;

use crate::outcome::Tool;
use crate::{Config, Holes};

const AZD: Tool = Tool { command: "azd", name: "Azure Developer CLI", login: "azd auth login" };

#[derive(Deserialize)]
struct Document {
    token: String,
    /// UTC.
    #[serde(rename = "expiresOn")]
    expires_on: String,
}

/// One line of its errors, of new ones or of old ones.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    error: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    suggestion: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    message: String,
}

/// What the tool's holes are filled with.
///
/// # Errors
/// `azure-cli.subscription` if the config names one: this tool has none.
pub fn holes(config: &Config, request: &Request, tenant: Option<&str>) -> Result<Holes, Failure> {
    if config.subscription.is_some() {
        let message = "azd gives tokens for a tenant, not for a subscription; remove `subscription`, or use az";
        return Err(Failure::invalid_config("azure-cli.subscription", message));
    }
    if request.scopes.len() > 1 {
        let message = "azd is asked for one scope, and the rule names several";
        return Err(Failure::invalid_config("entra.scope", message));
    }
    let mut holes = vec![("scope".to_owned(), audience::scope(request)?)];
    holes.extend(tenant.map(|tenant| ("tenant".to_owned(), tenant.to_owned())));
    holes.extend(request.claims.as_ref().map(|claims| ("claims".to_owned(), STANDARD.encode(claims))));
    Ok(holes)
}

/// What came of it, where `tenant` was wanted.
///
/// # Errors
/// Kind not-configured if the tool is not there or nobody is signed in; else what it said.
pub fn read(ran: Result<Output, Failure>, tenant: Option<&str>) -> Result<Token, Failure> {
    let output = ran.map_err(|failure| AZD.unrun(failure))?;
    if output.status != 0 {
        return Err(refused(&output, tenant));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // Messages may stand on lines of their own around it.
    let whole = serde_json::from_str::<Document>(&text).ok();
    let document = whole.or_else(|| text.lines().find_map(|line| serde_json::from_str(line).ok()));
    let Some(Document { token, expires_on }) = document.filter(|document| !document.token.is_empty()) else {
        return Err(AZD.unexpected());
    };
    let Some(expires_at) = time::rfc3339(&expires_on) else { return Err(AZD.unexpected()) };
    let claims = jwt::claims(&token).unwrap_or_default();
    let mut token = Token::bearer(token).expires_at(expires_at);
    for (name, value) in [("tenant", claims.tid.as_deref().or(tenant)), ("identity", claims.identity())] {
        if let Some(value) = value {
            token = token.attribute(name, value);
        }
    }
    Ok(token)
}

fn refused(output: &Output, tenant: Option<&str>) -> Failure {
    if AZD.is_absent(output) {
        return AZD.absent();
    }
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let says = |words: &str| stdout.contains(words) || stderr.contains(words);
    if says("not logged in, run `azd auth login`") {
        return AZD.not_signed_in(tenant, "--tenant-id");
    }
    if says("unknown flag: --claims") {
        let message = "the service asks for a new sign-in, which this Azure Developer CLI cannot do; update it to 1.18.1 or later";
        return Failure::unsupported("azure-cli.old", message);
    }
    let told = stderr.lines().chain(stdout.lines()).filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let told: Vec<Line> = told.collect();
    let words = match told.iter().find(|line| !line.error.is_empty()) {
        Some(Line { error, message, suggestion, .. }) => {
            let why = if message.is_empty() { error } else { message };
            format!("{why} {suggestion}")
        }
        None => match told.iter().filter_map(|line| line.data.as_ref()).find(|data| data.message.contains("ERROR")) {
            Some(data) => data.message.clone(),
            None => stderr.into_owned(),
        },
    };
    AZD.refused(output.status, &words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_plugin::Kind;

    fn config(text: &str) -> Config {
        serde_json::from_str(text).unwrap()
    }

    fn request() -> Request {
        Request { audience: "https://vault.azure.net".into(), ..Request::default() }
    }

    fn output(status: i32, stdout: &str, stderr: &str) -> Result<Output, Failure> {
        Ok(Output { status, stdout: stdout.into(), stderr: stderr.into() })
    }

    #[test]
    fn the_holes_are_filled_with_what_was_checked() {
        let request = Request { claims: Some("{}".into()), ..request() };
        let holes = holes(&config(r#"{"tool":"azd"}"#), &request, Some("t")).unwrap();
        let filled: Vec<String> = holes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(filled, ["scope=https://vault.azure.net/.default", "tenant=t", "claims=e30="]);
        let failure = super::holes(&config(r#"{"subscription":"s"}"#), &request, None).unwrap_err();
        assert_eq!(failure.code, "azure-cli.subscription");
        let several = Request { scopes: vec!["a".into(), "b".into()], ..Request::default() };
        assert_eq!(super::holes(&config("{}"), &several, None).unwrap_err().code, "entra.scope");
    }

    #[test]
    fn the_document_of_a_token() {
        let document = r#"{"token":"s3cret","expiresOn":"2023-10-31T21:59:10Z"}"#;
        for text in [
            document,
            &format!("{document}\n"),
            &format!("note\n{document}\n"),
            "{\n \"token\": \"s3cret\",\n \"expiresOn\": \"2023-10-31T21:59:10Z\"\n}",
        ] {
            let token = read(output(0, text, ""), Some("t")).unwrap();
            assert_eq!((token.value.as_str(), token.expires_at), ("s3cret", Some(1_698_789_550)));
            assert_eq!(token.attributes, [("tenant".to_owned(), "t".to_owned())]);
        }
    }

    #[test]
    fn every_symptom() {
        let plain = "ERROR: fetching token: not logged in, run `azd auth login` to login";
        let line = r#"{"type":"consoleMessage","data":{"message":"\nERROR: fetching token: not logged in, run `azd auth login` to login\n"}}"#;
        let new = r#"{"error":"x","message":"AADSTS50076: use MFA","suggestion":"Run azd auth login --claims"}"#;
        let old = r#"{"type":"consoleMessage","data":{"message":"ERROR: odd"}}"#;
        let both = format!("{old}\n{new}");
        for (ran, kind, code, words) in [
            (Err(Failure::not_found("process.not-found", "x")), Kind::NotConfigured, "azure-cli.not-found", "`azd`"),
            (output(127, "", ""), Kind::NotConfigured, "azure-cli.not-found", "`azd`"),
            (output(1, "", plain), Kind::NotConfigured, "azure-cli.not-signed-in", "`azd auth login --tenant-id t`"),
            (output(1, line, ""), Kind::NotConfigured, "azure-cli.not-signed-in", "`azd auth login --tenant-id t`"),
            (output(1, "", "Error: unknown flag: --claims"), Kind::Unsupported, "azure-cli.old", "1.18.1"),
            (output(1, "", new), Kind::Unauthenticated, "AADSTS50076", "use MFA Run azd auth login"),
            (output(1, &both, ""), Kind::Unauthenticated, "AADSTS50076", "use MFA"),
            (output(1, old, ""), Kind::Unauthenticated, "azure-cli.failed", "ERROR: odd"),
            (output(1, "s3cret", "odd"), Kind::Unauthenticated, "azure-cli.failed", "said: odd"),
            (output(0, "s3cret", ""), Kind::Protocol, "azure-cli.output", "update `azd`"),
            (output(0, r#"{"token":"s3cret","expiresOn":"soon"}"#, ""), Kind::Protocol, "azure-cli.output", "update"),
            (
                output(0, r#"{"token":"","expiresOn":"2023-10-31T21:59:10Z"}"#, ""),
                Kind::Protocol,
                "azure-cli.output",
                "update",
            ),
        ] {
            let failure = read(ran, Some("t")).unwrap_err();
            assert_eq!((failure.kind, failure.code.as_str()), (kind, code));
            assert!(failure.message.contains(words) && !failure.message.contains("s3cret"), "{}", failure.message);
        }
    }
}
