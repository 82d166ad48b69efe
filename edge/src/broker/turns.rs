//! One greeting of a connector at a time: what the first one decides, the second one sees.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::ConnectorId;

/// The connectors that are greeting.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<ConnectorId, Arc<AsyncMutex<()>>>>);

/// A greeting's turn; given up when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    id: ConnectorId,
    /// An option so that it can go before the entry of the table is looked at.
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits until no other greeting of this connector is under way.
    pub(crate) async fn take(self: &Arc<Self>, id: ConnectorId) -> Turn {
        let mut turn = Turn {
            turns: Arc::clone(self),
            id,
            guard: None,
        };
        let mutex = Arc::clone(self.lock().entry(id).or_default());
        turn.guard = Some(mutex.lock_owned().await);
        turn
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectorId, Arc<AsyncMutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    /// The last one takes the entry along. Whoever waits holds a share of it.
    fn drop(&mut self) {
        let mut turns = self.turns.lock();
        self.guard = None;
        if let Some(mutex) = turns.get(&self.id)
            && Arc::strong_count(mutex) == 1
        {
            turns.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn a_second_greeting_of_a_connector_waits_for_the_first_and_others_do_not() {
        let turns = Arc::new(Turns::default());
        let first = turns.take([1; 16]).await;
        let other = turns.take([2; 16]).await;
        let waiting = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.take([1; 16]).await }
        });
        let impatient = timeout(Duration::from_millis(20), turns.take([1; 16])).await;
        assert!(impatient.is_err());
        assert!(!waiting.is_finished());
        drop(first);
        let second = waiting.await.unwrap();
        drop((second, other));
        assert!(turns.lock().is_empty());
    }
}
