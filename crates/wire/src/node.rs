//! What operators want of a whole node: that it is emptied, left alone, rebooted or shut down.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What is asked of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeAct {
    /// Its groups go elsewhere, one after the other, and its members take no new conversations.
    Drain,
    /// The same, with all groups at once.
    DrainAtOnce,
    Undrain,
    /// Its monitors pause, and nothing that fails there or is lost with it moves by itself.
    MaintenanceOn,
    MaintenanceOff,
}

impl NodeAct {
    pub const ALL: [NodeAct; 5] = [
        NodeAct::Drain,
        NodeAct::DrainAtOnce,
        NodeAct::Undrain,
        NodeAct::MaintenanceOn,
        NodeAct::MaintenanceOff,
    ];

    /// As the API and the log have it.
    pub fn name(self) -> &'static str {
        match self {
            NodeAct::Drain => "drain",
            NodeAct::DrainAtOnce => "drain-at-once",
            NodeAct::Undrain => "undrain",
            NodeAct::MaintenanceOn => "maintenance-on",
            NodeAct::MaintenanceOff => "maintenance-off",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        NodeAct::ALL.into_iter().find(|act| act.name() == name)
    }
}

/// What is asked of a node's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerAct {
    Reboot,
    Shutdown,
}

impl PowerAct {
    pub const ALL: [PowerAct; 2] = [PowerAct::Reboot, PowerAct::Shutdown];

    /// As the API has it.
    pub fn name(self) -> &'static str {
        match self {
            PowerAct::Reboot => "reboot",
            PowerAct::Shutdown => "shutdown",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        PowerAct::ALL.into_iter().find(|act| act.name() == name)
    }

    /// What is done to a node, in a sentence.
    pub fn done(self) -> &'static str {
        match self {
            PowerAct::Reboot => "rebooted",
            PowerAct::Shutdown => "shut down",
        }
    }

    /// What does it where the configuration does not say.
    pub fn default_command(self) -> Vec<String> {
        let act = match self {
            PowerAct::Reboot => "reboot",
            PowerAct::Shutdown => "poweroff",
        };
        vec!["systemctl".to_owned(), act.to_owned()]
    }
}

/// The programs with which a node's machine is rebooted and shut down; empty: the usual ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerCommands {
    pub reboot: Vec<String>,
    pub shutdown: Vec<String>,
}

impl PowerCommands {
    pub fn of(&self, act: PowerAct) -> Vec<String> {
        let said = match act {
            PowerAct::Reboot => &self.reboot,
            PowerAct::Shutdown => &self.shutdown,
        };
        if said.is_empty() { act.default_command() } else { said.clone() }
    }
}

/// Whether a node is to be emptied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Drain {
    #[default]
    No,
    OneByOne,
    AtOnce,
}

/// All that is wanted of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeWish {
    pub drain: Drain,
    pub is_in_maintenance: bool,
}

impl NodeWish {
    pub fn is_drained(self) -> bool {
        self.drain != Drain::No
    }

    pub fn after(self, act: NodeAct) -> Self {
        match act {
            NodeAct::Drain => Self { drain: Drain::OneByOne, ..self },
            NodeAct::DrainAtOnce => Self { drain: Drain::AtOnce, ..self },
            NodeAct::Undrain => Self { drain: Drain::No, ..self },
            NodeAct::MaintenanceOn => Self { is_in_maintenance: true, ..self },
            NodeAct::MaintenanceOff => Self { is_in_maintenance: false, ..self },
        }
    }

    /// None for what nobody has written so. Words beside these are of a newer version, and left aside.
    pub fn parse(text: &str) -> Option<Self> {
        let word = |name: &str| text.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let drain = match word("drain")? {
            "no" => Drain::No,
            "one-by-one" => Drain::OneByOne,
            "at-once" => Drain::AtOnce,
            _ => return None,
        };
        let is_in_maintenance = match word("maintenance")? {
            "yes" => true,
            "no" => false,
            _ => return None,
        };
        Some(Self { drain, is_in_maintenance })
    }
}

/// `drain=one-by-one maintenance=no`: an operator can read it.
impl fmt::Display for NodeWish {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let drain = match self.drain {
            Drain::No => "no",
            Drain::OneByOne => "one-by-one",
            Drain::AtOnce => "at-once",
        };
        let maintenance = if self.is_in_maintenance { "yes" } else { "no" };
        write!(out, "drain={drain} maintenance={maintenance}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for act in NodeAct::ALL {
            let wish = NodeWish { drain: Drain::AtOnce, is_in_maintenance: false }.after(act);
            assert_eq!(NodeWish::parse(&wish.to_string()), Some(wish), "{wish}");
            assert_eq!(
                NodeWish::parse(&format!("{wish} rank=3")),
                Some(wish),
                "a newer version added a word"
            );
            assert_eq!(NodeAct::named(act.name()), Some(act));
        }
        assert_eq!(NodeWish::parse("drain=perhaps maintenance=no"), None);
        assert_eq!(NodeWish::parse("drain=no"), None);
        assert_eq!(NodeAct::named("burn"), None);
    }
}
