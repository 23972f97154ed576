//! A sign-in with a browser, as the host and Entra ID see it.

use serde_json::{Value, json};
use strongroom_entra::script::Script;
use strongroom_plugin::Kind;
use strongroom_plugin::credential::{Request, Token};

use super::*;

const NOW: u64 = 1000;
const CLIENT: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
const CP1: &str = r#"{"access_token":{"xms_cc":{"values":["CP1"]}}}"#;
/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn sign_in(tenant: &str) -> SignIn {
    let request = Request { audience: "https://vault.azure.net".into(), ..Request::default() };
    SignIn::new(&request, None, tenant).unwrap()
}

/// Runs `act` on a flow of that config and tenant.
fn with<T>(config: &str, tenant: &str, act: impl FnOnce(&Flow<'_>) -> T) -> T {
    let (sign_in, config) = (sign_in(tenant), serde_json::from_str(config).unwrap());
    let page = format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/authorize");
    act(&Flow { sign_in: &sign_in, config: &config, authority: "login.microsoftonline.com", page: &page, now: NOW })
}

/// The verifier of the RFC, and zeros.
fn random(bytes: usize) -> Vec<u8> {
    if bytes == VERIFIER_BYTES { URL_SAFE_NO_PAD.decode(VERIFIER).unwrap() } else { vec![0; bytes] }
}

const NONCE: &str = "AAAAAAAAAAAAAAAAAAAAAA";

fn opened(config: &str, service: &mut Script, kept: Option<&[u8]>) -> Step {
    with(config, "organizations", |flow| flow.start(service, &Context::new("{}"), kept, &random)).unwrap()
}

fn browser(step: Step) -> Browser {
    let Step::Browser(browser) = step else { panic!("{step:?}") };
    browser
}

fn ready(step: Step) -> Token {
    let Step::Ready(token) = step else { panic!("{step:?}") };
    token
}

fn back(parameters: &[(&str, &str)]) -> Resume {
    Resume {
        state: browser(opened("{}", &mut Script::new([]), None)).state,
        redirect_uri: Some("http://localhost:8400".into()),
        parameters: parameters.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
    }
}

fn id_token(claims: &Value) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn good() -> Value {
    json!({"aud": CLIENT, "iss": "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0", "exp": 4600,
        "nonce": NONCE, "tid": "72f988bf-86f1-41af-91ab-2d7cd011db47", "preferred_username": "ada@contoso.com"})
}

fn granted(claims: &Value) -> String {
    json!({"token_type": "Bearer", "expires_in": 3599, "access_token": "at", "refresh_token": "rt", "id_token": id_token(claims)})
        .to_string()
}

#[test]
fn the_page_is_asked_with_pkce_and_two_holes() {
    let uri = browser(opened("{}", &mut Script::new([]), None)).uri;
    let (page, query) = uri.split_once('?').unwrap();
    assert_eq!(page, "https://login.microsoftonline.com/organizations/oauth2/v2.0/authorize");
    assert_eq!(
        query.split('&').collect::<Vec<_>>(),
        [
            "redirect_uri={redirect-uri}",
            "state={state}",
            &format!("client_id={CLIENT}"),
            "response_type=code",
            "scope=https%3A%2F%2Fvault.azure.net%2F.default%20offline_access%20openid%20profile",
            &format!("nonce={NONCE}"),
            &format!("code_challenge={CHALLENGE}"),
            "code_challenge_method=S256",
            "response_mode=form_post",
            "prompt=select_account",
            "claims=%7B%22access_token%22%3A%7B%22xms_cc%22%3A%7B%22values%22%3A%5B%22CP1%22%5D%7D%7D%7D",
            "client_info=1",
        ]
    );
    assert!(!uri.contains(VERIFIER));
}

#[test]
fn hints_are_parameters_and_never_more_than_that() {
    let config = r#"{"login_hint":"a&b=c{state}","domain_hint":"contoso.com","response_mode":"query"}"#;
    let uri = browser(opened(config, &mut Script::new([]), None)).uri;
    assert!(uri.ends_with("&login_hint=a%26b%3Dc%7Bstate%7D&domain_hint=contoso.com"), "{uri}");
    assert!(uri.contains("&response_mode=query&"));
    assert_eq!(uri.matches("{state}").count(), 1);
}

#[test]
fn the_code_gets_a_token_for_who_signed_in() {
    for tenant in ["organizations", "contoso.com", "72F988BF-86F1-41AF-91AB-2D7CD011DB47"] {
        let mut service = Script::new([(200, granted(&good()).as_str())]);
        let resumed = back(&[("code", "s3cret-code"), ("state", "x")]);
        let token = ready(with("{}", tenant, |flow| flow.resume(&mut service, &resumed)).unwrap());
        assert_eq!((token.value.as_str(), token.expires_at), ("at", Some(NOW + 3599)));
        assert_eq!(token.keep.as_deref(), Some(&b"rt"[..]));
        assert!(token.attributes.contains(&("identity".into(), "ada@contoso.com".into())));
        let (_, form) = service.asked.last().unwrap();
        let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            form,
            [
                ("client_id", CLIENT),
                ("grant_type", "authorization_code"),
                ("client_info", "1"),
                ("code", "s3cret-code"),
                ("redirect_uri", "http://localhost:8400"),
                ("code_verifier", VERIFIER),
                ("scope", "https://vault.azure.net/.default offline_access openid profile"),
                ("claims", CP1),
            ]
        );
    }
}

#[test]
fn an_id_token_of_another_sign_in_is_refused() {
    for (name, value, words) in [
        ("nonce", json!("other"), "another sign-in"),
        ("nonce", json!(null), "another sign-in"),
        ("aud", json!("other"), "another application"),
        ("iss", json!("https://evil.example/t/v2.0"), "another issuer"),
        ("iss", json!(null), "another issuer"),
        ("tid", json!("00000000-0000-0000-0000-000000000000"), "another tenant"),
        ("tid", json!(null), "another tenant"),
        ("exp", json!(NOW - SKEW), "expired"),
        ("exp", json!(null), "expired"),
    ] {
        let mut claims = good();
        claims.as_object_mut().unwrap().insert(name.into(), value);
        let mut service = Script::new([(200, granted(&claims).as_str())]);
        let tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47";
        let failure = with("{}", tenant, |flow| flow.resume(&mut service, &back(&[("code", "c")]))).unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::Protocol, "browser.id-token"));
        assert!(failure.message.contains(words), "{}", failure.message);
    }
    let opaque = r#"{"access_token":"s3cret","id_token":"s3cret"}"#;
    let failure = with("{}", "t", |flow| flow.resume(&mut Script::new([(200, opaque)]), &back(&[("code", "c")])));
    assert!(!failure.unwrap_err().message.contains("s3cret"));
}

#[test]
fn what_the_browser_may_bring_instead() {
    for (parameters, kind, code) in [
        (&[("error", "access_denied"), ("error_description", "the user cancelled")][..], Kind::Denied, "access_denied"),
        (&[("error", "x"), ("error_description", "AADSTS65001: none")], Kind::Denied, "AADSTS65001"),
        (&[("error", "login_required")], Kind::Unauthenticated, "login_required"),
        (&[("state", "x")], Kind::Protocol, "browser.code"),
        (&[("code", "")], Kind::Protocol, "browser.code"),
    ] {
        let failure = with("{}", "t", |flow| flow.resume(&mut Script::new([]), &back(parameters))).unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (kind, code));
    }
    let lost = Resume { redirect_uri: None, ..back(&[("code", "c")]) };
    assert_eq!(with("{}", "t", |flow| flow.resume(&mut Script::new([]), &lost)).unwrap_err().code, "browser.state");
    let changed = Resume { state: b"s3cret".into(), ..lost };
    let failure = with("{}", "t", |flow| flow.resume(&mut Script::new([]), &changed)).unwrap_err();
    assert!(failure.code == "browser.state" && !failure.message.contains("s3cret"));
}

#[test]
fn a_code_that_entra_refuses_is_told_without_it() {
    let body = r#"{"error":"invalid_grant","error_description":"AADSTS54005: OAuth2 code was already redeemed.","error_codes":[54005]}"#;
    let resumed = back(&[("code", "s3cret-code")]);
    let failure = with("{}", "t", |flow| flow.resume(&mut Script::new([(400, body)]), &resumed)).unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::Unauthenticated, "AADSTS54005"));
    assert!(!format!("{failure:?}").contains("s3cret-code"));
}

#[test]
fn what_is_kept_needs_no_browser() {
    let answer = r#"{"access_token":"at","expires_in":3599,"refresh_token":"new"}"#;
    let token = ready(opened("{}", &mut Script::new([(200, answer)]), Some(b"old")));
    assert_eq!(token.keep.as_deref(), Some(&b"new"[..]));
    // One that ended does, with the claims that the refusal named.
    let gone = r#"{"error":"interaction_required","error_codes":[50076],"claims":"{\"access_token\":{\"x\":null}}"}"#;
    let uri = browser(opened("{}", &mut Script::new([(400, gone)]), Some(b"old"))).uri;
    assert!(uri.contains("%22x%22%3Anull"), "{uri}");
}

#[test]
fn where_nobody_is_there_no_browser_opens() {
    let mut context = Context::new("{}");
    context.attributes.push(("interactive".into(), "false".into()));
    let failure = with("{}", "t", |flow| flow.start(&mut Script::new([]), &context, None, &random)).unwrap_err();
    assert!(failure.kind == Kind::Unauthenticated && failure.message.contains("strongroom login"));
}
