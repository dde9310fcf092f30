//! The client of one cluster: calls it, and knows its members.
//!
//! What is decided is decided in `choice`, `routers`, `refresh`, `attempt` and `budget`; here it is carried out. One lock is
//! held for the length of a decision and never while anything is waited for. The one task that a context has (see
//! `keeper`) ends with its last clone.

use crate::attempt::{Attempt, Verdict, is_idempotent, judge};
use crate::budget::RetryBudget;
use crate::chance::Chance;
use crate::choice::{Choice, Chosen};
use crate::connection::Connection;
use crate::error::{Error, Failure, How};
use crate::evidence::Failing;
use crate::keeper;
use crate::place::Place;
use crate::pool::Pool;
use crate::refresh::{Reason, Refresh};
use crate::routers::{self, Routers};
use crate::settings::{Settings, Way};
use crate::tls::Tls;
use crate::transaction::Transaction;
use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::Full;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use wire::client_view::{Applied, Claim, ClientView, HEADER, ViewNews};
use wire::id::{Epoch, MemberName};

/// The client of one cluster. Clones are the same context.
#[derive(Clone)]
pub struct Context {
    kept: Arc<Kept>,
}

/// What the last clone of a context takes along.
struct Kept {
    shared: Arc<Shared>,
    keeper: JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// What calls and the keeper share.
pub(crate) struct Shared {
    pub settings: Settings,
    pub tls: Tls,
    pub pool: Pool,
    pub started: Instant,
    pub state: Mutex<State>,
    /// The keeper shall look when to ask.
    pub wake: Notify,
    /// The epoch of the view, for those who wait for another.
    pub epoch: watch::Sender<Epoch>,
    /// Held while a router is asked, by one for the whole process; when the last one was done.
    pub asking: tokio::sync::Mutex<Option<Instant>>,
}

pub(crate) struct State {
    pub choice: Choice,
    pub routers: Routers,
    pub refresh: Refresh,
    pub budget: RetryBudget,
    pub chance: Chance,
    /// Whether a second router knew the first view too, or a newer one.
    pub is_verified: bool,
}

/// Who is to take one attempt.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Member { name: MemberName, place: Place },
    Router(routers::Asked),
}

impl Target {
    fn of(chosen: Chosen) -> Option<Self> {
        let member = chosen.member;
        let place = Place::of_member(member.address?, member.tls.as_deref());
        Some(Self::Member { name: member.name, place })
    }

    fn place(&self) -> &Place {
        match self {
            Target::Member { place, .. } => place,
            Target::Router(asked) => &asked.url.place,
        }
    }
}

/// A call under way at a member, until it is dropped.
struct UnderWay<'s> {
    shared: &'s Shared,
    member: Option<MemberName>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(member) = self.member.take() {
            self.shared.state().choice.end(&member);
        }
    }
}

impl Context {
    /// Begins to say how a cluster is called, with a token of `muster client token`.
    pub fn to(cluster: &str, token: &str) -> Settings {
        Settings::new(cluster, token)
    }

    pub(crate) async fn connect(settings: Settings) -> Result<Self, Error> {
        let (cluster, routers, retry_server) = settings.checked()?;
        let tls = Tls::new(settings.authorities.as_deref())?;
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|_| Error::WrongUse {
            what: "the system".into(),
            why: "it gives no random numbers, by which clients keep out of each other's way",
        })?;
        let mut chance = Chance::new(u64::from_ne_bytes(seed));
        let view = ClientView { cluster, ..ClientView::default() };
        let state = State {
            choice: Choice::new(view, settings.prefer.clone(), settings.policy),
            routers: Routers::new(routers, retry_server, &mut chance),
            refresh: Refresh::new(0, &mut chance),
            budget: RetryBudget::default(),
            chance,
            is_verified: false,
        };
        let shared = Arc::new(Shared {
            settings,
            tls,
            pool: Pool::default(),
            started: Instant::now(),
            state: Mutex::new(state),
            wake: Notify::new(),
            epoch: watch::Sender::new(Epoch::default()),
            asking: tokio::sync::Mutex::new(None),
        });
        keeper::begin(&shared).await?;
        let keeper = tokio::spawn(keeper::keep(shared.clone()));
        Ok(Self { kept: Arc::new(Kept { shared, keeper }) })
    }

    /// Makes a call: a request with path and query as its URI. Host is put in where it is missing.
    ///
    /// The answer of whoever took the call is the answer, whatever its status. A call that failed is made again elsewhere
    /// if nobody has seen it, or if doing it twice has the effect of doing it once; at most four times, and so seldom that
    /// clients cannot multiply an overload.
    ///
    /// # Errors
    /// `Error::is_done` says whether the call may have been carried out nevertheless. A call that is dropped before it
    /// ends may have been carried out too.
    pub async fn invoke(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        self.kept.shared.invoke(request, None).await
    }

    /// Begins a transaction: calls that all go to the same member.
    pub fn transaction(&self) -> Transaction {
        Transaction::new(self.clone())
    }

    /// What the client knows of the cluster now.
    pub fn view(&self) -> Arc<ClientView> {
        self.kept.shared.state().choice.view().clone()
    }

    /// Waits until the view is another than that of this epoch.
    pub async fn changed(&self, since: Epoch) -> Arc<ClientView> {
        let mut epoch = self.kept.shared.epoch.subscribe();
        // The sender lives as long as this context.
        let _ = epoch.wait_for(|epoch| *epoch != since).await;
        self.view()
    }

    /// Asks a router now whether there is a newer view. Calls that come together ask once after the other.
    ///
    /// # Errors
    /// No router answered, or it asked to come later; the view stays what it is.
    pub async fn refresh(&self) -> Result<Arc<ClientView>, Error> {
        keeper::ask(&self.kept.shared).await?;
        Ok(self.view())
    }

    /// Whether a second router knew the first view too. False with one router, or while only one can be reached.
    pub fn is_verified(&self) -> bool {
        self.kept.shared.state().is_verified
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.kept.shared
    }
}

impl Shared {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    pub fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Makes a call. Of a transaction, the member that took it is left in `bound`, and that is where it goes if there is one.
    pub async fn invoke(
        &self,
        request: Request<Bytes>,
        bound: Option<&mut Option<MemberName>>,
    ) -> Result<Response<Bytes>, Error> {
        check(&request)?;
        let is_idempotent = is_idempotent(request.method(), request.headers());
        self.state().budget.call();
        let begun = bound.as_ref().and_then(|bound| bound.as_ref());
        let is_bound = begun.is_some();
        let (mut members, mut routers) = (Vec::new(), Vec::new());
        let mut target = match begun {
            Some(name) => self.again(name)?,
            None => self.choose(&members, &routers).ok_or(Error::Nobody)?,
        };
        let (mut attempts, mut is_done) = (0, false);
        loop {
            attempts += 1;
            let failure = match self.attempt(&target, &request, is_idempotent).await {
                Ok(answer) => {
                    if let (Some(bound), Target::Member { name, .. }) = (bound, target) {
                        *bound = Some(name);
                    }
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            is_done |= failure.is_sent;
            match target {
                Target::Member { name, .. } => members.push(name),
                Target::Router(asked) => routers.push(asked.index),
            }
            let may_move = self.settings.allows_redirect && !is_bound && failure.how != How::AnswerTooLarge;
            let next = match judge(Attempt { is_sent: failure.is_sent, is_idempotent, attempts }) {
                Verdict::Again if may_move => self.choose(&members, &routers),
                Verdict::Again | Verdict::MayBeDone | Verdict::Enough => None,
            };
            match next.filter(|_| self.state().budget.take()) {
                Some(next) => target = next,
                None => return Err(Error::Failed { attempts, is_done, last: Box::new(failure) }),
            }
        }
    }

    /// Who takes an attempt that is bound to nobody.
    fn choose(&self, members: &[MemberName], routers: &[usize]) -> Option<Target> {
        let now_ms = self.now_ms();
        let mut state = self.state();
        let State { choice, routers: known, chance, .. } = &mut *state;
        let direct = match self.settings.way {
            Way::Members => choice.choose(now_ms, members, chance).and_then(Target::of),
            Way::Routers => None,
        };
        // A router may know more than we do.
        direct.or_else(|| known.choose(now_ms, routers).map(Target::Router))
    }

    /// Who takes a call of a transaction that has begun at that member.
    fn again(&self, name: &MemberName) -> Result<Target, Error> {
        let same = self.state().choice.same(name).and_then(Target::of);
        same.ok_or_else(|| Error::TransactionLost { member: name.0.clone() })
    }

    /// Makes one attempt and notes what it says about the place.
    async fn attempt(
        &self,
        target: &Target,
        request: &Request<Bytes>,
        is_idempotent: bool,
    ) -> Result<Response<Bytes>, Failure> {
        let request = self.outgoing(target, request);
        let mut under_way = UnderWay { shared: self, member: None };
        if let Target::Member { name, .. } = target {
            self.state().choice.begin(name);
            under_way.member = Some(name.clone());
        }
        let lost = self.lost(target);
        let calling = self.call(target.place(), request, is_idempotent, self.settings.answer_max_bytes);
        let calling = timeout(self.settings.answer, calling);
        // Both may be cancelled: a call that is given up takes its connection along.
        let result = tokio::select! {
            result = calling => match result {
                Ok(result) => result,
                Err(_) => Err(Failure::plain(&target.place().to_string(), How::Silent, true)),
            },
            () = lost => Err(Failure::plain(&target.place().to_string(), How::Lost, true)),
        };
        drop(under_way);
        match result {
            Ok(mut answer) => {
                self.succeeded(target, &mut answer);
                Ok(answer)
            }
            Err(failure) => {
                self.failed(target, &failure);
                Err(failure)
            }
        }
    }

    /// Ready when the cell says that the member is lost.
    async fn lost(&self, target: &Target) {
        let Target::Member { name, .. } = target else { return std::future::pending().await };
        let mut epoch = self.epoch.subscribe();
        // Asked between two epochs and not by the channel itself, which would hold its own lock meanwhile.
        while !self.state().choice.is_lost(name) {
            // The sender is our own.
            if epoch.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// The request as it goes to that place.
    fn outgoing(&self, target: &Target, request: &Request<Bytes>) -> Request<Full<Bytes>> {
        let mut outgoing = Request::new(Full::new(request.body().clone()));
        *outgoing.method_mut() = request.method().clone();
        *outgoing.uri_mut() = request.uri().clone();
        *outgoing.headers_mut() = request.headers().clone();
        let headers = outgoing.headers_mut();
        headers.remove(HEADER);
        if !headers.contains_key(HOST) {
            let host = self.settings.host.clone().unwrap_or_else(|| target.place().authority());
            if let Ok(host) = HeaderValue::try_from(host) {
                headers.insert(HOST, host);
            }
        }
        // Members have no business with the token.
        if let Target::Router(_) = target {
            headers.insert(HEADER, self.claim());
        }
        outgoing
    }

    /// What we show of our view.
    pub fn claim(&self) -> HeaderValue {
        let (cluster, epoch) = {
            let state = self.state();
            (state.choice.view().cluster.clone(), state.choice.view().epoch)
        };
        let claim = Claim { cluster, epoch, token: self.settings.token.clone() };
        let mut value = HeaderValue::try_from(claim.to_string()).expect("names, digits and a checked token");
        value.set_sensitive(true);
        value
    }

    /// Over an idle connection if there is one. That may end at the very moment; then over a new one if that is safe.
    pub async fn call(
        &self,
        place: &Place,
        request: Request<Full<Bytes>>,
        is_idempotent: bool,
        body_max_bytes: usize,
    ) -> Result<Response<Bytes>, Failure> {
        let again = request.clone();
        let mut is_sent = false;
        if let Some(idle) = self.pool.take(place) {
            match idle.call(place, request, body_max_bytes).await {
                Ok((answer, connection)) => {
                    self.keep(place, connection);
                    return Ok(answer);
                }
                Err(failure) if failure.how == How::BrokeOff && (is_idempotent || !failure.is_sent) => {
                    is_sent = failure.is_sent;
                }
                Err(failure) => return Err(failure),
            }
        }
        let calling = async {
            let connection = Connection::open(place, &self.tls, self.settings.connect).await?;
            connection.call(place, again, body_max_bytes).await
        };
        let (answer, connection) = calling.await.map_err(|mut failure| {
            failure.is_sent |= is_sent;
            failure
        })?;
        self.keep(place, connection);
        Ok(answer)
    }

    fn keep(&self, place: &Place, connection: Option<Connection>) {
        if let Some(connection) = connection {
            self.pool.give(place, connection);
        }
    }

    fn succeeded(&self, target: &Target, answer: &mut Response<Bytes>) {
        let news = answer.headers_mut().remove(HEADER);
        match target {
            // What a member says of its cluster is hearsay.
            Target::Member { name, .. } => {
                self.state().choice.answered(name);
                self.want(Reason::CallsMembers);
            }
            Target::Router(asked) => {
                self.state().routers.answered(asked.index);
                if let Some(news) = news {
                    self.take_news(&news);
                }
            }
        }
    }

    fn failed(&self, target: &Target, failure: &Failure) {
        let how = match failure.how {
            How::Silent => Failing::Silent,
            How::NotConnected | How::ConnectedTooLate | How::BrokeOff | How::Lost | How::Malformed => {
                Failing::Broken
            }
            How::AnswerTooLarge => return,
        };
        let now_ms = self.now_ms();
        let mut state = self.state();
        let State { choice, routers, chance, .. } = &mut *state;
        match target {
            Target::Member { name, .. } => {
                choice.failed(name, now_ms, how, chance);
            }
            Target::Router(asked) => routers.failed(asked.index, now_ms, how, chance),
        }
        drop(state);
        self.pool.forget(target.place());
        if let Target::Member { .. } = target {
            self.want(Reason::Evidence);
        }
    }

    /// Takes over what an answer says of the view.
    pub fn take_news(&self, news: &HeaderValue) {
        let mut state = self.state();
        let is_to_be_fetched = match serde_json::from_slice(news.as_bytes()) {
            Ok(ViewNews::Delta(delta)) => match state.choice.apply(&delta) {
                Applied::Now => {
                    self.epoch.send_replace(delta.to);
                    false
                }
                Applied::Known => false,
                Applied::Unfit => true,
            },
            Ok(ViewNews::Fetch(hint)) => {
                let view = state.choice.view();
                hint.cluster == view.cluster && hint.to > view.epoch
            }
            // A router that is newer than we are says more than we understand; a whole view will do.
            Err(_) => true,
        };
        drop(state);
        if is_to_be_fetched {
            self.want(Reason::Hint);
        }
    }

    /// Takes a whole view over.
    pub fn take_view(&self, view: ClientView) {
        let epoch = view.epoch;
        // Within the lock, so that epochs are told in their order.
        let mut state = self.state();
        if state.choice.replace(view) == Applied::Now {
            self.epoch.send_replace(epoch);
        }
    }

    fn want(&self, reason: Reason) {
        let now_ms = self.now_ms();
        let mut state = self.state();
        let State { refresh, chance, .. } = &mut *state;
        if refresh.want(now_ms, reason, chance) {
            self.wake.notify_one();
        }
    }
}

/// A call is a path on a cluster, not a place.
fn check(request: &Request<Bytes>) -> Result<(), Error> {
    let is_path =
        |uri: &Uri| uri.scheme().is_none() && uri.authority().is_none() && uri.path().starts_with('/');
    if is_path(request.uri()) {
        return Ok(());
    }
    Err(Error::WrongUse {
        what: request.uri().to_string(),
        why: "the URI of a call is a path, with or without query",
    })
}
