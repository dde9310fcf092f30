//! What is read of a file, what is written back, and how a bad one is refused.

use crate::plugin_cfg::definition::{ELEMENTS, Kind};
use crate::plugin_cfg::*;
use proptest::prelude::*;

/// Every element and attribute, each away from its default.
pub const SHOP: &str = include_str!("shop.xml");

fn wrap(inside: &str) -> String {
    format!("<Config>\n{inside}\n</Config>")
}

#[track_caller]
fn refused(bytes: &[u8]) -> String {
    read(bytes).expect_err("not a plugin-cfg.xml").to_string()
}

#[track_caller]
fn problems(text: &str) -> Vec<String> {
    read(text.as_bytes()).expect("XML").problems.iter().map(ToString::to_string).collect()
}

#[test]
fn every_attribute_is_read() {
    let document = read(SHOP.as_bytes()).expect("right");
    assert_eq!(document.problems, []);
    let config = &document.config;
    assert_eq!(config.refresh_interval_s, None);
    assert_eq!((config.response_chunk_size_kb, config.http_headers_max), (32, 100));
    assert_eq!(config.app_server_port_preference, PortPreference::WebserverPort);
    assert_eq!(config.iis_plugin_priority, "Low");
    let flags = [
        config.ignore_dns_failures,
        config.accept_all_content,
        config.as_disable_nagle,
        config.iis_disable_nagle,
        config.chunked_response,
        config.vhost_matching_compat,
        config.trusted_proxy_enable,
        config.fips_enable,
        config.ssl_consolidate,
        config.use_insecure,
        config.strict_security,
        config.kill_web_server_start_up_on_parse_err,
    ];
    assert_eq!(flags, [true; 12]);
    let log = config.log.as_ref().expect("given");
    assert_eq!((log.name.as_str(), log.level), ("/var/log/plugin.log", "Stats"));
    assert_eq!(config.property("esienable"), Some("false"));
    let trusted: Vec<&str> = config.trusted_proxies.iter().map(|proxy| proxy.address.as_str()).collect();
    assert_eq!(trusted, ["10.1.2.3", "2001:db8::7"]);
    assert_eq!(config.virtual_host_groups[0].hosts[1].name, "*:9080");
    let uris = &config.uri_groups[0].uris;
    assert_eq!(
        (uris[0].affinity_cookie.as_str(), uris[0].affinity_url_identifier.as_str()),
        ("SHOPID", "shopid")
    );
    assert_eq!(
        (uris[1].affinity_cookie.as_str(), uris[1].affinity_url_identifier.as_str()),
        ("JSESSIONID", "jsessionid")
    );
    assert_eq!(config.routes[0].uri_group.as_deref(), Some("shop_uris"));
    let metrics = config.request_metrics.as_ref().expect("given");
    assert_eq!(metrics.filters[0].values, [("/shop/snoop".to_owned(), true)]);
    let management = config.intelligent_management.as_ref().expect("given");
    let controllers = &management.connector_clusters[0];
    assert_eq!(
        (controllers.enabled, controllers.retries_max, controllers.retry_interval_s),
        (false, Some(4), 9)
    );
    assert_eq!(
        (controllers.connectors[0].port, controllers.connectors[0].protocol),
        (9444, TransportProtocol::Https)
    );
}

#[test]
fn every_attribute_of_a_cluster_is_read() {
    let document = read(SHOP.as_bytes()).expect("right");
    let cluster = document.config.cluster("shop").expect("defined");
    assert_eq!(cluster.load_balance, LoadBalance::Random);
    assert_eq!((cluster.retry_interval_s, cluster.server_io_timeout_retries), (7, Some(2)));
    assert_eq!((cluster.post_size_max_bytes, cluster.post_buffer_max_bytes), (Some(1000), None));
    assert!(!cluster.ignore_affinity_requests && cluster.get_dwlm_table && !cluster.remove_special_headers);
    assert_eq!(cluster.clone_separator(), '+');
    let names = |servers: Vec<&Server>| servers.iter().map(|server| server.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(cluster.primaries()), ["two", "one"]);
    assert_eq!(names(cluster.backups()), ["three"]);
    assert_eq!(
        cluster.cluster_address.as_ref().expect("given").transports[0].to_string(),
        "http://balancer.example:80"
    );
    let one = cluster.server("one").expect("defined");
    assert_eq!(one.clone_id.as_deref(), Some("c1"));
    assert_eq!((one.weight(), one.connect_timeout_s, one.connections_max), (1000, 3, Some(5)));
    assert_eq!(
        (one.server_io_timeout_s, one.ws_server_io_timeout_s, one.ws_server_idle_timeout_s),
        (Some(-30), Some(11), Some(-12))
    );
    assert!(one.extended_handshake && one.wait_for_continue);
    let tls = one.transport(TransportProtocol::Https).expect("given");
    assert_eq!(tls.to_string(), "https://[2001:db8::1]:9443");
    assert_eq!(
        (tls.property("Keyring"), tls.property("certLabel")),
        (Some("/keys/plugin.kdb"), Some("shop"))
    );
    let three = cluster.server("three").expect("defined");
    assert_eq!(
        (three.load_balance_weight, three.weight(), three.server_io_timeout_s),
        (None, DEFAULT_WEIGHT, None)
    );
}

#[test]
fn what_is_left_out_has_the_vendors_default() {
    let config = read(b"<Config/>").expect("right").config;
    assert_eq!(
        (config.refresh_interval_s, config.response_chunk_size_kb, config.http_headers_max),
        (Some(60), 64, 300)
    );
    let text = wrap("<ServerCluster Name='c'><Server Name='s'/></ServerCluster>");
    let config = read(text.as_bytes()).expect("right").config;
    let cluster = &config.clusters[0];
    assert_eq!((cluster.retry_interval_s, cluster.clone_separator()), (60, ':'));
    assert!(cluster.ignore_affinity_requests && cluster.remove_special_headers);
    assert_eq!((cluster.post_size_max_bytes, cluster.post_buffer_max_bytes), (None, Some(0)));
    assert_eq!(cluster.server_io_timeout_retries, None);
    assert_eq!((cluster.servers[0].connect_timeout_s, cluster.servers[0].connections_max), (0, None));
    assert_eq!(cluster.primaries().len(), 1);
}

#[test]
fn defaults_of_the_table_are_of_their_kind() {
    for element in ELEMENTS {
        for attribute in element.attributes {
            let Some(default) = attribute.default else { continue };
            let fits = match attribute.kind {
                Kind::Text => true,
                Kind::Name => false,
                Kind::Boolean => matches!(default, "true" | "false"),
                Kind::Number { min, max } => {
                    default.parse().is_ok_and(|number| (min..=max).contains(&number))
                }
                Kind::Choice(choices) => choices.contains(&default),
            };
            assert!(fits, "{}@{} = {default}", element.name, attribute.name);
        }
    }
}

/// Each attribute is acted on or kept; the reference says which, and names a test that is there.
#[test]
fn the_reference_has_a_row_for_every_attribute() {
    let page = include_str!("../../../../../docs/reference/plugin-cfg.md");
    let tests = [
        include_str!("../../../../muster/tests/plugin_cfg.rs"),
        include_str!("../../../../muster/tests/plugin_cfg/tls.rs"),
        include_str!("../../../../muster/src/cli/router.rs"),
        include_str!("../serve/variations.rs"),
    ];
    for element in ELEMENTS.iter().filter(|element| !element.attributes.is_empty()) {
        let title = format!("\n### {}\n", element.name);
        let (_, section) = page.split_once(&title).unwrap_or_else(|| panic!("no section {}", element.name));
        let section = section.split("\n#").next().unwrap_or_default();
        for attribute in element.attributes {
            let row = section.lines().find(|line| line.starts_with(&format!("| {} |", attribute.name)));
            let row = row.unwrap_or_else(|| panic!("no row for {}@{}", element.name, attribute.name));
            let what = row.split('|').nth(3).unwrap_or_default();
            assert!(what.contains("acted on") || what.contains("kept"), "{row}");
            let test = row.split('|').nth(4).unwrap_or_default().trim().trim_matches('`');
            assert_eq!(what.contains("acted on"), !test.is_empty(), "{row}");
            let is_there = tests.iter().any(|file| file.contains(&format!("\nfn {test}() {{")))
                || tests.iter().any(|file| file.contains(&format!("    fn {test}() {{")));
            assert!(test.is_empty() || is_there, "no test {test}");
        }
    }
}

#[test]
fn spellings_met_in_the_wild_mean_the_same() {
    for spelling in ["Round Robin", "RoundRobin", "Round-Robin", "round robin", " Round Robin "] {
        let text = wrap(&format!("<ServerCluster Name='c' LoadBalance='{spelling}'/>"));
        let document = read(text.as_bytes()).expect("right");
        assert_eq!(
            (document.problems.len(), document.config.clusters[0].load_balance),
            (0, LoadBalance::RoundRobin)
        );
    }
    let text = "<config refreshinterval='5' IGNOREDNSFAILURES='True'><uriGroup name='u'><URI name='/a'/></uriGroup></config>";
    let document = read(text.as_bytes()).expect("right");
    assert_eq!((document.config.refresh_interval_s, document.config.ignore_dns_failures), (Some(5), true));
    assert_eq!(document.config.uri_groups[0].uris[0].name, "/a");
    // What was written stays written.
    assert!(document.file.write().contains("<URI name=\"/a\"/>"));
}

#[test]
fn everything_is_written_back() {
    let document = read(SHOP.as_bytes()).expect("right");
    let written = document.file.write();
    assert_eq!(read(written.as_bytes()).expect("right"), document);
    for kept in [
        "OurOwn=\"kept &amp; &quot;quoted&quot;\"",
        "CloneId=\"c1\"",
        "<!-- Two servers and one that waits. -->",
        "<?keep me?>",
        "<Inner>text that counts</Inner>",
        "<!-- the end -->",
        "Protocol=\"HTTPS\"",
    ] {
        assert!(written.contains(kept), "{kept} is lost in:\n{written}");
    }
    assert_eq!(
        read(written.as_bytes()).expect("right").file.write(),
        written,
        "writing again changes nothing"
    );
}

#[test]
fn both_encodings_are_read_and_utf8_is_written() {
    let latin =
        b"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><Config><UriGroup Name=\"caf\xe9\"/></Config>";
    let document = read(latin).expect("right");
    assert_eq!(document.config.uri_groups[0].name, "caf\u{e9}");
    let written = document.file.write();
    assert!(written.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"));
    assert_eq!(read(written.as_bytes()).expect("right"), document);
    let marked = [&[0xef, 0xbb, 0xbf], SHOP.as_bytes()].concat();
    assert_eq!(read(&marked).expect("right").config, read(SHOP.as_bytes()).expect("right").config);
    assert_eq!(
        refused(b"<Config>\n<UriGroup Name=\"caf\xe9\"/></Config>"),
        "line 2, column 20: the byte 0xe9 is not UTF-8; if the file is ISO-8859-1, say so in its first line: \
         <?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>"
    );
    assert_eq!(
        refused(b"<?xml version='1.0' encoding='EBCDIC-CP-US'?><Config/>"),
        "line 1, column 1: the file says it is encoded in `EBCDIC-CP-US`; UTF-8 and ISO-8859-1 are understood"
    );
    assert_eq!(
        refused(b"\xff\xfe<\0"),
        "line 1, column 1: the file is UTF-16; save it as UTF-8 or ISO-8859-1"
    );
}

#[test]
fn broken_xml_is_refused_with_its_place() {
    let cases = [
        ("", "line 1, column 1: the file has no element at all"),
        ("<Config>\n  <Log/>\n", "line 2, column 9: the file ends before <Config> of line 1 is closed"),
        ("<Config>\n <Log>\n</Config>", "line 3, column 1: <Log> is open here, but </Config> closes"),
        ("<Config>\n <Log Name='a&b'/></Config>", "line 2, column 14: a plain & is written &amp;"),
        (
            "<Config>\n <Log Name='&x;'/></Config>",
            "line 2, column 13: `&x;` is not known; a plain & is written &amp;",
        ),
        ("<Config A='1' A='2'/>", "line 1, column 15: the attribute `A` is given twice in this element"),
        ("<Server/>", "line 1, column 1: the outermost element is <Server>; a plugin-cfg.xml has <Config>"),
        (
            "<!DOCTYPE x [<!ENTITY a 'aa'><!ENTITY b '&a;&a;'>]><Config A='&b;'/>",
            "line 1, column 1: a document type (<!DOCTYPE ...>) is not allowed: entities could be defined in it",
        ),
    ];
    for (text, told) in cases {
        assert_eq!(refused(text.as_bytes()), told, "{text}");
    }
}

#[test]
fn bounds_are_held() {
    let deep = format!("{}{}", "<Config>".repeat(1000), "</Config>".repeat(1000));
    assert!(refused(deep.as_bytes()).ends_with("elements are nested deeper than 16"));
    let wide: String = (0..100_000).map(|number| format!(" a{number}=''")).collect();
    assert_eq!(
        refused(format!("<Config{wide}/>").as_bytes()),
        "line 1, column 1: this element has more than 256 attributes"
    );
    let long = vec![b' '; crate::limits::PLUGIN_CFG_SIZE_MAX_BYTES + 1];
    assert!(refused(&long).contains("at most 16777216"));
    let many = wrap(&"<a/>".repeat(crate::limits::PLUGIN_CFG_NODES_MAX as usize));
    assert!(refused(many.as_bytes()).contains("more than 1000000 elements"));
}

#[test]
fn values_of_the_wrong_kind_are_problems_with_their_place() {
    let text = "<Config RefreshInterval='soon' AcceptAllContent='yes'>
  <ServerCluster LoadBalance='Fair' PostSizeLimit='-2'>
    <Server Name='' LoadBalanceWeight='-1'><Transport Hostname='h' Port='${port}'/><Transport Hostname='h'/></Server>
  </ServerCluster>
</Config>";
    assert_eq!(
        problems(text),
        [
            "line 1, column 9: RefreshInterval is `soon`; allowed: a whole number from -1 to 2147483647",
            "line 1, column 32: AcceptAllContent is `yes`; allowed: true or false",
            "line 2, column 3: <ServerCluster> has no Name",
            "line 2, column 18: LoadBalance is `Fair`; allowed: Round Robin, Random",
            "line 2, column 37: PostSizeLimit is `-2`; allowed: a whole number from -1",
            "line 3, column 13: <Server> has an empty Name",
            "line 3, column 21: LoadBalanceWeight is `-1`; allowed: a whole number from 0 to 2147483647",
            "line 3, column 68: Port is `${port}`; allowed: a whole number from 1 to 65535",
            "line 3, column 84: <Transport> has no Port",
        ]
    );
}

fn nodes() -> impl Strategy<Value = xml::Element> {
    let name = prop_oneof![
        Just("Server".to_owned()),
        Just("Route".into()),
        Just("UriGroup".into()),
        "[A-Za-z_][A-Za-z0-9_.-]{0,8}"
    ];
    let value = "[ -~\u{e9}\u{4e16}\t\n]{0,12}";
    let attributes = prop::collection::btree_map("[A-Za-z_][A-Za-z0-9_.-]{0,8}", value, 0..4);
    let element = (name, attributes).prop_map(|(name, attributes)| {
        let mut element = xml::Element::new(&name);
        for (name, value) in attributes {
            element.attributes.push(xml::Attribute { name, value, place: xml::Place::default() });
        }
        element
    });
    let text = "[ -~]{0,10}[!-~][ -~]{0,3}";
    element.prop_recursive(4, 40, 5, move |inner| {
        let child = prop_oneof![
            4 => inner.clone().prop_map(xml::Node::Element),
            1 => "[ -~]{0,12}".prop_map(xml::Node::Comment),
            1 => text.prop_map(xml::Node::Text),
        ];
        (inner, prop::collection::vec(child, 0..5)).prop_map(|(mut element, children)| {
            element.children.extend(children);
            element
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_give_a_document_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }

    /// A right file with a few bytes changed, put in or left out: nearer to what happens to files.
    #[test]
    fn a_damaged_file_gives_a_document_or_an_error(
        changes in prop::collection::vec((0..SHOP.len(), prop_oneof![Just(b'<'), Just(b'"'), Just(b'&'), Just(b'>'), Just(b'!'), any::<u8>()], 0..3), 1..6)
    ) {
        let mut bytes = SHOP.as_bytes().to_vec();
        for (at, byte, how) in changes {
            let at = at % bytes.len();
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        if let Err(error) = read(&bytes) {
            prop_assert!(error.line >= 1 && error.column >= 1, "{}", error);
        }
    }

    #[test]
    fn what_is_written_is_read_back(root in nodes()) {
        let mut root = root;
        root.name = "Config".into();
        let file = xml::XmlFile { root, ..xml::XmlFile::default() };
        // Once through, so that texts beside each other are one and comments are as they can be written.
        let once = read(file.write().as_bytes()).expect("written by us");
        let twice = read(once.file.write().as_bytes()).expect("written by us");
        prop_assert_eq!(&once, &twice);
        prop_assert_eq!(once.file.root.attributes, file.root.attributes);
    }
}
