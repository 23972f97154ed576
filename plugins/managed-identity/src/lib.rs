//! The identity that Azure gives a machine, a function, a job or an Arc server.
//!
//! One of five services gives the token, each with its own address, parameters and words; which one
//! it is, the environment says ([`source`]). The headers that prove that the caller is on the machine
//! are added by the host, and the key file of Arc is read by it: none of them is ever here.
//!
//! A machine without an identity is `not-configured`, so that a chain may go on. One whose service is
//! there and fails is never that.

#![forbid(unsafe_code)]

mod answer;
mod call;
mod refusal;
mod source;

use serde::Deserialize;
use strongroom_entra::{audience, inputs};
use strongroom_plugin::credential::{Request, Resume, Step};
use strongroom_plugin::{Context, Credential, Failure, clock, env};

use crate::call::{Call, Selector};
use crate::source::{Choice, Source};

/// The plugin. It has no state: every call is a new instance.
#[derive(Debug)]
pub struct ManagedIdentity;

strongroom_plugin::credential!(ManagedIdentity);

/// The credential's config.
#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default)]
    source: Choice,
    client_id: Option<String>,
    object_id: Option<String>,
    resource_id: Option<String>,
}

impl Config {
    /// Which user-assigned identity is meant; `None`: the machine's own.
    fn selector(&self) -> Result<Option<Selector<'_>>, Failure> {
        let given = [
            self.client_id.as_deref().map(Selector::Client),
            self.object_id.as_deref().map(Selector::Object),
            self.resource_id.as_deref().map(Selector::Resource),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (selector, None) => Ok(selector),
            _ => {
                let message =
                    "one identity is named by one of `client_id`, `object_id` and `resource_id`, not by several";
                Err(Failure::invalid_config("managed-identity.ambiguous", message))
            }
        }
    }
}

impl Credential for ManagedIdentity {
    fn acquire(context: &Context, request: &Request, _: Option<&[u8]>, _: Option<&Resume>) -> Result<Step, Failure> {
        let config: Config = context.config()?;
        let selector = config.selector()?;
        let resource = audience::resource(request)?;
        let set = |name: &str| env::get(name).filter(|value| !value.is_empty());
        let source = Source::find(config.source, &set, &|name| inputs::has(context, name))?;
        let ambient = set(source::DEFAULT_CLIENT_ID);
        let call = Call::new(&source, &resource, selector, ambient.as_deref())?;
        let auto = config.source == Choice::Auto;
        let response = match call.send() {
            Ok(response) => response,
            Err(failure) => return Err(refusal::silent(&source, auto, failure)),
        };
        if response.status() != 200 {
            return Err(refusal::read(&source, auto, selector, &response));
        }
        Ok(answer::read(&source, selector, &response, clock::now())?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_one_identity_is_meant() {
        let selector = |text: &str| serde_json::from_str::<Config>(text).unwrap().selector().map(|s| format!("{s:?}"));
        assert_eq!(selector("{}").unwrap(), "None");
        assert_eq!(selector(r#"{"client_id":"a"}"#).unwrap(), r#"Some(Client("a"))"#);
        assert_eq!(selector(r#"{"object_id":"a"}"#).unwrap(), r#"Some(Object("a"))"#);
        assert_eq!(selector(r#"{"resource_id":"/a"}"#).unwrap(), r#"Some(Resource("/a"))"#);
        let failure = selector(r#"{"client_id":"a","resource_id":"/a"}"#).unwrap_err();
        assert_eq!(failure.code, "managed-identity.ambiguous");
    }
}
