//! Which inputs the host can inject for this credential, without their values.
//!
//! The host names each as an attribute of the call: `input` is `sealed.client_secret` if that sealed
//! input is configured, `env.IDENTITY_HEADER` if that variable is set and not empty.

use strongroom_plugin::Context;

/// Whether the host can inject the input `name`.
#[must_use]
pub fn has(context: &Context, name: &str) -> bool {
    context.attributes.iter().any(|(attribute, value)| attribute == "input" && value == name)
}

/// A context with those inputs; for tests.
#[must_use]
pub fn with(config: &str, inputs: &[&str]) -> Context {
    let mut context = Context::new(config);
    context.attributes = inputs.iter().map(|input| ("input".to_owned(), (*input).to_owned())).collect();
    context
}
