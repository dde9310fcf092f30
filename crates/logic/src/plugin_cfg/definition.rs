//! Every element and attribute of plugin-cfg.xml that is known: its kind, its default, its meaning.
//!
//! One table: the reader judges values by it, `check` finds misspellings by it, a test holds the reference page to it.
//! Defaults are those of a file that leaves the attribute out; None where leaving it out means something of its own.

/// What values an attribute takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// Text that must not be missing or empty.
    Name,
    /// `true` or `false`, in any case.
    Boolean,
    /// A whole number from `min` to `max`.
    Number {
        min: i64,
        max: i64,
    },
    /// One of these, whatever their case, blanks and hyphens; the vendor's spelling first.
    Choice(&'static [&'static str]),
}

#[derive(Debug, PartialEq, Eq)]
pub struct AttributeDefinition {
    pub name: &'static str,
    pub kind: Kind,
    pub default: Option<&'static str>,
    pub meaning: &'static str,
}

#[derive(Debug, PartialEq, Eq)]
pub struct ElementDefinition {
    pub name: &'static str,
    /// Elements in which it may stand; empty for the root.
    pub parents: &'static [&'static str],
    pub attributes: &'static [AttributeDefinition],
}

impl ElementDefinition {
    /// The attribute of that name, in any case.
    pub fn attribute(&self, name: &str) -> Option<&'static AttributeDefinition> {
        self.attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))
    }
}

/// The element of that name, in any case, within `parent`; None where it is not known there.
pub fn element(name: &str, parent: Option<&str>) -> Option<&'static ElementDefinition> {
    ELEMENTS.iter().find(|element| {
        let fits = match parent {
            None => element.parents.is_empty(),
            Some(parent) => element.parents.iter().any(|known| known.eq_ignore_ascii_case(parent)),
        };
        fits && element.name.eq_ignore_ascii_case(name)
    })
}

const fn attribute(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    meaning: &'static str,
) -> AttributeDefinition {
    AttributeDefinition { name, kind, default, meaning }
}

const fn flag(name: &'static str, default: &'static str, meaning: &'static str) -> AttributeDefinition {
    attribute(name, Kind::Boolean, Some(default), meaning)
}

const fn number(
    name: &'static str,
    (min, max): (i64, i64),
    default: Option<&'static str>,
    meaning: &'static str,
) -> AttributeDefinition {
    attribute(name, Kind::Number { min, max }, default, meaning)
}

const NAME: AttributeDefinition =
    attribute("Name", Kind::Name, None, "by which others refer to it, and logs name it");

/// Whole seconds, counts and kilobytes fit 32 bits, as in the vendor's own reader.
const COUNT: (i64, i64) = (0, i32::MAX as i64);
const COUNT_OR_NONE: (i64, i64) = (-1, i32::MAX as i64);
const SIGNED: (i64, i64) = (-(i32::MAX as i64), i32::MAX as i64);

pub const ELEMENTS: &[ElementDefinition] = &[
    ElementDefinition { name: "Config", parents: &[], attributes: CONFIG },
    ElementDefinition {
        name: "Log",
        parents: &["Config"],
        attributes: &[
            attribute("Name", Kind::Text, None, "the log file"),
            attribute(
                "LogLevel",
                Kind::Choice(&["Error", "Warn", "Stats", "Detail", "Debug", "Trace"]),
                Some("Error"),
                "how much is logged",
            ),
        ],
    },
    ElementDefinition {
        name: "Property",
        parents: &["Config", "Transport", "IntelligentManagement", "ConnectorCluster", "Connector"],
        attributes: &[NAME, attribute("Value", Kind::Text, None, "what the named property is")],
    },
    ElementDefinition { name: "TrustedProxyGroup", parents: &["Config"], attributes: &[] },
    ElementDefinition {
        name: "TrustedProxy",
        parents: &["TrustedProxyGroup"],
        attributes: &[attribute(
            "Name",
            Kind::Name,
            None,
            "IPv4 or [IPv6] address whose private headers are believed",
        )],
    },
    ElementDefinition { name: "VirtualHostGroup", parents: &["Config"], attributes: &[NAME] },
    ElementDefinition {
        name: "VirtualHost",
        parents: &["VirtualHostGroup"],
        attributes: &[attribute("Name", Kind::Name, None, "host:port; either may be *; IPv6 in brackets")],
    },
    ElementDefinition { name: "UriGroup", parents: &["Config"], attributes: &[NAME] },
    ElementDefinition {
        name: "Uri",
        parents: &["UriGroup"],
        attributes: &[
            attribute(
                "Name",
                Kind::Name,
                None,
                "pattern: exact (/hello), prefix (/app/*), extension (*.jsp) or all (/*)",
            ),
            attribute("AffinityCookie", Kind::Text, Some("JSESSIONID"), "cookie that ends in clone ids"),
            attribute(
                "AffinityURLIdentifier",
                Kind::Text,
                Some("jsessionid"),
                "path parameter that ends in clone ids",
            ),
        ],
    },
    ElementDefinition { name: "ServerCluster", parents: &["Config"], attributes: SERVER_CLUSTER },
    ElementDefinition {
        name: "Server",
        parents: &["ServerCluster", "PrimaryServers", "BackupServers"],
        attributes: SERVER,
    },
    ElementDefinition { name: "PrimaryServers", parents: &["ServerCluster"], attributes: &[] },
    ElementDefinition { name: "BackupServers", parents: &["ServerCluster"], attributes: &[] },
    ElementDefinition { name: "ClusterAddress", parents: &["ServerCluster"], attributes: SERVER },
    ElementDefinition {
        name: "Transport",
        parents: &["Server", "ClusterAddress"],
        attributes: &[
            attribute("Hostname", Kind::Name, None, "host name or address of the server"),
            number("Port", (1, 65_535), None, "port of the server"),
            attribute(
                "Protocol",
                Kind::Choice(&["http", "https"]),
                Some("http"),
                "whether the server is spoken to in TLS",
            ),
        ],
    },
    ElementDefinition {
        name: "Route",
        parents: &["Config"],
        attributes: &[
            attribute("ServerCluster", Kind::Name, None, "the cluster that gets the requests"),
            attribute("UriGroup", Kind::Text, None, "the URIs that are meant; left out: all"),
            attribute(
                "VirtualHostGroup",
                Kind::Text,
                None,
                "the virtual hosts that are meant; left out: all",
            ),
        ],
    },
    ElementDefinition {
        name: "RequestMetrics",
        parents: &["Config"],
        attributes: &[
            flag("armEnabled", "false", "measure by Application Response Measurement"),
            flag("newBehavior", "false", "the newer way of request metrics"),
            flag("rmEnabled", "false", "measure requests"),
            attribute("traceLevel", Kind::Text, Some("HOPS"), "how much is measured"),
        ],
    },
    ElementDefinition {
        name: "filters",
        parents: &["RequestMetrics"],
        attributes: &[
            flag("enable", "false", "whether the filter counts"),
            attribute("type", Kind::Text, None, "URI or SOURCE_IP"),
        ],
    },
    ElementDefinition {
        name: "filterValues",
        parents: &["filters"],
        attributes: &[
            flag("enable", "false", "whether the value counts"),
            attribute("value", Kind::Text, None, "what is measured"),
        ],
    },
    ElementDefinition { name: "IntelligentManagement", parents: &["Config"], attributes: &[] },
    ElementDefinition {
        name: "ConnectorCluster",
        parents: &["IntelligentManagement"],
        attributes: &[
            attribute("name", Kind::Name, None, "name of the controllers that send routes"),
            flag("enabled", "true", "whether routes are taken from them"),
            number("maxRetries", COUNT_OR_NONE, Some("-1"), "tries to reach them; -1: without end"),
            number("retryInterval", COUNT, Some("60"), "seconds between the tries"),
        ],
    },
    ElementDefinition {
        name: "Connector",
        parents: &["ConnectorCluster"],
        attributes: &[
            attribute("host", Kind::Name, None, "host of a controller"),
            number("port", (1, 65_535), None, "its port"),
            attribute("protocol", Kind::Choice(&["http", "https"]), Some("http"), "how it is spoken to"),
        ],
    },
];

const CONFIG: &[AttributeDefinition] = &[
    number(
        "RefreshInterval",
        COUNT_OR_NONE,
        Some("60"),
        "seconds between looks at the file for changes; -1: never",
    ),
    flag("IgnoreDNSFailures", "false", "go on without servers whose names do not resolve"),
    number("ResponseChunkSize", (1, i32::MAX as i64), Some("64"), "KB of an answer's body read at once"),
    flag("AcceptAllContent", "false", "expect bodies with every method, not only POST and PUT"),
    flag("ASDisableNagle", "false", "send small packets to servers at once"),
    flag("IISDisableNagle", "false", "the same on the side of IIS"),
    attribute("IISPluginPriority", Kind::Text, Some("High"), "order among filters of IIS"),
    attribute(
        "AppServerPortPreference",
        Kind::Choice(&["HostHeader", "WebserverPort"]),
        Some("HostHeader"),
        "which port the server uses in redirects",
    ),
    flag("ChunkedResponse", "false", "send an answer in chunks when it came in chunks"),
    flag(
        "VHostMatchingCompat",
        "false",
        "match virtual hosts by the port of the connection, not of the Host header",
    ),
    flag("TrustedProxyEnable", "false", "believe private headers of the addresses in TrustedProxyGroup"),
    flag("FIPSEnable", "false", "only TLS that FIPS approves, towards servers"),
    flag("SSLConsolidate", "false", "share one TLS environment among transports"),
    flag("UseInsecure", "false", "fall back to http where https cannot be set up"),
    flag("StrictSecurity", "false", "only TLS of the stricter standards"),
    flag("KillWebServerStartUpOnParseErr", "false", "do not start the web server when the file is broken"),
    flag("OS400ConvertQueryStringToJobCCSID", "false", "convert query strings on IBM i"),
    attribute("SSLPKCSDriver", Kind::Text, None, "library of a TLS accelerator"),
    attribute("SSLPKCSPassword", Kind::Text, None, "its password"),
    number("HTTPMaxHeaders", (1, i32::MAX as i64), Some("300"), "most headers of a request or answer"),
    attribute("ConfigHash", Kind::Text, None, "the generator's mark of the content"),
];

const SERVER_CLUSTER: &[AttributeDefinition] = &[
    NAME,
    attribute(
        "LoadBalance",
        Kind::Choice(&["Round Robin", "Random"]),
        Some("Round Robin"),
        "how a request without session finds its server",
    ),
    number("RetryInterval", COUNT, Some("60"), "seconds until a server that was marked down is tried again"),
    flag("IgnoreAffinityRequests", "true", "requests of sessions do not lower the weight of their server"),
    flag("GetDWLMTable", "false", "fetch the partition table after a start"),
    flag("RemoveSpecialHeaders", "true", "take private headers of clients away"),
    flag("CloneSeparatorChange", "false", "clone ids are separated by + and not by :"),
    number(
        "PostSizeLimit",
        (-1, i64::MAX),
        Some("-1"),
        "most bytes of a request's body; more is refused; -1: any",
    ),
    number(
        "PostBufferSize",
        COUNT_OR_NONE,
        Some("0"),
        "KB of a body that are kept to send it again; 0: none; -1: any",
    ),
    number(
        "ServerIOTimeoutRetry",
        COUNT_OR_NONE,
        Some("-1"),
        "retries after ServerIOTimeout; -1: as many as there are servers",
    ),
];

const SERVER: &[AttributeDefinition] = &[
    NAME,
    attribute("CloneID", Kind::Text, None, "what sessions of this server carry; left out: no affinity"),
    number("LoadBalanceWeight", COUNT, None, "share of new requests; 0: sessions only"),
    number("ConnectTimeout", COUNT, Some("0"), "seconds to connect; 0: as long as the system takes"),
    number(
        "ServerIOTimeout",
        SIGNED,
        None,
        "seconds for each read or write; below 0 the server is also marked down; 0: any",
    ),
    number("wsServerIOTimeout", SIGNED, None, "the same for WebSocket"),
    number("wsServerIdleTimeout", SIGNED, None, "seconds that a WebSocket may be silent"),
    number("MaxConnections", COUNT_OR_NONE, Some("-1"), "most requests at once; -1 and 0: any"),
    flag("ExtendedHandshake", "false", "make sure of the server behind a firewall before the request"),
    flag("WaitForContinue", "false", "wait for 100 (Continue) before a body is sent"),
];
