//! Scenarios of the lab: machines, faults, and how that must end. `cargo xtask lab run NAME` shows one step by step.
//!
//! Several run beside each other here, on a machine of any size. `cargo xtask lab run`, as it is run every night, gives each the
//! machine for itself, and holds the times that are promised.
//!
//! Needs root. Those that take too long for every change are run at night, by `cargo xtask lab run --nightly`.

mod support;

use lab::run::Patience;
use lab::scenario;
use std::path::{Path, PathBuf};
use support::{Scratch, root};

fn directory() -> PathBuf {
    root().join("crates/lab/scenarios")
}

fn carry_out(name: &str) {
    let text = std::fs::read_to_string(directory().join(name).with_extension("lab"));
    let text = text.unwrap_or_else(|error| panic!("{name}: {error}"));
    let scenario = scenario::parse(&text).unwrap_or_else(|it| panic!("{name}:{}: {}", it.line, it.why));
    let scratch = Scratch::new();
    let muster = Path::new(support::cell::MUSTER);
    let done =
        lab::run::run(&scenario, scratch.path(), muster, Patience::CROWDED, &mut |line| println!("{line}"));
    if let Err(problem) = done {
        panic!("{name}: {problem}");
    }
}

// A test for each, so that its name says what failed: a macro, because a function cannot make tests.
macro_rules! scenarios {
    ($($test:ident = $name:literal,)*) => {
        $(#[test]
        fn $test() {
            carry_out($name);
        })*

        const NAMES: &[&str] = &[$($name,)*];
    };
}

scenarios! {
    an_agent_is_killed = "agent-killed",
    a_machine_is_cut_off = "host-cut",
    one_of_three_managers_is_cut_off_on_etcd = "host-cut-etcd",
    one_of_three_managers_is_cut_off_on_postgres = "host-cut-postgres",
    the_machine_of_the_leader_is_cut_off = "leader-cut",
    what_is_never_sent_twice_goes_elsewhere_before_another_manager_leads = "leader-cut-posts",
    the_machine_of_the_leader_is_cut_off_on_postgres = "leader-cut-postgres",
    a_machine_loses_its_power = "host-off",
    one_direction_is_lost = "one-way",
    one_direction_to_the_leader_is_lost = "heard-elsewhere",
    only_other_machines_hear_one = "heard-by-peers",
    a_manager_that_follows_is_killed = "manager-down",
    a_rack_loses_its_power = "rack-off",
    a_bad_network = "bad-network",
    clocks_are_stepped = "clock",
    a_full_disk = "disk-full",
    full_disks_beside_etcd = "disk-full-etcd",
    the_leader_is_cut_off = "leader-alone",
    the_leader_is_frozen = "leader-frozen",
    the_leader_is_frozen_on_postgres = "leader-frozen-postgres",
    the_leader_is_frozen_in_a_commit = "leader-frozen-in-commit",
    the_leader_is_killed_in_a_commit = "leader-killed-in-commit",
    the_leader_is_frozen_as_a_groups_machine_is_cut_off = "group-leader-frozen",
    the_leader_is_killed_as_a_groups_machine_is_cut_off_on_etcd = "group-leader-killed-etcd",
    the_leader_is_killed_as_a_groups_machine_is_cut_off_on_postgres = "group-leader-killed-postgres",
    a_groups_machine_does_not_hear_the_leader = "group-deaf-etcd",
    the_store_comes_up_after_the_managers_of_a_group = "group-store-late-etcd",
    the_leader_is_killed_on_etcd = "leader-killed-etcd",
    the_leader_is_killed_on_postgres = "leader-killed-postgres",
    the_leader_is_not_heard = "leader-one-way",
    a_member_is_killed = "member-killed",
    the_only_manager_is_killed = "manager-killed",
    no_manager_for_a_while = "no-manager",
    each_manager_is_killed_and_frozen = "managers-in-turn",
    a_busy_manager = "manager-busy",
    forged_heartbeats = "forged",
    a_crowd_of_clients = "crowd",
    a_fast_reboot = "reboot",
    etcd_is_away = "store-away-etcd",
    postgres_is_away = "store-away-postgres",
    etcd_is_put_back = "store-restored-etcd",
    postgres_is_put_back = "store-restored-postgres",
}

#[test]
fn every_scenario_is_read_and_is_carried_out_here_or_at_night() {
    let entries = std::fs::read_dir(directory()).expect("scenarios are part of the project");
    let page =
        std::fs::read_to_string(root().join("docs/reference/robustness.md")).expect("the page is there");
    let mut names: Vec<String> = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let text = std::fs::read_to_string(&path).expect("a scenario is a text");
        let scenario = scenario::parse(&text);
        let scenario = scenario.unwrap_or_else(|it| panic!("{}:{}: {}", path.display(), it.line, it.why));
        let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
        assert!(page.contains(&format!("`{name}`")), "docs/reference/robustness.md does not tell of {name}");
        if !scenario.is_nightly {
            names.push(name);
        }
    }
    names.sort();
    let mut known = NAMES.to_vec();
    known.sort_unstable();
    assert_eq!(names, known);
}
