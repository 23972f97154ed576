//! The own token of a job in Azure ML: what the job was given, and before that ends, what the service gives
//! for it.
//!
//! The token is for Azure ML's own services. It is read here, because it is what is wanted; in the request
//! that renews it the host adds it, as for every plugin. Where the job's own variables are not there, the
//! token is served as it is. No token is in a failure.

#![forbid(unsafe_code)]

use serde::Deserialize;
use strongroom_entra::{jwt, time};
use strongroom_plugin::credential::{Request, Resume, Step, Token};
use strongroom_plugin::http::{self, Method};
use strongroom_plugin::{Context, Credential, Failure, clock, sealed};

/// The plugin. It has no state: every call is a new instance.
#[derive(Debug)]
pub struct AzuremlRun;

strongroom_plugin::credential!(AzuremlRun);

/// How long before its end a token is renewed, in seconds: as the SDK does.
const AHEAD: u64 = 95;

/// What a job is told of itself.
#[derive(Deserialize)]
struct Run {
    subscription: String,
    resource_group: String,
    workspace: String,
    experiment: String,
    run: String,
    service: String,
}

/// The config: a run, or nothing.
#[derive(Deserialize)]
#[serde(untagged)]
enum Config {
    Run(Run),
    Unknown {},
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Renewed {
    token: String,
    expiry_time_utc: Option<String>,
}

/// A token, and when it ends, in seconds since the Unix epoch.
type Held = (String, Option<u64>);

impl Credential for AzuremlRun {
    fn acquire(context: &Context, _: &Request, kept: Option<&[u8]>, _: Option<&Resume>) -> Result<Step, Failure> {
        let held = latest(text_of(&sealed::reveal("token")?)?, kept);
        Ok(next(context, held, clock::now())?.into())
    }
}

/// What is in hand: the one that ends later.
fn latest(given: String, kept: Option<&[u8]>) -> Held {
    let ends = |token: &str| jwt::claims(token).and_then(|claims| claims.exp);
    let given = (ends(&given), given);
    let kept = kept.and_then(|bytes| text_of(bytes).ok()).map(|token| (ends(&token), token));
    let (ends, token) = match kept {
        Some(kept) if kept.0 > given.0 => kept,
        _ => given,
    };
    (token, ends)
}

/// The token in hand, or a new one where that ends soon.
fn next(context: &Context, (token, ends): Held, now: u64) -> Result<Token, Failure> {
    let Some(ends) = ends else { return Ok(Token::bearer(token)) };
    let lasting = |token: &str| Token::bearer(token).expires_at(ends).refresh_at(ends.saturating_sub(AHEAD));
    let (true, Config::Run(run)) = (now.saturating_add(AHEAD) > ends, context.config()?) else {
        return Ok(lasting(&token));
    };
    match renew(&run) {
        Ok((new, ends)) => {
            let token = Token::bearer(new.as_str()).keep(new.as_bytes());
            Ok(match ends {
                Some(ends) => token.expires_at(ends).refresh_at(ends.saturating_sub(AHEAD)),
                None => token,
            })
        }
        // It is good for as long as it lasts.
        Err(_) if now < ends => Ok(lasting(&token).refresh_at(now)),
        Err(failure) => Err(failure),
    }
}

fn renew(run: &Run) -> Result<Held, Failure> {
    let Run { subscription, resource_group, workspace, experiment, run, service } = run;
    let response = http::request(Method::Get, service)
        .path(["history", "v1.0", "subscriptions", subscription, "resourceGroups", resource_group])
        .path(["providers", "Microsoft.MachineLearningServices", "workspaces", workspace])
        .path(["experiments", experiment, "runs", run, "token"])
        .header("accept", "application/json")
        .send()?;
    match response.status() {
        200 => {}
        status @ (401 | 403) => {
            let message = format!(
                "the token of the run `{run}` has ended, or is not of this run ({status}); a job's token cannot be had anew outside \
                 of it"
            );
            return Err(Failure::unauthenticated("azureml-run.ended", message));
        }
        404 => {
            let message = format!("the service knows no run `{run}` of the experiment `{experiment}`");
            return Err(Failure::unauthenticated("azureml-run.unknown", message));
        }
        _ => return Err(response.failure()),
    }
    let Renewed { token, expiry_time_utc } = response.json()?;
    let told = expiry_time_utc.and_then(|text| time::rfc3339(&text));
    let ends = told.or_else(|| jwt::claims(&token).and_then(|claims| claims.exp));
    Ok((token, ends))
}

/// The token without the line end of a file that it was kept in.
fn text_of(bytes: &[u8]) -> Result<String, Failure> {
    let text = std::str::from_utf8(bytes).map(|text| text.trim_end_matches(['\r', '\n']));
    match text {
        Err(_) => Err(Failure::invalid_config("azureml-run.text", "the sealed input `token` is no text")),
        Ok("") => Err(Failure::not_configured("azureml-run.empty", "the sealed input `token` is empty")),
        Ok(token) => Ok(token.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use strongroom_plugin::Kind;
    use strongroom_plugin::http::Response;
    use strongroom_plugin::testing::Host;

    use super::*;

    const CONFIG: &str = r#"{"subscription":"0b1f6471-1bf0-4dda-aec3-111122223333","resource_group":"RG","workspace":"WS1","experiment":"training","run":"calm_root_1","service":"https://centralus.api.azureml.ms"}"#;

    /// `{"exp":...}`, encoded; without padding every length is written in the same letters.
    const ENDS_AT_2000: &str = "e30.eyJleHAiOjIwMDB9.s";
    const ENDS_AT_9000: &str = "e30.eyJleHAiOjkwMDB9.s";

    fn answer(status: u16, body: &str) -> Host {
        Host::new().answer(Response::new(status, [("content-type", "application/json")], body))
    }

    fn at(now: u64, config: &str) -> Result<Token, Failure> {
        next(&Context::new(config), latest(ENDS_AT_2000.into(), None), now)
    }

    #[test]
    fn a_token_is_renewed_when_it_is_about_to_end() {
        let host = Host::new();
        let token = at(1900, CONFIG).unwrap();
        assert_eq!((token.value.as_str(), token.expires_at, token.refresh_at), (ENDS_AT_2000, Some(2000), Some(1905)));
        assert!(host.asked().is_empty());
        drop(host);

        let host = answer(200, r#"{"token":"new","expiryTimeUtc":"1970-01-01T01:00:00.5Z"}"#);
        let token = at(1906, CONFIG).unwrap();
        assert_eq!((token.value.as_str(), token.expires_at, token.refresh_at), ("new", Some(3600), Some(3505)));
        assert_eq!(token.keep.as_deref(), Some(&b"new"[..]));
        assert_eq!(
            host.asked(),
            [
                "GET https://centralus.api.azureml.ms/history/v1.0/subscriptions/0b1f6471-1bf0-4dda-aec3-111122223333/resourceGroups/RG/providers/Microsoft.MachineLearningServices/workspaces/WS1/experiments/training/runs/calm_root_1/token"
            ]
        );
        // The host adds it, so nobody here does.
        assert!(!host.sent()[0].headers.iter().any(|(name, _)| name == "authorization"));
    }

    #[test]
    fn without_a_run_the_token_is_served_as_it_is() {
        let host = Host::new();
        assert_eq!(at(1999, "{}").unwrap().expires_at, Some(2000));
        let opaque = next(&Context::new(CONFIG), latest("opaque".into(), None), 1).unwrap();
        assert_eq!((opaque.value.as_str(), opaque.expires_at), ("opaque", None));
        assert!(host.asked().is_empty());
    }

    #[test]
    fn what_was_kept_counts_if_it_lasts_longer() {
        assert_eq!(latest(ENDS_AT_2000.into(), Some(ENDS_AT_9000.as_bytes())).1, Some(9000));
        assert_eq!(latest(ENDS_AT_9000.into(), Some(ENDS_AT_2000.as_bytes())).1, Some(9000));
        assert_eq!(latest(ENDS_AT_2000.into(), Some(b"opaque")).1, Some(2000));
    }

    #[test]
    fn a_service_that_does_not_renew_leaves_what_is_left() {
        let _host = answer(503, "");
        assert_eq!(at(1950, CONFIG).unwrap().expires_at, Some(2000));
        for (status, kind) in [(401, Kind::Unauthenticated), (404, Kind::Unauthenticated), (503, Kind::Unavailable)] {
            let _host = answer(status, "{}");
            let failure = at(2001, CONFIG).unwrap_err();
            assert_eq!(failure.kind, kind);
            assert!(!format!("{failure:?}").contains(ENDS_AT_2000));
        }
    }
}
