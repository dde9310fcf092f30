//! Host names of servers and the addresses that they have now.
//!
//! Promise: a name that is known keeps its address for as long as that is among the answers, and also while nobody
//! answers: a name server that is down takes no member out.

use logic::plugin_cfg::serve::Served;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;
use tokio::task::JoinSet;

/// Names looked up at once. Sixteen: a thousand names take seconds, and a name server does not notice.
const LOOK_UPS_MAX: usize = 16;
/// Longest wait for one answer.
const LOOK_UP_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    addresses: BTreeMap<String, IpAddr>,
}

impl Names {
    /// What an earlier run knew.
    pub fn of(addresses: BTreeMap<String, IpAddr>) -> Self {
        Self { addresses }
    }

    pub fn addresses(&self) -> &BTreeMap<String, IpAddr> {
        &self.addresses
    }

    pub fn knows(&self, host: &str) -> bool {
        self.addresses.contains_key(host)
    }

    /// Names whose address is another one here than in `old`.
    pub fn differing_from<'a>(&'a self, old: &'a Names) -> impl Iterator<Item = &'a String> {
        self.addresses
            .iter()
            .filter(|(host, address)| old.addresses.get(*host) != Some(*address))
            .map(|(host, _)| host)
    }

    /// The names of `served`, looked up anew.
    pub async fn looked_up(&self, served: &Served) -> Self {
        let hosts: BTreeSet<&str> = served.targets().iter().map(|target| target.host.as_str()).collect();
        let mut fresh = Self::default();
        let mut running = JoinSet::new();
        for host in hosts {
            let known = self.addresses.get(host).copied();
            if let Ok(address) = host.parse::<IpAddr>() {
                fresh.addresses.insert(host.to_owned(), address);
                continue;
            }
            if running.len() >= LOOK_UPS_MAX {
                fresh.take(running.join_next().await);
            }
            running.spawn(look_up(host.to_owned(), known));
        }
        while let Some(found) = running.join_next().await {
            fresh.take(Some(found));
        }
        fresh
    }

    fn take(&mut self, found: Option<Result<(String, Option<IpAddr>), tokio::task::JoinError>>) {
        match found {
            Some(Ok((host, Some(address)))) => {
                self.addresses.insert(host, address);
            }
            Some(Ok((_, None))) | None => {}
            Some(Err(error)) => tracing::error!(%error, "a look-up has failed"),
        }
    }
}

/// The address of a name: the one it had if that is still right or nobody answers, else the first.
async fn look_up(host: String, known: Option<IpAddr>) -> (String, Option<IpAddr>) {
    let looking_up = async {
        let answers = tokio::net::lookup_host((host.as_str(), 0)).await?;
        Ok::<_, std::io::Error>(answers.map(|answer| answer.ip()).collect())
    };
    let answers: Vec<IpAddr> = match tokio::time::timeout(LOOK_UP_MAX, looking_up).await {
        Ok(Ok(answers)) => answers,
        Ok(Err(error)) => {
            tracing::debug!(host, %error, "a name is not known");
            Vec::new()
        }
        Err(_) => {
            tracing::debug!(host, "a name server does not answer");
            Vec::new()
        }
    };
    // The older protocol where both are there: a server that listens to one of them only listens to that.
    let first = answers.iter().find(|answer| answer.is_ipv4()).or(answers.first()).copied();
    let address = known.filter(|known| answers.is_empty() || answers.contains(known)).or(first);
    (host, address)
}
