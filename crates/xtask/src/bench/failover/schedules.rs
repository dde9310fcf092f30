//! Random schedules of faults on both hosts and the manager's, for all systems at once: never two owners.
//!
//! Whose an address is, is asked 200 times a second as ever. Beside it a group of Muster writes a line each ten milliseconds, with
//! its epoch, into one file for all hosts, from a process that its start script leaves in the background: a line of an older epoch
//! behind one of a newer is an owner too many. The seed gives the faults and their times; what comes of them is the machine's.

use super::muster;
use super::system::System;
use super::world::{BOSS, ONE, TWO, World};
use crate::failure::{Doing, Failure, Outcome};
use lab::lan::Deaf;
use rustix::process::Signal;
use sim::Chance;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Faults begin within this time.
const BEGIN_WITHIN_MS: u32 = 4_000;
/// How long one lasts. The longest: several leases, so that it is surely acted upon; the shortest: less than one.
const SHORTEST_MS: u32 = 100;
const LONGEST_MS: u32 = 8_000;
/// Longest wait until Muster is whole again.
const WHOLE_TIME_MAX: Duration = Duration::from_secs(90);
/// How long others may take to answer again, before the next schedule meets them as they are.
const OTHERS_TIME_MAX: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const ANSWERED_WITHIN: Duration = Duration::from_millis(50);
const BEATS: &str = "beats";

/// Of Muster and those that do the same work for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Speaks with the others: the agent, Corosync, keepalived.
    Speaker,
    /// Holds what runs: the guardian, Pacemaker's executor.
    Holder,
    Both,
}

impl Part {
    fn has(self, words: &[String]) -> bool {
        let is = |name: &str| words.first().is_some_and(|word| word.rsplit('/').next() == Some(name));
        let is_speaker = (is("muster") && words[1..].starts_with(&["run".to_owned()]))
            || is("corosync")
            || is("keepalived");
        let is_holder =
            (is("muster") && words[1..].starts_with(&["guardian".to_owned()])) || is("pacemaker-execd");
        match self {
            Part::Speaker => is_speaker,
            Part::Holder => is_holder,
            Part::Both => is_speaker || is_holder,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Cut,
    /// Cut and joined again and again.
    Flap,
    Part(Deaf),
    Freeze,
    Kill,
    StopPart(Part),
    KillPart(Part),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Event {
    at_ms: u32,
    host: &'static str,
    fault: Fault,
    is_end: bool,
}

/// A schedule's events in their order. A host has one fault at a time: what ends one would end the other.
fn draw(chance: &mut Chance) -> Vec<Event> {
    let mut hosts = vec![ONE, TWO, BOSS];
    let mut events = Vec::new();
    let at_fault = 1 + chance.below(3);
    for left in (1..=3).rev().take(at_fault as usize) {
        // The manager's host is one of three; what happens to it alone moves nothing.
        let host = hosts.remove(chance.below(left) as usize);
        let part = [Part::Speaker, Part::Holder, Part::Both][chance.below(3) as usize];
        let deaf = [Deaf::Both, Deaf::Host, Deaf::Others][chance.below(3) as usize];
        let fault = match chance.below(8) {
            0 => Fault::Cut,
            1 => Fault::Flap,
            2 => Fault::Part(deaf),
            3 => Fault::Freeze,
            4 => Fault::Kill,
            5 | 6 => Fault::StopPart(part),
            _ => Fault::KillPart(part),
        };
        let begin = chance.below(BEGIN_WITHIN_MS);
        let end = begin + SHORTEST_MS + chance.below(LONGEST_MS - SHORTEST_MS);
        let flaps = if fault == Fault::Flap { 3 } else { 1 };
        // Each flap is as long as the pause behind it.
        let step = (end - begin) / (2 * flaps);
        for flap in 0..flaps {
            let at_ms = begin + 2 * flap * step;
            let until = if flaps == 1 { end } else { at_ms + step };
            events.push(Event { at_ms, host, fault, is_end: false });
            events.push(Event { at_ms: until, host, fault, is_end: true });
        }
    }
    events.sort_by_key(|event| event.at_ms);
    events
}

fn others(host: &str) -> Vec<&'static str> {
    [BOSS, ONE, TWO].into_iter().filter(|other| *other != host).collect()
}

fn carry_out(world: &mut World, event: Event) -> Outcome<()> {
    let Event { host, fault, is_end, .. } = event;
    let doing = format!("{fault:?} of {host}");
    let place = world.hosts.get(host).doing(&doing)?;
    match (fault, is_end) {
        (Fault::Cut | Fault::Flap, false) => world.hosts.cut_lan(host).doing(&doing),
        (Fault::Cut | Fault::Flap, true) => world.hosts.join_lan(host).doing(&doing),
        (Fault::Part(deaf), false) => world.hosts.part_lan(host, &others(host), deaf).doing(&doing),
        (Fault::Part(_), true) => world.hosts.reunite_lan(host).doing(&doing),
        (Fault::Freeze, false) => {
            place.signal_all(Signal::STOP);
            Ok(())
        }
        (Fault::Freeze, true) => {
            place.signal_all(Signal::CONT);
            Ok(())
        }
        (Fault::Kill, false) => place.run(&["sh", "-c", "kill -9 -1"]).map(drop).doing(&doing),
        (Fault::StopPart(part), false) => {
            place.signal_where(Signal::STOP, |words| part.has(words));
            Ok(())
        }
        (Fault::KillPart(part), false) => {
            place.signal_where(Signal::KILL, |words| part.has(words));
            Ok(())
        }
        (Fault::StopPart(_), true) => {
            place.signal_all(Signal::CONT);
            world.start_all(host)
        }
        (Fault::Kill | Fault::KillPart(_), true) => world.start_all(host),
    }
}

/// What became of all schedules, for one system.
#[derive(Debug, serde::Serialize)]
pub struct Scheduled {
    system: System,
    schedules: u32,
    /// Those with two owners.
    broken: u32,
    /// Questions that two hosts have answered.
    instants: u64,
    /// Lines of Muster's owner before behind those of the next.
    late_lines: Option<u64>,
}

impl Scheduled {
    /// Others may have what they have.
    pub fn is_met(&self) -> bool {
        self.system != System::Muster || self.broken == 0
    }
}

impl fmt::Display for Scheduled {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.system == System::Muster, self.is_met()) {
            (false, _) => "       ",
            (true, true) => "met    ",
            (true, false) => "MISSED ",
        };
        let Self { system, schedules, broken, instants, late_lines } = self;
        write!(
            out,
            "{verdict}{}: two owners in {broken} of {schedules} schedules, at {instants} instants",
            system.text()
        )?;
        match late_lines {
            Some(lines) => write!(out, ", and in {lines} lines of a process"),
            None => Ok(()),
        }
    }
}

/// The file of lines, as far as it was read.
struct Beats {
    path: PathBuf,
    read: usize,
    newest: (u64, String),
}

impl Beats {
    /// Lines of an owner that was not one any more.
    fn late(&mut self) -> Outcome<u64> {
        let text = fs::read_to_string(&self.path).doing(format_args!("read {}", self.path.display()))?;
        let mut late = 0;
        for line in text[self.read..].split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            self.read += line.len();
            let words = line.trim().split_once(' ');
            let (epoch, node) = words.ok_or_else(|| Failure(format!("{line:?} is no line of a group")))?;
            let epoch: u64 = epoch.parse().doing(format_args!("read {line:?}"))?;
            if epoch > self.newest.0 {
                self.newest = (epoch, node.to_owned());
            } else if (epoch, node) != (self.newest.0, &self.newest.1) {
                late += 1;
                eprintln!(
                    "{node} writes as epoch {epoch} when {} has epoch {}",
                    self.newest.1, self.newest.0
                );
            }
        }
        Ok(late)
    }
}

fn beating(path: &Path) -> String {
    let line = format!(
        "exec >/dev/null 2>&1; while :; do echo $MUSTER_EPOCH $MUSTER_NODE >>{}; sleep 0.01; done",
        path.display()
    );
    format!(
        "\n[groups.beat]\nnodes = [\"{TWO}\", \"{ONE}\"]\nrestarts_max = 500\nfailovers_max = 500\n\n\
         [groups.beat.resources.beat]\ntype = \"exec\"\nstart = [\"setsid\", \"--fork\", \"sh\", \"-c\", {line:?}]\n\
         stop = [\"true\"]\n"
    )
}

pub fn run(
    systems: &[System],
    count: u32,
    seed: u64,
    directory: &Path,
    program: &Path,
) -> Outcome<Vec<Scheduled>> {
    let path = directory.join(BEATS);
    fs::write(&path, "").doing(format_args!("write {}", path.display()))?;
    let mut beats = Beats { path: path.clone(), read: 0, newest: (0, String::new()) };
    let mut world = World::start(systems, directory, program, &beating(&path))?;
    let ran = run_all(&mut world, &mut beats, count, seed);
    if ran.is_err() {
        world.hosts.keep_directory();
        eprintln!("kept for a look: {}", directory.display());
    }
    ran
}

fn run_all(world: &mut World, beats: &mut Beats, count: u32, seed: u64) -> Outcome<Vec<Scheduled>> {
    let mut found: Vec<Scheduled> = world
        .systems
        .iter()
        .map(|system| {
            let late_lines = (*system == System::Muster).then_some(0);
            Scheduled { system: *system, schedules: 0, broken: 0, instants: 0, late_lines }
        })
        .collect();
    for number in 0..u64::from(count) {
        let events = draw(&mut Chance::new(seed.wrapping_add(number)));
        let before = world.asker.counts();
        let started = Instant::now();
        for event in &events {
            let at = Duration::from_millis(event.at_ms.into());
            std::thread::sleep(at.saturating_sub(started.elapsed()));
            carry_out(world, *event)?;
        }
        wait_until_whole(world)?;
        let (after, late) = (world.asker.counts(), beats.late()?);
        for (place, found) in found.iter_mut().enumerate() {
            let instants = after[place] - before[place];
            let late = found.late_lines.as_mut().map_or(0, |lines| {
                *lines += late;
                late
            });
            found.schedules += 1;
            found.instants += instants;
            found.broken += u32::from(instants + late > 0);
            if !found.is_met() && instants + late > 0 {
                eprintln!("{} has two owners: {events:?}", found.system.text());
            }
        }
        let broken: Vec<String> =
            found.iter().map(|found| format!("{} {}", found.system.text(), found.broken)).collect();
        eprintln!("seed {}: two owners so far: {}", seed.wrapping_add(number), broken.join(", "));
    }
    Ok(found)
}

/// Until Muster has all that it needs for the next schedule, and the others for a bounded time.
fn wait_until_whole(world: &World) -> Outcome<()> {
    let started = Instant::now();
    let is_there = |system: &System| world.client(*system).silence() < ANSWERED_WITHIN;
    loop {
        let is_whole = is_there(&System::Muster) && muster::is_whole(&world.hosts).unwrap_or(false);
        if is_whole && (started.elapsed() > OTHERS_TIME_MAX || world.systems.iter().all(is_there)) {
            return Ok(());
        }
        if started.elapsed() > WHOLE_TIME_MAX {
            return Err(Failure(format!("Muster is not whole after {} s", WHOLE_TIME_MAX.as_secs())));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_schedule_in_which_each_fault_of_a_host_ends_before_its_next() {
        for seed in 0..500 {
            let events = draw(&mut Chance::new(seed));
            assert_eq!(events, draw(&mut Chance::new(seed)));
            assert!(!events.is_empty());
            for host in [ONE, TWO, BOSS] {
                let own: Vec<&Event> = events.iter().filter(|event| event.host == host).collect();
                let is_in_turn =
                    own.iter().enumerate().all(|(place, event)| event.is_end == (place % 2 == 1));
                assert!(is_in_turn && own.len().is_multiple_of(2), "{seed}: {own:?}");
                assert!(own.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms));
            }
        }
    }

    #[test]
    fn parts_are_known_by_their_words() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(
            Part::Speaker.has(&words("/x/muster run --node boss"))
                && !Part::Speaker.has(&words("muster guardian"))
        );
        assert!(
            Part::Holder.has(&words("muster guardian")) && Part::Both.has(&words("/usr/sbin/corosync -f"))
        );
        assert!(!Part::Both.has(&words("muster warden")) && !Part::Both.has(&[]));
    }
}
