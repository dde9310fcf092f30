//! Ports stay with their members.

use super::*;

fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("muster-ports-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a temporary directory can be made");
    directory.join("ports.json")
}

#[test]
fn a_member_keeps_its_port_over_a_restart_of_the_agent() {
    let path = directory("keeps");
    let id = MemberId::new("shop", "one");
    let port = PortBook::open(path.clone()).pick(&id, 0).expect("some port is free");
    assert_eq!(PortBook::open(path).pick(&id, 0).expect("it is still free"), port);
}

#[test]
fn a_port_that_is_taken_meanwhile_is_replaced_and_no_two_members_share_one() {
    let mut book = PortBook::open(directory("taken"));
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
    let refusal = PortBook::open(directory("wanted")).pick(&MemberId::new("shop", "one"), port);
    assert_eq!(refusal.unwrap_err().to_string(), format!("port {port} is in use by another program"));
}

#[test]
fn the_kernels_own_range_is_left_alone() {
    assert_eq!(below("32768\t60999\n"), 20_000..32_768);
    assert_eq!(below("1024 65535"), 20_000..65_535);
    assert_eq!(below(""), 20_000..32_768);
}
