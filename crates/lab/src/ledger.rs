//! What each router has used since the cell was whole: an epoch never goes back, and has one content wherever it is used.
//!
//! A router keeps the views that it has given to its threads in its state directory. That file is looked at from outside, so that
//! nobody in the cell notices, and a host that is cut off or frozen tells as well as any. Where there is no file, on a disk that was
//! lost with the power, nothing is said of that router.
//! Not here: views that came and went between two looks.

use crate::{Doing, Outcome, Problem};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use wire::id::{ClusterName, Epoch};
use wire::view::View;

/// Pause between two looks. 50: changes of a cluster lie further apart than that, and a look costs microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Contents that are remembered: more than a scenario has, and some megabytes.
const CONTENTS_MAX: usize = 10_000;

/// The part of a router's file that says what it uses.
#[derive(Debug, Deserialize)]
struct Kept {
    views: Vec<View>,
}

/// Whose file it is, where, and when it was written that was read last.
#[derive(Debug)]
pub struct Router {
    pub host: String,
    pub path: PathBuf,
    pub written: Option<SystemTime>,
}

/// All that routers have used.
#[derive(Debug, Default)]
pub struct Book {
    /// What each host's router had last.
    last: BTreeMap<(String, ClusterName), View>,
    /// By whom each epoch was used first, and what it was.
    contents: BTreeMap<(ClusterName, Epoch), (String, View)>,
    /// Epochs that were newer than all before, and when.
    newest: BTreeMap<ClusterName, Vec<(Instant, Epoch)>>,
    wrong: Option<String>,
}

impl Book {
    /// What a host's router uses now. The first thing that is wrong stays.
    fn take(&mut self, now: Instant, host: &str, views: Vec<View>) {
        for mut view in views {
            // Reasons are for people: those who followed the changes of a view may have others.
            view.members.iter_mut().for_each(|member| member.reason.clear());
            if let Err(wrong) = self.take_view(now, host, view) {
                self.wrong.get_or_insert(wrong);
            }
        }
    }

    fn take_view(&mut self, now: Instant, host: &str, view: View) -> Result<(), String> {
        let (cluster, epoch) = (view.cluster.clone(), view.epoch);
        let before = self.last.insert((host.to_owned(), cluster.clone()), view.clone());
        if let Some(before) = before.map(|before| before.epoch).filter(|before| *before > epoch) {
            return Err(format!("the router of {host} went back from {before} to {epoch} of {cluster}"));
        }
        let newest = self.newest.entry(cluster.clone()).or_default();
        if newest.last().is_none_or(|(_, known)| *known < epoch) {
            newest.push((now, epoch));
        }
        if let Some((first, known)) = self.contents.get(&(cluster.clone(), epoch)) {
            return match *known == view {
                true => Ok(()),
                false => Err(format!(
                    "{epoch} of {cluster} has two contents: {known:?} at {first}, {view:?} at {host}"
                )),
            };
        }
        if self.contents.len() < CONTENTS_MAX {
            self.contents.insert((cluster, epoch), (host.to_owned(), view));
        }
        Ok(())
    }

    /// How many epochs of a cluster began after that moment; what came before counts with the last look before it.
    fn begun_since(&self, cluster: &str, moment: Instant) -> Outcome<u64> {
        let newest = self.newest.get(&ClusterName::from(cluster)).map(Vec::as_slice).unwrap_or_default();
        let before = newest.iter().rev().find(|(seen, _)| *seen <= moment).or(newest.first());
        let (Some((_, before)), Some((_, now))) = (before, newest.last()) else {
            return Err(Problem(format!("no router knows of {cluster}")));
        };
        match before.generation == now.generation {
            true => Ok(now.number - before.number),
            false => Err(Problem(format!("{cluster} went from {before} to {now}: another manager leads"))),
        }
    }
}

/// Looks at the files of routers until it is dropped.
#[derive(Debug)]
pub struct Ledger {
    book: Arc<Mutex<Book>>,
    must_stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ledger {
    pub fn start(mut routers: Vec<Router>) -> Outcome<Self> {
        let (book, must_stop) = (Arc::new(Mutex::new(Book::default())), Arc::new(AtomicBool::new(false)));
        let (of_thread, is_over) = (book.clone(), must_stop.clone());
        let look = move || {
            while !is_over.load(Ordering::Relaxed) {
                for router in &mut routers {
                    if let Some(views) = read(router) {
                        let mut book = of_thread.lock().expect("nobody dies while he holds this");
                        book.take(Instant::now(), &router.host, views);
                    }
                }
                std::thread::sleep(LOOK_EVERY);
            }
        };
        let thread = std::thread::Builder::new().name("ledger".into()).spawn(look);
        let thread = Some(thread.doing("start a thread")?);
        Ok(Self { book, must_stop, thread })
    }

    fn with<T>(&self, ask: impl FnOnce(&Book) -> T) -> T {
        ask(&self.book.lock().expect("nobody dies while he holds this"))
    }

    /// The first thing that was wrong.
    pub fn judge(&self) -> Outcome<()> {
        self.with(|book| book.wrong.clone()).map_or(Ok(()), |wrong| Err(Problem(wrong)))
    }

    pub fn begun_since(&self, cluster: &str, moment: Instant) -> Outcome<u64> {
        self.with(|book| book.begun_since(cluster, moment))
    }

    /// The weight of a member at the router of each host that knows it.
    pub fn weights(&self, member: &str) -> Vec<(String, u32)> {
        let of_view = |((host, _), view): (&(String, ClusterName), &View)| {
            let found = view.members.iter().find(|known| known.name.0 == member);
            found.map(|known| (host.clone(), known.weight))
        };
        self.with(|book| book.last.iter().filter_map(of_view).collect())
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.must_stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic has been told already.
            let _ = thread.join();
        }
    }
}

/// What a router keeps, if it was written since the last look. A file is replaced as a whole.
fn read(router: &mut Router) -> Option<Vec<View>> {
    let written = fs::metadata(&router.path).and_then(|file| file.modified()).ok()?;
    if router.written == Some(written) {
        return None;
    }
    let kept: Kept = serde_json::from_slice(&fs::read(&router.path).ok()?).ok()?;
    router.written = Some(written);
    Some(kept.views)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::view::MemberView;

    fn view(generation: u64, number: u64, weight: u32, reason: &str) -> View {
        let member =
            MemberView { name: "shop-1".into(), weight, reason: reason.into(), ..MemberView::default() };
        let epoch = Epoch { generation, number };
        View { cluster: "shop".into(), epoch, members: vec![member], ..View::default() }
    }

    fn wrong(views: &[(&str, View)]) -> Option<String> {
        let mut book = Book::default();
        views.iter().for_each(|(host, view)| book.take(Instant::now(), host, vec![view.clone()]));
        book.wrong
    }

    #[test]
    fn a_router_that_goes_back_and_an_epoch_with_two_contents_are_told() {
        let right = [
            ("a", view(1, 7, 1, "late")),
            ("b", view(1, 6, 1, "")),
            ("b", view(1, 7, 1, "silent")),
            ("a", view(2, 1, 3, "")),
        ];
        assert_eq!(wrong(&right), None);
        let back = wrong(&[("a", view(2, 1, 1, "")), ("b", view(1, 9, 1, "")), ("a", view(1, 9, 1, ""))]);
        assert_eq!(back.as_deref(), Some("the router of a went back from 2.1 to 1.9 of shop"));
        let two = wrong(&[("a", view(1, 7, 1, "")), ("b", view(1, 7, 3, ""))]);
        assert!(two.is_some_and(|wrong| wrong.contains("1.7 of shop has two contents")));
    }

    #[test]
    fn epochs_are_counted_from_the_one_that_was_newest_then() {
        let mut book = Book::default();
        let began = Instant::now();
        let after = |ms| began + Duration::from_millis(ms);
        book.take(after(0), "a", vec![view(1, 3, 1, "")]);
        book.take(after(100), "b", vec![view(1, 4, 1, "")]);
        book.take(after(150), "a", vec![view(1, 4, 1, "")]);
        book.take(after(300), "a", vec![view(1, 6, 1, "")]);
        let since = |ms| book.begun_since("shop", after(ms)).expect("one generation");
        assert_eq!([since(50), since(120), since(400)], [3, 2, 0]);
        assert!(book.begun_since("bank", began).is_err());
        book.take(after(500), "b", vec![view(2, 1, 1, "")]);
        assert!(book.begun_since("shop", began).is_err_and(|it| it.0.contains("from 1.3 to 2.1")));
    }
}
