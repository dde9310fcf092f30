//! What the router's TLS needs from files, read once and again when a file changes.
//!
//! Owned by the control thread. Promise: what was read last and was right stays in use while a file is missing or
//! wrong, and the trouble is told for as long as it lasts. Connections keep what they began with.

use crate::tls::{self, ServerTls, TlsError};
use rustls::ClientConfig;
use rustls::server::ProducesTickets;
use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;
use wire::router::RouterSettings;
use wire::settings::{Listener, ListenerTls, Protocol};
use wire::view::{MemberTls, View};

/// Protocols of HTTP that clients are offered, the best first.
const HTTP_PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1", b"http/1.0"];
/// What members are asked for that speak HTTP/2. Others are asked for nothing, which all of them understand.
const HTTP2_ALONE: &[&[u8]] = &[b"h2"];

/// TLS for all data threads. Immutable; replaced whole.
#[derive(Debug, Default)]
pub struct TlsTable {
    pub listeners: BTreeMap<SocketAddr, Arc<ServerTls>>,
    members: BTreeMap<Speech, Arc<ClientConfig>>,
}

/// How members are spoken to; with true in HTTP/2.
type Speech = (MemberTls, bool);

impl TlsTable {
    /// None while its files could never be read.
    pub fn of_member(&self, tls: &MemberTls, http2: bool) -> Option<Arc<ClientConfig>> {
        self.members.get(&(without_name(tls), http2)).cloned()
    }
}

/// Members that differ only in their names share a configuration.
fn without_name(tls: &MemberTls) -> MemberTls {
    MemberTls { server_name: String::new(), ..tls.clone() }
}

#[derive(Debug, Default)]
pub struct Vault {
    listeners: BTreeMap<SocketAddr, Held<ServerTls>>,
    /// What a listener was told to use, beside what came of it.
    asked: BTreeMap<SocketAddr, (ListenerTls, &'static [&'static [u8]])>,
    /// Of each listener, so that clients can go on with their sessions after a certificate changed.
    tickets: BTreeMap<SocketAddr, (TrustedClients, Arc<dyn ProducesTickets>)>,
    members: BTreeMap<Speech, Held<ClientConfig>>,
}

/// Whose tickets count: those of clients that were checked against the same authorities.
type TrustedClients = (String, bool, Option<Stamp>);

#[derive(Debug)]
struct Held<T> {
    stamps: Vec<Option<Stamp>>,
    good: Option<Arc<T>>,
    problem: Option<String>,
    /// Certificates that are in use although their time is over, or whose time is over soon.
    lateness: Vec<String>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { stamps: Vec::new(), good: None, problem: None, lateness: Vec::new() }
    }
}

/// How a file looked when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    changed: Option<SystemTime>,
    bytes: u64,
    number: u64,
}

fn stamp(path: &str) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(path).ok()?;
    Some(Stamp { changed: found.modified().ok(), bytes: found.len(), number: found.ino() })
}

impl<T> Held<T> {
    /// Reads the files if they look different from last time; says whether there is something new to use.
    fn look(&mut self, files: &[&str], read: impl FnOnce() -> Result<Arc<T>, TlsError>) -> bool {
        let stamps: Vec<Option<Stamp>> = files.iter().map(|path| stamp(path)).collect();
        let is_same = stamps == self.stamps && (self.good.is_some() || self.problem.is_some());
        if is_same && self.problem.is_none() {
            return false;
        }
        self.stamps = stamps;
        match read() {
            Ok(fresh) => {
                let was_in_use = self.good.replace(fresh).is_some();
                if self.problem.take().is_some() {
                    tracing::info!(files = files.join(", "), "TLS files are right again");
                } else if was_in_use {
                    tracing::info!(files = files.join(", "), "changed TLS files are in use");
                }
                true
            }
            Err(error) => {
                let problem = if self.good.is_some() {
                    format!("{error}; what was read before is used on")
                } else {
                    error.to_string()
                };
                if self.problem.as_ref() != Some(&problem) {
                    tracing::warn!(code = %error.code(), "{problem}");
                }
                self.problem = Some(problem);
                false
            }
        }
    }

    fn note_lateness(&mut self, certificates: &[&str]) {
        let now_s = tls::now_s();
        let late = certificates
            .iter()
            .filter_map(|path| tls::time_trouble(path, now_s).or_else(|| tls::time_warning(path, now_s)));
        let late: Vec<String> = late.map(|error| error.to_string()).collect();
        late.iter().filter(|text| !self.lateness.contains(text)).for_each(|text| tracing::warn!("{text}"));
        self.lateness = late;
    }

    fn problems(&self) -> impl Iterator<Item = String> {
        self.problem.iter().chain(&self.lateness).cloned()
    }
}

impl Vault {
    /// Takes settings and views over; with `looks_again` files that are known are looked at as well. Says whether a
    /// new table must be handed out.
    pub fn refresh(
        &mut self,
        settings: &RouterSettings,
        views: &BTreeMap<wire::id::ClusterName, Arc<View>>,
        looks_again: bool,
    ) -> bool {
        let mut is_new = false;
        let with_tls: Vec<(&Listener, &ListenerTls)> = settings
            .listeners
            .iter()
            .filter_map(|listener| Some((listener, listener.tls.as_ref()?)))
            .collect();
        let is_wanted =
            |address: &SocketAddr| with_tls.iter().any(|(listener, _)| listener.address == *address);
        self.listeners.retain(|address, _| is_wanted(address));
        self.asked.retain(|address, _| is_wanted(address));
        self.tickets.retain(|address, _| is_wanted(address));
        for (listener, tls) in with_tls {
            is_new |= self.look_at_listener(listener, tls, looks_again);
        }
        let members = views.values().flat_map(|view| &view.members);
        let transports = members.flat_map(|member| {
            iter::once(&member.transport).chain(member.secure.iter().map(|secure| &secure.transport))
        });
        let with_tls = transports.filter_map(|transport| Some((transport.tls.as_ref()?, transport.http2)));
        // Upgrades go over HTTP/1.1 to members that speak HTTP/2, too.
        let wanted: BTreeSet<Speech> = with_tls
            .flat_map(|(tls, http2)| [(without_name(tls), http2), (without_name(tls), false)])
            .collect();
        let before = self.members.len();
        self.members.retain(|speech, _| wanted.contains(speech));
        is_new |= self.members.len() != before;
        for speech in wanted {
            is_new |= self.look_at_member(speech, looks_again);
        }
        is_new
    }

    fn look_at_member(&mut self, speech: Speech, looks_again: bool) -> bool {
        let is_known = self.members.contains_key(&speech);
        if is_known && !looks_again {
            return false;
        }
        let (tls, http2) = &speech;
        if tls.is_unverified && !is_known {
            tracing::warn!("members with tls_unverified are believed whatever certificate they show");
        }
        let alpn = if *http2 { HTTP2_ALONE } else { &[] };
        let held = self.members.entry(speech.clone()).or_default();
        let is_new = held.look(&tls::files_of_member(tls), || tls::client_config(tls, alpn));
        if !tls.certificate.is_empty() {
            held.note_lateness(&[&tls.certificate]);
        }
        is_new
    }

    fn look_at_listener(&mut self, listener: &Listener, tls: &ListenerTls, looks_again: bool) -> bool {
        let address = listener.address;
        let alpn = match &listener.protocol {
            Protocol::Http { http2: true } => HTTP_PROTOCOLS,
            Protocol::Http { http2: false } => &HTTP_PROTOCOLS[1..],
            Protocol::Tcp { .. } | Protocol::Tls { .. } => &[],
        };
        let held = self.listeners.entry(address).or_default();
        let asked = (tls.clone(), alpn);
        let is_known = self.asked.get(&address) == Some(&asked);
        if is_known && !looks_again {
            return false;
        }
        if !is_known {
            // Other files: how the old ones looked says nothing. What they gave is used until the new ones are right.
            held.stamps = Vec::new();
            self.asked.insert(address, asked);
        }
        let trusted = (tls.client_authorities.clone(), tls.client_required, stamp(&tls.client_authorities));
        let tickets = &mut self.tickets;
        let is_new = held.look(&tls::files_of_listener(tls), || {
            let known =
                tickets.get(&address).filter(|(of, _)| *of == trusted).map(|(_, tickets)| tickets.clone());
            let keys = known.map_or_else(tls::tickets, Ok)?;
            let fresh = tls::server_config(tls, alpn, keys.clone())?;
            tickets.insert(address, (trusted, keys));
            Ok(Arc::new(fresh))
        });
        let certificates: Vec<&str> = tls.certificates.iter().map(|pair| pair.certificate.as_str()).collect();
        held.note_lateness(&certificates);
        is_new
    }

    /// Whether connections can be taken there.
    pub fn is_ready(&self, listener: &Listener) -> bool {
        listener.tls.is_none()
            || self.listeners.get(&listener.address).is_some_and(|held| held.good.is_some())
    }

    pub fn table(&self) -> TlsTable {
        let ready = |held: &Held<ServerTls>| held.good.clone();
        TlsTable {
            listeners: self.listeners.iter().filter_map(|(at, held)| Some((*at, ready(held)?))).collect(),
            members: self
                .members
                .iter()
                .filter_map(|(tls, held)| Some((tls.clone(), held.good.clone()?)))
                .collect(),
        }
    }

    /// Sentences for the report.
    pub fn problems(&self) -> Vec<String> {
        let of_listeners = self.listeners.iter().flat_map(|(address, held)| {
            held.problems().map(move |problem| format!("TLS of {address}: {problem}"))
        });
        let of_members = self.members.values().flat_map(Held::problems);
        let of_members: BTreeSet<String> =
            of_members.map(|problem| format!("TLS to members: {problem}")).collect();
        of_listeners.chain(of_members).collect()
    }
}
