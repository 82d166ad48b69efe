//! The connections that cost something and serve nobody yet, and how many of them there may be.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use crate::broker::ConnectorId;

/// Whose a connection is: a connector's, or nobody's as long as it has not authenticated.
type Whose = Option<ConnectorId>;

/// The connections that wait to be served. Where there are too many of one party, its oldest ends.
#[derive(Debug)]
pub(crate) struct Waiting {
    strangers_max: usize,
    tasks: Mutex<Tasks>,
}

#[derive(Debug, Default)]
struct Tasks {
    next_id: u64,
    /// Oldest first. No party is there without a connection.
    running: HashMap<Whose, BTreeMap<u64, AbortHandle>>,
}

/// One connection's place among those that wait; given up when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    waiting: Arc<Waiting>,
    whose: Whose,
    id: u64,
}

impl Waiting {
    /// Room for so many that have not authenticated.
    pub(crate) fn new(strangers_max: usize) -> Arc<Self> {
        Arc::new(Self {
            strangers_max,
            tasks: Mutex::default(),
        })
    }

    /// Runs a stranger's connection.
    pub(super) fn spawn<F>(self: &Arc<Self>, connection: impl FnOnce(Ticket) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = self.lock();
        let id = tasks.next_id;
        tasks.next_id += 1;
        let ticket = Ticket {
            waiting: Arc::clone(self),
            whose: None,
            id,
        };
        let handle = tokio::spawn(connection(ticket)).abort_handle();
        let oldest = tasks.add(None, id, handle, self.strangers_max);
        // Dropping it may drop its ticket, which takes the lock.
        drop(tasks);
        end(oldest);
    }

    /// Ends all of them.
    pub(super) fn abort_all(&self) {
        let tasks = self.lock();
        let all = tasks.running.values().flat_map(BTreeMap::values);
        all.for_each(AbortHandle::abort);
    }

    /// The connectors that have connections here: warm channels, most of all.
    pub(crate) fn connectors(&self) -> Vec<ConnectorId> {
        self.lock().running.keys().copied().flatten().collect()
    }

    /// Ends all of a connector.
    pub(crate) fn abort(&self, connector: ConnectorId) {
        let tasks = self.lock();
        let of_connector = tasks.running.get(&Some(connector));
        let all = of_connector.into_iter().flat_map(BTreeMap::values);
        all.for_each(AbortHandle::abort);
    }

    fn lock(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tasks {
    /// Takes a connection in; the one that is to end for it.
    fn add(
        &mut self,
        whose: Whose,
        id: u64,
        handle: AbortHandle,
        max: usize,
    ) -> Option<AbortHandle> {
        let party = self.running.entry(whose).or_default();
        party.insert(id, handle);
        if party.len() <= max {
            return None;
        }
        party.pop_first().map(|(_, oldest)| oldest)
    }

    fn remove(&mut self, whose: Whose, id: u64) -> Option<AbortHandle> {
        let party = self.running.get_mut(&whose)?;
        let handle = party.remove(&id);
        if party.is_empty() {
            self.running.remove(&whose);
        }
        handle
    }
}

impl Ticket {
    /// The connection has turned out to be this connector's, which has room of its own: nobody else can
    /// end its connections, and it can end nobody else's. It may have `max` of them.
    pub(crate) fn belongs_to(&mut self, connector: ConnectorId, max: usize) {
        let mut tasks = self.waiting.lock();
        let handle = tasks.remove(self.whose, self.id);
        self.whose = Some(connector);
        let oldest = handle.and_then(|handle| tasks.add(self.whose, self.id, handle, max));
        drop(tasks);
        end(oldest);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.waiting.lock().remove(self.whose, self.id);
    }
}

fn end(oldest: Option<AbortHandle>) {
    if let Some(oldest) = oldest {
        oldest.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    const STRANGERS_MAX: usize = 3;
    const OF_CONNECTOR_MAX: usize = 5;

    /// Connections that wait for ever; each says its number when it ends.
    struct Crowd {
        waiting: Arc<Waiting>,
        ended: UnboundedReceiver<usize>,
        spawn: Box<dyn Fn(usize, Whose)>,
    }

    struct Last(usize, tokio::sync::mpsc::UnboundedSender<usize>);

    impl Drop for Last {
        fn drop(&mut self) {
            let _ = self.1.send(self.0);
        }
    }

    fn crowd() -> Crowd {
        let waiting = Waiting::new(STRANGERS_MAX);
        let (sender, ended) = unbounded_channel();
        let host = Arc::clone(&waiting);
        let spawn = move |number, whose: Whose| {
            let last = Last(number, sender.clone());
            host.spawn(|mut ticket| async move {
                let _last = last;
                if let Some(connector) = whose {
                    ticket.belongs_to(connector, OF_CONNECTOR_MAX);
                }
                std::future::pending::<()>().await;
            });
        };
        Crowd {
            waiting,
            ended,
            spawn: Box::new(spawn),
        }
    }

    #[tokio::test]
    async fn one_stranger_too_many_ends_the_oldest_and_no_connectors() {
        let mut crowd = crowd();
        (crowd.spawn)(0, Some([1; 16]));
        // It is the connector's by now.
        tokio::task::yield_now().await;
        for number in 1..=STRANGERS_MAX + 2 {
            (crowd.spawn)(number, None);
        }
        assert_eq!(crowd.ended.recv().await, Some(1));
        assert_eq!(crowd.ended.recv().await, Some(2));
        tokio::task::yield_now().await;
        assert!(crowd.ended.try_recv().is_err());
        crowd.waiting.abort_all();
        for _ in 0..=STRANGERS_MAX {
            assert!(crowd.ended.recv().await.is_some());
        }
        assert!(crowd.waiting.lock().running.is_empty());
    }

    #[tokio::test]
    async fn one_channel_too_many_of_a_connector_ends_its_own_oldest() {
        let mut crowd = crowd();
        (crowd.spawn)(0, Some([1; 16]));
        tokio::task::yield_now().await;
        for number in 1..=OF_CONNECTOR_MAX + 1 {
            (crowd.spawn)(number, Some([2; 16]));
            tokio::task::yield_now().await;
        }
        assert_eq!(crowd.ended.recv().await, Some(1));
        tokio::task::yield_now().await;
        assert!(crowd.ended.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_connectors_connections_are_ended_together_and_nobody_elses() {
        let mut crowd = crowd();
        for (number, connector) in [(1, 1), (2, 2), (3, 1)] {
            (crowd.spawn)(number, Some([connector; 16]));
        }
        tokio::task::yield_now().await;
        let mut connectors = crowd.waiting.connectors();
        connectors.sort_unstable();
        assert_eq!(connectors, [[1; 16], [2; 16]]);
        crowd.waiting.abort([1; 16]);
        let mut ended = [crowd.ended.recv().await, crowd.ended.recv().await];
        ended.sort_unstable();
        assert_eq!(ended, [Some(1), Some(3)]);
        tokio::task::yield_now().await;
        assert!(crowd.ended.try_recv().is_err());
        assert_eq!(crowd.waiting.connectors(), [[2; 16]]);
    }
}
