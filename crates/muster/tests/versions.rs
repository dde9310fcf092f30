//! Old and new versions work together: a cell whose manager and roles speak through somebody who adds to every message what
//! a newer version might, or takes away what an older one does not know. And a router that comes back is sent the rest only.

mod support;

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use support::cell::{self, Cell, shop_tables};
use support::{Running, Scratch, http, wait_for};

/// Fields that hold one of our structures or several: others may be maps of names, which nobody may add to.
const STRUCTURES: [&str; 17] = [
    "members",
    "clusters",
    "routes",
    "totals",
    "assignments",
    "settings",
    "listeners",
    "timeouts",
    "limits",
    "retry",
    "epoch",
    "health",
    "put",
    "member",
    "rules",
    "views",
    "launch",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    ToManager,
    FromManager,
}

/// What becomes of a message on its way.
type Edit = fn(Way, Value) -> Vec<Value>;

/// What went over one connection: how often each message, and how many bytes of it.
type Counts = BTreeMap<(Way, String), (usize, usize)>;

/// Stands between the manager's socket and the roles.
struct Between {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Of each connection, in the order in which they came.
    counts: Mutex<Vec<Counts>>,
    streams: Mutex<Vec<UnixStream>>,
}

impl Between {
    fn start(state_dir: &Path, manager: PathBuf, edit: Edit) -> Self {
        std::fs::create_dir_all(state_dir).expect("a directory");
        let listener = UnixListener::bind(state_dir.join("manager.sock")).expect("a socket");
        let shared = Arc::new(Shared::default());
        let accepting = shared.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for role in listener.incoming() {
                let role = role.expect("a connection");
                // While there is no manager, there is none here either.
                let Ok(manager) = UnixStream::connect(&manager) else { continue };
                let number = {
                    let mut counts = accepting.counts.lock().expect("nobody panics with it");
                    counts.push(Counts::new());
                    counts.len() - 1
                };
                for (way, from, to) in
                    [(Way::ToManager, &role, &manager), (Way::FromManager, &manager, &role)]
                {
                    let (from, to) = (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
                    let shared = accepting.clone();
                    std::thread::spawn(move || pump(&shared, number, way, (from, to), edit));
                }
                accepting.streams.lock().expect("nobody panics with it").extend([role, manager]);
            }
        });
        Self { shared }
    }

    /// Cuts every connection.
    fn cut(&self) {
        for stream in self.shared.streams.lock().expect("nobody panics with it").drain(..) {
            // It may have ended by itself.
            drop(stream.shutdown(std::net::Shutdown::Both));
        }
    }

    fn connections(&self) -> usize {
        self.shared.counts.lock().expect("nobody panics with it").len()
    }

    /// How often a message went over the connections from `first` on, and its bytes.
    fn count(&self, first: usize, way: Way, name: &str) -> (usize, usize) {
        let counts = self.shared.counts.lock().expect("nobody panics with it");
        let of_each = counts[first..].iter().filter_map(|counts| counts.get(&(way, name.to_owned())));
        of_each.fold((0, 0), |(count, bytes), (more, more_bytes)| (count + more, bytes + more_bytes))
    }

    fn wait_for(&self, first: usize, way: Way, name: &str) {
        wait_for(&format!("{name} to be said"), || match self.count(first, way, name) {
            (0, _) => Err("it was not".into()),
            _ => Ok(()),
        });
    }
}

fn name_of(message: &Value) -> String {
    match message {
        Value::String(name) => name.clone(),
        Value::Object(fields) => fields.keys().next().expect("a message has a name").clone(),
        other => panic!("{other} is no message"),
    }
}

fn read(from: &mut UnixStream) -> std::io::Result<Value> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    from.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

fn write(to: &mut UnixStream, message: &Value) -> std::io::Result<usize> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).expect("frames are shorter");
    to.write_all(&length.to_be_bytes())?;
    to.write_all(&body)?;
    Ok(body.len())
}

/// Passes messages on until one side ends.
fn pump(shared: &Shared, number: usize, way: Way, (mut from, mut to): (UnixStream, UnixStream), edit: Edit) {
    while let Ok(message) = read(&mut from) {
        for message in edit(way, message) {
            let Ok(bytes) = write(&mut to, &message) else { break };
            let mut counts = shared.counts.lock().expect("nobody panics with it");
            let count = counts[number].entry((way, name_of(&message))).or_default();
            *count = (count.0 + 1, count.1 + bytes);
        }
    }
    drop(to.shutdown(std::net::Shutdown::Both));
}

fn as_it_is(_: Way, message: Value) -> Vec<Value> {
    vec![message]
}

fn add_to(fields: &mut Map<String, Value>) {
    let structures = fields.iter_mut().filter(|(name, _)| STRUCTURES.contains(&name.as_str()));
    for (_, value) in structures {
        let parts: Vec<&mut Value> = match value {
            Value::Array(parts) => parts.iter_mut().collect(),
            other => vec![other],
        };
        parts.into_iter().filter_map(Value::as_object_mut).for_each(add_to);
    }
    fields.insert("moon".into(), json!({ "phase": 3 }));
}

/// As a version would speak that is newer than ours: messages that we do not know, and fields wherever there are some.
fn newer(_: Way, mut message: Value) -> Vec<Value> {
    if let Value::Object(named) = &mut message {
        for payload in named.values_mut() {
            match payload {
                Value::Object(fields) => add_to(fields),
                Value::Array(parts) => parts.iter_mut().filter_map(Value::as_object_mut).for_each(add_to),
                other => panic!("{other} is no message"),
            }
        }
    }
    match name_of(&message).as_str() {
        // Whoever comes says so first, in every version.
        "hello" => vec![message],
        _ => vec![json!({ "moonrise": { "hour": 7 } }), message, json!("moonset")],
    }
}

/// As routers of a version before this one speak: they neither say what they have nor take changes.
fn older(way: Way, mut message: Value) -> Vec<Value> {
    if way == Way::ToManager {
        match name_of(&message).as_str() {
            "have" => return Vec::new(),
            "hello" => {
                let hello = message["hello"].as_object_mut().expect("fields");
                hello.retain(|field, _| !["resumes", "carries"].contains(&field.as_str()));
            }
            "router" => drop(message["router"].as_object_mut().expect("fields").remove("takes_changes")),
            _ => {}
        }
    }
    vec![message]
}

/// A manager, and an agent and a router that reach it through somebody in between.
struct Apart {
    cell: Cell,
    between: Between,
    _roles: Running,
}

impl Apart {
    fn start(scratch: &Scratch, edit: Edit) -> Self {
        let cell = Cell::start_roles(scratch, &shop_tables(&[("s1", 2), ("s2", 2)]), &["manager"]);
        let other = scratch.join("other");
        let between = Between::start(&other, cell.state_dir.join("manager.sock"), edit);
        let text = std::fs::read_to_string(&cell.config).expect("the test wrote it");
        let (own, other) = (cell.state_dir.display().to_string(), other.display().to_string());
        let config = scratch.write("other.toml", &text.replace(&own, &other));
        let roles = cell::run(&config, &["agent", "router"], &scratch.join("roles.log"));
        let apart = Self { cell, between, _roles: roles };
        apart.cell.wait_until_all_up("shop");
        apart.wait_for_members(&["s1", "s2"]);
        apart
    }

    /// Until these and no others answer through the router.
    fn wait_for_members(&self, members: &[&str]) {
        wait_for(&format!("{members:?} to answer"), || {
            let mut found = Vec::new();
            for _ in 0..20 {
                let answer = http::get(self.cell.router, "/healthz").map_err(|error| error.to_string())?;
                found.push(answer.header("x-member").unwrap_or_default().to_owned());
            }
            found.sort();
            found.dedup();
            if found == members { Ok(()) } else { Err(format!("{found:?}")) }
        });
    }

    /// What a cell does: members stop and start, weights change, routers and agents lose their manager.
    fn live(&self) {
        self.cell.must(&["cluster", "stop", "shop/s2", "--yes"]);
        self.wait_for_members(&["s1"]);
        self.between.cut();
        self.cell.must(&["cluster", "start", "shop/s2"]);
        self.cell.wait_until_all_up("shop");
        self.wait_for_members(&["s1", "s2"]);
        self.cell.apply(&[("members.s2]\nweight = 2", "members.s2]\nweight = 0")]);
        self.wait_for_members(&["s1"]);
    }
}

#[test]
fn what_a_newer_version_adds_to_messages_is_left_aside_by_both_sides() {
    let scratch = Scratch::new();
    let apart = Apart::start(&scratch, newer);
    apart.live();
    for name in ["hello", "have", "agent", "router"] {
        apart.between.wait_for(0, Way::ToManager, name);
    }
    for name in ["welcome", "assignments", "settings", "views", "changes", "clusters"] {
        apart.between.wait_for(0, Way::FromManager, name);
    }
}

#[test]
fn a_router_of_an_older_version_is_told_everything_as_before() {
    let scratch = Scratch::new();
    let apart = Apart::start(&scratch, older);
    apart.live();
    assert_eq!(apart.between.count(0, Way::FromManager, "changes").0, 0);
}

#[test]
fn a_router_that_comes_back_is_sent_what_it_lacks_and_no_more() {
    let scratch = Scratch::new();
    let mut apart = Apart::start(&scratch, as_it_is);
    let (_, view_bytes) = apart.between.count(0, Way::FromManager, "views");
    assert!(view_bytes > 0);
    // To the same manager.
    let before = apart.between.connections();
    apart.between.cut();
    apart.between.wait_for(before, Way::FromManager, "clusters");
    let again =
        ["views", "changes", "settings"].map(|name| apart.between.count(before, Way::FromManager, name).0);
    assert_eq!(again, [0; 3], "it has all of it");
    apart.cell.must(&["cluster", "stop", "shop/s2", "--yes"]);
    apart.wait_for_members(&["s1"]);
    assert_eq!(apart.between.count(before, Way::FromManager, "views").0, 0);
    assert!(apart.between.count(before, Way::FromManager, "changes").0 > 0);
    // And to the next one, which finds the same and has another generation.
    let before = apart.between.connections();
    apart.cell.process.signal(rustix::process::Signal::KILL);
    assert_eq!(apart.cell.process.wait(), None, "a killed process has no status");
    apart.cell.process = cell::run(&apart.cell.config, &["manager"], &scratch.join("again.log"));
    apart.cell.wait_until_it_answers();
    apart.between.wait_for(before, Way::FromManager, "changes");
    assert_eq!(apart.between.count(before, Way::FromManager, "views").0, 0, "an epoch is enough");
    apart.cell.must(&["cluster", "start", "shop/s2"]);
    apart.wait_for_members(&["s1", "s2"]);
    assert_eq!(apart.between.count(before, Way::FromManager, "views").0, 0);
}
