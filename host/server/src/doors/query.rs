//! The part of a request's target after `?`, read once and strictly.

use std::borrow::Cow;

use strongroom::{Failure, Kind};

/// The parameters of a request, each at most once.
#[derive(Debug)]
pub(crate) struct Query<'a>(Vec<(&'a str, Cow<'a, str>)>);

fn wrong(code: &'static str, message: String) -> Failure {
    Failure::new(Kind::InvalidReference, code, message)
}

impl<'a> Query<'a> {
    /// Reads the parameters; only those of `known` may be there.
    ///
    /// # Errors
    /// `request.query` for an unknown one, a second one of the same name, or bytes that are no UTF-8.
    pub(crate) fn parse(text: Option<&'a str>, known: &[&'a str]) -> Result<Self, Failure> {
        let mut all: Vec<(&str, Cow<'_, str>)> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.unwrap_or_default().as_bytes()) {
            if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
                return Err(wrong("request.query", "the query is no UTF-8 text".to_owned()));
            }
            let Some(name) = known.iter().find(|known| **known == name) else {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(wrong("request.query", format!("there is an unknown parameter; known here: {known}")));
            };
            if all.iter().any(|(there, _)| there == name) {
                return Err(wrong("request.query", format!("the parameter `{name}` is there twice")));
            }
            all.push((*name, value));
        }
        Ok(Self(all))
    }

    /// As [`Query::parse`], where whoever speaks the protocol passes over what it does not know.
    ///
    /// # Errors
    /// As [`Query::parse`], but for an unknown one.
    pub(crate) fn of_known(text: Option<&'a str>, known: &[&'a str]) -> Result<Self, Failure> {
        let is_known = |part: &&str| {
            let pair = form_urlencoded::parse(part.as_bytes()).next();
            pair.is_some_and(|(name, _)| known.contains(&&*name))
        };
        let mut all = Self(Vec::new());
        for part in text.unwrap_or_default().split('&').filter(is_known) {
            let Self(one) = Self::parse(Some(part), known)?;
            for (name, value) in one {
                if all.get(name).is_some() {
                    return Err(wrong("request.query", format!("the parameter `{name}` is there twice")));
                }
                all.0.push((name, value));
            }
        }
        Ok(all)
    }

    /// A parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(there, _)| *there == name).map(|(_, value)| &**value)
    }

    /// A parameter that must be there.
    ///
    /// # Errors
    /// `request.query`.
    pub(crate) fn need(&self, name: &str) -> Result<&str, Failure> {
        self.get(name).ok_or_else(|| wrong("request.query", format!("the parameter `{name}` is missing")))
    }

    /// Whether a parameter is `true`.
    ///
    /// # Errors
    /// `request.query` for anything but `true` and `false`.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(wrong("request.query", format!("the parameter `{name}` is true or false"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_in_one_way_or_not_at_all() {
        let query = Query::parse(Some("reference=env%3AA%20B&deleted=true"), &["reference", "deleted"]).unwrap();
        assert_eq!(query.need("reference").unwrap(), "env:A B");
        assert!(query.flag("deleted").unwrap());
        for bad in ["reference=a&reference=b", "reference=a&referencE=b", "reference=%ff", "x=1", "deleted=1&x"] {
            let read = Query::parse(Some(bad), &["reference", "deleted"]).and_then(|q| q.flag("deleted"));
            assert_eq!(read.unwrap_err().code(), "request.query", "{bad}");
        }
        assert!(Query::parse(None, &["reference"]).unwrap().need("reference").is_err());
        let query = Query::of_known(Some("x=%ff&version=2&&y&x=3"), &["version"]).unwrap();
        assert_eq!(query.get("version"), Some("2"));
        for bad in ["version=1&version=1", "version=%ff", "version=1&versio%6e=2"] {
            assert_eq!(Query::of_known(Some(bad), &["version"]).unwrap_err().code(), "request.query", "{bad}");
        }
    }
}
