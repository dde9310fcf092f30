//! What a router says that it has when it comes to a manager, so that it is sent the rest only.

use super::super::views::ByCluster;
use super::Control;
use crate::link::{Having, print_of};
use logic::resume::known;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use wire::link::Have;
use wire::router::RouterSettings;

/// What the router has taken over from managers so far; the link looks at it when it is welcomed.
#[derive(Debug, Clone, Default)]
pub(super) struct Held(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    settings: Option<Arc<RouterSettings>>,
    views: Arc<ByCluster>,
}

impl Held {
    pub fn having(&self) -> Having {
        let held = self.0.clone();
        Rc::new(move || {
            let held = held.borrow();
            let views = held.views.values().map(|view| known(view)).collect();
            Have { views, settings: held.settings.as_deref().and_then(print_of) }
        })
    }
}

impl Control {
    /// Notes what there is now. Views of which one did not fit are none.
    pub(super) fn note_held(&self) {
        let views = if self.needs_whole_views { Arc::default() } else { self.views.all().clone() };
        self.known.0.replace(Inner { settings: self.state.settings.clone(), views });
    }
}
