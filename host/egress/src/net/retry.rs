//! Whether and when a request is sent again: the host's decision, never a plugin's.
//!
//! Only an answer that says "later" is a reason (408, 429, 500, 502, 503, 504), and only within the
//! deadline. A failure to connect or a broken connection is not: the caller hears of it at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

/// How often a request is sent at most.
pub const MAX_ATTEMPTS: u32 = 3;

/// The wait after the first answer without `Retry-After`, before jitter; doubled after each further one.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// What the first retries of a partition may cost, and the most that is saved up: ten of them, in tenths.
const FULL: u32 = 100;

/// What each request adds, and each retry takes, in tenths: one request in ten may be sent again.
const EARNED: u32 = 1;
const COST: u32 = 10;

/// The most partitions that are told apart. Each is of the operator's making: a mount, a rule and a credential.
const MAX_PARTITIONS: usize = 4096;

/// How much may be sent again. A backend that is down gets a tenth more requests for it, and not three times as many.
#[derive(Debug, Default)]
pub(super) struct Budgets(Mutex<HashMap<[u8; 32], u32>>);

impl Budgets {
    /// Counts a request that is sent for the first time.
    pub(super) fn earn(&self, partition: &[u8; 32]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_PARTITIONS && !all.contains_key(partition) {
            all.clear();
        }
        let left = all.entry(*partition).or_insert(FULL);
        *left = left.saturating_add(EARNED).min(FULL);
    }

    /// Whether a request may be sent again; if so, that is counted.
    pub(super) fn spend(&self, partition: &[u8; 32]) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = all.entry(*partition).or_insert(FULL);
        let rest = left.checked_sub(COST);
        *left = rest.unwrap_or(*left);
        rest.is_some()
    }
}

/// Whether sending a request of this method twice is the same as once, for the methods that rules know.
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE)
}

/// How long to wait before sending the request again; `None`: do not.
///
/// `attempt` counts from 1. `chance` is random, and takes up to half off a wait that the server did
/// not name, so that many clients do not come back at once. A `POST` is sent again only where the
/// server refused it unread, which 429 and 503 with `Retry-After` say.
pub(super) fn wait(
    method: &Method,
    status: StatusCode,
    headers: &HeaderMap,
    attempt: u32,
    now: SystemTime,
    chance: u32,
) -> Option<Duration> {
    let named = headers.get(RETRY_AFTER).and_then(|value| retry_after(value, now));
    let again = match status.as_u16() {
        429 | 503 => is_idempotent(method) || (*method == Method::POST && named.is_some()),
        408 | 500 | 502 | 504 => is_idempotent(method),
        _ => false,
    };
    if !again || attempt >= MAX_ATTEMPTS {
        return None;
    }
    Some(named.unwrap_or_else(|| {
        let full = FIRST_WAIT.saturating_mul(1 << attempt.saturating_sub(1).min(8));
        full.mul_f64(1.0 - f64::from(chance) / f64::from(u32::MAX) / 2.0)
    }))
}

/// `Retry-After` (RFC 9110, 10.2.3): seconds, or a date in its preferred form. A date that is over
/// means now.
fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?;
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // Too many digits are a very long time.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Duration::from_secs(http_date(text)?).saturating_sub(since_epoch))
}

/// Seconds since 1970 of an IMF-fixdate (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`. The two
/// obsolete forms are not read: no server of today writes them.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (day_name, rest) = text.split_once(", ")?;
    let mut words = rest.split(' ');
    let mut word = |length: usize| words.next().filter(|word| word.len() == length);
    let (day, month, year, time, zone) = (word(2)?, word(3)?, word(4)?, word(8)?, word(3)?);
    let mut clock = time.split(':');
    let mut number = |limit: u64| clock.next().and_then(digits).filter(|n| *n < limit);
    // A leap second is 60.
    let (hour, minute, second) = (number(24)?, number(60)?, number(61)?);
    let month = u64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let (day, year) = (digits(day)?, digits(year)?);
    if day_name.len() != 3 || zone != "GMT" || words.next().is_some() || !(1..=31).contains(&day) || year < 1970 {
        return None;
    }
    // Days since 1970-03-01 of a year that begins in March, so that the leap day is its last.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * shifted_year + shifted_year / 4 - shifted_year / 100
        + shifted_year / 400
        + (153 * shifted_month + 2) / 5
        + day;
    // Of 1970-01-01, counted the same way.
    let days = days.checked_sub(719_469)?;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_that_is_down_gets_a_tenth_more_and_no_storm() {
        let budgets = Budgets::default();
        let (one, other) = ([1; 32], [2; 32]);
        let mut again = 0;
        for _ in 0..1000 {
            budgets.earn(&one);
            // Every answer says to come back, twice.
            again += (0..2).take_while(|_| budgets.spend(&one)).count();
        }
        assert!((100..=110).contains(&again), "{again} retries of 1000 requests");
        assert!(budgets.spend(&other), "others have a budget of their own");
    }

    #[test]
    fn dates_are_read_as_the_calendar_says() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Tue, 29 Feb 2000 23:59:59 GMT", Some(951_868_799)),
            ("Wed, 01 Mar 2000 00:00:00 GMT", Some(951_868_800)),
            ("Mon, 28 Feb 2028 00:00:00 GMT", Some(1_835_308_800)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(253_402_300_799)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("Sun Nov  6 08:49:37 1994", None),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("Sun, 06 Nov 1994 24:00:00 GMT", None),
            ("Sun, 06 Nov 1994 08:49 GMT", None),
            ("Sun, 00 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Foo 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1969 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 GMT x", None),
            ("Sun, 06 Nov 1994 +8:49:37 GMT", None),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(http_date(text), seconds, "{text}");
        }
    }

    #[test]
    fn what_is_sent_again_and_when() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let ask = |method: Method, status: u16, after: Option<&str>, attempt| {
            let mut headers = HeaderMap::new();
            if let Some(after) = after {
                headers.insert(RETRY_AFTER, after.parse().unwrap());
            }
            wait(&method, StatusCode::from_u16(status).unwrap(), &headers, attempt, now, 0).map(|wait| wait.as_millis())
        };
        for status in [408, 429, 500, 502, 503, 504] {
            for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
                assert_eq!(ask(method.clone(), status, None, 1), Some(200), "{method} {status}");
                assert_eq!(ask(method.clone(), status, None, 2), Some(400), "{method} {status}");
                assert_eq!(ask(method.clone(), status, Some("3"), 2), Some(3000), "{method} {status}");
                assert_eq!(ask(method.clone(), status, Some("3"), 3), None, "{method} {status}");
            }
            assert_eq!(ask(Method::POST, status, None, 1), None, "{status}");
            assert_eq!(ask(Method::PATCH, status, Some("1"), 1), None, "{status}");
            let refused = matches!(status, 429 | 503);
            assert_eq!(ask(Method::POST, status, Some("1"), 1), refused.then_some(1000), "{status}");
        }
        for status in [200, 204, 301, 400, 401, 403, 404, 409, 501, 505] {
            assert_eq!(ask(Method::GET, status, Some("1"), 1), None, "{status}");
        }
        for (after, millis) in [
            ("0", 0),
            ("Sun, 06 Nov 1994 08:49:47 GMT", 10_000),
            ("Sun, 06 Nov 1994 08:49:27 GMT", 0),
            ("never", 200),
            ("-1", 200),
            ("1.5", 200),
            ("99999999999999999999999", u128::from(u64::MAX) * 1000),
        ] {
            assert_eq!(ask(Method::GET, 503, Some(after), 1), Some(millis), "{after}");
        }
        let jittered = wait(&Method::GET, StatusCode::BAD_GATEWAY, &HeaderMap::new(), 1, now, u32::MAX);
        assert_eq!(jittered, Some(Duration::from_millis(100)));
    }
}
