//! GitHub's token for a workflow, which a tenant can be told to trust.
//!
//! The host sends the request token that GitHub gave the job; here only the answer is seen.

use serde::Deserialize;
use strongroom_plugin::http::{self, Method, Response};
use strongroom_plugin::{Failure, Kind};

/// Where a workflow asks for its token.
pub const REQUEST_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";

#[derive(Deserialize)]
struct Answer {
    value: String,
}

/// The token of this workflow for `audience`, from `url`. It lives for minutes.
pub fn github(url: &str, audience: &str) -> Result<String, Failure> {
    let request = http::endpoint(Method::Get, url).query("audience", audience).header("accept", "application/json");
    read(&request.send()?)
}

/// That no workflow is running, or that it may not ask.
pub fn not_in_a_workflow() -> Failure {
    let message = format!(
        "GitHub offers no token: {REQUEST_URL} is not set. It is set inside a workflow whose job has `permissions: id-token: write`"
    );
    Failure::not_configured("service-principal.github", message)
}

fn read(response: &Response) -> Result<String, Failure> {
    match response.status() {
        200 => match response.json::<Answer>()?.value {
            value if value.is_empty() => {
                Err(Failure::protocol("service-principal.github", "GitHub answered with an empty token"))
            }
            value => Ok(value),
        },
        status => {
            let failure = response.failure();
            let why = match failure.kind {
                Kind::Unauthenticated | Kind::Denied => "check that the job has `permissions: id-token: write`",
                _ => "its token service could not answer",
            };
            let message = format!("GitHub gave no token for this workflow, but the answer {status}: {why}");
            Err(Failure { code: "service-principal.github".into(), message, ..failure })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_the_assertion() {
        let read = |status, body| read(&Response::new(status, [], body));
        assert_eq!(read(200, r#"{"count":1,"value":"jwt"}"#).unwrap(), "jwt");
        assert_eq!(read(200, r#"{"value":""}"#).unwrap_err().kind, Kind::Protocol);
        assert_eq!(read(200, r#"{"count":"s3cret"}"#).unwrap_err().code, "http.json");
        for (status, kind) in
            [(401, Kind::Unauthenticated), (403, Kind::Denied), (500, Kind::Unavailable), (429, Kind::Throttled)]
        {
            let failure = read(status, "s3cret").unwrap_err();
            assert_eq!((failure.kind, failure.code.as_str()), (kind, "service-principal.github"));
            assert!(!failure.message.contains("s3cret"));
        }
        assert!(not_in_a_workflow().kind == Kind::NotConfigured);
    }
}
