//! How a line of the access log is written: fields in a pattern, or all fields as one JSON object.
//!
//! Pure. Promise: one request is one line, whatever it holds. In patterns, quotes, backslashes and all that is not
//! printable ASCII stand as `\xHH`; JSON is escaped as JSON. What is not known is `-`, in JSON null.
//! Not here: times of day (the caller passes them), files (see `muster::router::access_log`).

use crate::trace::TraceParent;
use std::fmt::Write;

/// All that is known of a request when it is over. Empty texts are not known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Line<'a> {
    pub unix_ms: u64,
    pub router: &'a str,
    pub client: &'a str,
    /// Method and target, as the client sent them.
    pub request: &'a str,
    pub protocol: &'a str,
    pub tls: &'a str,
    /// Head lines in which headers are looked up.
    pub head: &'a [u8],
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub body_bytes: u64,
    pub duration_us: u64,
    /// None where no member was reached.
    pub phases: Option<Phases>,
    pub route: &'a str,
    pub cluster: &'a str,
    pub member: &'a str,
    pub retries: u32,
}

/// How long the parts of a request took; together its duration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Phases {
    /// Until the last attempt had its connection, earlier attempts included.
    pub connect_us: u64,
    pub send_us: u64,
    /// From its last byte to the first of the answer.
    pub wait_us: u64,
    /// From the first byte of the answer to its last.
    pub answer_us: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Known(Known),
    Header(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Time,
    TimeMs,
    TimeCommon,
    Router,
    Client,
    Request,
    Method,
    Target,
    Path,
    Query,
    Protocol,
    Tls,
    Host,
    Status,
    BytesIn,
    BytesOut,
    BodyBytes,
    DurationUs,
    ConnectUs,
    SendUs,
    WaitUs,
    AnswerUs,
    Route,
    Cluster,
    Member,
    Retries,
    TraceId,
    Referer,
    UserAgent,
}

/// Name, field, and whether it stands in JSON: what follows from others does not.
const FIELDS: [(&str, Known, bool); 29] = [
    ("time", Known::Time, true),
    ("time_ms", Known::TimeMs, true),
    ("time_common", Known::TimeCommon, false),
    ("router", Known::Router, true),
    ("client", Known::Client, true),
    ("request", Known::Request, false),
    ("method", Known::Method, true),
    ("target", Known::Target, true),
    ("path", Known::Path, false),
    ("query", Known::Query, false),
    ("protocol", Known::Protocol, true),
    ("tls", Known::Tls, true),
    ("host", Known::Host, true),
    ("status", Known::Status, true),
    ("bytes_in", Known::BytesIn, true),
    ("bytes_out", Known::BytesOut, true),
    ("body_bytes", Known::BodyBytes, true),
    ("duration_us", Known::DurationUs, true),
    ("connect_us", Known::ConnectUs, true),
    ("send_us", Known::SendUs, true),
    ("wait_us", Known::WaitUs, true),
    ("answer_us", Known::AnswerUs, true),
    ("route", Known::Route, true),
    ("cluster", Known::Cluster, true),
    ("member", Known::Member, true),
    ("retries", Known::Retries, true),
    ("trace_id", Known::TraceId, true),
    ("referer", Known::Referer, true),
    ("user_agent", Known::UserAgent, true),
];

/// The format that web servers have in common.
pub const COMMON: &str = "{client} - - [{time_common}] \"{request}\" {status} {body_bytes}";
pub const COMBINED: &str =
    "{client} - - [{time_common}] \"{request}\" {status} {body_bytes} \"{referer}\" \"{user_agent}\"";

enum Value<'a> {
    Unknown,
    Number(u64),
    Bytes(&'a [u8]),
    Text(String),
}

impl Line<'_> {
    fn value(&self, field: &Field) -> Value<'_> {
        match field {
            Field::Known(known) => self.known(*known),
            Field::Header(name) => bytes(self.header(name).unwrap_or_default()),
        }
    }

    fn known(&self, known: Known) -> Value<'_> {
        let (method, target) = self.request.split_once(' ').unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let phase = |of: fn(&Phases) -> u64| {
            self.phases.as_ref().map_or(Value::Unknown, |phases| Value::Number(of(phases)))
        };
        match known {
            Known::Time => Value::Text(rfc3339(self.unix_ms)),
            Known::TimeMs => Value::Number(self.unix_ms),
            Known::TimeCommon => Value::Text(common_time(self.unix_ms / 1000)),
            Known::Router => bytes(self.router.as_bytes()),
            Known::Client => bytes(self.client.as_bytes()),
            Known::Request if self.request.is_empty() => Value::Unknown,
            Known::Request => Value::Text(format!("{} {}", self.request, self.protocol)),
            Known::Method => bytes(method.as_bytes()),
            Known::Target => bytes(target.as_bytes()),
            Known::Path => bytes(path.as_bytes()),
            Known::Query => bytes(query.as_bytes()),
            Known::Protocol => bytes(self.protocol.as_bytes()),
            Known::Tls => bytes(self.tls.as_bytes()),
            Known::Host => bytes(self.header("host").unwrap_or_default()),
            Known::Status => Value::Number(u64::from(self.status)),
            Known::BytesIn => Value::Number(self.bytes_in),
            Known::BytesOut => Value::Number(self.bytes_out),
            Known::BodyBytes => Value::Number(self.body_bytes),
            Known::DurationUs => Value::Number(self.duration_us),
            Known::ConnectUs => phase(|phases| phases.connect_us),
            Known::SendUs => phase(|phases| phases.send_us),
            Known::WaitUs => phase(|phases| phases.wait_us),
            Known::AnswerUs => phase(|phases| phases.answer_us),
            Known::Route => bytes(self.route.as_bytes()),
            Known::Cluster => bytes(self.cluster.as_bytes()),
            Known::Member => bytes(self.member.as_bytes()),
            Known::Retries => Value::Number(u64::from(self.retries)),
            Known::TraceId => {
                let parent = self.header("traceparent").and_then(TraceParent::parse);
                parent.map_or(Value::Unknown, |parent| Value::Text(format!("{:032x}", parent.trace_id)))
            }
            Known::Referer => bytes(self.header("referer").unwrap_or_default()),
            Known::UserAgent => bytes(self.header("user-agent").unwrap_or_default()),
        }
    }

    /// The value of the first header of that name.
    fn header(&self, name: &str) -> Option<&[u8]> {
        let mut lines = self.head.split(|byte| *byte == b'\n').skip(1);
        lines.find_map(|line| {
            let (start, rest) = line.split_at_checked(name.len())?;
            let value = rest.strip_prefix(b":").filter(|_| start.eq_ignore_ascii_case(name.as_bytes()))?;
            Some(value.trim_ascii())
        })
    }

    /// One JSON object without its line end.
    pub fn json(&self, out: &mut String) {
        out.push('{');
        for (at, (name, known, _)) in FIELDS.iter().filter(|(_, _, is_told)| *is_told).enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(out, "{comma}\"{name}\":").expect("a string takes any text");
            match self.known(*known) {
                Value::Unknown => out.push_str("null"),
                Value::Number(number) => write!(out, "{number}").expect("a string takes any text"),
                Value::Bytes(bytes) => push_json(&String::from_utf8_lossy(bytes), out),
                Value::Text(text) => push_json(&text, out),
            }
        }
        out.push('}');
    }
}

fn bytes(bytes: &[u8]) -> Value<'_> {
    if bytes.is_empty() { Value::Unknown } else { Value::Bytes(bytes) }
}

fn push_json(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            // Also those that some readers take for line ends.
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                write!(out, "\\u{:04x}", u32::from(letter)).expect("a string takes any text");
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
}

/// A pattern that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(Field),
}

/// Whether `text` is a pattern; the error says why not.
pub fn check(text: &str) -> Result<(), String> {
    Pattern::parse(text).map(|_| ())
}

impl Pattern {
    /// Reads text with fields in braces; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.chars().any(char::is_control) {
            return Err("a pattern has no control characters; each request is one line".into());
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            pieces.push(Piece::Text(rest[..open].to_owned()));
            let inner = rest[open..].strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let Some((name, after)) = inner else { return Err("a brace has no partner".into()) };
            pieces.push(Piece::Field(field(name)?));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        if !pieces.iter().any(|piece| matches!(piece, Piece::Field(_))) {
            return Err("a pattern without fields tells nothing".into());
        }
        Ok(Self(pieces))
    }

    /// Appends the line without its end.
    pub fn write(&self, line: &Line<'_>, out: &mut String) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Field(field) => match line.value(field) {
                    Value::Unknown => out.push('-'),
                    Value::Number(number) => write!(out, "{number}").expect("a string takes any text"),
                    Value::Bytes(bytes) => push_escaped(bytes, out),
                    Value::Text(text) => push_escaped(text.as_bytes(), out),
                },
            }
        }
    }
}

fn field(name: &str) -> Result<Field, String> {
    if let Some(header) = name.strip_prefix("header:") {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if header.is_empty() || !header.bytes().all(is_token) {
            return Err(format!("`{header}` is not the name of a header"));
        }
        return Ok(Field::Header(header.to_owned()));
    }
    let known = FIELDS.iter().find(|(known, _, _)| *known == name);
    let (_, known, _) = known.ok_or_else(|| format!("there is no field `{{{name}}}`"))?;
    Ok(Field::Known(*known))
}

fn push_escaped(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
                write!(out, "\\x{byte:02x}").expect("a string takes any text")
            }
            byte => out.push(char::from(*byte)),
        }
    }
}

/// `2026-11-22T00:01:01.000Z`.
pub fn rfc3339(unix_ms: u64) -> String {
    let unix_s = unix_ms / 1000;
    let (year, month, day) = date_of(unix_s / 86_400);
    let (hour, minute, second) = (unix_s / 3600 % 24, unix_s / 60 % 60, unix_s % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", unix_ms % 1000)
}

/// `22/Nov/2026:00:00:00 +0000`.
fn common_time(unix_s: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day) = date_of(unix_s / 86_400);
    let (hour, minute, second) = (unix_s / 3600 % 24, unix_s / 60 % 60, unix_s % 60);
    format!("{day:02}/{}/{year}:{hour:02}:{minute:02}:{second:02} +0000", MONTHS[month - 1])
}

/// Year, month (1 to 12) and day of a day counted from 1970-01-01, by counting in eras of 400 years that begin in March.
fn date_of(days: u64) -> (u64, usize, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month as usize, day)
}

#[cfg(test)]
mod tests;
