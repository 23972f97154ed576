//! Values that a mount lets the host keep for a while. Off unless the mount sets `ttl`.
//!
//! Bounded, and overwritten when dropped. A value lives for the least of `ttl`, the provider's
//! max-age and its expiry. A stale value is served only when the backend cannot be asked
//! (unavailable, throttled, deadline), never after it said no.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use strongroom_core::config::Mount;
use strongroom_core::{Failure, Kind, Name, Reference, Secret, Text};

/// The most answers that are kept, of all mounts.
const MAX_ENTRIES: usize = 4096;

/// The attribute that marks a value served after its time.
pub const STALE: &str = "strongroom-stale";

struct Entry {
    answer: Result<Secret, Failure>,
    fresh_until: Instant,
    stale_until: Instant,
}

#[derive(Default)]
pub(crate) struct Cache(Mutex<HashMap<(Name, Reference), Entry>>);

impl Cache {
    /// A kept answer that is still good.
    pub(crate) fn fresh(&self, mount: &Name, reference: &Reference) -> Option<Result<Secret, Failure>> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.is_empty() {
            return None;
        }
        let entry = entries.get(&(mount.clone(), reference.clone()))?;
        (Instant::now() < entry.fresh_until).then(|| entry.answer.clone())
    }

    /// Keeps a new answer, or puts a stale one in the place of a failure.
    pub(crate) fn settle(
        &self,
        name: &Name,
        mount: &Mount,
        reference: &Reference,
        result: &mut Result<Secret, Failure>,
    ) {
        let now = Instant::now();
        let keep = match result {
            Ok(secret) => mount.ttl.map(|ttl| lifetime(secret, ttl)),
            Err(failure) if failure.kind() == Kind::NotFound => mount.neg_ttl,
            Err(failure) => {
                let unreachable = matches!(failure.kind(), Kind::Unavailable | Kind::Throttled | Kind::Deadline);
                if unreachable
                    && mount.stale_ttl.is_some()
                    && let Some(stale) = self.stale(name, reference, now)
                {
                    *result = Ok(stale);
                }
                None
            }
        };
        let Some(keep) = keep.filter(|keep| !keep.is_zero()) else { return };
        let stale = if result.is_ok() { mount.stale_ttl.unwrap_or_default() } else { Duration::ZERO };
        let entry = Entry { answer: result.clone(), fresh_until: now + keep, stale_until: now + keep + stale };
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_ENTRIES {
            entries.retain(|_, entry| now < entry.stale_until);
        }
        if entries.len() < MAX_ENTRIES {
            entries.insert((name.clone(), reference.clone()), entry);
        }
    }

    fn stale(&self, name: &Name, reference: &Reference, now: Instant) -> Option<Secret> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(&(name.clone(), reference.clone()))?;
        let mut secret = entry.answer.as_ref().ok().filter(|_| now < entry.stale_until)?.clone();
        secret.metadata.attributes.push((Text::new(STALE), Text::new("true")));
        Some(secret)
    }

    /// Forgets what is known of a mount, after a write to it.
    pub(crate) fn forget(&self, mount: &Name) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(name, _), _| name != mount);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn lifetime(secret: &Secret, ttl: Duration) -> Duration {
    let max_age = secret.metadata.max_age_ms.map(|ms| Duration::from_millis(u64::from(ms)));
    let expiry = secret.metadata.expires_at.map(|at| {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at.min(1 << 40));
        at.duration_since(SystemTime::now()).unwrap_or_default()
    });
    [max_age, expiry].into_iter().flatten().fold(ttl, Duration::min)
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

    #[test]
    fn nothing_is_kept_unless_the_mount_says_so() {
        let cache = Cache::default();
        let (name, plain) = mount("");
        cache.settle(&name, &plain, &reference(), &mut secret(Metadata::default()));
        cache.settle(&name, &plain, &reference(), &mut down(Kind::NotFound));
        assert!(cache.fresh(&name, &reference()).is_none());
    }

    #[test]
    fn ttl_keeps_values_and_neg_ttl_keeps_absence() {
        let cache = Cache::default();
        let (name, keeps) = mount("ttl = \"1h\"");
        cache.settle(&name, &keeps, &reference(), &mut secret(Metadata::default()));
        assert!(cache.fresh(&name, &reference()).unwrap().is_ok());
        cache.forget(&name);
        cache.settle(&name, &keeps, &reference(), &mut down(Kind::NotFound));
        assert!(cache.fresh(&name, &reference()).is_none(), "ttl is not for absence");
        let (name, keeps) = mount("neg_ttl = \"1h\"");
        cache.settle(&name, &keeps, &reference(), &mut down(Kind::Denied));
        assert!(cache.fresh(&name, &reference()).is_none(), "only not-found is kept");
        cache.settle(&name, &keeps, &reference(), &mut down(Kind::NotFound));
        assert!(cache.fresh(&name, &reference()).unwrap().is_err());
    }

    #[test]
    fn a_value_lives_no_longer_than_its_provider_says() {
        let cache = Cache::default();
        let (name, keeps) = mount("ttl = \"1h\"");
        cache.settle(&name, &keeps, &reference(), &mut secret(Metadata { max_age_ms: Some(0), ..Metadata::default() }));
        assert!(cache.fresh(&name, &reference()).is_none());
        cache.settle(&name, &keeps, &reference(), &mut secret(Metadata { expires_at: Some(1), ..Metadata::default() }));
        assert!(cache.fresh(&name, &reference()).is_none());
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
            let (name, keeps) = mount("ttl = \"1ms\"\nstale_ttl = \"1h\"");
            cache.settle(&name, &keeps, &reference(), &mut secret(Metadata::default()));
            let mut result = down(kind);
            cache.settle(&name, &keeps, &reference(), &mut result);
            assert_eq!(result.is_ok(), served, "{kind}");
            if let Ok(secret) = result {
                assert!(secret.metadata.attributes.iter().any(|(key, _)| key.as_str() == STALE));
            }
        }
    }
}
