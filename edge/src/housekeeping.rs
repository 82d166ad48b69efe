//! What an edge does by itself: follow the administrator's changes, note who is there, renew its
//! own certificate.

use std::sync::Arc;
use std::time::Duration;

use log::{error, warn};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::config::{SEEN_INTERVAL, STORE_POLL};
use crate::server::{Shared, stopped};
use crate::{Error, clock};

/// How often the edge looks at its own certificate, which is renewed ten days before its end.
const LEAF_CHECK: Duration = Duration::from_secs(3600);

/// Runs until `stop` says otherwise.
pub(crate) async fn run(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut changes = every(STORE_POLL);
    let mut seen = every(SEEN_INTERVAL);
    let mut leaf = every(LEAF_CHECK);
    let mut version = None;
    loop {
        let done = tokio::select! {
            _ = changes.tick() => follow_changes(&shared, &mut version).await,
            _ = seen.tick() => note_seen(&shared).await,
            _ = leaf.tick() => renew_leaf(&shared).await,
            () = stopped(&mut stop) => return,
        };
        if let Err(error) = done {
            error!("housekeeping: {error}; trying again");
        }
    }
}

/// Expels connectors that were revoked by a command, which is another process.
async fn follow_changes(shared: &Arc<Shared>, version: &mut Option<i64>) -> Result<(), Error> {
    let now = shared.store.run(|store| store.foreign_changes()).await?;
    if *version == Some(now) {
        return Ok(());
    }
    let present = shared.broker.present();
    let expelled = shared.store.run(move |store| {
        let mut expelled = Vec::new();
        for id in present {
            match store.identity_by_id(&id)? {
                Some(identity) if identity.active => {}
                Some(_) | None => expelled.push(id),
            }
        }
        Ok(expelled)
    });
    for id in expelled.await? {
        warn!(
            "connector {} is not allowed any more: closing its connections",
            crate::text::hex(&id)
        );
        shared.broker.expel(&id);
    }
    *version = Some(now);
    Ok(())
}

async fn note_seen(shared: &Arc<Shared>) -> Result<(), Error> {
    let connected = shared.broker.connected();
    if connected.is_empty() {
        return Ok(());
    }
    shared
        .store
        .run(move |store| store.set_seen(&connected, clock::unix_now()))
        .await
}

async fn renew_leaf(shared: &Arc<Shared>) -> Result<(), Error> {
    let shared = Arc::clone(shared);
    let store = Arc::clone(&shared.store);
    let renewed = store.run(move |store| {
        let leaf = shared
            .authority
            .leaf(&shared.data, store, clock::unix_now())?;
        shared.tls.replace_leaf(&leaf)
    });
    renewed.await
}

/// The first tick comes after one period: the start has just done what each tick does.
fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
