//! Sees to it that each call that changes something is in the audit log, however it ends.
//!
//! Promise: whoever is known gets an answer only when its entry is safe (see `accounts::audit`), but for the answer that no
//! manager is there to do it; a call whose caller
//! goes away half way is written down as failed, which means that it may have been done.

use super::answer::{self, Answer};
use super::auth::{Caller, Way};
use super::routes::Call;
use super::server::{Peer, Shared};
use crate::accounts::AccountsHandle;
use crate::identity::now_us;
use hyper::StatusCode;
use logic::account::{NOBODY, Principal};
use std::cell::Cell;
use std::rc::Rc;
use wire::account::{AuditEntry, AuditResult};

/// A call that is under way. One that is dropped before its end is written down all the same.
#[derive(Debug)]
pub struct Noting {
    accounts: AccountsHandle,
    is_known: bool,
    entry: Option<AuditEntry>,
    /// The leader has the call, and writes it down.
    pub is_handed: Rc<Cell<bool>>,
}

impl Noting {
    /// None: such a call changes nothing. Without a caller it is a stranger's.
    pub fn begin(shared: &Shared, call: &Call, peer: &Peer, caller: Option<&Caller>) -> Option<Self> {
        let (act, on) = call.audited()?;
        let way = match caller.map(|caller| caller.way) {
            _ if peer.node.is_some() => "cell",
            _ if matches!(call, Call::Login) => "console",
            Some(Way::Session { .. }) => "console",
            Some(Way::Token | Way::Certificate | Way::Manager) | None => "API",
        };
        let entry = AuditEntry {
            at_ms: now_us() / 1_000,
            who: caller.map_or_else(|| NOBODY.to_owned(), |caller| caller.principal.to_string()),
            way: way.to_owned(),
            from: peer.address.ip().to_canonical(),
            act: act.to_owned(),
            on,
            result: AuditResult::Failed,
            code: None,
            left_out: 0,
        };
        Some(Self {
            accounts: shared.accounts.clone(),
            is_known: caller.is_some(),
            entry: Some(entry),
            is_handed: Rc::default(),
        })
    }

    /// It only asks what would follow, which is no change; such calls are written down all the same.
    pub fn is_dry_run(&mut self) {
        if let Some(entry) = &mut self.entry {
            entry.on.push_str(" (dry run)");
        }
    }

    /// It has become known who calls.
    pub fn is_by(&mut self, principal: &Principal) {
        self.is_known = true;
        if let Some(entry) = &mut self.entry {
            entry.who = principal.to_string();
        }
    }

    /// Whom a stranger wanted to be, where that is told.
    pub fn is_on(&mut self, on: &str) {
        if let Some(entry) = &mut self.entry {
            on.clone_into(&mut entry.on);
        }
    }

    /// The call has ended with this answer.
    pub async fn end(mut self, answer: &Answer) {
        let Some(mut entry) = self.entry.take() else { return };
        if self.is_handed.get() {
            return;
        }
        let status = answer.status();
        entry.result = match status {
            _ if status.is_success() => AuditResult::Done,
            _ if status.is_server_error() => AuditResult::Failed,
            _ => AuditResult::Refused,
        };
        entry.code = answer::code_of(answer);
        match self.is_known {
            // No manager did it, most likely for want of the store into which this is to go: it is written when it can be.
            true if status == StatusCode::SERVICE_UNAVAILABLE => self.accounts.note_later(entry),
            true => self.accounts.note(entry).await,
            false => self.accounts.note_stranger(entry),
        }
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        match self.entry.take() {
            Some(_) if self.is_handed.get() => {}
            Some(entry) if self.is_known => self.accounts.note_later(entry),
            Some(entry) => self.accounts.note_stranger(entry),
            None => {}
        }
    }
}
