//! Every key of what routes do besides finding a member, and of traces; a part of `definitions`.

use super::definition::{Definition, Preset, Repeats, Section};
use super::definitions::{MIB, integer, key};
use super::kind::{Form, Kind};

pub const TRACE_SECTION: Section = Section {
    path: "routers.*.trace",
    repeats: Repeats::Once,
    doc: "W3C trace context. With this table, a valid `traceparent` is continued (the member gets the same trace with \
              a span of the router, and a valid `tracestate`), and one that is not valid is dropped; without it both \
              headers pass as they are. The access log tells the trace in either case.",
    keys: &[TRACE],
};

pub const REDIRECT_SECTION: Section = Section {
    path: "routers.*.routes.redirect",
    repeats: Repeats::Once,
    doc: "The router sends the client elsewhere; no member sees the request. In `to`, `{host}` is the host of the \
              request without port, `{path}` its path, `{rest}` what follows the route's path in it, and `{query}` \
              the query with its `?`. No part of a request but its own host can change the host that `to` names.",
    keys: &[REDIRECT],
};

pub const ANSWER_SECTION: Section = Section {
    path: "routers.*.routes.answer",
    repeats: Repeats::Once,
    doc: "The router answers itself, always the same; no member sees the request.",
    keys: &[ANSWER],
};

pub const RATE_LIMIT_SECTION: Section = Section {
    path: "routers.*.routes.rate_limit",
    repeats: Repeats::Once,
    doc: "How many requests each caller may make; further ones are answered with 429 and `Retry-After`. The rate \
              holds for the router as a whole, whatever the number of its threads, and each router counts for itself. \
              A caller is a client address (of IPv6, its network of 64 bits; behind a trusted proxy, the address that \
              it tells) or a value of a header. A router remembers 65,536 callers of each route; of more, those whose \
              bucket is nearest to full are forgotten and begin anew, so that nobody can be locked out by a flood of \
              others.",
    keys: &[RATE_LIMIT],
};

pub const REQUEST_HEADERS_SECTION: Section = Section {
    path: "routers.*.routes.request_headers",
    repeats: Repeats::Once,
    doc: "Headers of requests, changed before members see them. Names count as the same whatever their case, and \
              with `_` for `-`. What frames messages or tells members who asks cannot be changed: Content-Length, \
              Content-Encoding, Transfer-Encoding, Connection, Keep-Alive, TE, Trailer, Upgrade, Via, Host, Expect, \
              Forwarded, X-Forwarded-For, -Proto and -Host, traceparent.",
    keys: &[HEADERS],
};

pub const ANSWER_HEADERS_SECTION: Section = Section {
    path: "routers.*.routes.answer_headers",
    repeats: Repeats::Once,
    doc: "Headers of answers, also of the route's own `redirect` or `answer`, changed before clients see them. The \
              framing cannot be changed: Content-Length, Content-Encoding, Content-Range, Transfer-Encoding, Connection, \
              Keep-Alive, TE, Trailer, Upgrade, Date, Via.",
    keys: &[HEADERS],
};

/// Actions of a route that are no tables.
pub const ROUTE_ACTIONS: &[Definition] = &[
    key(
        "rewrite",
        Kind::Text(Form::RoutePath),
        Preset::Else("the path stays"),
        "\"/store\"",
        "Stands in place of the route's path at the start of the path that members see; the rest stays byte by byte. \
         Of an `extension` it replaces the folder. \
         A request whose rest has a part `..`, also in disguise (`%2e%2e`, `..;x`, behind `%2f` or `\\`), is refused with \
         400.",
    ),
    key(
        "body_size_max_bytes",
        Kind::Integer { least: 0, most: 1 << 50 },
        Preset::Else("that of the router's limits"),
        "10485760",
        "Largest body of a request; 0 means no bound.",
    ),
    key(
        "head_size_max_bytes",
        Kind::Integer { least: 256, most: MIB },
        Preset::Else("that of the router's limits"),
        "8192",
        "Largest head of a request, at most what the router's limits say.",
    ),
    key(
        "views",
        Kind::Boolean,
        Preset::Boolean(false),
        "true",
        "The router answers with the view of the cluster that a client asks for: members, states, weights and policy. \
         Only clients of `[clients.NAME]` get one, with their token; everybody else gets 401. See \
         [clients](../operate/clients.md).",
    ),
    key(
        "compress",
        Kind::Boolean,
        Preset::Boolean(false),
        "true",
        "Compress answers (gzip) for clients that accept it: text, JSON, XML, JavaScript and SVG of 256 bytes and more, \
         if they are whole, not compressed yet, and nothing forbids it (`no-transform`, a digest or signature). Each part is sent \
         as it comes, so server-sent events flow. A strong ETag becomes a weak one.",
    ),
];

const REDIRECT: &[Definition] = &[
    key(
        "to",
        Kind::Text(Form::Location),
        Preset::Required,
        "\"https://{host}{path}{query}\"",
        "Where the client is sent.",
    ),
    integer(
        "status",
        301,
        308,
        302,
        "308",
        "301 and 308: for ever; 302 and 307: for now. With 307 and 308 the method stays what it is.",
    ),
];

const ANSWER: &[Definition] = &[
    integer("status", 200, 599, 200, "503", "The status."),
    key(
        "content_type",
        Kind::Text(Form::HeaderValue),
        Preset::Text("text/plain; charset=utf-8"),
        "\"application/json\"",
        "The type of the body.",
    ),
    key(
        "body",
        Kind::Text(Form::Word),
        Preset::Text(""),
        "\"back at noon\"",
        "The body, at most 4096 bytes.",
    ),
];

const RATE_LIMIT: &[Definition] = &[
    key(
        "requests_per_second",
        Kind::Integer { least: 1, most: 1_000_000 },
        Preset::Required,
        "50",
        "Requests per second of each caller, over time.",
    ),
    key(
        "burst",
        Kind::Integer { least: 1, most: 1_000_000 },
        Preset::Else("as many as `requests_per_second`"),
        "100",
        "Requests that a caller may make at once after a pause.",
    ),
    key(
        "header",
        Kind::Text(Form::HeaderName),
        Preset::Else("none: by client address"),
        "\"X-Api-Key\"",
        "Requests with the same value of this header count together; those without it by client address. Whoever can make \
         up values gets a rate for each: use a header that something checks.",
    ),
];

const HEADERS: &[Definition] = &[
    key(
        "remove",
        Kind::List { of: Form::HeaderName, least: 0, most: 32 },
        Preset::EmptyList,
        "[\"X-Powered-By\"]",
        "Names of headers that are left out.",
    ),
    key(
        "set",
        Kind::Headers,
        Preset::Else("none"),
        "{ X-Shop = \"{host}\" }",
        "Headers with their values, in place of all that were there under these names. `{client}`, `{host}`, `{path}`, \
         `{query}` (with its `?`), `{scheme}` and `{route}` are replaced.",
    ),
];

const TRACE: &[Definition] = &[
    key(
        "starts",
        Kind::Boolean,
        Preset::Boolean(true),
        "false",
        "Whether a request without a valid trace gets one.",
    ),
    integer(
        "sampled_percent",
        0,
        100,
        100,
        "10",
        "Of the traces that begin here, so many of a hundred are marked as sampled.",
    ),
];
