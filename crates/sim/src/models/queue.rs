//! A controller that counts a heartbeat when it has *worked on* it, one after the other, as Kafka's did before
//! KAFKA-15019: brokers send each 2 s and are fenced after 9 s without one that was worked on.

use super::world::{Model, World};
use std::collections::VecDeque;

const INTERVAL_US: u64 = 2_000_000;
const SESSION_US: u64 = 9_000_000;

#[derive(Debug, Clone, Copy)]
pub enum Event {
    Beat,
    Arrives { from: u32 },
    Done,
    Look,
}

#[derive(Debug)]
pub struct Controller {
    work_us: u64,
    /// As the fix does: what arrived counts from then on.
    counts_arrival: bool,
    waiting: VecDeque<u32>,
    seen_us: Vec<u64>,
    is_fenced: Vec<bool>,
    pub fenced: u64,
}

impl Model for Controller {
    type Event = Event;

    /// The controller is the last host.
    fn handle(&mut self, world: &mut World<Event>, host: usize, event: Event) {
        let controller = self.seen_us.len();
        match event {
            Event::Beat => {
                world.wake(host, INTERVAL_US, Event::Beat);
                world.send(host, controller, 100, Event::Arrives { from: host as u32 });
            }
            Event::Arrives { from } => {
                if self.counts_arrival {
                    self.count(world.now_us, from);
                }
                // A broker waits for its answer before it asks again.
                if !self.waiting.contains(&from) {
                    self.waiting.push_back(from);
                    if self.waiting.len() == 1 {
                        world.wake(controller, self.work_us, Event::Done);
                    }
                }
            }
            Event::Done => {
                let from = self.waiting.pop_front().expect("only started with something to do");
                self.count(world.now_us, from);
                if !self.waiting.is_empty() {
                    world.wake(controller, self.work_us, Event::Done);
                }
            }
            Event::Look => {
                world.wake(controller, 100_000, Event::Look);
                for broker in 0..controller {
                    let is_over = world.now_us.saturating_sub(self.seen_us[broker]) > SESSION_US;
                    self.fenced += u64::from(is_over && !self.is_fenced[broker]);
                    self.is_fenced[broker] |= is_over;
                }
            }
        }
    }
}

impl Controller {
    fn count(&mut self, now_us: u64, from: u32) {
        self.seen_us[from as usize] = now_us;
        self.is_fenced[from as usize] = false;
    }
}

/// Brokers, all well, that a controller fences in a minute when each heartbeat takes it so long.
pub fn fenced(brokers: usize, work_ms: u64, counts_arrival: bool) -> u64 {
    let mut world: World<Event> = World::new(brokers + 1, 1);
    let mut controller = Controller {
        work_us: work_ms * 1_000,
        counts_arrival,
        waiting: VecDeque::new(),
        seen_us: vec![0; brokers],
        is_fenced: vec![false; brokers],
        fenced: 0,
    };
    for broker in 0..brokers {
        let first_us = world.some_us(INTERVAL_US);
        world.wake(broker, first_us, Event::Beat);
    }
    world.wake(brokers, 0, Event::Look);
    world.run_until_us(&mut controller, 60_000_000);
    controller.fenced
}
