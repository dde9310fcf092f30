//! Membership by probes and gossip, the family of SWIM: every host probes one other each period, asks others to probe
//! for it, suspects before it removes, and passes on what it learns. `swim` and `memberlist` choose the settings.
//!
//! As in memberlist (read in its code, July 2026): suspicion that shortens with confirmations, a host's doubt about
//! itself, missing refusals of helpers, and exchange of whole lists. Each is a setting, so that its effect can be told.

use super::drive::Subject;
use super::rumour::{List, Rumour, Rumours, State};
use super::tally::{Case, Tally};
use super::world::{Model, Walk, World};
use std::collections::BTreeMap;
use std::rc::Rc;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    pub period_us: u64,
    pub ping_wait_us: u64,
    /// Who is asked to probe as well.
    pub helpers: usize,
    /// Shortest and longest time from suspicion to removal.
    pub suspect_us: (u64, u64),
    /// Others that must suspect too for the shortest; 0: it is always the shortest.
    pub confirmations: u32,
    /// Packets of news of their own: how often, to how many. Without, news travel with probes alone.
    pub spread: Option<(u64, usize)>,
    pub sends_max: u32,
    /// Exchange of whole lists over a connection, so often; a failed probe also tries one.
    pub exchange_us: Option<u64>,
    /// A host that fails probes doubts itself first (Lifeguard).
    pub doubts_itself: bool,
    /// All periods begin at the same time, as in SWIM's analysis.
    pub is_in_step: bool,
}

#[derive(Debug, Clone)]
pub enum Event {
    Period,
    Ping { by: u32, number: u64, news: Rc<[Rumour]> },
    Answer { number: u64, news: Rc<[Rumour]> },
    PleaseProbe { by: u32, whom: u32, number: u64 },
    Refusal { number: u64 },
    PingOver { number: u64 },
    HelpOver { number: u64 },
    ProbeOver { number: u64 },
    Spread,
    News { news: Rc<[Rumour]> },
    SuspicionOver { about: u32, number: u64 },
    Exchange,
}

#[derive(Debug, Clone)]
struct Probe {
    number: u64,
    whom: u32,
    is_answered: bool,
    refusals_due: u32,
    refusals: u32,
}

#[derive(Debug, Clone)]
struct Doubt {
    number: u64,
    since_us: u64,
    by: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Node {
    incarnation: u32,
    list: List,
    rumours: Rumours,
    walk: Walk,
    probe: Option<Probe>,
    /// Probes that it makes for others: for whom, until they are answered.
    helped: BTreeMap<u64, u32>,
    doubts: BTreeMap<u32, Doubt>,
    /// Lifeguard's local health: 0 is well.
    self_doubt: u32,
}

/// As in its code: a probe then takes nine periods.
const SELF_DOUBT_MAX: u32 = 8;
/// A helper that has no answer says so after this share of the time it waits for one: the prober still hears it.
const REFUSED_AFTER_PERCENT: u64 = 80;
/// UDP and IP.
const HEADERS_BYTES: u64 = 28;
const PING_BYTES: u64 = 85;
const ANSWER_BYTES: u64 = 22;

#[derive(Debug)]
pub struct Gossip {
    settings: Settings,
    nodes: Vec<Node>,
    tally: Tally,
    numbers: u64,
    /// First suspicion of a faulty host anywhere.
    pub first_suspected_us: Option<u64>,
    faulty: usize,
}

type Hosts = World<Event>;

fn size_of(news: &[Rumour]) -> u64 {
    news.iter().map(Rumour::bytes).sum()
}

impl Gossip {
    fn fresh(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn take_news(&mut self, node: usize) -> Rc<[Rumour]> {
        self.nodes[node].rumours.take(self.settings.sends_max)
    }

    fn ping(&mut self, world: &mut Hosts, from: usize, whom: usize, number: u64) {
        let mut news = self.take_news(from);
        let (state, incarnation) = self.nodes[from].list.of(whom);
        if self.settings.doubts_itself && state == State::Suspect {
            // Lifeguard's buddy: who is suspected hears of it with the next probe.
            let suspicion = Rumour { about: whom as u32, state, incarnation, from: from as u32 };
            news = news.iter().copied().chain([suspicion]).collect();
        }
        let bytes = HEADERS_BYTES + PING_BYTES + size_of(&news);
        world.send(from, whom, bytes, Event::Ping { by: from as u32, number, news });
    }

    fn on_period(&mut self, world: &mut Hosts, node: usize) {
        let count = self.nodes.len();
        let mut whom = node;
        for _ in 0..2 * count {
            whom = self.nodes[node].walk.next(&mut world.chance);
            if whom != node && self.nodes[node].list.of(whom).0 != State::Dead {
                break;
            }
        }
        let number = self.fresh();
        let slowness = 1 + u64::from(self.nodes[node].self_doubt);
        let period_us = self.settings.period_us * slowness;
        let probe = Probe { number, whom: whom as u32, is_answered: false, refusals_due: 0, refusals: 0 };
        self.nodes[node].probe = Some(probe);
        self.ping(world, node, whom, number);
        world.wake(node, self.settings.ping_wait_us, Event::PingOver { number });
        world.wake(node, period_us - 1, Event::ProbeOver { number });
        world.wake(node, period_us, Event::Period);
    }

    fn on_ping_over(&mut self, world: &mut Hosts, node: usize, number: u64) {
        let count = self.nodes.len();
        let Some(probe) = &mut self.nodes[node].probe else { return };
        if probe.number != number || probe.is_answered {
            return;
        }
        let whom = probe.whom;
        if self.settings.doubts_itself {
            probe.refusals_due = self.settings.helpers as u32;
        }
        for _ in 0..self.settings.helpers {
            let helper = world.chance.below(count as u32) as usize;
            if helper != node && helper != whom as usize {
                let please = Event::PleaseProbe { by: node as u32, whom, number };
                world.send(node, helper, HEADERS_BYTES + PING_BYTES, please);
            }
        }
        // The same over a connection.
        if self.settings.exchange_us.is_some() && world.can_connect(node, whom as usize) {
            let after_us = 4 * u64::from(world.delay_us.1);
            world.arrive(node, after_us, Event::Answer { number, news: Rc::new([]) });
        }
    }

    fn on_answer(&mut self, world: &mut Hosts, node: usize, number: u64) {
        if let Some(probe) = self.nodes[node].probe.as_mut().filter(|probe| probe.number == number) {
            probe.is_answered = true;
        }
        if let Some(by) = self.nodes[node].helped.remove(&number) {
            let answer = Event::Answer { number, news: Rc::new([]) };
            world.send(node, by as usize, HEADERS_BYTES + ANSWER_BYTES, answer);
        }
    }

    fn on_probe_over(&mut self, world: &mut Hosts, node: usize, number: u64) {
        let probe = self.nodes[node].probe.take_if(|probe| probe.number == number);
        let Some(Probe { whom, is_answered, refusals_due, refusals, .. }) = probe else { return };
        let doubt = &mut self.nodes[node].self_doubt;
        if is_answered {
            *doubt = doubt.saturating_sub(1);
            return;
        }
        if self.settings.doubts_itself {
            let more = if refusals_due > 0 { refusals_due.saturating_sub(refusals) } else { 1 };
            *doubt = (*doubt + more).min(SELF_DOUBT_MAX);
        }
        let (_, incarnation) = self.nodes[node].list.of(whom as usize);
        let suspicion = Rumour { about: whom, state: State::Suspect, incarnation, from: node as u32 };
        self.learn(world, node, suspicion);
    }

    fn learn(&mut self, world: &mut Hosts, node: usize, rumour: Rumour) {
        if rumour.about as usize == node {
            return self.refute(node, rumour);
        }
        let (state, incarnation) = self.nodes[node].list.of(rumour.about as usize);
        match rumour.state {
            State::Alive if rumour.incarnation > incarnation => {
                self.nodes[node].doubts.remove(&rumour.about);
                self.nodes[node].list.set(rumour.about, State::Alive, rumour.incarnation);
                self.nodes[node].rumours.add(rumour);
                if state == State::Dead {
                    self.tally.returned(node, rumour.about as usize);
                }
            }
            State::Suspect if rumour.incarnation >= incarnation => match state {
                State::Alive => self.suspect(world, node, rumour),
                State::Suspect => self.confirm(world, node, rumour),
                State::Dead => {}
            },
            State::Dead if rumour.incarnation >= incarnation && state != State::Dead => {
                self.nodes[node].doubts.remove(&rumour.about);
                self.nodes[node].list.set(rumour.about, State::Dead, rumour.incarnation);
                self.nodes[node].rumours.add(rumour);
                self.tally.removed(world.now_us, node, rumour.about as usize);
            }
            State::Alive | State::Suspect | State::Dead => {}
        }
    }

    fn refute(&mut self, node: usize, rumour: Rumour) {
        let me = &mut self.nodes[node];
        if rumour.state == State::Alive || rumour.incarnation < me.incarnation {
            return;
        }
        me.incarnation = rumour.incarnation + 1;
        if self.settings.doubts_itself {
            me.self_doubt = (me.self_doubt + 1).min(SELF_DOUBT_MAX);
        }
        let about = node as u32;
        me.rumours.add(Rumour { about, state: State::Alive, incarnation: me.incarnation, from: about });
    }

    fn suspect(&mut self, world: &mut Hosts, node: usize, rumour: Rumour) {
        if (rumour.about as usize) < self.faulty {
            self.first_suspected_us = self.first_suspected_us.or(Some(world.now_us));
        }
        let number = self.fresh();
        self.nodes[node].list.set(rumour.about, State::Suspect, rumour.incarnation);
        self.nodes[node].rumours.add(rumour);
        let doubt = Doubt { number, since_us: world.now_us, by: vec![rumour.from] };
        let wait_us = self.suspicion_us(1);
        self.nodes[node].doubts.insert(rumour.about, doubt);
        world.wake(node, wait_us, Event::SuspicionOver { about: rumour.about, number });
    }

    /// Another one suspects it too: the wait is shorter, and that is news.
    fn confirm(&mut self, world: &mut Hosts, node: usize, rumour: Rumour) {
        let number = self.fresh();
        let most = self.settings.confirmations as usize + 1;
        let Some(doubt) = self.nodes[node].doubts.get_mut(&rumour.about) else { return };
        if doubt.by.len() >= most || doubt.by.contains(&rumour.from) {
            return;
        }
        doubt.by.push(rumour.from);
        doubt.number = number;
        let (said, since_us) = (doubt.by.len(), doubt.since_us);
        self.nodes[node].rumours.add(rumour);
        let wait_us = (since_us + self.suspicion_us(said)).saturating_sub(world.now_us);
        world.wake(node, wait_us, Event::SuspicionOver { about: rumour.about, number });
    }

    /// From suspicion to removal when so many suspect, the first included.
    fn suspicion_us(&self, said: usize) -> u64 {
        let (least, most) = self.settings.suspect_us;
        if self.settings.confirmations == 0 {
            return least;
        }
        let share = (said as f64).ln() / f64::from(self.settings.confirmations + 1).ln();
        let wait = most as f64 - (most - least) as f64 * share;
        (wait as u64).max(least)
    }

    fn on_suspicion_over(&mut self, world: &mut Hosts, node: usize, about: u32, number: u64) {
        if self.nodes[node].doubts.get(&about).is_some_and(|doubt| doubt.number == number) {
            let (_, incarnation) = self.nodes[node].list.of(about as usize);
            self.learn(world, node, Rumour { about, state: State::Dead, incarnation, from: node as u32 });
        }
    }

    fn learn_all(&mut self, world: &mut Hosts, node: usize, news: &[Rumour]) {
        for rumour in news {
            self.learn(world, node, *rumour);
        }
    }

    fn on_spread(&mut self, world: &mut Hosts, node: usize) {
        let Some((interval_us, fan_out)) = self.settings.spread else { return };
        world.wake(node, interval_us, Event::Spread);
        for _ in 0..fan_out {
            let to = world.chance.below(self.nodes.len() as u32) as usize;
            let is_fit = to != node && self.nodes[node].list.of(to).0 != State::Dead;
            if is_fit && !self.nodes[node].rumours.is_empty() {
                let news = self.take_news(node);
                let bytes = HEADERS_BYTES + size_of(&news);
                world.send(node, to, bytes, Event::News { news });
            }
        }
    }

    /// Both take over the other's list; what the other holds for dead is only suspected. Not counted as traffic: it is
    /// a connection, once in minutes.
    fn on_exchange(&mut self, world: &mut Hosts, node: usize) {
        let Some(interval_us) = self.settings.exchange_us else { return };
        world.wake(node, interval_us, Event::Exchange);
        let other = world.chance.below(self.nodes.len() as u32) as usize;
        let is_known = self.nodes[node].list.of(other).0 == State::Alive;
        if other == node || !is_known || !world.can_connect(node, other) {
            return;
        }
        for (from, to) in [(node, other), (other, node)] {
            let me = (from as u32, State::Alive, self.nodes[from].incarnation);
            let news: Vec<_> = self.nodes[from].list.news().chain([me]).collect();
            for (about, state, incarnation) in news {
                let state = if state == State::Dead { State::Suspect } else { state };
                self.learn(world, to, Rumour { about, state, incarnation, from: from as u32 });
            }
        }
    }

    fn on_ping(&mut self, world: &mut Hosts, node: usize, by: u32, number: u64) {
        let news = self.take_news(node);
        let bytes = HEADERS_BYTES + ANSWER_BYTES + size_of(&news);
        world.send(node, by as usize, bytes, Event::Answer { number, news });
    }
}

impl Model for Gossip {
    type Event = Event;

    fn handle(&mut self, world: &mut Hosts, node: usize, event: Event) {
        match event {
            Event::Period => self.on_period(world, node),
            Event::Ping { by, number, news } => {
                self.learn_all(world, node, &news);
                self.on_ping(world, node, by, number);
            }
            Event::Answer { number, news } => {
                self.learn_all(world, node, &news);
                self.on_answer(world, node, number);
            }
            Event::PleaseProbe { by, whom, number } => {
                self.nodes[node].helped.insert(number, by);
                self.ping(world, node, whom as usize, number);
                world.wake(
                    node,
                    self.settings.ping_wait_us * REFUSED_AFTER_PERCENT / 100,
                    Event::HelpOver { number },
                );
            }
            Event::HelpOver { number } => {
                if let Some(by) = self.nodes[node].helped.remove(&number) {
                    world.send(node, by as usize, HEADERS_BYTES + ANSWER_BYTES, Event::Refusal { number });
                }
            }
            Event::Refusal { number } => {
                if let Some(probe) = self.nodes[node].probe.as_mut().filter(|probe| probe.number == number) {
                    probe.refusals += 1;
                }
            }
            Event::PingOver { number } => self.on_ping_over(world, node, number),
            Event::ProbeOver { number } => self.on_probe_over(world, node, number),
            Event::Spread => self.on_spread(world, node),
            Event::News { news } => self.learn_all(world, node, &news),
            Event::SuspicionOver { about, number } => {
                self.on_suspicion_over(world, node, about, number);
            }
            Event::Exchange => self.on_exchange(world, node),
        }
    }
}

impl Subject for Gossip {
    type Settings = Settings;

    fn new(case: Case, settings: Settings, world: &mut Hosts) -> Self {
        let node = |world: &mut Hosts| Node {
            incarnation: 0,
            list: List::default(),
            rumours: Rumours::default(),
            walk: Walk::new(case.nodes, &mut world.chance),
            probe: None,
            helped: BTreeMap::new(),
            doubts: BTreeMap::new(),
            self_doubt: 0,
        };
        let nodes = (0..case.nodes).map(|_| node(world)).collect();
        for host in 0..case.nodes {
            let first_us = if settings.is_in_step { 0 } else { world.some_us(settings.period_us) };
            world.wake(host, first_us, Event::Period);
            if let Some((interval_us, _)) = settings.spread {
                let first_us = if settings.is_in_step { 0 } else { world.some_us(interval_us) };
                world.wake(host, first_us, Event::Spread);
            }
            if let Some(interval_us) = settings.exchange_us {
                let first_us = world.some_us(interval_us);
                world.wake(host, first_us, Event::Exchange);
            }
        }
        let tally = Tally::new(case, case.nodes);
        Self { settings, nodes, tally, numbers: 0, first_suspected_us: None, faulty: case.faulty }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn size(&self, observer: usize) -> usize {
        self.nodes.len() - self.nodes[observer].list.dead
    }

    fn observers(&self) -> usize {
        self.nodes.len()
    }
}
