//! What the next manager to lead has to know of a node that cannot be reached: that, and whether it fell together with too many
//! others, so that a person has to say that it is lost before anything is taken over from it. Who finds it so does not ask how it
//! was used meanwhile: that is found out anew.

use super::{Cell, Output, Refusal};
use crate::heartbeat::Reach;
use wire::error_code::{ACT_MAKES_NO_SENSE, NO_SUCH_NODE};
use wire::id::NodeName;
use wire::status::Severity;

/// What was last said of a node, as far as the next manager to lead has to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    No,
    /// It is unreachable, and not taken for there before it is heard.
    Alone,
    /// It fell together with too many others, and nobody has said that it is lost. Also while other managers or nodes hear it: its
    /// lease runs out all the same, and the person's word is waited for whoever leads.
    Mass,
}

impl Absence {
    const WORDS: [(Self, &str); 3] = [(Self::No, "no"), (Self::Alone, "yes"), (Self::Mass, "mass")];

    pub fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(absence, _)| *absence == self);
        found.expect("all are in the table").1
    }

    /// What nobody has written so is no absence: who is not there is missed soon.
    pub fn named(word: &str) -> Self {
        let found = Self::WORDS.iter().find(|(_, known)| *known == word);
        found.map_or(Self::No, |(absence, _)| *absence)
    }

    pub fn of(reach: Reach, is_mass: bool) -> Self {
        match reach {
            Reach::Unreachable | Reach::Elsewhere | Reach::Nearby if is_mass => Self::Mass,
            Reach::Unreachable => Self::Alone,
            Reach::Reachable | Reach::Elsewhere | Reach::Nearby | Reach::Degraded => Self::No,
        }
    }

    /// What who leads next takes the node for.
    pub fn reach(self) -> Reach {
        match self {
            Self::No => Reach::Reachable,
            Self::Alone | Self::Mass => Reach::Unreachable,
        }
    }
}

impl Cell {
    /// A person has looked: the node, which fell silent together with others, is lost.
    pub(super) fn confirm_lost(&mut self, who: &str, node: &NodeName) -> Result<String, Refusal> {
        let Some(agent) = self.agents.get_mut(node).filter(|agent| agent.is_configured) else {
            let message = format!("there is no node {node} in the configuration");
            return Err(Refusal { code: NO_SUCH_NODE, message, retry: false });
        };
        if !agent.is_mass() {
            let message = format!(
                "node {node} is not one that fell silent together with many others: nothing waits for your word"
            );
            return Err(Refusal { code: ACT_MAKES_NO_SENSE, message, retry: false });
        }
        agent.record.away = Absence::of(agent.reach, false);
        let record = agent.record;
        self.remember_node(node, record);
        self.outputs.push(Output::Lost { node: node.clone() });
        let text = format!(
            "node {node} counts as lost: what only one node may run is taken over from it once its leases have run out, and only that"
        );
        self.event(Severity::Warning, "operator", format!("{who} asked: {text}"));
        Ok(text)
    }
}
