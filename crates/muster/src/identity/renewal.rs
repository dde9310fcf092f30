//! Renews this node's certificate before it expires, while everything runs.
//!
//! One thread that sleeps most of the time. Where several processes of a node run, the first one renews and the others
//! see the new file: every connection reads it anew.

use super::authority::Authority;
use super::{Identity, IdentityError, Place, join, load, now_us};
use crate::lock_file;
use crate::role::RoleHandle;
use logic::enrol::renew_at_s;
use std::fs::File;
use std::io;
use std::time::Duration;
use tokio::sync::watch;

/// Longest sleep: the clock may be set, and a machine may have slept.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);
/// Shortest pause between attempts that failed, which is a twentieth of the time that is left: a manager that has just
/// been lost may be back at once.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest such pause. A minute: a manager that is back is not left unasked for long.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Starts the thread.
pub fn start(place: Place) -> io::Result<RoleHandle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, mut stopped) = watch::channel(false);
    let thread = std::thread::Builder::new().name("identity".into()).spawn(move || {
        runtime.block_on(async {
            // Cancelling a renewal leaves the old certificate, which is valid for a while.
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => {}
                () = keep_renewed(&place) => {}
            }
        });
    })?;
    Ok(RoleHandle { name: "identity", stop, thread })
}

/// When a certificate is due, in seconds since 1970.
pub fn due_s(identity: &Identity) -> i64 {
    let issued_s = i64::try_from(identity.bearer.issued_us / 1_000_000).unwrap_or(i64::MAX);
    renew_at_s(issued_s, identity.not_after_s)
}

/// How long to wait for a moment; nothing where it has passed.
pub fn wait(until_s: i64) -> Duration {
    let left_us = u64::try_from(until_s).unwrap_or(0).saturating_mul(1_000_000).saturating_sub(now_us());
    Duration::from_micros(left_us).min(SLEEP_MAX)
}

async fn keep_renewed(place: &Place) {
    let mut told = String::new();
    loop {
        let pause = match load(place) {
            Ok(identity) if !wait(due_s(&identity)).is_zero() => wait(due_s(&identity)),
            Ok(identity) => match renew_once(place, &identity).await {
                Ok(()) => {
                    told.clear();
                    // Not at once: where this clock is far ahead of the manager's, the new one is due again.
                    let life_s = identity.not_after_s - identity.bearer.issued_us as i64 / 1_000_000;
                    let life = Duration::from_secs(u64::try_from(life_s).unwrap_or(0));
                    (life / 20).clamp(PAUSE_MIN, PAUSE_MAX)
                }
                Err(error) => {
                    tell(&mut told, &error);
                    (wait(identity.not_after_s) / 20).clamp(PAUSE_MIN, PAUSE_MAX)
                }
            },
            Err(error) => {
                tell(&mut told, &error);
                PAUSE_MAX
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Each reason once, not at each attempt.
fn tell(told: &mut String, error: &IdentityError) {
    let text = crate::logging::chain(error);
    if *told != text {
        tracing::warn!(error = text, "the certificate of this node is due and was not renewed; trying again");
        *told = text;
    }
}

/// The right to change this node's certificate; None: another process of this node has it at this moment.
pub fn lock(place: &Place) -> Result<Option<File>, IdentityError> {
    let path = place.path().join("renewal.lock");
    lock_file::try_take(&path).map_err(|source| IdentityError::Write { path, source })
}

async fn renew_once(place: &Place, identity: &Identity) -> Result<(), IdentityError> {
    let Some(_lock) = lock(place)? else {
        tokio::time::sleep(PAUSE_MIN).await;
        return Ok(());
    };
    let newest = load(place)?;
    if newest.certificate != identity.certificate {
        return Ok(());
    }
    // Where the authority's key is there is a manager, which needs a certificate that says so.
    let renewed = match Authority::load(place) {
        Ok(authority) => {
            let life_us = identity.not_after_s.saturating_mul(1_000_000) - identity.bearer.issued_us as i64;
            let life = Duration::from_micros(u64::try_from(life_us).unwrap_or(0));
            authority.issue_own(place, &identity.bearer.node, life)?;
            load(place)?
        }
        Err(IdentityError::NoAuthority { .. }) => join::renew(place, identity).await?,
        Err(error) => return Err(error),
    };
    tracing::info!(node = %renewed.bearer.node, until_s = renewed.not_after_s, "the certificate of this node is renewed");
    Ok(())
}
