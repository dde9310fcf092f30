//! A client's HTTP/2 connection: whatever frames come, cut anywhere, the connection keeps its promises.
//!
//! An input tells what the client sends, what the sessions of its streams do, and how much of the answers the client takes.
//! It goes to two connections: one gets what comes at once as one piece, the other in small ones; nobody can tell them apart.
//! Windows are counted here once more, by the frames that go by.

mod script;
mod tally;

use logic::http2::client::{Machine, Offence, Part, STREAM_WINDOW_BYTES, STREAMS_MAX, UNSENT_MAX_BYTES};
use logic::http2::frame::{PREFACE, Reason};
use logic::time::Time;
use script::{Act, Script};
use std::collections::BTreeMap;
use tally::Tally;

/// Bytes of headers that are announced as the most. Small, so that inputs reach beyond.
const LIST_SIZE_MAX: usize = 1024;
/// What we add to a head: the request line's words, a challenge, what frames a body.
const HEAD_MORE_BYTES: usize = 256;
/// The most that is sent for a byte that came: a malformed request of ten bytes is given up in thirteen, one that is too
/// large is answered as well.
const ANSWER_FACTOR: usize = 4;
/// The same for a frame of which only the end has come now.
const ANSWER_MORE_BYTES: usize = 64;

pub fn check(bytes: &[u8]) {
    let mut script = Script::of(bytes);
    let mut connection = Pair::new(usize::from(script.byte() % 31) + 1);
    connection.receive(PREFACE);
    while let Some(act) = script.next_act() {
        if !connection.perform(act) {
            break;
        }
    }
    connection.end();
}

/// What a session knows of its stream.
#[derive(Debug, Default)]
struct Session {
    /// Taken and not yet passed on.
    held: usize,
    has_answered: bool,
    has_ended: bool,
    /// It has found nothing to read, or no room, and was not woken since.
    awaits_part: bool,
    awaits_room: bool,
}

/// One connection twice.
struct Pair {
    whole: Machine,
    cut: Machine,
    piece_bytes: usize,
    now: Time,
    /// Of all streams that were not left, by key.
    sessions: BTreeMap<usize, Session>,
    tally: Tally,
    /// What sessions have sent as headers since all was sent.
    head_bytes: usize,
    is_leaving: bool,
    /// What follows is not looked at: who gets all at once sees a flood before what comes first in it.
    is_flooded: bool,
}

impl Pair {
    fn new(piece_bytes: usize) -> Self {
        let machine = || Machine::new(Time(0), LIST_SIZE_MAX, || "AAAAAAAAAAAAAAAAAAAAAA==".to_owned());
        let mut pair = Self {
            whole: machine(),
            cut: machine(),
            piece_bytes,
            now: Time(0),
            sessions: BTreeMap::new(),
            tally: Tally::default(),
            head_bytes: 0,
            is_leaving: false,
            is_flooded: false,
        };
        pair.look();
        pair
    }

    /// Does something to both; what comes of it must be the same.
    fn both<T: PartialEq + std::fmt::Debug>(&mut self, act: impl Fn(&mut Machine) -> T) -> T {
        let (whole, cut) = (act(&mut self.whole), act(&mut self.cut));
        assert_eq!(whole, cut, "what is cut differs");
        whole
    }

    /// False: the connection is over.
    fn perform(&mut self, act: Act) -> bool {
        let goes_on = match act {
            Act::Receive(bytes) => self.receive(&bytes),
            Act::Take(count) => {
                self.take(count);
                true
            }
            Act::Wait(ms) => {
                self.now = Time(self.now.0 + ms);
                true
            }
            Act::AskToLeave => {
                if !std::mem::replace(&mut self.is_leaving, true) {
                    self.both(Machine::ask_to_leave);
                }
                true
            }
            Act::Session { number, deed, count } => {
                let key = self.sessions.keys().nth(number % self.sessions.len().max(1)).copied();
                if let Some(key) = key {
                    self.play(key, deed, count);
                }
                true
            }
        };
        self.look();
        goes_on
    }

    /// The client says something. It is not listened to while it takes nothing.
    fn receive(&mut self, bytes: &[u8]) -> bool {
        if self.both(|machine| machine.is_clogged()) {
            self.take(usize::MAX);
        }
        let unsent = self.whole.unsent().len();
        let mut spare = Vec::new();
        let mut pieces = bytes.chunks(self.piece_bytes);
        let cut = pieces.try_for_each(|piece| self.cut.receive(self.now, piece, &mut spare));
        let whole = self.whole.receive(self.now, bytes, &mut spare);
        if whole == Err(Offence::Flood) || cut == Err(Offence::Flood) {
            self.is_flooded = true;
            return false;
        }
        assert_eq!(whole, cut, "what is cut differs");
        let grown = self.whole.unsent().len() - unsent;
        assert!(
            grown <= bytes.len() * ANSWER_FACTOR + ANSWER_MORE_BYTES,
            "{grown} bytes for {}",
            bytes.len()
        );
        self.tally.hear(bytes);
        while let Some(begun) = self.both(Machine::take_begun) {
            assert!(begun.head.len() <= LIST_SIZE_MAX + HEAD_MORE_BYTES, "a head of {}", begun.head.len());
            assert!(begun.head.ends_with(b"\r\n\r\n"));
            let before = self.sessions.insert(begun.key, Session::default());
            assert!(before.is_none(), "two streams with one key");
            assert!(self.sessions.len() <= STREAMS_MAX as usize);
        }
        if let Err(Offence::Wrong(reason)) = whole {
            assert_ne!(reason, Reason::NoError);
            self.both(|machine| machine.end(reason));
        }
        whole.is_ok()
    }

    /// The client takes answers.
    fn take(&mut self, count: usize) {
        let unsent = self.whole.unsent().len();
        self.both(|machine| machine.was_sent(count.min(unsent)));
        self.tally.was_sent(count.min(unsent));
        if count >= unsent {
            self.both(Machine::all_was_sent);
            self.head_bytes = 0;
        }
    }

    /// A session does something with its stream.
    fn play(&mut self, key: usize, deed: u8, count: usize) {
        let session = &self.sessions[&key];
        let may_answer = !session.has_ended;
        match deed % 6 {
            0 if may_answer && !session.has_answered => self.answer(key, count),
            1 if may_answer && session.has_answered => self.send(key, count),
            0..=2 => self.read(key),
            3 => {
                let count = count.min(session.held);
                self.both(|machine| machine.release(key, count));
                self.session(key).held -= count;
            }
            4 => {
                self.both(|machine| machine.reset(key, Reason::InternalError));
                // It was itself, and knows.
                let session = self.session(key);
                (session.awaits_part, session.awaits_room, session.has_ended) = (false, false, true);
            }
            _ => {
                self.both(|machine| machine.leave(key));
                self.sessions.remove(&key);
            }
        }
    }

    fn session(&mut self, key: usize) -> &mut Session {
        self.sessions.get_mut(&key).expect("the session of a stream that was not left")
    }

    fn answer(&mut self, key: usize, count: usize) {
        let is_end = count % 2 == 1;
        let value = vec![b'v'; count];
        let sent = self.both(|machine| {
            machine.send_block(key, is_end, |encoder, out| {
                encoder.status(200, out);
                encoder.field(b"X-Value", &value, out);
            })
        });
        self.head_bytes += count + 64;
        let session = self.session(key);
        session.has_answered = true;
        session.has_ended = is_end || sent.is_err();
    }

    fn send(&mut self, key: usize, count: usize) {
        let is_end = count % 2 == 1;
        let room = self.both(|machine| machine.room(key, count));
        if room == 0 && count > 0 {
            let has_room = self.both(|machine| machine.ask_for_room(key));
            assert_ne!(has_room, Ok(true), "no room and yet some");
            self.session(key).awaits_room = has_room.is_ok();
            return;
        }
        let is_end = is_end && room == count;
        let sent = self.both(|machine| machine.send_data(key, &vec![b'd'; room], is_end));
        self.session(key).has_ended = is_end || sent.is_err();
    }

    fn read(&mut self, key: usize) {
        let part = self.both(|machine| machine.take_part(key));
        let session = self.session(key);
        session.awaits_part = part == Part::Nothing;
        if let Part::Bytes(bytes) = part {
            session.held += bytes.len();
            assert!(session.held <= STREAM_WINDOW_BYTES as usize, "{} bytes of a body", session.held);
        } else if part == Part::End {
            let trailers = self.both(|machine| machine.take_trailers(key));
            assert!(trailers.is_empty() || trailers.ends_with(b"\r\n"));
        }
    }

    /// What must hold at any time.
    fn look(&mut self) {
        if self.is_flooded {
            return;
        }
        let unsent = self.whole.unsent().to_vec();
        assert_eq!(unsent, self.cut.unsent(), "what is cut differs");
        self.tally.see(&unsent);
        // What came while it was not clogged yet, the bodies' share, and heads.
        let most = 3 * UNSENT_MAX_BYTES + script::RECEIVED_MAX_BYTES * ANSWER_FACTOR + self.head_bytes;
        assert!(unsent.len() <= most, "{} bytes wait", unsent.len());
        let held = self.both(|machine| machine.held_bytes());
        let held_by_sessions: usize = self.sessions.values().map(|session| session.held).sum();
        assert!(held >= held_by_sessions as i64, "{held} bytes of the window, {held_by_sessions} held");
        let woken = settle(&mut self.whole, &self.sessions);
        assert_eq!(woken, settle(&mut self.cut, &self.sessions), "what is cut differs");
        for key in woken {
            if let Some(session) = self.sessions.get_mut(&key) {
                (session.awaits_part, session.awaits_room) = (false, false);
            }
        }
    }

    /// All go; nothing of the window may be lost then.
    fn end(mut self) {
        self.both(Machine::close);
        for key in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.whole.leave(key);
        }
        // What began in a flood was not looked at.
        while let Some(begun) = self.whole.take_begun() {
            self.whole.leave(begun.key);
        }
        assert_eq!(self.whole.held_bytes(), 0, "bytes of the window that nobody has");
    }
}

/// The streams that are woken; nobody else sleeps beside what it waits for.
fn settle(machine: &mut Machine, sessions: &BTreeMap<usize, Session>) -> Vec<usize> {
    let woken: Vec<usize> = std::iter::from_fn(|| machine.take_woken()).collect();
    for (key, session) in sessions.iter().filter(|(key, _)| !woken.contains(key)) {
        assert!(!session.awaits_part || machine.take_part(*key) == Part::Nothing, "{key} sleeps");
        let is_settled = session.awaits_room && !machine.has_unsent();
        assert!(!is_settled || machine.ask_for_room(*key) == Ok(false), "{key} sleeps");
    }
    woken
}
