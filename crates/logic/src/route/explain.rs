//! How a route is found, in sentences for people.

use super::RouteTable;
use wire::settings::{PathKind, RouteSettings};

impl RouteTable {
    /// How `find` comes to its answer, a sentence each. `settings` are those that the table was made from.
    pub fn explain(&self, settings: &[RouteSettings], host: &[u8], port: u16, path: &[u8]) -> Vec<String> {
        let mut why = vec![self.about_host(host)];
        let groups = self.groups_for(host, port);
        let names = [
            format!("that host with port {port}"),
            "that host".to_owned(),
            format!("any host (*) with port {port}"),
            "any host (*)".to_owned(),
        ];
        for (group, whose) in
            groups.into_iter().zip(names).filter_map(|(group, whose)| group.map(|group| (group, whose)))
        {
            let routes = self.groups[group as usize].routes;
            if let Some(entry) = self.find_in(group, path) {
                let route = &settings[entry.index];
                let path = &route.path;
                let clusters: Vec<&str> = route.clusters().map(|cluster| cluster.0.as_str()).collect();
                let place = match clusters.as_slice() {
                    [] => "the router itself".to_owned(),
                    clusters => format!("cluster {}", clusters.join(", ")),
                };
                let what = match route.path_kind {
                    PathKind::Prefix => "is the longest path",
                    PathKind::Exact => "is the exact path",
                    PathKind::Start => "is the longest beginning",
                    PathKind::Extension => "is the extension",
                };
                why.push(format!("{path} {what} of {whose} that fits, of {routes}: {place}."));
                return why;
            }
            why.push(format!("None of the {routes} paths of {whose} fits."));
        }
        why.push("No route: the router answers 404.".into());
        why
    }

    fn about_host(&self, host: &[u8]) -> String {
        let text = String::from_utf8_lossy(host);
        match self.place_of(host).map(|place| &self.hosts[place].ports) {
            None if host.is_empty() => "The request names no host: routes of any host (*) are asked.".into(),
            None => format!("No route names the host {text}; routes of any host (*) are asked."),
            Some(ports) => {
                let groups = ports.any.iter().chain(ports.exact.iter().map(|(_, group)| group));
                let routes: usize = groups.map(|group| self.groups[*group as usize].routes).sum();
                let plural = if routes == 1 { "" } else { "s" };
                format!("The host {text} has {routes} route{plural} of its own.")
            }
        }
    }
}
