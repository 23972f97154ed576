//! A person signs in with a code on another device (OAuth 2.0 device authorization grant, RFC 8628),
//! once; from then on the refresh token gets the tokens.
//!
//! The host waits between two questions and shows the code; each question is a call of its own. A
//! device code is as good as the sign-in it waits for: it is in the state, which only the host has,
//! and in no message.

#![forbid(unsafe_code)]

mod flow;

use serde::Deserialize;
use strongroom_entra::user::{ANY_TENANT, SignIn};
use strongroom_entra::{Entra, authority};
use strongroom_plugin::credential::{Request, Resume, Step};
use strongroom_plugin::{Context, Credential, Failure, clock};

/// The plugin. It has no state: every call is a new instance.
#[derive(Debug)]
pub struct DeviceCode;

strongroom_plugin::credential!(DeviceCode);

#[derive(Deserialize)]
struct Config {
    tenant: Option<String>,
    client_id: Option<String>,
    authority: Option<String>,
}

impl Credential for DeviceCode {
    fn acquire(
        context: &Context,
        request: &Request,
        kept: Option<&[u8]>,
        resumed: Option<&Resume>,
    ) -> Result<Step, Failure> {
        let Config { tenant, client_id, authority } = context.config()?;
        let tenant = request.tenant.clone().or(tenant).unwrap_or_else(|| ANY_TENANT.into());
        let mut entra = Entra::new(authority.as_deref().unwrap_or(authority::PUBLIC), &tenant)?;
        let sign_in = SignIn::new(request, client_id, &tenant)?;
        let now = clock::now();
        match resumed {
            Some(resumed) => flow::resume(&sign_in, &mut entra, &resumed.state, now),
            None => flow::start(&sign_in, &mut entra, context, kept, now),
        }
    }
}
