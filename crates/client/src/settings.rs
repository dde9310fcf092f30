//! How a context is made: what an application says before it connects.

use crate::choice::Prefer;
use crate::context::Context;
use crate::error::Error;
use crate::limits::ROUTERS_MAX;
use crate::place::RouterUrl;
use std::time::Duration;
use wire::client_view::is_valid_token;
use wire::id::{ClusterName, is_valid_name};
use wire::view::Policy;

/// Who gets the calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Way {
    /// A router, which chooses the member. Each answer tells what changed.
    #[default]
    Routers,
    /// The members themselves, without a hop between. What changed is learned by asking a router: every two seconds while
    /// calls are made, and at once when a member fails.
    Members,
}

/// What a context begins with. Made by `Context::to`.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(crate) cluster: String,
    pub(crate) token: String,
    pub(crate) routers: Vec<String>,
    pub(crate) retry_server: Option<String>,
    pub(crate) way: Way,
    pub(crate) allows_redirect: bool,
    pub(crate) prefer: Prefer,
    pub(crate) policy: Option<Policy>,
    pub(crate) host: Option<String>,
    pub(crate) authorities: Option<Vec<u8>>,
    pub(crate) connect: Duration,
    pub(crate) answer: Duration,
    pub(crate) start: Duration,
    pub(crate) answer_max_bytes: usize,
}

impl Settings {
    pub(crate) fn new(cluster: &str, token: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            token: token.trim().to_owned(),
            routers: Vec::new(),
            retry_server: None,
            way: Way::default(),
            allows_redirect: true,
            prefer: Prefer::Nothing,
            policy: None,
            host: None,
            authorities: None,
            // As routers have it: above 3 s, so that a lost first packet counts.
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(30),
            start: Duration::from_secs(60),
            answer_max_bytes: 16 << 20,
        }
    }

    /// A router: the URL of its route with `views = true`. Give several; any of them will do, and the first view is compared
    /// with that of a second one. At most 64.
    #[must_use]
    pub fn router(mut self, url: &str) -> Self {
        self.routers.push(url.to_owned());
        self
    }

    /// A router that is asked only when none of the others can be reached.
    #[must_use]
    pub fn retry_server(mut self, url: &str) -> Self {
        self.retry_server = Some(url.to_owned());
        self
    }

    /// Who gets the calls; routers unless said otherwise.
    #[must_use]
    pub fn way(mut self, way: Way) -> Self {
        self.way = way;
        self
    }

    /// Whether a call that failed may go to another place (true unless said otherwise). Even then only if nobody has seen
    /// it, or doing it twice has the effect of doing it once: its method says so, or a header `Idempotency-Key`.
    #[must_use]
    pub fn allow_redirect(mut self, allows: bool) -> Self {
        self.allows_redirect = allows;
        self
    }

    /// Which members come first while any of them can be had. Only where the client calls members itself.
    #[must_use]
    pub fn prefer(mut self, prefer: Prefer) -> Self {
        self.prefer = prefer;
        self
    }

    /// Chooses by this policy instead of the cluster's own. Only where the client calls members itself, which cannot do
    /// `Policy::Hash` and take turns instead.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// The Host header of calls that bring none of their own; otherwise it is the address that is called.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// PEM text of the authorities that are believed where TLS is spoken, instead of the system's.
    #[must_use]
    pub fn authorities(mut self, pem: &[u8]) -> Self {
        self.authorities = Some(pem.to_vec());
        self
    }

    /// How long a connection may take to be made (5 s).
    #[must_use]
    pub fn connect_timeout(mut self, most: Duration) -> Self {
        self.connect = most;
        self
    }

    /// How long one attempt at a call may take, with its whole answer (30 s). There are at most four.
    #[must_use]
    pub fn answer_timeout(mut self, most: Duration) -> Self {
        self.answer = most;
        self
    }

    /// How long `connect` tries to get a first view (60 s).
    #[must_use]
    pub fn start_timeout(mut self, most: Duration) -> Self {
        self.start = most;
        self
    }

    /// Largest body of an answer (16 MiB); a larger one is an error.
    #[must_use]
    pub fn answer_max_bytes(mut self, most: usize) -> Self {
        self.answer_max_bytes = most;
        self
    }

    /// Gets the first view and begins to keep it current. Needs a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// `WrongUse`, `Authorities` and `NotAClient` stay until something is changed; `NotConnected` may pass.
    pub async fn connect(self) -> Result<Context, Error> {
        Context::connect(self).await
    }

    /// What was said, checked: the cluster, and the routers with the retry server.
    pub(crate) fn checked(&self) -> Result<(ClusterName, Vec<RouterUrl>, Option<RouterUrl>), Error> {
        let wrong = |what: &str, why| Err(Error::WrongUse { what: what.to_owned(), why });
        if !is_valid_name(&self.cluster) {
            return wrong(&format!("{:?}", self.cluster), "this is no name of a cluster");
        }
        if !is_valid_token(&self.token) {
            return wrong("the token", "it is none of `muster client token`");
        }
        if self.routers.is_empty() || self.routers.len() > ROUTERS_MAX {
            return wrong("the routers", "there must be 1 to 64");
        }
        let routers = self.routers.iter().map(|url| RouterUrl::parse(url)).collect::<Result<_, _>>()?;
        let retry_server = self.retry_server.as_deref().map(RouterUrl::parse).transpose()?;
        Ok((self.cluster.as_str().into(), routers, retry_server))
    }
}
