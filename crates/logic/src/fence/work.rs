//! One node that has to be off: look, switch off, look again; the next attempt, the next fence.

use super::{Call, End, Shown};
use crate::time::Time;
use wire::fence::{FenceAction, FenceSettings};
use wire::id::FenceName;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// Nothing is called before this time.
    Pause(Time),
    /// Is it off already?
    Look,
    Act,
    /// Is it off now?
    Verify,
    Proven,
    GivenUp,
    /// It is switched on again.
    Wake,
    Woken(Option<String>),
}

/// What has to be done.
pub(super) enum Next {
    Wait,
    Call { fence: Box<FenceSettings>, call: Call },
    Proven,
    GivenUp { why: String },
    Woken { trouble: Option<String> },
}

#[derive(Debug, Clone)]
pub(super) struct Work {
    /// In the order in which they are tried.
    fences: Vec<FenceSettings>,
    at: usize,
    attempt: u32,
    stage: Stage,
    /// The call that is under way.
    pub job: Option<u64>,
    /// For groups, under this number.
    run: Option<u64>,
    /// A person wants it.
    is_asked: bool,
    troubles: Vec<String>,
}

impl Work {
    pub fn new(now: Time, fences: Vec<FenceSettings>, run: Option<u64>) -> Self {
        assert!(!fences.is_empty(), "nothing can be done without a fence");
        Self {
            fences,
            at: 0,
            attempt: 0,
            stage: Stage::Pause(now),
            job: None,
            run,
            is_asked: run.is_none(),
            troubles: Vec::new(),
        }
    }

    /// Somebody else wants the same. What is under way proves nothing about what came after it began, so it begins anew.
    pub fn join(&mut self, run: Option<u64>) {
        self.is_asked |= run.is_none();
        if run.is_some() && self.run != run {
            self.run = run;
            self.troubles.clear();
            (self.at, self.attempt) = (0, 0);
            // The call that is under way ends first; whatever it says is looked at again.
            self.stage = if self.job.is_some() { Stage::Pause(Time(0)) } else { self.stage.clone() };
        }
    }

    /// The fence whose turn it is.
    pub fn fence(&self) -> String {
        format!("fence {}", self.fences[self.at].name)
    }

    pub fn fence_name(&self) -> &FenceName {
        &self.fences[self.at].name
    }

    /// What is under way asks whether the node is off, and its answer is of use.
    pub fn is_asking(&self) -> bool {
        matches!(self.stage, Stage::Look | Stage::Verify)
    }

    /// What people see.
    pub fn tell(&self) -> String {
        let troubles = self.troubles.last().map(|why| format!("; {why}")).unwrap_or_default();
        match self.stage {
            Stage::Pause(_) => format!("it is tried again soon{troubles}"),
            Stage::Look | Stage::Act | Stage::Verify | Stage::Proven | Stage::GivenUp => {
                format!("{} switches it off{troubles}", self.fence())
            }
            Stage::Wake | Stage::Woken(_) => format!("{} switches it on again", self.fence()),
        }
    }

    pub fn next(&mut self, now: Time) -> Next {
        if self.job.is_some() {
            return Next::Wait;
        }
        let call = match &self.stage {
            Stage::Pause(until) if *until > now => return Next::Wait,
            Stage::Pause(_) => {
                self.stage = Stage::Look;
                Call::Status
            }
            Stage::Look | Stage::Verify => Call::Status,
            Stage::Act => Call::Off,
            Stage::Wake => Call::On,
            Stage::Proven => return Next::Proven,
            Stage::GivenUp => return Next::GivenUp { why: self.troubles.join("; ") },
            Stage::Woken(trouble) => return Next::Woken { trouble: trouble.clone() },
        };
        Next::Call { fence: Box::new(self.fences[self.at].clone()), call }
    }

    /// `is_doubted`: the fence has said that the node is off while it was there.
    pub fn ended(&mut self, end: &End, is_doubted: bool) {
        self.job = None;
        let shown = end.shown();
        self.stage = match (&self.stage, shown) {
            (Stage::Look | Stage::Verify, Shown::Off) if is_doubted => {
                self.note("says that it is off, and said so while it was there");
                self.next_fence()
            }
            (Stage::Look | Stage::Verify, Shown::Off) => Stage::Proven,
            (Stage::Look, _) => Stage::Act,
            (Stage::Act, _) => {
                if !matches!(end, End::Exited { status: 0, .. }) {
                    self.note(&end.trouble());
                }
                Stage::Verify
            }
            (Stage::Verify, Shown::On) => self.failed("says that it is on still"),
            (Stage::Verify, Shown::Nothing(why)) => self.failed(&why),
            (Stage::Wake, _) => match end {
                End::Exited { status: 0, .. } => Stage::Woken(None),
                End::Exited { .. } | End::TimedOut | End::Failed(_) => Stage::Woken(Some(end.trouble())),
            },
            (stage, _) => stage.clone(),
        };
    }

    fn note(&mut self, why: &str) {
        let trouble = format!("{} {why}", self.fence());
        if !self.troubles.contains(&trouble) {
            self.troubles.push(trouble);
        }
    }

    /// The next attempt, or the next fence.
    fn failed(&mut self, why: &str) -> Stage {
        self.note(why);
        if self.attempt < self.fences[self.at].retries {
            self.attempt += 1;
            return Stage::Act;
        }
        self.next_fence()
    }

    fn next_fence(&mut self) -> Stage {
        if self.at + 1 < self.fences.len() {
            (self.at, self.attempt) = (self.at + 1, 0);
            return Stage::Look;
        }
        Stage::GivenUp
    }

    pub fn begin_again(&mut self, at: Time) {
        (self.at, self.attempt, self.stage) = (0, 0, Stage::Pause(at));
    }

    /// Who waits for the proof.
    pub fn take_run(&mut self) -> Option<u64> {
        self.run.take()
    }

    /// They were told that it did not work, and ask again if they want to.
    pub fn leave_persons(&mut self) {
        self.is_asked = false;
    }

    pub fn run(&self) -> Option<u64> {
        self.run
    }

    /// After the proof. What a person wanted off stays off.
    pub fn wants_on(&mut self) -> bool {
        let wants_on = self.fences[self.at].action == FenceAction::Reboot && !self.is_asked;
        if wants_on {
            self.stage = Stage::Wake;
        }
        wants_on
    }

    /// No group needs it any more. Whether nobody else does either.
    pub fn spare(&mut self) -> bool {
        self.run = None;
        !self.is_asked && !matches!(self.stage, Stage::Wake | Stage::Woken(_))
    }

    pub fn wakes_at(&self) -> Option<Time> {
        match self.stage {
            Stage::Pause(until) if self.job.is_none() => Some(until),
            _ => None,
        }
    }

    pub fn is_alive(&self) -> bool {
        self.job.is_some() || matches!(self.stage, Stage::Pause(_))
    }
}
