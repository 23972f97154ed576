//! Sign-in with a browser: the page of the authority, whose person is already there and clicks at once,
//! and the code's exchange. A code is worth nothing without the verifier of its challenge.

use axum::http::{HeaderMap, Method};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;

use super::{At, Refusal, at, device, required};
use crate::cloud::Cloud;
use crate::http::{Answer, Call, Pairs, find};
use crate::random;
use crate::token::Subject;
use crate::world::World;

/// Seconds that a code lasts.
const CODE_LASTS: i64 = 600;

/// An authorization code.
#[derive(Debug)]
pub(super) struct Code {
    subject: Subject,
    redirect_uri: String,
    challenge: String,
    nonce: Option<String>,
    expires: i64,
    used: bool,
}

/// Where the browser goes after the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing {
    /// The application's own address, on loopback.
    pub redirect_uri: String,
    /// What it is told.
    pub fields: Pairs,
    /// By a form that is posted, else in the query.
    pub post: bool,
}

impl Landing {
    /// The fields as a form or query.
    pub fn encoded(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.fields).finish()
    }
}

pub(super) fn authorize(world: &mut World, at: &At<'_>) -> Answer {
    match land(world, at) {
        Err(refusal) => {
            // An error that must not be sent to an address that was not checked is shown on the page.
            let text = format!("<html><body>AADSTS{}: {}</body></html>", refusal.number, escape(&refusal.text));
            Answer::text(400, "text/html; charset=utf-8", &text)
        }
        Ok(landing) if landing.post => {
            let input = |(name, value): &(String, String)| {
                format!("<input type=\"hidden\" name=\"{}\" value=\"{}\"/>", escape(name), escape(value))
            };
            let inputs: String = landing.fields.iter().map(input).collect();
            let page = format!(
                "<html><head><title>Working...</title></head><body onload=\"document.forms[0].submit()\"><form method=\"POST\" \
                 name=\"hiddenform\" action=\"{}\">{inputs}</form></body></html>",
                escape(&landing.redirect_uri)
            );
            Answer::text(200, "text/html; charset=utf-8", &page)
        }
        Ok(landing) => {
            let join = if landing.redirect_uri.contains('?') { '&' } else { '?' };
            Answer::empty(302).with("Location", &format!("{}{join}{}", landing.redirect_uri, landing.encoded()))
        }
    }
}

/// Does what a person's browser would do with an authorize URL, up to the redirect.
///
/// # Errors
///
/// The page's text, where the authority shows an error instead.
pub fn browse(world: &mut World, url: &str) -> Result<Landing, String> {
    let rest = url.strip_prefix("https://").ok_or("the URL is not https")?;
    let (host, target) = rest.split_once('/').ok_or("the URL has no path")?;
    let call = Call::new(Method::GET, host, &format!("/{target}"), HeaderMap::new(), Vec::new());
    let cloud = Cloud::of_authority(&call.host).ok_or_else(|| format!("{host} is no authority"))?;
    let route = call.route();
    let [named, "oauth2", "v2.0", "authorize"] = route.as_slice() else { return Err("it is no authorize URL".into()) };
    let landing = at(world, cloud, &call, named).and_then(|at| land(world, &at));
    landing.map_err(|refusal| format!("AADSTS{}: {}", refusal.number, refusal.text))
}

fn land(world: &mut World, at: &At<'_>) -> Result<Landing, Refusal> {
    let query = &at.call.query;
    let app = at.app(world, query)?;
    let client_id = app.client_id.clone();
    let redirect_uri = required(query, "redirect_uri")?.to_owned();
    if !is_loopback(&redirect_uri) {
        return Err(Refusal::new(
            50_011,
            &format!(
                "The redirect URI '{redirect_uri}' specified in the request does not match the redirect URIs configured for \
                 the application '{client_id}'."
            ),
        ));
    }
    let post = match find(query, "response_mode") {
        None | Some("query") => false,
        Some("form_post") => true,
        Some(other) => {
            return Err(Refusal::new(90_014, &format!("The response mode '{other}' is not supported here.")));
        }
    };
    let mut fields: Pairs = Vec::new();
    let mut say = |name: &str, value: &str| fields.push((name.to_owned(), value.to_owned()));
    let outcome = consent(world, at, &client_id, &redirect_uri);
    match outcome {
        Ok(code) => say("code", &code),
        Err(refusal) => {
            let error = if refusal.number == 65_004 { "access_denied" } else { refusal.error };
            say("error", error);
            say("error_description", &format!("AADSTS{}: {}", refusal.number, refusal.text));
        }
    }
    if let Some(state) = find(query, "state") {
        say("state", state);
    }
    say("session_state", &random::uuid());
    Ok(Landing { redirect_uri, fields, post })
}

fn consent(world: &mut World, at: &At<'_>, client_id: &str, redirect_uri: &str) -> Result<String, Refusal> {
    let query = &at.call.query;
    if find(query, "response_type") != Some("code") {
        return Err(Refusal::new(70_005, "The response type is not supported here: only 'code' is."));
    }
    at.resource(required(query, "scope")?, false)?;
    let challenge = find(query, "code_challenge").filter(|_| find(query, "code_challenge_method") == Some("S256"));
    let challenge = challenge.ok_or_else(|| {
        Refusal::new(
            9_002_325,
            "Proof Key for Code Exchange is required for cross-origin authorization code redemption: send code_challenge with \
             method S256.",
        )
    })?;
    if world.settings.refuse_browser {
        return Err(Refusal::new(65_004, "User declined to consent to access the app."));
    }
    let subject = device::subject(world, at, client_id, find(query, "login_hint"))?;
    let code = format!("1.{}{}", random::hex(), random::hex());
    let known = Code {
        subject,
        redirect_uri: redirect_uri.to_owned(),
        challenge: challenge.to_owned(),
        nonce: find(query, "nonce").map(str::to_owned),
        expires: world.clock.now().saturating_add(CODE_LASTS),
        used: false,
    };
    world.sign_ins.codes.insert(code.clone(), known);
    Ok(code)
}

pub(super) fn redeem(world: &mut World, at: &At<'_>, form: &Pairs) -> Result<Answer, Refusal> {
    let app = at.app(world, form)?;
    let client_id = app.client_id.clone();
    if !app.public {
        super::authenticate(world, at, app, form)?;
    }
    let now = world.clock.now();
    let unknown = || Refusal {
        error: "invalid_grant",
        ..Refusal::new(9_002_313, "Invalid request. Request is malformed or invalid.")
    };
    let code = world.sign_ins.codes.get_mut(required(form, "code")?);
    let code = code.filter(|code| code.subject.app_id == client_id).ok_or_else(unknown)?;
    if code.used {
        return Err(Refusal::new(
            54_005,
            "OAuth2 Authorization code was already redeemed, please retry with a new valid code.",
        ));
    }
    code.used = true;
    if code.expires <= now {
        return Err(Refusal::new(
            70_008,
            "The provided authorization code or refresh token has expired due to inactivity.",
        ));
    }
    if required(form, "redirect_uri")? != code.redirect_uri {
        return Err(Refusal::new(
            500_112,
            "The reply address does not match the reply address provided when requesting the authorization code.",
        ));
    }
    let verifier = required(form, "code_verifier")?;
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(known) || challenge != code.challenge {
        return Err(Refusal::new(
            501_481,
            "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
        ));
    }
    let (subject, nonce) = (code.subject.clone(), code.nonce.clone());
    super::user_answer(world, at, &subject, form, nonce.as_deref())
}

fn is_loopback(uri: &str) -> bool {
    let host = uri.strip_prefix("http://").and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default();
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "80"));
    ["localhost", "127.0.0.1", "[::1]"].contains(&name) && port.parse::<u16>().is_ok()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}
