//! Entra ID: metadata, the token endpoint for every grant, device codes and the browser's page. It must
//! never issue a token for a proof that it did not check.

mod assertion;
mod browser;
mod device;
mod refusal;

use std::collections::BTreeMap;

use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::directory::{App, Tenant};
use crate::http::{Answer, Call, Pairs, find};
use crate::random;
use crate::token::Subject;
use crate::world::World;

pub use assertion::check_certificates;
pub use browser::{Landing, browse};
pub use device::Device;
pub use refusal::Refusal;

/// Scopes that ask for something else than a resource.
const OPENID: [&str; 4] = ["openid", "profile", "offline_access", "email"];

/// Sign-ins under way, and refresh tokens.
#[derive(Debug, Default)]
pub struct SignIns {
    /// By device code.
    pub devices: BTreeMap<String, Device>,
    /// By authorization code.
    codes: BTreeMap<String, browser::Code>,
    /// By refresh token.
    refresh: BTreeMap<String, Refresh>,
}

impl SignIns {
    /// Ends all refresh tokens.
    pub fn revoke(&mut self) {
        for refresh in self.refresh.values_mut() {
            refresh.revoked = true;
        }
    }
}

/// A refresh token.
#[derive(Debug, Clone)]
struct Refresh {
    subject: Subject,
    client_id: String,
    revoked: bool,
}

/// A request at a tenant of an authority.
struct At<'call> {
    cloud: &'static Cloud,
    call: &'call Call,
    /// The tenant as the URL says it.
    named: &'call str,
    /// The tenant meant; `organizations` and its like mean the first.
    tenant: Tenant,
}

/// Answers as an authority.
pub fn answer(world: &mut World, call: &Call) -> Answer {
    let Some(cloud) = Cloud::of_authority(&call.host) else { return Answer::empty(404) };
    let now = world.clock.now();
    let route = call.route();
    let rest = match route.as_slice() {
        ["common", "discovery", "instance"] => return instance_discovery(call, now),
        [_, rest @ ..] => rest,
        [] => return Answer::empty(404),
    };
    let named = route.first().copied().unwrap_or_default();
    let at = match at(world, cloud, call, named) {
        Ok(at) => at,
        Err(refusal) => return refusal.answer(now),
    };
    match (&call.method, rest) {
        (&Method::GET, ["v2.0", ".well-known", "openid-configuration"]) => metadata(&at),
        (&Method::GET, ["discovery", "keys"] | ["discovery", "v2.0", "keys"]) => {
            Answer::json(200, &world.signer.keys())
        }
        (&Method::POST, ["oauth2", "v2.0", "token"]) => {
            token(world, &at, &call.form()).unwrap_or_else(|refusal| refusal.answer(now))
        }
        // The older endpoint: a resource instead of a scope, and numbers as text.
        (&Method::POST, ["oauth2", "token"]) => {
            let mut form = call.form();
            if let Some(resource) = find(&form, "resource") {
                let scope = format!("{resource}/.default");
                form.push(("scope".into(), scope));
            }
            token(world, &at, &form).map_or_else(|refusal| refusal.answer(now), |answer| older(&answer, now))
        }
        (&Method::POST, ["oauth2", "v2.0", "devicecode"]) => {
            device::begin(world, &at, &call.form()).unwrap_or_else(|refusal| refusal.answer(now))
        }
        (&Method::GET, ["oauth2", "v2.0", "authorize"]) => browser::authorize(world, &at),
        _ => Answer::empty(404),
    }
}

fn at<'call>(world: &World, cloud: &'static Cloud, call: &'call Call, named: &'call str) -> Result<At<'call>, Refusal> {
    let found = match named {
        "organizations" | "common" | "consumers" => world.directory.tenants.first(),
        _ => world.directory.tenant(named),
    };
    let tenant = found.cloned().ok_or_else(|| {
        Refusal::new(
            90_002,
            &format!(
                "Tenant '{named}' not found. Check to make sure you have the correct tenant ID and are signing into the \
                 correct cloud."
            ),
        )
    })?;
    Ok(At { cloud, call, named, tenant })
}

fn instance_discovery(call: &Call, now: i64) -> Answer {
    let wanted = call.parameter("authorization_endpoint").unwrap_or_default();
    let mut parts = wanted.splitn(5, '/').skip(2);
    let (host, tenant) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if Cloud::of_authority(host).is_none() {
        return Refusal { error: "invalid_instance", ..Refusal::new(50_049, "Unknown or invalid instance.") }
            .answer(now);
    }
    let clouds: Vec<Value> = crate::cloud::CLOUDS
        .iter()
        .map(|cloud| {
            json!({"preferred_network": cloud.authority(), "preferred_cache": cloud.authority(), "aliases": cloud.authorities})
        })
        .collect();
    Answer::json(
        200,
        &json!({
            "tenant_discovery_endpoint": format!("https://{host}/{tenant}/v2.0/.well-known/openid-configuration"),
            "api-version": "1.1",
            "metadata": clouds,
        }),
    )
}

fn metadata(at: &At<'_>) -> Answer {
    // The document names what was asked for: `organizations` stays so, as msal expects.
    let base = format!("https://{}/{}", at.call.host, at.named);
    Answer::json(
        200,
        &json!({
            "token_endpoint": format!("{base}/oauth2/v2.0/token"),
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "jwks_uri": format!("{base}/discovery/v2.0/keys"),
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "issuer": at.v2_issuer(),
            "request_uri_parameter_supported": false,
            "userinfo_endpoint": "https://graph.microsoft.com/oidc/userinfo",
            "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
            "device_authorization_endpoint": format!("{base}/oauth2/v2.0/devicecode"),
            "http_logout_supported": true,
            "frontchannel_logout_supported": true,
            "end_session_endpoint": format!("{base}/oauth2/v2.0/logout"),
            "tenant_region_scope": "EU",
            "cloud_instance_name": at.cloud.authority(),
        }),
    )
}

impl At<'_> {
    /// The issuer of id tokens, and of the metadata.
    fn v2_issuer(&self) -> String {
        let tenant = match self.named {
            "organizations" | "common" => "{tenantid}",
            _ => &self.tenant.id,
        };
        format!("https://{}/{tenant}/v2.0", self.cloud.authority())
    }

    /// The application, known in this tenant.
    fn app<'world>(&self, world: &'world World, form: &Pairs) -> Result<&'world App, Refusal> {
        let client_id = required(form, "client_id")?;
        world.directory.app(client_id, &self.tenant.id).ok_or_else(|| {
            Refusal::new(
                700_016,
                &format!(
                    "Application with identifier '{client_id}' was not found in the directory '{}'. This can happen if the \
                     application has not been installed by the administrator of the tenant or consented to by any user in the \
                     tenant. You may have sent your authentication request to the wrong tenant.",
                    self.tenant.domain
                ),
            )
        })
    }

    /// The one resource that scopes ask for, in a form that `Cloud::knows`.
    fn resource(&self, scope: &str, only_default: bool) -> Result<String, Refusal> {
        let scopes: Vec<&str> = scope.split(' ').filter(|part| !part.is_empty() && !OPENID.contains(part)).collect();
        let invalid = |number: u32| {
            Refusal::new(
                number,
                &format!(
                    "The provided request must include a 'scope' input parameter. The provided value for the input parameter \
                     'scope' is not valid. Scope {scope} is not valid."
                ),
            )
        };
        let resource_of = |scope: &str| -> Option<String> {
            if let Some(resource) = scope.strip_suffix("/.default") {
                return Some(resource.to_owned());
            }
            (!only_default).then(|| scope.rsplit_once('/').map(|(resource, _)| resource.to_owned())).flatten()
        };
        let Some((first, rest)) = scopes.split_first() else { return Err(invalid(70_011)) };
        let resource = resource_of(first).ok_or_else(|| invalid(if only_default { 1_002_012 } else { 70_011 }))?;
        if rest.iter().any(|other| resource_of(other).as_deref() != Some(&resource)) {
            return Err(invalid(70_011));
        }
        if !self.cloud.knows(&resource) {
            return Err(Refusal::new(
                500_011,
                &format!(
                    "The resource principal named {resource} was not found in the tenant named {}. This can happen if the \
                     application has not been installed by the administrator of the tenant or consented to by any user in the \
                     tenant. You might have sent your authentication request to the wrong tenant.",
                    self.tenant.domain
                ),
            ));
        }
        Ok(resource)
    }
}

/// A field of the form that must be there.
fn required<'form>(form: &'form Pairs, name: &str) -> Result<&'form str, Refusal> {
    find(form, name).filter(|value| !value.is_empty()).ok_or_else(|| {
        Refusal::new(900_144, &format!("The request body must contain the following parameter: '{name}'."))
    })
}

fn token(world: &mut World, at: &At<'_>, form: &Pairs) -> Result<Answer, Refusal> {
    match required(form, "grant_type")? {
        "client_credentials" => client_credentials(world, at, form),
        "urn:ietf:params:oauth:grant-type:device_code" | "device_code" => device::poll(world, at, form),
        "authorization_code" => browser::redeem(world, at, form),
        "refresh_token" => refresh(world, at, form),
        other => Err(Refusal::new(70_003, &format!("The app requested an unsupported grant type '{other}'."))),
    }
}

fn client_credentials(world: &World, at: &At<'_>, form: &Pairs) -> Result<Answer, Refusal> {
    let app = at.app(world, form)?;
    authenticate(world, at, app, form)?;
    let resource = at.resource(required(form, "scope")?, true)?;
    let subject = Subject {
        object_id: app.object_id.clone(),
        app_id: app.client_id.clone(),
        tenant: at.tenant.id.clone(),
        name: None,
    };
    Ok(Answer::json(200, &issue(world, at.cloud, &subject, &resource, find(form, "claims"))))
}

/// Checks the client's own proof.
fn authenticate(world: &World, at: &At<'_>, app: &App, form: &Pairs) -> Result<(), Refusal> {
    if let Some(secret) = find(form, "client_secret") {
        let known = app.secrets.iter().find(|known| known.value == secret).ok_or_else(|| {
            Refusal::new(
                7_000_215,
                &format!(
                    "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, \
                     not the client secret ID, for a secret added to app '{}'.",
                    app.client_id
                ),
            )
        })?;
        if known.expires.is_some_and(|expires| expires <= world.clock.now()) {
            return Err(Refusal::new(
                7_000_222,
                &format!("The provided client secret keys for app '{}' are expired.", app.client_id),
            ));
        }
        return Ok(());
    }
    if let Some(text) = find(form, "client_assertion") {
        let kind = required(form, "client_assertion_type")?;
        if kind != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
            return Err(Refusal::new(50_027, &format!("The client assertion type '{kind}' is not supported.")));
        }
        return assertion::check(world, at, app, text);
    }
    if app.public {
        return Ok(());
    }
    Err(Refusal::new(
        7_000_216,
        "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type.",
    ))
}

fn refresh(world: &mut World, at: &At<'_>, form: &Pairs) -> Result<Answer, Refusal> {
    let app = at.app(world, form)?;
    if !app.public {
        authenticate(world, at, app, form)?;
    }
    let client_id = app.client_id.clone();
    let known = world.sign_ins.refresh.get(required(form, "refresh_token")?);
    let known = known
        .filter(|known| known.client_id == client_id)
        .ok_or_else(|| Refusal::new(9_002_313, "Invalid request. Request is malformed or invalid."))?;
    if known.revoked {
        return Err(Refusal::new(
            50_173,
            "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have \
             changed or reset their password.",
        ));
    }
    let subject = known.subject.clone();
    if subject.tenant != at.tenant.id {
        return Err(Refusal::new(
            50_020,
            "User account from identity provider does not exist in the tenant and cannot access the application.",
        ));
    }
    user_answer(world, at, &subject, form, None)
}

/// What a person's sign-in gives: also a refresh token and an id token where the scopes ask for them.
fn user_answer(
    world: &mut World,
    at: &At<'_>,
    subject: &Subject,
    form: &Pairs,
    nonce: Option<&str>,
) -> Result<Answer, Refusal> {
    let scope = find(form, "scope").unwrap_or_default();
    let resource = at.resource(scope, false)?;
    let mut answer = issue(world, at.cloud, subject, &resource, find(form, "claims"));
    let wants = |name: &str| scope.split(' ').any(|part| part == name);
    let Some(members) = answer.as_object_mut() else { return Ok(Answer::json(200, &answer)) };
    members.insert("scope".into(), json!(format!("{resource}/user_impersonation {resource}/.default")));
    if wants("offline_access") {
        let refresh = format!("0.{}{}", random::hex(), random::hex());
        let known = Refresh { subject: subject.clone(), client_id: subject.app_id.clone(), revoked: false };
        world.sign_ins.refresh.insert(refresh.clone(), known);
        members.insert("refresh_token".into(), json!(refresh));
    }
    if wants("openid") {
        let now = world.clock.now();
        let claims = json!({
            "aud": subject.app_id, "iss": format!("https://{}/{}/v2.0", at.cloud.authority(), subject.tenant),
            "iat": now, "nbf": now, "exp": now.saturating_add(3600), "name": "A person", "nonce": nonce,
            "oid": subject.object_id, "preferred_username": subject.name, "sub": subject.object_id,
            "tid": subject.tenant, "ver": "2.0",
        });
        let id_token = world.signer.sign(&claims);
        members.insert("id_token".into(), json!(id_token));
    }
    if find(form, "client_info") == Some("1") {
        let info = json!({"uid": subject.object_id, "utid": subject.tenant});
        members.insert("client_info".into(), json!(URL_SAFE_NO_PAD.encode(info.to_string())));
    }
    Ok(Answer::json(200, &answer))
}

/// An access token, in the answer that all grants share.
fn issue(world: &World, cloud: &Cloud, subject: &Subject, resource: &str, claims: Option<&str>) -> Value {
    let lifetime = world.settings.token_lifetime;
    let mut answer = json!({
        "token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime,
        "access_token": access_token(world, cloud, subject, resource, claims, lifetime),
    });
    if let (Some(refresh_in), Some(members)) = (world.settings.refresh_in, answer.as_object_mut()) {
        members.insert("refresh_in".into(), json!(refresh_in));
    }
    answer
}

/// An access token for a resource, which may end in a slash.
pub fn access_token(
    world: &World,
    cloud: &Cloud,
    subject: &Subject,
    resource: &str,
    claims: Option<&str>,
    lifetime: i64,
) -> String {
    let now = world.clock.now();
    let claims: Value = claims.and_then(|claims| serde_json::from_str(claims).ok()).unwrap_or_default();
    let able = claims.pointer("/access_token/xms_cc/values").and_then(Value::as_array);
    let able = able.is_some_and(|values| {
        values.iter().any(|value| value.as_str().is_some_and(|value| value.eq_ignore_ascii_case("cp1")))
    });
    let mut token = json!({
        "aud": resource, "iss": format!("{}/{}/", cloud.issuer, subject.tenant),
        "iat": now, "nbf": now, "exp": now.saturating_add(lifetime),
        "appid": subject.app_id, "idtyp": if subject.name.is_some() { "user" } else { "app" },
        "oid": subject.object_id, "sub": subject.object_id, "tid": subject.tenant,
        "uti": random::hex(), "ver": "1.0",
    });
    if let Some(members) = token.as_object_mut() {
        if let Some(name) = &subject.name {
            members.insert("upn".into(), json!(name));
            members.insert("scp".into(), json!("user_impersonation"));
        }
        if able {
            members.insert("xms_cc".into(), json!(["cp1"]));
        }
        // What a demand for claims is met with: the claims themselves, as they were asked for.
        if !claims.is_null() {
            members.insert("satisfied".into(), claims);
        }
    }
    world.signer.sign(&token)
}

/// The answer as the older endpoint gives it.
fn older(answer: &Answer, now: i64) -> Answer {
    let mut body = answer.value();
    if let Some(members) = body.as_object_mut() {
        let lasts = members.get("expires_in").and_then(Value::as_i64).unwrap_or_default();
        members.insert("expires_in".into(), json!(lasts.to_string()));
        members.insert("ext_expires_in".into(), json!(lasts.to_string()));
        members.insert("expires_on".into(), json!(now.saturating_add(lasts).to_string()));
        members.insert("not_before".into(), json!(now.to_string()));
    }
    Answer::json(answer.status, &body)
}
