//! The steps of a sign-in with a code.

use serde::{Deserialize, Serialize};
use strongroom_entra::number::Seconds;
use strongroom_entra::user::{SignIn, Silent, check_person_is_there};
use strongroom_entra::{Page, Refused, Service};
use strongroom_plugin::credential::{Pending, Prompt, Step};
use strongroom_plugin::{Context, Failure, Kind};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// How long to wait between two questions where Entra does not say, in seconds (RFC 8628, 3.2); also
/// what each `slow_down` adds (3.5).
const INTERVAL: u64 = 5;

/// The longest wait between two questions, in seconds: a person is waiting.
const MAX_INTERVAL: u64 = 60;

/// How long a code is good where Entra does not say, in seconds.
const LIFE: u64 = 1800;

#[derive(Deserialize)]
struct Answer {
    user_code: String,
    device_code: String,
    #[serde(alias = "verification_url")]
    verification_uri: String,
    expires_in: Option<Seconds>,
    interval: Option<Seconds>,
}

/// What is known between two questions.
#[derive(Serialize, Deserialize)]
struct State {
    device_code: String,
    /// Seconds.
    interval: u64,
    /// Seconds since the Unix epoch.
    expires_at: u64,
    claims: String,
}

impl State {
    /// Come back after the interval.
    fn pending(&self, prompt: Option<Prompt>) -> Result<Step, Failure> {
        let state = serde_json::to_vec(self)
            .map_err(|_| Failure::internal("device-code.state", "the sign-in's state could not be written"))?;
        let seconds = self.interval.clamp(1, MAX_INTERVAL);
        let retry_after_ms = u32::try_from(seconds.saturating_mul(1000)).unwrap_or(u32::MAX);
        Ok(Step::Pending(Pending { retry_after_ms, state, prompt }))
    }
}

/// A token from what is kept, or else a code for a person.
pub fn start(
    sign_in: &SignIn,
    service: &mut dyn Service,
    context: &Context,
    kept: Option<&[u8]>,
    now: u64,
) -> Result<Step, Failure> {
    let claims = match sign_in.silently(service, kept, now)? {
        Silent::Ready(token) => return Ok(token.into()),
        Silent::Person { claims } => claims,
    };
    check_person_is_there(context)?;
    let asked = &sign_in.asked;
    let response = service.post(Page::DeviceCode, &[("client_id", &asked.client_id), ("scope", &asked.scope)])?;
    if response.status() != 200 {
        return Err(Refused::read(&response, asked).into());
    }
    let Answer { user_code, device_code, verification_uri, expires_in, interval } = response.json()?;
    let seconds = |given: Option<Seconds>, otherwise| given.map_or(otherwise, |Seconds(seconds)| seconds);
    let expires_at = now.saturating_add(seconds(expires_in, LIFE));
    let state = State { device_code, interval: seconds(interval, INTERVAL), expires_at, claims };
    // Shown once; the host does not print it again at each question.
    state.pending(Some(Prompt { uri: verification_uri, user_code: Some(user_code), expires_at }))
}

/// Asks whether the person has signed in.
pub fn resume(sign_in: &SignIn, service: &mut dyn Service, state: &[u8], now: u64) -> Result<Step, Failure> {
    let mut state: State = serde_json::from_slice(state)
        .map_err(|_| Failure::internal("device-code.state", "the sign-in's state came back changed"))?;
    if now >= state.expires_at {
        return Err(expired());
    }
    let form = [
        ("client_id", sign_in.asked.client_id.as_str()),
        ("grant_type", GRANT),
        ("client_info", "1"),
        ("device_code", state.device_code.as_str()),
        ("claims", state.claims.as_str()),
    ];
    let refused = match sign_in.redeem(service, &form, None, now) {
        Ok(token) => return Ok(token.into()),
        Err(refused) => refused,
    };
    match refused.error.as_str() {
        "authorization_pending" => state.pending(None),
        "slow_down" => {
            state.interval = state.interval.saturating_add(INTERVAL);
            state.pending(None)
        }
        "authorization_declined" | "access_denied" => {
            Err(about(refused, Kind::Denied, "device-code.declined", "the person declined to sign in"))
        }
        "expired_token" | "code_expired" => Err(expired()),
        "bad_verification_code" => Err(about(
            refused,
            Kind::Protocol,
            "device-code.rejected",
            "Entra ID does not know the code of this sign-in any more; start again with `strongroom login`",
        )),
        // The person may be typing: a passing fault does not end it (RFC 8628, 3.5).
        _ if matches!(refused.failure.kind, Kind::Unavailable | Kind::Throttled) => {
            let asked = refused.failure.retry_after_ms.map_or(0, |milliseconds| u64::from(milliseconds) / 1000);
            state.interval = state.interval.saturating_add(INTERVAL).max(asked);
            state.pending(None)
        }
        _ => Err(refused.into()),
    }
}

fn expired() -> Failure {
    let message = "the code was not used in time; start again with `strongroom login`";
    Failure::unauthenticated("device-code.expired", message)
}

/// The refusal with its ids, in words of this sign-in.
fn about(refused: Refused, kind: Kind, code: &str, message: &str) -> Failure {
    Failure { kind, code: code.into(), message: message.into(), ..Failure::from(refused) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_entra::script::Script;
    use strongroom_plugin::credential::{Request, Token};

    const CODE: &str = r#"{"user_code":"ABCD1234","device_code":"s3cret-code","verification_uri":"https://microsoft.com/devicelogin",
        "expires_in":900,"interval":5,"message":"To sign in, use a web browser to open the page ... and enter the code ... to authenticate."}"#;
    const TOKEN: &str = r#"{"token_type":"Bearer","expires_in":3599,"access_token":"at","refresh_token":"rt"}"#;
    const CP1: &str = r#"{"access_token":{"xms_cc":{"values":["CP1"]}}}"#;

    fn sign_in() -> SignIn {
        let request = Request { audience: "https://vault.azure.net".into(), ..Request::default() };
        SignIn::new(&request, None, "organizations").unwrap()
    }

    fn error(word: &str) -> String {
        format!(r#"{{"error":"{word}","error_description":"words"}}"#)
    }

    fn started(service: &mut Script, kept: Option<&[u8]>) -> Result<Step, Failure> {
        start(&sign_in(), service, &Context::new("{}"), kept, 1000)
    }

    fn pending(step: Step) -> Pending {
        let Step::Pending(pending) = step else { panic!("{step:?}") };
        pending
    }

    fn ready(step: Step) -> Token {
        let Step::Ready(token) = step else { panic!("{step:?}") };
        token
    }

    /// The state after a start, and what the answer `body` with `status` makes of it.
    fn polled(status: u16, body: &str, now: u64) -> Result<Step, Failure> {
        let state = pending(started(&mut Script::new([(200, CODE)]), None).unwrap()).state;
        resume(&sign_in(), &mut Script::new([(status, body)]), &state, now)
    }

    #[test]
    fn a_code_is_shown_and_then_asked_about() {
        let mut service = Script::new([(200, CODE), (400, &error("authorization_pending")), (200, TOKEN)]);
        let first = pending(started(&mut service, None).unwrap());
        assert_eq!(first.retry_after_ms, 5000);
        let prompt = first.prompt.unwrap();
        assert_eq!(
            (prompt.uri.as_str(), prompt.user_code.as_deref()),
            ("https://microsoft.com/devicelogin", Some("ABCD1234"))
        );
        assert_eq!(prompt.expires_at, 1900);
        assert_eq!(service.asked.last().unwrap().0, Page::DeviceCode);
        assert_eq!(service.field("scope"), Some("https://vault.azure.net/.default offline_access openid profile"));

        let second = pending(resume(&sign_in(), &mut service, &first.state, 1005).unwrap());
        assert_eq!((second.retry_after_ms, second.prompt), (5000, None));
        let (page, form) = service.asked.last().unwrap();
        assert_eq!(*page, Page::Token);
        let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            form,
            [
                ("client_id", "04b07795-8ddb-461a-bbee-02f9e1bf7b46"),
                ("grant_type", GRANT),
                ("client_info", "1"),
                ("device_code", "s3cret-code"),
                ("claims", CP1),
            ]
        );

        let token = ready(resume(&sign_in(), &mut service, &second.state, 1010).unwrap());
        assert_eq!((token.value.as_str(), token.expires_at), ("at", Some(4609)));
        assert_eq!(token.keep.as_deref(), Some(&b"rt"[..]));
    }

    #[test]
    fn what_is_kept_needs_no_person() {
        let mut service = Script::new([(200, TOKEN)]);
        assert_eq!(ready(started(&mut service, Some(b"old")).unwrap()).keep.as_deref(), Some(&b"rt"[..]));
        assert_eq!(service.field("grant_type"), Some("refresh_token"));
    }

    #[test]
    fn what_is_kept_and_does_not_do_asks_for_a_new_sign_in() {
        let factor = r#"{"error":"invalid_grant","error_description":"AADSTS50076: x","error_codes":[50076]}"#;
        let mut service = Script::new([(400, factor), (200, CODE)]);
        assert!(pending(started(&mut service, Some(b"old")).unwrap()).prompt.is_some());
        // And with the claims that the refusal named.
        let more =
            r#"{"error":"interaction_required","error_codes":[50076],"claims":"{\"access_token\":{\"x\":null}}"}"#;
        let mut service = Script::new([(400, more), (200, CODE), (200, TOKEN)]);
        let state = pending(started(&mut service, Some(b"old")).unwrap()).state;
        ready(resume(&sign_in(), &mut service, &state, 1005).unwrap());
        assert_eq!(service.field("claims"), Some(r#"{"access_token":{"x":null,"xms_cc":{"values":["CP1"]}}}"#));
    }

    #[test]
    fn a_fault_of_a_refresh_is_told_and_asks_nobody() {
        let failure = started(&mut Script::new([(503, "")]), Some(b"old")).unwrap_err();
        assert_eq!(failure.kind, Kind::Unavailable);
    }

    #[test]
    fn where_nobody_is_there_nothing_is_asked() {
        let mut context = Context::new("{}");
        context.attributes.push(("interactive".into(), "false".into()));
        let mut service = Script::new([]);
        let failure = start(&sign_in(), &mut service, &context, None, 0).unwrap_err();
        assert!(failure.kind == Kind::Unauthenticated && failure.message.contains("strongroom login"));
        assert!(service.asked.is_empty());
        // What is kept serves there, too.
        let mut service = Script::new([(200, TOKEN)]);
        ready(start(&sign_in(), &mut service, &context, Some(b"old"), 0).unwrap());
    }

    #[test]
    fn every_outcome_of_a_question() {
        for (status, body, kind, code) in [
            (400, error("authorization_declined"), Kind::Denied, "device-code.declined"),
            (400, error("access_denied"), Kind::Denied, "device-code.declined"),
            (400, error("expired_token"), Kind::Unauthenticated, "device-code.expired"),
            (400, error("code_expired"), Kind::Unauthenticated, "device-code.expired"),
            (400, error("bad_verification_code"), Kind::Protocol, "device-code.rejected"),
            (401, error("invalid_client"), Kind::Unauthenticated, "invalid_client"),
            (400, error("odd"), Kind::Protocol, "odd"),
            (200, "{}".into(), Kind::Protocol, "entra.answer"),
        ] {
            let failure = polled(status, &body, 1005).unwrap_err();
            assert_eq!((failure.kind, failure.code.as_str()), (kind, code), "{body}");
            assert!(!format!("{failure:?}").contains("s3cret"));
        }
    }

    #[test]
    fn slow_down_is_for_good() {
        let mut service = Script::new([
            (200, CODE),
            (400, &error("slow_down")),
            (400, &error("slow_down")),
            (400, &error("authorization_pending")),
        ]);
        let mut step = pending(started(&mut service, None).unwrap());
        let mut waits = Vec::new();
        for now in 1005..1008 {
            step = pending(resume(&sign_in(), &mut service, &step.state, now).unwrap());
            waits.push(step.retry_after_ms);
        }
        assert_eq!(waits, [10_000, 15_000, 15_000]);
    }

    #[test]
    fn a_passing_fault_does_not_end_the_sign_in() {
        for (status, body) in [(503, ""), (429, ""), (500, "<html>"), (400, &*error("temporarily_unavailable"))] {
            assert_eq!(pending(polled(status, body, 1005).unwrap()).retry_after_ms, 10_000, "{status}");
        }
        // Nor does no answer at all.
        let state = pending(started(&mut Script::new([(200, CODE)]), None).unwrap()).state;
        struct Dead;
        impl Service for Dead {
            fn post(&mut self, _: Page, _: &[(&str, &str)]) -> Result<strongroom_plugin::http::Response, Failure> {
                Err(Failure::unavailable("http.connect", "broke off"))
            }
        }
        pending(resume(&sign_in(), &mut Dead, &state, 1005).unwrap());
    }

    #[test]
    fn it_ends_when_the_code_does() {
        let failure = polled(200, TOKEN, 1900).unwrap_err();
        assert_eq!(failure.code, "device-code.expired");
        assert!(polled(200, TOKEN, 1899).is_ok());
    }

    #[test]
    fn texts_for_numbers_and_absent_ones() {
        let text = CODE.replace("900", r#""60""#).replace(":5,", r#":"7","#);
        let step = pending(started(&mut Script::new([(200, text.as_str())]), None).unwrap());
        assert_eq!((step.retry_after_ms, step.prompt.unwrap().expires_at), (7000, 1060));
        let absent = r#"{"user_code":"A","device_code":"d","verification_uri":"https://microsoft.com/devicelogin"}"#;
        let step = pending(started(&mut Script::new([(200, absent)]), None).unwrap());
        assert_eq!((step.retry_after_ms, step.prompt.unwrap().expires_at), (5000, 2800));
    }

    #[test]
    fn a_refused_start_says_why() {
        let body = r#"{"error":"unauthorized_client","error_description":"AADSTS700016: x","error_codes":[700016]}"#;
        let failure = started(&mut Script::new([(400, body)]), None).unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::InvalidConfig, "AADSTS700016"));
    }

    #[test]
    fn a_changed_state_is_refused() {
        let failure = resume(&sign_in(), &mut Script::new([]), b"s3cret", 0).unwrap_err();
        assert!(failure.code == "device-code.state" && !failure.message.contains("s3cret"));
    }
}
