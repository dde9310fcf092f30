//! Fences at the desk: what groups want of them, what persons ask, and which agents are to be called.

use super::{Desk, Output, error_body};
use logic::cell::Refusal;
use logic::fence::{self, Output as Said};
use logic::group::PlannerInput;
use logic::machine::Machine;
use logic::time::Time;
use tokio::sync::oneshot;
use wire::error_code::{NO_SUCH_FENCE, NOT_FENCED};
use wire::id::{FenceName, NodeName};
use wire::status::{ErrorBody, Severity};

type Reply = oneshot::Sender<Result<String, ErrorBody>>;

/// What a person wants of fences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FenceWish {
    /// To be told whether it could switch its nodes off.
    Test(FenceName),
    /// The node switched off.
    Off(NodeName),
}

impl Desk {
    pub(super) fn step_fences(&mut self, now: Time, input: fence::Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        for output in self.groups.fences.step(now, input) {
            match output {
                Said::Run { job, fence, node, call } => {
                    outputs.push(Output::CallFence { job, fence, node, call })
                }
                Said::Kill { job } => outputs.push(Output::KillFence { job }),
                Said::Fenced { node, run, result } => {
                    outputs.extend(self.step_groups(now, PlannerInput::Fenced { node, run, result }));
                }
                Said::Event { severity, kind, text } => {
                    outputs.push(Output::Event { severity, kind, cluster: None, member: None, text });
                }
            }
        }
        outputs
    }

    /// It takes as long as agents do, so it is only begun: events and the status tell the rest.
    pub(super) fn wish_of_fences(
        &mut self,
        now: Time,
        who: &str,
        wish: FenceWish,
        reply: Reply,
    ) -> Vec<Output> {
        let fences = &self.groups.fences;
        let (text, refusal) = match &wish {
            FenceWish::Test(fence) => {
                let refusal = (!fences.has(fence)).then(|| Refusal {
                    code: NO_SUCH_FENCE,
                    message: format!("there is no fence {fence}"),
                    retry: false,
                });
                (format!("fence {fence} is asked whether it could switch its nodes off"), refusal)
            }
            FenceWish::Off(node) => {
                let why = match node {
                    _ if *node == self.node => Some("the leading manager runs there; let another lead first"),
                    _ if !fences.covers(node) => Some("no [fences.NAME] of the configuration has it"),
                    _ => None,
                };
                let message = |why| format!("node {node} cannot be switched off: {why}");
                let refusal =
                    why.map(|why| Refusal { code: NOT_FENCED, message: message(why), retry: false });
                (format!("node {node} is being switched off"), refusal)
            }
        };
        if let Some(refusal) = refusal {
            return vec![Output::Answer { reply, result: Err(error_body(refusal)) }];
        }
        let told = format!("{who} asked: {text}");
        let event = Output::Event {
            severity: Severity::Info,
            kind: "operator",
            cluster: None,
            member: None,
            text: told,
        };
        let input = match wish {
            FenceWish::Test(fence) => fence::Input::Test { fence },
            FenceWish::Off(node) => fence::Input::Off { node },
        };
        let mut outputs = vec![event, Output::Answer { reply, result: Ok(text) }];
        outputs.extend(self.step_fences(now, input));
        outputs
    }
}

#[cfg(test)]
mod tests;
