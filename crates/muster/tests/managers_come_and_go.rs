//! From one manager to three, another machine in the place of one, an upgrade of each, all of them lost and put back: the guides
//! word by word, with the tools of real servers. Routers of other machines serve throughout.
//!
//! Each host is a network namespace of the test's own. Needs root.

mod support;

use rustix::process::Signal;
use support::guide::{HOSTS_WITH_STORE, Line, Reader, lines};
use support::stores::{Kind, PASSWORD, StoreServer};
use support::{Running, Scratch, wait_for};
use wire::status::{CellStatus, ConfigRevision, ManagerState};
use wire::view::RunState;

/// What is done by hand: at `host`, type this.
fn at(host: &str, text: &str) -> Line {
    Line { host: host.to_owned(), text: text.to_owned() }
}

/// A file with these tables in place of those of the same names.
fn edited(text: &str, tables: &str) -> String {
    let named: Vec<&str> = tables.lines().filter(|line| line.starts_with('[')).collect();
    let mut is_kept = true;
    let kept = text.lines().filter(|line| {
        if line.starts_with('[') {
            is_kept = !named.contains(line);
        }
        is_kept
    });
    kept.map(|line| format!("{line}\n")).collect::<String>() + tables + "\n"
}

/// Servers and machines, none of which runs.
struct Place {
    store: Option<Running>,
    server: StoreServer,
    reader: Reader,
}

impl Place {
    fn new(scratch: &Scratch, kind: Kind) -> Self {
        let reader = Reader::on(scratch, &HOSTS_WITH_STORE);
        let port = if kind == Kind::Etcd { 2379 } else { 5432 };
        let server = StoreServer::prepare(scratch, kind, "10.0.0.4", port);
        let mut place = Self { store: None, server, reader };
        place.start_store();
        place
    }

    fn start_store(&mut self) {
        self.store = Some(self.reader.hosts.start("store", &self.server.command().join(" ")));
    }

    fn stop_store(&mut self) {
        let mut store = self.store.take().expect("it runs");
        store.signal(Signal::TERM);
        store.wait();
    }

    fn status(&self, host: &str) -> Result<CellStatus, String> {
        let said = self.reader.shell(host, "muster status --json");
        if said.code != Some(0) {
            return Err(format!("{said:?}"));
        }
        serde_json::from_str(&said.data).map_err(|error| format!("{error}: {said:?}"))
    }

    /// Waits until exactly these are managers, one of them leads, the others follow, and the members of these hosts are up.
    fn wait_until_managed(&self, host: &str, managers: &[&str], members: &[&str]) -> CellStatus {
        wait_for(&format!("{managers:?} to be the managers"), || {
            let status = self.status(host)?;
            let works = |state| matches!(state, ManagerState::Leads | ManagerState::Follows);
            let found: Vec<&str> =
                status.managers.iter().filter(|it| works(it.state)).map(|it| it.node.0.as_str()).collect();
            let of_shop = status.clusters.iter().flat_map(|cluster| &cluster.members);
            let is_up = |name: &&str| {
                of_shop.clone().any(|member| member.member.0 == **name && member.state == RunState::Up)
            };
            let is_served = members.iter().all(is_up);
            let is_known = status.managers.len() == managers.len();
            match is_known && found == managers && is_served {
                true => Ok(status),
                false => Err(format!("{:?}; {:?}", status.managers, status.clusters)),
            }
        })
    }

    fn write(&self, text: &str) {
        self.reader.hosts.write("web-1", "muster.toml", text);
    }

    fn file(&self) -> String {
        let path = self.reader.hosts.home("web-1").join("muster.toml");
        std::fs::read_to_string(path).expect("there is a file")
    }

    fn follow(&mut self, line: &Line) {
        self.reader.follow(line);
        if line.text.starts_with("muster apply") {
            // Nobody asks the one that has just stopped.
            wait_for("somebody to lead", || self.status("web-1").map(drop));
        }
    }

    /// One request to the router of a machine.
    fn must_serve(&self, host: &str, address: &str) {
        let curl = format!("curl --silent --show-error --fail --max-time 10 http://{address}:8080/healthz");
        let said = self.reader.shell(host, &curl);
        assert_eq!((said.code, said.data.as_str()), (Some(0), "ok\n"), "{said:?}");
    }

    /// Its machine is another one from now on, with an empty disk.
    fn lose(&mut self, host: &str) {
        drop(self.reader.running.remove(host));
        self.reader.hosts.replace(host);
    }

    fn has(&self, host: &str, file: &str) -> bool {
        self.reader.hosts.home(host).join("state").join(file).exists()
    }
}

const SHOP: [&str; 3] = ["shop-1", "shop-2", "shop-3"];

#[test]
fn one_manager_becomes_three_and_others_take_their_places() {
    let scratch = Scratch::new();
    let mut place = Place::new(&scratch, Kind::Etcd);
    place.reader.make_cell();
    let (tables, commands) = lines("add-and-remove-managers.md");
    let [three, node, four, other_three] = tables.as_slice() else { panic!("{tables:?}") };
    let mut edits = [three, node, four, other_three].into_iter();
    let mut edit = |place: &Place| {
        let tables = edits.next().expect("the guide says what is edited");
        place.write(&edited(&place.file(), tables));
    };
    let before = place.status("web-1").expect("a manager");
    edit(&place);
    let (mut joined, mut applied) = (0, 0);
    for line in &commands {
        if line.text.starts_with("muster apply") {
            edit(&place);
            applied += 1;
        }
        if line.text == "muster node token web-2" {
            place.lose("web-2");
        }
        place.follow(line);
        joined += usize::from(line.text.starts_with("muster join"));
        match (line.text.as_str(), applied, joined) {
            ("muster status --wait-up shop", 0, 0) => {
                let status = place.wait_until_managed("web-1", &["web-1", "web-2", "web-3"], &SHOP);
                assert!(status.generation > before.generation, "nobody goes back: {status:?}");
            }
            ("muster status", 2, 1) => {
                place.wait_until_managed("web-1", &["web-1", "web-2", "web-3", "web-5"], &SHOP);
                assert!(place.has("web-5", "cell/authority-key.pem"));
                // So that it is the leader which is taken away: the rest must do without it.
                lead(&mut place, "web-3", &["web-1", "web-2", "web-5"]);
            }
            ("muster status", 3, 1) => {
                let status = place.wait_until_managed("web-1", &["web-1", "web-2", "web-5"], &SHOP);
                assert_ne!(status.leader.expect("there are several managers").node.0, "web-3");
            }
            _ => {}
        }
        place.must_serve("web-5", "10.0.0.3");
    }
    assert_eq!((applied, joined), (3, 2));
    place.wait_until_managed("web-1", &["web-1", "web-2", "web-5"], &SHOP);
    assert!(!place.has("web-3", "cell/authority-key.pem") && place.has("web-2", "cell/authority-key.pem"));

    // The rest of them is enough, and what they say is what the first one was told.
    drop(place.reader.running.remove("web-1"));
    wait_for("another one to lead", || match place.status("web-3")?.leader {
        Some(leader) if leader.node.0 != "web-1" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    place.must_serve("web-5", "10.0.0.2");
}

/// Makes a manager the leader: the others are stopped until it is.
fn lead(place: &mut Place, wanted: &str, others: &[&str]) {
    for other in others {
        place.reader.follow(&at(other, "kill %1"));
    }
    wait_for("the last manager to lead", || match place.status(wanted)?.leader {
        Some(leader) if leader.node.0 == wanted => Ok(()),
        other => Err(format!("{other:?}")),
    });
    for other in others {
        let run = if *other == "web-1" { "muster run --node web-1 &" } else { "muster run &" };
        place.reader.follow(&at(other, run));
    }
    place.wait_until_managed("web-1", &["web-1", "web-2", "web-3", "web-5"], &SHOP);
}

/// The commands of the guide for this kind of store, by what they are for: to back up, to put the store back, and after that to
/// put back managers.
fn parts(kind: Kind) -> [Vec<Line>; 3] {
    let (_, commands) = lines("back-up-several-managers.md");
    let is_others = |line: &Line| {
        let text = &line.text;
        let is_of_postgres = ["PGPASSFILE", "pgpass", "pg_dump", "psql"].iter().any(|it| text.contains(it));
        match kind {
            Kind::Etcd => is_of_postgres,
            Kind::Postgres => text.starts_with("etcdctl"),
        }
    };
    let commands: Vec<Line> = commands.into_iter().filter(|line| !is_others(line)).collect();
    let find = |text: &str| {
        let found = commands.iter().position(|line| line.text.contains(text));
        found.unwrap_or_else(|| panic!("the guide does not say {text}"))
    };
    let restore = match kind {
        Kind::Etcd => find("snapshot restore"),
        Kind::Postgres => 1 + find("pg_dump"),
    };
    let managers = find("mkdir -p /var/lib/muster");
    [commands[..restore].to_vec(), commands[restore..managers].to_vec(), commands[managers..].to_vec()]
}

fn is_put_back(kind: Kind) {
    let scratch = Scratch::new();
    let mut place = Place::new(&scratch, kind);
    let (files, commands) = lines("several-managers.md");
    let file = match kind {
        Kind::Etcd => files[0].clone(),
        Kind::Postgres => {
            HOSTS_WITH_STORE.iter().for_each(|host| keep_password(&place, host));
            edited(&files[0], &files[1])
        }
    };
    place.write(&(file + "\n[nodes.web-5]\naddress = \"10.0.0.5\"\n[routers.front-5]\nnode = \"web-5\"\nlisten = [\"0.0.0.0:8080\"]\n"));
    commands.iter().for_each(|line| place.follow(line));
    let another = ["muster node token web-5", "muster join 10.0.0.1:29001 mj1.TOKEN", "muster run &"];
    for (host, text) in ["web-1", "web-5", "web-5"].into_iter().zip(another) {
        place.follow(&at(host, text));
    }
    let managers = ["web-1", "web-2", "web-3"];
    place.wait_until_managed("web-1", &managers, &SHOP);

    let [back_up, restore, put_back] = parts(kind);
    back_up.iter().for_each(|line| place.follow(line));
    let stop = "muster cluster stop shop shop-3 --yes";
    let changed = edited(&place.file(), "[clusters.shop]\ndrain_ms = 1001\n");
    place.write(&changed);
    place.follow(&at("web-1", "muster apply muster.toml"));
    place.follow(&at("web-1", stop));
    let before = place.status("web-1").expect("a manager");
    assert_eq!(before.config_revision, 2);

    // Everybody is there while the store is put back.
    restore_store(&mut place, &restore, before.generation);
    let restored = place.wait_until_managed("web-1", &managers, &SHOP);
    assert_eq!(restored.config_revision, 1, "it is the store of then");
    place.must_serve("store", "10.0.0.5");

    // The change is made again, and then nothing is left of managers and their store.
    place.write(&changed);
    place.follow(&at("web-1", "muster apply muster.toml"));
    let backup = place.reader.hosts.home("web-1").join("backup");
    assert!(backup.join("secrets.tar").exists());
    managers.iter().for_each(|host| place.lose(host));
    std::fs::remove_file(place.reader.hosts.home("web-1").join("muster.toml")).expect("it is lost as well");
    if kind == Kind::Postgres {
        managers.iter().for_each(|host| keep_password(&place, host));
    }
    let served = place.reader.shell("store", "curl --silent --max-time 10 http://10.0.0.5:8080/healthz");
    assert_eq!(served.code, Some(0), "its router answers, if only that no member is left: {served:?}");
    let generation = restored.generation;
    put_back_data(&mut place, &restore);
    put_back.iter().for_each(|line| place.follow(line));
    let status = place.wait_until_managed("web-1", &managers, &SHOP);
    assert!(status.generation > generation, "web-5 knows of it: {status:?}");
    assert_eq!((status.config_revision, status.nodes.len()), (1, 4));
    place.must_serve("store", "10.0.0.5");
}

fn keep_password(place: &Place, host: &str) {
    let path = place.reader.hosts.home(host).join("state/store-password");
    std::fs::write(path, format!("{PASSWORD}\n")).expect("it can be written");
}

/// The data alone, as the guide says.
fn put_back_data(place: &mut Place, restore: &[Line]) {
    if place.server.kind == Kind::Etcd {
        place.stop_store();
        let home = |host: &str| place.reader.hosts.home(host);
        std::fs::copy(home("web-1").join("backup/store.db"), home("store").join("store.db"))
            .expect("there is one");
    }
    for line in restore.iter().filter(|line| !line.text.starts_with("muster")) {
        place.reader.follow(line);
    }
    if place.server.kind == Kind::Etcd {
        let restored = place.reader.hosts.home("store").join("restored");
        place.server.copy(&restored, &place.server.data());
        std::fs::remove_dir_all(restored).expect("it can be removed");
        place.start_store();
    }
}

fn restore_store(place: &mut Place, restore: &[Line], generation: u64) {
    put_back_data(place, restore);
    wait_for("a generation above all that were", || match place.status("web-1")? {
        status if status.generation > generation => Ok(()),
        status => Err(format!("generation {}", status.generation)),
    });
    for line in restore.iter().filter(|line| line.text.starts_with("muster")) {
        if line.text.ends_with("--dry-run") {
            let said = place.reader.shell(&line.host, &line.text);
            assert!(said.data.contains("drain_ms"), "it says what has changed since: {said:?}");
        } else {
            place.follow(line);
        }
    }
    let said = place.reader.shell("web-1", "muster config log --json");
    let log: Vec<ConfigRevision> = serde_json::from_str(&said.data).expect("a list");
    assert_eq!(log.len(), 1, "{log:?}");
}

#[test]
fn three_managers_and_their_etcd_are_put_back_from_a_backup() {
    is_put_back(Kind::Etcd);
}

#[test]
fn three_managers_and_their_postgresql_are_put_back_from_a_backup() {
    is_put_back(Kind::Postgres);
}

/// The keys of the store that are kept as lines or JSON, and for everybody to add to: not those by which managers keep the lead.
const ADDED_TO: [&str; 4] = ["cell/member/", "cell/seen/", "enrol/node/", "config-info/"];

/// Adds to each record what a newer version may say there, past the managers. Gives their keys.
fn add_to_records(place: &Place) -> Vec<String> {
    let etcd = |words: &str| {
        let said = place.reader.shell("web-1", &format!("etcdctl --endpoints 10.0.0.4:2379 {words}"));
        assert_eq!(said.code, Some(0), "{words}: {said:?}");
        said.data
    };
    let keys = ADDED_TO.map(|prefix| etcd(&format!("get --prefix --keys-only muster/entries/{prefix}")));
    let keys: Vec<&str> = keys.iter().flat_map(|keys| keys.lines()).filter(|key| !key.is_empty()).collect();
    for key in &keys {
        let value = etcd(&format!("get --print-value-only {key}"));
        let value = value.trim();
        let more = match value.strip_suffix('}') {
            Some(json) => format!("{json},\"rank\":{{\"of\":3}}}}"),
            None => format!("{value} rank=3"),
        };
        etcd(&format!("put {key} '{more}'"));
    }
    keys.into_iter().map(str::to_owned).collect()
}

#[test]
fn managers_are_upgraded_one_after_the_other_and_the_leader_last() {
    let scratch = Scratch::new();
    let mut place = Place::new(&scratch, Kind::Etcd);
    let (files, commands) = lines("several-managers.md");
    place.write(&files[0]);
    commands.iter().for_each(|line| place.follow(line));
    let managers = ["web-1", "web-2", "web-3"];
    place.wait_until_managed("web-1", &managers, &SHOP);
    let (_, commands) = lines("upgrade-machines.md");
    let mut away = String::new();
    for line in commands.iter().skip_while(|line| line.text != "muster status") {
        if let Some(member) = line.text.strip_prefix("muster cluster stop shop shop-") {
            away = format!("web-{}", &member[..1]);
            place.wait_until_managed("web-1", &managers, &SHOP);
        }
        if line.host == "web-1" && line.text == "kill %1" {
            // Whoever leads next finds what a newer leader than this one, and than itself, has added.
            let added = add_to_records(&place);
            assert_eq!(
                added.len(),
                9,
                "three members and what was seen of them, two nodes, a configuration: {added:?}"
            );
        }
        place.follow(line);
        for (number, host) in managers.iter().enumerate().filter(|(_, host)| **host != away) {
            (0..2).for_each(|_| place.must_serve("web-5", &format!("10.0.0.{}", number + 1)));
            assert!(place.reader.running.contains_key(*host));
        }
        if line.host == "web-1" && line.text == "muster check --node web-1" {
            let status = wait_for("another one to lead", || match place.status("web-2")? {
                status if status.leader.as_ref().is_some_and(|leader| leader.node.0 != "web-1") => Ok(status),
                status => Err(format!("{:?}", status.leader)),
            });
            let mut members = status.clusters.iter().flat_map(|cluster| &cluster.members);
            let stopped = members.find(|member| member.member.0 == "shop-1").expect("a member");
            assert!(stopped.reason.contains("operator"), "what was wanted of it is known: {stopped:?}");
        }
    }
    let status = place.wait_until_managed("web-1", &managers, &SHOP);
    assert_eq!((status.config_revision, status.nodes.len()), (1, 3));
    assert!(status.nodes.iter().all(|node| node.version == env!("CARGO_PKG_VERSION")), "{:?}", status.nodes);
}
