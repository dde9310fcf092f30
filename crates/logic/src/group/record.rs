//! What the store keeps of a group: who may run it, and what people want. One line of text, under one key for each.
//!
//! `epoch=3 owner=a cause=failover previous=b wish=run to=- frozen=no leased=yes class=hard taken=b mark=-`: an operator can read it.
//! Behind that stands, after a store was put back and until that is settled, which other nodes may run it: `claimed=c:7 above=7`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use wire::group::{GroupClass, StartCause};
use wire::id::{GroupName, NodeName};
use wire::node::NodeWish;

/// Under which the records lie.
pub const PREFIX: &str = "group/";

/// Under which what is wanted of nodes lies.
pub(super) const NODE_PREFIX: &str = "group-node/";

/// Whether the planner wants it back at its start.
pub fn is_record(key: &str) -> bool {
    key.starts_with(PREFIX) || key.starts_with(NODE_PREFIX)
}

/// Whether this version understands such a record. Nobody may plan while it does not: a group would be taken for one that never
/// ran, and be started beside itself.
pub fn is_readable(key: &str, text: &str) -> bool {
    match key.strip_prefix(NODE_PREFIX) {
        Some(_) => NodeWish::parse(text).is_some(),
        None => Record::parse(text).is_some(),
    }
}

pub(super) fn node_key(node: &NodeName) -> String {
    format!("{NODE_PREFIX}{node}")
}

pub(super) fn key(group: &GroupName) -> String {
    format!("{PREFIX}{group}")
}

/// What a person has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Run,
    Stop,
}

/// How far the fencing of its owner has come, for groups that need it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Mark {
    #[default]
    No,
    /// It may be under way, or have been done without anybody having noted it.
    Asked,
    /// It is proven to be off.
    Off,
}

/// A node that may run a group which is not its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub epoch: u64,
    /// It is known to run it only as long as its lease allows, so that nothing is left of it once that is over.
    pub ends_with_lease: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Of the newest owner; 0: it never had one.
    pub epoch: u64,
    /// Nobody else may run it. None: nobody may.
    pub owner: Option<NodeName>,
    pub cause: StartCause,
    /// The owner before.
    pub previous: Option<NodeName>,
    /// None: as the configuration says.
    pub wish: Option<Wish>,
    /// Where it is to go.
    pub to: Option<NodeName>,
    pub is_frozen: bool,
    /// The owner needs its lease to run it, and knows that.
    pub is_leased: bool,
    /// What has to be proven of its owner, whatever the configuration says by now. None: a Muster that did not note it gave
    /// the group to its owner.
    pub class: Option<GroupClass>,
    /// Nodes that it was taken from by their leases, and that have not come back since.
    pub taken: BTreeSet<NodeName>,
    pub mark: Mark,
    /// Nobody is told to begin with it before each of them is known to have nothing of it.
    pub claims: BTreeMap<NodeName, Claim>,
    /// The highest epoch that was ever claimed: the next one is above it. 0: none is above `epoch`.
    pub above: u64,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            epoch: 0,
            owner: None,
            cause: StartCause::Start,
            previous: None,
            wish: None,
            to: None,
            is_frozen: false,
            is_leased: false,
            class: None,
            taken: BTreeSet::new(),
            mark: Mark::No,
            claims: BTreeMap::new(),
            above: 0,
        }
    }
}

/// What stands where there is no name: no name begins so.
const NOBODY: &str = "-";
/// Behind a claim that ends with its node's lease.
const LEASED: &str = ":leased";

impl Claim {
    /// `c:7` or `c:7:leased`.
    fn parse(text: &str) -> Option<(NodeName, Self)> {
        let (rest, ends_with_lease) = match text.strip_suffix(LEASED) {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (node, epoch) = rest.rsplit_once(':')?;
        Some((NodeName::from(node), Self { epoch: epoch.parse().ok()?, ends_with_lease }))
    }
}

impl Record {
    /// Of who gets it next.
    pub fn next_epoch(&self) -> u64 {
        self.epoch.max(self.above) + 1
    }

    /// Somebody else has run it since, with a higher epoch: the store was put back.
    pub fn is_outrun(&self) -> bool {
        self.above > self.epoch
    }

    /// What is kept of a group that is gone, so that one of its name begins above it: a node that was not there all the while
    /// may remember it, and a store that is put back may name it. None: it never ran.
    pub fn rest(&self) -> Option<Self> {
        let epoch = self.epoch.max(self.above);
        (epoch > 0).then(|| Self { epoch, ..Self::default() })
    }

    /// None for what nobody has written so.
    pub fn parse(text: &str) -> Option<Self> {
        let word = |name: &str| text.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let node = |name: &str| match word(name)? {
            NOBODY => Some(None),
            node => Some(Some(NodeName::from(node))),
        };
        let taken = word("taken")?;
        Some(Self {
            epoch: word("epoch")?.parse().ok()?,
            owner: node("owner")?,
            cause: match word("cause")? {
                "start" => StartCause::Start,
                "failover" => StartCause::Failover,
                "again" => StartCause::Again,
                _ => return None,
            },
            previous: node("previous")?,
            wish: match word("wish")? {
                "run" => Some(Wish::Run),
                "stop" => Some(Wish::Stop),
                NOBODY => None,
                _ => return None,
            },
            to: node("to")?,
            is_frozen: word("frozen")? == "yes",
            is_leased: word("leased")? == "yes",
            class: match word("class") {
                Some("hard") => Some(GroupClass::Hard),
                Some("soft") => Some(GroupClass::Soft),
                None => None,
                Some(_) => return None,
            },
            taken: taken.split(',').filter(|node| *node != NOBODY).map(NodeName::from).collect(),
            // A Muster that knew no fences has not written it.
            mark: match word("mark").unwrap_or(NOBODY) {
                "asked" => Mark::Asked,
                "off" => Mark::Off,
                NOBODY => Mark::No,
                _ => return None,
            },
            claims: match word("claimed") {
                Some(claims) => claims.split(',').map(Claim::parse).collect::<Option<_>>()?,
                None => BTreeMap::new(),
            },
            above: match word("above") {
                Some(epoch) => epoch.parse().ok()?,
                None => 0,
            },
        })
    }
}

impl fmt::Display for Record {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn name(node: Option<&NodeName>) -> &str {
            node.map_or(NOBODY, |node| node.0.as_str())
        }
        let cause = match self.cause {
            StartCause::Start => "start",
            StartCause::Failover => "failover",
            StartCause::Again => "again",
        };
        let wish = match self.wish {
            Some(Wish::Run) => "run",
            Some(Wish::Stop) => "stop",
            None => NOBODY,
        };
        let mark = match self.mark {
            Mark::No => NOBODY,
            Mark::Asked => "asked",
            Mark::Off => "off",
        };
        let yes_or_no = |is: bool| if is { "yes" } else { "no" };
        let (frozen, leased) = (yes_or_no(self.is_frozen), yes_or_no(self.is_leased));
        let class = match self.class {
            Some(GroupClass::Hard) => " class=hard",
            Some(GroupClass::Soft) => " class=soft",
            None => "",
        };
        let taken: Vec<&str> = self.taken.iter().map(|node| node.0.as_str()).collect();
        let taken = if taken.is_empty() { NOBODY.to_owned() } else { taken.join(",") };
        let (owner, previous, to) =
            (name(self.owner.as_ref()), name(self.previous.as_ref()), name(self.to.as_ref()));
        write!(
            out,
            "epoch={} owner={owner} cause={cause} previous={previous} wish={wish} to={to} frozen={frozen} leased={leased}\
             {class} taken={taken} mark={mark}",
            self.epoch
        )?;
        for (place, (node, claim)) in self.claims.iter().enumerate() {
            let before = if place == 0 { " claimed=" } else { "," };
            let leased = if claim.ends_with_lease { LEASED } else { "" };
            write!(out, "{before}{node}:{}{leased}", claim.epoch)?;
        }
        if self.is_outrun() {
            write!(out, " above={}", self.above)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut record = Record::default();
        assert_eq!(Record::parse(&record.to_string()), Some(record.clone()));
        record.epoch = 7;
        record.owner = Some("a".into());
        record.cause = StartCause::Failover;
        record.previous = Some("b.x".into());
        record.wish = Some(Wish::Stop);
        record.to = Some("c".into());
        record.is_frozen = true;
        record.is_leased = true;
        record.taken = BTreeSet::from(["b.x".into(), "d".into()]);
        for mark in [Mark::No, Mark::Asked, Mark::Off] {
            record.mark = mark;
            assert_eq!(Record::parse(&record.to_string()), Some(record.clone()));
        }
        for class in [GroupClass::Soft, GroupClass::Hard] {
            record.class = Some(class);
            assert_eq!(Record::parse(&record.to_string()), Some(record.clone()));
        }
        let older = record.to_string().replace(" mark=off", "");
        assert_eq!(Record::parse(&older).map(|record| record.mark), Some(Mark::No));
        let older = record.to_string().replace(" class=hard", "");
        assert_eq!(Record::parse(&older).map(|record| record.class), Some(None));
        assert_eq!(Record::parse("epoch=seven"), None);
        let claim = |epoch, ends_with_lease| Claim { epoch, ends_with_lease };
        record.claims = BTreeMap::from([("c".into(), claim(9, false)), ("d.x".into(), claim(8, true))]);
        record.above = 9;
        assert!(record.to_string().ends_with(" claimed=c:9,d.x:8:leased above=9"), "{record}");
        assert_eq!(Record::parse(&record.to_string()), Some(record.clone()));
        assert_eq!(record.next_epoch(), 10);
        assert_eq!(Record::parse(&record.to_string().replace(":9,", ":nine,")), None);
        // What a newer version has to say beside it is left aside, and is no part of what is written next.
        assert_eq!(Record::parse(&format!("{record} rank=3")), Some(record.clone()));
        assert!(is_readable("group/g", &record.to_string()) && !is_readable("group/g", "epoch=7"));
        // What it says in another way is not guessed at.
        assert!(!is_readable("group/g", &record.to_string().replace("cause=failover", "cause=omen")));
        assert!(!is_readable("group-node/a", "nothing that is known"));
    }
}
