//! Checks client assertions: signed with an application's certificate, or by an issuer from outside.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use webpki::EndEntityCert;

use super::{At, Refusal};
use crate::directory::App;
use crate::token::{Jwt, unpadded};
use crate::world::World;

/// Clocks may differ by so many seconds.
const SKEW: i64 = 300;

/// Says which certificate of an application cannot be read.
///
/// # Errors
///
/// The reason, in words.
pub fn check_certificates(app: &App) -> Result<(), String> {
    for pem in &app.certificates {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| format!("a certificate of {} is no PEM: {error:?}", app.client_id))?;
        EndEntityCert::try_from(&certificate)
            .map_err(|error| format!("a certificate of {} cannot be used: {error}", app.client_id))?;
    }
    Ok(())
}

pub(super) fn check(world: &World, at: &At<'_>, app: &App, text: &str) -> Result<(), Refusal> {
    let jwt = Jwt::parse(text).ok_or_else(|| Refusal::new(50_027, "JWT token is invalid or malformed."))?;
    if jwt.claims.text("iss").eq_ignore_ascii_case(&app.client_id) {
        certificate(world, at, app, &jwt)
    } else {
        federated(world, at, app, &jwt, text)
    }
}

fn certificate(world: &World, at: &At<'_>, app: &App, jwt: &Jwt<'_>) -> Result<(), Refusal> {
    let header = |name: &str| jwt.header.get(name).and_then(Value::as_str);
    let algorithm = match header("alg") {
        Some("RS256") => webpki::ring::RSA_PKCS1_2048_8192_SHA256,
        Some("PS256") => webpki::ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        other => return Err(failed(&format!("the algorithm {} is not supported", other.unwrap_or("(none)")))),
    };
    let sha1 = header("x5t").and_then(unpadded);
    let sha256 = header("x5t#S256").and_then(unpadded);
    let names = |certificate: &CertificateDer<'_>| {
        let digest = |algorithm| digest::digest(algorithm, certificate.as_ref()).as_ref().to_vec();
        sha1.as_ref() == Some(&digest(&digest::SHA1_FOR_LEGACY_USE_ONLY))
            || sha256.as_ref() == Some(&digest(&digest::SHA256))
    };
    let known = app
        .certificates
        .iter()
        .filter_map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).ok())
        .find(names)
        .ok_or_else(|| {
            failed("the certificate with identifier used to sign the client assertion is not registered on application")
        })?;
    let chain = jwt.header.get("x5c").and_then(Value::as_array);
    let leaf = chain.and_then(|chain| chain.first()).and_then(Value::as_str);
    if app.require_chain && leaf.is_none() {
        return Err(failed("the certificate chain was not sent"));
    }
    // msal leaves the line breaks of its PEM in.
    let leaf = leaf.map(|leaf| leaf.split_ascii_whitespace().collect::<String>());
    if leaf.is_some_and(|leaf| STANDARD.decode(leaf).ok().as_deref() != Some(known.as_ref())) {
        return Err(failed("the first certificate of x5c is not the one that x5t names"));
    }
    EndEntityCert::try_from(&known)
        .and_then(|entity| entity.verify_signature(algorithm, jwt.signed.as_bytes(), &jwt.signature))
        .map_err(|error| {
            failed(&format!("key was found, but use of the key to verify the signature failed: {error}"))
        })?;

    let claims = &jwt.claims;
    if !claims.text("sub").eq_ignore_ascii_case(&app.client_id) {
        return Err(failed("the issuer and the subject differ"));
    }
    if claims.text("jti").is_empty() {
        return Err(failed("the assertion has no identifier"));
    }
    let tenants = [at.named, at.tenant.id.as_str(), at.tenant.domain.as_str()];
    let audience = claims.text("aud");
    let fits = at.cloud.authorities.iter().any(|host| {
        tenants.iter().any(|tenant| {
            let base = format!("https://{host}/{tenant}");
            [format!("{base}/oauth2/v2.0/token"), format!("{base}/oauth2/token"), format!("{base}/v2.0")]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(audience))
        })
    });
    if !fits {
        return Err(Refusal::new(
            50_027,
            &format!("JWT token is invalid or malformed: the audience '{audience}' is not this token endpoint."),
        ));
    }
    window(world, jwt, "Client assertion is not within its valid time range.")
}

fn federated(world: &World, at: &At<'_>, app: &App, jwt: &Jwt<'_>, text: &str) -> Result<(), Refusal> {
    let claims = &jwt.claims;
    let (issuer, subject, audience) = (claims.text("iss"), claims.text("sub"), claims.text("aud"));
    let same_issuer: Vec<_> = app.federated.iter().filter(|known| known.issuer == issuer).collect();
    if same_issuer.is_empty() {
        return Err(Refusal::new(
            700_211,
            &format!("No matching federated identity record found for presented assertion issuer '{issuer}'."),
        ));
    }
    let same_subject: Vec<_> = same_issuer.into_iter().filter(|known| known.subject == subject).collect();
    if same_subject.is_empty() {
        return Err(Refusal::new(
            700_213,
            &format!(
                "No matching federated identity record found for presented assertion subject '{subject}'. Check your \
                 federated identity credential Subject, Audience and Issuer against the presented assertion."
            ),
        ));
    }
    if !same_subject.iter().any(|known| known.audience.as_deref().unwrap_or(at.cloud.exchange) == audience) {
        return Err(Refusal::new(
            700_212,
            &format!("No matching federated identity record found for presented assertion audience '{audience}'."),
        ));
    }
    if world.signer.verify(text).is_none() {
        return Err(failed("the signature of the assertion's issuer is not valid"));
    }
    window(world, jwt, "Client assertion is not within its valid time range.")
}

fn window(world: &World, jwt: &Jwt<'_>, text: &str) -> Result<(), Refusal> {
    let now = world.clock.now();
    let (from, until) = (jwt.claims.number("nbf"), jwt.claims.number("exp"));
    if until.saturating_add(SKEW) <= now || from.saturating_sub(SKEW) > now {
        return Err(Refusal::new(700_024, text));
    }
    Ok(())
}

fn failed(why: &str) -> Refusal {
    Refusal::new(700_027, &format!("Client assertion failed signature validation: {why}."))
}
