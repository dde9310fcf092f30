//! Which router is asked: one after the other, those that failed later, the retry server last.
//!
//! Pure: times are milliseconds of the caller's clock.

use crate::chance::Chance;
use crate::evidence::{Evidence, Failing};
use crate::place::RouterUrl;
use std::sync::Arc;

#[derive(Debug)]
pub struct Routers {
    all: Vec<Router>,
    /// Of `all`, so many from the start are used in turn; behind them is the retry server, if there is one.
    regular: usize,
    turn: usize,
}

#[derive(Debug)]
struct Router {
    url: Arc<RouterUrl>,
    evidence: Evidence,
}

/// One that is to be asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub index: usize,
    pub url: Arc<RouterUrl>,
}

impl Routers {
    /// Clients begin at different ones.
    pub fn new(regular: Vec<RouterUrl>, retry_server: Option<RouterUrl>, chance: &mut Chance) -> Self {
        let (count, turn) = (regular.len(), chance.below(regular.len() as u64) as usize);
        let router = |url| Router { url: Arc::new(url), evidence: Evidence::default() };
        Self { all: regular.into_iter().chain(retry_server).map(router).collect(), regular: count, turn }
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }

    pub fn url(&self, index: usize) -> &RouterUrl {
        &self.all[index].url
    }

    /// The next one that was not tried. None: all were.
    pub fn choose(&mut self, now_ms: u64, tried: &[usize]) -> Option<Asked> {
        let in_turn = (0..self.regular).map(|step| (self.turn + step) % self.regular);
        let order: Vec<usize> =
            in_turn.chain(self.regular..self.all.len()).filter(|index| !tried.contains(index)).collect();
        let is_well = |index: &&usize| !self.all[**index].evidence.is_left_out(now_ms);
        let soonest = |index: &&usize| self.all[**index].evidence.left_out_until_ms();
        let index = *order.iter().find(is_well).or_else(|| order.iter().min_by_key(soonest))?;
        if index < self.regular {
            self.turn = (index + 1) % self.regular;
        }
        Some(Asked { index, url: self.all[index].url.clone() })
    }

    pub fn answered(&mut self, index: usize) {
        self.all[index].evidence.succeeded();
    }

    pub fn failed(&mut self, index: usize, now_ms: u64, how: Failing, chance: &mut Chance) {
        self.all[index].evidence.failed(now_ms, how, chance);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routers(count: usize, has_retry_server: bool) -> (Routers, Chance) {
        let mut chance = Chance::new(1);
        let url = |name: String| RouterUrl::parse(&format!("http://{name}/views")).expect("a URL");
        let regular = (0..count).map(|number| url(format!("r{number}"))).collect();
        let retry_server = has_retry_server.then(|| url("retry".into()));
        let mut routers = Routers::new(regular, retry_server, &mut chance);
        routers.turn = 0;
        (routers, chance)
    }

    fn hosts(routers: &mut Routers, now_ms: u64, count: usize) -> String {
        let host = |_| routers.choose(now_ms, &[]).map_or("-".into(), |asked| asked.url.place.host.clone());
        let hosts: Vec<String> = (0..count).map(host).collect();
        hosts.join(" ")
    }

    #[test]
    fn routers_take_turns_and_one_that_failed_is_left_out_for_a_while() {
        let (mut routers, mut chance) = routers(3, true);
        assert_eq!(hosts(&mut routers, 0, 4), "r0 r1 r2 r0");
        routers.failed(1, 0, Failing::Broken, &mut chance);
        assert_eq!(hosts(&mut routers, 0, 4), "r2 r0 r2 r0");
        routers.answered(1);
        assert_eq!(hosts(&mut routers, 0, 1), "r1");
    }

    #[test]
    fn the_retry_server_is_asked_when_the_others_fail() {
        let (mut routers, mut chance) = routers(2, true);
        routers.failed(0, 0, Failing::Broken, &mut chance);
        routers.failed(1, 100, Failing::Broken, &mut chance);
        assert_eq!(hosts(&mut routers, 100, 2), "retry retry");
        routers.failed(2, 200, Failing::Broken, &mut chance);
        assert_eq!(hosts(&mut routers, 200, 1), "r0", "all have failed: who comes back first");
        assert!(routers.choose(200, &[0, 1, 2]).is_none());
        assert_eq!(routers.choose(0, &[0, 1]).map(|asked| asked.index), Some(2));
    }
}
