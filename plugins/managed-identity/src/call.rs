//! What is asked of each source: its address, its parameters, its words for an identity.

use std::time::Duration;

use strongroom_plugin::Failure;
use strongroom_plugin::http::{self, Method, Request, Response};

use crate::source::Source;

/// The one address of the metadata service. Link-local, so no proxy is ever between.
const IMDS: &str = "http://169.254.169.254";

/// How long the metadata service may take to be there: it is on this very machine's host, and where
/// there is none, most networks answer nothing at all.
const IMDS_CONNECT: Duration = Duration::from_secs(1);

/// How long it may take to answer: for a new token it asks Entra itself.
const IMDS_ANSWER: Duration = Duration::from_secs(5);

/// Which user-assigned identity is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selector<'a> {
    /// Its client id.
    Client(&'a str),
    /// The id of its principal in the directory.
    Object(&'a str),
    /// `/subscriptions/...`
    Resource(&'a str),
}

/// One request, in parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Call<'a> {
    address: Address<'a>,
    query: Vec<(&'static str, &'a str)>,
    /// The header `Metadata: true`, which a request made by accident does not have.
    metadata: bool,
    /// The fields of a POST.
    form: Option<[(&'static str, &'a str); 1]>,
}

#[derive(Debug, PartialEq, Eq)]
enum Address<'a> {
    Imds,
    Endpoint(&'a str),
}

impl<'a> Call<'a> {
    /// The request for a token of `resource`. `ambient` is the client id that Azure ML's environment
    /// names.
    ///
    /// # Errors
    /// `managed-identity.selector`, kind invalid-config, if the source has no user-assigned identities.
    pub fn new(
        source: &'a Source,
        resource: &'a str,
        selector: Option<Selector<'a>>,
        ambient: Option<&'a str>,
    ) -> Result<Self, Failure> {
        let (address, version, metadata) = match source {
            Source::Imds => (Address::Imds, Some("2018-02-01"), true),
            Source::AppService(endpoint) => (Address::Endpoint(endpoint), Some("2019-08-01"), true),
            Source::Arc(endpoint) => (Address::Endpoint(endpoint), Some("2020-06-01"), true),
            Source::AzureMl(endpoint) => (Address::Endpoint(endpoint), Some("2017-09-01"), false),
            Source::AzureMlUser(endpoint) => (Address::Endpoint(endpoint), None, false),
            Source::CloudShell(endpoint) => (Address::Endpoint(endpoint), None, true),
        };
        if matches!(source, Source::CloudShell(_)) {
            no_selector(source, selector)?;
            return Ok(Self { address, query: Vec::new(), metadata, form: Some([("resource", resource)]) });
        }
        let mut query = Vec::new();
        query.extend(version.map(|version| ("api-version", version)));
        query.push(("resource", resource));
        match source {
            Source::AzureMlUser(_) => no_selector(source, selector)?,
            Source::AzureMl(_) => {
                query.extend(selector.or(ambient.map(Selector::Client)).map(|selector| parameter(source, selector)));
            }
            _ => query.extend(selector.map(|selector| parameter(source, selector))),
        }
        Ok(Self { address, query, metadata, form: None })
    }

    /// Sends it.
    ///
    /// # Errors
    /// Where there is no answer.
    pub fn send(&self) -> Result<Response, Failure> {
        let method = if self.form.is_some() { Method::Post } else { Method::Get };
        let mut request: Request = match self.address {
            Address::Imds => http::request(method, IMDS)
                .path(["metadata", "identity", "oauth2", "token"])
                .timeouts(IMDS_CONNECT, IMDS_ANSWER),
            Address::Endpoint(endpoint) => http::endpoint(method, endpoint),
        };
        for (name, value) in &self.query {
            request = request.query(name, *value);
        }
        request = request.header("accept", "application/json").header("metadata", self.metadata.then_some("true"));
        match self.form {
            Some(form) => request.form(form),
            None => request,
        }
        .send()
    }
}

/// Each source has its own names for the same thing.
fn parameter<'a>(source: &Source, selector: Selector<'a>) -> (&'static str, &'a str) {
    match (selector, source) {
        (Selector::Client(id), Source::AzureMl(_)) => ("clientid", id),
        (Selector::Client(id), _) => ("client_id", id),
        (Selector::Object(id), _) => ("object_id", id),
        (Selector::Resource(id), Source::AppService(_)) => ("mi_res_id", id),
        (Selector::Resource(id), _) => ("msi_res_id", id),
    }
}

fn no_selector(source: &Source, selector: Option<Selector<'_>>) -> Result<(), Failure> {
    if selector.is_none() {
        return Ok(());
    }
    let message = format!(
        "{} has no user-assigned identities; remove `client_id`, `object_id` and `resource_id` from the credential",
        source.name()
    );
    Err(Failure::invalid_config("managed-identity.selector", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAULT: &str = "https://vault.azure.net";

    fn query(source: &Source, selector: Option<Selector<'_>>, ambient: Option<&str>) -> String {
        let call = Call::new(source, VAULT, selector, ambient).unwrap();
        call.query.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    }

    #[test]
    fn every_source_has_its_version_and_its_words() {
        let e = || "http://e".to_owned();
        let (client, object, resource) = (Selector::Client("c"), Selector::Object("o"), Selector::Resource("/r"));
        for (source, version, words) in [
            (Source::Imds, "2018-02-01", ["client_id=c", "object_id=o", "msi_res_id=/r"]),
            (Source::AppService(e()), "2019-08-01", ["client_id=c", "object_id=o", "mi_res_id=/r"]),
            (Source::Arc(e()), "2020-06-01", ["client_id=c", "object_id=o", "msi_res_id=/r"]),
            (Source::AzureMl(e()), "2017-09-01", ["clientid=c", "object_id=o", "msi_res_id=/r"]),
        ] {
            let own = format!("api-version={version}&resource={VAULT}");
            assert_eq!(query(&source, None, None), own);
            for (selector, words) in [client, object, resource].into_iter().zip(words) {
                assert_eq!(query(&source, Some(selector), Some("ambient")), format!("{own}&{words}"), "{source:?}");
            }
            let call = Call::new(&source, VAULT, None, None).unwrap();
            assert_eq!((call.metadata, call.form), (!matches!(source, Source::AzureMl(_)), None));
        }
    }

    #[test]
    fn only_azure_ml_has_an_identity_of_its_environment() {
        let own = format!("resource={VAULT}");
        assert!(query(&Source::AzureMl("http://e".into()), None, Some("d")).ends_with(&format!("{own}&clientid=d")));
        assert!(query(&Source::Imds, None, Some("d")).ends_with(&own));
    }

    #[test]
    fn some_have_no_identities_to_choose_from() {
        let shell = Source::CloudShell("http://e".into());
        let call = Call::new(&shell, VAULT, None, None).unwrap();
        assert_eq!((call.query.len(), call.metadata, call.form), (0, true, Some([("resource", VAULT)])));
        let user = Source::AzureMlUser("http://e".into());
        assert_eq!(query(&user, None, Some("d")), format!("resource={VAULT}"));
        for source in [shell, user] {
            let failure = Call::new(&source, VAULT, Some(Selector::Client("c")), None).unwrap_err();
            assert_eq!(failure.code, "managed-identity.selector");
        }
    }
}
