//! Files with a mistake, and everything that is said about them.

use super::parse;
use crate::config::problem::PROBLEMS_MAX;
use crate::config::{SIZE_MAX_BYTES, load};
use expect_test::{Expect, expect};
use wire::error_code;

/// A right file, to which each test adds its mistake. Eight lines.
const BASE: &str = "\
[routers.front]
listen = [\"0.0.0.0:8080\"]

[clusters.shop.members.one]
address = \"10.0.0.1:80\"
[clusters.shop.members.two]
command = [\"serve\", \"{port}\"]

";

fn check(text: &str, told: Expect) {
    let problems = parse(text).expect_err("the file has a mistake");
    told.assert_eq(&problems.to_string());
}

/// BASE with more at its end.
fn check_added(added: &str, told: Expect) {
    check(&format!("{BASE}{added}"), told);
}

#[test]
fn base_itself_is_right() {
    parse(BASE).expect("the base of these tests is right");
}

#[test]
fn text_that_is_not_toml() {
    check(
        "[cell\nname = \"shop\"",
        expect![[r#"
        muster.toml:1:6: M1001: not valid TOML: unclosed table, expected `]`
          value:   [cell"#]],
    );
    check(
        "[cell]\nname = shop",
        expect![[r#"
        muster.toml:2:8: M1001: not valid TOML: string values must be quoted, expected literal string
          value:   name = shop"#]],
    );
    check(
        "[cell]\nname = \"shop",
        expect![[r#"
        muster.toml:2:13: M1001: not valid TOML: invalid basic string, expected `"`
          value:   name = "shop"#]],
    );
    check(
        "[cell]\nname",
        expect![[r#"
        muster.toml:2:5: M1001: not valid TOML: key with no value, expected `=`
          value:   name"#]],
    );
    check_added(
        "[clusters.shop]\ndrain_ms = 99999999999999999999",
        expect![[r#"
        muster.toml:10:12: M1001: not valid TOML: integer number overflowed
          value:   drain_ms = 99999999999999999999"#]],
    );
}

#[test]
fn keys_and_tables_given_twice() {
    check_added(
        "[clusters.shop]\npolicy = \"random\"\ndrain_ms = 1\npolicy = \"random\"",
        expect![[r#"
            muster.toml:12:1: M1005: `policy` is given twice; the first is in line 10
              key:     policy
              value:   policy = "random"
              allowed: each key and each table once"#]],
    );
    check_added(
        "[clusters.shop.members.one]\nweight = 1",
        expect![[r#"
            muster.toml:9:24: M1005: `one` is given twice; the first is in line 4
              key:     one
              value:   [clusters.shop.members.one]
              allowed: each key and each table once"#]],
    );
    check(
        "[cell]\nname = \"a\"\n[cell]\n",
        expect![[r#"
            muster.toml:3:2: M1005: `cell` is given twice; the first is in line 1
              key:     cell
              value:   [cell]
              allowed: each key and each table once"#]],
    );
    check_added(
        "[clusters.shop.members.two.environment]\nA = \"1\"\nA = \"2\"",
        expect![[r#"
            muster.toml:11:1: M1005: `A` is given twice; the first is in line 10
              key:     A
              value:   A = "2"
              allowed: each key and each table once"#]],
    );
    check(
        "[nodes]\na = { b = 1, b = 2 }",
        expect![[r#"
            muster.toml:2:14: M1005: `b` is given twice in the same table
              key:     b
              value:   a = { b = 1, b = 2 }
              allowed: each key and each table once"#]],
    );
}

#[test]
fn unknown_keys() {
    check_added(
        "[clusters.shop]\npolcy = \"random\"",
        expect![[r#"
            muster.toml:10:1: M1002: there is no key `polcy` in `clusters.shop`
              key:     clusters.shop.polcy
              value:   "random"
              allowed: policy, hash_by, hash_name, drain_ms, affinity, health, probe, defaults, members
              did you mean `policy`?"#]],
    );
    check_added(
        "[clusters.shop]\ndrain = 30",
        expect![[r#"
            muster.toml:10:1: M1002: there is no key `drain` in `clusters.shop`
              key:     clusters.shop.drain
              value:   30
              allowed: policy, hash_by, hash_name, drain_ms, affinity, health, probe, defaults, members
              did you mean `drain_ms`?"#]],
    );
    check_added(
        "[cluster.shop]\ndrain_ms = 30",
        expect![[r#"
            muster.toml:9:2: M1002: there is no table `cluster`
              key:     cluster
              allowed: cell, manager, store, console, nodes, clients, cells, bridges, routers, clusters, groups, fences, monitors
              did you mean `clusters`?"#]],
    );
    check_added(
        "[clusters.shop]\nweight = 30",
        expect![[r#"
            muster.toml:10:1: M1002: there is no key `weight` in `clusters.shop`
              key:     clusters.shop.weight
              value:   30
              allowed: policy, hash_by, hash_name, drain_ms, affinity, health, probe, defaults, members
              did you mean `weight` in `[clusters.CLUSTER.defaults]`?"#]],
    );
    check_added(
        "[clusters.shop.members.three]\naddress = \"10.0.0.3:80\"\nzzzzzz = 1",
        expect![[r#"
            muster.toml:11:1: M1002: there is no key `zzzzzz` in `clusters.shop.members.three`
              key:     clusters.shop.members.three.zzzzzz
              value:   1
              allowed: node, weight, zone, requests_max, http2, backup, clone_id, address, tls, tls_server_name, tls_authorities, tls_certificate, tls_key, tls_unverified, proxy_protocol, command, port, environment, directory, user, stop_signal, stop_grace_ms, log, restart, probe"#]],
    );
    check_added(
        "[nodes.local]\nadress = \"10.0.0.3\"",
        expect![[r#"
            muster.toml:10:1: M1002: there is no key `adress` in `nodes.local`
              key:     nodes.local.adress
              value:   "10.0.0.3"
              allowed: address, reboot_command, shutdown_command
              did you mean `address`?"#]],
    );
}

#[test]
fn values_of_the_wrong_type() {
    check_added(
        "[clusters.shop]\ndrain_ms = \"30s\"",
        expect![[r#"
        muster.toml:10:12: M1003: this is text, but must be an integer without quotes
          key:     clusters.shop.drain_ms
          value:   "30s"
          allowed: an integer from 0 to 86400000
          did you mean `30000`?"#]],
    );
    check_added(
        "[clusters.shop]\ndrain_ms = 1.5",
        expect![[r#"
        muster.toml:10:12: M1003: this is a number with a fraction, but must be an integer without quotes
          key:     clusters.shop.drain_ms
          value:   1.5
          allowed: an integer from 0 to 86400000"#]],
    );
    check_added(
        "[clusters.shop.affinity]\nlowers_weight = \"yes\"",
        expect![[r#"
        muster.toml:10:17: M1003: this is text, but must be true or false without quotes
          key:     clusters.shop.affinity.lowers_weight
          value:   "yes"
          allowed: true, false
          did you mean `true`?"#]],
    );
    check_added(
        "[clusters.shop.members.three]\ncommand = \"./serve --port {port}\"",
        expect![[r#"
            muster.toml:10:11: M1003: this is text, but must be a list of texts in brackets
              key:     clusters.shop.members.three.command
              value:   "./serve --port {port}"
              allowed: 1 to 1000 texts
              did you mean `["./serve", "--port", "{port}"]`?"#]],
    );
    check_added(
        "[clusters.shop.members.three]\ncommand = [\"serve\", 80]",
        expect![[r#"
            muster.toml:10:21: M1003: this is an integer, but must be text in quotes
              key:     clusters.shop.members.three.command[1]
              value:   80
              allowed: 1 to 1000 texts"#]],
    );
    check_added(
        "[clusters.shop.members.two.environment]\nPORT = 80",
        expect![[r#"
        muster.toml:10:8: M1003: this is an integer, but must be text in quotes
          key:     clusters.shop.members.two.environment.PORT
          value:   80
          allowed: at most 1000 entries like KEY = "value"
          did you mean `"80"`?"#]],
    );
    check_added(
        "[console]\nlisten = 29003",
        expect![[r#"
        muster.toml:10:10: M1003: this is an integer, but must be text in quotes
          key:     console.listen
          value:   29003
          allowed: an IP address and a port like "0.0.0.0:8080" or "[::]:8080"; port 0 takes a free one"#]],
    );
    check_added(
        "[clusters.shop.defaults.log]\nsize_max_bytes = \"10 MiB\"",
        expect![[r#"
        muster.toml:10:18: M1003: this is text, but must be an integer without quotes
          key:     clusters.shop.defaults.log.size_max_bytes
          value:   "10 MiB"
          allowed: an integer from 4096 to 1099511627776
          did you mean `10485760`?"#]],
    );
    check(
        "clusters = 3\n[routers]\nfront = \"x\"\nback = { listen = [\"0.0.0.0:1\"], routes = 1 }",
        expect![[r#"
            muster.toml:1:1: M1003: this is an integer, but must be a table
              key:     clusters
              value:   3
              allowed: a table [clusters.CLUSTER]
            muster.toml:3:1: M1003: this is text, but must be a table
              key:     routers.front
              value:   "x"
              allowed: a table [routers.ROUTER]
            muster.toml:4:34: M1003: this is an integer, but must be a table
              key:     routers.back.routes
              value:   1
              allowed: a table [[routers.ROUTER.routes]]"#]],
    );
}

#[test]
fn numbers_outside_their_range() {
    check_added(
        "[clusters.shop.members.three]\naddress = \"10.0.0.3:80\"\nweight = 1001",
        expect![[r#"
        muster.toml:11:10: M1004: the number is too large
          key:     clusters.shop.members.three.weight
          value:   1001
          allowed: an integer from 0 to 1000"#]],
    );
    check_added(
        "[clusters.shop.members.three]\naddress = \"10.0.0.3:80\"\nweight = -1",
        expect![[r#"
        muster.toml:11:10: M1004: the number is too small
          key:     clusters.shop.members.three.weight
          value:   -1
          allowed: an integer from 0 to 1000"#]],
    );
    check_added(
        "[clusters.shop.defaults]\nport = 65536",
        expect![[r#"
        muster.toml:10:8: M1004: the number is too large
          key:     clusters.shop.defaults.port
          value:   65536
          allowed: an integer from 0 to 65535"#]],
    );
}

#[test]
fn words_that_are_no_choice() {
    check_added(
        "[clusters.shop]\npolicy = \"roundrobin\"",
        expect![[r#"
            muster.toml:10:10: M1004: there is no such choice
              key:     clusters.shop.policy
              value:   "roundrobin"
              allowed: "auto", "round-robin", "random", "least-outstanding", "hash"
              did you mean `"round-robin"`?"#]],
    );
    check_added(
        "[clusters.shop.defaults]\nstop_signal = \"SIGQUIT\"",
        expect![[r#"
        muster.toml:10:15: M1004: there is no such choice
          key:     clusters.shop.defaults.stop_signal
          value:   "SIGQUIT"
          allowed: "TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "KILL"
          did you mean `"QUIT"`?"#]],
    );
    check_added(
        "[clusters.shop.defaults]\nstop_signal = \"STOP\"",
        expect![[r#"
        muster.toml:10:15: M1004: there is no such choice
          key:     clusters.shop.defaults.stop_signal
          value:   "STOP"
          allowed: "TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "KILL""#]],
    );
    check_added(
        "[clusters.shop.affinity]\nseparator = \"!\"",
        expect![[r#"
            muster.toml:10:13: M1004: there is no such choice
              key:     clusters.shop.affinity.separator
              value:   "!"
              allowed: ":", "+""#]],
    );
}

#[test]
fn addresses_that_are_none() {
    let with = |address: &str| format!("[clusters.shop.members.three]\naddress = \"{address}\"");
    check_added(
        &with("localhost:8080"),
        expect![[r#"
        muster.toml:10:11: M1004: host names are not looked up
          key:     clusters.shop.members.three.address
          value:   "localhost:8080"
          allowed: an IP address and a port like "10.0.0.5:8080" or "[fd00::5]:8080"
          did you mean `"127.0.0.1:8080"`?"#]],
    );
    check_added(
        &with("app.example:8080"),
        expect![[r#"
        muster.toml:10:11: M1004: host names are not looked up, so that the cell does not depend on a name server; give the IP address
          key:     clusters.shop.members.three.address
          value:   "app.example:8080"
          allowed: an IP address and a port like "10.0.0.5:8080" or "[fd00::5]:8080""#]],
    );
    check_added(
        &with("10.0.0.5"),
        expect![[r#"
        muster.toml:10:11: M1004: the port is missing
          key:     clusters.shop.members.three.address
          value:   "10.0.0.5"
          allowed: an IP address and a port like "10.0.0.5:8080" or "[fd00::5]:8080""#]],
    );
    check_added(
        &with(":8080"),
        expect![[r#"
        muster.toml:10:11: M1004: the IP address is missing
          key:     clusters.shop.members.three.address
          value:   ":8080"
          allowed: an IP address and a port like "10.0.0.5:8080" or "[fd00::5]:8080"
          did you mean `"127.0.0.1:8080"`?"#]],
    );
    check_added(
        &with("10.0.0.5:0"),
        expect![[r#"
        muster.toml:10:11: M1004: port 0 cannot be connected to
          key:     clusters.shop.members.three.address
          value:   "10.0.0.5:0"
          allowed: an IP address and a port like "10.0.0.5:8080" or "[fd00::5]:8080""#]],
    );
    check_added(
        &with("0.0.0.0:80"),
        expect![[r#"
        muster.toml:10:11: M1004: this address means any, not one
          key:     clusters.shop.members.three.address
          value:   "0.0.0.0:80"
          allowed: an IP address and a port like "10.0.0.5:8080" or "[fd00::5]:8080"
          did you mean `"127.0.0.1:80"`?"#]],
    );
    check_added(
        &with("10.0.0.5:70000"),
        expect![[r#"
        muster.toml:10:11: M1004: the port is above 65535
          key:     clusters.shop.members.three.address
          value:   "10.0.0.5:70000"
          allowed: an IP address and a port like "10.0.0.5:8080" or "[fd00::5]:8080""#]],
    );
    check_added(
        &with("fd00::5:80"),
        expect![[r#"
        muster.toml:10:11: M1004: the port is missing
          key:     clusters.shop.members.three.address
          value:   "fd00::5:80"
          allowed: an IP address and a port like "10.0.0.5:8080" or "[fd00::5]:8080""#]],
    );
    check_added(
        &with("fd00::zz:80"),
        expect![[r#"
        muster.toml:10:11: M1004: an IPv6 address needs brackets before its port
          key:     clusters.shop.members.three.address
          value:   "fd00::zz:80"
          allowed: an IP address and a port like "10.0.0.5:8080" or "[fd00::5]:8080"
          did you mean `"[fd00::zz]:80"`?"#]],
    );
    check_added(
        "[console]\nlisten = \"*:29003\"",
        expect![[r#"
        muster.toml:10:10: M1004: the IP address is missing
          key:     console.listen
          value:   "*:29003"
          allowed: an IP address and a port like "0.0.0.0:8080" or "[::]:8080"; port 0 takes a free one
          did you mean `"0.0.0.0:29003"`?"#]],
    );
    check(
        "[routers.r]\nlisten = []\n[clusters.c.members.m]\naddress = \"10.0.0.1:80\"",
        expect![[r#"
        muster.toml:2:10: M1004: the list is too short
          key:     routers.r.listen
          value:   []
          allowed: 1 to 64 texts, each an IP address and a port like "0.0.0.0:8080" or "[::]:8080"; port 0 takes a free one"#]],
    );
    check(
        "[routers.r]\nlisten = [\"[::]:80\", \"8080\"]\ntrusted_proxies = [\"10.0.0.0/8\"]\n\
         [clusters.c.members.m]\naddress = \"10.0.0.1:80\"",
        expect![[r#"
            muster.toml:2:22: M1004: the IP address is missing
              key:     routers.r.listen[1]
              value:   "8080"
              allowed: 1 to 64 texts, each an IP address and a port like "0.0.0.0:8080" or "[::]:8080"; port 0 takes a free one
              did you mean `"0.0.0.0:8080"`?
            muster.toml:3:20: M1004: a network is not an address; list the addresses themselves
              key:     routers.r.trusted_proxies[0]
              value:   "10.0.0.0/8"
              allowed: 0 to 256 texts, each an IP address like "10.0.0.1" or "fd00::1""#]],
    );
}

#[test]
fn routes_that_cannot_be() {
    let with = |route: &str| format!("[[routers.front.routes]]\n{route}");
    check_added(
        &with("path = \"shop/\""),
        expect![[r#"
        muster.toml:10:8: M1004: the path does not start with `/`
          key:     routers.front.routes[0].path
          value:   "shop/"
          allowed: a path that starts with `/`, without `/` at its end, empty, `.` or `..` parts, query or spaces
          did you mean `"/shop"`?"#]],
    );
    check_added(
        &with("path = \"/shop/*\""),
        expect![[r#"
        muster.toml:10:8: M1004: a path ends without `/`: it matches itself and everything below it
          key:     routers.front.routes[0].path
          value:   "/shop/*"
          allowed: a path that starts with `/`, without `/` at its end, empty, `.` or `..` parts, query or spaces
          did you mean `"/shop"`?"#]],
    );
    check_added(
        &with("path = \"/a/../b\""),
        expect![[r#"
        muster.toml:10:8: M1004: the path has an empty, `.` or `..` part, which no request has when routes are matched
          key:     routers.front.routes[0].path
          value:   "/a/../b"
          allowed: a path that starts with `/`, without `/` at its end, empty, `.` or `..` parts, query or spaces"#]],
    );
    check_added(
        &with("path = \"/a?b=c\""),
        expect![[r#"
        muster.toml:10:8: M1004: the path has a character that paths of routes cannot have
          key:     routers.front.routes[0].path
          value:   "/a?b=c"
          allowed: a path that starts with `/`, without `/` at its end, empty, `.` or `..` parts, query or spaces"#]],
    );
    check_added(
        &with("host = \"*.example\""),
        expect![[r#"
        muster.toml:10:8: M1004: `*` stands alone for any host; it cannot be a part of one
          key:     routers.front.routes[0].host
          value:   "*.example"
          allowed: a host name or IP address without port, or "*" for any"#]],
    );
    check_added(
        &with("host = \"https://shop.example:8080/\""),
        expect![[r#"
        muster.toml:10:8: M1004: a host is given without scheme, port and path
          key:     routers.front.routes[0].host
          value:   "https://shop.example:8080/"
          allowed: a host name or IP address without port, or "*" for any
          did you mean `"shop.example"`?"#]],
    );
    check_added(
        &with("cluster = \"shopp\""),
        expect![[r#"
        muster.toml:10:11: M1007: there is no cluster `shopp` in this file
          key:     routers.front.routes[0].cluster
          value:   "shopp"
          allowed: "shop"
          did you mean `"shop"`?"#]],
    );
    check_added(
        &with("host = \"A.example\"\n[[routers.front.routes]]\nhost = \"a.example\""),
        expect![[r#"
        muster.toml:11:1: M1005: the route for host `a.example` and path `/` is already taken by `routers.front.routes[0]` in line 9
          key:     routers.front.routes[1]
          allowed: a router has one route for each host, port, path and kind of path"#]],
    );
    check_added(
        &with("path = \"/shop\"\npath_kind = \"extension\""),
        expect![[r#"
        muster.toml:10:8: M1008: `path_kind` is `extension`, and `/shop` has no ending to look for
          key:     routers.front.routes[0].path
          value:   "/shop"
          allowed: a folder and an ending, such as "/*.jsp""#]],
    );
    check_added(
        &with("path = \"/*.jsp/x\"\npath_kind = \"extension\""),
        expect![[r#"
        muster.toml:10:8: M1008: `path_kind` is `extension`, and `/*.jsp/x` has no ending to look for
          key:     routers.front.routes[0].path
          value:   "/*.jsp/x"
          allowed: a folder and an ending, such as "/*.jsp""#]],
    );
    check_added(
        &with("port = 65536"),
        expect![[r#"
        muster.toml:10:8: M1004: the number is too large
          key:     routers.front.routes[0].port
          value:   65536
          allowed: an integer from 0 to 65535"#]],
    );
}

#[test]
fn names_that_cannot_be() {
    check_added(
        "[clusters.\"the shop\".members.m]\naddress = \"10.0.0.3:80\"",
        expect![[r#"
        muster.toml:9:11: M1004: "the shop" is not a valid name
          key:     clusters."the shop"
          allowed: a name of 1 to 64 letters (a-z, A-Z), digits, `.`, `_` and `-` that starts with a letter or digit
          did you mean `"the-shop"`?"#]],
    );
    check_added(
        "[cell]\nname = \"\"",
        expect![[r#"
        muster.toml:10:8: M1004: this is not a valid name
          key:     cell.name
          value:   ""
          allowed: a name of 1 to 64 letters (a-z, A-Z), digits, `.`, `_` and `-` that starts with a letter or digit"#]],
    );
    check_added(
        "[clusters.shop.members.three]\naddress = \"10.0.0.3:80\"\nclone_id = \"a:b\"",
        expect![[r#"
            muster.toml:11:12: M1004: this is not a valid name
              key:     clusters.shop.members.three.clone_id
              value:   "a:b"
              allowed: a name of 1 to 64 letters (a-z, A-Z), digits, `.`, `_` and `-` that starts with a letter or digit
              did you mean `"a-b"`?"#]],
    );
    check_added(
        "[cell]\nstate_dir = \"state\"",
        expect![[r#"
        muster.toml:10:13: M1004: the path is not absolute
          key:     cell.state_dir
          value:   "state"
          allowed: a path that starts with `/`"#]],
    );
    check_added(
        "[clusters.shop.affinity]\ncookie = \"a b\"",
        expect![[r#"
        muster.toml:10:10: M1004: this is not a cookie name
          key:     clusters.shop.affinity.cookie
          value:   "a b"
          allowed: a cookie name like "JSESSIONID""#]],
    );
    check_added(
        "[clusters.shop.defaults]\nuser = \"www data\"",
        expect![[r#"
        muster.toml:10:8: M1004: this is not a user name
          key:     clusters.shop.defaults.user
          value:   "www data"
          allowed: the name of a user of the node"#]],
    );
    check_added(
        "[clusters.shop.probe]\npath = \"health\"",
        expect![[r#"
        muster.toml:10:8: M1004: the path does not start with `/`
          key:     clusters.shop.probe.path
          value:   "health"
          allowed: a path that starts with `/`, with or without query
          did you mean `"/health"`?"#]],
    );
    check_added(
        "[clusters.shop.defaults.environment]\n\"A=B\" = \"1\"",
        expect![[r#"
        muster.toml:10:9: M1004: this cannot be the name of an environment variable
          key:     clusters.shop.defaults.environment."A=B"
          value:   "1"
          allowed: at most 1000 entries like KEY = "value""#]],
    );
}

#[test]
fn two_things_that_claim_the_same() {
    check_added(
        "[clusters.shop.members.three]\naddress = \"10.0.0.3:80\"\nclone_id = \"one\"",
        expect![[r#"
            muster.toml:11:12: M1005: clone id `one` is already taken by `clusters.shop.members.one.clone_id` in line 4
              key:     clusters.shop.members.three.clone_id
              value:   "one"
              allowed: each member of a cluster has a clone id of its own"#]],
    );
    check_added(
        "[clusters.shop.members.three]\naddress = \"10.0.0.1:80\"",
        expect![[r#"
        muster.toml:10:11: M1005: address 10.0.0.1:80 is already taken by `clusters.shop.members.one.address` in line 5
          key:     clusters.shop.members.three.address
          value:   "10.0.0.1:80"
          allowed: each member of a cluster has an address of its own"#]],
    );
    check_added(
        "[clusters.shop.defaults]\nport = 9000\ncommand = [\"serve\"]\n[clusters.shop.members.three]",
        expect![[r#"
            muster.toml:12:24: M1005: 127.0.0.1:9000 on node `local` is already taken by `clusters.shop.members.two.port` in line 6
              key:     clusters.shop.members.three.port
              allowed: each address and port of a node once; port 0 takes a free one"#]],
    );
    check_added(
        "[clusters.shop.members.three]\ncommand = [\"serve\"]\nport = 8080",
        expect![[r#"
        muster.toml:11:8: M1005: 127.0.0.1:8080 on node `local` is already taken by `routers.front.listen[0]` in line 2
          key:     clusters.shop.members.three.port
          value:   8080
          allowed: each address and port of a node once; port 0 takes a free one"#]],
    );
    check_added(
        "[routers.back]\nlisten = [\"127.0.0.1:8081\", \"127.0.0.1:8080\"]",
        expect![[r#"
        muster.toml:10:29: M1005: 127.0.0.1:8080 on node `local` is already taken by `routers.front.listen[0]` in line 2
          key:     routers.back.listen[1]
          value:   "127.0.0.1:8080"
          allowed: each address and port of a node once; port 0 takes a free one"#]],
    );
    check_added(
        "[console]\nlisten = \"127.0.0.1:8080\"",
        expect![[r#"
        muster.toml:2:11: M1005: 0.0.0.0:8080 on node `local` is already taken by `console.listen` in line 10
          key:     routers.front.listen[0]
          value:   "0.0.0.0:8080"
          allowed: each address and port of a node once; port 0 takes a free one"#]],
    );
    check_added(
        "[clusters.shop.members.three]\ncommand = [\"serve\", \"{port}\"]\n[clusters.shop.defaults.log]\n\
         path = \"/var/log/all.log\"",
        expect![[r#"
            muster.toml:9:24: M1005: log file /var/log/all.log on node `local` is already taken by `clusters.shop.members.two.log.path` in line 6
              key:     clusters.shop.members.three.log.path
              allowed: each log has a file of its own; `{cluster}` and `{member}` in its path are replaced"#]],
    );
}

#[test]
fn things_that_are_missing() {
    check(
        "",
        expect![[r#"
        muster.toml: M1006: there are no routers
          key:     routers
          allowed: a router takes the requests: [routers.NAME]
        muster.toml: M1006: there are no clusters
          key:     clusters
          allowed: a cluster has the members: [clusters.NAME.members.NAME]"#]],
    );
    check(
        "[routers.r]\n[clusters.c.members.m]\naddress = \"10.0.0.1:80\"",
        expect![[r#"
            muster.toml:1:10: M1006: the router listens nowhere
              key:     routers.r.listen
              allowed: `listen = ["0.0.0.0:8080"]`, or [[routers.NAME.listeners]]"#]],
    );
    check_added(
        "[clusters.empty]",
        expect![[r#"
        muster.toml:1:10: M1006: there are no routes, and more than one cluster to which requests could go
          key:     routers.front.routes
          allowed: [[routers.front.routes]] with `host`, `path` and `cluster`
        muster.toml:9:11: M1006: cluster `empty` has no members
          key:     clusters.empty.members
          allowed: at least one [clusters.empty.members.NAME]"#]],
    );
    check_added(
        "[clusters.shop.members.three]\nweight = 1",
        expect![[r#"
        muster.toml:9:24: M1006: member `three` has neither `command` nor `address`
          key:     clusters.shop.members.three
          allowed: `command = ["./server", "{port}"]` to have it started, or `address = "10.0.0.5:8080"`"#]],
    );
    check_added(
        "[clusters.shop.members.three]\ncommand = [\"serve\"]",
        expect![[r#"
        muster.toml:10:11: M1006: member `three` cannot know on which port to listen
          key:     clusters.shop.members.three.command
          value:   ["serve"]
          allowed: `port` with the port that it uses, or `{port}` in `command` or `environment`"#]],
    );
    check_added(
        "[nodes.a]\n[nodes.b]",
        expect![[r#"
        muster.toml:1:10: M1006: `node` is missing, and the file has more than one
          key:     routers.front.node
          allowed: "a", "b"
        muster.toml:4:24: M1006: `node` is missing, and the file has more than one
          key:     clusters.shop.members.one.node
          allowed: "a", "b"
        muster.toml:6:24: M1006: `node` is missing, and the file has more than one
          key:     clusters.shop.members.two.node
          allowed: "a", "b""#]],
    );
    check_added(
        "[[routers.front.routes]]\npath = \"/x\"\n[clusters.other.members.m]\naddress = \"10.0.0.1:80\"",
        expect![[r#"
            muster.toml:9:1: M1006: the route does not say to which cluster it leads
              key:     routers.front.routes[0].cluster
              allowed: "shop", "other""#]],
    );
}

#[test]
fn nodes_that_are_not_in_the_file() {
    check_added(
        "[nodes.alpha]\n[clusters.shop.defaults]\nnode = \"alhpa\"",
        expect![[r#"
        muster.toml:11:8: M1007: there is no node `alhpa` in this file
          key:     clusters.shop.defaults.node
          value:   "alhpa"
          allowed: "alpha"
          did you mean `"alpha"`?"#]],
    );
}

#[test]
fn keys_without_effect() {
    check_added(
        "[clusters.shop.members.three]\naddress = \"10.0.0.3:80\"\ncommand = [\"a\"]",
        expect![[r#"
        muster.toml:11:1: M1008: member `three` has both `command` and `address`
          key:     clusters.shop.members.three.command
          value:   ["a"]
          allowed: `command` for a member that the agent starts, or `address` for one that runs elsewhere"#]],
    );
    check_added(
        "[clusters.shop.members.three]\naddress = \"10.0.0.3:80\"\nport = 80",
        expect![[r#"
        muster.toml:11:1: M1008: `port` has no effect on a member that runs elsewhere
          key:     clusters.shop.members.three.port
          value:   80
          allowed: only for members with `command`"#]],
    );
    check_added(
        "[clusters.shop.members.one.log]\nfiles_max = 1",
        expect![[r#"
        muster.toml:9:28: M1008: `log` has no effect on a member that runs elsewhere
          key:     clusters.shop.members.one.log
          allowed: only for members with `command`"#]],
    );
    check_added(
        "[clusters.shop.probe]\nkind = \"tcp\"\nstatus_min = 200",
        expect![[r#"
        muster.toml:11:1: M1008: `status_min` has no effect on a probe of kind "tcp"
          key:     clusters.shop.probe.status_min
          value:   200
          allowed: only with kind "http""#]],
    );
    check_added(
        "[clusters.shop.probe]\nkind = \"process\"",
        expect![[r#"
            muster.toml:10:8: M1008: member `one` runs elsewhere, so nobody sees its process
              key:     clusters.shop.probe.kind
              value:   "process"
              allowed: "tcp" or "http" for it, in [clusters.shop.members.one.probe]"#]],
    );
    check_added(
        "[clusters.shop.probe]\nkind = \"http\"\nstatus_min = 500",
        expect![[r#"
        muster.toml:11:14: M1008: `status_min` (500) is above `status_max` (399)
          key:     clusters.shop.probe.status_min
          value:   500
          allowed: `status_min` not above `status_max`"#]],
    );
    check_added(
        "[clusters.shop.defaults.restart]\ndelay_ms = 60000",
        expect![[r#"
        muster.toml:10:12: M1008: `delay_ms` (60000) is above `delay_max_ms` (30000)
          key:     clusters.shop.defaults.restart.delay_ms
          value:   60000
          allowed: `delay_ms` not above `delay_max_ms`"#]],
    );
    check_added(
        "[routers.front.access_log]\npath = \"/var/log/a.log\"",
        expect![[r#"
        muster.toml:10:1: M1008: `path` has no effect, because `format` is not given and no log is written
          key:     routers.front.access_log.path
          value:   "/var/log/a.log"
          allowed: `format = "common"` or `format = "json"` beside it"#]],
    );
    check_added(
        "[clusters.shop.members.three]\ncommand = [\"\", \"{port}\"]",
        expect![[r#"
        muster.toml:10:11: M1004: the program's name is empty
          key:     clusters.shop.members.three.command
          value:   ["", "{port}"]
          allowed: a program and its arguments"#]],
    );
}

#[test]
fn many_problems_are_told_in_the_order_of_the_file_and_the_rest_is_counted() {
    let wrong: String = (0..PROBLEMS_MAX + 7).map(|number| format!("wrong{number} = 1\n")).collect();
    let problems = parse(&format!("{BASE}[clusters.shop]\n{wrong}")).expect_err("nothing of it is right");
    assert_eq!((problems.list.len(), problems.left_out), (PROBLEMS_MAX, 7));
    let lines: Vec<_> = problems.list.iter().map(|problem| problem.line).collect();
    assert!(lines.is_sorted(), "{lines:?}");
    assert!(problems.to_string().ends_with("\nand 7 more"));
}

#[test]
fn a_problem_as_json_has_all_its_parts() {
    let problems =
        parse(&format!("{BASE}[clusters.shop]\npolcy = \"random\"")).expect_err("a key is unknown");
    let json = serde_json::to_string_pretty(&problems).expect("problems are plain data");
    expect![[r#"
        {
          "list": [
            {
              "code": "M1002",
              "file": "muster.toml",
              "line": 10,
              "column": 1,
              "key": "clusters.shop.polcy",
              "value": "\"random\"",
              "message": "there is no key `polcy` in `clusters.shop`",
              "allowed": "policy, hash_by, hash_name, drain_ms, affinity, health, probe, defaults, members",
              "suggestion": "`policy`"
            }
          ],
          "left_out": 0
        }"#]]
    .assert_eq(&json);
}

#[test]
fn files_that_cannot_be_read() {
    let scratch = std::env::temp_dir().join(format!("muster-unreadable-{}", std::process::id()));
    let told = |text: &[u8]| {
        std::fs::write(&scratch, text).expect("the temporary directory can be written");
        let problems = load(&scratch).expect_err("the file cannot be a configuration");
        assert_eq!(problems.list[0].code, error_code::CONFIG_UNREADABLE);
        problems.to_string().replace(&scratch.display().to_string(), "FILE")
    };
    expect![[r#"
        FILE:2:9: M1009: the file is not UTF-8 text
          allowed: UTF-8 text"#]]
    .assert_eq(&told(b"[cell]\nname = \"\xff\""));
    expect![[r#"
        FILE: M1009: the file is too large for a configuration
          allowed: at most 4194304 bytes"#]]
    .assert_eq(&told(&vec![b'#'; SIZE_MAX_BYTES + 1]));
    std::fs::remove_file(&scratch).expect("the file was just written");
    let missing = load(&scratch).expect_err("the file is gone").to_string();
    assert!(
        missing.ends_with("M1009: the file cannot be opened: No such file or directory (os error 2)"),
        "{missing}"
    );
}

#[test]
fn tables_nested_without_end_are_refused() {
    let deep = format!("[{}]\nx = 1", vec!["a"; 5000].join("."));
    assert!(parse(&deep).is_err());
    let deep = format!("[cell]\nname = {}{}", "[".repeat(5000), "]".repeat(5000));
    assert!(parse(&deep).is_err());
}

#[test]
fn a_route_that_answers_itself_has_nothing_for_members() {
    check_added(
        "[[routers.front.routes]]\ncluster = \"shop\"\nrewrite = \"/x\"\nredirect = { to = \"/new\" }\n",
        expect![[r#"
            muster.toml:10:1: M1008: `cluster` has no effect beside `redirect`: the router answers itself
              key:     routers.front.routes[0].cluster
              value:   "shop"
              allowed: either `redirect` or `cluster`
            muster.toml:11:1: M1008: `rewrite` has no effect beside `redirect`: the router answers itself
              key:     routers.front.routes[0].rewrite
              value:   "/x"
              allowed: either `redirect` or `rewrite`"#]],
    );
    check_added(
        "[[routers.front.routes]]\nredirect = { to = \"/new\", status = 303 }\nanswer = { status = 204, body = \"x\" }\n",
        expect![[r#"
            muster.toml:10:36: M1004: this status is no redirect that keeps to the standard
              key:     routers.front.routes[0].redirect.status
              value:   303
              allowed: 301, 302, 307, 308
            muster.toml:11:1: M1008: `answer` has no effect beside `redirect`: the router answers itself
              key:     routers.front.routes[0].answer
              allowed: either `redirect` or `answer`"#]],
    );
    check_added(
        "[[routers.front.routes]]\nanswer = { status = 204, body = \"x\" }\n",
        expect![[r#"
        muster.toml:10:26: M1008: an answer with status 204 has no body
          key:     routers.front.routes[0].answer.body
          value:   "x"
          allowed: no `body`, or another status"#]],
    );
}

#[test]
fn redirects_that_could_lead_anywhere_are_refused() {
    check_added(
        "[[routers.front.routes]]\nredirect = { to = \"https://shop.example{rest}\" }\n",
        expect![[r#"
            muster.toml:10:19: M1004: between `//` and the next `/` or `{path}` only a host may stand
              key:     routers.front.routes[0].redirect.to
              value:   "https://shop.example{rest}"
              allowed: a path, or a URL with `http://` or `https://`, in which {host}, {path}, {rest} and {query} are replaced"#]],
    );
    check_added(
        "[[routers.front.routes]]\nredirect = { to = \"//elsewhere.example\" }\n",
        expect![[r#"
        muster.toml:10:19: M1004: it starts neither with `/` nor with `http://` or `https://`
          key:     routers.front.routes[0].redirect.to
          value:   "//elsewhere.example"
          allowed: a path, or a URL with `http://` or `https://`, in which {host}, {path}, {rest} and {query} are replaced"#]],
    );
    check_added(
        "[[routers.front.routes]]\nredirect = { status = 301 }\n",
        expect![[r#"
        muster.toml:10:1: M1006: `to` is missing
          key:     routers.front.routes[0].redirect.to
          allowed: a path, or a URL with `http://` or `https://`, in which {host}, {path}, {rest} and {query} are replaced
          did you mean `to = "https://{host}{path}{query}"`?"#]],
    );
}

#[test]
fn headers_that_frame_messages_stay() {
    check_added(
        "[[routers.front.routes]]\nrequest_headers = { remove = [\"X-A\", \"content_length\"], set = { Host = \"a\" } }\n\
         answer_headers = { set = { Transfer-Encoding = \"chunked\" } }\n",
        expect![[r#"
            muster.toml:10:38: M1004: the header content_length cannot be changed: it belongs to the framing of messages, which the router alone writes
              key:     routers.front.routes[0].request_headers.remove[1]
              value:   "content_length"
              allowed: other headers
            muster.toml:10:65: M1004: the header Host cannot be changed: the router writes it itself, and members rely on it
              key:     routers.front.routes[0].request_headers.set.Host
              value:   "a"
              allowed: other headers
            muster.toml:11:28: M1004: the header Transfer-Encoding cannot be changed: it belongs to the framing of messages, which the router alone writes
              key:     routers.front.routes[0].answer_headers.set.Transfer-Encoding
              value:   "chunked"
              allowed: other headers"#]],
    );
    check_added(
        "[[routers.front.routes]]\nanswer_headers = { remove = [\"x_a\"], set = { X-A = \"1\" } }\n",
        expect![[r#"
            muster.toml:10:46: M1008: X-A is both removed and set; what is set replaces what was there anyway
              key:     routers.front.routes[0].answer_headers.set.X-A
              value:   "1"
              allowed: either of the two"#]],
    );
    check_added(
        "[[routers.front.routes]]\nrequest_headers = { set = { X-A = \"a\\r\\nX-B: 1\", X-B = \"{nobody}\" } }\n",
        expect![[r#"
            muster.toml:10:35: M1004: byte 0x0d cannot stand in a header
              key:     routers.front.routes[0].request_headers.set.X-A
              value:   "a\r\nX-B: 1"
              allowed: at most 32 entries like "X-Name" = "value"; {client}, {host}, {path}, {query}, {scheme} and {route} are replaced"#]],
    );
}

#[test]
fn limits_of_routes_lie_within_those_of_the_router() {
    check_added(
        "[[routers.front.routes]]\nhead_size_max_bytes = 40000\n",
        expect![[r#"
        muster.toml:10:23: M1008: the router itself takes only heads of at most 32768 bytes
          key:     routers.front.routes[0].head_size_max_bytes
          value:   40000
          allowed: at most `head_size_max_bytes` of the router's limits"#]],
    );
    check_added(
        "[[routers.front.routes]]\nrate_limit = { burst = 5 }\n",
        expect![[r#"
        muster.toml:10:1: M1006: `requests_per_second` is missing
          key:     routers.front.routes[0].rate_limit.requests_per_second
          allowed: an integer from 1 to 1000000
          did you mean `requests_per_second = 50`?"#]],
    );
}

#[test]
fn patterns_of_the_access_log() {
    check_added(
        "[routers.front.access_log]\nformat = \"custom\"\n",
        expect![[r#"
        muster.toml:9:16: M1006: `pattern` is missing, which says how lines look
          key:     routers.front.access_log.pattern
          allowed: a pattern like `pattern = "{client} {method} {target} {status}"`"#]],
    );
    check_added(
        "[routers.front.access_log]\nformat = \"json\"\npattern = \"{client}\"\n",
        expect![[r#"
        muster.toml:11:1: M1008: `pattern` has no effect without `format = "custom"`
          key:     routers.front.access_log.pattern
          value:   "{client}"
          allowed: `format = "custom"`"#]],
    );
    check_added(
        "[routers.front.access_log]\nformat = \"custom\"\npattern = \"{client} {nobody}\"\n",
        expect![[r#"
            muster.toml:11:11: M1004: there is no field `{nobody}`
              key:     routers.front.access_log.pattern
              value:   "{client} {nobody}"
              allowed: text with fields like {client} and {status}; see the list of fields"#]],
    );
}

#[test]
fn two_routers_of_a_node_that_write_one_plugin_cfg() {
    let router = |name: &str, port: u16, more: &str| {
        format!(
            "[routers.{name}]\nlisten = [\"0.0.0.0:{port}\"]\n[routers.{name}.plugin_cfg]\npath = \"/var/lib/p.xml\"\n{more}"
        )
    };
    let both = |more: &str| format!("{}{}", router("one", 81, ""), router("two", 82, more));
    parse(&format!("{BASE}{}", both("scope = \"none\"\n"))).expect("the second one writes nothing");
    check_added(
        &both(""),
        expect![[r#"
        muster.toml:16:8: M1005: the file /var/lib/p.xml on node `local` is already taken by `routers.one.plugin_cfg.path` in line 12
          key:     routers.two.plugin_cfg.path
          value:   "/var/lib/p.xml"
          allowed: each router of a node writes a plugin-cfg.xml of its own"#]],
    );
}

#[test]
fn several_machines_need_addresses_that_can_be_reached() {
    check_added(
        "[manager]\nlisten = \"0.0.0.0:29001\"",
        expect![[r#"
        muster.toml:10:1: M1006: node `local` has no address, and the cell is several machines
          key:     manager.listen
          value:   "0.0.0.0:29001"
          allowed: `address` in [nodes.local]: where other machines reach it"#]],
    );
    check_added(
        "[manager]\nlisten = \"0.0.0.0:0\"\n[nodes.a]\naddress = \"0.0.0.0\"",
        expect![[r#"
        muster.toml:10:10: M1004: other machines must know the port
          key:     manager.listen
          value:   "0.0.0.0:0"
          allowed: a port from 1 to 65535; 29001 is usual
        muster.toml:12:11: M1004: nobody can be reached at 0.0.0.0
          key:     nodes.a.address
          value:   "0.0.0.0"
          allowed: the address of one interface of the machine"#]],
    );
    check_added(
        "[manager]\nlisten = \"0.0.0.0:8080\"\n[nodes.a]\naddress = \"10.0.0.1\"",
        expect![[r#"
        muster.toml:2:11: M1005: 0.0.0.0:8080 on node `a` is already taken by `manager.listen` in line 10
          key:     routers.front.listen[0]
          value:   "0.0.0.0:8080"
          allowed: each address and port of a node once; port 0 takes a free one"#]],
    );
}

#[test]
fn clients_need_a_place_to_fetch_from_and_such_a_place_clients() {
    let hash = "0".repeat(64);
    let client = format!("[clients.billing]\ntoken_sha256 = \"{hash}\"\nclusters = [\"shop\"]\n");
    check_added(
        &client,
        expect![[r#"
        muster.toml:9:10: M1008: client `billing` has nowhere to fetch its first view
          key:     clients.billing
          allowed: a route with `views = true` beside it, such as [[routers.NAME.routes]] with `path = "/muster/views"`"#]],
    );
    check_added(
        "[[routers.front.routes]]\npath = \"/views\"\nviews = true\n",
        expect![[r#"
        muster.toml:11:1: M1008: `views` has no effect: there are no clients that could ask
          key:     routers.front.routes[0].views
          value:   true
          allowed: a table [clients.NAME] with `token_sha256` and `clusters`, as `muster client token` prints it"#]],
    );
    let routes = "[[routers.front.routes]]\npath = \"/views\"\nviews = true\ncompress = true\n";
    check_added(
        &format!("{routes}{client}"),
        expect![[r#"
        muster.toml:12:1: M1008: `compress` has no effect beside `views`: the router answers itself
          key:     routers.front.routes[0].compress
          value:   true
          allowed: either `views` or `compress`"#]],
    );
    let routes = "[[routers.front.routes]]\npath = \"/views\"\nviews = true\n";
    check_added(
        &format!("{routes}{}", client.replace("\"shop\"", "\"shpo\"")),
        expect![[r#"
        muster.toml:14:13: M1007: there is no cluster `shpo` in this file
          key:     clients.billing.clusters[0]
          value:   "shpo"
          allowed: "shop"
          did you mean `"shop"`?"#]],
    );
    check_added(
        &format!("{routes}{}", client.replace("000", "00A")),
        expect![[r#"
            muster.toml:13:16: M1004: this is no SHA-256 of a token
              key:     clients.billing.token_sha256
              value:   "00A00A00A00A00A00A00A00A00A00A00A00A00A00A00A00A00A00A00A00 ...
              allowed: 64 hexadecimal digits in small letters, as `muster client token` and `muster bridge token` print them"#]],
    );
}

#[test]
fn several_managers_need_a_store_that_they_can_share_and_a_way_to_each_other() {
    let nodes = "[nodes.a]\naddress = \"10.0.0.1\"\n[nodes.b]\naddress = \"10.0.0.2\"\n";
    let text = "[routers.front]\nlisten = [\"0.0.0.0:8080\"]\nnode = \"a\"\n[clusters.shop.members.one]\n\
                address = \"10.0.0.1:80\"\nnode = \"a\"\n";
    let check_managers = |managers: &str, told: Expect| check(&format!("{text}{nodes}{managers}"), told);
    check_managers(
        "[manager]\nnodes = [\"a\", \"b\"]",
        expect![[r#"
        muster.toml: M1006: several managers cannot share a file
          key:     store.kind
          allowed: `kind = "postgres"` or `kind = "etcd"`
        muster.toml:12:1: M1006: the managers of other machines must be reached, and there is no `listen`
          key:     manager.nodes
          value:   ["a", "b"]
          allowed: `listen` in [manager], e.g. "0.0.0.0:29001""#]],
    );
    check_managers(
        "[manager]\nlisten = \"0.0.0.0:29001\"\nnodes = [\"a\", \"c\", \"a\"]\n[store]\nkind = \"etcd\"",
        expect![[r#"
            muster.toml:13:15: M1007: there is no node `c` in this file
              key:     manager.nodes[1]
              value:   "c"
              allowed: "a", "b"
            muster.toml:13:20: M1005: node `a` is given twice
              key:     manager.nodes[2]
              value:   "a"
              allowed: each node once
            muster.toml:14:2: M1006: `servers` is missing, and `kind = "etcd"` is reached by it
              key:     store.servers
              allowed: hosts and ports like ["db.example:5432"]"#]],
    );
}

#[test]
fn keys_of_a_store_fit_its_kind_and_each_other() {
    check_added(
        "[store]\nservers = [\"db:5432\"]\ntls = true\n[manager]\nprofile = \"fast\"",
        expect![[r#"
            muster.toml:10:1: M1008: `servers` has no effect with `kind = "sqlite"`
              key:     store.servers
              value:   ["db:5432"]
              allowed: the keys of this kind of store
            muster.toml:11:1: M1008: `tls` has no effect with `kind = "sqlite"`
              key:     store.tls
              value:   true
              allowed: the keys of this kind of store
            muster.toml:13:1: M1008: `profile` has no effect: nobody else can use a file of this machine
              key:     manager.profile
              value:   "fast"
              allowed: several `nodes` in [manager], another `kind` of store, or failover groups"#]],
    );
    check_added(
        "[store]\nkind = \"etcd\"\nservers = [\"http://10.0.0.4:2379/\"]\nprefix = \"/\"",
        expect![[r#"
            muster.toml:11:12: M1004: this is not a host and a port
              key:     store.servers[0]
              value:   "http://10.0.0.4:2379/"
              allowed: 1 to 9 texts, each a host name or IP address and a port like "db.example:5432" or "[fd00::5]:2379"
              did you mean `"10.0.0.4:2379"`?"#]],
    );
    check_added(
        "[store]\nkind = \"etcd\"\nservers = [\"10.0.0.4:2379\"]\nprefix = \"/\"\nuser = \"m\"\ndatabase = \"m\"",
        expect![[r#"
            muster.toml:12:10: M1004: this cannot be the beginning of keys
              key:     store.prefix
              value:   "/"
              allowed: printable ASCII without blanks, and more than `/`
            muster.toml:13:1: M1008: `user` stands alone
              key:     store.user
              value:   "m"
              allowed: `user` and `password_file` together
            muster.toml:14:1: M1008: `database` has no effect with `kind = "etcd"`
              key:     store.database
              value:   "m"
              allowed: the keys of this kind of store"#]],
    );
    check_added(
        "[store]\nkind = \"postgres\"\nservers = [\"[fd00::1]:5432\"]\nschema = \"Shop\"\ntls_key = \"/k\"",
        expect![[r#"
            muster.toml:12:10: M1004: this is not a name for a schema
              key:     store.schema
              value:   "Shop"
              allowed: 1 to 48 lower case letters, digits and `_`, a letter first
            muster.toml:13:1: M1008: `tls_key` has no effect without `tls`
              key:     store.tls_key
              value:   "/k"
              allowed: `tls = true` beside it"#]],
    );
    check_added(
        "[store]\nkind = \"postgres\"",
        expect![[r#"
        muster.toml:9:2: M1006: `servers` is missing, and `kind = "postgres"` is reached by it
          key:     store.servers
          allowed: hosts and ports like ["db.example:5432"]"#]],
    );
}

#[test]
fn other_cells_that_could_not_be_heard_or_reached() {
    check_added(
        "[cells.east]\nmanagers = [\"10.1.0.1\"]\ntoken_file = \"east.token\"\nclusters = [\"shop\"]\ntls_key = \"/k\"",
        expect![[r#"
            muster.toml:10:13: M1004: this is not a host and a port
              key:     cells.east.managers[0]
              value:   "10.1.0.1"
              allowed: 1 to 5 texts, each a host name or IP address and a port like "db.example:5432" or "[fd00::5]:2379"
            muster.toml:11:14: M1004: the path is not absolute
              key:     cells.east.token_file
              value:   "east.token"
              allowed: a path that starts with `/`"#]],
    );
    let hash = "ec7ad5f8a2fd1fce2b8f6e7f3c9ad04ad21f58a8e2f4a3ce9a1c5f7d2b6e9013";
    check_added(
        &format!("[bridges.west]\ntoken_sha256 = \"{hash}\"\nclusters = [\"shop\", \"stock\"]"),
        expect![[r#"
            muster.toml:9:10: M1008: no other cell can reach the manager: there is no `listen`
              key:     bridges.west
              allowed: `listen` in [manager], e.g. "0.0.0.0:29001"
            muster.toml:11:12: M1008: cell `west` hears of cluster `shop` and cannot reach it
              key:     bridges.west.clusters
              value:   ["shop", "stock"]
              allowed: `gateway` in a [routers.NAME] that has a route to the cluster
            muster.toml:11:12: M1008: cell `west` hears of cluster `stock` and cannot reach it
              key:     bridges.west.clusters
              value:   ["shop", "stock"]
              allowed: `gateway` in a [routers.NAME] that has a route to the cluster
            muster.toml:11:21: M1007: there is no cluster `stock` in this file
              key:     bridges.west.clusters[1]
              value:   "stock"
              allowed: "shop""#]],
    );
    check_added(
        "[[routers.front.routes]]\npath = \"/\"\nlevels = [[\"shop\"], [\"shop@east\", \"a@b@c\"]]",
        expect![[r#"
            muster.toml:11:1: M1004: this is not a valid name
              key:     routers.front.routes[0].levels[1][1]
              allowed: lists of 1 to 64 texts, each the name of a cluster, or CLUSTER@CELL for one of another cell
              did you mean `"a-b-c"`?"#]],
    );
    check_added(
        "[[routers.front.routes]]\npath = \"/\"\nlevels = [[\"shop\"], [\"shop@east\"]]",
        expect![[r#"
            muster.toml:11:10: M1007: there is no cluster `shop@east` in this file
              key:     routers.front.routes[0].levels
              value:   [["shop"], ["shop@east"]]
              allowed: "shop""#]],
    );
    check(
        &BASE.replace("listen =", "gateway = \"0.0.0.0:80\"\nlisten ="),
        expect![[r#"
        muster.toml:2:11: M1004: this address means any, not one
          key:     routers.front.gateway
          value:   "0.0.0.0:80"
          allowed: an IP address and a port like "10.0.0.5:8080" or "[fd00::5]:8080"
          did you mean `"127.0.0.1:80"`?"#]],
    );
}

#[test]
fn groups_that_could_not_run_or_not_be_safe_are_refused() {
    let file = "[nodes.a]\n[nodes.b]\n[groups.g]\nnodes = [\"a\", \"b\"]\nafter = [\"h\"]\n\
        [groups.g.resources.r]\ntype = \"process\"\ncommand = [\"x\"]\n\
        [groups.h]\nnodes = [\"a\", \"a\", \"c\"]\nfailover = \"manual\"\nafter = [\"g\"]\n\
        [groups.h.resources.r]\ntype = \"exec\"\nstart = [\"x\"]\ncommand = [\"x\"]\n";
    let problems = parse(file).expect_err("much is wrong").to_string();
    for wanted in [
        "node `a` stands twice in the policy",
        "there is no node `c` in this file",
        "`stop` is missing, which a resource of the type `exec` needs",
        "`command` has no effect on a resource of the type `exec`",
        "group `g` would wait for itself",
        "group `g` cannot go to another node by itself: without `listen` in [manager] no node sends heartbeats",
    ] {
        assert!(problems.contains(wanted), "{wanted:?} is not in\n{problems}");
    }
}

/// Two groups of three nodes, each with one resource.
fn two_groups(one: &str, two: &str, nodes_of_two: &str) -> String {
    let file = format!(
        "[manager]\nlisten = \"0.0.0.0:9000\"\n[nodes.a]\naddress = \"10.0.0.1\"\n[nodes.b]\naddress = \"10.0.0.2\"\n\
         [nodes.c]\naddress = \"10.0.0.3\"\n[groups.g]\nnodes = [\"a\", \"b\"]\n[groups.g.resources.r]\n{one}\
         [groups.h]\nnodes = [{nodes_of_two}]\n[groups.h.resources.r]\n{two}"
    );
    parse(&file).map_or_else(|problems| problems.to_string(), |_| String::new())
}

#[test]
fn an_address_is_in_one_group_and_of_no_machine() {
    let address = |text: &str| format!("type = \"address\"\naddress = \"{text}\"\n");
    let both = "\"b\", \"a\"";
    let told = two_groups(&address("10.0.0.9/24"), &address("10.0.0.9/16"), both);
    assert!(
        told.contains("10.0.0.9 is already taken by `groups.g.resources.r.address` in line 13"),
        "{told}"
    );
    // Also on other nodes: it is one network all the same.
    let told = two_groups(&address("2001:db8::9/64"), &address("2001:db8:0::9/64"), "\"c\"");
    assert!(told.contains("M1005: 2001:db8::9 is already taken"), "{told}");
    let told = two_groups(&address("10.0.0.9/24"), &address("10.0.0.2/24"), both);
    assert!(told.contains("M1005: 10.0.0.2 is the address of node `b` itself"), "{told}");
    assert_eq!(two_groups(&address("10.0.0.9/24"), &address("10.0.0.8/24"), both), "");
    let on = |interface: &str| format!("{}interface = \"{interface}\"\n", address("fe80::9/64"));
    assert_eq!(two_groups(&on("eth0"), &on("eth1"), both), "");
    assert!(two_groups(&on("eth0"), &on("eth0"), both).contains("fe80::9 is already taken"));
}

#[test]
fn a_disk_is_in_one_group_unless_it_is_made_for_several_machines() {
    let disk = |device: &str, more: &str| {
        let kind = if more.contains("file_system") { "" } else { "file_system = \"ext4\"\n" };
        format!("type = \"filesystem\"\ndevice = \"{device}\"\nmount_point = \"/srv\"\n{kind}{more}")
    };
    let both = "\"b\", \"c\"";
    for device in ["/dev/sdb1", "UUID=0815"] {
        let told = two_groups(&disk(device, ""), &disk(device, ""), both);
        let expected =
            format!("the disk {device} is already taken by `groups.g.resources.r.device` in line 13");
        assert!(told.contains(&expected), "{told}");
        // The same name on other machines is another disk.
        assert_eq!(two_groups(&disk(device, ""), &disk(device, ""), "\"c\""), "");
    }
    assert_eq!(two_groups(&disk("/dev/sdb1", ""), &disk("/dev/sdc1", ""), both), "");
    for more in
        ["mount_options = [\"noatime,ro\"]\n", "mount_options = [\"bind\"]\n", "file_system = \"gfs2\"\n"]
    {
        assert_eq!(two_groups(&disk("/dev/sdb1", more), &disk("/dev/sdb1", more), both), "", "{more}");
    }
    let export = disk("server:/export", "file_system = \"nfs\"\n");
    assert_eq!(two_groups(&export, &export, both), "");
}

#[test]
fn a_disk_that_fails_over_by_a_lease_alone_is_told() {
    let notes = |more: &str| {
        let file = format!(
            "[manager]\nlisten = \"0.0.0.0:9000\"\n[nodes.a]\naddress = \"10.0.0.1\"\n[nodes.b]\naddress = \"10.0.0.2\"\n\
             [nodes.c]\naddress = \"10.0.0.3\"\n[groups.g]\nnodes = [\"b\", \"c\"]\n{more}[groups.g.resources.r]\n\
             type = \"filesystem\"\ndevice = \"/dev/sdb1\"\nmount_point = \"/srv\"\nfile_system = \"ext4\"\n"
        );
        crate::config::by_hand(&parse(&file).expect("the file is right")).join("\n")
    };
    assert!(
        notes("").contains("group g mounts /dev/sdb1 elsewhere when the lease of its node is over"),
        "{}",
        notes("")
    );
    assert_eq!(notes("failover = \"manual\"\n"), "");
    assert!(!notes("class = \"hard\"\n").contains("mounts"));
}

#[test]
fn a_monitor_of_a_group_asks_where_the_group_may_be() {
    let file = |nodes: &str| {
        format!(
            "[manager]\nlisten = \"0.0.0.0:9000\"\n[nodes.a]\naddress = \"10.0.0.1\"\n[nodes.b]\naddress = \"10.0.0.2\"\n\
             [groups.g]\nnodes = [\"b\"]\n[groups.g.resources.r]\ntype = \"process\"\ncommand = [\"x\"]\n\
             [monitors.m]\nkind = \"tcp\"\ntarget = \"localhost:1\"\ngroup = \"g\"\nnodes = [{nodes}]\n"
        )
    };
    let told = parse(&file("\"a\"")).expect_err("nothing would follow").to_string();
    assert!(told.contains("group `g` never runs on the nodes that ask, so nothing would follow"), "{told}");
    parse(&file("\"a\", \"b\"")).expect("one of them is enough");
}

#[test]
fn resources_have_the_keys_of_their_type_and_no_others() {
    let file = |resource: &str| {
        format!(
            "[nodes.a]\n[groups.g]\nnodes = [\"a\"]\n[groups.g.resources.r]\n{resource}[console]\nlisten = \"127.0.0.1:1\"\n"
        )
    };
    let fs = "type = \"filesystem\"\ndevice = \"/dev/sdb\"\nfile_system = \"ext4\"\n";
    for (resource, wanted) in [
        ("type = \"address\"\n", "`address` is missing, which a resource of the type `address` needs"),
        ("type = \"address\"\naddress = \"10.0.0.9\"\n", "`10.0.0.9` is no address with a prefix"),
        (
            "type = \"address\"\naddress = \"127.0.0.9/8\"\n",
            "`127.0.0.9` cannot go from one machine to another",
        ),
        (
            "type = \"address\"\naddress = \"10.0.0.9/24\"\nuser = \"www-data\"\n",
            "`user` has no effect on a resource of the type `address`",
        ),
        (
            "type = \"process\"\ncommand = [\"x\"]\nagent = \"a:b\"\n",
            "`agent` has no effect on a resource of the type `process`",
        ),
        (
            "type = \"exec\"\nstart = [\"x\"]\nstop = [\"x\"]\nmust_last = true\n",
            "`must_last` without `asynchronous`: a start that is waited for has to end",
        ),
        ("type = \"ocf\"\nagent = \"IPaddr2\"\n", "`IPaddr2` names no agent"),
        ("type = \"ocf\"\nagent = \"../x:y\"\n", "`../x:y` names no agent"),
        (fs, "`mount_point` is missing, which a resource of the type `filesystem` needs"),
        (&format!("{fs}mount_point = \"/\"\n"), "`/` cannot be mounted and unmounted"),
    ] {
        let problems = parse(&file(resource)).expect_err(wanted).to_string();
        assert!(problems.contains(wanted), "{wanted:?} is not in\n{problems}");
    }
}

fn recovery_file(more: &str) -> String {
    format!(
        "[manager]\nlisten = \"0.0.0.0:9000\"\n[nodes.a]\naddress = \"127.0.0.1\"\n[nodes.b]\n\
         address = \"127.0.0.2\"\n[nodes.c]\naddress = \"127.0.0.3\"\n[groups.g]\nnodes = [\"b\", \"c\"]\n\
         [groups.g.resources.r]\ntype = \"process\"\ncommand = [\"x\"]\n[groups.one]\nnodes = [\"b\"]\n\
         [groups.one.resources.r]\ntype = \"process\"\ncommand = [\"x\"]\n\
         [monitors.m]\nkind = \"tcp\"\ntarget = \"x:1\"\n{more}"
    )
}

#[test]
fn r_02_restarts_that_would_be_forgotten_before_they_are_used_up_are_refused() {
    // The presets of `clp_httpmon`: found after at most 250 s and a time-out twice as long; four times that is within the hour.
    let like_clp = "group = \"g\"\ninterval_ms = 60000\ntimeout_ms = 10000\nretries = 3\n";
    parse(&recovery_file(like_clp)).expect("it comes to its end");
    let slow = "group = \"g\"\ninterval_ms = 60000\nretries = 19\nrestarts_max = 3\n";
    let problems = parse(&recovery_file(slow)).expect_err("it would be restarted for ever");
    let problem = &problems.list[0];
    assert_eq!(problem.code.to_string(), "M1043", "{problem}");
    assert!(
        problem.to_string().contains("an error of monitor `m` takes up to 1208 s to be found"),
        "{problem}"
    );
    assert!(problem.to_string().contains("at most 1, or a shorter `interval_ms`"), "{problem}");
    parse(&recovery_file(&slow.replace("restarts_max = 3", "restarts_max = 1")))
        .expect("as the message says");
    parse(&recovery_file(&slow.replace("restarts_max = 3", "restarts_max = 0")))
        .expect("there is nothing to forget");
}

#[test]
fn recoveries_that_could_not_be_or_would_take_the_manager_away_are_refused() {
    for (more, wanted) in [
        ("group = \"h\"\n", "there is no group `h` in this file"),
        ("group = \"g\"\nresource = \"s\"\n", "there is no resource `s` in this file"),
        ("group = \"g\"\nall_groups = true\n", "either group `g` is recovered, or all groups of the node"),
        ("all_groups = true\nresource = \"r\"\n", "`resource` has no effect on a monitor of all groups"),
        ("restarts_max = 1\n", "`restarts_max` has no effect on a monitor from whose errors nothing follows"),
        (
            "group = \"g\"\nfinal_command = [\"x\"]\n",
            "`final_command` has no effect with the final action `none`",
        ),
        (
            "group = \"g\"\nwhen = \"always\"\nstart_period_ms = 1\n",
            "`start_period_ms` has no effect on a monitor that asks always",
        ),
        (
            "group = \"one\"\nfinal_action = \"stop-service\"\n",
            "is taken only where a group can go to another node by itself, and none can",
        ),
        (
            "all_groups = true\nnodes = [\"a\", \"b\"]\nfinal_action = \"reboot\"\n",
            "would also stop the only manager, which is on node `a`",
        ),
    ] {
        let problems = parse(&recovery_file(more)).expect_err(wanted).to_string();
        assert!(problems.contains(wanted), "{wanted:?} is not in\n{problems}");
    }
}

#[test]
fn what_follows_from_errors_is_read_with_its_presets() {
    let settings = parse(&recovery_file("group = \"g\"\n")).expect("it is right");
    let monitor = &settings.monitors[0];
    let nodes: Vec<&str> = monitor.nodes.iter().map(|node| node.0.as_str()).collect();
    assert_eq!(nodes, ["b", "c"], "those of its group");
    let recovery = monitor.recovery.as_ref().expect("it has a group");
    assert!(recovery.is_while_active && recovery.final_command.is_empty());
    assert_eq!((recovery.restarts_max, recovery.failovers_max), (3, 1));
    assert_eq!((recovery.delay_ms, recovery.start_period_ms), (0, 5_000));
    let more = "all_groups = true\nnodes = [\"b\", \"c\"]\nfinal_action = \"reboot\"\n";
    let settings = parse(&recovery_file(more)).expect("it is right");
    let recovery = settings.monitors[0].recovery.as_ref().expect("it has groups");
    assert_eq!(
        (recovery.is_while_active, recovery.final_command.join(" ").as_str()),
        (false, "systemctl reboot")
    );
}
