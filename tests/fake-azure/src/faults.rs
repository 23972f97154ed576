//! Faults to switch on: which requests they meet, how often, and what they do to an answer. With none
//! on, every answer is as the services made it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock;
use crate::directory::matches;
use crate::entra;
use crate::http::{Answer, Call};
use crate::random;

/// What goes wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// Answers with a status, in the service's own words, or the given ones.
    Status {
        /// The status.
        status: u16,
        /// `Retry-After`: as given. `http-date:N` becomes the date N seconds ahead.
        #[serde(default)]
        retry_after: Option<String>,
        /// The error's code.
        #[serde(default)]
        code: Option<String>,
        /// The error's message.
        #[serde(default)]
        message: Option<String>,
        /// The whole body, if it is to be another.
        #[serde(default)]
        body: Option<Value>,
    },
    /// Entra's error of that number.
    Aadsts {
        /// The number.
        number: u32,
        /// What `claims` says.
        #[serde(default)]
        claims: Option<String>,
        /// What `suberror` says.
        #[serde(default)]
        suberror: Option<String>,
    },
    /// The right answer, late.
    Slow {
        /// Milliseconds.
        ms: u64,
    },
    /// No answer: the connection is closed.
    Drop {
        /// Only after what was asked is done.
        #[serde(default)]
        after: bool,
    },
    /// Half of the body, under the whole body's `Content-Length`; then the connection is closed.
    // Braces: serde refuses what it does not know only in a variant that has them.
    Truncate {},
    /// The right body under another type.
    ContentType {
        /// The type.
        #[serde(default = "plain")]
        value: String,
    },
    /// A page of a proxy instead of JSON.
    NotJson {
        /// The status.
        #[serde(default = "ok")]
        status: u16,
    },
    /// A list's next link names another host.
    ForeignNextLink {
        /// The host.
        #[serde(default = "evil")]
        host: String,
    },
    /// The metadata names a token endpoint on another host.
    ForeignTokenEndpoint {
        /// The host.
        #[serde(default = "evil")]
        host: String,
    },
    /// A challenge asks for a token for another resource.
    ForeignChallenge {
        /// The resource.
        #[serde(default = "evil_resource")]
        resource: String,
    },
    /// A challenge names another authority.
    ForeignAuthority {
        /// The host.
        #[serde(default = "evil")]
        host: String,
    },
    /// Replaces a header, or takes it away.
    Header {
        /// Its name.
        name: String,
        /// Its value; none takes it away.
        #[serde(default)]
        value: Option<String>,
    },
    /// Replaces one member of a JSON answer.
    Member {
        /// A JSON pointer (RFC 6901); the member must be there, or its parent an object.
        pointer: String,
        /// The new value.
        value: Value,
    },
    /// Sends a client elsewhere.
    Redirect {
        /// `Location`.
        location: String,
        /// The status.
        #[serde(default = "found")]
        status: u16,
    },
}

fn plain() -> String {
    "text/plain".into()
}
fn ok() -> u16 {
    200
}
fn found() -> u16 {
    302
}
fn evil() -> String {
    "evil.example".into()
}
fn evil_resource() -> String {
    "https://evil.example".into()
}

/// A fault and when it happens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fault {
    /// Given by the fake.
    #[serde(default)]
    pub id: u64,
    /// Only this service; any if absent.
    #[serde(default)]
    pub service: Option<String>,
    /// Only this host (`*` stands for anything).
    #[serde(default)]
    pub host: Option<String>,
    /// Only this method.
    #[serde(default)]
    pub method: Option<String>,
    /// Only this path (`*` stands for anything), in any case.
    #[serde(default)]
    pub path: Option<String>,
    /// So many requests that fit go free first.
    #[serde(default)]
    pub skip: u64,
    /// So many requests are met; for ever if absent.
    #[serde(default)]
    pub times: Option<u64>,
    /// How likely a request that fits is met, from 0 to 1.
    #[serde(default)]
    pub probability: Option<f64>,
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: Kind,
}

impl Fault {
    fn fits(&self, service: &str, call: &Call) -> bool {
        let is = |wanted: &Option<String>, given: &str| {
            wanted.as_ref().is_none_or(|wanted| matches(&wanted.to_lowercase(), &given.to_lowercase()))
        };
        is(&self.service, service)
            && is(&self.host, &call.host)
            && is(&self.method, call.method.as_str())
            && is(&self.path, &call.path)
    }
}

/// What meets one request.
#[derive(Debug, Clone, Default)]
pub struct Met(Vec<Kind>);

/// What the connection does after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing unusual.
    Whole,
    /// Sends half of the body, then closes.
    Truncated,
    /// Closes without an answer.
    Dropped,
}

/// The faults that are on.
#[derive(Debug, Default)]
pub struct Faults {
    list: Vec<Fault>,
    last: u64,
}

impl Faults {
    /// Switches one on and gives its id.
    pub fn add(&mut self, fault: Fault) -> u64 {
        self.last = self.last.saturating_add(1);
        self.list.push(Fault { id: self.last, ..fault });
        self.last
    }

    /// Those that are on.
    pub fn list(&self) -> &[Fault] {
        &self.list
    }

    /// Switches one off, or all.
    pub fn remove(&mut self, id: Option<u64>) {
        self.list.retain(|fault| id.is_some_and(|id| fault.id != id));
    }

    /// Those that meet a request; each is one time nearer to its end.
    pub fn meet(&mut self, service: &str, call: &Call) -> Met {
        let mut met = Vec::new();
        self.list.retain_mut(|fault| {
            if !fault.fits(service, call) {
                return true;
            }
            if fault.skip > 0 {
                fault.skip = fault.skip.saturating_sub(1);
                return true;
            }
            if fault.probability.is_some_and(|probability| random::fraction() >= probability) {
                return true;
            }
            met.push(fault.kind.clone());
            fault.times = fault.times.map(|times| times.saturating_sub(1));
            fault.times != Some(0)
        });
        Met(met)
    }
}

impl Met {
    /// How many milliseconds late the answer is.
    pub fn delay(&self) -> u64 {
        self.0.iter().map(|kind| if let Kind::Slow { ms } = kind { *ms } else { 0 }).sum()
    }

    /// How the answer ends.
    pub fn end(&self) -> End {
        if self.0.iter().any(|kind| matches!(kind, Kind::Drop { .. })) {
            End::Dropped
        } else if self.0.iter().any(|kind| matches!(kind, Kind::Truncate {})) {
            End::Truncated
        } else {
            End::Whole
        }
    }

    /// The answer that replaces the service's own, which then does nothing.
    pub fn instead(&self, service: &str, now: i64) -> Option<Answer> {
        self.0.iter().find_map(|kind| match kind {
            Kind::Status { status, retry_after, code, message, body } => {
                let mut answer = failure(service, *status, code.as_deref(), message.as_deref(), now);
                if let Some(body) = body {
                    answer = answer.body(&body.as_str().map_or_else(|| body.to_string(), str::to_owned));
                }
                Some(match retry_after {
                    Some(when) => match when.strip_prefix("http-date:").and_then(|ahead| ahead.parse::<i64>().ok()) {
                        Some(ahead) => answer.with("Retry-After", &clock::http(now.saturating_add(ahead))),
                        None => answer.with("Retry-After", when),
                    },
                    None => answer,
                })
            }
            Kind::Aadsts { number, claims, suberror } => {
                let mut error = entra::Refusal::new(*number, "A fault was switched on.");
                error.claims.clone_from(claims);
                error.suberror.clone_from(suberror);
                Some(error.answer(now))
            }
            Kind::NotJson { status } => Some(Answer::text(
                *status,
                "text/html",
                "<html><body><h1>Service Unavailable</h1>A gateway stands between.</body></html>",
            )),
            Kind::Redirect { location, status } => Some(Answer::empty(*status).with("Location", location)),
            Kind::Drop { after: false } => Some(Answer::empty(500)),
            _ => None,
        })
    }

    /// Changes an answer that a service made.
    pub fn change(&self, mut answer: Answer) -> Answer {
        for kind in &self.0 {
            answer = match kind {
                Kind::ContentType { value } => answer.with("Content-Type", value),
                Kind::Header { name, value: Some(value) } => answer.with(name, value),
                Kind::Header { name, value: None } => {
                    answer.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
                    answer
                }
                Kind::ForeignNextLink { host } => member(answer, "/nextLink", |link| Some(elsewhere(link, host))),
                Kind::ForeignTokenEndpoint { host } => {
                    member(answer, "/token_endpoint", |link| Some(elsewhere(link, host)))
                }
                Kind::Member { pointer, value } => set_member(answer, pointer, value),
                Kind::ForeignChallenge { resource } => challenge(answer, "resource", resource),
                Kind::ForeignAuthority { host } => {
                    let tenant = answer.header("WWW-Authenticate").and_then(|text| {
                        text.split_once("authorization=\"")
                            .and_then(|(_, rest)| rest.split_once('"'))
                            .map(|(url, _)| url)
                    });
                    let url = elsewhere(&Value::from(tenant.unwrap_or_default()), host);
                    challenge(answer, "authorization", url.as_str().unwrap_or_default())
                }
                _ => answer,
            };
        }
        answer
    }

    /// The kinds, by name.
    pub fn names(&self) -> Option<String> {
        let name = |kind| serde_json::to_value(kind).ok()?.get("kind")?.as_str().map(str::to_owned);
        let names: Vec<String> = self.0.iter().filter_map(name).collect();
        (!names.is_empty()).then(|| names.join("+"))
    }
}

/// What a service says with a status that it did not choose.
fn failure(service: &str, status: u16, code: Option<&str>, message: Option<&str>, now: i64) -> Answer {
    if service == "entra" && code.is_none() {
        let number = if status == 429 { 90_006 } else { 90_033 };
        return Answer { status, ..entra::Refusal::new(number, "A transient error has occurred.").answer(now) };
    }
    let (known, words) = match (service, status) {
        ("key-vault", 429) => (
            "Throttled",
            "Request was not processed because too many requests were received. Reason: VaultRequestTypeLimitReached",
        ),
        ("arm", 429) => ("TooManyRequests", "The request is being throttled."),
        (_, 429) => ("TooManyRequests", "Too many requests"),
        (_, 503) => ("ServiceUnavailable", "The service is temporarily unavailable."),
        (_, 504) => ("GatewayTimeout", "The gateway did not receive a response in time."),
        (_, 500..) => ("InternalServerError", "An internal error occurred."),
        _ => ("Fault", "A fault was switched on."),
    };
    Answer::error(status, code.unwrap_or(known), message.unwrap_or(words))
}

fn elsewhere(link: &Value, host: &str) -> Value {
    let path = link.as_str().and_then(|link| link.splitn(4, '/').nth(3)).unwrap_or_default();
    json!(format!("https://{host}/{path}"))
}

fn member(answer: Answer, pointer: &str, change: impl Fn(&Value) -> Option<Value>) -> Answer {
    match answer.value().pointer(pointer).filter(|value| !value.is_null()).and_then(change) {
        Some(value) => set_member(answer, pointer, &value),
        None => answer,
    }
}

fn set_member(answer: Answer, pointer: &str, value: &Value) -> Answer {
    let mut body = answer.value();
    let parent = pointer.rsplit_once('/').and_then(|(parent, name)| Some((body.pointer_mut(parent)?, name)));
    match parent {
        Some((Value::Object(parent), name)) => {
            parent.insert(name.replace("~1", "/").replace("~0", "~"), value.clone());
        }
        Some((Value::Array(parent), name)) => {
            if let Some(place) = name.parse::<usize>().ok().and_then(|at| parent.get_mut(at)) {
                *place = value.clone();
            }
        }
        _ => return answer,
    }
    answer.body(&body.to_string())
}

fn challenge(answer: Answer, name: &str, value: &str) -> Answer {
    let Some(text) = answer.header("WWW-Authenticate").map(str::to_owned) else { return answer };
    let parts: Vec<String> = text
        .split(", ")
        .map(|part| match part.split_once('=') {
            Some((key, _)) if key.rsplit(' ').next() == Some(name) => format!("{key}=\"{value}\""),
            _ => part.to_owned(),
        })
        .collect();
    answer.with("WWW-Authenticate", &parts.join(", "))
}
