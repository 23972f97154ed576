//! What a source answers when it gives a token.

use serde::Deserialize;
use strongroom_entra::number::{NumberOrText, Seconds};
use strongroom_entra::shown::shown;
use strongroom_entra::{jwt, time};
use strongroom_plugin::Failure;
use strongroom_plugin::credential::Token;
use strongroom_plugin::http::Response;

use crate::call::Selector;
use crate::source::Source;

/// From this life on, in seconds, a token is renewed at its half if nobody says when.
const LONG_LIFE: u64 = 7200;

#[derive(Deserialize)]
struct Document {
    access_token: Option<String>,
    expires_on: Option<NumberOrText>,
    expires_in: Option<Seconds>,
    refresh_in: Option<Seconds>,
    client_id: Option<String>,
    object_id: Option<String>,
    msi_res_id: Option<String>,
    mi_res_id: Option<String>,
    /// Old hosts of Azure ML answer 200 with it.
    #[serde(rename = "ExceptionMessage")]
    exception: Option<String>,
}

/// The token of a success. `now` is in seconds since the Unix epoch.
///
/// # Errors
/// `managed-identity.answer`, kind protocol, if it holds none, or an end that cannot be read;
/// `managed-identity.other`, kind unsupported, if it is another identity's than was asked for.
pub fn read(source: &Source, selector: Option<Selector<'_>>, response: &Response, now: u64) -> Result<Token, Failure> {
    let document: Document = response.json()?;
    let unusable = |what: &str| {
        let message = format!("{} answered a token request with {what}", source.name());
        Failure::protocol("managed-identity.answer", message)
    };
    if let (Source::Arc(_), Some(selector)) = (source, selector) {
        check_echo(&document, selector)?;
    }
    let Document { access_token, expires_on, expires_in, refresh_in, client_id, exception, .. } = document;
    let Some(value) = access_token.filter(|token| !token.is_empty()) else {
        return Err(match exception {
            Some(exception) => unusable(&format!("no token, but: {}", shown(&exception))),
            None => unusable("no token"),
        });
    };
    let told = jwt::claims(&value).unwrap_or_default();
    let mut token = Token::bearer(value);
    token.expires_at = match (expires_on, expires_in) {
        (Some(on), _) => Some(time::expires_on(&on).ok_or_else(|| unusable("an `expires_on` that cannot be read"))?),
        (None, Some(Seconds(life))) => Some(now.saturating_add(life)),
        (None, None) => None,
    };
    let life = token.expires_at.map_or(0, |end| end.saturating_sub(now));
    let renewed = refresh_in.map(|Seconds(after)| after).or((life >= LONG_LIFE).then_some(life / 2));
    token.refresh_at = renewed.map(|after| now.saturating_add(after));
    if let Some(tenant) = &told.tid {
        token = token.attribute("tenant", tenant);
    }
    if let Some(identity) = client_id.as_deref().filter(|id| !id.is_empty()).or(told.identity()) {
        token = token.attribute("identity", identity);
    }
    Ok(token)
}

/// Agents of Arc that know no user-assigned identities give the system's token instead, silently; the
/// others say whose it is.
fn check_echo(document: &Document, selector: Selector<'_>) -> Result<(), Failure> {
    let Document { client_id, object_id, msi_res_id, mi_res_id, .. } = document;
    let (asked, told) = match selector {
        Selector::Client(id) => (id, [client_id, client_id]),
        Selector::Object(id) => (id, [object_id, object_id]),
        Selector::Resource(id) => (id, [msi_res_id, mi_res_id]),
    };
    if told.iter().any(|told| told.as_deref().is_some_and(|told| told.eq_ignore_ascii_case(asked))) {
        return Ok(());
    }
    let message = "the agent of Azure Arc did not give the user-assigned identity that was asked for; update the agent, or \
                   use the system-assigned identity";
    Err(Failure::unsupported("managed-identity.other", message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_plugin::Kind;

    const NOW: u64 = 1_605_152_324;

    fn answer(source: &Source, selector: Option<Selector<'_>>, body: &str) -> Result<Token, Failure> {
        read(source, selector, &Response::new(200, [("content-type", "application/json")], body), NOW)
    }

    fn imds(body: &str) -> Result<Token, Failure> {
        answer(&Source::Imds, None, body)
    }

    #[test]
    fn the_documents_of_the_services() {
        let token = imds(
            r#"{"access_token":"at","client_id":"11111111-2222-3333-4444-555555555555","expires_in":"86399",
            "expires_on":"1605238724","ext_expires_in":"86399","not_before":"1605152024",
            "resource":"https://vault.azure.net","token_type":"Bearer"}"#,
        )
        .unwrap();
        assert_eq!((token.value.as_str(), token.scheme.as_str()), ("at", "Bearer"));
        assert_eq!((token.expires_at, token.refresh_at), (Some(1_605_238_724), Some(NOW + 43_200)));
        assert_eq!(token.attributes, [("identity".to_owned(), "11111111-2222-3333-4444-555555555555".to_owned())]);
        // App Service has no `expires_in`; Arc may have nothing else.
        let app =
            r#"{"access_token":"at","expires_on":"1605155924","resource":"r","token_type":"Bearer","client_id":"c"}"#;
        assert_eq!(answer(&Source::AppService("http://e".into()), None, app).unwrap().refresh_at, None);
        assert_eq!(imds(r#"{"access_token":"at","expires_in":"3600"}"#).unwrap().expires_at, Some(NOW + 3600));
        assert_eq!(
            imds(r#"{"access_token":"at","expires_in":3600,"refresh_in":"60"}"#).unwrap().refresh_at,
            Some(NOW + 60)
        );
        assert_eq!(imds(r#"{"access_token":"at"}"#).unwrap().expires_at, None);
    }

    #[test]
    fn every_form_of_the_end() {
        for (on, seconds) in [
            ("1605238724", 1_605_238_724),
            (r#""1605238724""#, 1_605_238_724),
            (r#""06/20/2019 02:57:58 +00:00""#, 1_560_999_478),
            (r#""1/16/2020 5:24:12 AM +00:00""#, 1_579_152_252),
        ] {
            let source = Source::AzureMl("http://e".into());
            let body = format!(r#"{{"access_token":"at","expires_on":{on},"resource":"r","token_type":"Bearer"}}"#);
            assert_eq!(answer(&source, None, &body).unwrap().expires_at, Some(seconds), "{on}");
        }
    }

    #[test]
    fn what_holds_no_token_is_a_failure() {
        for (body, words) in [
            ("{}", "no token"),
            (r#"{"access_token":""}"#, "no token"),
            (r#"{"ExceptionMessage":"Identity is not there"}"#, "Identity is not there"),
            (r#"{"access_token":"s3cret","expires_on":"soon"}"#, "`expires_on`"),
            (r#"{"access_token":"s3cret","expires_in":"soon"}"#, "form"),
            ("s3cret", "JSON"),
        ] {
            let failure = imds(body).unwrap_err();
            assert!(failure.kind == Kind::Protocol && failure.message.contains(words), "{}", failure.message);
            assert!(!failure.message.contains("s3cret"));
        }
    }

    #[test]
    fn arc_must_say_whose_token_it_is() {
        let arc = Source::Arc("http://e".into());
        for (selector, echo, fits) in [
            (Selector::Client("Ab"), r#""client_id":"aB""#, true),
            (Selector::Object("o"), r#""object_id":"o""#, true),
            (Selector::Resource("/R"), r#""msi_res_id":"/r""#, true),
            (Selector::Resource("/R"), r#""mi_res_id":"/r""#, true),
            (Selector::Client("a"), r#""client_id":"b""#, false),
            (Selector::Object("a"), r#""client_id":"a""#, false),
            (Selector::Client("a"), r#""x":1"#, false),
        ] {
            let body = format!(r#"{{"access_token":"at","expires_in":"60",{echo}}}"#);
            let answered = answer(&arc, Some(selector), &body);
            assert_eq!(
                answered.as_ref().map(|_| ()).map_err(|f| f.code.as_str()),
                if fits { Ok(()) } else { Err("managed-identity.other") }
            );
            // Where the machine's own identity is meant, and elsewhere, nothing has to be echoed.
            assert!(answer(&arc, None, &body).is_ok() && answer(&Source::Imds, Some(selector), &body).is_ok());
        }
    }
}
