//! When to look again.

use std::time::{Duration, SystemTime};

use strongroom::Secret;

/// The longest pause after values that change at every look, unless looks are further apart by themselves.
const LONGEST: Duration = Duration::from_secs(300);

/// The shortest pause that a provider's own hint makes, so that a hint of nothing does not ask without end.
const SHORTEST_HINT: Duration = Duration::from_secs(1);

/// How long to wait before each look.
#[derive(Debug)]
pub struct Pace {
    every: Duration,
    /// Looks in a row that each found a change.
    changes: u32,
}

impl Pace {
    /// A look `every` so often.
    pub fn new(every: Duration) -> Self {
        Self { every, changes: 0 }
    }

    /// Whether the last look found a change. Values that change faster than a program starts would have it start without
    /// end: from the second change in a row on, each doubles the pause.
    pub fn looked(&mut self, changed: bool) {
        self.changes = if changed { self.changes.saturating_add(1) } else { 0 };
    }

    /// How long to wait now, where `hint` is how long the values are good.
    pub fn pause(&self, hint: Option<Duration>) -> Duration {
        if self.changes < 2 {
            return hint.map_or(self.every, |hint| hint.max(SHORTEST_HINT).min(self.every));
        }
        let factor = 1u32.checked_shl(self.changes - 1).unwrap_or(u32::MAX);
        self.every.saturating_mul(factor).min(LONGEST.max(self.every))
    }
}

/// How long these values are good, if their provider says: until the first has reached its age or its end.
pub fn good_for<'a>(secrets: impl Iterator<Item = &'a Secret>) -> Option<Duration> {
    let now = SystemTime::now();
    let hints = secrets.flat_map(|secret| {
        let age = secret.metadata.max_age_ms.map(|ms| Duration::from_millis(ms.into()));
        let end = secret.metadata.expires_at.map(|at| SystemTime::UNIX_EPOCH + Duration::from_secs(at.min(1 << 40)));
        // What has ended already tells nothing about when there will be another.
        [age, end.and_then(|end| end.duration_since(now).ok())]
    });
    hints.flatten().min()
}

#[cfg(test)]
mod tests {
    use strongroom::Value;
    use strongroom_core::secret::Metadata;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn values_that_change_at_every_look_are_looked_at_less_and_less() {
        let mut pace = Pace::new(MINUTE);
        let mut pauses = Vec::new();
        for changed in [false, true, true, true, true, true, false, true] {
            pace.looked(changed);
            pauses.push(pace.pause(None).as_secs());
        }
        assert_eq!(pauses, [60, 60, 120, 240, 300, 300, 60, 60]);
        let mut rare = Pace::new(10 * MINUTE);
        for _ in 0..100 {
            rare.looked(true);
            assert_eq!(rare.pause(Some(MINUTE)), if rare.changes < 2 { MINUTE } else { 10 * MINUTE });
        }
    }

    #[test]
    fn a_provider_that_says_sooner_is_asked_sooner_and_never_without_pause() {
        let pace = Pace::new(MINUTE);
        for (hint, pause) in [(None, 60), (Some(10), 10), (Some(3600), 60), (Some(0), 1)] {
            assert_eq!(pace.pause(hint.map(Duration::from_secs)).as_secs(), pause);
        }
        assert_eq!(Pace::new(Duration::from_millis(200)).pause(Some(Duration::ZERO)), Duration::from_millis(200));
    }

    #[test]
    fn a_value_is_good_until_its_age_or_its_end() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let secret = |metadata| Secret::new(Value::text("v"), metadata);
        let aged = secret(Metadata { max_age_ms: Some(5000), ..Metadata::default() });
        let ending = secret(Metadata { expires_at: Some(now + 3600), ..Metadata::default() });
        let ended = secret(Metadata { expires_at: Some(1), ..Metadata::default() });
        let plain = secret(Metadata::default());
        assert_eq!(good_for([&plain, &ended].into_iter()), None);
        assert_eq!(good_for([&plain, &aged, &ending].into_iter()), Some(Duration::from_secs(5)));
        let until = good_for([&ending].into_iter()).unwrap().as_secs();
        assert!((3500..=3600).contains(&until), "{until}");
    }
}
