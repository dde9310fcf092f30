//! The views that the control thread knows, and which of them ask for more than to be handed on.
//!
//! Tables share them: handing out another table of ten thousand members copies no view, and looks at none that has
//! neither TLS nor bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::id::ClusterName;
use wire::view::View;
use wire::view_change::{Misfit, ViewChange};

pub type ByCluster = BTreeMap<ClusterName, Arc<View>>;

#[derive(Debug, Default)]
pub struct Views {
    all: Arc<ByCluster>,
    /// Those with a member that is spoken to by TLS, or has a bound of requests.
    special: ByCluster,
}

/// Whether some member of the view is spoken to by TLS or has a bound of requests.
fn is_special(view: &View) -> bool {
    view.members.iter().any(|member| {
        let secure = member.secure.as_ref().is_some_and(|secure| secure.transport.tls.is_some());
        member.requests_max > 0 || member.transport.tls.is_some() || secure
    })
}

impl Views {
    /// Of each cluster the last.
    pub fn new(views: impl IntoIterator<Item = Arc<View>>) -> Self {
        let all: ByCluster = views.into_iter().map(|view| (view.cluster.clone(), view)).collect();
        let special = all.iter().filter(|(_, view)| is_special(view));
        let special = special.map(|(name, view)| (name.clone(), view.clone())).collect();
        Self { all: Arc::new(all), special }
    }

    pub fn all(&self) -> &Arc<ByCluster> {
        &self.all
    }

    pub fn special(&self) -> &ByCluster {
        &self.special
    }

    /// Takes over those that are newer than what is known of their clusters; whether there is any.
    pub fn take(&mut self, views: Vec<View>) -> bool {
        let is_newer = |view: &View| self.all.get(&view.cluster).is_none_or(|known| known.epoch < view.epoch);
        let newer: Vec<View> = views.into_iter().filter(is_newer).collect();
        if newer.is_empty() {
            return false;
        }
        let all = Arc::make_mut(&mut self.all);
        for view in newer {
            let (name, view) = (view.cluster.clone(), Arc::new(view));
            if is_special(&view) {
                self.special.insert(name.clone(), view.clone());
            } else {
                self.special.remove(&name);
            }
            all.insert(name, view);
        }
        true
    }

    /// Applies a change to the view that it was made for; whether there is news. One that is known already is none.
    pub fn take_change(&mut self, change: &ViewChange) -> Result<bool, Misfit> {
        let known = self.all.get(&change.cluster).ok_or(Misfit::Elsewhere)?;
        if known.epoch >= change.to {
            return Ok(false);
        }
        let newer = change.apply(known)?;
        Ok(self.take(vec![newer]))
    }

    /// Forgets every cluster that is not named; whether there is any.
    pub fn keep_only(&mut self, names: &[ClusterName]) -> bool {
        let names: BTreeSet<&ClusterName> = names.iter().collect();
        if self.all.keys().all(|name| names.contains(name)) {
            return false;
        }
        self.special.retain(|name, _| names.contains(name));
        Arc::make_mut(&mut self.all).retain(|name, _| names.contains(name));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::id::Epoch;
    use wire::view::MemberView;

    fn view(cluster: &str, number: u64, requests_max: u32) -> View {
        let member = MemberView { requests_max, ..MemberView::default() };
        let epoch = Epoch { generation: 1, number };
        View { cluster: cluster.into(), epoch, members: vec![member], ..View::default() }
    }

    fn names(views: &ByCluster) -> Vec<&str> {
        views.keys().map(|name| name.0.as_str()).collect()
    }

    #[test]
    fn only_what_is_newer_is_news() {
        let mut views = Views::new([Arc::new(view("shop", 2, 0))]);
        assert!(!views.take(vec![view("shop", 1, 5), view("shop", 2, 5)]));
        assert!(views.special().is_empty());
        let before = views.all().clone();
        assert!(views.take(vec![view("shop", 1, 0), view("bank", 1, 0)]));
        assert_eq!((names(&before), names(views.all())), (vec!["shop"], vec!["bank", "shop"]));
        assert_eq!(views.all()[&"shop".into()].epoch.number, 2);
    }

    #[test]
    fn a_view_is_special_while_it_has_bounds_and_is_known() {
        let mut views = Views::new([Arc::new(view("bank", 1, 3)), Arc::new(view("shop", 1, 0))]);
        assert_eq!(names(views.special()), ["bank"]);
        assert!(views.take(vec![view("bank", 2, 0), view("shop", 2, 1)]));
        assert_eq!(names(views.special()), ["shop"]);
        assert!(!views.keep_only(&["shop".into(), "bank".into(), "other".into()]));
        assert!(views.keep_only(&["bank".into()]));
        assert_eq!((names(views.all()), names(views.special())), (vec!["bank"], vec![]));
    }
}
