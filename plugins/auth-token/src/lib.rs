//! A token that is there already: the sealed input `token` is the access token.
//!
//! It is for what a job was given at its start (a file, a variable), and for backends whose tokens do
//! not expire. It has no network, sees no reference, and must never change the token but for the line
//! end that editors and `echo` leave behind it.

#![forbid(unsafe_code)]

use serde::Deserialize;
use strongroom_entra::jwt;
use strongroom_plugin::credential::{Request, Resume, Step, Token};
use strongroom_plugin::{Context, Credential, Failure, clock, sealed};

/// The plugin. It has no state: every call is a new instance.
#[derive(Debug)]
pub struct AuthToken;

strongroom_plugin::credential!(AuthToken);

#[derive(Deserialize)]
struct Config {
    scheme: Option<String>,
}

impl Credential for AuthToken {
    fn acquire(context: &Context, _: &Request, _: Option<&[u8]>, _: Option<&Resume>) -> Result<Step, Failure> {
        let config: Config = context.config()?;
        let mut token = Token::bearer(text_of(sealed::reveal("token")?)?);
        // What a JWT says of its end is worth knowing, and no more: whoever gets the token judges it.
        let claims = jwt::claims(&token.value).unwrap_or_default();
        token.expires_at = claims.exp;
        if claims.exp.is_some_and(|end| end <= clock::now()) {
            let message = "the token was provided, not obtained here, and has expired; provide a new one";
            return Err(Failure::unauthenticated("auth-token.expired", message));
        }
        Ok(match config.scheme {
            Some(scheme) => token.scheme(scheme),
            None => token,
        }
        .into())
    }
}

/// The token without the line end of the file that it was kept in.
fn text_of(bytes: Vec<u8>) -> Result<String, Failure> {
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::invalid_config("auth-token.text", "the sealed input `token` is no text"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(Failure::not_configured("auth-token.empty", "the sealed input `token` is empty")),
        token => Ok(token.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_end_is_taken_off() {
        assert_eq!(text_of(b"tok en \r\n".to_vec()).unwrap(), "tok en ");
        assert_eq!(text_of(b"\n".to_vec()).unwrap_err().code, "auth-token.empty");
        assert_eq!(text_of(vec![0xff]).unwrap_err().code, "auth-token.text");
    }
}
