//! What all data threads of a router know: settings, routes, access log, TLS and views. Immutable; replaced whole.

use super::access_log::AccessLogHandle;
use super::actions::ActionTable;
use super::vault::TlsTable;
use logic::route::RouteTable;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::id::ClusterName;
use wire::router::RouterSettings;
use wire::view::View;

#[derive(Debug)]
pub struct Table {
    pub settings: Arc<RouterSettings>,
    pub routes: Arc<RouteTable>,
    pub actions: Arc<ActionTable>,
    pub access_log: Option<AccessLogHandle>,
    pub tls: Arc<TlsTable>,
    pub views: BTreeMap<ClusterName, Arc<View>>,
}
