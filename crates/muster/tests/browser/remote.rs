//! A browser on another machine than its test: it lives on a thread there, which does one thing after the other.

use super::support::hosts::Hosts;
use super::webdriver::Browser;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce(&Browser) + Send>;

pub struct Remote {
    /// None once it ends.
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Remote {
    pub fn start(hosts: &Hosts, host: &str, directory: PathBuf, width: u32, height: u32) -> Self {
        let (jobs, wanted) = sync_channel::<Job>(0);
        let thread = hosts.spawn(host, move || {
            let browser = Browser::start_in(&directory, width, height);
            wanted.into_iter().for_each(|job| job(&browser));
        });
        Self { jobs: Some(jobs), thread: Some(thread) }
    }

    /// Does it there; what fails there fails here.
    pub fn on<T: Send + 'static>(&mut self, work: impl FnOnce(&Browser) -> T + Send + 'static) -> T {
        let (tell, told) = sync_channel(1);
        let job: Job = Box::new(move |browser| tell.send(work(browser)).expect("the test waits for it"));
        let is_sent = self.jobs.as_ref().expect("it has not ended").send(job).is_ok();
        match told.recv() {
            Ok(result) if is_sent => result,
            Ok(_) | Err(_) => self.resume(),
        }
    }

    /// Its thread has panicked: so does the test.
    fn resume(&mut self) -> ! {
        self.jobs = None;
        let thread = self.thread.take().expect("it is asked once");
        match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => panic!("the browser has ended"),
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
