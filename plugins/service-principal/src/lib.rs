//! An application of Microsoft Entra ID, which proves who it is with a client secret, a certificate,
//! or a token of somebody whom its tenant trusts (OAuth 2.0 client credentials; RFC 6749, 4.4; RFC
//! 7523, 2.2).
//!
//! The secret and the federated token are put into the form by the host, and the certificate's key
//! signs in the host: none of them is ever here. What is here is the assertion that the host signed
//! and GitHub's token, both of which are of no use to anybody else.

#![forbid(unsafe_code)]

mod config;
mod federation;
mod form;

use strongroom_entra::authority::Cloud;
use strongroom_entra::{Entra, Page, Service, read};
use strongroom_plugin::credential::{Request, Resume, Step};
use strongroom_plugin::{Context, Credential, Failure, clock, env, signer};

use crate::config::{Config, Method, Plan};

/// The plugin. It has no state: every call is a new instance.
#[derive(Debug)]
pub struct ServicePrincipal;

strongroom_plugin::credential!(ServicePrincipal);

/// The sealed input with key and certificate.
const KEY: &str = "certificate";

impl Credential for ServicePrincipal {
    fn acquire(context: &Context, request: &Request, _: Option<&[u8]>, _: Option<&Resume>) -> Result<Step, Failure> {
        let config: Config = context.config()?;
        let github = env::get(federation::REQUEST_URL).filter(|url| !url.is_empty());
        let plan = Plan::new(&config, context, request, github.is_some())?;
        let mut entra = Entra::new(&config.authority, &plan.asked.tenant)?;
        let assertion = match plan.method {
            Method::Secret | Method::FederatedToken => None,
            Method::Certificate => {
                let form::Assertion { algorithm, header, claims } =
                    form::assertion(&config, &plan.asked.client_id, &entra.address(Page::Token));
                Some(signer::assertion(KEY, algorithm, &header, &claims)?)
            }
            Method::Github => {
                let url = github.ok_or_else(federation::not_in_a_workflow)?;
                Some(federation::github(&url, Cloud::of(&config.authority).federation)?)
            }
        };
        let now = clock::now();
        let response = entra.post(Page::Token, &form::fields(&plan, assertion.as_deref()))?;
        Ok(read(&response, &plan.asked, now)?.token.into())
    }
}
