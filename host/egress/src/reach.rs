//! One call's way out: its budget, its requests, and what became of them.
//!
//! A [`Reach`] is made for one call and dropped with it. It must never send what [`decide`] did not
//! approve, and never give a guest what [`screen`] did not pass.
//!
//! [`decide`]: crate::decide::decide
//! [`screen`]: crate::screen

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use serde_json::Value;
use strongroom_core::manifest::HttpRule;
use strongroom_core::manifest::http::discovered_key;
use strongroom_core::{Failure, Kind, Network, Origin, Text};
use zeroize::Zeroizing;

use crate::challenge;
use crate::decide::{Approved, Asked, Refused, Terms, decide, is_reserved};
use crate::inject::{self, Tokens, inject};
use crate::net::{Cas, Client, Destination, Limits, MAX_HEAD_BYTES, Outgoing, SendError};
use crate::screen::{Screened, is_shown, screen};

/// What one call may use of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Requests.
    pub requests: u32,
    /// Bytes in the bodies of its requests, together.
    pub sent: u64,
    /// Bytes of one answer's body.
    pub response: usize,
    /// When all must be over.
    pub deadline: Instant,
}

/// How long the guest itself would wait. The deadline cuts each.
#[derive(Debug, Clone, Copy, Default)]
pub struct Patience {
    /// For DNS, TCP and TLS.
    pub connect: Option<Duration>,
    /// From the request to the head of its answer.
    pub first_byte: Option<Duration>,
    /// Between two pieces of the body.
    pub between_bytes: Option<Duration>,
}

/// Whether the host of `origin` can be connected to, and proves who it is: for `doctor`. Nothing is asked.
///
/// # Errors
/// As a request there would fail.
pub async fn probe(
    client: &Client,
    origin: &Origin,
    network: &Network,
    cas: Cas,
    deadline: Instant,
) -> Result<(), Failure> {
    let to = Destination {
        secure: origin.secure,
        host: origin.host.to_string().into(),
        port: origin.port,
        network: network.clone(),
        http2: false,
        partition: [0; 32],
        cas,
    };
    client.probe(&to, deadline.into()).await.map_err(|error| Unsent::Failed(error).failure())
}

/// A request as it left the guest.
pub struct Request {
    /// The method's token.
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Host and port.
    pub authority: String,
    /// Path and query.
    pub target: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Zeroizing<Vec<u8>>,
}

/// What the guest gets back.
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers it may see.
    pub headers: HeaderMap,
    /// The body.
    pub body: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("method", &Text::new(&self.method)).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Why a request has no reply.
#[derive(Debug, Clone)]
pub enum Unsent {
    /// The decision was no.
    Refused(Refused),
    /// The call used up what it may.
    Budget(&'static str),
    /// There is no token to add.
    NoToken(Failure),
    /// It could not be sent, or was not answered.
    Failed(SendError),
    /// It was answered in a way that ends the call.
    Screened(Screened),
}

/// What became of one request, for the developer of a plugin and for the failure's words.
#[derive(Debug, Clone)]
pub struct Event {
    /// The method, as asked.
    pub method: Text,
    /// Where to, as asked, without the query.
    pub to: Text,
    /// The place of the rule that allowed it.
    pub rule: Option<usize>,
    /// The resource of the token that was added.
    pub audience: Option<Text>,
    /// The status and the length of the body, or why there is none.
    pub outcome: Result<(u16, usize), Failure>,
    /// When it began.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
}

impl Event {
    /// Rewrites the texts that a guest had a hand in: a mask may have to.
    pub fn map_texts(&mut self, rewrite: impl Fn(&Text) -> Text) {
        self.method = rewrite(&self.method);
        self.to = rewrite(&self.to);
        if let Err(failure) = &mut self.outcome {
            failure.map_texts(&rewrite);
        }
    }
}
/// Told of the body of each successful answer that a guest gets, up to [`MAX_HEARD_BYTES`]: so that its
/// own words can be masked with it. What a backend says of a failure is for people to read.
pub type Heard = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// The largest body that is told of, in bytes: above what a secret and its surroundings are, small
/// enough that searching a call's words for all of it stays cheap.
pub const MAX_HEARD_BYTES: usize = 64 << 10;

/// One call's way out.
pub struct Reach {
    client: Client,
    heard: Option<Heard>,
    terms: Terms,
    cas: Cas,
    partitions: Arc<[[u8; 32]]>,
    tokens: Option<Arc<dyn Tokens>>,
    budget: Budget,
    requests_left: AtomicU32,
    bytes_left: AtomicU64,
    events: Mutex<Vec<Event>>,
    /// The config, with the addresses that answers told; `None` as long as none did.
    discovered: Mutex<Option<Arc<Value>>>,
    /// The failure that ends the call, whatever the guest makes of it.
    fatal: Mutex<Option<Failure>>,
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reach").field("function", &self.terms.function).finish_non_exhaustive()
    }
}

impl Reach {
    /// A way out for one call. `partitions` has one entry for each rule of `terms`: connections are
    /// shared only within one.
    pub fn new(
        client: Client,
        terms: Terms,
        cas: Cas,
        partitions: Arc<[[u8; 32]]>,
        tokens: Option<Arc<dyn Tokens>>,
        budget: Budget,
    ) -> Self {
        Self {
            client,
            heard: None,
            terms,
            cas,
            partitions,
            tokens,
            budget,
            requests_left: AtomicU32::new(budget.requests),
            bytes_left: AtomicU64::new(budget.sent),
            events: Mutex::default(),
            discovered: Mutex::default(),
            fatal: Mutex::default(),
        }
    }

    /// The same, telling `heard` of what the guest gets.
    #[must_use]
    pub fn heard_by(mut self, heard: Heard) -> Self {
        self.heard = Some(heard);
        self
    }

    /// Whether the guest can neither set this header in a request nor see it in an answer. The decision
    /// and the screen look again, each with its own list.
    pub fn hides(&self, name: &HeaderName) -> bool {
        is_reserved(name, &self.terms.rules) && !is_shown(name, &self.terms.rules)
    }

    /// How many bytes of bodies may still be sent.
    pub fn bytes_left(&self) -> u64 {
        self.bytes_left.load(Ordering::Relaxed)
    }

    /// Decides, sends, and gives what may be given.
    ///
    /// # Errors
    /// [`Unsent`]
    pub async fn send(&self, request: Request, patience: Patience) -> Result<Reply, Unsent> {
        let started = Instant::now();
        let (method, to) = (Text::new(&request.method), shown(&request));
        let mut approved = None;
        let sent = self.try_send(request, patience, &mut approved).await;
        let event = Event {
            method,
            to,
            rule: approved.as_ref().map(|a| a.rule),
            audience: approved.and_then(|a| a.audience).map(Text::new),
            outcome: match &sent {
                Ok(reply) => Ok((reply.status.as_u16(), reply.body.len())),
                Err(unsent) => Err(unsent.failure()),
            },
            began: started,
            took: started.elapsed(),
        };
        if let Err(unsent) = &sent
            && unsent.ends_the_call()
        {
            let mut fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner);
            fatal.get_or_insert_with(|| unsent.failure());
        }
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        // Refusals cost a guest nothing, so they are not kept without end.
        if events.len() < MAX_EVENTS {
            events.push(event);
        } else if let Some(last) = events.last_mut() {
            *last = event;
        }
        sent
    }

    async fn try_send(
        &self,
        request: Request,
        patience: Patience,
        approved: &mut Option<Approved>,
    ) -> Result<Reply, Unsent> {
        take(&self.requests_left, 1)
            .ok_or(Unsent::Budget("it made more requests than a call may (`limits.requests`)"))?;
        let length = request.body.len() as u64;
        let enough = self.bytes_left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(length));
        enough.map_err(|_| Unsent::Budget("it sent more than a call may (`limits.sent`)"))?;
        let asked = Asked {
            method: &request.method,
            scheme: &request.scheme,
            authority: &request.authority,
            target: &request.target,
            headers: &request.headers,
            body: &request.body,
        };
        let decision = decide(&self.terms(), &asked).map_err(Unsent::Refused)?;
        let decision = approved.insert(decision);
        let rule = self.terms.rules.get(decision.rule);
        let (Some(rule), Some(partition)) = (rule, self.partitions.get(decision.rule)) else {
            return Err(Unsent::Budget("it has no such rule"));
        };
        let mut headers = std::mem::take(&mut decision.headers);
        let mut body = request.body;
        let mut added = Vec::new();
        let mut used_token = None;
        let mut unproven = None;
        match (&rule.credential, &decision.audience) {
            (Some(used), Some(audience)) => {
                let tokens = self.tokens.as_ref().ok_or_else(no_credential).map_err(Unsent::NoToken)?;
                let token = tokens.token(audience, None).await.map_err(Unsent::NoToken)?;
                let plain = headers.clone();
                inject(&mut headers, used, &token).map_err(Unsent::NoToken)?;
                added.push(token.finder());
                used_token = Some((tokens, used, audience.clone(), token, plain));
            }
            _ => {
                if let Some(injection) = &rule.inject {
                    added = inject::add(&mut headers, &mut body, injection, &self.terms.holdings)
                        .map_err(Unsent::NoToken)?;
                    unproven = injection.arc.then(|| headers.clone());
                }
            }
        }
        let to = Destination {
            secure: decision.origin.secure,
            host: decision.origin.host.to_string().into(),
            port: decision.origin.port,
            network: decision.network.clone(),
            http2: decision.http2,
            partition: *partition,
            cas: self.cas.clone(),
        };
        let unfit = |_| Unsent::Failed(SendError::Request("its target is no URI"));
        let method = Method::from_bytes(decision.method.name().as_bytes())
            .map_err(|_| Unsent::Failed(SendError::Request("its method is no token")))?;
        let path_and_query = PathAndQuery::try_from(decision.target.as_str()).map_err(unfit)?;
        let body = Bytes::from_owner(Owned(body));
        let outgoing = |headers| Outgoing {
            method: method.clone(),
            path_and_query: path_and_query.clone(),
            headers,
            body: body.clone(),
        };
        let limits = Limits {
            deadline: self.budget.deadline.into(),
            connect: patience.connect,
            first_byte: patience.first_byte,
            between_bytes: patience.between_bytes,
            header_bytes: MAX_HEAD_BYTES,
            body_bytes: self.budget.response,
        };
        let mut answer =
            self.client.exchange_patiently(&to, outgoing(headers), &limits).await.map_err(Unsent::Failed)?;
        // A 401 is answered once: with a token that was asked for anew, as the challenge wants it.
        if answer.status == StatusCode::UNAUTHORIZED
            && let Some((tokens, used, audience, token, mut headers)) = used_token
        {
            let challenge = challenge::of(&answer.headers, &audience).map_err(Unsent::NoToken)?;
            let renewed = tokens.token(&audience, Some(&challenge)).await.map_err(Unsent::NoToken)?;
            if !renewed.is(&token) {
                inject(&mut headers, used, &renewed).map_err(Unsent::NoToken)?;
                added.push(renewed.finder());
                answer =
                    self.client.exchange_patiently(&to, outgoing(headers), &limits).await.map_err(Unsent::Failed)?;
            }
        }
        if let Some(mut headers) = unproven {
            match answer.status {
                StatusCode::UNAUTHORIZED => {
                    let (proof, finder) = challenge::realm(&answer.headers)
                        .ok_or_else(|| not_arc("names no key"))
                        .and_then(|realm| inject::proof(&self.terms.holdings, &realm))
                        .map_err(Unsent::NoToken)?;
                    headers.insert(AUTHORIZATION, proof);
                    added.push(finder);
                    answer = self
                        .client
                        .exchange_patiently(&to, outgoing(headers), &limits)
                        .await
                        .map_err(Unsent::Failed)?;
                }
                // Whoever gives a token to one who has proved nothing is not the agent.
                status if status.is_success() => return Err(Unsent::NoToken(not_arc("asks for no proof"))),
                _ => {}
            }
        }
        let headers = screen(rule, &answer, &added).map_err(Unsent::Screened)?;
        // What comes in the clear from afar, anybody on the way may have written.
        if answer.status == StatusCode::OK && (to.secure || to.network.is_near()) {
            self.discover(rule, &answer.body);
        }
        if let Some(heard) = &self.heard
            && answer.status.is_success()
            && answer.body.len() <= MAX_HEARD_BYTES
        {
            heard(&answer.body);
        }
        Ok(Reply { status: answer.status, headers, body: answer.body })
    }

    /// What the call is decided by: with the addresses that its own answers told so far.
    fn terms(&self) -> Cow<'_, Terms> {
        let discovered = self.discovered.lock().unwrap_or_else(PoisonError::into_inner);
        match &*discovered {
            None => Cow::Borrowed(&self.terms),
            Some(config) => Cow::Owned(Terms { config: Arc::clone(config), ..self.terms.clone() }),
        }
    }

    /// Takes the addresses that `rule` says its answer tells. The first that is told stands, and where there is
    /// none, a rule that goes there goes nowhere.
    fn discover(&self, rule: &HttpRule, answer: &[u8]) {
        for (name, place) in &rule.discovers {
            let Some(url) = place.find(answer).ok().and_then(|found| found.into_iter().next()) else { continue };
            let mut discovered = self.discovered.lock().unwrap_or_else(PoisonError::into_inner);
            let mut facts = discovered.as_deref().unwrap_or(&self.terms.config).clone();
            if let Some(facts) = facts.as_object_mut() {
                facts.entry(discovered_key(name)).or_insert_with(|| url.into());
            }
            *discovered = Some(Arc::new(facts));
        }
    }

    /// What became of the call's requests, in order; of very many, the first and the last.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The failure that ends the call although the guest gave an answer.
    pub fn fatal(&self) -> Option<Failure> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the last request of the call had no reply, if it had none: what the guest's own failure is
    /// most likely about.
    pub fn last_failure(&self) -> Option<Failure> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.last().and_then(|event| event.outcome.as_ref().err().cloned())
    }
}

const MAX_EVENTS: usize = 64;

/// Lets a buffer that is overwritten when it is dropped be sent without a copy.
struct Owned(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn take(left: &AtomicU32, count: u32) -> Option<u32> {
    left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(count)).ok()
}

fn shown(request: &Request) -> Text {
    let path = request.target.split(['?', '#']).next().unwrap_or_default();
    Text::new(format!("{}://{}{path}", request.scheme, request.authority))
}

fn no_credential() -> Failure {
    Failure::new(
        Kind::NotConfigured,
        "egress.no-credential",
        "the plugin's requests need a credential, and the mount has none",
    )
    .help("in the mount: credential = \"NAME\", and a [credentials.NAME] that names an auth plugin")
}

fn not_arc(why: &str) -> Failure {
    let message = format!("what answers at the endpoint of Azure Arc's agent {why}, as the agent does");
    Failure::new(Kind::Protocol, "arc.challenge", message)
        .help("IDENTITY_ENDPOINT and IMDS_ENDPOINT say where the agent is; unset both if this is no Arc server")
}

impl Unsent {
    /// Whether the call is over, whatever the guest makes of it.
    fn ends_the_call(&self) -> bool {
        matches!(self, Self::Screened(_))
    }

    /// What it means to whoever made the request that this call is for.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Refused(refused) => {
                let failure = Failure::new(Kind::PolicyDenied, "egress.refused", {
                    format!("a request of the plugin was refused: {}", refused.why)
                });
                match &refused.advice {
                    Some(advice) => failure.help(format!("if it ought to be allowed, {advice}")),
                    None => failure,
                }
            }
            Self::Budget(why) => Failure::new(
                Kind::LimitExceeded,
                "egress.budget",
                format!("a request of the plugin was refused: {why}"),
            ),
            Self::NoToken(failure) => failure.clone(),
            Self::Failed(error) => {
                let failure = |kind, code| Failure::new(kind, code, error.to_string());
                match error {
                    SendError::Outside { .. } => failure(Kind::PolicyDenied, "egress.address").help(
                        "if that is where the backend is: network = \"private\", \"loopback\" or a list of ranges, in the mount of your own config",
                    ),
                    SendError::Dns { .. } => failure(Kind::Unavailable, "egress.dns"),
                    SendError::Connect { .. } => failure(Kind::Unavailable, "egress.connect"),
                    SendError::Tls { .. } => failure(Kind::Unavailable, "egress.tls").help(
                        "if its certificate is of your own authority: [ca.NAME] with `file` and `hosts`, in your own config",
                    ),
                    SendError::NoRoots => failure(Kind::Unavailable, "egress.roots").help("install ca-certificates"),
                    SendError::Timeout(_) => failure(Kind::Deadline, "egress.timeout"),
                    SendError::HeadTooLarge | SendError::BodyTooLarge(_) => failure(Kind::LimitExceeded, "egress.too-large")
                        .help("`limits.response` of the mount says how large an answer may be"),
                    SendError::Closed | SendError::Protocol(_) => failure(Kind::Unavailable, "egress.answer"),
                    _ => failure(Kind::Internal, "egress.request"),
                }
            }
            Self::Screened(screened) => Failure::new(Kind::Protocol, "egress.echo", screened.to_string()),
        }
    }
}
