//! Times for people.

/// `seconds` since the Unix epoch as RFC 3339 in UTC: `2026-01-31T12:00:00Z`. What the calendar does
/// not reach is told as the number.
#[must_use]
pub fn iso(seconds: i64) -> String {
    // The years 0 to 9999, as RFC 3339 has them.
    if !(-62_167_219_200..=253_402_300_799).contains(&seconds) {
        return seconds.to_string();
    }
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Civil from days, Howard Hinnant: eras of 400 years that begin in March, so that the leap day is last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::iso;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (1_493_938_459, "2017-05-04T22:54:19Z"),
            (1_801_396_800, "2027-01-31T12:00:00Z"),
            (1_835_308_800, "2028-02-28T00:00:00Z"),
            (32_503_680_000, "3000-01-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (253_402_300_800, "253402300800"),
            (i64::MAX, "9223372036854775807"),
            (i64::MIN, "-9223372036854775808"),
        ] {
            assert_eq!(iso(seconds), text);
        }
    }
}
