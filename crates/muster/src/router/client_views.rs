//! What clients may know of clusters: made once for each epoch by the control thread, given out by the data threads.
//!
//! Promises: nobody without a token for a cluster hears anything of it, not even whether it is there; what many clients
//! get is written once; requests that do not ask for it cost nothing.
//! Not here: what a client lacks (see `logic::delta`) and when it may fetch (see `logic::snapshot`).

use super::actions::{Early, Message};
use super::core::Core;
use super::request::claim;
use super::views::ByCluster;
use logic::delta::{History, Since};
use logic::http::request::RequestHead;
use logic::retry::Fault;
use logic::snapshot::{Admission, Snapshots};
use ring::digest;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use wire::client_view::{Claim, ClientView, FetchHint, HEADER, NEWS_MAX_BYTES, ViewNews};
use wire::error_code;
use wire::id::{ClusterName, Epoch};
use wire::router::RouterSettings;
use wire::settings::{ClientSettings, RouteAnswer};
use wire::view::View;

/// Immutable; replaced whole with each table that changes something of it.
#[derive(Debug, Default)]
pub struct ClientViews {
    clients: Vec<ClientSettings>,
    by_cluster: BTreeMap<ClusterName, Arc<Published>>,
    snapshots: Arc<Mutex<Snapshots>>,
}

/// The newest view of one cluster, as text where it was asked for.
#[derive(Debug)]
struct Published {
    history: History,
    snapshot: OnceLock<Arc<[u8]>>,
    /// By the epoch that a client has.
    news: BTreeMap<Epoch, OnceLock<Arc<str>>>,
    hint: Arc<str>,
}

/// Makes them; the control thread's.
#[derive(Debug, Default)]
pub struct Publisher {
    latest: Arc<ClientViews>,
    path: String,
}

impl Publisher {
    /// What clients may know by these settings and views.
    pub fn publish(&mut self, settings: &RouterSettings, views: &ByCluster) -> Arc<ClientViews> {
        if settings.clients.is_empty() {
            if !self.latest.clients.is_empty() {
                self.latest = Arc::default();
            }
            return self.latest.clone();
        }
        let path = fetch_path(settings);
        let is_path_same = self.path == path;
        let known = |name: &ClusterName| self.latest.by_cluster.get(name);
        let one = |name: &ClusterName| {
            let view = views.get(name)?;
            let known = known(name);
            let same = known.filter(|known| is_path_same && known.history.newest().epoch == view.epoch);
            Some(same.cloned().unwrap_or_else(|| Arc::new(Published::new(view, known, &path))))
        };
        let named = settings.clients.iter().flat_map(|client| &client.clusters);
        let by_cluster: BTreeMap<_, _> = named.filter_map(|name| Some((name.clone(), one(name)?))).collect();
        let is_same = self.latest.clients == settings.clients
            && self.latest.by_cluster.len() == by_cluster.len()
            && by_cluster.iter().all(|(name, published)| {
                self.latest.by_cluster.get(name).is_some_and(|before| Arc::ptr_eq(before, published))
            });
        if !is_same {
            let (clients, snapshots) = (settings.clients.clone(), self.latest.snapshots.clone());
            self.latest = Arc::new(ClientViews { clients, by_cluster, snapshots });
            self.path = path;
        }
        self.latest.clone()
    }
}

/// Where clients of this router fetch views; empty where nowhere.
fn fetch_path(settings: &RouterSettings) -> String {
    let route = settings.routes.iter().find(|route| route.actions.answer == Some(RouteAnswer::Views));
    // What is in a header is ASCII; no request could ask for another path anyway.
    route.map(|route| route.path.clone()).filter(|path| path.is_ascii()).unwrap_or_default()
}

impl Published {
    fn new(view: &View, before: Option<&Arc<Published>>, path: &str) -> Self {
        let history = match before {
            None => History::new(view),
            Some(before) => {
                let mut history = before.history.clone();
                history.take(view);
                history
            }
        };
        let newest = history.newest();
        let hint = FetchHint { cluster: newest.cluster.clone(), to: newest.epoch, path: path.to_owned() };
        let hint = written(&ViewNews::Fetch(hint));
        let news = history.remembered().map(|epoch| (epoch, OnceLock::new())).collect();
        Self { history, snapshot: OnceLock::new(), news, hint }
    }

    fn newest(&self) -> &ClientView {
        self.history.newest()
    }

    /// For a client with that epoch; None if it lacks nothing.
    fn news_since(&self, epoch: Epoch) -> Option<Arc<str>> {
        if epoch >= self.newest().epoch {
            return None;
        }
        let Some(place) = self.news.get(&epoch) else { return Some(self.hint.clone()) };
        let news = place.get_or_init(|| match self.history.since(epoch) {
            Since::Delta(delta) => {
                let text = written(&ViewNews::Delta(delta));
                if text.len() <= NEWS_MAX_BYTES { text } else { self.hint.clone() }
            }
            Since::Nothing | Since::TooMuch => self.hint.clone(),
        });
        Some(news.clone())
    }

    fn snapshot(&self) -> Arc<[u8]> {
        let write = || serde_json::to_vec(self.newest()).expect("names as keys").into();
        self.snapshot.get_or_init(write).clone()
    }
}

fn written(news: &ViewNews) -> Arc<str> {
    serde_json::to_string(news).expect("names as keys").into()
}

impl ClientViews {
    /// The view that a client asks for, if it may know it.
    fn permitted(&self, claim: &Claim) -> Option<&Arc<Published>> {
        let digest = digest::digest(&digest::SHA256, claim.token.as_bytes());
        // Hashes may be compared in any way: who knows how far a hash is right knows nothing of the token.
        let is_of = |client: &&ClientSettings| {
            client.clusters.contains(&claim.cluster) && is_hex_of(&client.token_sha256, digest.as_ref())
        };
        self.clients.iter().find(is_of).and_then(|_| self.by_cluster.get(&claim.cluster))
    }
}

fn is_hex_of(text: &str, bytes: &[u8]) -> bool {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    text.bytes().eq(digits.map(|digit| DIGITS[usize::from(digit)]))
}

impl Core {
    /// What a client that shows its view lacks, for its answer's header; None mostly.
    pub fn view_news(&self, claim: &Claim) -> Option<Arc<str>> {
        let views = self.client_views()?;
        let published = views.by_cluster.get(&claim.cluster)?;
        if claim.epoch >= published.newest().epoch {
            return None;
        }
        views.permitted(claim)?.news_since(claim.epoch)
    }
}

/// Answers a request for a view: nothing new, what changed, or the whole.
pub fn answer(core: &Core, head: &RequestHead<'_, '_>) -> Early {
    let refuse = |reason: &str| Early::Refused(Fault::NotAClient, reason.into());
    let Some(claim) = claim(head) else {
        return refuse("a view was asked for without a right Muster-View header");
    };
    let views = core.client_views();
    let Some((views, published)) = views.as_ref().and_then(|views| Some((views, views.permitted(&claim)?)))
    else {
        return refuse("a view was asked for with a wrong token, or of a cluster that is not for it");
    };
    let message = |status, head: String, body: &[u8]| {
        let head = (head + "Cache-Control: no-store\r\n").into_bytes();
        Early::Answered(Message { status, head, body: body.to_vec() })
    };
    match published.news_since(claim.epoch) {
        None => message(304, String::new(), b""),
        Some(news) if !Arc::ptr_eq(&news, &published.hint) => {
            message(204, format!("{HEADER}: {news}\r\n"), b"")
        }
        Some(_) => {
            let body = published.snapshot();
            let mut snapshots = views.snapshots.lock().expect("nobody panics while holding it");
            match snapshots.ask(core.waits.now_us(), body.len() as u64) {
                Admission::Now => message(200, "Content-Type: application/json\r\n".into(), &body),
                Admission::Later { after_ms } => {
                    let code = error_code::TOO_MANY_FETCHES;
                    let text = "Too many clients fetch at once; come again then.";
                    let body = format!(
                        "{{\"status\":503,\"code\":\"{code}\",\"message\":\"{text}\",\"retry_ms\":{after_ms}}}\n"
                    );
                    let seconds = after_ms.div_ceil(1_000);
                    let head = format!("Retry-After: {seconds}\r\nContent-Type: application/json\r\n");
                    message(503, head, body.as_bytes())
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
