//! Reads from a certificate what people, routing and the cell need: for whom it is, and from when to when.
//!
//! Pure. Only what stands in it; whether it is to be believed is a question for the TLS library. Times are seconds
//! since 1970.

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub not_before_s: i64,
    pub not_after_s: i64,
    /// DNS names, lower case, wildcards included; the subject's common name where it has none.
    pub names: Vec<String>,
    /// What it is for as URIs, as they stand there.
    pub uris: Vec<String>,
    /// Big-endian, as few bytes as it takes.
    pub serial: Vec<u8>,
}

/// Reads a certificate in DER; None if it is malformed.
pub fn read(der: &[u8]) -> Option<Facts> {
    let mut outer = Reader(der);
    let mut certificate = Reader(outer.expect(SEQUENCE)?);
    let mut body = Reader(certificate.expect(SEQUENCE)?);
    // The version is left out in certificates of the first one.
    if body.0.first() == Some(&0xa0) {
        body.next()?;
    }
    // Serial number, algorithm, issuer.
    let serial = body.expect(0x02)?;
    body.expect(SEQUENCE)?;
    body.expect(SEQUENCE)?;
    let mut validity = Reader(body.expect(SEQUENCE)?);
    let (not_before_s, not_after_s) = (time(&mut validity)?, time(&mut validity)?);
    let subject = body.expect(SEQUENCE)?;
    // The public key.
    body.expect(SEQUENCE)?;
    let (mut names, mut uris) = (Vec::new(), Vec::new());
    while !body.0.is_empty() {
        let (tag, value) = body.next()?;
        if tag == 0xa3 {
            alternative_names(value, &mut names, &mut uris)?;
        }
    }
    if names.is_empty() {
        names.extend(common_name(subject));
    }
    let serial = serial.iter().copied().skip_while(|byte| *byte == 0).collect();
    Some(Facts { not_before_s, not_after_s, names, uris, serial })
}

/// Warnings begin so long before the end at the earliest. Thirty days: time for a person to order another.
const WARNING_MAX_S: i64 = 30 * DAY_S;
const DAY_S: i64 = 86_400;

impl Facts {
    /// Whole days until it is over, where somebody should look: in the last quarter of its life, and no more than thirty days
    /// before the end. Whoever renews by program does it in the last third, and hears nothing of this.
    pub fn days_left(&self, now_s: i64) -> Option<i64> {
        let life_s = self.not_after_s.saturating_sub(self.not_before_s);
        let left_s = self.not_after_s.saturating_sub(now_s);
        (left_s > 0 && left_s <= (life_s / 4).min(WARNING_MAX_S)).then_some(left_s / DAY_S)
    }
}

const SEQUENCE: u8 = 0x30;
/// 2.5.29.17
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

fn alternative_names(extensions: &[u8], names: &mut Vec<String>, uris: &mut Vec<String>) -> Option<()> {
    let mut list = Reader(Reader(extensions).expect(SEQUENCE)?);
    while !list.0.is_empty() {
        let mut extension = Reader(list.expect(SEQUENCE)?);
        if extension.expect(0x06)? != ALTERNATIVE_NAMES {
            continue;
        }
        let (mut tag, mut value) = extension.next()?;
        if tag == 0x01 {
            // Whether it is critical.
            (tag, value) = extension.next()?;
        }
        if tag != 0x04 {
            return None;
        }
        let mut all = Reader(Reader(value).expect(SEQUENCE)?);
        while !all.0.is_empty() {
            let (tag, value) = all.next()?;
            match tag {
                0x82 => names.push(std::str::from_utf8(value).ok()?.to_ascii_lowercase()),
                0x86 => uris.push(std::str::from_utf8(value).ok()?.to_owned()),
                // Addresses and what else there may be.
                _ => {}
            }
        }
    }
    Some(())
}

fn common_name(subject: &[u8]) -> Option<String> {
    let mut parts = Reader(subject);
    while !parts.0.is_empty() {
        let mut part = Reader(Reader(parts.expect(0x31)?).expect(SEQUENCE)?);
        if part.expect(0x06)? == COMMON_NAME {
            let (_, value) = part.next()?;
            return std::str::from_utf8(value).ok().map(str::to_ascii_lowercase);
        }
    }
    None
}

fn time(reader: &mut Reader<'_>) -> Option<i64> {
    let (tag, text) = reader.next()?;
    let digits = text.strip_suffix(b"Z")?;
    let is_right = digits.iter().all(u8::is_ascii_digit);
    let (year, rest) = match tag {
        0x17 if is_right && digits.len() == 12 => {
            let short = number(&digits[..2]);
            // RFC 5280: two digits mean 1950 to 2049.
            (if short < 50 { 2000 + short } else { 1900 + short }, &digits[2..])
        }
        0x18 if is_right && digits.len() == 14 => (number(&digits[..4]), &digits[4..]),
        _ => return None,
    };
    let part = |at: usize| number(&rest[at..at + 2]);
    let days = days_since_1970(year, part(0), part(2));
    Some(((days * 24 + part(4)) * 60 + part(6)) * 60 + part(8))
}

fn number(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))
}

/// Counts in eras of 400 years that begin in March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    /// The next element: tag and value.
    fn next(&mut self) -> Option<(u8, &'b [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk::<2>()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let size = usize::from(first & 0x7f);
            if size == 0 || size > 3 {
                return None;
            }
            let (bytes, after) = rest.split_at_checked(size)?;
            length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest = after;
        }
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'b [u8]> {
        let (tag, value) = self.next()?;
        (tag == wanted).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let time = |tag: u8, text: &str| {
            let bytes = [&[tag, text.len() as u8], text.as_bytes()].concat();
            time(&mut Reader(&bytes))
        };
        assert_eq!(time(0x17, "700101000000Z"), Some(0));
        assert_eq!(time(0x17, "490228235959Z"), Some(2_498_169_599));
        assert_eq!(time(0x18, "20000229000000Z"), Some(951_782_400));
        assert_eq!(time(0x18, "20261122000101Z"), Some(1_795_305_661));
        assert_eq!(time(0x17, "20261122000101Z"), None);
        assert_eq!(time(0x17, "70010100000xZ"), None);
    }

    #[test]
    fn the_end_is_told_of_in_time_and_not_where_programs_renew() {
        let days_left = |life: i64, left_s: i64| {
            let (not_before_s, not_after_s) = (1_000, 1_000 + life * DAY_S);
            let facts = Facts { not_before_s, not_after_s, names: vec![], uris: vec![], serial: vec![] };
            facts.days_left(not_after_s - left_s)
        };
        assert_eq!(days_left(365, 30 * DAY_S + 1), None);
        assert_eq!(days_left(365, 30 * DAY_S), Some(30));
        assert_eq!(days_left(90, 30 * DAY_S), None, "it is renewed about now");
        assert_eq!(days_left(90, 22 * DAY_S), Some(22));
        assert_eq!(days_left(6, 2 * DAY_S), None);
        assert_eq!(days_left(6, DAY_S), Some(1));
        assert_eq!(days_left(6, 1), Some(0));
        assert_eq!(days_left(6, 0), None, "it is over");
        assert_eq!(days_left(-6, 1), None);
    }

    #[test]
    fn damaged_bytes_are_no_certificate() {
        for bytes in [&[][..], &[0x30], &[0x30, 0x82, 0xff, 0xff], &[0x30, 0x80], &[0x30, 2, 0x30, 0]] {
            assert_eq!(read(bytes), None, "{bytes:?}");
        }
    }
}
