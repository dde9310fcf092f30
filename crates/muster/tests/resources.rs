//! Types of resources of failover groups on real machines: network namespaces on one Ethernet. Needs root.

mod support;

use std::net::Ipv4Addr;
use support::groups::{Asker, Cell};
use support::{Scratch, wait_for};
use wire::group::GroupCondition;

const FLOATING: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 100);

/// A group with an address of each family, and something that listens there.
const SITE: &str = "[groups.site]\nnodes = [\"one\", \"two\"]\n
[groups.site.resources.ip]\ntype = \"address\"\naddress = \"10.1.0.100/24\"\n
[groups.site.resources.ip6]\ntype = \"address\"\naddress = \"fd01::100/64\"\n
[groups.site.resources.server]\ntype = \"process\"\nstop_timeout_ms = 2000\n\
command = [\"python3\", \"-m\", \"http.server\", \"--bind\", \"10.1.0.100\", \"8080\"]\n";

fn has_address(cell: &Cell, host: &str) -> bool {
    let shown = cell.hosts.must(host, "ip -o address show dev lan0");
    let (v4, v6) = (shown.contains("10.1.0.100/24"), shown.contains("fd01::100/64"));
    assert_eq!(v4, v6, "{shown}");
    v4
}

fn wait_until_reached(cell: &Cell) {
    wait_for("the addresses to answer", || {
        let said = cell.hosts.shell(
            "boss",
            "ping -c1 -W1 10.1.0.100 && ping -c1 -W1 fd01::100 && curl -sS -m2 -o /dev/null http://10.1.0.100:8080/",
        );
        if said.code == Some(0) { Ok(()) } else { Err(format!("{said:?}")) }
    });
}

#[test]
fn an_address_goes_to_another_node_when_its_own_is_cut_off_and_two_never_answer_for_it() {
    let scratch = Scratch::new();
    let cell = Cell::start(&scratch, SITE);
    let [first, other] = cell.wait_until_started("site");
    let asker = Asker::start(&cell, FLOATING);
    wait_until_reached(&cell);
    let [first_link, other_link] = [first, other].map(|host| cell.link_address(host));
    asker.wait_for_holders(std::slice::from_ref(&first_link));
    assert!(has_address(&cell, first) && !has_address(&cell, other));

    // The manager is out of its reach; who uses the address is not.
    cell.hosts.cut(first);
    cell.wait_until_online("site", other);
    asker.wait_for_holders(&[first_link.clone(), other_link.clone()]);
    wait_until_reached(&cell);
    assert!(!has_address(&cell, first) && has_address(&cell, other));
    // Who had its address was told, and did not have to ask again.
    for address in ["10.1.0.100", "fd01::100"] {
        let known = cell.hosts.must("boss", &format!("ip neigh show {address} dev lan0"));
        assert!(known.contains(&other_link), "{address}: {known}");
    }

    cell.hosts.heal(first);
    cell.wait_until_able("site");
    cell.hosts.must("boss", "muster group move site --yes");
    wait_until_reached(&cell);
    asker.wait_for_holders(&[first_link.clone(), other_link, first_link]);
}

#[test]
fn the_system_takes_an_address_away_when_everything_of_muster_was_killed() {
    let scratch = Scratch::new();
    let mut cell = Cell::start(&scratch, SITE);
    let [first, other] = cell.wait_until_started("site");
    let asker = Asker::start(&cell, FLOATING);
    let links = [first, other].map(|host| cell.link_address(host));
    asker.wait_for_holders(&links[..1]);

    // All of it at once, so that nothing is left to clear up.
    cell.shell(first, "kill -9 -1");
    cell.wait_until_online("site", other);
    asker.wait_for_holders(&links);
    assert!(!has_address(&cell, first));
    cell.start_again(first);
    cell.wait_until_able("site");
    assert_eq!(asker.holders(), links, "nobody else has answered");

    // A guardian alone: its agent takes away what it leaves.
    cell.shell(other, "kill -9 $(pgrep -f 'muster guardian')");
    cell.wait_until("to have failed once", "site", |group| {
        group.state == GroupCondition::Online
            && group.why.iter().any(|why| why.why.contains("failed there once"))
            || group.node.as_ref().is_some_and(|node| node.0 == first)
    });
    wait_until_reached(&cell);
}

#[test]
fn an_address_that_somebody_has_or_takes_away_is_told() {
    let scratch = Scratch::new();
    let manual =
        SITE.replace("nodes =", "startup = \"manual\"\nrestarts_max = 0\nfailovers_max = 0\nnodes =");
    let cell = Cell::start(&scratch, &manual);
    cell.wait_until_able("site");
    cell.hosts.must("boss", "ip address add 10.1.0.100/24 dev lan0");
    let refused = cell.hosts.run("boss", "muster group start site one");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let why = cell.hosts.must("boss", "muster group why site");
    let holder = cell.link_address("boss");
    let wanted = format!(
        "ip was not started: it was not taken: the machine with the link address {holder} has 10.1.0.100"
    );
    assert!(why.contains(&wanted), "{why}");
    cell.hosts.must("boss", "ip address del 10.1.0.100/24 dev lan0");

    cell.hosts.must("one", "ip address add 10.1.0.100/24 dev lan0");
    cell.hosts.run("boss", "muster group start site one");
    let why = cell.hosts.must("boss", "muster group why site");
    assert!(why.contains("it is on lan0 already, and Muster did not put it there"), "{why}");
    cell.hosts.must("one", "ip address del 10.1.0.100/24 dev lan0");

    cell.hosts.must("boss", "muster group start site one");
    wait_until_reached(&cell);
    cell.hosts.must("one", "ip address del 10.1.0.100/24 dev lan0");
    cell.wait_until("to be down", "site", |group| group.state != GroupCondition::Online);
    let why = cell.hosts.must("boss", "muster group why site");
    assert!(why.contains("ip is lost: it was taken from lan0 by somebody"), "{why}");
}

#[test]
fn an_address_without_the_right_to_set_it_is_told() {
    let scratch = Scratch::new();
    let run = "setpriv --bounding-set=-net_admin --inh-caps=-net_admin muster run";
    let manual =
        SITE.replace("nodes =", "startup = \"manual\"\nrestarts_max = 0\nfailovers_max = 0\nnodes =");
    let cell = Cell::start_as(&scratch, &manual, run);
    cell.wait_until_able("site");
    cell.hosts.run("boss", "muster group start site one");
    let why = cell.hosts.must("boss", "muster group why site");
    let wanted = "it could not add the address on lan0: `muster` needs to run as root, or CAP_NET_ADMIN";
    assert!(why.contains(wanted), "{why}");
}
