//! Why a message is not forwarded, and with which status a client hears of it.

use std::fmt;

/// A rule that a message broke. Display is a sentence for the log; it never repeats bytes of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The head does not parse: a bad token, an unknown version, a folded line, a control character.
    Malformed,
    BareLineFeed,
    LeadingLines,
    Method,
    Target,
    Connect,
    HostMissing,
    HostTwice,
    HostInvalid,
    HostDiffersFromTarget,
    /// A path that leaves the one that it is put under.
    PathClimbs,
    LengthInvalid,
    LengthTwice,
    LengthAndEncoding,
    EncodingUnsupported,
    EncodingInVersion10,
    ContentTypeTwice,
    AmbiguousName,
    Expectation,
    HeadTooLarge,
    TooManyHeaders,
    FieldTooLarge,
    ChunkSize,
    ChunkExtension,
    ChunkEnd,
    Trailer,
    TrailerForbidden,
    BodyTooLarge,
    /// A member switched protocols although nobody had asked.
    UpgradeNotAsked,
    StatusInvalid,
    /// A client speaks HTTP where TLS is spoken.
    PlainOnTls,
}

impl Refusal {
    /// The status that tells a client of it.
    pub fn status(self) -> u16 {
        match self {
            Refusal::HeadTooLarge | Refusal::TooManyHeaders | Refusal::FieldTooLarge => 431,
            Refusal::BodyTooLarge => 413,
            Refusal::Expectation => 417,
            Refusal::Connect => 405,
            Refusal::EncodingUnsupported => 501,
            Refusal::Malformed
            | Refusal::BareLineFeed
            | Refusal::LeadingLines
            | Refusal::Method
            | Refusal::Target
            | Refusal::HostMissing
            | Refusal::HostTwice
            | Refusal::HostInvalid
            | Refusal::HostDiffersFromTarget
            | Refusal::PathClimbs
            | Refusal::LengthInvalid
            | Refusal::LengthTwice
            | Refusal::LengthAndEncoding
            | Refusal::EncodingInVersion10
            | Refusal::ContentTypeTwice
            | Refusal::AmbiguousName
            | Refusal::ChunkSize
            | Refusal::ChunkExtension
            | Refusal::ChunkEnd
            | Refusal::Trailer
            | Refusal::TrailerForbidden
            | Refusal::UpgradeNotAsked
            | Refusal::StatusInvalid
            | Refusal::PlainOnTls => 400,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Refusal::Malformed => "the head is not HTTP/1.0 or HTTP/1.1",
            Refusal::BareLineFeed => "a line ends in LF without CR",
            Refusal::LeadingLines => "more than one empty line before the request",
            Refusal::Method => "the method is not a name of letters, digits, '-', '_' and '.'",
            Refusal::Target => {
                "the request target is neither a path, nor http(s)://host/path, nor * with OPTIONS"
            }
            Refusal::Connect => "CONNECT is not for a reverse proxy",
            Refusal::HostMissing => "HTTP/1.1 without Host",
            Refusal::HostTwice => "more than one Host",
            Refusal::HostInvalid => "Host is not a name or address with an optional port",
            Refusal::HostDiffersFromTarget => "Host differs from the host in the request target",
            Refusal::PathClimbs => "the path has `..` parts, which a rewritten path may not have",
            Refusal::LengthInvalid => "Content-Length is not a plain decimal number",
            Refusal::LengthTwice => "more than one Content-Length",
            Refusal::LengthAndEncoding => "both Content-Length and Transfer-Encoding",
            Refusal::EncodingUnsupported => "Transfer-Encoding is not exactly one 'chunked'",
            Refusal::EncodingInVersion10 => "Transfer-Encoding in HTTP/1.0",
            Refusal::ContentTypeTwice => "more than one Content-Type",
            Refusal::AmbiguousName => "a header name that some servers take for a framing header",
            Refusal::Expectation => "an Expect other than 100-continue",
            Refusal::HeadTooLarge => "the head is larger than head_size_max_bytes",
            Refusal::TooManyHeaders => "more headers than header_count_max",
            Refusal::FieldTooLarge => "a line of the head is longer than 8190 bytes",
            Refusal::ChunkSize => "a chunk size is not a plain hexadecimal number",
            Refusal::ChunkExtension => "a chunk extension is malformed or longer than 256 bytes",
            Refusal::ChunkEnd => "a chunk does not end in CRLF",
            Refusal::Trailer => "a trailer is malformed or longer than 8190 bytes",
            Refusal::TrailerForbidden => "a trailer that would change framing or routing",
            Refusal::BodyTooLarge => "the body is larger than body_size_max_bytes",
            Refusal::UpgradeNotAsked => "101 although no upgrade was asked for",
            Refusal::PlainOnTls => "HTTP without TLS where TLS is spoken",
            Refusal::StatusInvalid => "a status below 100 or without meaning here",
        })
    }
}
