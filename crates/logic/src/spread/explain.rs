//! Tells where a request of a route would go, and why, from views alone: for people, not for the request path.
//!
//! Asks the same functions as a router that has just taken these views. Not here: what each router thread keeps for
//! itself (marks, ejections, current weights, requests under way, whose turn it is).

use super::{Clusters, Group, Spreader};
use crate::affinity;
use crate::balance::{AffinityFate, Balancer, Own, Tried};
use crate::time::Time;
use std::cell::RefCell;
use std::fmt::Write;
use wire::settings::{RouteSettings, Spread};
use wire::view::{HashKey, MemberView, Policy, RunState, View};

/// Where a request would go: places count the route's clusters and the members of their views. Sentences are in the
/// order of the decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Nobody, the one who gets it, or those among whom turn or chance decides.
    pub candidates: Vec<(usize, u16)>,
    pub why: Vec<String>,
}

/// What a request says about its session, as one cluster reads it: clone ids and the session's number.
pub type SessionOf<'a> = &'a dyn Fn(&View) -> (Vec<String>, Option<u64>);

/// The clusters of a route as the views tell of them.
struct Told<'a> {
    /// All clusters read sessions as the route says.
    reads_alike: bool,
    views: &'a [Option<&'a View>],
    balancers: Vec<Option<RefCell<Balancer>>>,
    clone_ids: Vec<Vec<String>>,
}

impl Clusters for Told<'_> {
    fn balancer(&self, cluster: usize) -> Option<&RefCell<Balancer>> {
        self.balancers[cluster].as_ref()
    }

    fn reads_as(&self, cluster: usize) -> usize {
        if self.reads_alike {
            return 0;
        }
        // The cookie of another cell is signed for one of its clusters.
        let affinity = |place: usize| self.views[place].map(|view| (&view.affinity, &view.cell));
        (0..cluster).find(|earlier| affinity(*earlier) == affinity(cluster)).unwrap_or(cluster)
    }

    fn tried(&self, _cluster: usize) -> Tried {
        Tried::default()
    }

    fn each_clone_id(&self, cluster: usize, look: &mut dyn FnMut(&str) -> bool) {
        let _ = self.clone_ids[cluster].iter().any(|clone_id| look(clone_id));
    }

    fn key(&self, _cluster: usize) -> u64 {
        0
    }

    fn is_elsewhere(&self, cluster: usize) -> bool {
        self.views[cluster].is_some_and(|view| !view.cell.is_empty())
    }
}

/// Explains a request of `route` for a router in `zone`; `views` are those of the route's clusters, in order.
pub fn explain(
    route: &RouteSettings,
    zone: &str,
    views: &[Option<&View>],
    session_of: SessionOf<'_>,
) -> Explained {
    let read: Vec<_> = views.iter().map(|view| view.map(session_of).unwrap_or_default()).collect();
    let session = read.iter().find_map(|(_, session)| *session);
    let told = Told {
        reads_alike: route.affinity.is_some(),
        views,
        balancers: views
            .iter()
            .map(|view| view.map(|view| RefCell::new(Balancer::new(view, 0, zone))))
            .collect(),
        clone_ids: read.into_iter().map(|(clone_ids, _)| clone_ids).collect(),
    };
    let mut explaining = Explaining { told, spreader: Spreader::new(route), why: Vec::new() };
    let candidates = explaining.candidates(session);
    Explained { candidates, why: explaining.why }
}

struct Explaining<'a> {
    told: Told<'a>,
    spreader: Spreader,
    why: Vec<String>,
}

impl Explaining<'_> {
    fn member(&self, (cluster, index): (usize, u16)) -> &MemberView {
        let view = self.told.views[cluster].expect("only members of known views are chosen");
        &view.members[usize::from(index)]
    }

    /// With its cluster, where the route has several.
    fn name(&self, place: (usize, u16)) -> String {
        let member = self.member(place);
        match (self.told.views.len(), self.told.views[place.0]) {
            (2.., Some(view)) => format!("{}/{}", view.cluster, member.name),
            (_, _) => member.name.to_string(),
        }
    }

    fn candidates(&mut self, session: Option<u64>) -> Vec<(usize, u16)> {
        for (cluster, view) in self.told.views.iter().enumerate() {
            if view.is_none() && self.told.views.len() > 1 {
                self.why.push(format!("Nothing is known yet of the route's cluster number {}.", cluster + 1));
            }
        }
        let own = self.spreader.find_own(&self.told, Time(0));
        self.tell_of_session(&own);
        if let AffinityFate::Honoured { index } = own.fate {
            return vec![(own.cluster, index)];
        }
        if own.fate.names_member() && self.is_strict(own.cluster) {
            self.why.push("Sessions of its cluster go to no other member: the router answers 503.".into());
            return Vec::new();
        }
        if let Some(session) = session.filter(|_| own.is_orphan())
            && let Some(place) = self.spreader.rehome(&self.told, session, Time(0))
        {
            let name = self.name(place);
            self.why.push(format!("The session's number chooses {name}, in every router alike."));
            return vec![place];
        }
        self.spreader.weigh(&self.told, Time(0));
        self.tell_of_panic();
        let primaries = self.primaries();
        if !primaries.is_empty() {
            return primaries;
        }
        self.last_resorts(&own)
    }

    fn tell_of_panic(&mut self) {
        for (cluster, view) in self.told.views.iter().enumerate() {
            let Some(view) = view else { continue };
            let Some(balancer) = self.told.balancer(cluster) else { continue };
            if balancer.borrow().is_panic(Time(0)) {
                self.why.push(format!(
                    "Fewer than {} % of the members of {} can be used (panic_percent), so those that fail nothing but \
                     their probe are used as well.",
                    view.health.panic_percent, view.cluster
                ));
            }
        }
    }

    fn is_strict(&self, cluster: usize) -> bool {
        let affinity = self.told.views[cluster].and_then(|view| view.affinity.as_ref());
        affinity.is_some_and(|affinity| affinity.is_strict)
    }

    fn tell_of_session(&mut self, own: &Own) {
        let before = self.why.len();
        let readers = (0..self.told.views.len()).filter(|place| self.told.reads_as(*place) == *place);
        let asked: Vec<(usize, String)> = readers
            .flat_map(|reader| self.told.clone_ids[reader].iter().map(move |id| (reader, id.clone())))
            .collect();
        for (reader, clone_id) in asked {
            let place = (reader..self.told.views.len())
                .filter(|other| self.told.reads_as(*other) == reader)
                .find_map(|cluster| Some((cluster, place_of(self.told.views[cluster]?, &clone_id)?)));
            let Some(place) = place else {
                let names: Vec<&str> =
                    self.told.views.iter().flatten().map(|view| view.cluster.0.as_str()).collect();
                let names = names.join(" or ");
                self.why.push(format!("No member of {names} has the clone id {clone_id}."));
                continue;
            };
            let (name, member) = (self.name(place), self.member(place));
            if own.fate == (AffinityFate::Honoured { index: place.1 }) && own.cluster == place.0 {
                let state = member.state;
                self.why.push(format!(
                    "The session belongs to {name} by its clone id {clone_id}; it is {state}, so the request goes there."
                ));
                return;
            }
            let text =
                format!("The session belongs to {name}, which is {} ({}).", member.state, member.reason);
            self.why.push(text);
        }
        if self.why.len() == before {
            self.why.push("The request belongs to no session.".into());
        }
    }

    /// Members that can be used, of all levels that get something.
    fn primaries(&mut self) -> Vec<(usize, u16)> {
        let mut all = Vec::new();
        let levels = self.spreader.levels.clone();
        let whole: u64 = levels.iter().map(|level| level.share).sum();
        for (number, level) in levels.iter().enumerate() {
            let fit = self.fit(&level.groups);
            if levels.len() > 1 {
                self.tell_of_level(number, level.share, whole.max(1));
            }
            if level.share == 0 {
                continue;
            }
            let groups = level.groups.iter().filter(|group| group.standing.usable > 0);
            let shares: Vec<String> = groups
                .filter_map(|group| {
                    let name = &self.told.views[group.cluster]?.cluster;
                    Some(format!("{name} ({})", group.standing.usable))
                })
                .collect();
            if shares.len() > 1 {
                self.why.push(format!("Clusters share by the weight that is up: {}.", shares.join(", ")));
            }
            all.extend(fit);
        }
        if !all.is_empty() {
            self.tell_of_choice(&all);
        }
        all
    }

    fn tell_of_level(&mut self, number: usize, share: u64, whole: u64) {
        let name = match (self.spreader.spread, number) {
            (Spread::ZoneFirst, 0) => "The router's own zone".to_owned(),
            (Spread::ZoneFirst, _) => "The rest".to_owned(),
            (Spread::Flat | Spread::Spill | Spread::StrictBackup, _) => format!("Level {}", number + 1),
        };
        let standing = self.spreader.levels[number].groups.iter().map(|group| group.standing);
        let (usable, all) =
            standing.fold((0, 0), |sum, standing| (sum.0 + standing.usable, sum.1 + standing.whole));
        let percent = share * 100 / whole;
        self.why.push(format!("{name} can use {usable} of its weight of {all} and gets {percent} %."));
    }

    fn fit(&self, groups: &[Group]) -> Vec<(usize, u16)> {
        let of = |group: &Group| {
            let balancer = self.told.balancer(group.cluster);
            let fit = balancer.map(|balancer| balancer.borrow_mut().candidates(group.part, Time(0)));
            let cluster = group.cluster;
            fit.unwrap_or_default().into_iter().map(move |index| (cluster, index))
        };
        groups.iter().flat_map(of).collect()
    }

    /// How one of those that can be used is chosen.
    fn tell_of_choice(&mut self, fit: &[(usize, u16)]) {
        for (cluster, view) in self.told.views.iter().enumerate() {
            let Some(view) = view else { continue };
            let factor = view
                .members
                .iter()
                .fold(0, |factor, member| highest_common_factor(factor, member.weight))
                .max(1);
            let mut list = String::new();
            let own: Vec<(usize, u16)> = fit.iter().copied().filter(|place| place.0 == cluster).collect();
            for place in &own {
                let comma = if list.is_empty() { "" } else { ", " };
                let (name, turns) = (self.name(*place), self.member(*place).weight / factor);
                match view.policy {
                    Policy::RoundRobin => write!(list, "{comma}{name} ({turns} in turn)"),
                    Policy::Random | Policy::LeastOutstanding | Policy::Auto | Policy::Hash => {
                        write!(list, "{comma}{name}")
                    }
                }
                .expect("a String takes any text");
            }
            let text = match (own.len(), view.policy) {
                (0, _) => continue,
                (1, _) if fit.len() == 1 => format!("One member only can take it: {list}."),
                (1, _) => format!("In cluster {} only {list} can take it.", view.cluster),
                (_, Policy::RoundRobin) => format!("Weighted round robin decides among {list}."),
                (_, Policy::Random) => format!("Chance decides among {list}."),
                (_, Policy::LeastOutstanding) => {
                    format!("The fewest requests under way for its weight decide among {list}.")
                }
                (_, Policy::Auto) => {
                    format!("Latency and requests under way decide between two by chance of {list}.")
                }
                (_, Policy::Hash) => {
                    format!("A hash of {} decides among {list}.", told_key(&view.hash_key))
                }
            };
            self.why.push(text);
        }
    }

    fn last_resorts(&mut self, own: &Own) -> Vec<(usize, u16)> {
        let now = Time(0);
        let views: Vec<&View> = self.told.views.iter().flatten().copied().collect();
        let members = || views.iter().flat_map(|view| &view.members);
        let count = members().count();
        let is_up = |member: &MemberView| member.state == RunState::Up && member.address.is_some();
        let primary_up = members().any(|member| is_up(member) && !member.is_backup);
        self.why.push(match (count, views.as_slice()) {
            (0, [view]) => format!("{} has no members.", view.cluster),
            (0, _) => "The route's clusters have no members.".into(),
            (_, _) if primary_up => {
                "The members that are up have weight 0 and take no new conversations.".into()
            }
            (_, _) => format!("None of the {count} members is up."),
        });
        let backup = self.spreader.first(&self.told, |balancer, tried| balancer.backup(tried, now));
        if let Some(place) = backup {
            let name = self.name(place);
            // What was said of the others holds for those that are no backups.
            self.why.pop();
            self.why.push(format!("No member but backups can be used; {name} is the first of them."));
            return vec![place];
        }
        let unknown = own.resort.or_else(|| self.spreader.first(&self.told, Balancer::unknown));
        match unknown {
            Some(place) => {
                let name = self.name(place);
                self.why.push(format!("{name} is of unknown state and is tried as a last resort."));
                vec![place]
            }
            None => {
                self.why.push("The router answers 503.".into());
                Vec::new()
            }
        }
    }
}

fn told_key(key: &HashKey) -> String {
    match key {
        HashKey::ClientAddress => "the client's address".to_owned(),
        HashKey::Path => "the path".to_owned(),
        HashKey::Header(name) => format!("the header {name} (without it, of the client's address)"),
        HashKey::Cookie(name) => format!("the cookie {name} (without it, of the client's address)"),
    }
}

fn place_of(view: &View, clone_id: &str) -> Option<u16> {
    (0_u16..).zip(&view.members).find(|(_, member)| member.clone_id == clone_id).map(|(index, _)| index)
}

fn highest_common_factor(left: u32, right: u32) -> u32 {
    if right == 0 { left } else { highest_common_factor(right, left % right) }
}

/// What the request says about its session in the way of the route, or else of the view's cluster.
pub fn read_session<'a>(
    route: &'a RouteSettings,
    view: &'a View,
    cookies: impl Iterator<Item = &'a [u8]> + Clone,
    path: &'a [u8],
) -> (Vec<String>, Option<u64>) {
    let affinity = route.affinity.as_ref().or(view.affinity.as_ref());
    let Some(affinity) = affinity else { return (Vec::new(), None) };
    let ids = affinity::clone_ids(cookies.clone(), path, affinity).map(str::to_owned).collect();
    let session = affinity::session_values(cookies, path, affinity)
        .next()
        .map(|value| affinity::session_key(value, affinity));
    (ids, session)
}
