//! Streams over TLS: managers of the other cell that change, a cell with several managers that hears it, and a stranger who
//! has taken another cell's address.

use super::summary;
use crate::clock::Clock;
use crate::config;
use crate::identity::authority::Authority;
use crate::identity::{Place, load, tls};
use crate::link::{read_bounded_frame, write_frame};
use crate::manager::desk::Input;
use crate::manager::hearing::hear;
use logic::cell::{self, Elsewhere};
use logic::enrol::{BridgeToken, number_of};
use std::cell::{Cell, RefCell};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet, LocalSet};
use wire::summary::{BRIDGE_HELLO_MAX_BYTES, BridgeAnswer, BridgeHello};

/// Another cell with its authority, and a directory for both.
struct OtherSide {
    directory: PathBuf,
    authority: Authority,
    server: Arc<rustls::ServerConfig>,
}

impl OtherSide {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("muster-streams-{}-{number}", std::process::id()));
        drop(std::fs::remove_dir_all(&directory));
        let place = Place::of(&directory);
        let authority = Authority::create(&place).expect("a new authority");
        authority.issue_own(&place, &"m".into(), Duration::from_secs(3_600)).expect("a certificate");
        let server = tls::server_config(&load(&place).expect("an identity")).expect("a configuration");
        Self { directory, authority, server }
    }

    /// The token that this cell gave out, in a file.
    fn token_file(&self) -> String {
        let token = BridgeToken {
            authority: self.authority.fingerprint(),
            secret: [7; logic::enrol::SECRET_BYTES],
            bridge: "west".into(),
        };
        let path = self.directory.join("east.token");
        std::fs::write(&path, token.to_string()).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("it is ours");
        path.display().to_string()
    }
}

impl Drop for OtherSide {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

/// One manager of the other cell, or somebody at its address.
struct Manager {
    address: String,
    /// What it is asked for, as it came.
    hellos: Rc<RefCell<Vec<BridgeHello>>>,
    /// Members that it tells of, if it leads.
    leads: Rc<Cell<Option<u32>>>,
    /// Where it says that the leader is.
    leader: Rc<RefCell<Option<String>>>,
    task: JoinHandle<()>,
}

impl Manager {
    async fn start(side: &OtherSide, name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let address = listener.local_addr().expect("it is bound").to_string();
        let acceptor = tokio_rustls::TlsAcceptor::from(side.server.clone());
        let cell = number_of(&side.authority.fingerprint());
        let hellos = Rc::new(RefCell::new(Vec::new()));
        let leads = Rc::new(Cell::new(None));
        let leader: Rc<RefCell<Option<String>>> = Rc::default();
        let (heard, leading, leading_there) = (hellos.clone(), leads.clone(), leader.clone());
        let task = tokio::task::spawn_local(async move {
            // Streams end with their manager.
            let mut streams = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, heard) = (acceptor.clone(), heard.clone());
                let (leading, leader) = (leading.clone(), leading_there.clone());
                streams.spawn_local(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let hello = read_bounded_frame(&mut stream, BRIDGE_HELLO_MAX_BYTES).await;
                    let Ok(hello) = hello else { return };
                    heard.borrow_mut().push(hello);
                    let Some(ready) = leading.get() else {
                        let answer = BridgeAnswer::NotLeader { leader: leader.borrow().clone() };
                        return drop(write_frame(&mut stream, &answer).await);
                    };
                    let welcome = BridgeAnswer::Welcome { name: name.to_owned() };
                    let text = summary(cell, ready, u64::from(ready));
                    let mut frame = (text.len() as u32).to_be_bytes().to_vec();
                    frame.extend(text.as_bytes());
                    // The other side may have gone.
                    drop(write_frame(&mut stream, &welcome).await);
                    drop(stream.write_all(&frame).await);
                    drop(stream.flush().await);
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { address, hellos, leads, leader, task }
    }
}

/// Our side: what its desk is told.
struct OwnSide {
    inbox: mpsc::Receiver<Input>,
    _settings: watch::Sender<Arc<wire::settings::CellSettings>>,
    task: JoinHandle<()>,
}

impl OwnSide {
    fn start(side: &OtherSide, managers: &[&Manager]) -> Self {
        let managers: Vec<String> = managers.iter().map(|manager| format!("{:?}", manager.address)).collect();
        let text = format!(
            "[cell]\nstate_dir = \"/nonexistent\"\n[cells.east]\nmanagers = [{}]\ntoken_file = {:?}\nclusters = [\"shop\"]\n\
             [routers.front]\nlisten = [\"127.0.0.1:0\"]\n[[routers.front.routes]]\nlevels = [[\"shop\"], [\"shop@east\"]]\n\
             [clusters.shop.members.one]\naddress = \"127.0.0.1:9\"\n",
            managers.join(", "),
            side.token_file()
        );
        let settings = config::parse(&text, "test").unwrap_or_else(|problems| panic!("{problems}"));
        let (settings_in, settings) = watch::channel(Arc::new(settings));
        let (desk, inbox) = mpsc::channel(64);
        let task =
            tokio::task::spawn_local(hear(settings, watch::channel(Vec::new()).0, Clock::start(), desk));
        Self { inbox, _settings: settings_in, task }
    }

    /// The next thing that is told of clusters over there, or of the cell.
    async fn next(&mut self) -> String {
        let input = tokio::time::timeout(Duration::from_secs(60), self.inbox.recv()).await;
        match input.expect("something is told").expect("it goes on") {
            Input::Cell(cell::Input::Elsewhere { cluster, known: Elsewhere::Told(told) }) => {
                format!("{cluster} {}", told.ready)
            }
            Input::Note { kind, text, .. } => format!("{kind}: {text}"),
            other => format!("{other:?}"),
        }
    }

    /// Skips what is told until this is.
    async fn wait_for(&mut self, wanted: &str) {
        while self.next().await != wanted {}
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn a_cell_is_heard_on_whichever_of_its_managers_leads() {
    run(async {
        let side = OtherSide::new();
        let (first, second) = (Manager::start(&side, "east").await, Manager::start(&side, "east").await);
        second.leads.set(Some(3));
        first.leader.replace(Some(second.address.clone()));
        let mut own = OwnSide::start(&side, &[&first, &second]);
        own.wait_for("shop@east 3").await;
        // The leader is lost. Until the next one knows that it leads nobody is told anything, and what was told counts.
        second.task.abort();
        first.leader.replace(None);
        while !own.next().await.starts_with("cell-not-heard: ") {}
        first.leads.set(Some(5));
        own.wait_for("shop@east 5").await;
        assert!(!own.task.is_finished());
    });
}

#[test]
fn the_next_leader_of_this_cell_hears_everything_anew() {
    run(async {
        let side = OtherSide::new();
        let there = Manager::start(&side, "east").await;
        there.leads.set(Some(4));
        let mut old = OwnSide::start(&side, &[&there]);
        old.wait_for("shop@east 4").await;
        old.task.abort();
        let mut new = OwnSide::start(&side, &[&there]);
        new.wait_for("shop@east 4").await;
        let hellos = there.hellos.borrow();
        assert_eq!(hellos.len(), 2);
        assert!(hellos[0] == hellos[1], "both have the token from their machine");
    });
}

#[test]
fn whoever_took_the_address_of_a_cell_hears_no_secret_and_changes_nothing() {
    run(async {
        let (side, rogue) = (OtherSide::new(), OtherSide::new());
        // Valid TLS of a cell that exists, a name like that of the one that is expected, and much to say.
        let there = Manager::start(&rogue, "east").await;
        there.leads.set(Some(9));
        let mut own = OwnSide::start(&side, &[&there]);
        let told = own.next().await;
        assert!(told.starts_with("cell-not-heard: "), "{told}");
        assert!(told.contains("another authority"), "{told}");
        assert!(there.hellos.borrow().is_empty(), "it was told the secret");
        // The right one is heard as soon as it has its address back, whatever it calls itself.
        let right = Manager::start(&side, "e\u{1b}[31mast").await;
        right.leads.set(Some(2));
        let mut own = OwnSide::start(&side, &[&there, &right]);
        own.next().await;
        let heard = own.next().await;
        assert_eq!(heard, "cell-heard: cell east, which calls itself e[31mast, is heard");
        own.wait_for("shop@east 2").await;
    });
}
