//! Audit lines of decisions that change nothing else: those that wait at the same time are committed
//! together.
//!
//! A commit waits for the disk, and while it does more lines come. Each is on the disk when its writer
//! goes on, as if it had been alone: only the number of commits is smaller.

use std::sync::Arc;
use std::time::Duration;

use connector_proto::time::UnixSeconds;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Store;
use super::audit::{Entry, append};
use super::writer::Writer;
use crate::Error;

/// How long a line waits for company that nobody waits for: about as long as a slow disk takes for the
/// commit that it is spared.
const COMPANY_MAX: Duration = Duration::from_millis(20);

/// A line that is to be written, and who waits for it.
#[derive(Debug)]
pub(super) struct Note {
    store: Arc<Store>,
    at: UnixSeconds,
    entry: Entry,
    written: oneshot::Sender<Result<(), Error>>,
}

impl Store {
    /// Writes down a decision that changes nothing in the store: begins at once, and what it returns is
    /// ready when that is on the disk.
    ///
    /// # Errors
    /// [`Error::Unwritten`]; the decision must then not be acted on.
    pub fn note(
        self: &Arc<Self>,
        at: UnixSeconds,
        entry: Entry,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let outcome = self.add_note(at, entry, true);
        async move { outcome?.await.unwrap_or_else(|_| Err(unwritten("stopped"))) }
    }

    /// Writes down what has happened, for which nobody waits: with the next line that is written, or after
    /// [`COMPANY_MAX`]. Returns when that is on the disk.
    ///
    /// # Errors
    /// [`Error::Unwritten`].
    pub async fn note_in_company(
        self: &Arc<Self>,
        at: UnixSeconds,
        entry: Entry,
    ) -> Result<(), Error> {
        let mut outcome = self.add_note(at, entry, false)?;
        // Also if this is given up: the line stays.
        let mut call = Call(Some(&self.writer));
        let written = match timeout(COMPANY_MAX, &mut outcome).await {
            Ok(written) => {
                call.0 = None;
                written
            }
            Err(_) => {
                drop(call);
                outcome.await
            }
        };
        written.unwrap_or_else(|_| Err(unwritten("stopped")))
    }

    fn add_note(
        self: &Arc<Self>,
        at: UnixSeconds,
        entry: Entry,
        is_urgent: bool,
    ) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
        let (written, outcome) = oneshot::channel();
        let store = Arc::clone(self);
        let note = Note {
            store,
            at,
            entry,
            written,
        };
        self.writer.add(note, is_urgent)?;
        Ok(outcome)
    }
}

/// Has what waits be written when it is dropped.
struct Call<'a>(Option<&'a Writer>);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(writer) = self.0 {
            writer.call();
        }
    }
}

impl Note {
    /// Writes one batch, all of the same store, and answers those who wait for it.
    pub(super) fn write(batch: Vec<Self>) {
        let Some(store) = batch.first().map(|note| Arc::clone(&note.store)) else {
            return;
        };
        let lines = batch.iter().map(|note| (note.at, &note.entry));
        let done = store.transact(|transaction| append(transaction, &store.audit_key, lines));
        let problem = done.err();
        for note in batch {
            let problem = problem.as_ref().map(unwritten);
            // Whoever waited may have gone.
            let _ = note.written.send(problem.map_or(Ok(()), Err));
        }
    }
}

fn unwritten(cause: impl ToString) -> Error {
    Error::Unwritten {
        cause: cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{NOW, Scratch};
    use std::pin::Pin;
    use std::task::Poll;
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
        assert_eq!(store.writer.waiting(), 0);
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

    #[tokio::test]
    async fn a_line_for_which_nobody_waits_is_written_with_the_next_one_and_before_it() {
        let scratch = Scratch::new();
        let store = Arc::new(scratch.again());
        let (first, second) = (Entry::new("first"), Entry::new("second"));
        let mut first = Box::pin(store.note_in_company(NOW, first));
        assert!(is_pending(&mut first).await);
        store.note(NOW, second).await.unwrap();
        let events = scratch.store.audit_rows(9).unwrap();
        assert_eq!(
            [&events[0]["event"], &events[1]["event"]],
            ["first", "second"]
        );
        first.await.unwrap();
    }

    #[tokio::test]
    async fn a_line_for_which_nobody_waits_and_that_stays_alone_is_written_all_the_same() {
        let scratch = Scratch::new();
        let store = Arc::new(scratch.again());
        store
            .note_in_company(NOW, Entry::new("test"))
            .await
            .unwrap();
        assert_eq!(scratch.store.verify_audit().unwrap().rows, 1);
    }

    #[tokio::test]
    async fn a_line_that_is_given_up_is_written_all_the_same() {
        let scratch = Scratch::new();
        let store = Arc::new(scratch.again());
        let mut line = Box::pin(store.note_in_company(NOW, Entry::new("test")));
        assert!(is_pending(&mut line).await);
        drop(line);
        // Behind it.
        store.run(|_| Ok(())).await.unwrap();
        assert_eq!(scratch.store.verify_audit().unwrap().rows, 1);
    }

    /// Has the line be put down; whether it is not written yet.
    async fn is_pending(line: &mut (impl Future + Unpin)) -> bool {
        std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *line).poll(cx).is_pending())).await
    }
}
