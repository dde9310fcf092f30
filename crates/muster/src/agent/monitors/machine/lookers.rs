//! Threads for what may hang: one, and one more for each piece of work that hangs.
//!
//! A thread for each piece would be simpler, and costs five times as much as what most of them do.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

type Work = Box<dyn FnOnce() + Send>;

/// They end with it, each as soon as it does not hang.
#[derive(Debug, Default)]
pub struct Lookers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    news: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Begun and not taken yet: at most one for each monitor, which has one look at a time.
    waiting: VecDeque<Work>,
    /// Pieces taken so far. They are taken in the order of their numbers.
    taken: u64,
    threads: usize,
    idle: usize,
    is_over: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} waiting, {} of {} threads idle", self.waiting.len(), self.idle, self.threads)
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life.
    fn work(&self) {
        let mut queue = self.queue();
        while !queue.is_over {
            if let Some(work) = queue.waiting.pop_front() {
                queue.taken += 1;
                drop(queue);
                work();
                queue = self.queue();
            } else if queue.idle > 0 {
                // One that waits is enough.
                break;
            } else {
                queue.idle += 1;
                queue = self.news.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
            }
        }
        queue.threads -= 1;
    }
}

impl Lookers {
    /// Gives it a number. It is begun by who has the time; see `help`.
    pub fn begin(&self, work: Work) -> io::Result<u64> {
        let mut queue = self.0.queue();
        let number = queue.taken + queue.waiting.len() as u64;
        queue.waiting.push_back(work);
        if queue.threads > 0 {
            self.0.news.notify_one();
            return Ok(number);
        }
        let started = self.start(&mut queue);
        if started.is_err() {
            queue.waiting.pop_back();
        }
        started.map(|()| number)
    }

    /// This piece has waited for long: if nobody has begun it, one more thread does.
    pub fn help(&self, number: u64) {
        let mut queue = self.0.queue();
        if number >= queue.taken {
            // Where there can be no more threads it goes on waiting for those that are there.
            let _ = self.start(&mut queue);
        }
    }

    fn start(&self, queue: &mut Queue) -> io::Result<()> {
        let shared = self.0.clone();
        let thread = std::thread::Builder::new().name("monitor-look".into());
        thread.spawn(move || shared.work())?;
        queue.threads += 1;
        Ok(())
    }
}

impl Drop for Lookers {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.is_over = true;
        queue.waiting.clear();
        self.0.news.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, sync_channel};
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(60);

    /// Work that tells which thread does it.
    fn tell(lookers: &Lookers) -> (u64, Receiver<std::thread::ThreadId>) {
        let (told, said) = sync_channel(1);
        let work = Box::new(move || told.send(std::thread::current().id()).expect("somebody listens"));
        (lookers.begin(work).expect("a thread can be started"), said)
    }

    #[test]
    fn one_thread_does_all_that_does_not_hang() {
        let lookers = Lookers::default();
        let said: Vec<_> = (0..100).map(|_| tell(&lookers).1).collect();
        let mut threads: Vec<_> =
            said.iter().map(|said| said.recv_timeout(LONG).expect("it is done")).collect();
        threads.dedup();
        assert_eq!(threads.len(), 1);
    }

    #[test]
    fn what_waits_behind_something_that_hangs_is_done_by_one_more() {
        let lookers = Lookers::default();
        let (go_on, hanging) = sync_channel::<()>(1);
        let (began, has_begun) = sync_channel(1);
        let hang = Box::new(move || {
            began.send(()).expect("somebody listens");
            let _ = hanging.recv();
        });
        let first = lookers.begin(hang).expect("a thread can be started");
        has_begun.recv_timeout(LONG).expect("it begins");
        let (second, said) = tell(&lookers);
        lookers.help(first);
        assert!(said.recv_timeout(Duration::from_millis(50)).is_err(), "what is under way needs no help");
        lookers.help(second);
        said.recv_timeout(LONG).expect("it is done beside the other one");
        drop(go_on);
        // Of the two one is left.
        let left = || {
            let queue = lookers.0.queue();
            (queue.threads, queue.idle)
        };
        let started = std::time::Instant::now();
        while left() != (1, 1) && started.elapsed() < LONG {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(left(), (1, 1));
    }

    #[test]
    fn they_end_with_who_asks() {
        let lookers = Lookers::default();
        let (_, said) = tell(&lookers);
        said.recv_timeout(LONG).expect("it is done");
        let shared = lookers.0.clone();
        drop(lookers);
        let started = std::time::Instant::now();
        while shared.queue().threads > 0 && started.elapsed() < LONG {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(shared.queue().threads, 0);
    }
}
