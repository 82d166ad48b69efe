//! The one thread that changes the store while the edge serves: one operation after the other, in the order
//! in which they came, and between two of them all the audit lines that wait.
//!
//! A commit waits for the disk, so whoever asks for one is no thread meanwhile. The thread is the same one
//! all the time: nothing has to be found, started or handed on for what takes some ten microseconds.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Store;
use super::notes::Note;
use crate::Error;

/// How long one operation waits for those before it.
pub(super) const TURN_MAX: Duration = Duration::from_secs(4);

/// Lines of one commit: more would keep others from the store for longer than a commit takes.
const BATCH_MAX: usize = 256;

/// The thread, from the first thing that it is asked for to the end of its store.
#[derive(Debug, Default)]
pub(super) struct Writer(OnceLock<Arc<Desk>>);

/// Where what is to be done waits for the thread.
#[derive(Debug, Default)]
struct Desk {
    tray: Mutex<Tray>,
    called: Condvar,
}

/// Something to do with the store; it answers whoever waits for it.
type Operation = Box<dyn FnOnce() + Send>;

/// Notes belong to users' connections and operations to peers, of whom there are only so many.
#[derive(Default)]
struct Tray {
    /// Oldest first, as are the notes.
    operations: VecDeque<Operation>,
    notes: Vec<Note>,
    /// Whether any of them is not to wait.
    is_urgent: bool,
    /// Whether the thread sleeps.
    is_idle: bool,
    /// The store is gone.
    is_over: bool,
}

impl fmt::Debug for Tray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (operations, notes) = (self.operations.len(), self.notes.len());
        write!(f, "Tray({operations} operations, {notes} notes)")
    }
}

impl Store {
    /// Runs `work` with the store on the thread that may block. However many wait, none does on a thread.
    ///
    /// # Errors
    /// What `work` says; [`Error::StoreBusy`] if its turn did not come in time; [`Error::DataDir`]
    /// if it panicked; [`Error::Io`] if there is no thread.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (done, mut outcome) = oneshot::channel();
        // Whoever takes it first decides whether it is done or given up.
        let turn = Arc::new(AtomicBool::new(false));
        let (store, its_turn) = (Arc::clone(self), Arc::clone(&turn));
        let operation = move || {
            if !done.is_closed() && !its_turn.swap(true, Ordering::AcqRel) {
                // Whoever waited may have gone meanwhile.
                let _ = done.send(work(&store));
            }
        };
        let add = |tray: &mut Tray| tray.operations.push_back(Box::new(operation));
        self.writer.desk()?.add(true, add);
        let panicked = |_| Error::DataDir {
            problem: "a store operation panicked".into(),
        };
        match timeout(TURN_MAX, &mut outcome).await {
            Ok(outcome) => outcome.map_err(panicked)?,
            Err(_) if !turn.swap(true, Ordering::AcqRel) => {
                Err(Error::StoreBusy { waited: TURN_MAX })
            }
            Err(_) => outcome.await.map_err(panicked)?,
        }
    }
}

impl Writer {
    /// Puts a note on the desk. One that is not urgent is written with the next thing that is, or after
    /// [`Self::call`].
    pub(super) fn add(&self, note: Note, is_urgent: bool) -> Result<(), Error> {
        self.desk()?.add(is_urgent, |tray| tray.notes.push(note));
        Ok(())
    }

    /// Has all that waits be written.
    pub(super) fn call(&self) {
        if let Some(desk) = self.0.get() {
            desk.add(true, |_| ());
        }
    }

    fn desk(&self) -> Result<&Desk, Error> {
        if let Some(desk) = self.0.get() {
            return Ok(desk);
        }
        let desk = Arc::<Desk>::default();
        let its = Arc::clone(&desk);
        thread::Builder::new()
            .name("store".into())
            .spawn(move || its.work())
            .map_err(Error::io("starting the store's thread"))?;
        if let Err(second) = self.0.set(desk) {
            second.close();
        }
        self.desk()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Nothing waits any more: whatever did has held the store.
        if let Some(desk) = self.0.get() {
            desk.close();
        }
    }
}

impl Desk {
    fn add(&self, is_urgent: bool, add: impl FnOnce(&mut Tray)) {
        let mut tray = self.tray();
        add(&mut tray);
        tray.is_urgent |= is_urgent;
        let wakes = is_urgent && mem::take(&mut tray.is_idle);
        drop(tray);
        if wakes {
            self.called.notify_one();
        }
    }

    fn close(&self) {
        self.tray().is_over = true;
        self.called.notify_one();
    }

    fn work(&self) {
        while let Some((notes, operation)) = self.next() {
            // A panic has rolled its transaction back, and whoever waited hears of it.
            drop(catch_unwind(AssertUnwindSafe(|| Note::write(notes))));
            if let Some(operation) = operation {
                drop(catch_unwind(AssertUnwindSafe(operation)));
            }
        }
    }

    /// The next batch of notes and the next operation, when there is anything to do: both have their
    /// turns, however many there are of the other. `None` at the end.
    fn next(&self) -> Option<(Vec<Note>, Option<Operation>)> {
        let mut tray = self.tray();
        while !tray.is_urgent {
            if tray.is_over {
                return None;
            }
            tray.is_idle = true;
            let woken = self.called.wait(tray);
            tray = woken.unwrap_or_else(PoisonError::into_inner);
        }
        let len = tray.notes.len().min(BATCH_MAX);
        let notes = tray.notes.drain(..len).collect();
        let operation = tray.operations.pop_front();
        tray.is_urgent = !tray.notes.is_empty() || !tray.operations.is_empty();
        Some((notes, operation))
    }

    fn tray(&self) -> MutexGuard<'_, Tray> {
        self.tray.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Writer {
    /// How many notes wait.
    pub(super) fn waiting(&self) -> usize {
        self.0.get().map_or(0, |desk| desk.tray().notes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::audit::Entry;
    use crate::store::tests::{NOW, audit_key};
    use std::sync::mpsc;

    #[tokio::test]
    async fn an_operation_that_panics_says_so_and_the_next_one_is_done() {
        let store = Arc::new(Store::in_memory(audit_key()).unwrap());
        let panicked = store.run(|_| -> Result<(), Error> { panic!("on purpose") });
        let error = panicked.await.unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
        assert_eq!(store.run(|_| Ok(7)).await.unwrap(), 7);
        store.note(NOW, Entry::new("test")).await.unwrap();
    }

    #[tokio::test]
    async fn an_operation_that_nobody_waits_for_any_more_is_not_begun() {
        let store = Arc::new(Store::in_memory(audit_key()).unwrap());
        let (go, wait) = mpsc::channel::<()>();
        let first = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.run(move |_| Ok(wait.recv().is_ok())).await }
        });
        let (begun, has_begun) = mpsc::channel::<()>();
        let second = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.run(move |_| Ok(begun.send(()).is_ok())).await }
        });
        tokio::task::yield_now().await;
        second.abort();
        assert!(second.await.unwrap_err().is_cancelled());
        go.send(()).unwrap();
        assert!(first.await.unwrap().unwrap());
        // Behind where it would have been.
        store.run(|_| Ok(())).await.unwrap();
        assert!(has_begun.try_recv().is_err());
    }

    #[tokio::test]
    async fn the_thread_ends_with_its_store() {
        let store = Arc::new(Store::in_memory(audit_key()).unwrap());
        store.run(|_| Ok(())).await.unwrap();
        let desk = Arc::downgrade(store.writer.0.get().unwrap());
        drop(store);
        while desk.strong_count() > 0 {
            thread::yield_now();
        }
    }
}
