//! Every key that bears on who gets a request: routes over clusters, policies, affinity, health.
//!
//! As in `definitions`, of which this is a part.

use super::choice::QUEUE_MS;
use super::definition::{Definition, Preset};
use super::definitions::{integer, key};
use super::kind::{Form, Kind};

/// Longest duration. One day: what is longer is a mistake in the unit.
const DAY_MS: u64 = 24 * 3_600_000;
const HOUR_MS: u64 = 3_600_000;
/// Clusters of one route. 64: each is looked at for each request of the route.
const ROUTE_CLUSTERS_MAX: usize = 64;

pub const ROUTE_TO: &[Definition] = &[
    key(
        "cluster",
        Kind::Text(Form::RouteCluster),
        Preset::Else("the only cluster of the file"),
        "\"shop\"",
        "The cluster to which such requests go; `shop@east` is the cluster `shop` of `[cells.east]`.",
    ),
    key(
        "clusters",
        Kind::List { of: Form::RouteCluster, least: 1, most: ROUTE_CLUSTERS_MAX },
        Preset::Else("`cluster`"),
        "[\"shop\"]",
        "Instead of `cluster`, for example `[\"east\", \"west\"]`: several that share the requests by weight, as if their members were one cluster. \
         Sessions stay with their member, whichever cluster it is of.",
    ),
    key(
        "levels",
        Kind::Lists { of: Form::RouteCluster, most: ROUTE_CLUSTERS_MAX },
        Preset::Else("`cluster`"),
        "[[\"shop\"]]",
        "Instead of `cluster`, for example `[[\"shop\"], [\"spare\"]]`: lists of clusters, those that are preferred first. See `spread`. Those of other cells, such as `shop@east`, belong into a level of their own.",
    ),
    key(
        "spread",
        Kind::Choice(&["flat", "spill", "zone-first", "strict-backup"]),
        Preset::Else("`\"spill\"` with `levels`, otherwise `\"flat\"`"),
        "\"strict-backup\"",
        "`flat`: all clusters share by the weight of their members that can be used. `spill`: a level gives what it \
         cannot carry to the next; it can carry 1.4 times the share of its members that can be used, so with seven \
         of ten up it gives away 2 %. `zone-first`: members of the router's zone first, the others take what these \
         cannot carry, in the same way. `strict-backup`: a level is used only while nothing of those before it can be.",
    ),
];

pub const CLUSTER: &[Definition] = &[
    key(
        "policy",
        Kind::Choice(&["auto", "round-robin", "random", "least-outstanding", "hash"]),
        Preset::Text("auto"),
        "\"round-robin\"",
        "How a request without affinity finds its member. `auto`: the better of two drawn by weight, by the time to the \
         first byte of recent answers and the requests under way; failures count as slowness, and one request in a \
         hundred is given in turn, so that a member that has recovered is noticed. `round-robin`: in turn, exactly by \
         weight. `random`: with equal chances. `least-outstanding`: the fewest requests under way for its weight. \
         `hash`: the same member for the same `hash_by`, unless it has a quarter more to do than its share.",
    ),
    key(
        "hash_by",
        Kind::Choice(&["client-address", "path", "header", "cookie"]),
        Preset::Text("client-address"),
        "\"header\"",
        "What `policy = \"hash\"` looks at. Where the header or cookie is missing, the client's address.",
    ),
    key(
        "hash_name",
        Kind::Text(Form::CookieName),
        Preset::Else("must be given for `header` and `cookie`"),
        "\"x-tenant\"",
        "Name of the header or cookie of `hash_by`.",
    ),
    integer(
        "drain_ms",
        0,
        DAY_MS,
        30_000,
        "60000",
        "Longest wait for conversations to end when a member is stopped or restarted; then it goes even so.",
    ),
];

pub const AFFINITY: &[Definition] = &[
    key(
        "kind",
        Kind::Choice(&["clone-id", "route-suffix", "own"]),
        Preset::Text("clone-id"),
        "\"own\"",
        "`clone-id`: session ids that end in clone ids, `0000abc:one`. `route-suffix`: session ids that end in a dot \
         and a clone id, `abc.one`. `own`: a signed cookie that the router sets itself, for applications that know \
         nothing of clone ids.",
    ),
    key(
        "cookie",
        Kind::Text(Form::CookieName),
        Preset::Else("`\"MUSTERID\"` for `own`, otherwise `\"JSESSIONID\"`"),
        "\"SESSION\"",
        "The cookie that names the session. With several of that name each is tried.",
    ),
    key(
        "url_identifier",
        Kind::Text(Form::PathParameter),
        Preset::Else("`\"jsessionid\"`, and none for `own`"),
        "\"\"",
        "Path parameter with the same value, for clients without cookies: `/cart;jsessionid=0000abc:one`. Empty \
         means none.",
    ),
    key(
        "separator",
        Kind::Choice(&[":", "+"]),
        Preset::Text(":"),
        "\"+\"",
        "What stands between the session id and the clone ids, for `clone-id`.",
    ),
    key(
        "lowers_weight",
        Kind::Boolean,
        Preset::Boolean(false),
        "true",
        "Whether a request that affinity brings to a member counts in its share of round robin.",
    ),
    key(
        "strict",
        Kind::Boolean,
        Preset::Boolean(false),
        "true",
        "A conversation whose member cannot have it is answered with 503 instead of going to another. Ids that no \
         member has are passed over in any case.",
    ),
];

pub const HEALTH: &[Definition] = &[
    integer(
        "slow_start_ms",
        0,
        HOUR_MS,
        0,
        "30000",
        "Time over which a member that comes back gets its full share, from a tenth on; 0 means at once.",
    ),
    integer(
        "eject_after",
        0,
        1000,
        5,
        "10",
        "Failures in a row (connecting, no answer, a broken answer) after which a router leaves a member out for a \
         while; 0 means never. Its sessions go to others meanwhile.",
    ),
    key(
        "eject_on_5xx",
        Kind::Boolean,
        Preset::Boolean(false),
        "true",
        "Whether an answer with a status from 500 on is such a failure. Beware: a page that is broken everywhere then \
         puts members out.",
    ),
    integer(
        "eject_ms",
        1,
        HOUR_MS,
        10_000,
        "30000",
        "How long it is left out the first time; the second time twice as long, up to ten times.",
    ),
    integer(
        "eject_percent_max",
        0,
        100,
        33,
        "50",
        "Most members that are left out for failures at once, of a hundred that are up; one of two always may be.",
    ),
    integer(
        "panic_percent",
        0,
        100,
        0,
        "50",
        "When fewer members than this, of a hundred, can be used, routers also use those that they left out and those \
         that fail nothing but their probe: a common cause, such as a machine that stands still, is then likelier than as \
         many faults. 0 means never: when all members fail their probes, routers answer 503.",
    ),
    integer(
        "retry_interval_ms",
        0,
        HOUR_MS,
        0,
        "60000",
        "Pause after a failure to reach a member, before the next request tries it; 0 means one second at first, \
         doubling up to ten.",
    ),
    integer(
        "queue_max",
        0,
        100_000,
        0,
        "100",
        "Requests that may wait, per thread of a router, while all members have `requests_max` requests under way; \
         others are answered with 503 at once.",
    ),
    integer(
        "queue_ms",
        1,
        HOUR_MS,
        QUEUE_MS,
        "1000",
        "How long they wait at most before they are answered with 503.",
    ),
];
