//! The fake's time, which a test can move, and dates as Azure writes them.

use time::OffsetDateTime;

/// Real time and what a test added to it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Clock {
    ahead: i64,
}

impl Clock {
    /// Seconds since 1970.
    pub fn now(self) -> i64 {
        OffsetDateTime::now_utc().unix_timestamp().saturating_add(self.ahead)
    }

    /// Moves the clock by seconds, which may be negative.
    pub fn advance(&mut self, seconds: i64) {
        self.ahead = self.ahead.saturating_add(seconds);
    }
}

fn date(epoch: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(epoch).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// `2024-01-01 00:00:00Z`, as Entra writes it.
pub fn entra(epoch: i64) -> String {
    let at = date(epoch);
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// `2024-03-22T14:56:56.0857069Z`: with seven digits, as ARM writes it.
pub fn arm(epoch: i64) -> String {
    entra(epoch).replace(' ', "T").replace('Z', ".0857069Z")
}

/// `06/20/2019 02:57:58 +00:00`, as the 2017-09-01 identity protocol writes it.
pub fn month_first(epoch: i64) -> String {
    let at = date(epoch);
    format!(
        "{:02}/{:02}/{:04} {:02}:{:02}:{:02} +00:00",
        u8::from(at.month()),
        at.day(),
        at.year(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// `1/16/2020 5:24:12 AM +00:00`, as other hosts write it.
pub fn month_first_12h(epoch: i64) -> String {
    let at = date(epoch);
    let (hour, half) = (at.hour(), if at.hour() < 12 { "AM" } else { "PM" });
    let hour = if hour % 12 == 0 { 12 } else { hour % 12 };
    format!(
        "{}/{}/{:04} {hour}:{:02}:{:02} {half} +00:00",
        u8::from(at.month()),
        at.day(),
        at.year(),
        at.minute(),
        at.second()
    )
}

/// `Thu, 01 Jan 1970 00:00:00 GMT`, as HTTP writes it.
pub fn http(epoch: i64) -> String {
    let at = date(epoch);
    let (weekday, month) = (at.weekday().to_string(), at.month().to_string());
    format!(
        "{:.3}, {:02} {:.3} {:04} {:02}:{:02}:{:02} GMT",
        weekday,
        at.day(),
        month,
        at.year(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_azure_does() {
        let at = 1_579_152_252;
        assert_eq!(entra(at), "2020-01-16 05:24:12Z");
        assert_eq!(arm(at), "2020-01-16T05:24:12.0857069Z");
        assert_eq!(month_first(at), "01/16/2020 05:24:12 +00:00");
        assert_eq!(month_first_12h(at), "1/16/2020 5:24:12 AM +00:00");
        assert_eq!(month_first_12h(at + 12 * 3600), "1/16/2020 5:24:12 PM +00:00");
        assert_eq!(http(at), "Thu, 16 Jan 2020 05:24:12 GMT");
    }
}
