//! Times as people write them: a number with its unit.

/// From a second to so many days, in milliseconds.
pub fn time_ms(text: &str, days_max: u64) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no time; allowed are 1s to {days_max}d, like 90s, 15m, 12h or 2d");
    let unit_ms = match text.chars().last() {
        Some('s') => 1_000,
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        Some('d') => 24 * 3_600_000,
        Some(_) | None => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let time_ms = number.checked_mul(unit_ms);
    time_ms.filter(|ms| (1_000..=days_max * 24 * 3_600_000).contains(ms)).ok_or_else(wrong)
}

/// A moment as `2026-11-22 10:15:00`, by the clock of Greenwich.
pub fn utc(unix_ms: u64) -> String {
    let (days, second) = (unix_ms / 86_400_000, unix_ms / 1_000 % 86_400);
    // The civil calendar counted from 1 March of the year 0, so that leap days come last in a year; eras of 400 years
    // are alike. Unix days begin 719,468 days later.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + next;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit_and_bounds() {
        let read = |text| time_ms(text, 30);
        assert_eq!(read("90s"), Ok(90_000));
        assert_eq!(read("15m"), Ok(900_000));
        assert_eq!(read("1h"), Ok(3_600_000));
        assert_eq!(read("30d"), Ok(2_592_000_000));
        assert_eq!(time_ms("31d", 31), Ok(2_678_400_000));
        for wrong in ["", "h", "10", "0s", "31d", "-1h", "1.5h", "99999999999999999999d", "1µ", "5 h"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn moments_are_told_by_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(951_782_399_999), "2000-02-28 23:59:59");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(utc(951_868_800_000), "2000-03-01 00:00:00");
        assert_eq!(utc(1_795_342_500_000), "2026-11-22 10:15:00");
        assert_eq!(utc(4_102_444_799_000), "2099-12-31 23:59:59");
        assert_eq!(utc(4_107_542_400_000), "2100-03-01 00:00:00");
    }
}
