//! Questions and wishes: who answers each, the desk itself or the shell.

use super::{Desk, Output};
use crate::manager::handle::Request;
use logic::cell;
use logic::time::Time;

impl Desk {
    pub(super) fn ask(&mut self, now: Time, request: Request) -> Vec<Output> {
        match request {
            Request::Act { who, cluster, member, act, reply } => {
                self.asks_count += 1;
                let ask = self.asks_count;
                self.waiting.insert(ask, reply);
                self.step_cell(now, cell::Input::Operator { ask, who, cluster, member, act })
            }
            Request::ActGroup { who, group, act, dry_run, reply } => {
                let input = self.groups.ask(who, group, act, dry_run, reply);
                self.step_groups(now, input)
            }
            Request::ActNode { who, node, act, dry_run, reply } => {
                let members = self.cell.members_on(&node);
                let input = self.groups.ask_of_node(who, node, (act, dry_run), members, reply);
                self.step_groups(now, input)
            }
            Request::ConfirmLost { who, node, reply } => {
                self.asks_count += 1;
                let ask = self.asks_count;
                self.waiting.insert(ask, reply);
                self.step_cell(now, cell::Input::ConfirmLost { ask, who, node })
            }
            Request::Power { wish, reply } => self.wish_of_power(wish, reply),
            Request::ActFence { who, wish, reply } => self.wish_of_fences(now, &who, wish, reply),
            Request::ActMonitor { who, monitor, act, reply } => {
                self.asks_count += 1;
                let ask = self.asks_count;
                self.waiting.insert(ask, reply);
                self.step_cell(now, cell::Input::MonitorOperator { ask, who, monitor, act })
            }
            request @ (Request::Status { .. }
            | Request::Events { .. }
            | Request::Apply { .. }
            | Request::Rollback { .. }
            | Request::Config { .. }
            | Request::OldConfig { .. }
            | Request::History { .. }
            | Request::Explain { .. }
            | Request::PluginCfg { .. }
            | Request::Facts { .. }
            | Request::GroupMoves { .. }
            | Request::NodeToken { .. }
            | Request::NodeRemove { .. }) => vec![Output::Ask(request)],
        }
    }
}
