//! Values that a mount lets the host keep for a while. Off unless the mount sets `ttl`.
//!
//! Bounded, and overwritten when dropped. A value lives for the least of `ttl`, the provider's
//! max-age and its expiry. A stale value is served only when the backend cannot be asked
//! (unavailable, throttled, deadline), never after it said no.
//!
//! Callers who ask the same at the same time share one call, a flight, which ends whether or not its first
//! caller waits for it. What began before a write to its mount is neither kept nor shared after it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use strongroom_core::config::Mount;
use strongroom_core::{Failure, Kind, Name, Reference, Secret, Text};
use tokio::sync::watch;

use crate::credentials::is_of_credential;

/// The most answers that are kept, of all mounts.
const MAX_ENTRIES: usize = 4096;

/// The attribute that marks a value served after its time.
pub const STALE: &str = "strongroom-stale";

type Answer = Result<Secret, Failure>;

struct Entry {
    /// Handed out as it is: what is asked most is not copied each time.
    answer: Result<Arc<Secret>, Failure>,
    fresh_until: Instant,
    stale_until: Instant,
}

/// What is known of one mount.
#[derive(Default)]
struct Shelf {
    entries: HashMap<Reference, Entry>,
    flights: HashMap<Reference, watch::Receiver<Option<Answer>>>,
    /// Writes to the mount so far.
    writes: u64,
}

#[derive(Clone, Default)]
pub(crate) struct Cache(Arc<Shelves>);

#[derive(Default)]
struct Shelves {
    all: Mutex<HashMap<Name, Shelf>>,
    /// The cache of the config that came after: what is still written under this one is forgotten there, too.
    next: Mutex<Option<Cache>>,
}

/// What the cache says to a question.
pub(crate) enum Told {
    /// A kept answer that is still good.
    Kept(Answer),
    /// Somebody is asking already.
    Joined(Joined),
    /// Nobody knows: whoever asked is to find out, and to settle the ticket.
    Ask(Option<Ticket>),
}

/// A flight of somebody else.
pub(crate) struct Joined(watch::Receiver<Option<Answer>>);

/// A question that is being asked. Dropped unsettled, it leaves nothing behind, and whoever joined is told so.
pub(crate) struct Ticket {
    cache: Cache,
    mount: Name,
    reference: Reference,
    writes: u64,
    sender: watch::Sender<Option<Answer>>,
    settled: bool,
}

impl Joined {
    /// The answer, if it comes before `deadline`; `None` if whoever asked gave up.
    pub(crate) async fn answer(mut self, deadline: Instant) -> Option<Answer> {
        let late = || Failure::new(Kind::Deadline, "deadline", "the answer that somebody else waits for did not come");
        let answer = match tokio::time::timeout_at(deadline.into(), self.0.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => answer.clone().unwrap_or_else(|| Err(late())),
            Ok(Err(_)) => return None,
            Err(_) => Err(late()),
        };
        Some(answer)
    }
}

impl Cache {
    fn shelves(&self) -> MutexGuard<'_, HashMap<Name, Shelf>> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that `next` answers from now on.
    pub(crate) fn succeeded_by(&self, next: &Self) {
        *self.0.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(next.clone());
    }

    /// The answer that is kept, if there is one and it is still good.
    pub(crate) fn kept(&self, name: &Name, reference: &Reference) -> Option<Result<Arc<Secret>, Failure>> {
        let shelves = self.shelves();
        let entry = shelves.get(name)?.entries.get(reference)?;
        (Instant::now() < entry.fresh_until).then(|| entry.answer.clone())
    }

    /// What is known of a reference, or being found out.
    pub(crate) fn ask(&self, name: &Name, mount: &Mount, reference: &Reference) -> Told {
        if mount.ttl.is_none() && mount.neg_ttl.is_none() {
            return Told::Ask(None);
        }
        let mut shelves = self.shelves();
        let shelf = match shelves.get_mut(name) {
            Some(shelf) => shelf,
            None => shelves.entry(name.clone()).or_default(),
        };
        if let Some(entry) = shelf.entries.get(reference).filter(|entry| Instant::now() < entry.fresh_until) {
            return Told::Kept(entry.answer.as_ref().map(|secret| Secret::clone(secret)).map_err(Clone::clone));
        }
        if let Some(flight) = shelf.flights.get(reference) {
            return Told::Joined(Joined(flight.clone()));
        }
        let (sender, receiver) = watch::channel(None);
        shelf.flights.insert(reference.clone(), receiver);
        let (mount, reference) = (name.clone(), reference.clone());
        Told::Ask(Some(Ticket { cache: self.clone(), mount, reference, writes: shelf.writes, sender, settled: false }))
    }

    /// Forgets what is known of a mount, after a write to it.
    pub(crate) fn forget(&self, mount: &Name) {
        let mut shelves = self.shelves();
        if let Some(shelf) = shelves.get_mut(mount) {
            shelf.entries.clear();
            shelf.flights.clear();
            shelf.writes = shelf.writes.wrapping_add(1);
        }
        drop(shelves);
        let next = self.0.next.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(next) = next {
            next.forget(mount);
        }
    }

    /// How many answers are kept, of all mounts.
    pub(crate) fn len(&self) -> usize {
        self.shelves().values().map(|shelf| shelf.entries.len()).sum()
    }

    pub(crate) fn clear(&self) {
        for shelf in self.shelves().values_mut() {
            shelf.entries.clear();
        }
    }
}

impl Ticket {
    /// Tells whoever joined, and keeps nothing: the answer is as old as it is.
    pub(crate) fn share(self, answer: &Answer) {
        let sender = self.sender.clone();
        // From here on nobody joins.
        drop(self);
        if sender.receiver_count() > 0 {
            sender.send_replace(Some(answer.clone()));
        }
    }

    /// Keeps a new answer, or puts a stale one in the place of a failure, and tells whoever joined.
    pub(crate) fn settle(mut self, mount: &Mount, result: &mut Answer) {
        let now = Instant::now();
        let cache = self.cache.clone();
        let mut shelves = cache.shelves();
        self.settled = true;
        let current = shelves.get_mut(&self.mount).filter(|shelf| shelf.writes == self.writes);
        if let Some(shelf) = current {
            // From here on nobody joins.
            shelf.flights.remove(&self.reference);
            shelf.settle((&self.mount, mount), &self.reference, result, now);
            if shelves.values().map(|shelf| shelf.entries.len()).sum::<usize>() > MAX_ENTRIES {
                make_room(&mut shelves, &self.mount, &self.reference, now);
            }
        }
        drop(shelves);
        // Those who joined, also before a write that ended the sharing.
        if self.sender.receiver_count() > 0 {
            self.sender.send_replace(Some(result.clone()));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let mut shelves = self.cache.shelves();
        // After a write, a flight of that name is somebody else's.
        if let Some(shelf) = shelves.get_mut(&self.mount).filter(|shelf| shelf.writes == self.writes) {
            shelf.flights.remove(&self.reference);
        }
    }
}

/// Lets go what is over; if that is not enough, the newest answer is not kept.
fn make_room(shelves: &mut HashMap<Name, Shelf>, mount: &Name, reference: &Reference, now: Instant) {
    let mut left = 0;
    for shelf in shelves.values_mut() {
        shelf.entries.retain(|_, entry| now < entry.stale_until);
        left += shelf.entries.len();
    }
    if left > MAX_ENTRIES
        && let Some(shelf) = shelves.get_mut(mount)
    {
        shelf.entries.remove(reference);
    }
}

impl Shelf {
    fn settle(&mut self, (name, mount): (&Name, &Mount), reference: &Reference, result: &mut Answer, now: Instant) {
        let (keep, stale) = match result {
            Ok(secret) => {
                let left = left(secret);
                let keep = mount.ttl.map(|ttl| lifetime(secret, ttl).min(left)).unwrap_or_default();
                (keep, mount.stale_ttl.unwrap_or_default().min(left.saturating_sub(keep)))
            }
            Err(failure) if says_no(failure, name) => {
                let absent = failure.kind() == Kind::NotFound;
                (mount.neg_ttl.filter(|_| absent).unwrap_or_default(), Duration::ZERO)
            }
            // It says nothing of the secret, so what is known of it stays.
            Err(failure) => {
                let unreachable = matches!(failure.kind(), Kind::Unavailable | Kind::Throttled | Kind::Deadline);
                if unreachable
                    && mount.stale_ttl.is_some()
                    && let Some(stale) = self.stale(reference, now)
                {
                    *result = Ok(stale);
                }
                return;
            }
        };
        if keep.is_zero() {
            // Nor is what was known before it still good.
            self.entries.remove(reference);
            return;
        }
        let answer = result.clone().map(Arc::new);
        let entry = Entry { answer, fresh_until: now + keep, stale_until: now + keep + stale };
        self.entries.insert(reference.clone(), entry);
    }

    fn stale(&self, reference: &Reference, now: Instant) -> Option<Secret> {
        let entry = self.entries.get(reference)?;
        let mut secret = Secret::clone(entry.answer.as_ref().ok().filter(|_| now < entry.stale_until)?);
        secret.metadata.attributes.push((Text::new(STALE), Text::new("true")));
        Some(secret)
    }
}

/// Whether a failure says that there is no such secret, or none for whoever asks: the mount does, or who knows its credential. That
/// something is not there which the credential needs says nothing of the secret.
pub(crate) fn says_no(failure: &Failure, mount: &Name) -> bool {
    match failure.kind() {
        _ if failure.mount().is_some_and(|of| of != mount) => false,
        Kind::NotFound => !is_of_credential(failure),
        Kind::Denied | Kind::PolicyDenied | Kind::Unauthenticated => true,
        _ => false,
    }
}

/// How long a value may be kept where the config says `ttl`.
fn lifetime(secret: &Secret, ttl: Duration) -> Duration {
    secret.metadata.max_age_ms.map_or(ttl, |ms| ttl.min(Duration::from_millis(u64::from(ms))))
}

/// How long it is until a value ends.
fn left(secret: &Secret) -> Duration {
    secret.metadata.expires_at.map_or(Duration::MAX, |at| {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at.min(1 << 40));
        at.duration_since(SystemTime::now()).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use strongroom_core::config::Layer;
    use strongroom_core::secret::Metadata;
    use strongroom_core::{Config, Shapes, Value};

    use super::*;

    fn mount(keys: &str) -> (Name, Mount) {
        let text = format!("[mounts.m]\nplugin = \"keys\"\n{keys}");
        Config::parse(&text, Text::new("t"), Layer::Explicit).unwrap().mounts.pop_first().unwrap()
    }

    fn reference() -> Reference {
        Reference::parse("keys://g/k", &Shapes::builtin()).unwrap()
    }

    fn secret(metadata: Metadata) -> Result<Secret, Failure> {
        Ok(Secret::new(Value::text("v"), metadata))
    }

    fn down(kind: Kind) -> Result<Secret, Failure> {
        Err(Failure::new(kind, "t", "t"))
    }

    /// Asks, and settles with `answer` if nobody knows.
    fn asked(cache: &Cache, (name, mount): &(Name, Mount), mut answer: Answer) -> Answer {
        match cache.ask(name, mount, &reference()) {
            Told::Kept(kept) => return kept,
            Told::Ask(Some(ticket)) => ticket.settle(mount, &mut answer),
            Told::Ask(None) => {}
            Told::Joined(_) => panic!("nobody else asks"),
        }
        answer
    }

    fn kept(cache: &Cache, (name, mount): &(Name, Mount)) -> Option<Answer> {
        match cache.ask(name, mount, &reference()) {
            Told::Kept(kept) => Some(kept),
            _ => None,
        }
    }

    #[test]
    fn nothing_is_kept_unless_the_mount_says_so() {
        let cache = Cache::default();
        let plain = mount("");
        let _ = asked(&cache, &plain, secret(Metadata::default()));
        let _ = asked(&cache, &plain, down(Kind::NotFound));
        assert!(kept(&cache, &plain).is_none());
    }

    #[test]
    fn ttl_keeps_values_and_neg_ttl_keeps_absence() {
        let cache = Cache::default();
        let keeps = mount("ttl = \"1h\"");
        let _ = asked(&cache, &keeps, secret(Metadata::default()));
        assert!(kept(&cache, &keeps).unwrap().is_ok());
        cache.forget(&keeps.0);
        let _ = asked(&cache, &keeps, down(Kind::NotFound));
        assert!(kept(&cache, &keeps).is_none(), "ttl is not for absence");
        let keeps = mount("neg_ttl = \"1h\"");
        let _ = asked(&cache, &keeps, down(Kind::Denied));
        assert!(kept(&cache, &keeps).is_none(), "only not-found is kept");
        let _ = asked(&cache, &keeps, down(Kind::NotFound));
        assert!(kept(&cache, &keeps).unwrap().is_err());
    }

    #[test]
    fn a_value_lives_no_longer_than_its_provider_says() {
        let cache = Cache::default();
        let keeps = mount("ttl = \"1h\"");
        let _ = asked(&cache, &keeps, secret(Metadata { max_age_ms: Some(0), ..Metadata::default() }));
        assert!(kept(&cache, &keeps).is_none());
        let _ = asked(&cache, &keeps, secret(Metadata { expires_at: Some(1), ..Metadata::default() }));
        assert!(kept(&cache, &keeps).is_none());
    }

    #[test]
    fn stale_values_stand_in_only_for_a_backend_that_cannot_be_asked() {
        for (kind, served) in [
            (Kind::Unavailable, true),
            (Kind::Throttled, true),
            (Kind::Deadline, true),
            (Kind::Denied, false),
            (Kind::Unauthenticated, false),
            (Kind::NotFound, false),
        ] {
            let cache = Cache::default();
            let keeps = mount("ttl = \"1ms\"\nstale_ttl = \"1h\"");
            let _ = asked(&cache, &keeps, secret(Metadata::default()));
            a_while();
            let result = asked(&cache, &keeps, down(kind));
            assert_eq!(result.is_ok(), served, "{kind}");
            if let Ok(secret) = result {
                assert!(secret.metadata.attributes.iter().any(|(key, _)| key.as_str() == STALE));
            }
        }
    }

    /// Waits until what was kept for a millisecond is no longer fresh.
    fn a_while() {
        let until = Instant::now() + Duration::from_millis(1);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn what_a_backend_took_back_does_not_come_back_when_it_is_down() {
        let says = |kind, mount: &str| Err(Failure::new(kind, "t", "t").on_mount(&Name::parse(mount).unwrap()));
        let over = Metadata { expires_at: Some(1), ..Metadata::default() };
        for (between, served) in [
            (says(Kind::NotFound, "m"), false),
            (says(Kind::Denied, "m"), false),
            (says(Kind::Unauthenticated, "m"), false),
            // A newer value, which is over by now.
            (secret(over), false),
            // These say nothing of the secret: that the mount's plugin broke, and that its credential lacks something.
            (says(Kind::Trapped, "m"), true),
            (says(Kind::NotFound, "files"), true),
            (Err(Failure::new(Kind::NotFound, "t", "t").attribute(crate::credentials::CREDENTIAL, "c")), true),
        ] {
            let cache = Cache::default();
            let keeps = mount("ttl = \"1ms\"\nneg_ttl = \"1ms\"\nstale_ttl = \"1h\"");
            let _ = asked(&cache, &keeps, secret(Metadata::default()));
            a_while();
            let told = format!("{between:?}");
            let _ = asked(&cache, &keeps, between);
            a_while();
            assert_eq!(asked(&cache, &keeps, down(Kind::Unavailable)).is_ok(), served, "{told}");
        }
    }

    #[test]
    fn what_the_credential_lacks_is_not_kept_as_an_absent_secret() {
        let cache = Cache::default();
        let keeps = mount("neg_ttl = \"1h\"");
        let _ = asked(
            &cache,
            &keeps,
            Err(Failure::new(Kind::NotFound, "t", "t").attribute(crate::credentials::CREDENTIAL, "c")),
        );
        assert!(kept(&cache, &keeps).is_none());
    }

    #[test]
    fn a_value_is_not_served_after_its_own_end_though_its_backend_is_down() {
        let cache = Cache::default();
        let keeps = mount("ttl = \"1ms\"\nstale_ttl = \"1h\"");
        let end = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 1;
        let _ = asked(&cache, &keeps, secret(Metadata { expires_at: Some(end), ..Metadata::default() }));
        let entry_ends = cache.shelves()[&keeps.0].entries[&reference()].stale_until;
        assert!(entry_ends <= Instant::now() + Duration::from_secs(1));
    }

    #[tokio::test]
    async fn who_joined_is_told_what_is_known_elsewhere_and_nothing_is_kept_of_it() {
        let cache = Cache::default();
        let (name, keeps) = mount("ttl = \"1h\"");
        let Told::Ask(Some(ticket)) = cache.ask(&name, &keeps, &reference()) else { panic!("nobody asks yet") };
        let Told::Joined(joined) = cache.ask(&name, &keeps, &reference()) else { panic!("somebody asks") };
        ticket.share(&secret(Metadata::default()));
        assert!(joined.answer(Instant::now() + Duration::from_secs(60)).await.unwrap().is_ok());
        assert!(matches!(cache.ask(&name, &keeps, &reference()), Told::Ask(Some(_))));
    }

    #[tokio::test]
    async fn who_asks_the_same_meanwhile_shares_the_answer() {
        let cache = Cache::default();
        let (name, keeps) = mount("ttl = \"1h\"");
        let Told::Ask(Some(ticket)) = cache.ask(&name, &keeps, &reference()) else { panic!("nobody asks yet") };
        let Told::Joined(joined) = cache.ask(&name, &keeps, &reference()) else { panic!("somebody asks") };
        ticket.settle(&keeps, &mut down(Kind::Denied));
        let soon = Instant::now() + Duration::from_secs(60);
        assert_eq!(joined.answer(soon).await.unwrap().unwrap_err().kind(), Kind::Denied);
        assert!(matches!(cache.ask(&name, &keeps, &reference()), Told::Ask(Some(_))), "the flight is over");
    }

    #[tokio::test]
    async fn who_shares_a_call_gets_its_answer_though_the_mount_is_written_meanwhile() {
        let cache = Cache::default();
        let (name, keeps) = mount("ttl = \"1h\"");
        let Told::Ask(Some(ticket)) = cache.ask(&name, &keeps, &reference()) else { panic!("nobody asks yet") };
        let Told::Joined(joined) = cache.ask(&name, &keeps, &reference()) else { panic!("somebody asks") };
        cache.forget(&name);
        let Told::Ask(Some(later)) = cache.ask(&name, &keeps, &reference()) else {
            panic!("it is not shared any more")
        };
        ticket.settle(&keeps, &mut secret(Metadata::default()));
        let soon = Instant::now() + Duration::from_secs(60);
        assert!(joined.answer(soon).await.unwrap().is_ok());
        assert!(matches!(cache.ask(&name, &keeps, &reference()), Told::Joined(_)), "the later one is shared");
        later.settle(&keeps, &mut secret(Metadata::default()));
        assert!(kept(&cache, &(name, keeps)).unwrap().is_ok());
    }

    #[test]
    fn what_is_written_under_a_config_is_forgotten_under_the_next_one_too() {
        let (before, after) = (Cache::default(), Cache::default());
        let keeps = mount("ttl = \"1h\"");
        before.succeeded_by(&after);
        let _ = asked(&after, &keeps, secret(Metadata::default()));
        assert!(kept(&after, &keeps).is_some());
        before.forget(&keeps.0);
        assert!(kept(&after, &keeps).is_none());
    }

    #[tokio::test]
    async fn a_flight_that_breaks_off_leaves_nobody_waiting() {
        let cache = Cache::default();
        let (name, keeps) = mount("ttl = \"1h\"");
        let Told::Ask(Some(ticket)) = cache.ask(&name, &keeps, &reference()) else { panic!("nobody asks yet") };
        let Told::Joined(joined) = cache.ask(&name, &keeps, &reference()) else { panic!("somebody asks") };
        drop(ticket);
        let soon = Instant::now() + Duration::from_secs(60);
        assert!(joined.answer(soon).await.is_none(), "whoever joined is to ask");
    }

    #[test]
    fn what_began_before_a_write_is_neither_shared_nor_kept_after_it() {
        let cache = Cache::default();
        let (name, keeps) = mount("ttl = \"1h\"");
        let Told::Ask(Some(before)) = cache.ask(&name, &keeps, &reference()) else { panic!("nobody asks yet") };
        cache.forget(&name);
        let Told::Ask(Some(after)) = cache.ask(&name, &keeps, &reference()) else {
            panic!("the old one is not joined")
        };
        before.settle(&keeps, &mut secret(Metadata::default()));
        assert!(!matches!(cache.ask(&name, &keeps, &reference()), Told::Kept(_)), "what was read before is not kept");
        assert!(matches!(cache.ask(&name, &keeps, &reference()), Told::Joined(_)), "the new one still flies");
        after.settle(&keeps, &mut secret(Metadata::default()));
        assert!(matches!(cache.ask(&name, &keeps, &reference()), Told::Kept(_)));
    }
}
