//! Audit lines of decisions that change nothing else: those that wait at the same time are committed
//! together.
//!
//! A commit waits for the disk, and while it does more lines come. Each is on the disk when its writer
//! goes on, as if it had been alone: only the number of commits is smaller.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use connector_proto::time::UnixSeconds;
use tokio::sync::oneshot;

use super::Store;
use super::audit::Entry;
use crate::Error;

/// Lines of one commit: more would keep others from the store for longer than a commit takes.
const BATCH_MAX: usize = 256;

/// The lines that are to be written. Each belongs to a user's connection, of which there are only so many.
#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// Oldest first.
    notes: Vec<Note>,
    /// Whether a task writes them.
    is_served: bool,
}

#[derive(Debug)]
struct Note {
    at: UnixSeconds,
    entry: Entry,
    written: oneshot::Sender<Result<(), Error>>,
}

impl Store {
    /// Writes down a decision that changes nothing in the store; returns when that is on the disk.
    ///
    /// # Errors
    /// [`Error::Unwritten`]; the decision must then not be acted on.
    pub async fn note(self: &Arc<Self>, at: UnixSeconds, entry: Entry) -> Result<(), Error> {
        let (written, outcome) = oneshot::channel();
        if self.notes.add(Note { at, entry, written }) {
            // A task of its own: whoever waits may go away, and others wait with him.
            tokio::spawn(write_all(Arc::clone(self)));
        }
        outcome.await.unwrap_or_else(|_| Err(unwritten("stopped")))
    }

    /// Writes one batch, and answers those who wait for it.
    fn write_batch(&self) {
        let batch = self.notes.take(BATCH_MAX);
        let done = self.transact(|transaction| {
            for note in &batch {
                self.write_down(transaction, note.at, &note.entry)?;
            }
            Ok(())
        });
        answer(batch, done.as_ref().err());
    }
}

impl Notes {
    /// Whether there was none before: it needs a task.
    fn add(&self, note: Note) -> bool {
        let mut waiting = self.lock();
        waiting.notes.push(note);
        !mem::replace(&mut waiting.is_served, true)
    }

    fn take(&self, max: usize) -> Vec<Note> {
        let mut waiting = self.lock();
        let len = waiting.notes.len().min(max);
        waiting.notes.drain(..len).collect()
    }

    /// Whether there are more; if not, the next one needs a task again.
    fn are_left(&self) -> bool {
        let mut waiting = self.lock();
        waiting.is_served = !waiting.notes.is_empty();
        waiting.is_served
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a turn of the store for each batch, so that everything else has its turns in between.
async fn write_all(store: Arc<Store>) {
    loop {
        let turn = store.run(|store| {
            store.write_batch();
            Ok(())
        });
        if let Err(error) = turn.await {
            // Its turn did not come: those who wait are told, and whoever comes next tries again.
            answer(store.notes.take(usize::MAX), Some(&error));
        }
        if !store.notes.are_left() {
            return;
        }
    }
}

fn answer(notes: Vec<Note>, problem: Option<&Error>) {
    for note in notes {
        let outcome = problem.map_or(Ok(()), |problem| Err(unwritten(&problem.to_string())));
        // Whoever waited may have gone.
        let _ = note.written.send(outcome);
    }
}

fn unwritten(cause: &str) -> Error {
    Error::Unwritten {
        cause: cause.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{NOW, Scratch};
    use tokio::task::JoinSet;

    #[tokio::test(flavor = "multi_thread")]
    async fn ten_thousand_lines_at_once_are_all_in_the_chain() {
        let scratch = Scratch::new();
        let store = Arc::new(scratch.again());
        let mut writing = JoinSet::new();
        for number in 0..10_000 {
            let store = Arc::clone(&store);
            let entry = Entry::new("test").with("number", number);
            writing.spawn(async move { store.note(NOW, entry).await });
        }
        for written in writing.join_all().await {
            written.unwrap();
        }
        assert_eq!(scratch.store.verify_audit().unwrap().rows, 10_000);
        assert!(store.notes.lock().notes.is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_line_is_on_the_disk_when_its_writer_goes_on() {
        let scratch = Scratch::new();
        let store = Arc::new(scratch.again());
        for number in 1..=20 {
            let entry = Entry::new("test").with("number", number);
            store.note(NOW, entry).await.unwrap();
            assert_eq!(scratch.store.verify_audit().unwrap().rows, number);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn lines_that_cannot_be_written_are_said_to_be_and_the_next_one_is_tried_again() {
        let scratch = Scratch::new();
        let store = Arc::new(scratch.again());
        let read_only = |is: bool| {
            let connection = store.lock();
            connection.pragma_update(None, "query_only", is).unwrap();
        };
        read_only(true);
        let mut writing = JoinSet::new();
        for _ in 0..100 {
            let store = Arc::clone(&store);
            writing.spawn(async move { store.note(NOW, Entry::new("test")).await });
        }
        for refused in writing.join_all().await {
            assert!(refused.unwrap_err().to_string().contains("readonly"));
        }
        read_only(false);
        store.note(NOW, Entry::new("test")).await.unwrap();
        assert_eq!(scratch.store.verify_audit().unwrap().rows, 1);
    }
}
