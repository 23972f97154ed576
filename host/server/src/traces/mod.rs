//! Spans of requests, for an OpenTelemetry collector (OTLP over HTTP).
//!
//! Which requests get any is the server's to draw; a caller who says that its own is traced can add a few a second,
//! and take none away. What a span holds are names of the config and closed sets, as in metrics: never a value, a
//! reference, or a text of a caller, a plugin or a backend.
//!
//! Nothing here may keep a request waiting or make one fail: spans for which there is no room are counted and gone.

mod otlp;
mod recording;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use strongroom::{Strongroom, Warn};
use strongroom_core::config::listeners::Door;
use strongroom_core::config::traces::TracesConfig;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use self::recording::Finished;
pub(crate) use self::recording::{Recording, follower};
use crate::doors::parse_traceparent;
use crate::metrics::{Fate, Metrics};

/// The most requests whose spans wait to be sent: at the default sample what 10,000 requests a second leave in one
/// second, and at 1 KiB each about a megabyte.
const QUEUE: usize = 1024;

/// The most requests whose spans are sent at once.
const BATCH: usize = 256;

/// How long spans wait for others to be sent with.
const LINGER: Duration = Duration::from_secs(1);

/// The spans of one config in force. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Traces(Arc<Inner>);

struct Inner {
    link: Arc<Link>,
    /// Made with the first span, and closed when nobody can have another one.
    queue: OnceLock<mpsc::Sender<Message>>,
    /// Requests that were traced because their callers said so, in the second that began then.
    claimed: Mutex<(std::time::Instant, u32)>,
}

/// The way to the collector.
struct Link {
    config: TracesConfig,
    strongroom: Strongroom,
    metrics: Arc<Metrics>,
    warn: Warn,
}

/// What the sender of spans is told.
enum Message {
    /// The spans of a request.
    Send(Box<Finished>),
    /// To say when everything before this has been sent or given up.
    Flush(oneshot::Sender<()>),
}

impl Traces {
    /// Sends nothing yet.
    pub(crate) fn new(config: TracesConfig, strongroom: Strongroom, metrics: Arc<Metrics>, warn: Warn) -> Self {
        let claimed = Mutex::new((std::time::Instant::now(), 0));
        let link = Link { config, strongroom, metrics, warn };
        Self(Arc::new(Inner { link: Arc::new(link), queue: OnceLock::new(), claimed }))
    }

    /// The recording of a request, if it gets one. Only a `known` caller's word counts.
    pub(crate) fn begin(
        &self,
        door: Door,
        trace: [u8; 16],
        headers: &HeaderMap,
        known: bool,
        began: std::time::Instant,
    ) -> Option<Arc<Recording>> {
        let parent = sampled_parent(headers).filter(|_| known);
        if !self.drawn() && !parent.is_some_and(|_| self.may_claim()) {
            return None;
        }
        Some(Arc::new(Recording::new(self.clone(), door, trace, parent, began)))
    }

    /// Whether this request is among those that the server takes of itself. No caller has a hand in it: not even the
    /// trace's id, which may be the caller's.
    fn drawn(&self) -> bool {
        // As many bits as a double holds exactly.
        let draw = getrandom::u64().unwrap_or(u64::MAX) >> 11;
        (draw as f64) < self.0.link.config.sample * (1_u64 << 53) as f64
    }

    /// Whether one more may be traced in this second because its caller says so.
    fn may_claim(&self) -> bool {
        let mut claimed = self.0.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if claimed.0.elapsed() >= Duration::from_secs(1) {
            *claimed = (std::time::Instant::now(), 0);
        }
        let may = claimed.1 < self.0.link.config.claimed;
        claimed.1 = claimed.1.saturating_add(u32::from(may));
        may
    }

    /// Takes in the spans of a request that has ended.
    fn take(&self, finished: Finished) {
        let count = finished.spans.len();
        if self.queue().try_send(Message::Send(Box::new(finished))).is_err() {
            self.0.link.metrics.spans(Fate::Dropped, count);
        }
    }

    fn queue(&self) -> &mpsc::Sender<Message> {
        self.0.queue.get_or_init(|| {
            let (sender, receiver) = mpsc::channel(QUEUE);
            tokio::spawn(send_all(receiver, Arc::clone(&self.0.link)));
            sender
        })
    }

    /// Waits until what was taken in has been sent, `patience` at most.
    pub(crate) async fn flush(&self, patience: Duration) {
        let Some(queue) = self.0.queue.get() else { return };
        let (done, told) = oneshot::channel();
        let sent = async {
            if queue.send(Message::Flush(done)).await.is_ok() {
                let _ = told.await;
            }
        };
        let _ = timeout(patience, sent).await;
    }
}

/// The caller's own span, where its caller says that it is recorded (W3C Trace Context, level 1).
fn sampled_parent(headers: &HeaderMap) -> Option<[u8; 8]> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    parse_traceparent(text)?;
    let mut parts = text.split('-');
    let (version, _, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // Later versions may say more; this one says no more than that.
    let digits = flags.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if flags.len() != 2 || !digits || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let sampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
    let parent = u64::from_str_radix(parent, 16).ok().filter(|parent| *parent != 0 && sampled)?;
    Some(parent.to_be_bytes())
}

/// Sends what comes, several requests at a time, until nobody has anything left to send.
async fn send_all(mut queue: mpsc::Receiver<Message>, link: Arc<Link>) {
    let mut failing = false;
    let mut open = true;
    while open {
        let mut batch = Vec::new();
        let mut flushed = None;
        let mut until = None;
        while batch.len() < BATCH && flushed.is_none() {
            let next = match until {
                None => queue.recv().await,
                Some(until) => match timeout_at(until, queue.recv()).await {
                    Ok(next) => next,
                    Err(_) => break,
                },
            };
            match next {
                Some(Message::Send(finished)) => {
                    until.get_or_insert_with(|| Instant::now() + LINGER);
                    batch.push(*finished);
                }
                Some(Message::Flush(done)) => flushed = Some(done),
                None => {
                    open = false;
                    break;
                }
            }
        }
        if !batch.is_empty() {
            failing = link.send(&batch, failing).await;
        }
        if let Some(done) = flushed {
            let _ = done.send(());
        }
    }
}

impl Link {
    /// Sends a batch. Gives whether that failed, of which is warned once until it works again.
    async fn send(&self, batch: &[Finished], failed_before: bool) -> bool {
        let Self { config, strongroom, metrics, warn } = self;
        let count = batch.iter().map(|finished| finished.spans.len()).sum();
        let sent = strongroom.hand_in(&config.origin, &config.target, &config.network, otlp::request(batch)).await;
        match sent {
            Ok(answer) => {
                let refused = otlp::refused(&answer).min(count);
                metrics.spans(Fate::Refused, refused);
                metrics.spans(Fate::Sent, count - refused);
                false
            }
            Err(failure) => {
                metrics.spans(Fate::Lost, count);
                if !failed_before {
                    warn(failure.help("spans are lost until the collector of [server.traces] takes them"));
                }
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn parent(text: &'static str) -> Option<[u8; 8]> {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static(text));
        sampled_parent(&headers)
    }

    #[tokio::test]
    async fn what_finds_no_room_is_dropped_and_counted_at_once() {
        let strongroom = Strongroom::open(strongroom::Setup::without_config()).unwrap();
        let origin = strongroom_core::Origin::of_authority(false, "127.0.0.1:1").unwrap();
        let network = strongroom_core::Network::Loopback;
        let config = TracesConfig { origin, target: "/".to_owned(), network, sample: 1.0, claimed: 0 };
        let metrics = Arc::new(Metrics::new());
        let traces = Traces::new(config, strongroom, Arc::clone(&metrics), Arc::new(drop));
        // Nobody takes anything out of the queue as long as this waits for nothing.
        for _ in 0..QUEUE + 3 {
            let recording = traces.begin(Door::Native, [1; 16], &HeaderMap::new(), true, std::time::Instant::now());
            recording.unwrap().answered(200);
        }
        let shown = metrics.shown(0);
        assert!(shown.contains("strongroom_spans_total{outcome=\"dropped\"} 3\n"), "{shown}");
    }

    #[test]
    fn a_parent_counts_where_it_is_one_and_says_that_it_is_recorded() {
        let good = 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes();
        for (text, found) in [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Some(good)),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff", Some(good)),
            ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", Some(good)),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-+1", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", None),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None),
        ] {
            assert_eq!(parent(text), found, "{text}");
        }
        assert_eq!(sampled_parent(&HeaderMap::new()), None);
    }
}
