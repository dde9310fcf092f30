//! The thread of a store in a file: takes what waits, commits it as one, answers.
//!
//! Self-clocking: while one batch is being synced the next one gathers, so nobody has to choose how long to wait.

use crate::News;
use crate::StoreError;
use crate::command::{Command, Reply};
use crate::sqlite::Engine;
use logic::model::{Revision, Txn};
use tokio::sync::{mpsc, watch};

/// Commands of one batch. 256: a sync costs as much as some hundred small writes, more would only add delay.
const BATCH_MAX: usize = 256;

type Waiting = (Txn, Reply<Revision>);

/// Serves until every handle is dropped. `news` tells watchers that there is news.
pub fn run(mut engine: Engine, mut inbox: mpsc::Receiver<Command>, news: &watch::Sender<News>) {
    let mut batch = Vec::new();
    while let Some(first) = inbox.blocking_recv() {
        batch.push(first);
        while batch.len() < BATCH_MAX
            && let Ok(next) = inbox.try_recv()
        {
            batch.push(next);
        }
        let mut commits: Vec<Waiting> = Vec::new();
        let mut questions = Vec::new();
        for command in batch.drain(..) {
            match command {
                Command::Commit { txn, reply } => commits.push((txn, reply)),
                question @ (Command::Read { .. } | Command::Changes { .. }) => questions.push(question),
            }
        }
        commit(&mut engine, commits);
        // Not if nothing is new: that would wake every watcher.
        news.send_if_modified(|told| {
            std::mem::replace(&mut told.revision, engine.revision()) != engine.revision()
        });
        questions.into_iter().for_each(|question| answer(&mut engine, question));
    }
}

/// Whoever asked may be gone by now; that is no concern of ours.
fn answer(engine: &mut Engine, question: Command) {
    match question {
        Command::Read { read, reply } => drop(reply.send(engine.read(&read))),
        Command::Changes { prefix, since, reply } => drop(reply.send(engine.changes(&prefix, since))),
        Command::Commit { .. } => unreachable!("commits were taken out before"),
    }
}

fn commit(engine: &mut Engine, waiting: Vec<Waiting>) {
    if waiting.is_empty() {
        return;
    }
    let txns: Vec<&Txn> = waiting.iter().map(|(txn, _)| txn).collect();
    let is_one = txns.len() == 1;
    match engine.commit_all(&txns) {
        Ok(results) => {
            for ((_, reply), result) in waiting.into_iter().zip(results) {
                drop(reply.send(result.map_err(StoreError::Refused)));
            }
        }
        Err(error) if is_one || matches!(error, StoreError::Unknown { .. }) => {
            let place = engine.place().to_owned();
            let mut errors = std::iter::once(error).chain(std::iter::repeat_with(|| StoreError::Unknown {
                place: place.clone(),
                source: "it was written together with others".into(),
            }));
            for (_, reply) in waiting {
                drop(reply.send(Err(errors.next().expect("it repeats for ever"))));
            }
        }
        // One that is too large must not take the others with it.
        Err(_) => waiting.into_iter().for_each(|one| commit(engine, vec![one])),
    }
}
