//! Tells a cell a story written as text and writes down what it says.
//!
//! A line is a time in milliseconds and a sentence:
//! `configure <cluster>=<member>,... [affinity] [drain=<ms>]`, a member being `<name>@<node>[!][*<weight>][:<version>]`
//! (`!`: external), `configure-addresses` the same with members on their nodes' addresses, `configure-nodes <node>,...`
//! without anything else; `agent <node>`, `lost <node>`, `report <node> <member>=<state>[#<instance>] ...`,
//! `deaf-report <node> ...` (the agent hears nothing of the manager), `report-numbered <node> <incarnation> <sequence> ...`; `router edge`, `gone edge`,
//! `edge <cluster> [<member>=<in flight>[/<sessions>]] ...` (has applied the newest view), `edge-at <epoch> ...`;
//! `beats <node>`, `reach [mass] <node>=there|degraded|away ...` (heartbeats missed for 950 ms), `reboot <node>`;
//! `start|stop|drain|restart <cluster>[/<member>]`; `tick`. Between lines the cell is woken when it wants to be.

use crate::cell::{Cell, Input, Output};
use crate::heartbeat::{Doubted, Reach, Restart, Verdict};
use crate::machine::Machine;
use crate::time::Time;
use std::collections::BTreeMap;
use wire::agent::*;
use wire::id::{ClusterName, Epoch, MemberId, MemberName, NodeName, NodeNumber};
use wire::router::{
    ClusterTraffic, Limits, MemberTraffic, RetrySettings, RouterReport, Timeouts, Totals, TrafficCounts,
};
use wire::settings::*;
use wire::status::{Act, Severity};
use wire::view::{Affinity, HashKey, Health, Policy, RunState, Transport, View};

pub struct Story {
    cell: Cell,
    remembered: BTreeMap<String, String>,
    instances: BTreeMap<MemberId, u64>,
    views: BTreeMap<ClusterName, View>,
    sequence: u64,
    trace: String,
}

impl Default for Story {
    fn default() -> Self {
        Self {
            cell: Cell::new(7, []),
            remembered: BTreeMap::new(),
            instances: BTreeMap::new(),
            views: BTreeMap::new(),
            sequence: 0,
            trace: String::new(),
        }
    }
}

/// Tells `story` to a new cell and compares everything it says.
pub fn check(story: &str, expected: expect_test::Expect) {
    let mut told = Story::default();
    told.tell(story);
    told.compare(&expected);
}

impl Story {
    pub fn compare(&self, expected: &expect_test::Expect) {
        expected.assert_eq(&self.trace);
    }

    /// Forgets what was said so far.
    pub fn forget(&mut self) {
        self.trace.clear();
    }

    /// The manager dies; the next one has what was remembered.
    pub fn restart_manager(&mut self, generation: u64) {
        self.cell = Cell::new(generation, self.remembered.clone());
        self.views.clear();
    }

    /// What people would see; wall clock is a million milliseconds ahead.
    pub fn summary(&self) -> crate::cell::Summary {
        self.cell.summary(&|time| time.0 + 1_000_000)
    }

    pub fn admits(&self, role: &wire::link::Role) -> Result<(), String> {
        self.cell.admits(role)
    }

    pub fn remembered_text(&self) -> String {
        self.remembered.iter().map(|(key, value)| format!("{key}: {value}\n")).collect()
    }

    pub fn tell(&mut self, story: &str) {
        for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (time, sentence) = line.split_once(' ').expect("a time and a sentence");
            let now = Time(time.parse().expect("a time in milliseconds"));
            while let Some(at) = self.cell.wake_at().filter(|at| *at < now) {
                self.step(at, Input::Tick);
            }
            let input = self.input(sentence);
            self.step(now, input);
        }
    }

    fn step(&mut self, now: Time, input: Input) {
        let outputs = self.cell.step(now, input);
        self.cell.check();
        if let Some(at) = self.cell.wake_at() {
            assert!(at > now, "it wants to be woken at {at}, and it is {now}");
        }
        for output in outputs {
            if let Some(line) = self.hear(output) {
                self.trace += &format!("{} {line}\n", now.0);
            }
        }
    }

    /// Takes an output to heart and says it in a line.
    fn hear(&mut self, output: Output) -> Option<String> {
        Some(match output {
            Output::Publish { to, view } => {
                let old = self.views.insert(view.cluster.clone(), view.clone());
                assert!(
                    old.is_none_or(|old| to.is_some() || old.epoch < view.epoch),
                    "an epoch goes backwards"
                );
                let to = to.map(|to| format!(" to {to}")).unwrap_or_default();
                let members: Vec<_> = view.members.iter().map(member_text).collect();
                let members = if members.is_empty() { "nobody".to_owned() } else { members.join(", ") };
                format!("view {} {}{to}: {members}", view.cluster, view.epoch)
            }
            Output::Clusters { to, names } => {
                let names: Vec<_> = names.into_iter().map(|name| name.0).collect();
                format!("clusters {}: {}", to.map_or("all".into(), |to| to.0), names.join(" "))
            }
            Output::RouterSettings { router, .. } => format!("settings {router}"),
            Output::Assign { node, assignments } => {
                let texts: Vec<_> = assignments.iter().map(assignment_text).collect();
                for assignment in assignments {
                    let old = self.instances.insert(assignment.id, assignment.instance);
                    assert!(old.is_none_or(|old| old <= assignment.instance), "an instance goes backwards");
                }
                format!("assign {node}: {}", texts.join(", "))
            }
            Output::Event { severity, kind, text, .. } => {
                let severity = match severity {
                    Severity::Info => "info",
                    Severity::Warning => "warning",
                    Severity::Error => "error",
                };
                format!("event {severity} {kind}: {text}")
            }
            Output::NodeEvent { kind, text, .. } => format!("node event {kind}: {text}"),
            Output::Monitor { node, .. } => format!("monitors {node}"),
            Output::Remember { key, value } => {
                match value {
                    Some(value) => self.remembered.insert(key, value),
                    None => self.remembered.remove(&key),
                };
                return None;
            }
            Output::Lost { node } => format!("lost {node}"),
            Output::Overtaken { node, incarnation } => format!("above {node} {incarnation}"),
            Output::Answer { ask: 1, result: Ok(text) } => format!("answer: {text}"),
            Output::Answer { ask: 1, result: Err(refusal) } => {
                let retry = if refusal.retry { " retry" } else { "" };
                format!("refused {}{retry}: {}", refusal.code, refusal.message)
            }
            Output::Answer { ask, .. } => panic!("nobody asked {ask}"),
        })
    }

    fn input(&mut self, sentence: &str) -> Input {
        let mut words = sentence.split(' ').filter(|word| !word.is_empty());
        let verb = words.next().expect("a verb");
        let words: Vec<&str> = words.collect();
        let act = |act| operator(words[0], act);
        match verb {
            "confirm-lost" => Input::ConfirmLost { ask: 1, who: "ann".into(), node: words[0].into() },
            "configure" => Input::Configure(Box::new(settings(&words))),
            "configure-addresses" => {
                let address = [127, 0, 0, 1].into();
                let node_addresses = [("a".into(), address), ("b".into(), address)].into();
                Input::Configure(Box::new(CellSettings { node_addresses, ..settings(&words) }))
            }
            "configure-nodes" => {
                let nodes = words[0].split(',').map(NodeName::from).collect();
                Input::Configure(Box::new(CellSettings { nodes, routers: Vec::new(), ..settings(&[]) }))
            }
            "agent" => Input::AgentConnected { node: words[0].into() },
            "removed" => Input::NodeRemoved { node: words[0].into() },
            "lost" => Input::AgentLost { node: words[0].into() },
            "report" => {
                self.sequence += 1;
                let sequence = self.sequence;
                self.report(words[0], 1, sequence, &words[1..])
            }
            "deaf-report" => {
                self.sequence += 1;
                let Input::AgentReport(report) = self.report(words[0], 1, self.sequence, &words[1..]) else {
                    unreachable!("a report is made")
                };
                Input::AgentReport(Report { manager_heard_ms: Some(5_000), ..report })
            }
            "report-numbered" => {
                let number = |word: &str| word.parse().expect("a number");
                self.report(words[0], number(words[1]), number(words[2]), &words[3..])
            }
            "beats" => Input::Beats { node: self.number(words[0]) },
            "reach" => self.reach(&words),
            "reboot" => {
                let restart = Restart { node: self.number(words[0]), incarnation: 2, is_reboot: true };
                Input::Restarted(restart)
            }
            "router" => Input::RouterConnected { router: words[0].into() },
            "gone" => Input::RouterLost { router: words[0].into() },
            "edge" => self.edge(None, &words),
            "edge-at" => {
                let (generation, number) = words[0].split_once('.').expect("an epoch");
                let parse = |word: &str| word.parse().expect("a number");
                let epoch = Epoch { generation: parse(generation), number: parse(number) };
                self.edge(Some(epoch), &words[1..])
            }
            "start" => act(Act::Start),
            "stop" => act(Act::Stop),
            "drain" => act(Act::Drain),
            "restart" => act(Act::Restart),
            "tick" => Input::Tick,
            verb => panic!("no story knows the verb {verb}"),
        }
    }

    fn number(&self, node: &str) -> NodeNumber {
        let found = self.cell.nodes().find(|place| place.node.0 == node);
        found.expect("a node of the configuration").number
    }

    fn reach(&self, words: &[&str]) -> Input {
        let is_mass = words.contains(&"mass");
        let verdicts = words.iter().filter(|word| **word != "mass").map(|word| {
            let (node, reach) = word.split_once('=').expect("node=reach");
            let (reach, heard_by) = match reach.split_once("-by-") {
                Some((reach, by)) => (reach, Some(self.number(by))),
                None => (reach, None),
            };
            let reach = match reach {
                "there" => Reach::Reachable,
                "elsewhere" => Reach::Elsewhere,
                "nearby" => Reach::Nearby,
                "degraded" => Reach::Degraded,
                "away" => Reach::Unreachable,
                reach => panic!("no story knows the reach {reach}"),
            };
            let silence_ms = if reach == Reach::Unreachable { 950 } else { 0 };
            Verdict { node: self.number(node), reach, silence_ms, heard_by, is_mass }
        });
        Input::Verdicts(verdicts.collect())
    }

    pub fn away(&self) -> Vec<Doubted> {
        self.cell.away().collect()
    }

    pub fn nodes(&self) -> Vec<crate::cell::NodePlace> {
        self.cell.nodes().collect()
    }

    fn report(&self, node: &str, incarnation: u64, sequence: u64, words: &[&str]) -> Input {
        // `overdue=DAYS` tells of a certificate, all others of members.
        let overdue = words.iter().find_map(|word| word.strip_prefix("overdue="));
        let days = overdue.map(|days| days.parse::<u64>().expect("a number of days"));
        let words = words.iter().filter(|word| !word.starts_with("overdue="));
        let members = words.map(|word| self.member_report(word)).collect();
        Input::AgentReport(Report {
            node: node.into(),
            incarnation,
            sequence,
            members,
            manager_heard_ms: Some(10),
            clock_ms: days.map(|_| 1_700_000_000_000),
            certificate_until_ms: days.map(|days| 1_700_000_000_000 + days * 86_400_000),
        })
    }

    fn member_report(&self, word: &str) -> MemberReport {
        let (name, state) = word.split_once('=').expect("member=state");
        let (state, instance) = state.split_once('#').map_or((state, None), |(state, it)| (state, Some(it)));
        let known = self.instances.iter().find(|(id, _)| id.member.0 == name);
        let (id, current) = known.expect("reports speak of what was assigned");
        let instance = instance.map_or(*current, |instance| instance.parse().expect("a number"));
        // Who is external is said by its name.
        let is_external = ["x", "y", "o"].contains(&name);
        let alive =
            if is_external { ProcessState::External } else { ProcessState::Running { pid: instance as u32 } };
        let (process, probe) = match state {
            "up" => (alive, ProbeState::Passing),
            "starting" => (alive, ProbeState::Unknown),
            "down" => (alive, ProbeState::Failing),
            "stopping" => (ProcessState::Stopping { pid: instance as u32 }, ProbeState::Unknown),
            "stopped" => (ProcessState::Stopped, ProbeState::Unknown),
            "backoff" => (ProcessState::BackingOff, ProbeState::Unknown),
            "gaveup" => (ProcessState::GaveUp, ProbeState::Unknown),
            state => panic!("no story knows the state {state}"),
        };
        let address = Some(([127, 0, 0, 1], 8080).into());
        MemberReport { id: id.clone(), instance, process, probe, address, restarts: 0, reason: String::new() }
    }

    fn edge(&self, applied: Option<Epoch>, words: &[&str]) -> Input {
        let cluster = ClusterName::from(words[0]);
        let view = &self.views[&cluster];
        let told: BTreeMap<&str, &str> =
            words[1..].iter().map(|word| word.split_once('=').expect("member=number")).collect();
        let members = view.members.iter().map(|member| {
            let text = told.get(member.name.0.as_str()).copied().unwrap_or("0");
            let (in_flight, sessions) = text.split_once('/').unwrap_or((text, "0"));
            MemberTraffic {
                member: member.name.clone(),
                requests: 10,
                failed: 0,
                in_flight: in_flight.parse().expect("a number"),
                requests_per_second: 1.0,
                sessions: sessions.parse().expect("a number"),
                latency_p50_us: 100,
                latency_p99_us: 200,
                counts: TrafficCounts::default(),
                ejection: None,
            }
        });
        let members = members.collect();
        let applied = applied.unwrap_or(view.epoch);
        Input::RouterReport(RouterReport {
            routes: Vec::new(),
            router: "edge".into(),
            listening: Vec::new(),
            problems: Vec::new(),
            connections: 1,
            clusters: vec![ClusterTraffic {
                cluster,
                applied,
                members,
                failed_over: 0,
                queued: 0,
                queue_refused: 0,
                waiting: 0,
            }],
            totals: Totals::default(),
            takes_changes: true,
        })
    }
}

fn member_text(member: &wire::view::MemberView) -> String {
    assert!(
        member.address.is_some() || !matches!(member.state, RunState::Up | RunState::Draining),
        "{} serves nowhere",
        member.name
    );
    let weight = if member.weight == 1 { String::new() } else { format!(" *{}", member.weight) };
    let lost = if member.is_lost { "!" } else { "" };
    let lost = if member.is_lost && member.only_fails_probe { "!?" } else { lost };
    format!("{} {}{lost}{weight}", member.name, member.state)
}

fn assignment_text(assignment: &Assignment) -> String {
    let want = match assignment.want {
        Want::Running => "running",
        Want::Stopped => "stopped",
    };
    let version = match &assignment.run {
        Run::Managed(launch) => launch.command.get(1).map(|version| format!(" :{version}")),
        Run::External { .. } => None,
    };
    let version = version.unwrap_or_default();
    format!("{} {want} {}{version}", assignment.id.member, assignment.instance)
}

fn operator(on: &str, act: Act) -> Input {
    let (cluster, member) =
        on.split_once('/').map_or((on, None), |(cluster, member)| (cluster, Some(member)));
    let member = member.map(MemberName::from);
    Input::Operator { ask: 1, who: "ann".into(), cluster: cluster.into(), member, act }
}

/// A cell with nodes a and b, and a router `edge` on node a that has a route to each cluster.
pub fn settings(words: &[&str]) -> CellSettings {
    let has_affinity = words.contains(&"affinity");
    let drain = words.iter().find_map(|word| word.strip_prefix("drain="));
    let clusters = words.iter().filter(|word| !word.starts_with("drain=") && **word != "affinity");
    let clusters: Vec<ClusterSettings> = clusters
        .map(|word| {
            let (name, members) = word.split_once('=').expect("cluster=members");
            ClusterSettings {
                name: name.into(),
                policy: Policy::RoundRobin,
                affinity: has_affinity.then(|| Affinity {
                    cookie: "JSESSIONID".into(),
                    url_identifier: String::new(),
                    separator: ':',
                    lowers_weight: false,
                    ..Affinity::default()
                }),
                drain_ms: drain.map_or(0, |drain| drain.parse().expect("a number")),
                hash_key: HashKey::default(),
                health: Health::default(),
                members: members.split(',').map(member_settings).collect(),
            }
        })
        .collect();
    CellSettings {
        groups: Vec::new(),
        fences: Vec::new(),
        cells: Vec::new(),
        bridges: Vec::new(),
        monitors: Vec::new(),
        name: "cell".into(),
        state_dir: "state".into(),
        nodes: vec!["a".into(), "b".into()],
        node_addresses: Default::default(),
        node_power: Default::default(),
        manager: wire::settings::ManagerSettings {
            listen: Some(([10, 0, 0, 1], 29001).into()),
            ..Default::default()
        },
        store: wire::settings::StoreSettings::Sqlite,
        console: ConsoleSettings { listen: ([127, 0, 0, 1], 0).into() },
        routers: vec![router(&clusters)],
        clusters,
    }
}

fn router(clusters: &[ClusterSettings]) -> RouterPlace {
    let routes = clusters
        .iter()
        .map(|cluster| RouteSettings::to_cluster("*", &format!("/{}", cluster.name), cluster.name.clone()));
    RouterPlace {
        name: "edge".into(),
        node: "a".into(),
        listeners: vec![Listener::plain(([127, 0, 0, 1], 0).into())],
        zone: String::new(),
        threads: 1,
        routes: routes.collect(),
        timeouts: Timeouts {
            connect_ms: 1,
            head_ms: 1,
            body_ms: 1,
            idle_ms: 1,
            response_ms: 1,
            request_ms: 1,
            tunnel_idle_ms: 1,
            pool_idle_ms: 1,
        },
        limits: Limits {
            head_size_max_bytes: 1,
            header_count_max: 1,
            body_size_max_bytes: 1,
            connections_max: 1,
            pool_size_max: 1,
        },
        retry: RetrySettings {
            attempts_max: 1,
            budget_percent: 1,
            budget_floor_per_second: 1,
            replay_max_bytes: 1,
        },
        access_log: AccessLog::default(),
        trace: None,
        trusted_proxies: Vec::new(),
        clients: Vec::new(),
        advertise: String::new(),
        plugin_cfg: None,
        gateway: None,
    }
}

fn member_settings(word: &str) -> MemberSettings {
    let (word, version) = word.split_once(':').map_or((word, None), |(word, it)| (word, Some(it)));
    let (word, weight) = word.split_once('*').map_or((word, "1"), |(word, it)| (word, it));
    let (name, node) = word.split_once('@').expect("member@node");
    let (node, is_external) = node.strip_suffix('!').map_or((node, false), |node| (node, true));
    MemberSettings {
        name: name.into(),
        clone_id: name.into(),
        weight: weight.parse().expect("a number"),
        node: node.into(),
        zone: String::new(),
        is_backup: false,
        requests_max: 0,
        transport: Transport::default(),
        run: if is_external {
            Run::External { address: ([127, 0, 0, 1], 9090).into() }
        } else {
            Run::Managed(launch(version))
        },
        probe: ProbeSettings { kind: ProbeKind::Tcp, interval_ms: 500, timeout_ms: 500, rise: 2, fall: 3 },
    }
}

fn launch(version: Option<&str>) -> Launch {
    let command = std::iter::once("serve").chain(version).map(str::to_owned);
    Launch {
        command: command.collect(),
        environment: BTreeMap::new(),
        directory: None,
        user: None,
        port: 0,
        address: None,
        stop_signal: "TERM".into(),
        stop_grace_ms: 5_000,
        log: LogSettings { path: None, size_max_bytes: 1 << 20, files_max: 1 },
        restart: RestartSettings {
            delay_ms: 100,
            delay_max_ms: 1_000,
            attempts_max: 3,
            reset_after_ms: 10_000,
            start_timeout_ms: 10_000,
            hung_after_ms: 15_000,
        },
    }
}
