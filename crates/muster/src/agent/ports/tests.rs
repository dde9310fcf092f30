//! Ports stay with their members.

use super::*;
use crate::agent::scratch::Scratch;

#[test]
fn a_member_keeps_its_port_over_a_restart_of_the_agent() {
    let scratch = Scratch::new("ports-keep");
    let path = scratch.0.join("ports.json");
    let id = MemberId::new("shop", "one");
    let port = PortBook::open(path.clone()).pick(&id, 0).expect("some port is free");
    assert_eq!(PortBook::open(path).pick(&id, 0).expect("it is still free"), port);
}

#[test]
fn a_port_that_is_taken_meanwhile_is_replaced_and_no_two_members_share_one() {
    let scratch = Scratch::new("ports-taken");
    let mut book = PortBook::open(scratch.0.join("ports.json"));
    let (one, two) = (MemberId::new("shop", "one"), MemberId::new("shop", "two"));
    let port = book.pick(&one, 0).expect("some port is free");
    let thief = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("it was free a moment ago");
    let other = book.pick(&one, 0).expect("some other port is free");
    assert_ne!(other, port);
    drop(thief);
    assert_ne!(book.pick(&two, 0).expect("some port is free"), other);
}

#[test]
fn a_wanted_port_in_use_is_refused_by_number() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the kernel has a free port");
    let port = listener.local_addr().expect("a listener has an address").port();
    let scratch = Scratch::new("ports-wanted");
    let refusal = PortBook::open(scratch.0.join("ports.json")).pick(&MemberId::new("shop", "one"), port);
    assert_eq!(refusal.unwrap_err().to_string(), format!("port {port} is in use by another program"));
}

#[test]
fn the_kernels_own_range_is_left_alone() {
    assert_eq!(below("32768\t60999\n"), 20_000..32_768);
    assert_eq!(below("1024 65535"), 20_000..65_535);
    assert_eq!(below(""), 20_000..32_768);
}
