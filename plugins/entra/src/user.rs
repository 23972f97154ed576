//! What the sign-ins of people share: scopes, the refresh token, and who it is.
//!
//! What is kept is the refresh token itself, as it came: the host seals it for this credential. The
//! plugin sends it, rather than the host: it sees the next one in the answer anyhow.

use strongroom_plugin::credential::{Request, Token};
use strongroom_plugin::{Context, Failure};

use crate::{Asked, Granted, Page, Refused, Service, audience, claims, read};

/// The application that developers sign in to where none is configured: the Azure CLI's.
pub const DEVELOPER_CLIENT: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";

/// The tenant where none is configured: any work or school account's own.
pub const ANY_TENANT: &str = "organizations";

/// What is asked for, as a sign-in needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// For a person.
    pub asked: Asked,
    /// The claims to send.
    pub claims: String,
}

/// What came of what was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silent {
    /// A token, without a person.
    Ready(Token),
    /// A person has to sign in, with these claims.
    Person {
        /// The claims to send.
        claims: String,
    },
}

impl SignIn {
    /// What `request` asks of the application `client_id` in `tenant`.
    ///
    /// # Errors
    /// `entra.scope`, `entra.claims`.
    pub fn new(request: &Request, client_id: Option<String>, tenant: &str) -> Result<Self, Failure> {
        let scope = format!("{} offline_access openid profile", audience::scope(request)?);
        let client_id = client_id.unwrap_or_else(|| DEVELOPER_CLIENT.to_owned());
        let asked = Asked { client_id, tenant: tenant.to_owned(), scope };
        Ok(Self { asked, claims: claims::merged(request.claims.as_deref())? })
    }

    /// A token from the refresh token that was kept, if one was.
    ///
    /// # Errors
    /// Any that a person's sign-in does not help; and that the token is dead, with the attribute `kept` = `refused`,
    /// by which the host forgets it: a person can then sign in anew.
    pub fn silently(&self, service: &mut dyn Service, kept: Option<&[u8]>, now: u64) -> Result<Silent, Failure> {
        let person = || Silent::Person { claims: self.claims.clone() };
        let Some(refresh_token) = kept.and_then(|bytes| str::from_utf8(bytes).ok()).filter(|text| !text.is_empty())
        else {
            return Ok(person());
        };
        let form = [
            ("client_id", self.asked.client_id.as_str()),
            ("grant_type", "refresh_token"),
            ("client_info", "1"),
            ("refresh_token", refresh_token),
            ("scope", &self.asked.scope),
            ("claims", &self.claims),
        ];
        match self.redeem(service, &form, Some(refresh_token), now) {
            Ok(token) => Ok(Silent::Ready(token)),
            Err(refused) if refused.ends_sign_in() => Err(Failure::from(refused).attribute("kept", "refused")),
            Err(refused) if refused.asks_for_person() => match refused.claims {
                Some(challenge) => Ok(Silent::Person { claims: claims::merged(Some(&challenge))? }),
                None => Ok(person()),
            },
            Err(refused) => Err(refused.into()),
        }
    }

    /// Posts `form` to the token page; the token keeps the refresh token of the answer, or `old`.
    ///
    /// # Errors
    /// What Entra refused.
    pub fn redeem(
        &self,
        service: &mut dyn Service,
        form: &[(&str, &str)],
        old: Option<&str>,
        now: u64,
    ) -> Result<Token, Refused> {
        let response = service.post(Page::Token, form)?;
        Ok(keeping(read(&response, &self.asked, now)?, old))
    }
}

/// The token with the refresh token to be kept: the new one, else the one that is still good.
#[must_use]
pub fn keeping(granted: Granted, old: Option<&str>) -> Token {
    let Granted { mut token, refresh_token, .. } = granted;
    token.keep = refresh_token.or_else(|| old.map(str::to_owned)).map(String::into_bytes);
    token
}

/// That a person can be asked now: only `strongroom login` can, and elsewhere the host says so with
/// the attribute `interactive` = `false`, which saves a request that leads nowhere.
///
/// # Errors
/// `entra.sign-in`, kind unauthenticated.
pub fn check_person_is_there(context: &Context) -> Result<(), Failure> {
    if context.attributes.iter().any(|(name, value)| name == "interactive" && value == "false") {
        let message = "nobody is signed in, or the sign-in has ended; sign in with `strongroom login`";
        return Err(Failure::unauthenticated("entra.sign-in", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::script::Script;
    use strongroom_plugin::Kind;

    fn sign_in() -> SignIn {
        let request = Request { audience: "https://vault.azure.net".into(), ..Request::default() };
        SignIn::new(&request, None, ANY_TENANT).unwrap()
    }

    #[test]
    fn a_refresh_token_gets_a_token_and_is_replaced() {
        let body = r#"{"token_type":"Bearer","expires_in":3599,"access_token":"at","refresh_token":"new"}"#;
        let mut service = Script::new([(200, body)]);
        let Silent::Ready(token) = sign_in().silently(&mut service, Some(b"old"), 1000).unwrap() else { panic!() };
        assert_eq!(
            (token.value.as_str(), token.expires_at, token.keep.as_deref()),
            ("at", Some(4599), Some(&b"new"[..]))
        );
        let (page, form) = service.asked.first().unwrap();
        assert_eq!(*page, Page::Token);
        let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            form,
            [
                ("client_id", DEVELOPER_CLIENT),
                ("grant_type", "refresh_token"),
                ("client_info", "1"),
                ("refresh_token", "old"),
                ("scope", "https://vault.azure.net/.default offline_access openid profile"),
                ("claims", r#"{"access_token":{"xms_cc":{"values":["CP1"]}}}"#),
            ]
        );
    }

    #[test]
    fn one_that_is_not_replaced_is_kept() {
        let mut service = Script::new([(200, r#"{"access_token":"at","expires_in":"3599"}"#)]);
        let Silent::Ready(token) = sign_in().silently(&mut service, Some(b"old"), 0).unwrap() else { panic!() };
        assert_eq!(token.keep.as_deref(), Some(&b"old"[..]));
    }

    #[test]
    fn one_that_is_dead_is_the_hosts_to_forget() {
        for number in [70_008, 700_082, 70_043, 50_173] {
            let body = format!(r#"{{"error":"invalid_grant","error_description":"x","error_codes":[{number}]}}"#);
            let failure = sign_in().silently(&mut Script::new([(400, &*body)]), Some(b"old"), 0).unwrap_err();
            assert_eq!((failure.kind, failure.code), (Kind::Unauthenticated, format!("AADSTS{number}")));
            assert!(failure.attributes.contains(&("kept".into(), "refused".into())));
            assert!(failure.message.contains("strongroom login"), "{}", failure.message);
        }
    }

    #[test]
    fn one_that_does_not_do_for_this_asks_for_a_person_with_the_claims_of_the_refusal() {
        for body in [
            r#"{"error":"invalid_grant","error_codes":[50076]}"#,
            r#"{"error":"invalid_grant","error_codes":[65001]}"#,
            r#"{"error":"invalid_grant","error_description":"of a number that nobody knows","error_codes":[1]}"#,
        ] {
            let silent = sign_in().silently(&mut Script::new([(400, body)]), Some(b"old"), 0).unwrap();
            assert_eq!(silent, Silent::Person { claims: r#"{"access_token":{"xms_cc":{"values":["CP1"]}}}"#.into() });
        }
        let body = r#"{"error":"interaction_required","error_codes":[50076],"claims":"{\"access_token\":{\"capolids\":null}}"}"#;
        let silent = sign_in().silently(&mut Script::new([(400, body)]), Some(b"old"), 0).unwrap();
        let claims = r#"{"access_token":{"capolids":null,"xms_cc":{"values":["CP1"]}}}"#.into();
        assert_eq!(silent, Silent::Person { claims });
    }

    #[test]
    fn a_fault_does_not_drop_it() {
        let failure = sign_in().silently(&mut Script::new([(503, "")]), Some(b"old"), 0).unwrap_err();
        assert_eq!(failure.kind, Kind::Unavailable);
        let body = r#"{"error":"invalid_client","error_codes":[7000216]}"#;
        let failure = sign_in().silently(&mut Script::new([(401, body)]), Some(b"old"), 0).unwrap_err();
        assert_eq!(failure.code, "AADSTS7000216");
    }

    #[test]
    fn without_one_nothing_is_asked() {
        for kept in [None, Some(&b""[..]), Some(&[0xff][..])] {
            let silent = sign_in().silently(&mut Script::new([]), kept, 0).unwrap();
            assert!(matches!(silent, Silent::Person { .. }));
        }
    }

    #[test]
    fn where_no_person_is_there_login_is_advised() {
        let mut context = Context::new("{}");
        assert_eq!(check_person_is_there(&context), Ok(()));
        context.attributes.push(("interactive".into(), "false".into()));
        let failure = check_person_is_there(&context).unwrap_err();
        assert!(failure.kind == Kind::Unauthenticated && failure.message.contains("strongroom login"));
    }
}
