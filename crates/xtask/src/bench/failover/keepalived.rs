//! keepalived on both hosts: one instance with its default of an advertisement a second, one with ten.

use super::system::System;
use super::world::{ONE, TWO};
use crate::failure::{Doing, Outcome};
use lab::hosts::Hosts;
use std::fs;

/// While this file is there, on a host, its service has failed.
const FAILING: &str = "/var/lib/muster/service-has-failed";
const FILE: &str = "keepalived.conf";

/// Its configuration, in the homes of both hosts.
pub fn prepare(hosts: &Hosts) -> Outcome<()> {
    for (name, priority) in [(ONE, 150), (TWO, 100)] {
        let path = hosts.get(name).doing("find a host")?.home.join(FILE);
        fs::write(&path, configuration(name, priority)).doing(format_args!("write {}", path.display()))?;
    }
    Ok(())
}

fn configuration(name: &str, priority: u8) -> String {
    let interface = lab::lan::INTERFACE;
    let instance = |system: System, number: u8, timing: &str| {
        format!(
            "vrrp_instance I{number} {{\n  state BACKUP\n  interface {interface}\n  virtual_router_id {number}\n  \
             priority {priority}\n  {timing}\n  virtual_ipaddress {{\n    {}/24 dev {interface}\n  }}\n  \
             track_script {{\n    service\n  }}\n}}\n",
            system.address()
        )
    };
    format!(
        "global_defs {{\n  router_id {name}\n  script_user root\n  enable_script_security\n}}\n\
         vrrp_script service {{\n  script \"/usr/bin/test ! -e {FAILING}\"\n  interval 1\n  fall 1\n  rise 1\n}}\n{}{}",
        instance(System::Keepalived, 51, "advert_int 1"),
        instance(System::KeepalivedQuick, 52, "version 3\n  advert_int 0.1"),
    )
}

pub fn command() -> Vec<String> {
    // The files of one that was killed would stand in the way of the next.
    let line = "rm -f /var/lib/muster/*.pid; exec keepalived --dont-fork --log-console --vrrp --use-file keepalived.conf \
                --pid /var/lib/muster/keepalived.pid --vrrp_pid /var/lib/muster/vrrp.pid";
    ["sh", "-c", line].map(str::to_owned).to_vec()
}

/// It ends in good order, which is how a person moves its addresses.
pub fn end(hosts: &Hosts) -> Outcome<()> {
    hosts.must(ONE, "pkill -TERM -x keepalived").map(drop).doing("end keepalived")
}

pub fn fail(hosts: &Hosts) -> Outcome<()> {
    hosts.must(ONE, &format!("touch {FAILING}")).map(drop).doing("let the service fail")
}

pub fn recover(hosts: &Hosts) -> Outcome<()> {
    hosts.must(ONE, &format!("rm -f {FAILING}")).map(drop).doing("let the service recover")
}
