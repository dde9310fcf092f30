//! Muster on the hosts: its manager on the first, and a group with an address and a service of its own.

use super::system::System;
use super::world::{BOSS, ONE, TWO, World};
use crate::failure::{Doing, Failure, Outcome};
use lab::hosts::Hosts;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::group::{GroupCondition, GroupStatus};
use wire::status::CellStatus;

/// Where the service of the group answers, which is killed and lives anew with it.
pub const OWN_PORT: u16 = 7001;
/// Longest wait for the manager to answer. Half a minute: a hundred times what it takes on a quiet machine.
const START_TIME_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const GROUP: &str = "site";

pub fn own_service() -> SocketAddr {
    SocketAddr::from((System::Muster.address(), OWN_PORT))
}

/// `tables`: groups beside it.
fn configuration(world: &World, tables: &str) -> String {
    let service = own_service();
    let mut text = String::from("[manager]\nlisten = \"0.0.0.0:29001\"\nprofile = \"fast\"\n");
    for (number, name) in (1..).zip([BOSS, ONE, TWO]) {
        let address = lab::lan::addresses(number).0;
        text.push_str(&format!("\n[nodes.{name}]\naddress = \"{address}\"\n"));
    }
    // Both are made to fail again and again.
    text.push_str(&format!(
        "\n[groups.{GROUP}]\nnodes = [\"{ONE}\", \"{TWO}\"]\nrestarts_max = 500\nfailovers_max = 500\n\n\
         [groups.{GROUP}.resources.ip]\ntype = \"address\"\naddress = \"{}/24\"\n\n\
         [groups.{GROUP}.resources.server]\ntype = \"process\"\ncommand = {:?}\n\n\
         [monitors.server]\nkind = \"tcp\"\ntarget = \"{service}\"\ngroup = \"{GROUP}\"\nresource = \"server\"\n\
         interval_ms = 1000\nretries = 0\nstart_period_ms = 1000\nrestarts_max = 500\n",
        System::Muster.address(),
        world.service(&[service])
    ));
    text + tables
}

/// The manager runs, and both hosts belong to the cell.
pub fn set_up(world: &mut World, tables: &str) -> Outcome<()> {
    let path = world.hosts.get(BOSS).doing("find a host")?.home.join("muster.toml");
    fs::write(&path, configuration(world, tables)).doing(format_args!("write {}", path.display()))?;
    world.hosts.must(BOSS, "muster init").doing("make a cell")?;
    start_manager(world)?;
    let started = Instant::now();
    while status(&world.hosts).is_err() {
        if started.elapsed() > START_TIME_MAX {
            return Err(Failure("the manager does not answer".into()));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    for name in [ONE, TWO] {
        let join = world.hosts.must(BOSS, &format!("muster node token {name}")).doing("let a host join")?;
        world.hosts.must(name, join.trim()).doing("join the cell")?;
    }
    Ok(())
}

pub fn start_manager(world: &mut World) -> Outcome<()> {
    world.start_on(BOSS, "muster", &["muster", "run", "--node", BOSS].map(str::to_owned))
}

fn status(hosts: &Hosts) -> Outcome<CellStatus> {
    let said = hosts.run(BOSS, "muster status --json").doing("ask for the status")?;
    serde_json::from_str(&said.data).map_err(|error| Failure(format!("{error}: {said:?}")))
}

fn group(hosts: &Hosts) -> Outcome<GroupStatus> {
    let mut groups = status(hosts)?.groups.into_iter().filter(|group| group.group.0 == GROUP);
    groups.next().ok_or_else(|| Failure("there is no group".into()))
}

/// Whether the group runs, and could run on either host.
pub fn is_whole(hosts: &Hosts) -> Outcome<bool> {
    let group = group(hosts)?;
    Ok(group.state == GroupCondition::Online && group.why.iter().all(|why| why.is_able))
}

/// It stays where it is, by itself: a person moves it back.
pub fn bring_home(world: &World) -> Outcome<()> {
    let group = group(&world.hosts)?;
    let is_away = group.node.is_some_and(|node| node.0 == TWO);
    if is_away && is_whole(&world.hosts)? {
        // Refused where something has changed just now; it is looked at again.
        world.hosts.run(BOSS, &format!("muster group move {GROUP} {ONE} --yes")).doing("move the group")?;
    }
    Ok(())
}

pub fn move_away(hosts: &Hosts) -> Outcome<()> {
    hosts.must(BOSS, &format!("muster group move {GROUP} {TWO} --yes")).map(drop).doing("move the group")
}

/// The group's own service is killed.
pub fn kill_service(hosts: &Hosts) -> Outcome<()> {
    match hosts.get(ONE).doing("find a host")?.kill_marked("MUSTER_RESOURCE=server", "--answer") {
        1 => Ok(()),
        count => Err(Failure(format!("{count} processes of the service were there to be killed, not one"))),
    }
}
