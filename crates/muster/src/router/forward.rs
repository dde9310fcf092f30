//! Bytes both ways between a client and a member of a cluster, understood by nobody here: TCP, or TLS passed through.
//!
//! The member is found, and another one tried when it cannot be reached, as for a request; counted and logged likewise.

use super::connect::{Opening, open};
use super::core::Core;
use super::member::{Cluster, Member};
use super::origin::Origin;
use super::session::InFlight;
use super::streams::Stream;
use super::tunnel::{self, Carried};
use super::waits::Ticket;
use logic::log_pattern::Line;
use logic::retry::{Fault, Side};
use std::rc::Rc;
use wire::id::ClusterName;

pub struct Forward<'a> {
    pub core: &'a Rc<Core>,
    pub ticket: &'a Ticket,
    /// For the log.
    pub line: String,
    pub origin: Rc<Origin>,
}

impl Forward<'_> {
    /// Runs until either side ends it. `ahead` was read from the client before.
    pub async fn run(self, cluster: &ClusterName, mut stream: Stream, ahead: Vec<u8>) {
        let started_us = self.ticket.now_us();
        let known = self.core.clusters.borrow().get(cluster).cloned();
        let connected = match known {
            Some(cluster) => self.connect(&cluster, &stream).await.map(|found| (cluster, found)),
            None => Err(Fault::NoMember),
        };
        let (cluster, (member, mut connection)) = match connected {
            Ok(connected) => connected,
            Err(fault) => return self.refuse(stream, fault, started_us),
        };
        let in_flight = InFlight::begin(self.core, &member);
        let carried =
            tunnel::carry(self.core, self.ticket, &mut stream, &mut connection, &ahead, member.manner.get())
                .await;
        drop(in_flight);
        self.count(&cluster, &member, &carried, started_us);
    }

    /// A connection to a member that can be reached.
    async fn connect(&self, cluster: &Rc<Cluster>, stream: &Stream) -> Result<(Rc<Member>, Stream), Fault> {
        let mut tried: Vec<Rc<Member>> = Vec::new();
        let (attempts_max, connect_ms) = {
            let settings = self.core.settings.borrow();
            (settings.retry.attempts_max as usize, settings.timeouts.connect_ms)
        };
        cluster.budget.borrow_mut().request(self.core.now());
        let mut fault = Fault::NoMember;
        loop {
            let now = self.core.now();
            let (_, member) = cluster.choose(std::iter::empty(), &tried, now);
            let Some(member) = member else { return Err(fault) };
            let opening = Opening {
                core: self.core,
                ticket: self.ticket,
                client: (stream, &self.origin),
                deadline: self.ticket.in_ms(member.manner.get().connect_ms(connect_ms)),
                http2: false,
            };
            self.ticket.set_member(member.identity());
            let connected = open(&opening, &member).await;
            self.ticket.set_member(0);
            match connected {
                Ok(connection) => {
                    cluster.member_answered(&member);
                    return Ok((member, connection));
                }
                Err(found) => fault = found,
            }
            if fault.answer().side == Side::Member {
                member.failed.set(member.failed.get() + 1);
            }
            if fault.marks_member() {
                cluster.member_failed(&member, self.core.now());
            }
            tried.push(member);
            let may_retry = fault.is_transient()
                && tried.len() <= attempts_max
                && cluster.budget.borrow_mut().take(self.core.now());
            if !may_retry {
                return Err(fault);
            }
            self.core.count(|totals| totals.retried += 1);
        }
    }

    fn refuse(&self, stream: Stream, fault: Fault, started_us: u64) {
        self.core.count(|totals| {
            totals.requests += 1;
            totals.failed += 1;
        });
        if self.core.may_tell() {
            tracing::info!(
                client = &*self.origin.address,
                line = self.line,
                ?fault,
                "a connection finds no member"
            );
        }
        self.log(fault.answer().status, 0, started_us, None);
        stream.reset();
    }

    fn count(&self, cluster: &Cluster, member: &Member, carried: &Carried, started_us: u64) {
        member.requests.set(member.requests.get() + 1);
        self.core.count(|totals| {
            totals.requests += 1;
            totals.bytes_in += carried.up_bytes;
            totals.bytes_out += carried.down_bytes;
        });
        let view = cluster.view.borrow();
        self.log(200, carried.down_bytes, started_us, Some((&view.cluster.0, &member.name.0)));
    }

    fn log(&self, status: u16, bytes: u64, started_us: u64, member: Option<(&str, &str)>) {
        if let Some(log) = &*self.core.access_log.borrow() {
            let duration_us = self.ticket.now_us().saturating_sub(started_us);
            let settings = self.core.settings.borrow();
            let (cluster, member) = member.unwrap_or_default();
            log.write(Line {
                router: &settings.name.0,
                client: &self.origin.address,
                request: &self.line,
                protocol: "TCP",
                tls: self.origin.tls_version(),
                status,
                bytes_out: bytes,
                body_bytes: bytes,
                duration_us,
                cluster,
                member,
                ..Line::default()
            });
        }
    }
}
