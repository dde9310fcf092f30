//! Takes a configuration: what is new appears, what is gone is taken out, what changed changes at once or in its turn.

use super::cluster::Cluster;
use super::member::Member;
use super::record::{self, Record, Seen};
use super::router::Router;
use super::{Cell, Output};
use crate::limits::SETTLE_MS;
use crate::rollout::{Goal, Phase};
use crate::run_state::{AgentLink, Wish};
use crate::time::Time;
use crate::view::ViewKeeper;
use std::collections::BTreeMap;
use wire::agent::{Run, Want};
use wire::id::ClusterName;
use wire::settings::{CellSettings, ClusterSettings, MemberSettings, RouterPlace};

impl Cell {
    pub(super) fn configure(&mut self, now: Time, settings: CellSettings) {
        let is_first = self.started.is_none();
        self.started.get_or_insert(now);
        self.name = settings.name;
        self.configure_agents(&settings.nodes, settings.node_addresses);
        if is_first && settings.manager.listen.is_none() {
            self.forget_reach();
        }
        self.configure_routers(now, settings.routers);
        let old_names = self.cluster_names();
        let mut old = std::mem::take(&mut self.clusters);
        for settings in settings.clusters {
            let known = old.iter().position(|cluster| cluster.name == settings.name);
            let mut cluster = match known {
                Some(position) => old.remove(position),
                None => self.new_cluster(&settings),
            };
            self.configure_cluster(now, &mut cluster, settings);
            self.clusters.push(cluster);
        }
        for mut cluster in old {
            cluster.is_leaving = true;
            cluster.is_dirty = true;
            cluster.rollout = None;
            cluster.members.iter_mut().for_each(|member| member.is_leaving = true);
            self.clusters.push(cluster);
        }
        self.configure_remotes(now, &settings.cells);
        self.configure_monitors(now, settings.monitors);
        if is_first {
            self.forget_unclaimed();
        }
        self.unassigned.extend(self.agents.keys().cloned());
        self.is_cluster_list_new |= self.cluster_names() != old_names;
    }

    fn configure_routers(&mut self, now: Time, places: Vec<RouterPlace>) {
        let is_known =
            |place: &RouterPlace| self.routers.get(&place.name).is_some_and(|router| router.place == *place);
        if self.routers.len() != places.len() || !places.iter().all(is_known) {
            // Files that list routers change with any of them.
            let keeps_file = places.iter().filter(|place| place.plugin_cfg.is_some());
            self.unset.extend(keeps_file.map(|place| place.name.clone()));
        }
        self.routers.retain(|name, _| places.iter().any(|place| place.name == *name));
        for place in places {
            match self.routers.get_mut(&place.name) {
                Some(router) if router.place == place => {}
                Some(router) => {
                    router.place = place;
                    self.unset.insert(router.place.name.clone());
                }
                None => {
                    self.routers.insert(place.name.clone(), Router::new(place, now));
                }
            }
        }
    }

    fn new_cluster(&self, settings: &ClusterSettings) -> Cluster {
        let name = settings.name.clone();
        let keeper = ViewKeeper::new(name.clone(), self.generation, self.number_floor);
        Cluster::new(name, keeper)
    }

    fn configure_cluster(&mut self, now: Time, cluster: &mut Cluster, settings: ClusterSettings) {
        cluster.policy = settings.policy;
        cluster.affinity = settings.affinity;
        cluster.hash_key = settings.hash_key;
        cluster.health = settings.health;
        cluster.drain_ms = settings.drain_ms;
        cluster.is_leaving = false;
        cluster.is_dirty = true;
        cluster.forget_places();
        // What stopped the last rollout may be what was changed.
        cluster.setback = None;
        let mut old = std::mem::take(&mut cluster.members);
        for settings in settings.members {
            let known = old.iter().position(|member| member.settings.name == settings.name);
            let member = match known {
                Some(position) => {
                    let mut member = old.remove(position);
                    member.reconfigure(settings);
                    member
                }
                None => self.new_member(now, &cluster.name, settings),
            };
            cluster.members.push(member);
        }
        for mut member in old {
            member.is_leaving = true;
            cluster.members.push(member);
        }
    }

    /// A member that is new, or new to this manager.
    fn new_member(&mut self, now: Time, cluster: &ClusterName, settings: MemberSettings) -> Member {
        let record = self.remembered.remove(&record::member_key(cluster, &settings.name));
        let seen = self.remembered.remove(&record::seen_key(cluster, &settings.name));
        let mut member = Member::new(settings, self.instance_floor + 1, now);
        if let Some(record) = record.as_deref().and_then(Record::parse) {
            member.wish = record.wish;
            member.want = if record.wish == Wish::Stop { record.want } else { Want::Running };
            member.instance = record.instance;
            member.launched = record.launched;
            member.recorded = Some(record);
            let is_half_stopped = record.wish == Wish::Stop && record.want == Want::Running;
            if is_half_stopped && !member.is_external() {
                // An earlier manager died between taking it out and stopping it; routers need time to come back.
                member.phase = Phase::Out { until: now + SETTLE_MS + member.grace_ms(), goal: Goal::Stop };
            }
        }
        if let Some(seen) = seen.as_deref().and_then(Seen::parse) {
            member.before = Some(seen.state);
            member.recorded_seen = Some(seen);
            if !member.is_external() {
                member.address = seen.address;
            }
        }
        // Said here so that what is only remembered is no event.
        member.judge(now, AgentLink::NotHeard, None, false);
        member
    }

    /// Forgets members that are in no configuration any more.
    fn forget_unclaimed(&mut self) {
        let unclaimed: BTreeMap<String, String> = std::mem::take(&mut self.remembered);
        let highest =
            unclaimed.values().filter_map(|value| Record::parse(value)).map(|record| record.instance);
        let highest = highest.max().unwrap_or(0);
        for key in unclaimed.into_keys() {
            self.outputs.push(Output::Remember { key, value: None });
        }
        self.raise_instance_floor(highest);
    }

    pub(super) fn raise_instance_floor(&mut self, instance: u64) {
        if instance > self.instance_floor {
            self.instance_floor = instance;
            let key = record::INSTANCE_FLOOR_KEY.to_owned();
            self.outputs.push(Output::Remember { key, value: Some(instance.to_string()) });
        }
    }
}

impl Member {
    /// Takes changed settings: at once where its process can go on, else when its turn comes.
    fn reconfigure(&mut self, settings: MemberSettings) {
        if std::mem::take(&mut self.is_leaving)
            && let Phase::Draining { goal: Goal::Remove, .. } | Phase::Out { goal: Goal::Remove, .. } =
                self.phase
        {
            self.phase = Phase::Steady;
        }
        let has_process = match settings.run {
            Run::Managed(_) => self.want == Want::Running,
            Run::External { .. } => self.wish != Wish::Stop,
        };
        // What only routers act on needs no new process.
        self.settings.weight = settings.weight;
        self.settings.zone.clone_from(&settings.zone);
        self.settings.is_backup = settings.is_backup;
        self.settings.requests_max = settings.requests_max;
        self.settings.transport.clone_from(&settings.transport);
        if record::fingerprint(&settings) == self.launched {
            self.next = None;
            self.settings = settings;
        } else {
            self.next = Some(settings);
            if !has_process {
                self.take_next();
            }
        }
    }
}
