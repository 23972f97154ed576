//! Points in time as Azure's services write them.

use crate::number::{NumberOrText, digits};

/// When a managed identity's token ends, in seconds since the Unix epoch: an epoch as number or
/// text, `06/20/2019 02:57:58 +00:00`, or `1/16/2020 5:24:12 AM +00:00` (month, day, year).
#[must_use]
pub fn expires_on(given: &NumberOrText) -> Option<u64> {
    match given {
        NumberOrText::Number(seconds) => Some(*seconds),
        NumberOrText::Text(text) => digits(text).or_else(|| written(text)),
    }
}

/// `M/D/YYYY h:mm:ss [AM|PM] +00:00`.
fn written(text: &str) -> Option<u64> {
    let mut words = text.split(' ');
    let (date, clock, next) = (words.next()?, words.next()?, words.next()?);
    let (half, zone) = match next {
        "AM" | "PM" => (Some(next), words.next()?),
        zone => (None, zone),
    };
    let mut date = date.split('/').map(digits);
    let (month, day, year) = (date.next()??, date.next()??, date.next()??);
    let (hour, minute, second) = time_of_day(clock)?;
    let hour = match half {
        None => hour,
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some("AM") => hour % 12,
        Some(_) => hour % 12 + 12,
    };
    if date.next().is_some() || words.next().is_some() {
        return None;
    }
    epoch(year, month, day, [hour, minute, second], zone)
}

/// `2023-10-31T21:59:10Z` (RFC 3339), with or without a fraction, which is cut off; as seconds since
/// the Unix epoch.
#[must_use]
pub fn rfc3339(text: &str) -> Option<u64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at_checked(zone_at)?;
    let clock = match clock.split_once('.') {
        Some((clock, fraction)) => {
            digits(fraction.get(..fraction.len().min(9))?)?;
            clock
        }
        None => clock,
    };
    let mut date = date.split('-').map(digits);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (hour, minute, second) = time_of_day(clock)?;
    if date.next().is_some() {
        return None;
    }
    epoch(year, month, day, [hour, minute, second], zone)
}

fn time_of_day(text: &str) -> Option<(u64, u64, u64)> {
    let mut parts = text.split(':').map(digits);
    let time = (parts.next()??, parts.next()??, parts.next()??);
    // A leap second is 60.
    (parts.next().is_none() && time.0 < 24 && time.1 < 60 && time.2 <= 60).then_some(time)
}

fn epoch(year: u64, month: u64, day: u64, [hour, minute, second]: [u64; 3], zone: &str) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 || day > days_in(year, month) {
        return None;
    }
    // Days since 1 March of year 0, of a year that begins in March, so that the leap day is its last.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * shifted_year + shifted_year / 4 - shifted_year / 100
        + shifted_year / 400
        + (153 * shifted_month + 2) / 5
        + day
        - 1;
    // Of 1970-01-01, counted the same way.
    let seconds = (((days - 719_468) * 24 + hour) * 60 + minute) * 60 + second;
    match zone {
        "Z" | "z" => Some(seconds),
        _ => {
            let (ahead, offset) = match zone.strip_prefix('+') {
                Some(offset) => (true, offset),
                None => (false, zone.strip_prefix('-')?),
            };
            let (hours, minutes) = offset.split_once(':')?;
            let (hours, minutes) = (digits(hours)?, digits(minutes)?);
            let offset = (hours < 24 && minutes < 60).then_some((hours * 60 + minutes) * 60)?;
            if ahead { seconds.checked_sub(offset) } else { seconds.checked_add(offset) }
        }
    }
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_expires_on() {
        let on = |text: &str| expires_on(&NumberOrText::Text(text.into()));
        assert_eq!(expires_on(&NumberOrText::Number(1_605_238_724)), Some(1_605_238_724));
        for (text, seconds) in [
            ("1605238724", Some(1_605_238_724)),
            ("06/20/2019 02:57:58 +00:00", Some(1_560_999_478)),
            ("1/16/2020 5:24:12 AM +00:00", Some(1_579_152_252)),
            ("1/16/2020 5:24:12 PM +00:00", Some(1_579_195_452)),
            ("1/16/2020 12:00:00 AM +00:00", Some(1_579_132_800)),
            ("1/16/2020 12:00:00 PM +00:00", Some(1_579_176_000)),
            ("02/29/2020 23:59:59 +00:00", Some(1_583_020_799)),
            ("01/01/1970 00:00:00 +00:00", Some(0)),
            ("01/01/1970 01:00:00 +01:00", Some(0)),
            ("02/29/2019 00:00:00 +00:00", None),
            ("13/01/2020 00:00:00 +00:00", None),
            ("00/10/2020 00:00:00 +00:00", None),
            ("1/16/2020 13:24:12 AM +00:00", None),
            ("1/16/2020 0:24:12 AM +00:00", None),
            ("1/16/2020 25:24:12 +00:00", None),
            ("1/16/2020 5:24 AM +00:00", None),
            ("1/16/2020 5:24:12 AM", None),
            ("1/16/2020 5:24:12", None),
            ("1/16/2020 5:24:12 AM +00:00 x", None),
            ("1/16/99999999999999999999 5:24:12 AM +00:00", None),
            ("01/01/1970 00:00:00 +01:00", None),
            ("", None),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(on(text), seconds, "{text}");
        }
    }

    #[test]
    fn rfc3339_is_utc() {
        for (text, seconds) in [
            ("2023-10-31T21:59:10Z", Some(1_698_789_550)),
            ("2023-10-31T21:59:10.1234567Z", Some(1_698_789_550)),
            ("2023-10-31T22:59:10+01:00", Some(1_698_789_550)),
            ("2023-10-31T16:59:10-05:00", Some(1_698_789_550)),
            ("2000-02-29T00:00:00Z", Some(951_782_400)),
            ("2023-10-31 21:59:10.000000", None),
            ("2023-10-31T21:59:10", None),
            ("2023-10-31T21:59:10.Z", None),
            ("2023-02-30T21:59:10Z", None),
            ("2023-10-31TZ", None),
            ("", None),
        ] {
            assert_eq!(rfc3339(text), seconds, "{text}");
        }
    }
}
