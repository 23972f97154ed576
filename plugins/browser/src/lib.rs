//! A person signs in with the browser of this machine (OAuth 2.0 for native apps, RFC 8252: an
//! authorization code over the loopback interface, with PKCE, RFC 7636), once; from then on the
//! refresh token gets the tokens.
//!
//! The host listens, opens the browser, and makes and checks `state`. The verifier never leaves the
//! state of this sign-in but for the token endpoint; neither it nor the code is in any message.

#![forbid(unsafe_code)]

mod flow;

use strongroom_entra::user::{ANY_TENANT, SignIn};
use strongroom_entra::{Entra, Page, authority};
use strongroom_plugin::credential::{Request, Resume, Step};
use strongroom_plugin::{Context, Credential, Failure, clock, random};

use crate::flow::{Config, Flow};

/// The plugin. It has no state: every call is a new instance.
#[derive(Debug)]
pub struct Browser;

strongroom_plugin::credential!(Browser);

impl Credential for Browser {
    fn acquire(
        context: &Context,
        request: &Request,
        kept: Option<&[u8]>,
        resumed: Option<&Resume>,
    ) -> Result<Step, Failure> {
        let config: Config = context.config()?;
        let tenant = request.tenant.clone().or_else(|| config.tenant.clone()).unwrap_or_else(|| ANY_TENANT.into());
        let authority = config.authority.clone().unwrap_or_else(|| authority::PUBLIC.into());
        let mut entra = Entra::new(&authority, &tenant)?;
        let page = entra.address(Page::Authorize);
        let sign_in = SignIn::new(request, config.client_id.clone(), &tenant)?;
        let flow = Flow { sign_in: &sign_in, config: &config, authority: &authority, page: &page, now: clock::now() };
        match resumed {
            Some(resumed) => flow.resume(&mut entra, resumed),
            None => flow.start(&mut entra, context, kept, &random::bytes),
        }
    }
}
