//! Makes machines nodes of the cell: gives out tokens, takes them for certificates, renews those, removes nodes.
//!
//! Keys of the store: `enrol/token/<hash of the secret>` and `enrol/node/<name>` (JSON, see `wire::enrol`). Promises: a
//! token is committed as used before its certificate exists, so that it opens once whatever happens; a removal is
//! committed before it is answered, and refuses from then on. Secrets are kept as hashes and never logged: finding one
//! by its hash tells nobody how near a guess was.
//!
//! Not here: connections (see `strangers`), and what the rules are (see `logic::enrol`).

use super::desk::Input;
use super::fenced::{FencedStore, is_overtaken};
use super::front::Front;
use super::telling::Listener;
use crate::accounts::AccountsHandle;
use crate::identity::authority::{Point, Subject};
use crate::identity::{now_us, proof};
use logic::account::NOBODY;
use logic::enrol::{
    Bearer, BridgeToken, JoinToken, SECRET_BYTES, TOKENS_MAX, Unusable, WRONG_SECRETS_MAX, from_hex, guesser,
    is_forgotten, issue_time_us, redeem, to_hex,
};
use logic::lockout::Lockout;
use logic::model::{Check, Read, Refused, Txn, Write};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;
use store::StoreError;
use tokio::sync::mpsc;
use wire::account::{AuditEntry, AuditResult};
use wire::enrol::{
    ENROL_VERSION, EnrolAnswer, EnrolRequest, Grant, IssuedToken, NodeRecord, PublicKey, TokenRecord,
};
use wire::error_code::{self, ErrorCode};
use wire::id::{NodeName, is_valid_name};
use wire::settings::{BridgeSettings, CellSettings};
use wire::status::{ErrorBody, NodeRefusal, Severity};
use wire::summary::{BRIDGE_VERSION, BridgeHello};

const TOKEN_PREFIX: &str = "enrol/token/";
/// Under which the records of nodes are; other managers hear of them there.
pub const NODE_PREFIX: &str = "enrol/node/";

/// Where nodes are made. One for each term of a manager that listens for other machines.
pub struct Office {
    store: FencedStore,
    pub front: Rc<Front>,
    /// The configuration in force: who may be a node, and where the managers are.
    settings: RefCell<CellSettings>,
    pub told: Told,
    guesses: RefCell<Lockout<IpAddr>>,
    /// Why machines with a certificate of a node were refused last.
    refused: RefCell<BTreeMap<NodeName, NodeRefusal>>,
    /// Tokens that were refused in this term: an event each, however often one is shown.
    told_tokens: RefCell<BTreeSet<String>>,
}

/// Who hears of what happens here.
#[derive(Debug)]
pub struct Told {
    /// Who tells other cells of this one.
    pub listeners: mpsc::Sender<Listener>,
    /// The desk, for events.
    pub inbox: mpsc::Sender<Input>,
    /// The audit log.
    pub accounts: AccountsHandle,
}

/// How long people are shown that a machine was refused. A minute: it comes again every few seconds.
const REFUSAL_SHOWN_MS: u64 = 60_000;

/// What is refused, with its code; nothing has changed.
type Answer<T> = Result<T, (ErrorCode, String)>;

/// After these the same may be asked again.
const RETRY_CODES: [ErrorCode; 3] =
    [error_code::STORE_WRITE_FAILED, error_code::STORE_NOT_REACHED, error_code::MANAGER_UNAVAILABLE];

fn node_key(node: &NodeName) -> String {
    format!("{NODE_PREFIX}{node}")
}

/// A node and its record, as they are in the store; None: the key is of something else. A damaged record lets nobody in:
/// it may have been a removal.
pub fn read_record(key: &str, value: &[u8]) -> Option<(NodeName, NodeRecord)> {
    let node: NodeName = key.strip_prefix(NODE_PREFIX)?.into();
    let record = serde_json::from_slice(value).unwrap_or_else(|error| {
        tracing::error!(%node, %error, "what the store says of this node is damaged; a new token lets it join again");
        NodeRecord { valid_since_us: 0, is_removed: true }
    });
    Some((node, record))
}

/// By what a token is found.
fn token_key(secret: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, secret);
    format!("{TOKEN_PREFIX}{}", to_hex(hash.as_ref()))
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("a record has only names, numbers and text")
}

fn now_ms() -> u64 {
    now_us() / 1_000
}

/// How long ago, for people.
fn ago(ms: u64) -> String {
    match ms / 1_000 {
        0..120 => format!("{} seconds ago", ms / 1_000),
        seconds @ 120..7_200 => format!("{} minutes ago", seconds / 60),
        seconds => format!("{} hours ago", seconds / 3_600),
    }
}

fn store_failed(error: &StoreError) -> (ErrorCode, String) {
    if is_overtaken(error) {
        let text = "another manager leads by now, and nothing was done".to_owned();
        return (error_code::MANAGER_UNAVAILABLE, text);
    }
    let (code, what) = match error {
        StoreError::Unknown { .. } => (error_code::STORE_WRITE_UNCERTAIN, "and it may have been done"),
        StoreError::Unavailable { .. } | StoreError::Denied { .. } => {
            (error_code::STORE_NOT_REACHED, "and nothing was done")
        }
        _ => (error_code::STORE_WRITE_FAILED, "and nothing was done"),
    };
    (code, format!("the manager's store failed, {what}: {error}"))
}

/// See `Office::joined_us`.
pub fn joined_us(record: Option<&NodeRecord>) -> Option<u64> {
    match record {
        Some(record) if record.is_removed => None,
        Some(record) => Some(record.valid_since_us),
        None => Some(0),
    }
}

impl Office {
    /// `nodes` is what the store says of them at the beginning of the term.
    pub fn open(
        store: FencedStore,
        front: Rc<Front>,
        settings: CellSettings,
        nodes: BTreeMap<NodeName, NodeRecord>,
        told: Told,
    ) -> Self {
        front.know_records(nodes);
        Self {
            store,
            front,
            settings: RefCell::new(settings),
            told,
            guesses: RefCell::new(Lockout::new(WRONG_SECRETS_MAX)),
            refused: RefCell::default(),
            told_tokens: RefCell::default(),
        }
    }

    /// Since when the machine that is the node is it, in microseconds since 1970, or 0 where that was never noted; None if
    /// it was removed.
    pub fn joined_us(&self, node: &NodeName) -> Option<u64> {
        joined_us(self.front.record(node).as_ref())
    }

    /// Whether the configuration in force gives this node a manager.
    pub fn is_managers(&self, node: &NodeName) -> bool {
        self.settings.borrow().managers().contains(node)
    }

    /// Another configuration is in force.
    pub fn use_settings(&self, settings: &CellSettings) {
        self.settings.replace(settings.clone());
    }

    /// Which other cell it is that wants to hear of this one, and what it may hear.
    pub fn admit_bridge(&self, hello: &BridgeHello) -> Result<(String, BridgeSettings), (ErrorCode, String)> {
        let settings = self.settings.borrow();
        if hello.version != BRIDGE_VERSION {
            let own = env!("CARGO_PKG_VERSION");
            let text = format!(
                "that cell has Muster {} (version {} of bridges), and this one {own} (version {BRIDGE_VERSION})",
                printable(&hello.muster),
                hello.version
            );
            return Err((error_code::VERSIONS_DO_NOT_FIT, text));
        }
        let secret = from_hex(&hello.secret).and_then(|bytes| bytes.try_into().ok());
        let named = settings.bridges.iter().find(|bridge| bridge.name == hello.bridge);
        let is_known = named.zip(secret).filter(|(bridge, secret)| {
            let (authority, bridge_name) = (self.front.authority.fingerprint(), bridge.name.clone());
            let token = BridgeToken { authority, secret: *secret, bridge: bridge_name };
            let hash = ring::digest::digest(&ring::digest::SHA256, token.to_string().as_bytes());
            to_hex(hash.as_ref()) == bridge.token_sha256
        });
        match is_known {
            Some((bridge, _)) => Ok((settings.name.clone(), bridge.clone())),
            None => {
                let text = "the token is of no [bridges] table of that cell's configuration".to_owned();
                Err((error_code::BRIDGE_REFUSED, text))
            }
        }
    }

    /// Where other machines find the managers.
    fn addresses(&self) -> Vec<String> {
        self.settings.borrow().manager_addresses()
    }

    fn check_name(&self, node: &NodeName) -> Answer<()> {
        if self.front.node == *node {
            let text = format!("node {node} is the manager's own and joins nothing");
            return Err((error_code::ACT_MAKES_NO_SENSE, text));
        }
        let settings = self.settings.borrow();
        if settings.nodes.contains(node) {
            return Ok(());
        }
        let known: Vec<&str> = settings.nodes.iter().map(|node| node.0.as_str()).collect();
        let text = format!("node {node} is not in the configuration, which has {}", known.join(", "));
        Err((error_code::NO_SUCH_NODE, text))
    }

    /// Gives out a token for a node of the configuration.
    pub async fn issue_token(&self, node: &NodeName, valid_ms: u64) -> Result<IssuedToken, ErrorBody> {
        self.try_issue_token(node, valid_ms).await.map_err(error_body)
    }

    async fn try_issue_token(&self, node: &NodeName, valid_ms: u64) -> Answer<IssuedToken> {
        self.check_name(node)?;
        let manager = self.settings.borrow().manager_address(&self.front.node);
        let no_address = || (error_code::NOT_SEVERAL_MACHINES, "the manager has no address".to_owned());
        let manager = manager.ok_or_else(no_address)?;
        let mut secret = [0; SECRET_BYTES];
        let no_chance = |error| (error_code::CONSOLE_FAILED, format!("no random numbers: {error}"));
        getrandom::fill(&mut secret).map_err(no_chance)?;
        let found = self.store.read(Read::Prefix(TOKEN_PREFIX.into())).await;
        let entries = found.map_err(|error| store_failed(&error))?.entries;
        let now_ms = now_ms();
        let is_over =
            |value: &[u8]| serde_json::from_slice(value).map_or(true, |record| is_forgotten(&record, now_ms));
        let (over, kept): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| is_over(&entry.value));
        if kept.len() >= TOKENS_MAX {
            let text =
                format!("there are {TOKENS_MAX} tokens already; each is forgotten a week after its end");
            return Err((error_code::ACT_MAKES_NO_SENSE, text));
        }
        let is_open = |record: &TokenRecord| {
            record.node == *node && record.used.is_none() && record.expires_ms > now_ms
        };
        let records = kept.iter().filter_map(|entry| serde_json::from_slice(&entry.value).ok());
        let others = records.filter(is_open).count() as u32;
        let replaces = self.front.record(node).is_some_and(|record| !record.is_removed);
        let record = TokenRecord { node: node.clone(), expires_ms: now_ms + valid_ms, used: None };
        let mut writes: Vec<Write> = over.into_iter().map(|entry| Write::Delete { key: entry.key }).collect();
        // Transactions are bounded; what is left is cleared with the next token.
        writes.truncate(100);
        writes.push(Write::put(token_key(&secret), json(&record)));
        let done = self.store.commit(Txn { checks: Vec::new(), writes }).await;
        done.map_err(|error| store_failed(&error))?;
        let token = JoinToken { authority: self.front.authority.fingerprint(), secret, node: node.clone() };
        let (node, expires_ms) = (node.clone(), record.expires_ms);
        Ok(IssuedToken { node, token: token.to_string(), manager, expires_ms, others, replaces })
    }

    /// Answers one request of a machine. `bearer` is who it has proven to be.
    pub async fn answer(
        &self,
        request: EnrolRequest,
        challenge: &proof::Challenge,
        bearer: Option<&Bearer>,
        from: IpAddr,
    ) -> EnrolAnswer {
        let (version, muster) = match &request {
            EnrolRequest::Join { version, muster, .. } | EnrolRequest::Renew { version, muster, .. } => {
                (*version, muster.clone())
            }
        };
        let wanted = match &request {
            EnrolRequest::Join { node, .. } => Some(node.clone()),
            EnrolRequest::Renew { .. } => None,
        };
        let outcome = match request {
            _ if version != ENROL_VERSION => {
                let own = env!("CARGO_PKG_VERSION");
                let text = format!(
                    "this machine has Muster {} (joining version {version}), and the manager {own} (version \
                     {ENROL_VERSION})",
                    printable(&muster)
                );
                Err((error_code::VERSIONS_DO_NOT_FIT, text))
            }
            EnrolRequest::Join { secret, key, node, .. } => {
                self.join((&secret, node.as_ref()), &key, challenge, from).await
            }
            EnrolRequest::Renew { key, .. } => match bearer {
                Some(bearer) => self.renew(bearer, &key, challenge),
                None => {
                    let text = "a certificate is renewed for who shows the present one".to_owned();
                    Err((error_code::NODE_REFUSED, text))
                }
            },
        };
        if let Some(node) = wanted {
            self.audit(node, from, &outcome);
        }
        match outcome {
            Ok(grant) => EnrolAnswer::Granted(grant),
            // Whoever leads by now can do it.
            Err((error_code::MANAGER_UNAVAILABLE, _)) => EnrolAnswer::NotLeader { leader: None },
            Err((code, message)) => {
                tracing::info!(%from, %code, message, "a machine did not get a certificate");
                EnrolAnswer::Refused { code: code.to_string(), message }
            }
        }
    }

    /// Writes down that a machine has joined, or wanted to. Whoever could not was nobody.
    fn audit(&self, wanted: Option<NodeName>, from: IpAddr, outcome: &Answer<Grant>) {
        let on = wanted.filter(|node| is_valid_name(&node.0)).map(|node| node.0).unwrap_or_default();
        let (who, on, result, code) = match outcome {
            Ok(grant) => (format!("node {}", grant.node), grant.node.0.clone(), AuditResult::Done, None),
            Err((code, _)) if RETRY_CODES.contains(code) => {
                (NOBODY.to_owned(), on, AuditResult::Failed, Some(code.to_string()))
            }
            Err((code, _)) => (NOBODY.to_owned(), on, AuditResult::Refused, Some(code.to_string())),
        };
        let entry = AuditEntry {
            at_ms: now_ms(),
            who,
            way: "cell".to_owned(),
            from: from.to_canonical(),
            act: "node-join".to_owned(),
            on,
            result,
            code,
            left_out: 0,
        };
        match outcome {
            Ok(_) => self.told.accounts.note_later(entry),
            Err(_) => self.told.accounts.note_stranger(entry),
        }
    }

    fn tell(&self, severity: Severity, kind: &'static str, text: String) {
        // A full inbox has worse to tell, and the audit log has it.
        drop(self.told.inbox.try_send(Input::Note { severity, kind, text }));
    }

    /// Tells of a token that was real and is refused: somebody has it who should not, or was too late. Once for each.
    fn tell_refused(&self, key: &str, node: &NodeName, from: IpAddr, why: &str) {
        let mut told = self.told_tokens.borrow_mut();
        if told.len() < TOKENS_MAX && told.insert(key.to_owned()) {
            let from = from.to_canonical();
            let text = format!("a machine at {from} could not join with a token for node {node}: {why}");
            self.tell(Severity::Warning, "join-refused", text);
        }
    }

    async fn join(
        &self,
        (secret, wanted): (&str, Option<&NodeName>),
        key: &PublicKey,
        challenge: &proof::Challenge,
        from: IpAddr,
    ) -> Answer<Grant> {
        let now_ms = now_ms();
        let place = guesser(from);
        let locked_ms = self.guesses.borrow().locked_for_ms(now_ms, &place);
        if let Some(wait_ms) = locked_ms {
            let text = format!("too many wrong tokens came from {from}; wait {} s", wait_ms.div_ceil(1_000));
            return Err((error_code::TOO_MANY_WRONG_TOKENS, text));
        }
        let point = proven(key, challenge)?;
        let secret = from_hex(secret).unwrap_or_default();
        let key = token_key(&secret);
        // Many at once count as many; who tries the same again guesses nothing.
        self.guesses.borrow_mut().guess(now_ms, &place, guess_of(&key));
        let found = self.store.read(Read::Keys(vec![key.clone()])).await;
        let found = found.map_err(|error| store_failed(&error))?.entries.into_iter().next();
        let record = found.as_ref().and_then(|entry| serde_json::from_slice(&entry.value).ok());
        if record.is_some() {
            self.guesses.borrow_mut().forgive(&place);
        }
        let used = redeem(record.as_ref(), now_ms, from).map_err(unusable);
        let used = used.inspect_err(|(_, why)| {
            if let Some(TokenRecord { node, .. }) = &record {
                self.tell_refused(&key, node, from, why);
            }
        })?;
        if let Some(wanted) = wanted.filter(|wanted| **wanted != used.node) {
            let text = format!(
                "the token ends with {}, and was given out for another node; it was not used up: copy all of it",
                printable(&wanted.0)
            );
            return Err((error_code::TOKEN_NOT_USABLE, text));
        }
        self.check_name(&used.node)?;
        let node = used.node.clone();
        let before = self.front.record(&node).filter(|before| !before.is_removed);
        let issued_us = issue_time_us(self.front.record(&node).as_ref(), now_us());
        let joined = NodeRecord { valid_since_us: issued_us, is_removed: false };
        let revision = found.expect("a token that can be used was found").revision;
        let checked = key.clone();
        let checks = vec![Check::Unchanged { key: key.clone(), revision }];
        let writes = vec![Write::put(key, json(&used)), Write::put(node_key(&node), json(&joined))];
        match self.store.commit(Txn { checks, writes }).await {
            Ok(_) => {}
            Err(StoreError::Refused(Refused::CheckFailed { key: failed })) if failed == checked => {
                return Err(unusable(Unusable::Used { ago_ms: 0, from }));
            }
            Err(error) => return Err(store_failed(&error)),
        }
        self.front.know_record(&node, joined);
        let grant = self.grant(&node, &point, issued_us)?;
        let at = from.to_canonical();
        let (severity, place) = match before {
            Some(_) => (Severity::Warning, ", in place of the one that was it, which is refused from now on"),
            None => (Severity::Info, ""),
        };
        self.tell(severity, "node-joined", format!("the machine at {at} has joined as node {node}{place}"));
        Ok(grant)
    }

    fn renew(&self, bearer: &Bearer, key: &PublicKey, challenge: &proof::Challenge) -> Answer<Grant> {
        self.front.admit(bearer).map_err(|text| (error_code::NODE_REFUSED, text))?;
        self.check_name(&bearer.node)?;
        let point = proven(key, challenge)?;
        let issued_us = issue_time_us(self.front.record(&bearer.node).as_ref(), now_us());
        let grant = self.grant(&bearer.node, &point, issued_us)?;
        tracing::info!(node = %bearer.node, "the certificate of a node is renewed");
        Ok(grant)
    }

    fn grant(&self, node: &NodeName, point: &[u8], issued_us: u64) -> Answer<Grant> {
        let is_manager = self.settings.borrow().managers().contains(node);
        let subject = Subject { node, is_manager, issued_us, life: self.front.life };
        let made = self.front.authority.issue(&Point(point), &subject);
        let certificate = made.map_err(|error| (error_code::IDENTITY_NOT_USABLE, error.to_string()))?;
        let cell = self.settings.borrow().name.clone();
        let (node, certificate) = (node.clone(), to_hex(&certificate));
        Ok(Grant { cell, node, certificate, managers: self.addresses() })
    }

    /// Whether its machine was cut off, and no other has become this node since.
    pub fn is_removed(&self, node: &NodeName) -> bool {
        self.front.is_removed(node)
    }

    /// A node was refused. Whether that is news.
    pub fn note_refused(&self, node: &NodeName, from: Option<IpAddr>, reason: &str) -> bool {
        let mut refused = self.refused.borrow_mut();
        let refusal = NodeRefusal {
            from: from.map(|from| from.to_canonical()),
            at_ms: now_ms(),
            reason: reason.to_owned(),
        };
        // Only who has a certificate of this cell is noted, so there are as many as nodes ever were.
        let before = refused.insert(node.clone(), refusal);
        before.is_none_or(|before| {
            before.reason != reason || before.from != from.map(|from| from.to_canonical())
        })
    }

    /// What another machine of that name was told stays.
    pub fn note_admitted(&self, node: &NodeName, from: Option<IpAddr>) {
        let mut refused = self.refused.borrow_mut();
        if refused.get(node).is_some_and(|refusal| refusal.from == from.map(|from| from.to_canonical())) {
            refused.remove(node);
        }
    }

    /// The last machine that was refused as this node, if that was a moment ago.
    pub fn refusal(&self, node: &NodeName, now_ms: u64) -> Option<NodeRefusal> {
        let refused = self.refused.borrow();
        refused.get(node).filter(|refusal| now_ms < refusal.at_ms + REFUSAL_SHOWN_MS).cloned()
    }

    /// From now on nothing of this node's certificates counts.
    pub async fn remove(&self, node: &NodeName) -> Result<String, ErrorBody> {
        if self.front.node == *node {
            let text = format!("node {node} is the manager's own and cannot be removed");
            return Err(error_body((error_code::ACT_MAKES_NO_SENSE, text)));
        }
        let before = self.front.record(node);
        let Some(before) = before.filter(|record| !record.is_removed) else {
            let text = format!("no machine has joined as node {node}");
            return Err(error_body((error_code::NO_SUCH_NODE, text)));
        };
        let valid_since_us = issue_time_us(Some(&before), now_us());
        let record = NodeRecord { valid_since_us, is_removed: true };
        let writes = vec![Write::put(node_key(node), json(&record))];
        let done = self.store.commit(Txn { checks: Vec::new(), writes }).await;
        done.map_err(|error| error_body(store_failed(&error)))?;
        self.front.know_record(node, record);
        Ok(format!("node {node} is cut off, and its certificate counts no longer"))
    }
}

fn proven(key: &PublicKey, challenge: &proof::Challenge) -> Answer<Vec<u8>> {
    let not_proven = || (error_code::NODE_REFUSED, "the key of the request is not proven".to_owned());
    proof::verify(key, challenge).ok_or_else(not_proven)
}

/// What a stranger calls its version, fit for a log.
fn printable(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(32).collect()
}

fn error_body((code, message): (ErrorCode, String)) -> ErrorBody {
    ErrorBody { code: code.to_string(), message, retry: RETRY_CODES.contains(&code) }
}

fn unusable(why: Unusable) -> (ErrorCode, String) {
    let text = match why {
        Unusable::Unknown => "the manager does not know this token".to_owned(),
        Unusable::Expired { ago_ms } => format!("the token expired {}", ago(ago_ms)),
        Unusable::Used { ago_ms, from } => {
            format!("the token was used {} from {}", ago(ago_ms), from.to_canonical())
        }
    };
    (error_code::TOKEN_NOT_USABLE, text)
}

/// Tells one guess from another: the beginning of the hash that names it.
fn guess_of(key: &str) -> u64 {
    let digits = key.strip_prefix(TOKEN_PREFIX).and_then(|hash| hash.get(..16));
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
}
