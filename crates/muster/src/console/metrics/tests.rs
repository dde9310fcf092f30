//! The text that Prometheus gets, held to its format.

use super::super::testing::sample_status;
use super::*;

#[test]
fn every_sample_belongs_to_the_metric_described_before_it() {
    let mut described = "";
    let page = text(&sample_status());
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            described = help.split(' ').next().expect("a name comes first");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a name and a type");
            assert_eq!(name, described);
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let name = line.split(['{', ' ']).next().expect("a name comes first");
            let is_part =
                ["_bucket", "_sum", "_count"].iter().any(|end| name.strip_suffix(end) == Some(described));
            assert!(name == described || is_part, "{line}");
            let value = line.rsplit(' ').next().expect("a value comes last");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    let names: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.len(), "a metric is described once");
    assert!(page.ends_with('\n'));
}

#[test]
fn values_are_in_base_units() {
    let page = text(&sample_status());
    let labels = r#"{cluster="shop",member="shop-1",node="one"}"#;
    for (name, value) in [
        ("muster_member_first_byte_p50_seconds", "0.00125"),
        ("muster_member_first_byte_p99_seconds", "0.02"),
        ("muster_member_state_since_seconds", "1700000000"),
        ("muster_member_requests_total", "1000"),
        ("muster_member_sessions", "17"),
        ("muster_member_weight", "2"),
    ] {
        assert!(page.contains(&format!("\n{name}{labels} {value}\n")), "{name}: {page}");
    }
    assert!(page.contains("\nmuster_router_sent_bytes_total{router=\"front\",node=\"one\"} 5\n"));
    assert!(page.contains("\nmuster_config_revision 3\n"));
}

#[test]
fn routes_and_members_have_answers_by_class_and_a_histogram() {
    let page = text(&sample_status());
    for line in [
        r#"muster_route_answers_total{router="front",route="*/",class="2xx"} 1"#,
        r#"muster_route_answers_total{router="front",route="*/",class="5xx"} 0"#,
        r#"muster_route_received_bytes_total{router="front",route="*/"} 200"#,
        r#"muster_route_requests_in_flight{router="front",route="*/"} 2"#,
        r#"muster_route_first_byte_seconds_bucket{router="front",route="*/",le="0.0025"} 0"#,
        r#"muster_route_first_byte_seconds_bucket{router="front",route="*/",le="0.005"} 1"#,
        r#"muster_route_first_byte_seconds_bucket{router="front",route="*/",le="10"} 1"#,
        r#"muster_route_first_byte_seconds_bucket{router="front",route="*/",le="+Inf"} 2"#,
        r#"muster_route_first_byte_seconds_sum{router="front",route="*/"} 20.003"#,
        r#"muster_route_first_byte_seconds_count{router="front",route="*/"} 2"#,
        r#"muster_member_answers_total{cluster="shop",member="shop-1",node="one",class="2xx"} 0"#,
    ] {
        assert!(page.contains(&format!("\n{line}\n")), "{line} is not in\n{page}");
    }
}

#[test]
fn labels_are_escaped() {
    let mut status = sample_status();
    status.cell = "a \"b\" \\ \n c".into();
    let page = text(&status);
    assert!(page.contains(r#"cell="a \"b\" \\ \n c""#), "{page}");
}
