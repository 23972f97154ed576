//! The steps of a sign-in with the browser.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use strongroom_entra::authority::Cloud;
use strongroom_entra::shown::is_id;
use strongroom_entra::user::{SignIn, Silent, check_person_is_there, keeping};
use strongroom_entra::{Page, Refused, Service, jwt, read};
use strongroom_plugin::credential::{Browser, Resume, Step};
use strongroom_plugin::http::encode;
use strongroom_plugin::{Context, Failure};

/// How many random bytes a verifier is made of: 43 characters, as RFC 7636, 4.1 recommends.
const VERIFIER_BYTES: usize = 32;

/// How many random bytes a nonce is made of.
const NONCE_BYTES: usize = 16;

/// How far this machine's clock may be behind or ahead of Entra's, in seconds.
const SKEW: u64 = 300;

/// The credential's config.
#[derive(Debug, Default, Deserialize)]
pub struct Config {
    pub tenant: Option<String>,
    pub client_id: Option<String>,
    pub authority: Option<String>,
    login_hint: Option<String>,
    domain_hint: Option<String>,
    #[serde(default)]
    response_mode: ResponseMode,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ResponseMode {
    #[default]
    FormPost,
    Query,
}

/// What is known while the browser is open.
#[derive(Serialize, Deserialize)]
struct State {
    verifier: String,
    nonce: String,
    claims: String,
}

/// One call of a sign-in.
#[derive(Debug)]
pub struct Flow<'a> {
    pub sign_in: &'a SignIn,
    pub config: &'a Config,
    pub authority: &'a str,
    /// The address of the authorize page.
    pub page: &'a str,
    /// Seconds since the Unix epoch.
    pub now: u64,
}

impl Flow<'_> {
    /// A token from what is kept, or else the browser.
    pub fn start(
        &self,
        service: &mut dyn Service,
        context: &Context,
        kept: Option<&[u8]>,
        random: &dyn Fn(usize) -> Vec<u8>,
    ) -> Result<Step, Failure> {
        let claims = match self.sign_in.silently(service, kept, self.now)? {
            Silent::Ready(token) => return Ok(token.into()),
            Silent::Person { claims } => claims,
        };
        check_person_is_there(context)?;
        let text = |bytes| URL_SAFE_NO_PAD.encode(random(bytes));
        let state = State { verifier: text(VERIFIER_BYTES), nonce: text(NONCE_BYTES), claims };
        let uri = self.address(&state);
        let state = serde_json::to_vec(&state)
            .map_err(|_| Failure::internal("browser.state", "the sign-in's state could not be written"))?;
        Ok(Step::Browser(Browser { uri, state }))
    }

    /// The authorize page, with two holes for the host.
    fn address(&self, state: &State) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&state.verifier));
        let mode = match self.config.response_mode {
            ResponseMode::FormPost => "form_post",
            ResponseMode::Query => "query",
        };
        let parameters = [
            ("client_id", Some(self.sign_in.asked.client_id.as_str())),
            ("response_type", Some("code")),
            ("scope", Some(&self.sign_in.asked.scope)),
            ("nonce", Some(&state.nonce)),
            ("code_challenge", Some(&challenge)),
            ("code_challenge_method", Some("S256")),
            ("response_mode", Some(mode)),
            ("prompt", Some("select_account")),
            ("claims", Some(&state.claims)),
            ("client_info", Some("1")),
            ("login_hint", self.config.login_hint.as_deref()),
            ("domain_hint", self.config.domain_hint.as_deref()),
        ];
        let mut uri = format!("{}?redirect_uri={{redirect-uri}}&state={{state}}", self.page);
        for (name, value) in parameters.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            uri.push_str(&format!("&{name}={}", encode(value)));
        }
        uri
    }

    /// The code that the browser brought, for a token.
    pub fn resume(&self, service: &mut dyn Service, resumed: &Resume) -> Result<Step, Failure> {
        let State { verifier, nonce, claims } = serde_json::from_slice(&resumed.state)
            .map_err(|_| Failure::internal("browser.state", "the sign-in's state came back changed"))?;
        let asked = &self.sign_in.asked;
        if let Some(error) = resumed.parameter("error") {
            let description = resumed.parameter("error_description").unwrap_or_default();
            return Err(Refused::redirected(error, description, asked).into());
        }
        let Some(code) = resumed.parameter("code").filter(|code| !code.is_empty()) else {
            let message = "the browser came back without a code; start again with `strongroom login`";
            return Err(Failure::protocol("browser.code", message));
        };
        let Some(redirect_uri) = &resumed.redirect_uri else {
            return Err(Failure::internal("browser.state", "the host did not say where the browser came back to"));
        };
        let form = [
            ("client_id", asked.client_id.as_str()),
            ("grant_type", "authorization_code"),
            ("client_info", "1"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", &verifier),
            ("scope", &asked.scope),
            ("claims", &claims),
        ];
        let response = service.post(Page::Token, &form)?;
        let granted = read(&response, asked, self.now)?;
        if let Some(id_token) = &granted.id_token {
            self.check(id_token, &nonce)?;
        }
        Ok(keeping(granted, None).into())
    }

    /// That the ID token is of this very sign-in (OpenID Connect Core 1.0, 3.1.3.7).
    fn check(&self, id_token: &str, nonce: &str) -> Result<(), Failure> {
        let wrong = |what: &str| {
            let message =
                format!("the sign-in was answered with an ID token {what}; start again with `strongroom login`");
            Failure::protocol("browser.id-token", message)
        };
        let claims = jwt::claims(id_token).ok_or_else(|| wrong("that cannot be read"))?;
        let asked = &self.sign_in.asked;
        if claims.nonce.as_deref() != Some(nonce) {
            return Err(wrong("of another sign-in"));
        }
        if claims.aud.as_deref() != Some(asked.client_id.as_str()) {
            return Err(wrong("for another application"));
        }
        if !claims.iss.as_deref().is_some_and(|issuer| Cloud::of(self.authority).issues(issuer)) {
            return Err(wrong("of another issuer"));
        }
        if is_id(&asked.tenant) && !claims.tid.as_deref().is_some_and(|tid| tid.eq_ignore_ascii_case(&asked.tenant)) {
            return Err(wrong("of another tenant"));
        }
        if claims.exp.is_none_or(|end| end.saturating_add(SKEW) <= self.now) {
            return Err(wrong("that has expired; check this machine's clock"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
