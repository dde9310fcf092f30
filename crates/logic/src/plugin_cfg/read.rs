//! Turns the tree of a plugin-cfg.xml into the typed model.
//!
//! Names of elements and attributes are found in any case; choices also whatever their blanks and hyphens. A value that
//! does not fit its kind becomes a problem, and the default stands in for it. Promise: any bytes give a document or an error.

use super::definition::{self, AttributeDefinition, Kind};
use super::model::{
    Config, Connector, ConnectorCluster, Document, Filter, IntelligentManagement, LoadBalance, Log,
    PortPreference, Problem, Property, RequestMetrics, Route, Server, ServerCluster, ServerName, Transport,
    TransportProtocol, TrustedProxy, Uri, UriGroup, VirtualHost, VirtualHostGroup,
};
use super::parse::{ReadError, parse};
use super::xml::{Element, Place, XmlFile};

/// Reads a file. The error is for what is not XML or not a plugin-cfg.xml at all; values that cannot be understood are
/// in the document's `problems`.
pub fn read(bytes: &[u8]) -> Result<Document, ReadError> {
    from_file(parse(bytes)?)
}

/// The document of a tree, such as one that was made and not read.
pub fn from_file(file: XmlFile) -> Result<Document, ReadError> {
    if !file.root.is("Config") {
        let name: String = file.root.name.chars().take(60).collect();
        let what = format!("the outermost element is <{name}>; a plugin-cfg.xml has <Config>");
        return Err(ReadError::at(file.root.place, what));
    }
    let mut reader = Reader::default();
    let config = reader.config(&file.root);
    Ok(Document { config, problems: reader.problems, file })
}

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
}

/// An element and what is known of it.
#[derive(Clone, Copy)]
struct Known<'a> {
    element: &'a Element,
    definition: &'static definition::ElementDefinition,
}

impl<'a> Known<'a> {
    fn new(element: &'a Element, parent: Option<&str>) -> Self {
        let definition = definition::element(&element.name, parent)
            .expect("only elements of the table are read, by their names");
        Self { element, definition }
    }

    fn attribute(&self, name: &str) -> (&'static AttributeDefinition, Option<(&'a str, Place)>) {
        let definition = self.definition.attribute(name).expect("only attributes of the table are read");
        let found = self.element.attribute(name);
        (definition, found.map(|attribute| (attribute.value.as_str(), attribute.place)))
    }
}

impl Reader {
    fn problem(&mut self, place: Place, what: String) {
        self.problems.push(Problem { place, what });
    }

    /// Text with its default; a name that is missing is a problem.
    fn text(&mut self, known: Known, name: &str) -> String {
        self.optional_text(known, name).unwrap_or_default()
    }

    fn optional_text(&mut self, known: Known, name: &str) -> Option<String> {
        let (definition, found) = known.attribute(name);
        let place = found.map_or(known.element.place, |(_, place)| place);
        let value = found.map(|(value, _)| value).or(definition.default).map(str::trim);
        if definition.kind == Kind::Name && value.is_none_or(str::is_empty) {
            let how = if value.is_none() { "has no" } else { "has an empty" };
            self.problem(place, format!("<{}> {how} {}", known.element.name, definition.name));
        }
        value.map(str::to_owned)
    }

    fn flag(&mut self, known: Known, name: &str) -> bool {
        let (definition, found) = known.attribute(name);
        let default = definition.default == Some("true");
        let Some((value, place)) = found else { return default };
        match value.trim() {
            yes if yes.eq_ignore_ascii_case("true") => true,
            no if no.eq_ignore_ascii_case("false") => false,
            _ => {
                self.wrong(place, definition, value, "true or false");
                default
            }
        }
    }

    fn number(&mut self, known: Known, name: &str) -> Option<i64> {
        let (definition, found) = known.attribute(name);
        let Kind::Number { min, max } = definition.kind else {
            unreachable!("only numbers are read as such")
        };
        let default =
            || definition.default.map(|text| text.parse().expect("defaults of numbers are numbers"));
        let Some((value, place)) = found else {
            if definition.default.is_none() && name.eq_ignore_ascii_case("port") {
                self.problem(known.element.place, format!("<{}> has no {name}", known.element.name));
            }
            return default();
        };
        match value.trim().parse::<i64>() {
            Ok(number) if (min..=max).contains(&number) => Some(number),
            Ok(_) | Err(_) => {
                let allowed = match max {
                    i64::MAX => format!("a whole number from {min}"),
                    _ => format!("a whole number from {min} to {max}"),
                };
                self.wrong(place, definition, value, &allowed);
                default()
            }
        }
    }

    /// A number that is never negative.
    fn count(&mut self, known: Known, name: &str) -> u64 {
        self.number(known, name).map_or(0, |number| number.max(0) as u64)
    }

    /// A number whose negative values mean none.
    fn bound(&mut self, known: Known, name: &str) -> Option<u64> {
        self.number(known, name).and_then(|number| u64::try_from(number).ok())
    }

    fn small_bound(&mut self, known: Known, name: &str) -> Option<u32> {
        self.bound(known, name).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
    }

    fn port(&mut self, known: Known, name: &str) -> u16 {
        self.number(known, name).and_then(|number| u16::try_from(number).ok()).unwrap_or(0)
    }

    /// The place among the choices.
    fn choice(&mut self, known: Known, name: &str) -> (usize, &'static str) {
        let (definition, found) = known.attribute(name);
        let Kind::Choice(choices) = definition.kind else { unreachable!("only choices are read as such") };
        let find = |value: &str| choices.iter().position(|choice| plain(choice) == plain(value));
        let default = definition.default.and_then(find).unwrap_or(0);
        let chosen = match found {
            None => default,
            Some((value, place)) => find(value).unwrap_or_else(|| {
                self.wrong(place, definition, value, &choices.join(", "));
                default
            }),
        };
        (chosen, choices[chosen])
    }

    fn wrong(&mut self, place: Place, definition: &AttributeDefinition, value: &str, allowed: &str) {
        let shown: String = value.chars().take(60).collect();
        self.problem(place, format!("{} is `{shown}`; allowed: {allowed}", definition.name));
    }

    fn config(&mut self, root: &Element) -> Config {
        let known = Known::new(root, None);
        let mut config = Config {
            place: root.place,
            refresh_interval_s: self.bound(known, "RefreshInterval"),
            ignore_dns_failures: self.flag(known, "IgnoreDNSFailures"),
            response_chunk_size_kb: self.count(known, "ResponseChunkSize"),
            accept_all_content: self.flag(known, "AcceptAllContent"),
            as_disable_nagle: self.flag(known, "ASDisableNagle"),
            iis_disable_nagle: self.flag(known, "IISDisableNagle"),
            iis_plugin_priority: self.text(known, "IISPluginPriority"),
            app_server_port_preference: match self.choice(known, "AppServerPortPreference").0 {
                1 => PortPreference::WebserverPort,
                _ => PortPreference::HostHeader,
            },
            chunked_response: self.flag(known, "ChunkedResponse"),
            vhost_matching_compat: self.flag(known, "VHostMatchingCompat"),
            trusted_proxy_enable: self.flag(known, "TrustedProxyEnable"),
            fips_enable: self.flag(known, "FIPSEnable"),
            ssl_consolidate: self.flag(known, "SSLConsolidate"),
            use_insecure: self.flag(known, "UseInsecure"),
            strict_security: self.flag(known, "StrictSecurity"),
            kill_web_server_start_up_on_parse_err: self.flag(known, "KillWebServerStartUpOnParseErr"),
            http_headers_max: self.count(known, "HTTPMaxHeaders"),
            ..Config::default()
        };
        // Read for its problems only: nothing acts on it, anywhere but on IBM i.
        self.flag(known, "OS400ConvertQueryStringToJobCCSID");
        config.properties = self.properties(root);
        for element in root.elements() {
            self.child_of_config(&mut config, element);
        }
        config
    }

    fn child_of_config(&mut self, config: &mut Config, element: &Element) {
        let Some(definition) = definition::element(&element.name, Some("Config")) else { return };
        let known = Known { element, definition };
        match definition.name {
            "Log" => {
                config.log = Some(Log {
                    place: element.place,
                    name: self.text(known, "Name"),
                    level: self.choice(known, "LogLevel").1,
                });
            }
            "TrustedProxyGroup" => {
                for proxy in element.all("TrustedProxy") {
                    let name = self.text(Known::new(proxy, Some(definition.name)), "Name");
                    let address = without_brackets(&name).to_owned();
                    config.trusted_proxies.push(TrustedProxy { place: proxy.place, address });
                }
            }
            "VirtualHostGroup" => config.virtual_host_groups.push(VirtualHostGroup {
                place: element.place,
                name: self.text(known, "Name"),
                hosts: element
                    .all("VirtualHost")
                    .map(|host| VirtualHost {
                        place: host.place,
                        name: self.text(Known::new(host, Some(definition.name)), "Name"),
                    })
                    .collect(),
            }),
            "UriGroup" => {
                let group = self.uri_group(known);
                config.uri_groups.push(group);
            }
            "ServerCluster" => {
                let cluster = self.cluster(known);
                config.clusters.push(cluster);
            }
            "Route" => config.routes.push(Route {
                place: element.place,
                server_cluster: self.text(known, "ServerCluster"),
                uri_group: self.optional_text(known, "UriGroup"),
                virtual_host_group: self.optional_text(known, "VirtualHostGroup"),
            }),
            "RequestMetrics" => config.request_metrics = Some(self.request_metrics(known)),
            "IntelligentManagement" => {
                config.intelligent_management = Some(self.intelligent_management(known));
            }
            "Property" => {}
            other => unreachable!("the table has <{other}> under <Config>, but the reader does not"),
        }
    }

    fn properties(&mut self, parent: &Element) -> Vec<Property> {
        let mut properties = Vec::new();
        for element in parent.all("Property") {
            let known = Known::new(element, Some(&parent.name));
            let (name, value) = (self.text(known, "Name"), self.text(known, "Value"));
            properties.push(Property { place: element.place, name, value });
        }
        properties
    }

    fn uri_group(&mut self, known: Known) -> UriGroup {
        let mut group =
            UriGroup { place: known.element.place, name: self.text(known, "Name"), uris: Vec::new() };
        for element in known.element.all("Uri") {
            let known = Known::new(element, Some("UriGroup"));
            group.uris.push(Uri {
                place: element.place,
                name: self.text(known, "Name"),
                affinity_cookie: self.text(known, "AffinityCookie"),
                affinity_url_identifier: self.text(known, "AffinityURLIdentifier"),
            });
        }
        group
    }

    fn cluster(&mut self, known: Known) -> ServerCluster {
        let mut cluster = ServerCluster {
            place: known.element.place,
            name: self.text(known, "Name"),
            load_balance: match self.choice(known, "LoadBalance").0 {
                1 => LoadBalance::Random,
                _ => LoadBalance::RoundRobin,
            },
            retry_interval_s: self.count(known, "RetryInterval"),
            ignore_affinity_requests: self.flag(known, "IgnoreAffinityRequests"),
            get_dwlm_table: self.flag(known, "GetDWLMTable"),
            remove_special_headers: self.flag(known, "RemoveSpecialHeaders"),
            clone_separator_change: self.flag(known, "CloneSeparatorChange"),
            post_size_max_bytes: self.bound(known, "PostSizeLimit"),
            post_buffer_max_bytes: self.bound(known, "PostBufferSize").map(|size_kb| size_kb * 1024),
            server_io_timeout_retries: self.small_bound(known, "ServerIOTimeoutRetry"),
            ..ServerCluster::default()
        };
        for element in known.element.elements() {
            if element.is("Server") {
                cluster.servers.push(self.server(Known::new(element, Some("ServerCluster"))));
            } else if element.is("PrimaryServers") {
                let names = self.server_names(element);
                cluster.primary_servers.get_or_insert_default().extend(names);
            } else if element.is("BackupServers") {
                let names = self.server_names(element);
                cluster.backup_servers.extend(names);
            } else if element.is("ClusterAddress") {
                let address = self.server(Known::new(element, Some("ServerCluster")));
                cluster.cluster_address = Some(address);
            }
        }
        cluster
    }

    fn server_names(&mut self, list: &Element) -> Vec<ServerName> {
        list.all("Server")
            .map(|element| ServerName {
                place: element.place,
                name: self.text(Known::new(element, Some(&list.name)), "Name"),
            })
            .collect()
    }

    fn server(&mut self, known: Known) -> Server {
        let clone_id = self.optional_text(known, "CloneID");
        Server {
            place: known.element.place,
            name: self.text(known, "Name"),
            clone_id: clone_id.filter(|clone_id| !clone_id.is_empty()),
            load_balance_weight: self.small_bound(known, "LoadBalanceWeight"),
            connect_timeout_s: self.count(known, "ConnectTimeout"),
            server_io_timeout_s: self.number(known, "ServerIOTimeout"),
            ws_server_io_timeout_s: self.number(known, "wsServerIOTimeout"),
            ws_server_idle_timeout_s: self.number(known, "wsServerIdleTimeout"),
            connections_max: self.small_bound(known, "MaxConnections").filter(|most| *most > 0),
            extended_handshake: self.flag(known, "ExtendedHandshake"),
            wait_for_continue: self.flag(known, "WaitForContinue"),
            transports: known
                .element
                .all("Transport")
                .map(|element| self.transport(Known::new(element, Some(&known.element.name))))
                .collect(),
        }
    }

    fn transport(&mut self, known: Known) -> Transport {
        Transport {
            place: known.element.place,
            hostname: without_brackets(&self.text(known, "Hostname")).to_owned(),
            port: self.port(known, "Port"),
            protocol: self.protocol(known, "Protocol"),
            properties: self.properties(known.element),
        }
    }

    fn protocol(&mut self, known: Known, name: &str) -> TransportProtocol {
        match self.choice(known, name).0 {
            1 => TransportProtocol::Https,
            _ => TransportProtocol::Http,
        }
    }

    fn request_metrics(&mut self, known: Known) -> RequestMetrics {
        let mut metrics = RequestMetrics {
            place: known.element.place,
            arm_enabled: self.flag(known, "armEnabled"),
            new_behavior: self.flag(known, "newBehavior"),
            rm_enabled: self.flag(known, "rmEnabled"),
            trace_level: self.text(known, "traceLevel"),
            filters: Vec::new(),
        };
        for element in known.element.all("filters") {
            let filter = Known::new(element, Some("RequestMetrics"));
            let mut values = Vec::new();
            for value in element.all("filterValues") {
                let known = Known::new(value, Some("filters"));
                values.push((self.text(known, "value"), self.flag(known, "enable")));
            }
            let (enable, kind) = (self.flag(filter, "enable"), self.text(filter, "type"));
            metrics.filters.push(Filter { place: element.place, enable, kind, values });
        }
        metrics
    }

    fn intelligent_management(&mut self, known: Known) -> IntelligentManagement {
        let mut management = IntelligentManagement {
            place: known.element.place,
            properties: self.properties(known.element),
            connector_clusters: Vec::new(),
        };
        for element in known.element.all("ConnectorCluster") {
            let known = Known::new(element, Some("IntelligentManagement"));
            let mut cluster = ConnectorCluster {
                place: element.place,
                name: self.text(known, "name"),
                enabled: self.flag(known, "enabled"),
                retries_max: self.small_bound(known, "maxRetries"),
                retry_interval_s: self.count(known, "retryInterval"),
                properties: self.properties(element),
                connectors: Vec::new(),
            };
            for element in element.all("Connector") {
                let known = Known::new(element, Some("ConnectorCluster"));
                cluster.connectors.push(Connector {
                    place: element.place,
                    host: self.text(known, "host"),
                    port: self.port(known, "port"),
                    protocol: self.protocol(known, "protocol"),
                    properties: self.properties(element),
                });
            }
            management.connector_clusters.push(cluster);
        }
        management
    }
}

/// `Round Robin`, `RoundRobin` and `Round-Robin` are one.
pub(super) fn plain(choice: &str) -> String {
    let counts = |letter: &char| !letter.is_whitespace() && !matches!(letter, '-' | '_');
    choice.chars().filter(counts).map(|letter| letter.to_ascii_lowercase()).collect()
}

fn without_brackets(address: &str) -> &str {
    address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address)
}
