//! How long all routers take to know of a lost machine, an exit and a drain, in a lab of many machines with three managers.
//!
//! Each figure is the time from the moment before the fault until the cell's status, asked for again and again, tells that
//! every router on another machine uses a view that was made with it. Asking takes a few milliseconds, by which a figure is
//! too high, never too low. Machines are network namespaces, everything on them is real.

use super::cell_client::CellClient;
use super::{candidate, statistics};
use crate::failure::{Doing, Failure, Outcome};
use crate::lab::directory;
use lab::cell::Plan;
use lab::run::Lab;
use lab::scenario;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use wire::id::MemberName;
use wire::status::{CellStatus, RouterStatus};
use wire::view::RunState;

/// Machines that a cell with three managers needs besides those that are lost.
const HOSTS_MIN: usize = 4;
const MANAGERS: usize = 3;
/// Longest wait for the cell to be whole again, and for routers to know. A minute: a hundred times what it takes.
const STEP_TIME_MAX: Duration = Duration::from_secs(60);
/// Pause between two looks while nothing is measured.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Faults are spread over this time after all is well, so that they meet every phase of heartbeats and reports.
const SPREAD_MS: u64 = 1000;
/// Pause between two looks while something is measured: asking without one would take the machine's time from what is asked.
const LOOK_OFTEN: Duration = Duration::from_millis(1);
const CLUSTER: &str = "shop";
/// Who is asked: a manager whose machine is never lost.
const ASKED: &str = "web-1";
const CONSOLE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 29_003);

#[derive(Debug, clap::Args)]
pub struct CrashesArgs {
    /// Machines, three of them with managers
    #[arg(long, default_value_t = 20)]
    hosts: usize,
    /// Faults of each kind, one after the other
    #[arg(long, default_value_t = 20)]
    faults: usize,
    /// Where managers keep what they share: etcd or postgres
    #[arg(long, default_value = "etcd")]
    store: String,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Its cable is pulled.
    Unplugged,
    /// All that runs on it stops at once, and its connections stay open.
    Frozen,
    /// A member's process is killed.
    Exit,
    /// A person drains a member.
    Drain,
}

const FAULTS: [Fault; 4] = [Fault::Unplugged, Fault::Frozen, Fault::Exit, Fault::Drain];

impl Fault {
    fn text(self) -> &'static str {
        match self {
            Fault::Unplugged => "a machine's cable is pulled",
            Fault::Frozen => "a machine freezes",
            Fault::Exit => "a member's process is killed",
            Fault::Drain => "a member is drained, with the command that does it",
        }
    }

    /// To all routers, at p99.
    fn most_ms(self) -> f64 {
        match self {
            Fault::Unplugged | Fault::Frozen => 1_000.0,
            Fault::Exit => 50.0,
            Fault::Drain => 100.0,
        }
    }

    /// Lines that do it and undo it.
    fn lines(self, victim: usize) -> (String, String) {
        match self {
            Fault::Unplugged => (format!("unplug web-{victim}"), format!("plug web-{victim}")),
            Fault::Frozen => (format!("freeze web-{victim}"), format!("thaw web-{victim}")),
            // It is started again by its agent.
            Fault::Exit => (format!("kill member shop-{victim}"), String::new()),
            Fault::Drain => {
                let line = |act| {
                    format!("do {ASKED} muster cluster {act} {CLUSTER} shop-{victim} {}", lab::cell::API)
                };
                (line("drain"), line("start"))
            }
        }
    }
}

#[derive(Debug, serde::Serialize)]
struct Figure {
    fault: &'static str,
    faults: usize,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    most_ms: f64,
    is_met: bool,
}

/// Whether every bar was met.
pub fn crashes(args: &CrashesArgs) -> Outcome<bool> {
    if args.hosts < HOSTS_MIN || args.faults == 0 {
        return Err(Failure(format!("at least {HOSTS_MIN} hosts and one fault of each kind")));
    }
    super::router::build()?;
    let (directory, program) = (directory("crashes")?, candidate::muster()?);
    eprintln!("bringing up {} machines", args.hosts);
    let mut lab = Lab::start(&plan(args)?, &directory, &program).doing("bring up the machines")?;
    let token = lab.hosts().must(ASKED, "cat /var/lib/muster/admin-token").doing("read the token")?;
    let host = lab.hosts().get(ASKED).doing("find a host")?;
    let mut client = CellClient::open_on(host, CONSOLE, token.trim())?;
    let figures = FAULTS.iter().map(|fault| measure(&mut lab, &mut client, *fault, args));
    let figures = figures.collect::<Outcome<Vec<_>>>()?;
    if args.json {
        println!("{}", serde_json::to_string(&figures).doing("write JSON")?);
    } else {
        println!("{} machines, {MANAGERS} managers on {}, until all routers know", args.hosts, args.store);
        for Figure { fault, faults, p50_ms, p99_ms, max_ms, most_ms, is_met } in &figures {
            let verdict = if *is_met { "met   " } else { "MISSED" };
            println!(
                "{verdict}  {fault}: p50 {p50_ms:.0} ms, p99 {p99_ms:.0} ms, longest of {faults} {max_ms:.0} ms, at most \
                 {most_ms:.0} ms"
            );
        }
    }
    Ok(figures.iter().all(|figure| figure.is_met))
}

fn plan(args: &CrashesArgs) -> Outcome<Plan> {
    let hosts: Vec<String> = (1..=args.hosts).map(|number| format!("web-{number}")).collect();
    let text =
        format!("# Crashes.\n\nhosts {}\nmanagers {MANAGERS}\nstore {}\n", hosts.join(" "), args.store);
    let plan = scenario::parse(&text).map(|scenario| scenario.plan);
    plan.map_err(|mistake| Failure(format!("the plan of the lab: {}", mistake.why)))
}

fn measure(lab: &mut Lab, client: &mut CellClient, fault: Fault, args: &CrashesArgs) -> Outcome<Figure> {
    let mut times_ms = Vec::with_capacity(args.faults);
    for number in 0..args.faults {
        wait(client, "the cell is whole", LOOK_EVERY, |status| is_well(status, args.hosts))?;
        std::thread::sleep(Duration::from_millis((number as u64 * 618) % SPREAD_MS));
        // Managers stay: what their loss costs is another figure.
        let victim = MANAGERS + 1 + number % (args.hosts - MANAGERS);
        let (line, undo) = fault.lines(victim);
        let before = client.status()?;
        let started = Instant::now();
        lab.type_in(&line).doing(&line)?;
        let what = format!("all routers know of shop-{victim}");
        wait(client, &what, LOOK_OFTEN, |status| is_known(status, &before, fault, victim))?;
        times_ms.push(started.elapsed().as_secs_f64() * 1e3);
        if !undo.is_empty() {
            lab.type_in(&undo).doing(&undo)?;
        }
        eprintln!("{:>4} of {}: {}: {:.0} ms", number + 1, args.faults, fault.text(), times_ms[number]);
    }
    times_ms.sort_by(f64::total_cmp);
    let p99_ms = statistics::quantile(&times_ms, 0.99);
    Ok(Figure {
        fault: fault.text(),
        faults: args.faults,
        p50_ms: statistics::quantile(&times_ms, 0.5),
        p99_ms,
        max_ms: statistics::quantile(&times_ms, 1.0),
        most_ms: fault.most_ms(),
        is_met: p99_ms <= fault.most_ms(),
    })
}

/// Every member takes requests, and every router knows that.
fn is_well(status: &CellStatus, hosts: usize) -> bool {
    let members = || status.clusters.iter().flat_map(|cluster| &cluster.members);
    status.routers.len() == hosts
        && members().count() == hosts
        && members().all(|member| member.state == RunState::Up)
        && status.routers.iter().all(|router| router.connected && uses(router, status, 0))
}

/// Whether it uses views so many epochs later than these, or later still.
fn uses(router: &RouterStatus, than: &CellStatus, later_by: u64) -> bool {
    than.clusters.iter().all(|cluster| {
        router.applied.get(&cluster.cluster).is_some_and(|used| {
            (used.generation, used.number) >= (cluster.epoch.generation, cluster.epoch.number + later_by)
        })
    })
}

/// Whether every router on another machine uses a view that was made since `before`, and with the fault in it.
fn is_known(status: &CellStatus, before: &CellStatus, fault: Fault, victim: usize) -> bool {
    let name = MemberName(format!("shop-{victim}"));
    let mut members = status.clusters.iter().flat_map(|cluster| &cluster.members);
    let member = members.find(|member| member.member == name);
    let is_seen = member.is_some_and(|member| match fault {
        Fault::Unplugged | Fault::Frozen => member.state == RunState::Down,
        Fault::Drain => member.state == RunState::Draining,
        // It may have come back since.
        Fault::Exit => true,
    });
    let has_router = match fault {
        Fault::Unplugged | Fault::Frozen => false,
        Fault::Exit | Fault::Drain => true,
    };
    let own = format!("front-{victim}");
    let mut others = status.routers.iter().filter(|router| has_router || router.router.0 != own);
    is_seen && others.all(|router| uses(router, before, 1))
}

/// Asks again and again until it is so.
fn wait(
    client: &mut CellClient,
    what: &str,
    pause: Duration,
    is_so: impl Fn(&CellStatus) -> bool,
) -> Outcome<()> {
    let started = Instant::now();
    loop {
        if is_so(&client.status()?) {
            return Ok(());
        }
        if started.elapsed() > STEP_TIME_MAX {
            return Err(Failure(format!("not within {} s: {what}", STEP_TIME_MAX.as_secs())));
        }
        std::thread::sleep(pause);
    }
}
