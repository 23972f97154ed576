//! The edge to the contract: the export macros, and what turns this crate's types into the
//! contract's and back.
//!
//! The traits of the bindings are implemented for all that implement ours, so an export macro is
//! only the naming of a type, and a plugin exports exactly the interfaces that it names.

use crate::bindings::credential::exports::strongroom::plugin::credential as wit_credential;
use crate::bindings::strongroom::plugin::types as wit;
use crate::bindings::{annotator, catalog, lifecycle, provider, writer};
use crate::credential::{Browser, Credential, Pending, Prompt, Request, Resume, Step, Token};
use crate::{
    Annotator, Attributes, Catalog, Context, Entry, Failure, Kind, Lifecycle, Page, Provider, Receipt, Reference,
    Secret, Value, Writer,
};

/// Makes a type the plugin: exports `provider`, and those of `catalog`, `writer`, `annotator` and
/// `lifecycle` that are named.
///
/// ```
/// # use strongroom_plugin::*;
/// # struct Acme;
/// # impl Provider for Acme {
/// #     fn resolve(_: &Context, _: &Reference) -> Result<Secret, Failure> { Ok(Secret::text("")) }
/// # }
/// # impl Catalog for Acme {
/// #     fn names(_: &Context, _: &Reference, _: &str, _: Option<&str>) -> Result<Page, Failure> { Ok(Page::default()) }
/// # }
/// strongroom_plugin::provider!(Acme: catalog);
/// ```
///
/// Once in a crate. Outside WebAssembly it only checks that the traits are implemented.
#[macro_export]
macro_rules! provider {
    ($plugin:ty $(: $($ability:ident),+ $(,)?)?) => {
        $crate::__export!(provider $plugin);
        $($($crate::__export!($ability $plugin);)+)?
    };
}

/// Makes a type the plugin: exports `credential`.
///
/// ```
/// # use strongroom_plugin::credential::{Request, Resume, Step, Token};
/// # use strongroom_plugin::{Context, Credential, Failure};
/// struct Fixed;
///
/// impl Credential for Fixed {
///     fn acquire(_: &Context, _: &Request, _: Option<&[u8]>, _: Option<&Resume>) -> Result<Step, Failure> {
///         Ok(Token::bearer("for tests").into())
///     }
/// }
///
/// strongroom_plugin::credential!(Fixed);
/// ```
#[macro_export]
macro_rules! credential {
    ($plugin:ty) => {
        $crate::__export!(credential $plugin);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    (provider $plugin:ty) => { $crate::__export!(@ provider, __export_provider_export_impl, Provider, $plugin); };
    (catalog $plugin:ty) => { $crate::__export!(@ catalog, __export_catalog_export_impl, Catalog, $plugin); };
    (writer $plugin:ty) => { $crate::__export!(@ writer, __export_writer_export_impl, Writer, $plugin); };
    (annotator $plugin:ty) => { $crate::__export!(@ annotator, __export_annotator_export_impl, Annotator, $plugin); };
    (lifecycle $plugin:ty) => { $crate::__export!(@ lifecycle, __export_lifecycle_export_impl, Lifecycle, $plugin); };
    (credential $plugin:ty) => { $crate::__export!(@ credential, __export_credential_export_impl, Credential, $plugin); };
    (@ $module:ident, $export:ident, $able:ident, $plugin:ty) => {
        const _: () = {
            const fn __is_implemented<P: $crate::$able>() {}
            __is_implemented::<$plugin>();

            // The author's type may have any name but this: names of items are not hygienic.
            #[allow(dead_code)]
            type __StrongroomPlugin = $plugin;
            #[cfg(target_arch = "wasm32")]
            $crate::$export!(__StrongroomPlugin with_types_in $crate::bindings::$module);
        };
    };
    ($other:ident $plugin:ty) => {
        ::core::compile_error!("a provider can export: catalog, writer, annotator, lifecycle");
    };
}

impl<P: Provider> provider::exports::strongroom::plugin::provider::Guest for P {
    fn resolve(ctx: wit::Context, refs: Vec<wit::Reference>) -> Vec<Result<wit::Secret, wit::Failure>> {
        let references: Vec<Reference> = refs.into_iter().map(Into::into).collect();
        P::resolve_all(&ctx.into(), &references)
            .into_iter()
            .map(|answer| answer.map(Into::into).map_err(Into::into))
            .collect()
    }
}

impl<P: Catalog> catalog::exports::strongroom::plugin::catalog::Guest for P {
    fn names(
        ctx: wit::Context,
        scope: wit::Reference,
        prefix: Option<String>,
        cursor: Option<String>,
    ) -> Result<wit::Page, wit::Failure> {
        let prefix = prefix.as_deref().unwrap_or_default();
        answer(P::names(&ctx.into(), &scope.into(), prefix, cursor.as_deref()))
    }
}

impl<P: Writer> writer::exports::strongroom::plugin::writer::Guest for P {
    fn put(
        ctx: wit::Context,
        reference: wit::Reference,
        value: wit::Value,
        attributes: Attributes,
        expected: Option<String>,
    ) -> Result<wit::Receipt, wit::Failure> {
        let value = match value {
            wit::Value::Text(text) => Value::Text(text),
            wit::Value::Binary(bytes) => Value::Binary(bytes),
        };
        answer(P::put(&ctx.into(), &reference.into(), value, attributes, expected.as_deref()))
    }

    fn remove(ctx: wit::Context, reference: wit::Reference) -> Result<wit::Receipt, wit::Failure> {
        answer(P::remove(&ctx.into(), &reference.into()))
    }
}

impl<P: Annotator> annotator::exports::strongroom::plugin::annotator::Guest for P {
    fn annotate(
        ctx: wit::Context,
        reference: wit::Reference,
        attributes: Attributes,
    ) -> Result<wit::Receipt, wit::Failure> {
        answer(P::annotate(&ctx.into(), &reference.into(), attributes))
    }
}

impl<P: Lifecycle> lifecycle::exports::strongroom::plugin::lifecycle::Guest for P {
    fn versions(
        ctx: wit::Context,
        reference: wit::Reference,
        cursor: Option<String>,
    ) -> Result<wit::Page, wit::Failure> {
        answer(P::versions(&ctx.into(), &reference.into(), cursor.as_deref()))
    }

    fn recover(ctx: wit::Context, reference: wit::Reference) -> Result<wit::Receipt, wit::Failure> {
        answer(P::recover(&ctx.into(), &reference.into()))
    }

    fn purge(ctx: wit::Context, reference: wit::Reference) -> Result<wit::Receipt, wit::Failure> {
        answer(P::purge(&ctx.into(), &reference.into()))
    }
}

impl<P: Credential> wit_credential::Guest for P {
    fn acquire(
        ctx: wit::Context,
        req: wit_credential::Request,
        kept: Option<Vec<u8>>,
        resumed: Option<wit_credential::Resume>,
    ) -> Result<wit_credential::Step, wit::Failure> {
        let wit_credential::Request { audience, scopes, tenant, claims } = req;
        let request = Request { audience, scopes, tenant, claims };
        let resumed = resumed.map(|wit_credential::Resume { state, redirect_uri, parameters }| Resume {
            state,
            redirect_uri,
            parameters,
        });
        answer(P::acquire(&ctx.into(), &request, kept.as_deref(), resumed.as_ref()))
    }
}

/// An answer in the contract's types.
fn answer<T: Into<W>, W>(given: Result<T, Failure>) -> Result<W, wit::Failure> {
    given.map(Into::into).map_err(Into::into)
}

impl From<wit::Reference> for Reference {
    fn from(wit::Reference { authority, path, selectors }: wit::Reference) -> Self {
        Self { authority, path, selectors }
    }
}

impl From<wit::Context> for Context {
    fn from(wit::Context { config, deadline_ms, attributes }: wit::Context) -> Self {
        Self { config, deadline_ms, attributes }
    }
}

impl From<Secret> for wit::Secret {
    fn from(Secret { value, version, content_type, expires_at, max_age_ms, attributes }: Secret) -> Self {
        let value = match value {
            Value::Text(text) => wit::Value::Text(text),
            Value::Binary(bytes) => wit::Value::Binary(bytes),
        };
        Self { value, version, content_type, expires_at, max_age_ms, attributes }
    }
}

impl From<Page> for wit::Page {
    fn from(Page { entries, next }: Page) -> Self {
        let entries = entries.into_iter().map(|Entry { name, attributes }| wit::Entry { name, attributes }).collect();
        Self { entries, next }
    }
}

impl From<Receipt> for wit::Receipt {
    fn from(Receipt { version, attributes }: Receipt) -> Self {
        Self { version, attributes }
    }
}

impl From<Failure> for wit::Failure {
    fn from(Failure { kind, code, message, retry_after_ms, attributes }: Failure) -> Self {
        Self { kind: kind.into(), code, message, retry_after_ms, attributes }
    }
}

impl From<wit::Failure> for Failure {
    fn from(wit::Failure { kind, code, message, retry_after_ms, attributes }: wit::Failure) -> Self {
        Self { kind: kind.into(), code, message, retry_after_ms, attributes }
    }
}

/// The same words on both sides, in one table.
macro_rules! kinds {
    ($($kind:ident)+) => {
        impl From<Kind> for wit::Kind {
            fn from(kind: Kind) -> Self {
                match kind { $(Kind::$kind => Self::$kind,)+ }
            }
        }

        impl From<wit::Kind> for Kind {
            fn from(kind: wit::Kind) -> Self {
                match kind { $(wit::Kind::$kind => Self::$kind,)+ }
            }
        }
    };
}

kinds! {
    InvalidReference InvalidConfig NotConfigured NotFound Conflict Unsupported
    Denied Unauthenticated Throttled Unavailable Protocol Internal
}

impl From<Step> for wit_credential::Step {
    fn from(step: Step) -> Self {
        match step {
            Step::Ready(Token { value, scheme, expires_at, refresh_at, keep, attributes }) => {
                Self::Ready(wit_credential::Token { value, scheme, expires_at, refresh_at, keep, attributes })
            }
            Step::Pending(Pending { retry_after_ms, state, prompt }) => {
                let prompt = prompt.map(|Prompt { uri, user_code, expires_at }| wit_credential::Prompt {
                    uri,
                    user_code,
                    expires_at,
                });
                Self::Pending(wit_credential::Pending { retry_after_ms, state, prompt })
            }
            Step::Browser(Browser { uri, state }) => Self::Browser(wit_credential::Browser { uri, state }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use provider::exports::strongroom::plugin::provider::Guest;

    /// Answers with the name, and refuses `bad`.
    struct Echo;

    impl Provider for Echo {
        fn resolve(context: &Context, reference: &Reference) -> Result<Secret, Failure> {
            match reference.path.concat().as_str() {
                "bad" => Err(Failure::throttled("echo.slow", "later").retry_after_ms(7).attribute("a", "b")),
                name => Ok(Secret::text(format!("{name} {}", context.config)).version("v").max_age_ms(9)),
            }
        }
    }

    #[test]
    fn each_reference_has_its_answer_in_its_place() {
        let reference = |name: &str| wit::Reference { authority: None, path: vec![name.into()], selectors: Vec::new() };
        let context = wit::Context { config: "{}".into(), deadline_ms: 1, attributes: Vec::new() };
        let answers = <Echo as Guest>::resolve(context, ["one", "bad", "two"].map(reference).to_vec());
        let [Ok(one), Err(bad), Ok(two)] = answers.as_slice() else { panic!("{} answers", answers.len()) };
        assert!(matches!(&one.value, wit::Value::Text(text) if text == "one {}"));
        assert!(matches!(&two.value, wit::Value::Text(text) if text == "two {}"));
        assert_eq!((one.version.as_deref(), one.max_age_ms), (Some("v"), Some(9)));
        assert_eq!((bad.kind, bad.code.as_str(), bad.retry_after_ms), (wit::Kind::Throttled, "echo.slow", Some(7)));
        assert_eq!(bad.attributes, [("a".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn no_debug_shows_a_secret() {
        let token = Token::bearer("s3cret").keep("s3cret");
        let pending = Step::Pending(Pending { retry_after_ms: 1, state: b"s3cret".into(), prompt: None });
        let resume =
            Resume { state: b"s3cret".into(), redirect_uri: None, parameters: vec![("code".into(), "s3cret".into())] };
        let output = crate::tool::Output { status: 0, stdout: b"s3cret".into(), stderr: b"s3cret".into() };
        let shown = format!("{:?}{token:?}{pending:?}{resume:?}{output:?}", Secret::binary("s3cret"));
        assert!(!shown.contains("s3cret"), "{shown}");
        // Nor as a list of numbers, as a derived one would show bytes.
        assert!(!shown.contains("115, 51, 99"), "{shown}");
    }
}
