//! Entra ID's pages, and a service that answers for them.

use strongroom_plugin::Failure;
use strongroom_plugin::http::{self, Response};

use crate::authority::check_tenant;

/// A page of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// `/oauth2/v2.0/token`
    Token,
    /// `/oauth2/v2.0/devicecode`
    DeviceCode,
    /// `/oauth2/v2.0/authorize`, which only browsers open.
    Authorize,
}

impl Page {
    fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::DeviceCode => "devicecode",
            Self::Authorize => "authorize",
        }
    }
}

/// Who answers forms: Entra ID, or in tests a script.
pub trait Service {
    /// Posts `form` to `page`.
    ///
    /// # Errors
    /// Where there is no answer.
    fn post(&mut self, page: Page, form: &[(&str, &str)]) -> Result<Response, Failure>;
}

/// Entra ID, for one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entra {
    authority: String,
    tenant: String,
}

impl Entra {
    /// At `authority`, a host, for `tenant`.
    ///
    /// # Errors
    /// `entra.tenant` if that is no tenant.
    pub fn new(authority: &str, tenant: &str) -> Result<Self, Failure> {
        check_tenant(tenant)?;
        Ok(Self { authority: authority.to_owned(), tenant: tenant.to_owned() })
    }

    /// The whole address of `page`.
    #[must_use]
    pub fn address(&self, page: Page) -> String {
        format!("https://{}/{}/oauth2/v2.0/{}", self.authority, self.tenant, page.name())
    }
}

impl Service for Entra {
    fn post(&mut self, page: Page, form: &[(&str, &str)]) -> Result<Response, Failure> {
        http::post(&format!("https://{}", self.authority))
            .path([&self.tenant, "oauth2", "v2.0", page.name()])
            .header("accept", "application/json")
            .form(form.iter().copied())
            .send()
    }
}

/// A service that answers as it is told, in turn; for tests.
#[doc(hidden)]
pub mod script {
    use std::collections::VecDeque;

    use super::{Page, Service};
    use strongroom_plugin::Failure;
    use strongroom_plugin::http::Response;

    /// One form: names and values.
    pub type Form = Vec<(String, String)>;

    /// The answers, and what was asked.
    #[derive(Debug, Default)]
    pub struct Script {
        answers: VecDeque<Response>,
        /// What was asked so far.
        pub asked: Vec<(Page, Form)>,
    }

    impl Script {
        /// Answers with these statuses and bodies.
        pub fn new<'a>(answers: impl IntoIterator<Item = (u16, &'a str)>) -> Self {
            let answer = |(status, body)| Response::new(status, [("content-type", "application/json")], body);
            Self { answers: answers.into_iter().map(answer).collect(), asked: Vec::new() }
        }

        /// The field `name` of the last form.
        #[must_use]
        pub fn field(&self, name: &str) -> Option<&str> {
            let (_, form) = self.asked.last()?;
            form.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
        }
    }

    impl Service for Script {
        fn post(&mut self, page: Page, form: &[(&str, &str)]) -> Result<Response, Failure> {
            let form = form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            self.asked.push((page, form));
            self.answers.pop_front().ok_or_else(|| Failure::internal("test.script", "nothing was to be asked any more"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_below_its_tenant() {
        let entra = Entra::new("login.microsoftonline.us", "contoso.com").unwrap();
        assert_eq!(entra.address(Page::Token), "https://login.microsoftonline.us/contoso.com/oauth2/v2.0/token");
        assert_eq!(Entra::new("login.microsoftonline.us", "a/b").unwrap_err().code, "entra.tenant");
    }
}
