//! Where other machines reach this manager: the address, the certificate that it shows, and the cell's authority.
//!
//! There from the start to the end of the manager, whether it leads or not. Not here: connections (see `strangers`).

use super::handle::{NodeCaller, NodeRecords};
use super::{ManagerError, heartbeats};
use crate::identity::authority::Authority;
use crate::identity::{Identity, IdentityError, Place, load, renewal, tls};
use logic::enrol::{Bearer, Outdated, admit};
use rustls::ServerConfig;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use wire::enrol::NodeRecord;
use wire::id::NodeName;
use wire::link::CellSecrets;
use wire::settings::CellSettings;

/// Pause after the manager's own certificate could not be renewed.
const OWN_RETRY: Duration = Duration::from_secs(10);
/// Pause where another process of this node renews it.
const LOCKED_PAUSE: Duration = Duration::from_millis(500);

/// What it takes to let other machines in, gathered before the manager's thread starts.
pub struct Prepared {
    listener: std::net::TcpListener,
    authority: Authority,
    tls: Arc<ServerConfig>,
    place: Place,
    node: NodeName,
    life: Duration,
}

impl Prepared {
    /// None: the cell is one machine.
    pub fn gather(
        settings: &CellSettings,
        directory: &Path,
        node: &NodeName,
    ) -> Result<Option<Self>, ManagerError> {
        let Some(address) = settings.manager.listen else { return Ok(None) };
        let place = Place::of(directory);
        let authority = Authority::load(&place).map_err(ManagerError::Identity)?;
        let life = Duration::from_millis(settings.manager.certificate_life_ms);
        let tls = own_tls(&authority, &place, node, life).map_err(ManagerError::Identity)?;
        let refused = |source| ManagerError::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        Ok(Some(Self { listener, authority, tls, place, node: node.clone(), life }))
    }

    /// What it takes to hear heartbeats.
    pub fn heartbeats(&self, settings: &CellSettings) -> Result<heartbeats::Prepared, ManagerError> {
        let heard_at = settings.manager.heartbeat_listen().expect("a port without a next one was refused");
        let cell = heartbeats::cell_number(&self.authority.id);
        let unusable = |source| ManagerError::Directory { path: self.place.heartbeat_secret(), source };
        let keys = heartbeats::Keys::open(&self.place, cell, heard_at.port()).map_err(unusable)?;
        let refused = |source| ManagerError::Heartbeats { address: heard_at, source };
        heartbeats::Prepared::bind(heard_at, keys).map_err(refused)
    }

    /// What only managers know of the cell, as it is kept. Once heartbeats can be heard.
    pub fn secrets(&self, cookie_keys: Vec<String>) -> io::Result<CellSecrets> {
        let authority_key = std::fs::read_to_string(self.place.authority_key())?;
        let heartbeat_secret = std::fs::read_to_string(self.place.heartbeat_secret())?;
        Ok(CellSecrets { authority_key, cookie_keys, heartbeat_secret })
    }

    /// Must be called within the manager's runtime.
    pub fn open(self, passage: Passage) -> Front {
        let Self { listener, authority, tls, place, node, life } = self;
        let listener = TcpListener::from_std(listener).expect("it is a listener of this runtime's kind");
        let (address, fingerprint) = (listener.local_addr().ok(), authority.fingerprint_text());
        tracing::info!(
            address = address.map(tracing::field::display),
            authority = fingerprint,
            "the manager listens for other machines"
        );
        let Passage { callers, records } = passage;
        Front { listener, authority, place, node, life, tls: RefCell::new(tls), callers, records }
    }
}

pub struct Front {
    pub listener: TcpListener,
    pub authority: Authority,
    pub place: Place,
    /// The manager's own.
    pub node: NodeName,
    /// Of certificates that are made.
    pub life: Duration,
    /// What connections are answered with; another one after each renewal.
    pub tls: RefCell<Arc<ServerConfig>>,
    /// Machines that want to use the API, for the console.
    pub callers: mpsc::Sender<NodeCaller>,
    /// As in the store; None before it was read.
    records: watch::Sender<Option<NodeRecords>>,
}

/// Where the console hears of machines that want to use the API.
pub struct Passage {
    pub callers: mpsc::Sender<NodeCaller>,
    pub records: watch::Sender<Option<NodeRecords>>,
}

/// The manager's own certificate for TLS, made anew where it is missing, due, or does not say that it is a manager's.
fn own_tls(
    authority: &Authority,
    place: &Place,
    node: &NodeName,
    life: Duration,
) -> Result<Arc<ServerConfig>, IdentityError> {
    let is_good = |identity: &Identity| {
        identity.bearer.node == *node
            && identity.bearer.cell == authority.id
            && identity.is_manager
            && !renewal::wait(renewal::due_s(identity)).is_zero()
    };
    let identity = match load(place) {
        Ok(identity) if is_good(&identity) => identity,
        Ok(_) | Err(IdentityError::None { .. }) => {
            authority.issue_own(place, node, life)?;
            load(place)?
        }
        Err(error) => return Err(error),
    };
    tls::server_config(&identity)
}

impl Front {
    pub fn knows_records(&self) -> bool {
        self.records.borrow().is_some()
    }

    /// Tells when records change, and first when there are some.
    pub fn records(&self) -> watch::Receiver<Option<NodeRecords>> {
        self.records.subscribe()
    }

    /// All records are these.
    pub fn know_records(&self, records: BTreeMap<NodeName, NodeRecord>) {
        self.records.send_replace(Some(Arc::new(records)));
    }

    pub fn know_record(&self, node: &NodeName, record: NodeRecord) {
        self.records.send_modify(|records| {
            Arc::make_mut(records.get_or_insert_default()).insert(node.clone(), record);
        });
    }

    /// What is known of a node.
    pub fn record(&self, node: &NodeName) -> Option<NodeRecord> {
        self.records.borrow().as_ref()?.get(node).cloned()
    }

    /// Whether a certificate that TLS has verified still counts, as far as is known; the sentence says why not.
    pub fn admit(&self, bearer: &Bearer) -> Result<(), String> {
        if bearer.cell != self.authority.id {
            return Err("its certificate is of another cell".to_owned());
        }
        let node = &bearer.node;
        admit(self.record(node).as_ref(), bearer.issued_us).map_err(|why| match why {
            Outdated::Removed => {
                format!("node {node} was removed from the cell; a new token lets it join again")
            }
            Outdated::Replaced => format!("another machine has joined as node {node} since"),
        })
    }

    /// Whether its machine was cut off, and no other has become this node since.
    pub fn is_removed(&self, node: &NodeName) -> bool {
        self.record(node).is_some_and(|record| record.is_removed)
    }

    /// Keeps the manager's own certificate valid. Ends only by being dropped.
    pub async fn keep_own_renewed(&self) {
        let mut has_failed = false;
        loop {
            let due = load(&self.place).map_or(Duration::ZERO, |own| renewal::wait(renewal::due_s(&own)));
            let pause = if has_failed { OWN_RETRY } else { due };
            tokio::time::sleep(pause).await;
            let renewed = renewal::lock(&self.place).and_then(|lock| match lock {
                Some(_lock) => own_tls(&self.authority, &self.place, &self.node, self.life).map(Some),
                None => Ok(None),
            });
            match renewed {
                Ok(Some(tls)) => {
                    self.tls.replace(tls);
                    has_failed = false;
                }
                Ok(None) => tokio::time::sleep(LOCKED_PAUSE).await,
                Err(error) => {
                    if !has_failed {
                        let error = crate::logging::chain(&error);
                        tracing::error!(error, "the manager's own certificate is due and cannot be renewed");
                    }
                    has_failed = true;
                }
            }
        }
    }
}
