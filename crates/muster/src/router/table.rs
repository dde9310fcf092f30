//! What all data threads of a router know: settings, routes, access log and views. Immutable; replaced whole.

use super::access_log::AccessLogHandle;
use super::gate::Gate;
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
    pub access_log: Option<AccessLogHandle>,
    pub views: BTreeMap<ClusterName, Arc<View>>,
    /// Of the clusters whose members have `requests_max`.
    pub gates: BTreeMap<ClusterName, Arc<Gate>>,
}
