//! What a manager costs that looks after ten thousand members: a real process, and beside it the agents of a hundred
//! machines and the routers that follow it, which speak to it as real ones do but run no members.
//!
//! Each machine has joined with a token and has a certificate of its own; links are TLS, heartbeats are proven, agents
//! report each second and at each change, routers report the traffic of a thousand members a second. First a steady time in
//! which members fall one after the other, then a quarter of the machines at once. What it costs is what the kernel says
//! of the manager's process.

mod fleet;
mod link;
mod routers;

use super::candidate::{self, MUSTER_FILE, free_address, start_manager};
use super::cell_client::CellClient;
use super::router::Scratch;
use super::{meter, statistics};
use crate::failure::{Doing, Failure, Outcome};
use crate::process::Owned;
use fleet::{Fall, Fleet};
use link::Link;
use routers::{Heard, Routers};
use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use wire::id::{NodeName, RouterName};
use wire::link::Role;
use wire::view::RunState;

/// What a manager may cost of the processors.
const CORES_MAX: f64 = 1.0;
/// And of the memory. 1 GiB: what the smallest machines for managers have to spare.
const MEMORY_MAX_KB: u64 = 1 << 20;
/// What one change of a member may cost on the link to each router.
const CHANGE_MAX_BYTES: f64 = 150.0;
/// From the last heartbeats of a quarter of the machines to all routers.
const LOSS_MAX_MS: f64 = 1_000.0;
/// Members of one cluster: nearly as many as a cluster may have.
const CLUSTER_MEMBERS: usize = 1_000;
/// How long the cell may take to be ready, and to tell of machines that are lost.
const READY_TIME_MAX: Duration = Duration::from_secs(120);
/// After the start: routers' first reports are heard.
const SETTLE: Duration = Duration::from_secs(5);
/// What the manager is watched for when machines are lost.
const LOSS_TIME: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub struct MembersArgs {
    /// Members, 1,000 in each cluster
    #[arg(long, default_value_t = 10_000)]
    members: usize,
    /// Machines with members
    #[arg(long, default_value_t = 100)]
    nodes: usize,
    /// Routers, each on a machine of its own
    #[arg(long, default_value_t = 20)]
    routers: usize,
    /// How long to measure
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Members that fall each second
    #[arg(long, default_value_t = 10)]
    falls: u32,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, serde::Serialize)]
struct Costs {
    members: usize,
    nodes: usize,
    routers: usize,
    heartbeats_per_second: f64,
    falls_per_second: f64,
    /// Processor time for each second, as long as members fall.
    cores: f64,
    /// The most that the process ever had resident.
    memory_kb: u64,
    /// Of a change of one member on the link to each router.
    change_bytes: f64,
    /// From an agent's finding to a router, of each change and router.
    change_p50_ms: f64,
    change_p99_ms: f64,
    lost_members: usize,
    /// From the last moment at which the lost machines could speak until the last router knew of all of them.
    loss_ms: f64,
    /// Messages by which each router learned of it.
    loss_messages: f64,
    loss_cores: f64,
}

struct Bar {
    text: String,
    is_met: bool,
}

/// Whether every bar was met.
pub fn members(args: &MembersArgs) -> Outcome<bool> {
    let is_sensible = args.nodes > 0 && args.routers > 0 && args.members >= args.nodes && args.falls > 0;
    if !is_sensible {
        return Err(Failure("a cell needs machines, at least as many members, routers and falls".into()));
    }
    super::router::build()?;
    super::router::raise_descriptor_limit();
    let costs = measure(args)?;
    let bars = bars(&costs);
    if args.json {
        println!("{}", serde_json::to_string(&costs).doing("write JSON")?);
    } else {
        let Costs { members, nodes, routers, heartbeats_per_second, falls_per_second, .. } = costs;
        println!(
            "{members} members on {nodes} machines, {routers} routers, {heartbeats_per_second:.0} heartbeats/s, \
             {falls_per_second:.0} changes/s"
        );
        for Bar { text, is_met } in &bars {
            println!("{}  {text}", if *is_met { "met   " } else { "MISSED" });
        }
    }
    Ok(bars.iter().all(|bar| bar.is_met))
}

fn bars(costs: &Costs) -> Vec<Bar> {
    let Costs { cores, memory_kb, change_bytes, change_p50_ms, change_p99_ms, .. } = *costs;
    let Costs { lost_members, loss_ms, loss_messages, loss_cores, .. } = *costs;
    let bar = |text, is_met| Bar { text, is_met };
    vec![
        bar(format!("{cores:.2} of a core, at most {CORES_MAX}"), cores <= CORES_MAX),
        bar(
            format!("{:.0} MiB at the most, at most {} MiB", memory_kb as f64 / 1024.0, MEMORY_MAX_KB >> 10),
            memory_kb <= MEMORY_MAX_KB,
        ),
        bar(
            format!(
                "{change_bytes:.0} bytes for each change and router, at most {CHANGE_MAX_BYTES} (there after \
                 {change_p50_ms:.1} ms, p99 {change_p99_ms:.1} ms)"
            ),
            change_bytes <= CHANGE_MAX_BYTES,
        ),
        bar(
            format!(
                "a quarter of the machines lost: {lost_members} members known to all routers after {loss_ms:.0} ms, at \
                 most {LOSS_MAX_MS:.0} ms ({loss_messages:.1} messages to each, {loss_cores:.2} of a core)"
            ),
            loss_ms <= LOSS_MAX_MS,
        ),
    ]
}

fn measure(args: &MembersArgs) -> Outcome<Costs> {
    let scratch = Scratch::new("members")?;
    let (link, console) = (free_address()?, free_address()?);
    let config = scratch.0.join(MUSTER_FILE);
    fs::write(&config, configuration(args, &scratch.0, link, console)?)
        .doing(format_args!("write {}", config.display()))?;
    run(Command::new(candidate::muster()?).arg("init").arg("--config").arg(&config), "muster init")?;
    let mut manager = start_manager(&candidate::muster()?, &scratch.0, Some("manager"), &["manager"])?;
    let token = scratch.0.join("state/admin-token");
    let mut client = CellClient::open(&mut manager, console, &token, READY_TIME_MAX)?;
    let count = args.nodes.max(args.routers);
    let identities = (0..count).map(|number| {
        let (node, directory) = (node(number), scratch.0.join(node(number).0));
        join(&mut client, &node, &directory)?;
        Ok((node, link::identity(&directory.join("cell"))?))
    });
    let identities = identities.collect::<Outcome<Vec<_>>>()?;
    // Once all have joined: who says nothing for long is cut off.
    let (mut agents, mut routers) = (Vec::new(), Vec::new());
    for (number, (node, identity)) in identities.into_iter().enumerate() {
        if number < args.nodes {
            let role = Role::Agent { node: node.clone() };
            agents.push((node.clone(), Link::open(link, identity.clone(), role, None)?));
        }
        if number < args.routers {
            let router = RouterName(format!("front-{number}"));
            let role = Role::Router { node, router: router.clone() };
            routers.push((router, Link::open(link, identity, role, Some(routers::READ_WAIT))?));
        }
    }
    let mut fleet = Fleet::new(agents)?;
    let routers = Routers::start(routers, args.members.div_ceil(CLUSTER_MEMBERS));
    wait_until_up(&mut fleet, &mut client, args.members)?;
    routers.wait_until_ready(&mut fleet, READY_TIME_MAX)?;
    eprintln!("every member is up");
    watch(args, &manager, fleet, routers)
}

fn node(number: usize) -> NodeName {
    NodeName(format!("web-{}", number + 1))
}

/// The manager is on a node of its own, without members.
fn configuration(
    args: &MembersArgs,
    directory: &Path,
    link: SocketAddr,
    console: SocketAddr,
) -> Outcome<String> {
    let state = directory.join("state");
    let socket = UdpSocket::bind("127.0.0.1:0").doing("find a free port")?;
    let heartbeats = socket.local_addr().doing("find a free port")?.port();
    let mut text = format!(
        "[cell]\nstate_dir = \"{}\"\n[manager]\nlisten = \"{link}\"\nheartbeat_port = {heartbeats}\n[console]\n\
         listen = \"{console}\"\n[nodes.manager]\naddress = \"127.0.0.1\"\n",
        state.display()
    );
    let mut write = |part: String| text.write_str(&part).expect("text can grow");
    for number in 0..args.nodes.max(args.routers) {
        write(format!("[nodes.{}]\naddress = \"127.0.0.1\"\n", node(number)));
    }
    for number in 0..args.routers {
        write(format!("[routers.front-{number}]\nnode = \"{}\"\nlisten = [\"127.0.0.1:0\"]\n", node(number)));
        // Each router serves every cluster, so that it is told of all members.
        for cluster in 0..args.members.div_ceil(CLUSTER_MEMBERS) {
            write(format!(
                "[[routers.front-{number}.routes]]\npath = \"/shop-{cluster}\"\ncluster = \"shop-{cluster}\"\n"
            ));
        }
    }
    for cluster in 0..args.members.div_ceil(CLUSTER_MEMBERS) {
        write(format!("[clusters.shop-{cluster}.probe]\nkind = \"tcp\"\n"));
        let first = cluster * CLUSTER_MEMBERS;
        for number in first..args.members.min(first + CLUSTER_MEMBERS) {
            let (node, port) = (node(number % args.nodes), 1_024 + number % 60_000);
            write(format!(
                "[clusters.shop-{cluster}.members.shop-{cluster}-{number}]\nnode = \"{node}\"\n\
                 address = \"127.0.0.1:{port}\"\n"
            ));
        }
    }
    Ok(text)
}

fn join(client: &mut CellClient, node: &NodeName, directory: &Path) -> Outcome<()> {
    let issued = client.node_token(node)?;
    let mut command = Command::new(candidate::muster()?);
    command.arg("join").arg(issued.manager).arg(issued.token).arg("--state-dir").arg(directory);
    run(&mut command, "muster join")
}

fn run(command: &mut Command, name: &str) -> Outcome<()> {
    let output = command.output().doing(format_args!("run {name}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Failure(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)))),
    }
}

fn wait_until_up(fleet: &mut Fleet, client: &mut CellClient, members: usize) -> Outcome<()> {
    let started = Instant::now();
    loop {
        fleet.run(Instant::now() + Duration::from_secs(1), None)?;
        if fleet.is_ready() {
            let status = client.status()?;
            let members_now = status.clusters.iter().flat_map(|cluster| &cluster.members);
            let up = members_now.filter(|member| member.state == RunState::Up).count();
            if up == members {
                return Ok(());
            }
        }
        if started.elapsed() > READY_TIME_MAX {
            return Err(Failure("the members are not up in time".into()));
        }
    }
}

/// The two measurements.
fn watch(args: &MembersArgs, manager: &Owned, mut fleet: Fleet, routers: Routers) -> Outcome<Costs> {
    let pid = manager.0.id();
    fleet.run(Instant::now() + SETTLE, None)?;
    routers.forget();
    let (beats, before) = (fleet.beats, meter::read(pid)?);
    let seconds = Duration::from_secs(args.seconds.max(1));
    fleet.run(Instant::now() + seconds, Some(Duration::from_secs(1) / args.falls))?;
    let steady = before.usage_until(&meter::read(pid)?);
    let beats = fleet.beats - beats;
    // What fell last has arrived everywhere before the next.
    fleet.run(Instant::now() + SETTLE, None)?;
    let before = meter::read(pid)?;
    let lost_at = Instant::now();
    let lost_members = fleet.silence(args.nodes.div_ceil(4));
    fleet.run(lost_at + LOSS_TIME, None)?;
    let loss = before.usage_until(&meter::read(pid)?);
    let heard = routers.end()?;
    if heard.whole_views > 0 {
        return Err(Failure(format!(
            "routers were sent {} whole views instead of changes",
            heard.whole_views
        )));
    }
    let (delays, bytes) = delays(&heard, &fleet.falls, lost_at);
    if delays.len() != fleet.falls.len() * args.routers {
        let told = delays.len();
        return Err(Failure(format!(
            "{} members fell and {} routers were told {told} times",
            fleet.falls.len(),
            args.routers
        )));
    }
    let after: Vec<_> = heard.changes.iter().filter(|arrival| arrival.at > lost_at).collect();
    let told: usize = after.iter().map(|arrival| arrival.members.len()).sum();
    if told != lost_members * args.routers {
        return Err(Failure(format!("{lost_members} members were lost and routers were told of {told}")));
    }
    let last = after.iter().map(|arrival| arrival.at).max().unwrap_or(lost_at);
    Ok(Costs {
        members: args.members,
        nodes: args.nodes,
        routers: args.routers,
        heartbeats_per_second: beats as f64 / steady.wall.as_secs_f64(),
        falls_per_second: fleet.falls.len() as f64 / seconds.as_secs_f64(),
        cores: steady.run.as_secs_f64() / steady.wall.as_secs_f64(),
        memory_kb: meter::memory_peak_kb(pid)?,
        change_bytes: bytes as f64 / delays.len() as f64,
        change_p50_ms: statistics::quantile(&delays, 0.5),
        change_p99_ms: statistics::quantile(&delays, 0.99),
        lost_members,
        loss_ms: (last - lost_at).as_secs_f64() * 1e3,
        loss_messages: after.len() as f64 / args.routers as f64,
        loss_cores: loss.run.as_secs_f64() / loss.wall.as_secs_f64(),
    })
}

/// How long each fall took to each router, in milliseconds, the shortest first; and the bytes of all of them.
fn delays(heard: &Heard, falls: &[Fall], until: Instant) -> (Vec<f64>, usize) {
    let fallen: std::collections::BTreeMap<_, _> = falls.iter().map(|fall| (&fall.member, fall.at)).collect();
    let before = heard.changes.iter().filter(|arrival| arrival.at < until);
    let of_falls = before.filter(|arrival| arrival.members.iter().any(|member| fallen.contains_key(member)));
    let (mut delays, mut bytes) = (Vec::new(), 0);
    for arrival in of_falls {
        let fallen = arrival.members.iter().filter_map(|member| fallen.get(member));
        delays.extend(fallen.map(|fell| arrival.at.saturating_duration_since(*fell).as_secs_f64() * 1e3));
        bytes += arrival.bytes;
    }
    delays.sort_by(f64::total_cmp);
    (delays, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use routers::Arrival;

    #[test]
    fn only_falls_count_each_time_they_are_told() {
        let at = Instant::now();
        let after = |milliseconds| at + Duration::from_millis(milliseconds);
        let arrival = |milliseconds, member: &str| Arrival {
            at: after(milliseconds),
            bytes: 100,
            members: vec![member.into()],
        };
        let changes = vec![arrival(7, "a"), arrival(9, "a"), arrival(8, "b"), arrival(50, "a")];
        let heard = Heard { changes, whole_views: 0, ready: 2 };
        let falls = [Fall { member: "a".into(), at: after(5) }];
        let (delays, bytes) = delays(&heard, &falls, after(40));
        assert_eq!((delays.len(), bytes), (2, 200));
        assert!((delays[1] - 4.0).abs() < 0.01, "{delays:?}");
    }
}
