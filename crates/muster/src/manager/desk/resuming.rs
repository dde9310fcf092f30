//! What each router is sent of views: what it lacks when it comes, then what changes.
//!
//! Promises: a router is sent a change only of a view that it has or was sent before; one to which a whole view is owed is
//! sent the newest when it is its turn, and nothing of that cluster before; settings come after all views that are owed
//! when they come. Not here: what somebody lacks and whose turn it is (see `logic::resume`).

use super::{Desk, Linked, Output, Place, To};
use crate::link::print_of;
use logic::resume::{Lack, Line, Past, cost_bytes, lack, print};
use logic::time::Time;
use logic::view::change;
use std::collections::{BTreeMap, BTreeSet};
use wire::id::{ClusterName, Epoch, RouterName};
use wire::link::{FromManager, Have, KnownView};
use wire::router::RouterSettings;
use wire::view::View;
use wire::view_change::ViewChange;

/// Members in the views of one message. 20,000 of 300 bytes each stay well below the longest frame.
const MEMBERS_PER_MESSAGE_MAX: usize = 20_000;

/// How far one router is told.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// It says what it has when it comes.
    resumes: bool,
    /// It has not said so yet.
    is_awaited: bool,
    takes_changes: bool,
    /// What it said that it has, of clusters of which it was sent nothing yet.
    known: BTreeMap<ClusterName, KnownView>,
    /// Clusters whose whole views it gets when it is its turn.
    owed: BTreeSet<ClusterName>,
    is_in_line: bool,
    /// What it gets after those.
    settings: Option<RouterSettings>,
    names: Option<Vec<ClusterName>>,
    /// The print of the settings that it has.
    has_settings: Option<u64>,
}

impl Reader {
    pub fn new(resumes: bool) -> Self {
        Self { resumes, is_awaited: resumes, ..Self::default() }
    }

    fn is_behind(&self) -> bool {
        self.is_awaited || !self.owed.is_empty()
    }
}

/// What routers have been told together, and who waits for more.
#[derive(Debug, Default)]
pub(super) struct Telling {
    /// The view of each cluster that all routers have been sent last.
    told: BTreeMap<ClusterName, View>,
    past: BTreeMap<ClusterName, Past>,
    prints: BTreeMap<ClusterName, (Epoch, u64)>,
    line: Line<(Place, u64)>,
}

impl Telling {
    /// Sends what a router lacks of a view, or notes that the whole of it is owed.
    fn catch_up(&mut self, place: &Place, linked: &mut Linked, view: &View, outputs: &mut Vec<Output>) {
        let print = self.print(view);
        let known = linked.reader.known.remove(&view.cluster);
        match lack(known.as_ref(), view, print, self.past.get(&view.cluster)) {
            Lack::Nothing => {}
            Lack::Changes(changes) => {
                let to = To::One(place.clone());
                changes.into_iter().for_each(|change| send_change(&to, change, outputs));
            }
            Lack::Whole => {
                linked.reader.owed.insert(view.cluster.clone());
                if !std::mem::replace(&mut linked.reader.is_in_line, true) {
                    self.line.join((place.clone(), linked.number));
                }
            }
        }
    }

    /// A connection has ended.
    pub fn left(&mut self, number: u64) {
        self.line.leave(|(_, waiting)| *waiting == number);
    }

    fn print(&mut self, view: &View) -> u64 {
        match self.prints.get(&view.cluster) {
            Some((epoch, print)) if *epoch == view.epoch => *print,
            Some(_) | None => {
                let print = print(view);
                self.prints.insert(view.cluster.clone(), (view.epoch, print));
                print
            }
        }
    }
}

impl Desk {
    fn reader(&mut self, place: &Place) -> Option<&mut Reader> {
        self.links.get_mut(place).map(|linked| &mut linked.reader)
    }

    /// A router says what it has. It is sent what it lacks, or gets into the line for it.
    pub(super) fn resume(&mut self, now: Time, place: &Place, have: Have) -> Vec<Output> {
        let Some(reader) = self.reader(place).filter(|reader| reader.is_awaited) else { return Vec::new() };
        reader.is_awaited = false;
        reader.takes_changes = true;
        reader.has_settings = have.settings;
        reader.known = have.views.into_iter().map(|known| (known.cluster.clone(), known)).collect();
        let mut outputs = Vec::new();
        self.catch_up_all(place, &mut outputs);
        self.settle(place, &mut outputs);
        outputs.extend(self.serve_line(now));
        outputs
    }

    /// Everything that a router lacks.
    fn catch_up_all(&mut self, place: &Place, outputs: &mut Vec<Output>) {
        let Some(linked) = self.links.get_mut(place) else { return };
        for view in self.cell.views() {
            self.telling.catch_up(place, linked, view, outputs);
        }
    }

    /// All views are owed to a router: a change did not fit.
    pub(super) fn owe_all(&mut self, now: Time, place: &Place, outputs: &mut Vec<Output>) {
        match self.reader(place).is_some_and(|reader| reader.resumes) {
            true => self.catch_up_all(place, outputs),
            false => {
                let to = To::One(place.clone());
                self.cell.views().for_each(|view| send_view(&to, view.clone(), outputs));
            }
        }
        outputs.extend(self.serve_line(now));
    }

    /// Whole views for those whose turn it is.
    pub(super) fn serve_line(&mut self, now: Time) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some((place, number)) = self.telling.line.next(now) {
            let Some(linked) = self.links.get_mut(&place).filter(|linked| linked.number == number) else {
                continue;
            };
            linked.reader.is_in_line = false;
            let owed = std::mem::take(&mut linked.reader.owed);
            // One that is gone meanwhile is not missed: its name is told with the names of all.
            let views: Vec<View> =
                self.cell.views().filter(|view| owed.contains(&view.cluster)).cloned().collect();
            self.telling.line.gave(now, views.iter().map(cost_bytes).sum());
            let to = To::One(place.clone());
            views.into_iter().for_each(|view| send_view(&to, view, &mut outputs));
            self.settle(&place, &mut outputs);
        }
        outputs
    }

    pub(super) fn line_wake_at(&self) -> Option<Time> {
        self.telling.line.wake_at()
    }

    /// Sends what had to wait until no view was owed.
    fn settle(&mut self, place: &Place, outputs: &mut Vec<Output>) {
        let generation = self.cell.generation();
        let Some(reader) = self.reader(place).filter(|reader| !reader.is_behind()) else { return };
        let (has, to) = (reader.has_settings.take(), To::One(place.clone()));
        let settings = reader.settings.take().filter(|settings| has.is_none() || has != print_of(settings));
        if let Some(settings) = settings {
            let message = FromManager::Settings { generation, settings: Box::new(settings) };
            outputs.push(Output::Send { to: to.clone(), message });
        }
        if let Some(names) = reader.names.take() {
            outputs.push(Output::Send { to, message: FromManager::Clusters { generation, names } });
        }
    }

    /// A view for a router that has just come. One that says what it has is told once it did.
    pub(super) fn tell_view(&mut self, router: RouterName, view: View, outputs: &mut Vec<Output>) {
        let place = Place::Router(router);
        if self.reader(&place).is_none_or(|reader| !reader.resumes) {
            send_view(&To::One(place), view, outputs);
        }
    }

    pub(super) fn tell_settings(
        &mut self,
        router: RouterName,
        settings: RouterSettings,
        outputs: &mut Vec<Output>,
    ) {
        let place = Place::Router(router);
        if let Some(reader) = self.reader(&place) {
            reader.settings = Some(settings);
            self.settle(&place, outputs);
        }
    }

    /// Which clusters there are: for one router or all.
    pub(super) fn tell_names(
        &mut self,
        to: Option<RouterName>,
        names: Vec<ClusterName>,
        outputs: &mut Vec<Output>,
    ) {
        let generation = self.cell.generation();
        self.telling.told.retain(|cluster, _| names.contains(cluster));
        self.telling.past.retain(|cluster, _| names.contains(cluster));
        self.telling.prints.retain(|cluster, _| names.contains(cluster));
        let mut told = Vec::new();
        for (place, linked) in &mut self.links {
            let Place::Router(name) = place else { continue };
            if to.as_ref().is_some_and(|to| to != name) {
                continue;
            }
            match linked.reader.is_behind() {
                true => linked.reader.names = Some(names.clone()),
                false => told.push(place.clone()),
            }
        }
        if !told.is_empty() {
            let message = FromManager::Clusters { generation, names };
            outputs.push(Output::Send { to: To::These(told), message });
        }
    }

    /// Whether a router that took changes does no longer, because one did not fit.
    pub(super) fn note_changes(&mut self, place: &Place, takes_changes: bool) -> bool {
        let Some(reader) = self.reader(place) else { return false };
        std::mem::replace(&mut reader.takes_changes, takes_changes) && !takes_changes
    }

    /// A newer view for all routers: what changed for those that take that, all of it for the others.
    pub(super) fn publish(&mut self, view: View, outputs: &mut Vec<Output>) {
        let told = self.telling.told.insert(view.cluster.clone(), view.clone());
        let change = told.as_ref().and_then(|told| change(told, &view));
        let past = self.telling.past.entry(view.cluster.clone()).or_default();
        past.add(change.as_ref(), view.members.len());
        let (mut takers, mut others, mut lacking) = (Vec::new(), Vec::new(), Vec::new());
        for (place, Linked { reader, .. }) in &self.links {
            if matches!(place, Place::Agent(_)) || reader.is_awaited || reader.owed.contains(&view.cluster) {
                continue;
            }
            let is_first = reader.resumes && told.is_none();
            match reader.takes_changes {
                _ if is_first || reader.known.contains_key(&view.cluster) => lacking.push(place.clone()),
                true => takers.push(place.clone()),
                false => others.push(place.clone()),
            }
        }
        match change {
            None => send_view(&To::These(takers), view.clone(), outputs),
            Some(change) => send_change(&To::These(takers), change, outputs),
        }
        for place in &lacking {
            let Some(linked) = self.links.get_mut(place) else { continue };
            self.telling.catch_up(place, linked, &view, outputs);
        }
        send_view(&To::These(others), view, outputs);
    }

    pub(super) fn check_readers(&self) {
        for (place, linked) in &self.links {
            let reader = &linked.reader;
            assert_eq!(reader.is_in_line, !reader.owed.is_empty(), "{place:?} waits for nothing, or in vain");
            assert!(!reader.is_awaited || reader.resumes, "{place:?} is waited for in vain");
        }
        let waiting = self.links.values().filter(|linked| linked.reader.is_in_line).count();
        assert_eq!(self.telling.line.len(), waiting, "somebody waits who is not there");
    }
}

fn is_nobody(to: &To) -> bool {
    matches!(to, To::These(places) if places.is_empty())
}

/// A view behind others that go the same way, or in a message of its own.
fn send_view(to: &To, view: View, outputs: &mut Vec<Output>) {
    match last_to(outputs, to) {
        _ if is_nobody(to) => {}
        Some(FromManager::Views(views)) if has_room(views, &view) => views.push(view),
        Some(_) | None => {
            outputs.push(Output::Send { to: to.clone(), message: FromManager::Views(vec![view]) });
        }
    }
}

fn send_change(to: &To, change: ViewChange, outputs: &mut Vec<Output>) {
    match last_to(outputs, to) {
        _ if is_nobody(to) => {}
        Some(FromManager::Changes(changes)) => changes.push(change),
        Some(_) | None => {
            outputs.push(Output::Send { to: to.clone(), message: FromManager::Changes(vec![change]) });
        }
    }
}

/// Whether another view fits the same message.
fn has_room(views: &[View], view: &View) -> bool {
    let members = |view: &View| view.members.len() + 1;
    views.iter().map(members).sum::<usize>() + view.members.len() < MEMBERS_PER_MESSAGE_MAX
}

/// The last message to the same routers, unless something else than views and changes came after it: those of one step
/// travel together, and never overtake what must be remembered first.
fn last_to<'a>(outputs: &'a mut [Output], to: &To) -> Option<&'a mut FromManager> {
    for output in outputs.iter_mut().rev() {
        let Output::Send { to: last, message } = output else { return None };
        if last == to {
            return Some(message);
        }
        // Nothing is put before what the same router may have been sent in between.
        let is_other = matches!((last, to), (To::One(_), To::One(_)) | (To::These(_), To::These(_)));
        if !is_other || !matches!(message, FromManager::Views(_) | FromManager::Changes(_)) {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests;
