//! Pacemaker with Corosync on both hosts, with their defaults and without fencing, as published recipes for two nodes have it.
//!
//! Two Muster nodes have no fence here either. Its files are of each host alone; its sockets are of each host's network.

use super::system::System;
use super::world::{ONE, TWO};
use crate::failure::{Doing, Failure, Outcome};
use lab::hosts::Hosts;
use std::fs;
use std::time::{Duration, Instant};

/// Longest wait for two nodes to find each other. A minute: three times what a single one waits for others.
const START_TIME_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const FILE: &str = "corosync.conf";

/// Directories that each host must have for itself.
const DIRECTORIES: &str = "mount -t tmpfs none /run && mount -t tmpfs none /dev/shm && mount -t tmpfs none /var/log && \
    mkdir -p /run/crm /run/corosync /run/resource-agents /run/lock /var/lib/corosync /var/log/pacemaker /var/log/corosync \
    /var/lib/pacemaker/cib /var/lib/pacemaker/pengine /var/lib/pacemaker/cores /var/lib/pacemaker/blackbox && \
    chown -R hacluster:haclient /run/crm /var/lib/pacemaker /var/log/pacemaker";

pub fn prepare(hosts: &Hosts) -> Outcome<()> {
    for name in [ONE, TWO] {
        let host = hosts.get(name).doing("find a host")?;
        match host.run(&["sh", "-c", DIRECTORIES]).doing("make directories for Pacemaker")? {
            said if said.code == Some(0) => {}
            said => return Err(Failure(format!("no directories for Pacemaker on {name}: {said:?}"))),
        }
        let path = host.home.join(FILE);
        fs::write(&path, configuration()).doing(format_args!("write {}", path.display()))?;
    }
    Ok(())
}

fn configuration() -> String {
    let node = |name: &str, number: u8| {
        format!(
            "  node {{\n    ring0_addr: 10.1.0.{}\n    name: {name}\n    nodeid: {number}\n  }}\n",
            number + 1
        )
    };
    format!(
        "totem {{\n  version: 2\n  cluster_name: bench\n  transport: knet\n  crypto_cipher: none\n  crypto_hash: none\n}}\n\
         nodelist {{\n{}{}}}\nquorum {{\n  provider: corosync_votequorum\n  two_node: 1\n}}\n\
         logging {{\n  to_stderr: no\n  to_syslog: no\n  to_logfile: yes\n  logfile: /var/log/corosync/corosync.log\n}}\n\
         system {{\n  allow_knet_handle_fallback: yes\n}}\n",
        node(ONE, 1),
        node(TWO, 2)
    )
}

pub fn commands() -> [(&'static str, Vec<String>); 2] {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    [
        ("corosync", words("corosync -f -c corosync.conf")),
        // It ends at once where Corosync is not there yet.
        (
            "pacemaker",
            vec![
                "sh".to_owned(),
                "-c".to_owned(),
                "until corosync-cmapctl -g totem.cluster_name; do sleep 0.2; done; \
                 PCMK_logfile=/var/log/pacemaker/pacemaker.log exec pacemakerd"
                    .to_owned(),
            ],
        ),
    ]
}

/// The address, which is at home on the first host and looked at each second.
pub fn configure(hosts: &Hosts) -> Outcome<()> {
    let started = Instant::now();
    while !is_whole(hosts)? {
        if started.elapsed() > START_TIME_MAX {
            let said = hosts.run(ONE, "crm_mon -1");
            let log =
                hosts.run(ONE, "tail -n 20 /var/log/corosync/corosync.log /var/log/pacemaker/pacemaker.log");
            return Err(Failure(format!("Pacemaker did not come to be: {said:?} {log:?}")));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let (address, interface) = (System::Pacemaker.address(), lab::lan::INTERFACE);
    let value =
        |name: &str, value: &str| format!("<nvpair id=\"ip-{name}\" name=\"{name}\" value=\"{value}\"/>");
    let resource = format!(
        "<primitive id=\"ip\" class=\"ocf\" provider=\"heartbeat\" type=\"IPaddr2\"><instance_attributes id=\"ip-options\">\
         {}{}{}</instance_attributes><operations><op id=\"ip-monitor\" name=\"monitor\" interval=\"1s\" timeout=\"20s\"/>\
         </operations></primitive>",
        value("ip", &address.to_string()),
        value("cidr_netmask", "24"),
        value("nic", interface)
    );
    let place = format!("<rsc_location id=\"home\" rsc=\"ip\" node=\"{ONE}\" score=\"100\"/>");
    let commands = [
        vec!["crm_attribute", "--type", "crm_config", "--name", "stonith-enabled", "--update", "false"],
        vec!["cibadmin", "--create", "--scope", "resources", "--xml-text", &resource],
        vec!["cibadmin", "--create", "--scope", "constraints", "--xml-text", &place],
    ];
    for words in commands {
        let said = hosts.get(ONE).and_then(|host| host.run(&words)).doing("configure Pacemaker")?;
        if said.code != Some(0) {
            return Err(Failure(format!("{}: {said:?}", words.join(" "))));
        }
    }
    Ok(())
}

/// Whether each node knows the other as one that is there.
pub fn is_whole(hosts: &Hosts) -> Outcome<bool> {
    for name in [ONE, TWO] {
        let said = hosts.run(name, "crm_mon --one-shot").doing("ask Pacemaker")?;
        if !said.data.contains(&format!("Online: [ {ONE} {TWO} ]")) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A person takes the host out of service, or back into it.
pub fn stand_by(hosts: &Hosts, is_meant: bool) -> Outcome<()> {
    let value = if is_meant { "on" } else { "off" };
    let line = format!("crm_attribute --node {ONE} --name standby --update {value}");
    hosts.must(ONE, &line).map(drop).doing("let Pacemaker stand by")
}

/// Somebody takes its address away.
pub fn fail(hosts: &Hosts) -> Outcome<()> {
    let line = format!("ip address del {}/24 dev {}", System::Pacemaker.address(), lab::lan::INTERFACE);
    hosts.must(ONE, &line).map(drop).doing("take an address away")
}
