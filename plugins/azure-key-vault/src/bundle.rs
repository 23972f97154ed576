//! The vault's answers: a secret, an entry of a list, a deleted secret. They differ in what they lack.

use std::collections::BTreeMap;

use serde::Deserialize;
use strongroom_plugin::{Attributes, Failure, Secret};

use crate::place::Place;

/// A secret, with or without its value.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    /// The value: in the answers to get and set alone.
    pub value: Option<String>,
    /// `https://{vault}/secrets/{name}[/{version}]`
    pub id: String,
    /// Free text.
    pub content_type: Option<String>,
    tags: Option<BTreeMap<String, Option<String>>>,
    attributes: Option<State>,
    managed: Option<bool>,
    /// Of a deleted secret that can be recovered.
    pub recovery_id: Option<String>,
    /// When it was deleted, in seconds since the Unix epoch.
    pub deleted_date: Option<i64>,
    /// When it will be gone for good, in seconds since the Unix epoch.
    pub scheduled_purge_date: Option<i64>,
}

/// All times are in seconds since the Unix epoch, and may be beyond 32 bits.
#[derive(Deserialize, Default, Clone)]
#[serde(rename_all = "camelCase", default)]
struct State {
    enabled: Option<bool>,
    nbf: Option<i64>,
    exp: Option<i64>,
    created: Option<i64>,
    updated: Option<i64>,
    recovery_level: Option<String>,
    recoverable_days: Option<u32>,
}

/// How a moment lies to a secret's validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// It begins then.
    NotYet(i64),
    /// It ended then.
    Expired(i64),
}

impl Bundle {
    /// Name and version, from the id. Ids are compared without regard to case.
    #[must_use]
    pub fn named(&self) -> Option<(&str, Option<&str>)> {
        let mut words = self.id.split_once("://")?.1.split('/');
        let _host = words.next()?;
        if !words.next()?.eq_ignore_ascii_case("secrets") {
            return None;
        }
        let name = words.next().filter(|name| !name.is_empty())?;
        let version = words.next().filter(|version| !version.is_empty());
        words.next().is_none().then_some((name, version))
    }

    /// The version, if the id has one.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.named()?.1
    }

    /// That this is the answer for `place`, and not for another secret.
    ///
    /// # Errors
    /// `keyvault.other-secret`, kind protocol.
    pub fn check(&self, place: &Place) -> Result<(), Failure> {
        let same = self.named().is_some_and(|(name, version)| {
            let asked = place.version.as_deref();
            name.eq_ignore_ascii_case(&place.name)
                && asked.is_none_or(|asked| version.is_some_and(|version| version.eq_ignore_ascii_case(asked)))
        });
        if same {
            return Ok(());
        }
        let message = format!("the vault answered for another secret than {}", place.shown());
        Err(Failure::protocol("keyvault.other-secret", message))
    }

    /// Whether `now` is outside its validity. It is valid from `nbf` on and before `exp`.
    #[must_use]
    pub fn outside(&self, now: i64) -> Option<Outside> {
        let state = self.attributes.as_ref()?;
        let expired = state.exp.filter(|exp| now >= *exp).map(Outside::Expired);
        expired.or_else(|| state.nbf.filter(|nbf| now < *nbf).map(Outside::NotYet))
    }

    /// Whether its validity has a beginning or an end.
    #[must_use]
    pub fn has_validity(&self) -> bool {
        self.attributes.as_ref().is_some_and(|state| state.nbf.is_some() || state.exp.is_some())
    }

    /// What is known besides value, version, content type and end.
    #[must_use]
    pub fn details(&self) -> Attributes {
        let State { enabled, nbf, exp: _, created, updated, recovery_level, recoverable_days } =
            self.attributes.clone().unwrap_or_default();
        let number = |number: Option<i64>| number.map(|number| number.to_string());
        let known = [
            ("enabled", enabled.map(|enabled| enabled.to_string())),
            ("created", number(created)),
            ("updated", number(updated)),
            ("not-before", number(nbf)),
            ("managed", self.managed.filter(|managed| *managed).map(|managed| managed.to_string())),
            ("recovery-level", recovery_level),
            ("recoverable-days", recoverable_days.map(|days| days.to_string())),
            ("deleted", number(self.deleted_date)),
            ("scheduled-purge", number(self.scheduled_purge_date)),
        ];
        let known = known.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?)));
        let tags = self.tags.iter().flatten();
        let tags = tags.filter_map(|(name, text)| Some((format!("tags.{name}"), text.clone()?)));
        known.chain(tags).collect()
    }

    /// As [`Bundle::details`], with the content type and the end.
    #[must_use]
    pub fn all_details(&self) -> Attributes {
        let mut all = self.details();
        let exp = self.attributes.as_ref().and_then(|state| state.exp);
        all.extend(self.content_type.clone().map(|text| ("content-type".to_owned(), text)));
        all.extend(exp.map(|exp| ("expires".to_owned(), exp.to_string())));
        all
    }

    /// Its tags.
    #[must_use]
    pub fn tags(&self) -> BTreeMap<String, String> {
        let tags = self.tags.iter().flatten();
        tags.filter_map(|(name, text)| Some((name.clone(), text.clone()?))).collect()
    }

    /// The secret. `None` if there is no value.
    #[must_use]
    pub fn into_secret(mut self) -> Option<Secret> {
        let mut secret = Secret::text(self.value.take()?);
        secret.version = self.version().map(str::to_owned);
        secret.content_type = self.content_type.clone();
        let exp = self.attributes.as_ref().and_then(|state| state.exp);
        secret.expires_at = exp.and_then(|exp| u64::try_from(exp).ok());
        secret.attributes = self.details();
        Some(secret)
    }
}

/// A page of a list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// The entries, which have no values. May be none, and another page still follow.
    pub value: Option<Vec<Bundle>>,
    /// Where the next page is.
    pub next_link: Option<String>,
}
