//! What all data threads of a router know: settings, routes, access log, TLS and views. Immutable; replaced whole.

use super::access_log::AccessLogHandle;
use super::actions::ActionTable;
use super::client_views::ClientViews;
use super::gate::Gate;
use super::vault::TlsTable;
use super::views::ByCluster;
use crate::polite::drop_each;
use logic::route::RouteTable;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::id::ClusterName;
use wire::router::RouterSettings;

#[derive(Debug)]
pub struct Table {
    pub settings: Arc<RouterSettings>,
    pub routes: Arc<RouteTable>,
    pub actions: Arc<ActionTable>,
    pub access_log: Option<AccessLogHandle>,
    pub tls: Arc<TlsTable>,
    pub views: Arc<ByCluster>,
    pub client_views: Arc<ClientViews>,
    /// Of the clusters whose members have `requests_max`.
    pub gates: BTreeMap<ClusterName, Arc<Gate>>,
}

impl Table {
    /// How large it is.
    pub fn routes_and_views(&self) -> usize {
        self.settings.routes.len() + self.views.len()
    }

    /// Drops it in pieces, with what nobody else has of it.
    pub fn clear_away(self) {
        let Self { settings, views, .. } = self;
        drop_each(Arc::into_inner(views).unwrap_or_default());
        drop_each(Arc::into_inner(settings).map(|settings| settings.routes).unwrap_or_default());
    }
}
