//! One node that is not simply there: what is known of its silence, what others say, and what follows.
//!
//! Pure arithmetic on facts that the detector gathers; see there for what happens with the answers.

use super::message::{Opinion, Reach};
use crate::limits::{
    ASK_AFTER_BEATS, ASK_INTERVAL_MS, ASK_SLOWLY_INTERVAL_MS, CARRY_INTERVAL_MS, DEGRADED_AFTER_BEATS,
    HEARTBEAT_SLACK_MS, MANAGERS_MAX, OPINION_AGE_MAX_MS, OPINION_SILENT_AFTER_BEATS, REPLY_AGE_MAX_MS,
    RETURN_AFTER_BEATS, UNREACHABLE_AFTER_BEATS, UNREACHABLE_ALONE_AFTER_BEATS,
};
use crate::time::Time;
use wire::id::NodeNumber;

/// Milliseconds of silence with which so many heartbeats are missing.
pub(super) fn missing_ms(beats: u64, interval_ms: u16) -> u64 {
    beats * u64::from(interval_ms) + HEARTBEAT_SLACK_MS
}

/// An opinion, and when it was asked for: it cannot be older.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub asked_at: Time,
    pub opinion: Opinion,
}

/// What a look at a silent node needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signs {
    pub silence_ms: u64,
    pub interval_ms: u16,
    pub is_deaf: bool,
    /// Since this manager listens; until then it is neither silent nor there.
    pub is_heard: bool,
    /// Of the cell.
    pub managers: usize,
    pub relapses: u8,
}

impl Signs {
    pub fn is_silent(&self) -> bool {
        self.silence_ms >= missing_ms(ASK_AFTER_BEATS, self.interval_ms)
    }

    /// How long another manager must hear it for that to be more than chance.
    fn steady_ms(&self) -> u64 {
        missing_ms(DEGRADED_AFTER_BEATS, self.interval_ms)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    /// What was last said of it.
    pub said: Reach,
    /// What should be said; None: nothing new.
    pub next: Option<Reach>,
    told: [Option<Told>; MANAGERS_MAX],
    pub asked_at: Option<Time>,
    /// Who has brought the newest of its replies, and when that was asked for.
    replied: Option<(Time, NodeNumber)>,
    pub searched_at: Option<Time>,
    /// Since when it is heard again without a gap.
    steady_since: Option<Time>,
    /// Since when others hear it without a gap, while it is silent here.
    heard_elsewhere_since: Option<Time>,
    /// Since when it is known that it does not hear this manager.
    deaf_since: Option<Time>,
    /// Since when, and when last, another manager heard it and was heard by it.
    both_ways: Option<(Time, Time)>,
    /// The same of other nodes.
    nearby: Option<(Time, Time)>,
    /// It was found unreachable since it was last simply there.
    pub was_unreachable: bool,
    /// When it was first found unreachable, this time.
    pub fell_at: Option<Time>,
    /// It fell with too many others: nothing is taken over from it until a person says so.
    pub is_mass: bool,
    /// That it may be taken over from has been said.
    pub is_taken: bool,
}

impl Case {
    pub fn new(said: Reach) -> Self {
        Self {
            said,
            next: None,
            told: [None; MANAGERS_MAX],
            asked_at: None,
            replied: None,
            searched_at: None,
            steady_since: None,
            heard_elsewhere_since: None,
            deaf_since: None,
            both_ways: None,
            nearby: None,
            was_unreachable: said == Reach::Unreachable,
            fell_at: None,
            is_mass: false,
            is_taken: false,
        }
    }

    pub fn hear_of(&mut self, manager: usize, told: Told) {
        let place = &mut self.told[manager];
        if place.is_none_or(|known| known.asked_at <= told.asked_at) {
            *place = Some(told);
        }
    }

    fn opinions(&self, now: Time, age_max_ms: u64) -> impl Iterator<Item = &Told> {
        self.told.iter().flatten().filter(move |told| now.since_ms(told.asked_at) <= age_max_ms)
    }

    pub fn reply(&mut self, asked_at: Time, by: NodeNumber) {
        if self.replied.is_none_or(|(known, _)| known < asked_at) {
            self.replied = Some((asked_at, by));
        }
    }

    /// How old what is known of it may be beyond what it may be while it matters.
    fn slack_ms(&self) -> u64 {
        match self.said {
            Reach::Reachable | Reach::Elsewhere | Reach::Nearby | Reach::Degraded => 0,
            // Asked less often by now.
            Reach::Unreachable => ASK_SLOWLY_INTERVAL_MS,
        }
    }

    /// It has replied to another node just now.
    fn is_nearby(&self, now: Time) -> bool {
        let age_max_ms = REPLY_AGE_MAX_MS + self.slack_ms();
        self.replied.is_some_and(|(asked_at, _)| now.since_ms(asked_at) <= age_max_ms)
    }

    /// Who of other nodes was answered last.
    pub fn nearest(&self) -> Option<NodeNumber> {
        self.replied.map(|(_, by)| by)
    }

    /// The other manager that hears it and is heard by it, by its place.
    fn both_ways_with(&self, now: Time, signs: &Signs) -> Option<usize> {
        let silent_ms = missing_ms(OPINION_SILENT_AFTER_BEATS, signs.interval_ms);
        let is_both = |told: &Told| {
            !told.opinion.is_deaf
                && told.opinion.silent_ms < silent_ms
                && now.since_ms(told.asked_at) <= OPINION_AGE_MAX_MS
        };
        self.told.iter().position(|told| told.as_ref().is_some_and(is_both))
    }

    /// Notes how it stands with the other managers, and with other nodes. What was said is taken back only when nobody has
    /// spoken for it for as long as it took to say it.
    fn note_both_ways(&mut self, now: Time, signs: &Signs) {
        let is_doubted = signs.is_silent() || signs.is_deaf;
        let is_known = is_doubted && self.both_ways_with(now, signs).is_some();
        let note = |before: Option<(Time, Time)>, is_known: bool, is_said: bool| match (before, is_known) {
            (Some((since, _)), true) => Some((since, now)),
            (None, true) => Some((now, now)),
            (known @ Some((_, last)), false)
                if is_doubted && is_said && now.since_ms(last) < signs.steady_ms() =>
            {
                known
            }
            (_, false) => None,
        };
        self.both_ways = note(self.both_ways, is_known, self.said == Reach::Elsewhere);
        let is_near = is_doubted && self.is_nearby(now);
        self.nearby = note(self.nearby, is_near, self.said == Reach::Nearby);
    }

    /// One direction is broken, as far as this manager can tell. None: it waits for what others say.
    fn judge_direction(&self, now: Time, signs: &Signs) -> Option<Reach> {
        let holds = |known: Option<(Time, Time)>, reach| {
            known.is_some_and(|(since, _)| self.said == reach || now.since_ms(since) >= signs.steady_ms())
        };
        if holds(self.both_ways, Reach::Elsewhere) {
            return Some(Reach::Elsewhere);
        }
        if holds(self.nearby, Reach::Nearby) {
            return Some(Reach::Nearby);
        }
        let is_unsure = self.both_ways.is_some() || self.nearby.is_some();
        (!is_unsure || self.said != Reach::Reachable).then_some(Reach::Degraded)
    }

    /// Who hears it, where that is what is said of it: a manager by its place, or another node.
    pub fn heard_by(&self, now: Time, signs: &Signs, reach: Reach) -> (Option<usize>, Option<NodeNumber>) {
        match reach {
            Reach::Elsewhere => (self.both_ways_with(now, signs), None),
            Reach::Nearby => (None, self.nearest()),
            Reach::Reachable | Reach::Degraded | Reach::Unreachable => (None, None),
        }
    }

    /// Works out what should be said of it now.
    pub fn look(&mut self, now: Time, signs: &Signs) {
        self.deaf_since = signs.is_deaf.then(|| self.deaf_since.unwrap_or(now));
        self.note_both_ways(now, signs);
        let wanted = if signs.is_silent() {
            self.steady_since = None;
            self.judge_silence(now, signs)
        } else if signs.is_heard {
            self.judge_return(now, signs)
        } else {
            None
        };
        self.next = wanted.filter(|wanted| *wanted != self.said);
        let has_fallen = |reach: Reach| !reach.may_hold_lease();
        if !self.next.is_some_and(has_fallen) && !has_fallen(self.said) {
            self.fell_at = None;
            self.is_mass = false;
        } else if self.fell_at.is_none() {
            self.fell_at = Some(now);
        }
    }

    fn judge_silence(&mut self, now: Time, signs: &Signs) -> Option<Reach> {
        let missing = |beats| signs.silence_ms >= missing_ms(beats, signs.interval_ms);
        if !missing(UNREACHABLE_AFTER_BEATS) {
            return None;
        }
        let silent_ms = missing_ms(OPINION_SILENT_AFTER_BEATS, signs.interval_ms);
        // That other nodes bring no reply says nothing: a firewall may be in their way.
        let (mut silent, mut hearing) = (1, usize::from(self.is_nearby(now)));
        let age_max_ms = OPINION_AGE_MAX_MS + self.slack_ms();
        for told in self.opinions(now, age_max_ms) {
            if told.opinion.silent_ms >= silent_ms { silent += 1 } else { hearing += 1 }
        }
        if hearing > 0 {
            let since = *self.heard_elsewhere_since.get_or_insert(now);
            // One that loses most of what it sends is heard somewhere now and then: each time it falls again, it must be
            // heard for longer.
            let steady_ms = match self.said {
                Reach::Reachable | Reach::Elsewhere | Reach::Nearby | Reach::Degraded => 0,
                Reach::Unreachable => missing_ms(DEGRADED_AFTER_BEATS << signs.relapses, signs.interval_ms),
            };
            let is_degraded = missing(DEGRADED_AFTER_BEATS) && now.since_ms(since) >= steady_ms;
            let direction = self.judge_direction(now, signs);
            return direction.filter(|_| is_degraded);
        }
        self.heard_elsewhere_since = None;
        let is_agreed = signs.managers > 1 && silent > signs.managers / 2;
        (is_agreed || missing(UNREACHABLE_ALONE_AFTER_BEATS)).then_some(Reach::Unreachable)
    }

    fn judge_return(&mut self, now: Time, signs: &Signs) -> Option<Reach> {
        let since = *self.steady_since.get_or_insert(now);
        let beats = RETURN_AFTER_BEATS << signs.relapses;
        let is_back =
            self.said == Reach::Reachable || now.since_ms(since) >= beats * u64::from(signs.interval_ms);
        match (is_back, self.deaf_since) {
            // The others are asked first.
            (true, Some(since)) if signs.managers > 1 && now.since_ms(since) < OPINION_AGE_MAX_MS => None,
            (true, Some(_)) => self.judge_direction(now, signs),
            (true, None) => Some(Reach::Reachable),
            (false, _) => None,
        }
    }

    /// Nothing is the matter with it.
    pub fn is_closed(&self, signs: &Signs) -> bool {
        self.said == Reach::Reachable && self.next.is_none() && !signs.is_silent() && !signs.is_deaf
    }

    /// Silent, and it is not clear yet what that means.
    pub fn is_pending(&self, signs: &Signs) -> bool {
        self.said == Reach::Reachable && self.next.is_none() && signs.is_silent()
    }

    /// Whether others should be asked now. `is_urgent`: something waits for their answers.
    pub fn should_ask(&self, now: Time, signs: &Signs, is_urgent: bool) -> bool {
        let pause_ms = if is_urgent { ASK_INTERVAL_MS } else { ASK_SLOWLY_INTERVAL_MS };
        (signs.is_silent() || signs.is_deaf)
            && self.asked_at.is_none_or(|asked| now.since_ms(asked) >= pause_ms)
    }

    /// What follows depends on whether it replies now: it is not lost yet, or has replied.
    pub fn is_searched_first(&self, now: Time) -> bool {
        self.said != Reach::Unreachable || self.is_nearby(now)
    }

    /// Whether other nodes should be sent to it now. Nobody needs them as long as another manager hears it and is heard by it
    /// and that is no news; once it is what was said, they take over from that manager without a gap.
    pub fn should_search(&self, now: Time, signs: &Signs) -> bool {
        let pause_ms = CARRY_INTERVAL_MS + self.slack_ms();
        (signs.is_silent() || signs.is_deaf)
            && (self.said == Reach::Elsewhere || self.both_ways_with(now, signs).is_none())
            && self.searched_at.is_none_or(|asked| now.since_ms(asked) >= pause_ms)
    }
}
