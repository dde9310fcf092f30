//! Runs any machine: one bounded inbox, one timer, outputs carried out in order.
//!
//! Slow effects are spawned by the caller's `carry_out` and come back as inputs. Ends when every sender of the
//! inbox is gone or `carry_out` says so.

use crate::clock::Clock;
use logic::machine::Machine;
use std::ops::ControlFlow;
use tokio::sync::mpsc;

/// Inputs that may wait for a machine. 1,024: a report of each of a thousand members at once; senders wait beyond.
pub const INBOX_MAX: usize = 1024;

/// Drives `machine` until the inbox closes or an output breaks off. Returns the machine as it ended.
pub async fn drive<M: Machine>(
    mut machine: M,
    clock: Clock,
    mut inbox: mpsc::Receiver<M::Input>,
    mut carry_out: impl FnMut(&M, M::Output) -> ControlFlow<()>,
) -> M {
    loop {
        let input = match machine.wake_at() {
            // `recv` loses nothing when the timer wins: it takes a message only when it returns one.
            Some(at) => tokio::select! {
                biased;
                () = tokio::time::sleep_until(clock.instant(at)) => Some(M::tick()),
                input = inbox.recv() => input,
            },
            None => inbox.recv().await,
        };
        let Some(input) = input else { return machine };
        for output in machine.step(clock.now(), input) {
            if carry_out(&machine, output).is_break() {
                return machine;
            }
        }
    }
}
