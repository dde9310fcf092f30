//! How the rest of this process talks to the manager: one cheap handle, one bounded inbox.
//!
//! The manager's own task answers every request; the console and the API use nothing else.

pub use super::archive::LeaderRecord;
use super::desk::{FenceWish, PowerWish};
use crate::accounts::AccountsHandle;
use crate::role::RoleHandle;
use logic::enrol::Bearer;
use logic::summary::Facts;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use wire::enrol::{IssuedToken, NodeRecord};
use wire::group::GroupAct;
use wire::group_move::GroupMove;
use wire::id::{ClusterName, GroupName, MemberName, MonitorName, NodeName, RouterName};
use wire::node::NodeAct;
use wire::status::{
    Act, Applied, CellStatus, ConfigRevision, ConfigText, ErrorBody, Event, Explanation, MonitorAct,
    PluginCfgText,
};

/// Requests that may wait for the manager. 64: more people than that do not push buttons at once; they wait.
pub const REQUESTS_MAX: usize = 64;
/// Connections of machines to the API that may wait for the console. 16: it takes them at once, or has no place.
pub const CALLERS_MAX: usize = 16;

/// A manager that runs, and all by which others reach it.
#[derive(Debug)]
pub struct Started {
    pub role: RoleHandle,
    pub manager: ManagerHandle,
    pub accounts: AccountsHandle,
    pub callers: NodeCallers,
}

/// Machines of the cell that want to use the API.
#[derive(Debug)]
pub struct NodeCallers {
    pub connections: mpsc::Receiver<NodeCaller>,
    /// Since when certificates of nodes count: a connection ends when its certificate does so no longer.
    pub records: watch::Receiver<Option<NodeRecords>>,
}

/// What managers keep of nodes that have joined.
pub type NodeRecords = Arc<BTreeMap<NodeName, NodeRecord>>;

/// A connection on which a node will speak HTTP/1.1; it was admitted when it began.
#[derive(Debug)]
pub struct NodeCaller {
    pub stream: TlsStream<TcpStream>,
    pub from: SocketAddr,
    pub bearer: Bearer,
    /// When its certificate expires, and the connection with it.
    pub until: Instant,
    pub speaks_for: SpeaksFor,
}

/// In whose name a machine may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpeaksFor {
    Itself,
    /// Also of whoever has proven to it who they are: the configuration in force names it as a manager.
    Others,
    /// It began where no manager leads, so nobody can tell.
    NotKnown,
}

/// One question or wish, with the place for its answer.
#[derive(Debug)]
pub enum Request {
    Status {
        reply: oneshot::Sender<CellStatus>,
    },
    /// At most `most` events with a number above `after`, oldest first; without `after` the newest ones.
    Events {
        after: Option<u64>,
        most: usize,
        reply: oneshot::Sender<Vec<Event>>,
    },
    Act {
        who: String,
        cluster: ClusterName,
        member: Option<MemberName>,
        act: Act,
        reply: oneshot::Sender<Result<String, ErrorBody>>,
    },
    /// With `dry_run` only told what would follow.
    ActGroup {
        who: String,
        group: GroupName,
        act: GroupAct,
        dry_run: bool,
        reply: oneshot::Sender<Result<String, ErrorBody>>,
    },
    /// The same of a whole node.
    ActNode {
        who: String,
        node: NodeName,
        act: NodeAct,
        dry_run: bool,
        reply: oneshot::Sender<Result<String, ErrorBody>>,
    },
    ActMonitor {
        who: String,
        monitor: MonitorName,
        act: MonitorAct,
        reply: oneshot::Sender<Result<String, ErrorBody>>,
    },
    /// A person says that a node, which fell silent together with many others, is lost.
    ConfirmLost {
        who: String,
        node: NodeName,
        reply: oneshot::Sender<Result<String, ErrorBody>>,
    },
    /// A node's machine is to be rebooted or shut down.
    Power {
        wish: PowerWish,
        reply: oneshot::Sender<Result<String, ErrorBody>>,
    },
    /// Something of fences is to be begun.
    ActFence {
        who: String,
        wish: FenceWish,
        reply: oneshot::Sender<Result<String, ErrorBody>>,
    },
    /// A new configuration as text; with `dry_run` only the differences are told.
    Apply {
        who: String,
        text: String,
        dry_run: bool,
        /// The revision of which this is the text again.
        back_to: Option<u64>,
        /// Refused unless this revision is in force.
        only_after: Option<u64>,
        reply: oneshot::Sender<Result<Applied, ErrorBody>>,
    },
    /// The text of a revision of the history becomes the next configuration.
    Rollback {
        who: String,
        revision: u64,
        dry_run: bool,
        reply: oneshot::Sender<Result<Applied, ErrorBody>>,
    },
    /// The configuration in force: its revision and its text.
    Config {
        reply: oneshot::Sender<(u64, String)>,
    },
    /// The text of a revision of the history.
    OldConfig {
        revision: u64,
        reply: oneshot::Sender<Result<ConfigText, ErrorBody>>,
    },
    History {
        reply: oneshot::Sender<Vec<ConfigRevision>>,
    },
    Explain {
        url: String,
        cookie: Option<String>,
        reply: oneshot::Sender<Result<Explanation, ErrorBody>>,
    },
    /// A token with which a machine can become this node.
    NodeToken {
        node: NodeName,
        valid_ms: u64,
        reply: oneshot::Sender<Result<IssuedToken, ErrorBody>>,
    },
    /// The node's machine shall be no longer of the cell.
    NodeRemove {
        who: String,
        node: NodeName,
        reply: oneshot::Sender<Result<String, ErrorBody>>,
    },
    /// What other cells may be told of these clusters; those of which nothing is known yet are left out.
    Facts {
        clusters: Vec<ClusterName>,
        reply: oneshot::Sender<Vec<(ClusterName, Facts)>>,
    },
    /// What a group went through under this leader, the newest first.
    GroupMoves {
        group: GroupName,
        reply: oneshot::Sender<Result<Vec<GroupMove>, ErrorBody>>,
    },
    /// The cell as a plugin-cfg.xml, with the routes of one router or of all.
    PluginCfg {
        router: Option<RouterName>,
        reply: oneshot::Sender<Result<PluginCfgText, ErrorBody>>,
    },
}

/// Which manager answers requests at the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Leadership {
    /// Nobody that this manager knows of.
    #[default]
    Nobody,
    Here,
    /// Another one.
    There(LeaderRecord),
}

#[derive(Debug, Clone)]
pub struct ManagerHandle {
    /// Requests are only answered where it says `Here`.
    pub leadership: watch::Receiver<Leadership>,
    pub requests: mpsc::Sender<Request>,
    /// Raised whenever something that `Status` or `Events` shows has changed.
    pub changed: watch::Receiver<u64>,
}

/// The manager's task is gone, or does not lead; state is what was committed last, and a retry after its return is safe.
#[derive(Debug, thiserror::Error)]
#[error("the manager has stopped, or leads no longer")]
pub struct ManagerGone;

impl ManagerHandle {
    /// Why there is no answer, for people.
    pub fn why_silent(&self) -> String {
        match &*self.leadership.borrow() {
            _ if self.requests.is_closed() => {
                "The manager has stopped. Routers and members go on without it.".into()
            }
            Leadership::There(leader) => {
                format!("Another manager leads: that of node {}. Ask there.", leader.node)
            }
            Leadership::Nobody | Leadership::Here => {
                "No manager leads at this moment. Routers and members go on without it.".into()
            }
        }
    }

    /// Waits until this manager leads. False: it has ended.
    pub async fn leads_again(&mut self) -> bool {
        self.leadership.wait_for(|leadership| *leadership == Leadership::Here).await.is_ok()
    }

    /// Sends the request that `make` builds around a reply place, and waits for the answer.
    pub async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, ManagerGone> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(make(reply)).await.map_err(|_| ManagerGone)?;
        answer.await.map_err(|_| ManagerGone)
    }
}
