//! What a value may be: type, range and form, checked here for every key alike.
//!
//! Each kind says in one sentence what it allows; that sentence stands in errors, in the reference and in the schema.
//! Not here: which key has which kind (see `definitions`), and what needs more than one key to judge (see `settings`).

use super::address::{check_address, check_host, check_server, is_host_name};
use super::document::{Data, Value};
use super::suggest;
use logic::actions::{Template, Unfit, VALUE_PLACES};
use logic::log_pattern;
use serde_json::json;
use std::net::IpAddr;
use wire::error_code::{self, ErrorCode};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text(Form),
    Choice(&'static [&'static str]),
    Integer {
        least: u64,
        most: u64,
    },
    Boolean,
    List {
        of: Form,
        least: usize,
        most: usize,
    },
    /// A list of lists, none of them empty, with so many texts in all.
    Lists {
        of: Form,
        most: usize,
    },
    /// A table of variables, each text.
    Environment,
    /// A table of header names with their values.
    Headers,
}

/// What a text may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Name,
    /// A cluster of this cell, or `CLUSTER@CELL` of another.
    RouteCluster,
    /// `IP:port`; port 0 lets the system choose.
    ListenAddress,
    /// `IP:port` of something that listens.
    PeerAddress,
    /// `host:port` of a server whose name may have to be looked up.
    Server,
    IpAddress,
    AbsolutePath,
    /// A path prefix of routes.
    RoutePath,
    RouteHost,
    /// A path with or without query, for a request.
    RequestTarget,
    /// A Host header.
    HostHeader,
    CookieName,
    HeaderName,
    /// The value of a header, without places.
    HeaderValue,
    /// Where a redirect leads.
    Location,
    /// How a line of the access log looks.
    LogPattern,
    /// A name that TLS clients ask for; may start with `*.`.
    ServerName,
    /// A cookie name, or empty for none.
    PathParameter,
    UserName,
    /// 64 small hexadecimal digits.
    Sha256,
    /// A word of a command line.
    Word,
}

/// Variables of one environment. 1,000: the kernel allows about 2 MiB for all; nobody writes more by hand.
const VARIABLES_MAX: usize = 1000;

/// Headers that one route sets. 32: they are written for each of its requests.
const HEADERS_MAX: usize = 32;
const HEADER_VALUE_PATTERN: &str = "^[ -~]*$";

/// Longest text of a value. 4,096: the longest path that Linux takes.
const TEXT_LENGTH_MAX: usize = 4096;

/// Why a value is refused. `index` tells which one of a list, `key` which one of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
    pub suggestion: Option<String>,
    pub within: Option<String>,
}

impl Refusal {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), suggestion: None, within: None }
    }

    pub(super) fn not_allowed(message: impl Into<String>, suggestion: Option<String>) -> Self {
        Self { suggestion, ..Self::new(error_code::CONFIG_NOT_ALLOWED, message) }
    }

    fn wrong_type(found: &Data, wanted: &str) -> Self {
        Self::new(error_code::CONFIG_WRONG_TYPE, format!("this is {}, but must be {wanted}", found.kind()))
    }
}

impl Kind {
    /// Whether `value` may stand for a key called `name`, whose unit helps to guess what was meant.
    pub fn check(self, name: &str, value: &Value) -> Result<(), Refusal> {
        match (self, &value.data) {
            (Kind::Text(form), Data::Text(text)) => form.check(text),
            (Kind::Choice(choices), Data::Text(text)) => check_choice(choices, text),
            (Kind::Integer { least, most }, Data::Integer(number)) => check_range(least, most, *number),
            (Kind::Boolean, Data::Boolean(_)) => Ok(()),
            (Kind::List { of, least, most }, Data::List(items)) => check_list(of, least, most, items),
            (Kind::Lists { of, most }, Data::List(lists)) => check_lists(of, most, lists),
            (Kind::Environment, Data::Table(table)) => {
                if table.0.len() > VARIABLES_MAX {
                    return Err(Refusal::not_allowed("too many variables", None));
                }
                table.0.iter().try_for_each(|entry| check_variable(&entry.key, &entry.value.data))
            }
            (Kind::Headers, Data::Table(table)) => {
                if table.0.len() > HEADERS_MAX {
                    return Err(Refusal::not_allowed("too many headers", None));
                }
                table.0.iter().try_for_each(|entry| check_header(&entry.key, &entry.value.data))
            }
            (kind, found) => {
                let refusal = Refusal::wrong_type(found, kind.type_name());
                Err(Refusal { suggestion: kind.convert(name, found), ..refusal })
            }
        }
    }

    /// The type for people.
    pub fn type_name(self) -> &'static str {
        match self {
            Kind::Text(_) | Kind::Choice(_) => "text in quotes",
            Kind::Integer { .. } => "an integer without quotes",
            Kind::Boolean => "true or false without quotes",
            Kind::List { .. } => "a list of texts in brackets",
            Kind::Lists { .. } => "a list of lists in brackets",
            Kind::Environment | Kind::Headers => "a table of texts",
        }
    }

    /// What is allowed, as a sentence part.
    pub fn allowed(self) -> String {
        match self {
            Kind::Text(form) => form.allowed().to_owned(),
            Kind::Choice(choices) => {
                let quoted: Vec<String> = choices.iter().map(|choice| format!("{choice:?}")).collect();
                quoted.join(", ")
            }
            Kind::Integer { least, most } => format!("an integer from {least} to {most}"),
            Kind::Boolean => "true, false".to_owned(),
            Kind::List { of: Form::Word, least, most } => format!("{least} to {most} texts"),
            Kind::List { of, least, most } => format!("{least} to {most} texts, each {}", of.allowed()),
            Kind::Headers => format!(
                "at most {HEADERS_MAX} entries like \"X-Name\" = \"value\"; {{client}}, {{host}}, {{path}}, {{query}}, {{scheme}} and {{route}} are replaced"
            ),
            Kind::Lists { of, most } => {
                format!("lists of 1 to {most} texts, each {}", of.allowed())
            }
            Kind::Environment => format!("at most {VARIABLES_MAX} entries like KEY = \"value\""),
        }
    }

    /// The part of a JSON schema that describes it.
    pub fn schema(self) -> serde_json::Value {
        match self {
            Kind::Text(form) => form.schema(),
            Kind::Choice(choices) => json!({ "type": "string", "enum": choices }),
            Kind::Integer { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
            Kind::Boolean => json!({ "type": "boolean" }),
            Kind::List { of, least, most } => {
                json!({ "type": "array", "items": of.schema(), "minItems": least, "maxItems": most })
            }
            Kind::Headers => json!({
                "type": "object",
                "maxProperties": HEADERS_MAX,
                "propertyNames": Form::HeaderName.schema(),
                "additionalProperties": { "type": "string", "pattern": HEADER_VALUE_PATTERN },
            }),
            Kind::Lists { of, most } => json!({
                "type": "array",
                "minItems": 1,
                "maxItems": most,
                "items": { "type": "array", "items": of.schema(), "minItems": 1, "maxItems": most },
            }),
            Kind::Environment => json!({
                "type": "object",
                "maxProperties": VARIABLES_MAX,
                "propertyNames": { "pattern": "^[^=]+$" },
                "additionalProperties": { "type": "string" },
            }),
        }
    }

    /// What somebody who wrote another type probably meant.
    fn convert(self, name: &str, found: &Data) -> Option<String> {
        match (self, found) {
            (Kind::Integer { .. }, Data::Text(text)) => in_unit(name, text).map(|number| number.to_string()),
            (Kind::Boolean, Data::Text(text)) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some("true".to_owned()),
                "false" | "no" | "off" | "0" => Some("false".to_owned()),
                _ => None,
            },
            (Kind::List { of: Form::Word, .. }, Data::Text(text)) => {
                let words: Vec<&str> = text.split_whitespace().collect();
                (!words.is_empty()).then(|| format!("{words:?}"))
            }
            (Kind::List { of, .. }, Data::Text(text)) => of.check(text).ok().map(|()| format!("[{text:?}]")),
            (Kind::Lists { of, .. }, Data::Text(text)) => {
                of.check(text).ok().map(|()| format!("[[{text:?}]]"))
            }
            (Kind::Text(form), Data::Integer(number)) => {
                let text = number.to_string();
                form.check(&text).ok().map(|()| format!("{text:?}"))
            }
            _ => None,
        }
    }
}

/// `30s` for a key in `_ms` is 30000, `64k` for one in `_bytes` is 65536.
fn in_unit(name: &str, text: &str) -> Option<u64> {
    let digits = text.trim().bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.trim().split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim().to_ascii_lowercase();
    let factor = match (name, unit.as_str()) {
        (_, "") => 1,
        (name, "ms") if name.ends_with("_ms") => 1,
        (name, "s" | "sec") if name.ends_with("_ms") => 1000,
        (name, "m" | "min") if name.ends_with("_ms") => 60_000,
        (name, "h") if name.ends_with("_ms") => 3_600_000,
        (name, "b") if name.ends_with("_bytes") => 1,
        (name, "k" | "kb" | "kib") if name.ends_with("_bytes") => 1 << 10,
        (name, "m" | "mb" | "mib") if name.ends_with("_bytes") => 1 << 20,
        (name, "g" | "gb" | "gib") if name.ends_with("_bytes") => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn check_choice(choices: &[&str], text: &str) -> Result<(), Refusal> {
    if choices.contains(&text) {
        return Ok(());
    }
    let without_sig = text.strip_prefix("SIG").unwrap_or(text);
    let meant = suggest::nearest(without_sig, choices.iter().copied());
    Err(Refusal::not_allowed("there is no such choice", meant.map(|choice| format!("{choice:?}"))))
}

fn check_range(least: u64, most: u64, number: i64) -> Result<(), Refusal> {
    match u64::try_from(number) {
        Ok(number) if number > most => Err(Refusal::not_allowed("the number is too large", None)),
        Ok(number) if number >= least => Ok(()),
        _ => Err(Refusal::not_allowed("the number is too small", None)),
    }
}

fn check_list(of: Form, least: usize, most: usize, items: &[Value]) -> Result<(), Refusal> {
    if items.len() < least {
        return Err(Refusal::not_allowed("the list is too short", None));
    }
    if items.len() > most {
        return Err(Refusal::not_allowed("the list is too long", None));
    }
    for (index, item) in items.iter().enumerate() {
        let answer = match &item.data {
            Data::Text(text) => of.check(text),
            found => Err(Refusal::wrong_type(found, "text in quotes")),
        };
        answer.map_err(|refusal| Refusal { within: Some(format!("[{index}]")), ..refusal })?;
    }
    Ok(())
}

fn check_lists(of: Form, most: usize, lists: &[Value]) -> Result<(), Refusal> {
    if lists.is_empty() {
        return Err(Refusal::not_allowed("the list is too short", None));
    }
    let mut count = 0;
    for (index, list) in lists.iter().enumerate() {
        let Data::List(items) = &list.data else {
            let refusal = Refusal::wrong_type(&list.data, "a list of texts in brackets");
            return Err(Refusal { within: Some(format!("[{index}]")), ..refusal });
        };
        count += items.len();
        let answer = check_list(of, 1, most, items);
        answer.map_err(|refusal| {
            let inner = refusal.within.as_deref().unwrap_or_default();
            Refusal { within: Some(format!("[{index}]{inner}")), ..refusal }
        })?;
    }
    if count > most { Err(Refusal::not_allowed("the lists are too long", None)) } else { Ok(()) }
}

fn check_variable(key: &str, value: &Data) -> Result<(), Refusal> {
    let is_name = !key.is_empty() && !key.contains(['=', '\0']);
    let answer = match value {
        _ if !is_name => {
            Err(Refusal::not_allowed("this cannot be the name of an environment variable", None))
        }
        Data::Text(text) => Form::Word.check(text),
        Data::Integer(number) => Err(Refusal {
            suggestion: Some(format!("\"{number}\"")),
            ..Refusal::wrong_type(value, "text in quotes")
        }),
        found => Err(Refusal::wrong_type(found, "text in quotes")),
    };
    answer.map_err(|refusal| Refusal { within: Some(key.to_owned()), ..refusal })
}

fn check_header(name: &str, value: &Data) -> Result<(), Refusal> {
    let answer = match value {
        _ if !is_token(name) => Err(Refusal::not_allowed("this is not the name of a header", None)),
        Data::Text(text) => check_template(Template::parse(text, VALUE_PLACES)),
        found => Err(Refusal::wrong_type(found, "text in quotes")),
    };
    answer.map_err(|refusal| Refusal { within: Some(name.to_owned()), ..refusal })
}

fn is_route_cluster(text: &str) -> bool {
    let (cluster, cell) = text.split_once('@').map_or((text, None), |(cluster, cell)| (cluster, Some(cell)));
    wire::id::is_valid_name(cluster) && cell.is_none_or(wire::id::is_valid_name)
}

fn check_template(parsed: Result<Template, Unfit>) -> Result<(), Refusal> {
    parsed.map(|_| ()).map_err(|unfit| Refusal::not_allowed(unfit.to_string(), None))
}

impl Form {
    pub fn check(self, text: &str) -> Result<(), Refusal> {
        let refuse = |message: &str, suggestion: Option<String>| {
            Err(Refusal::not_allowed(message, suggestion.map(|text| format!("{text:?}"))))
        };
        if text.len() > TEXT_LENGTH_MAX {
            return refuse("the text is too long", None);
        }
        if text.contains('\0') {
            return refuse("the text contains a zero character", None);
        }
        match self {
            Form::Name if !wire::id::is_valid_name(text) => {
                refuse("this is not a valid name", plain_name(text))
            }
            Form::RouteCluster if !is_route_cluster(text) => {
                refuse("this is not a valid name", plain_name(text))
            }
            Form::ListenAddress | Form::PeerAddress => check_address(self, text),
            Form::Server => check_server(text),
            Form::IpAddress if text.parse::<IpAddr>().is_err() => match text.split_once('/') {
                Some(_) => refuse("a network is not an address; list the addresses themselves", None),
                None => refuse("this is not an IP address", None),
            },
            Form::AbsolutePath if !text.starts_with('/') => refuse("the path is not absolute", None),
            Form::RoutePath => check_route_path(text),
            Form::RouteHost => check_host(text),
            Form::RequestTarget if !text.starts_with('/') => {
                refuse("the path does not start with `/`", Some(format!("/{text}")))
            }
            Form::RequestTarget if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') => {
                refuse("the path has a character that must be written as %XX", None)
            }
            Form::Sha256 if !is_sha256(text) => refuse("this is no SHA-256 of a token", None),
            Form::HostHeader if !is_host_header(text) => refuse("this is not a host", None),
            Form::Location => check_template(Template::parse_location(text)),
            Form::LogPattern => log_pattern::check(text).map_err(|why| Refusal::not_allowed(why, None)),
            Form::HeaderName if !is_token(text) => refuse("this is not the name of a header", None),
            Form::HeaderValue if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => {
                refuse("this cannot stand in a header", None)
            }
            Form::ServerName if !is_server_name(text) => refuse("this is not the name of a server", None),
            Form::CookieName if !is_token(text) => refuse("this is not a cookie name", None),
            Form::PathParameter if !text.is_empty() && !is_token(text) => {
                refuse("this is not the name of a path parameter", None)
            }
            Form::UserName if !is_user_name(text) => refuse("this is not a user name", None),
            Form::Name
            | Form::RouteCluster
            | Form::IpAddress
            | Form::AbsolutePath
            | Form::RequestTarget
            | Form::HostHeader
            | Form::CookieName
            | Form::HeaderName
            | Form::HeaderValue
            | Form::ServerName
            | Form::PathParameter
            | Form::UserName
            | Form::Sha256
            | Form::Word => Ok(()),
        }
    }

    pub fn allowed(self) -> &'static str {
        match self {
            Form::Name => {
                "a name of 1 to 64 letters (a-z, A-Z), digits, `.`, `_` and `-` that starts with a letter or digit"
            }
            Form::RouteCluster => "the name of a cluster, or CLUSTER@CELL for one of another cell",
            Form::ListenAddress => {
                "an IP address and a port like \"0.0.0.0:8080\" or \"[::]:8080\"; port 0 takes a free one"
            }
            Form::PeerAddress => "an IP address and a port like \"10.0.0.5:8080\" or \"[fd00::5]:8080\"",
            Form::Server => {
                "a host name or IP address and a port like \"db.example:5432\" or \"[fd00::5]:2379\""
            }
            Form::IpAddress => "an IP address like \"10.0.0.1\" or \"fd00::1\"",
            Form::AbsolutePath => "a path that starts with `/`",
            Form::RoutePath => {
                "a path that starts with `/`, without `/` at its end, empty, `.` or `..` parts, query or spaces"
            }
            Form::RouteHost => "a host name or IP address without port, or \"*\" for any",
            Form::RequestTarget => "a path that starts with `/`, with or without query",
            Form::HostHeader => "a host name or IP address, with or without port",
            Form::HeaderName => "the name of a header like \"X-Api-Key\"",
            Form::HeaderValue => "text of printable ASCII",
            Form::Location => {
                "a path, or a URL with `http://` or `https://`, in which {host}, {path}, {rest} and {query} are replaced"
            }
            Form::LogPattern => "text with fields like {client} and {status}; see the list of fields",
            Form::ServerName => "a host name like \"shop.example\" or \"*.shop.example\", or an IP address",
            Form::CookieName => "a cookie name like \"JSESSIONID\"",
            Form::PathParameter => "a name like \"jsessionid\", or \"\" for none",
            Form::UserName => "the name of a user of the node",
            Form::Sha256 => {
                "64 hexadecimal digits in small letters, as `muster client token` and `muster bridge token` print them"
            }
            Form::Word => "any text",
        }
    }

    fn schema(self) -> serde_json::Value {
        let pattern = match self {
            Form::Name => "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
            Form::RouteCluster => "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[A-Za-z0-9][A-Za-z0-9._-]{0,63})?$",
            Form::ListenAddress | Form::PeerAddress => "^([0-9.]+|\\[[0-9A-Fa-f:.%]+\\]):[0-9]{1,5}$",
            Form::Server => "^([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:]+\\]):[0-9]{1,5}$",
            Form::IpAddress => "^[0-9A-Fa-f:.]+$",
            Form::AbsolutePath | Form::RequestTarget => "^/",
            Form::RoutePath => "^/([^ ?#;\\\\]*[^ ?#;\\\\/])?$",
            Form::RouteHost => "^(\\*|[A-Za-z0-9._-]+|\\[?[0-9A-Fa-f:.]+\\]?)$",
            Form::HostHeader => "^[A-Za-z0-9._:\\[\\]-]+$",
            Form::HeaderValue => HEADER_VALUE_PATTERN,
            Form::Location => "^(https?://|/|\\{path\\})[!-~]*$",
            Form::ServerName => "^([A-Za-z0-9._*-]+|[0-9A-Fa-f:.]+)$",
            Form::CookieName | Form::HeaderName => "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
            Form::PathParameter => "^[!#$%&'*+.^_`|~0-9A-Za-z-]*$",
            Form::UserName => "^[A-Za-z0-9_][A-Za-z0-9._-]*\\$?$",
            Form::Sha256 => "^[0-9a-f]{64}$",
            Form::Word | Form::LogPattern => return json!({ "type": "string" }),
        };
        json!({ "type": "string", "pattern": pattern })
    }
}

/// The name with everything replaced that names may not have.
fn plain_name(text: &str) -> Option<String> {
    let replace =
        |letter: char| if letter.is_ascii_alphanumeric() || "._-".contains(letter) { letter } else { '-' };
    let plain: String = text.chars().map(replace).collect();
    let plain = plain.trim_matches(['-', '.', '_']).to_owned();
    wire::id::is_valid_name(&plain).then_some(plain)
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn check_route_path(text: &str) -> Result<(), Refusal> {
    let refuse = |message: &str, suggestion: Option<String>| {
        Err(Refusal::not_allowed(message, suggestion.map(|text| format!("{text:?}"))))
    };
    if !text.starts_with('/') {
        let meant = text.trim_end_matches(['/', '*']);
        return refuse("the path does not start with `/`", Some(format!("/{meant}")));
    }
    if text == "/" {
        return Ok(());
    }
    if text.ends_with('/') || text.ends_with("/*") {
        let meant = text.trim_end_matches(['/', '*']);
        let meant = if meant.is_empty() { "/" } else { meant };
        return refuse(
            "a path ends without `/`: it matches itself and everything below it",
            Some(meant.to_owned()),
        );
    }
    if text[1..].split('/').any(|part| matches!(part, "" | "." | "..")) {
        return refuse(
            "the path has an empty, `.` or `..` part, which no request has when routes are matched",
            None,
        );
    }
    let has_only_path = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#;\\".contains(&byte));
    if has_only_path {
        Ok(())
    } else {
        refuse("the path has a character that paths of routes cannot have", None)
    }
}

fn is_server_name(text: &str) -> bool {
    is_host_name(text.strip_prefix("*.").unwrap_or(text)) || text.parse::<IpAddr>().is_ok()
}

fn is_host_header(text: &str) -> bool {
    let host = match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => text,
    };
    is_host_name(host) || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

/// A token of HTTP (RFC 9110, 5.6.2).
fn is_token(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_letter)
}

fn is_user_name(text: &str) -> bool {
    let name = text.strip_suffix('$').unwrap_or(text);
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && !name.starts_with(['-', '.']) && name.bytes().all(is_letter)
}
