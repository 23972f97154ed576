//! `az account get-access-token`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use strongroom_entra::audience;
use strongroom_entra::shown::is_id;
use strongroom_plugin::credential::{Request, Token};
use strongroom_plugin::tool::Output;
use strongroom_plugin::{Failure, Kind};

use crate::outcome::{Tool, aadsts};
use crate::{Config, Holes};

const AZ: Tool = Tool { command: "az", name: "Azure CLI", login: "az login" };

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "accessToken")]
    access_token: String,
    /// Seconds since the Unix epoch; since 2.54.0. Older ones have only a local time without zone.
    expires_on: Option<u64>,
    subscription: Option<String>,
    tenant: Option<String>,
}

/// What the tool's holes are filled with.
///
/// # Errors
/// `azure-cli.claims` for a claims challenge, which the tool answers in a sign-in alone;
/// `azure-cli.subscription` for what is no subscription.
pub fn holes(config: &Config, request: &Request, tenant: Option<&str>) -> Result<Holes, Failure> {
    let resource = audience::resource(request)?;
    if let Some(claims) = &request.claims {
        let tenant = tenant.map(|tenant| format!(" --tenant {tenant}")).unwrap_or_default();
        let message = format!(
            "the service asks for a new sign-in, which the Azure CLI (2.76 or later) does by `az login{tenant} \
             --claims-challenge {}`",
            STANDARD.encode(claims)
        );
        return Err(Failure::unauthenticated("azure-cli.claims", message));
    }
    let mut holes = vec![("resource".to_owned(), resource)];
    match (&config.subscription, tenant) {
        // The tool takes one or the other; a subscription has one tenant, which the answer tells.
        (Some(subscription), _) => {
            let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b' ' | b'-');
            if subscription.is_empty() || subscription.starts_with('-') || !subscription.bytes().all(fits) {
                let message = format!(
                    "`{subscription}` is no subscription: it is an id or a name of letters, digits, `_.-` and blanks"
                );
                return Err(Failure::invalid_config("azure-cli.subscription", message));
            }
            holes.push(("subscription".into(), subscription.clone()));
        }
        (None, Some(tenant)) => holes.push(("tenant".into(), tenant.into())),
        (None, None) => {}
    }
    Ok(holes)
}

/// What came of it, where `tenant` was wanted.
///
/// # Errors
/// Kind not-configured if the tool is not there or nobody is signed in; else what it said.
pub fn read(ran: Result<Output, Failure>, tenant: Option<&str>) -> Result<Token, Failure> {
    let output = ran.map_err(|failure| AZ.unrun(failure))?;
    if output.status != 0 {
        return Err(refused(&output, tenant));
    }
    let Ok(document) = serde_json::from_slice::<Document>(&output.stdout) else { return Err(AZ.unexpected()) };
    let Document { access_token, expires_on, subscription, tenant: found } = document;
    if access_token.is_empty() {
        return Err(AZ.unexpected());
    }
    let Some(expires_on) = expires_on else {
        let message = "this Azure CLI tells the end of a token without its time zone; update it to 2.54.0 or later (`az upgrade`)";
        return Err(Failure::unsupported("azure-cli.old", message));
    };
    if let (Some(wanted), Some(found)) = (tenant.filter(|tenant| is_id(tenant)), &found)
        && is_id(found)
        && !found.eq_ignore_ascii_case(wanted)
    {
        let message = format!(
            "the Azure CLI gave a token of the tenant {found}, and {wanted} is needed; check the credential's `subscription`"
        );
        return Err(Failure::new(Kind::InvalidConfig, "azure-cli.tenant", message));
    }
    let mut token = Token::bearer(access_token).expires_at(expires_on);
    let claims = strongroom_entra::jwt::claims(&token.value).unwrap_or_default();
    for (name, value) in
        [("tenant", found.as_deref()), ("identity", claims.identity()), ("subscription", subscription.as_deref())]
    {
        if let Some(value) = value {
            token = token.attribute(name, value);
        }
    }
    Ok(token)
}

fn refused(output: &Output, tenant: Option<&str>) -> Failure {
    if AZ.is_absent(output) {
        return AZ.absent();
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let asks_for_login = words.contains("az login") || words.contains("az account set");
    if asks_for_login && aadsts(&words).is_none() {
        return AZ.not_signed_in(tenant, "--tenant");
    }
    AZ.refused(output.status, &words)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

    fn config(text: &str) -> Config {
        serde_json::from_str(text).unwrap()
    }

    fn request() -> Request {
        Request { audience: "https://vault.azure.net".into(), ..Request::default() }
    }

    fn output(status: i32, stdout: &str, stderr: &str) -> Result<Output, Failure> {
        Ok(Output { status, stdout: stdout.into(), stderr: stderr.into() })
    }

    fn document() -> String {
        format!(
            r#"{{"accessToken":"s3cret","expiresOn":"2023-10-31 21:59:10.000000","expires_on":1698760750,
            "subscription":"11111111-2222-3333-4444-555555555555","tenant":"{TENANT}","tokenType":"Bearer"}}"#
        )
    }

    #[test]
    fn the_holes_are_filled_with_what_was_checked() {
        let filled = |config_text: &str, tenant| {
            holes(&config(config_text), &request(), tenant)
                .map(|holes| holes.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(filled("{}", None).unwrap(), "resource=https://vault.azure.net");
        assert_eq!(filled("{}", Some("t")).unwrap(), "resource=https://vault.azure.net tenant=t");
        let subscription = r#"{"subscription":"My sub_1.x"}"#;
        assert_eq!(
            filled(subscription, Some("t")).unwrap(),
            "resource=https://vault.azure.net subscription=My sub_1.x"
        );
        for text in [
            r#"{"subscription":"--debug"}"#,
            r#"{"subscription":"@f"}"#,
            r#"{"subscription":""}"#,
            r#"{"subscription":"a;b"}"#,
        ] {
            assert_eq!(filled(text, None).unwrap_err().code, "azure-cli.subscription", "{text}");
        }
    }

    #[test]
    fn a_claims_challenge_is_for_a_sign_in() {
        let request = Request { claims: Some(r#"{"access_token":{}}"#.into()), ..request() };
        let failure = holes(&config("{}"), &request, Some("t")).unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::Unauthenticated, "azure-cli.claims"));
        assert!(failure.message.contains("`az login --tenant t --claims-challenge eyJhY2Nlc3NfdG9rZW4iOnt9fQ==`"));
    }

    #[test]
    fn the_document_of_a_token() {
        for tenant in [None, Some(TENANT), Some("contoso.com"), Some(&*TENANT.to_uppercase())] {
            let token = read(output(0, &document(), "WARNING: x"), tenant).unwrap();
            assert_eq!((token.value.as_str(), token.expires_at), ("s3cret", Some(1_698_760_750)));
            assert!(token.attributes.contains(&("tenant".into(), TENANT.into())));
        }
        let other = read(output(0, &document(), ""), Some("00000000-0000-0000-0000-000000000000")).unwrap_err();
        assert_eq!((other.kind, other.code.as_str()), (Kind::InvalidConfig, "azure-cli.tenant"));
    }

    #[test]
    fn a_tool_that_tells_local_time_alone_is_too_old() {
        let old = document().replace(r#""expires_on":1698760750,"#, "");
        let failure = read(output(0, &old, ""), None).unwrap_err();
        assert!(failure.kind == Kind::Unsupported && failure.message.contains("2.54.0"));
    }

    #[test]
    fn every_symptom() {
        let login = "ERROR: Please run 'az login' to setup account.";
        let set = "ERROR: Please run \"az account set\" to select active account.";
        let aadsts = "ERROR: AADSTS50076: Due to a configuration change, you must use MFA. Trace ID: x\nTo re-authenticate, please run:\naz login";
        for (ran, kind, code, words) in [
            (
                Err(Failure::new(Kind::NotFound, "process.not-found", "x")),
                Kind::NotConfigured,
                "azure-cli.not-found",
                "install",
            ),
            (output(127, "", "sh: az: not found"), Kind::NotConfigured, "azure-cli.not-found", "install"),
            (
                output(1, "", "'az' is not recognized as a command"),
                Kind::NotConfigured,
                "azure-cli.not-found",
                "install",
            ),
            (output(1, "", login), Kind::NotConfigured, "azure-cli.not-signed-in", "please run `az login --tenant t`"),
            (output(1, "", set), Kind::NotConfigured, "azure-cli.not-signed-in", "please run `az login --tenant t`"),
            (output(1, "", aadsts), Kind::Unauthenticated, "AADSTS50076", "you must use MFA"),
            (output(1, "", "ERROR: odd"), Kind::Unauthenticated, "azure-cli.failed", "status 1 and said: ERROR: odd"),
            (output(-9, "s3cret", ""), Kind::Unauthenticated, "azure-cli.failed", "said nothing"),
            (output(0, "s3cret", ""), Kind::Protocol, "azure-cli.output", "update `az`"),
            (output(0, r#"{"accessToken":""}"#, ""), Kind::Protocol, "azure-cli.output", "update `az`"),
            (output(0, r#"{"x":"s3cret"}"#, ""), Kind::Protocol, "azure-cli.output", "update `az`"),
            (Err(Failure::unavailable("tool.deadline", "late")), Kind::Unavailable, "tool.deadline", "late"),
        ] {
            let failure = read(ran, Some("t")).unwrap_err();
            assert_eq!((failure.kind, failure.code.as_str()), (kind, code));
            assert!(failure.message.contains(words) && !failure.message.contains("s3cret"), "{}", failure.message);
        }
    }

    #[test]
    fn no_token_of_an_error_is_told() {
        let token = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL3YifQ.c2lnbmF0dXJl";
        let failure = read(output(1, "", &format!("ERROR: \"accessToken\": \"{token}\"")), None).unwrap_err();
        assert!(!failure.message.contains(token) && failure.message.contains("[redacted]"));
    }
}
