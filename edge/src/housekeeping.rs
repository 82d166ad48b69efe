//! What an edge does by itself: follow the administrator's changes, judge again who is there, renew
//! its own certificate.

use std::sync::Arc;
use std::time::Duration;

use log::{error, info, warn};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::authorise::{Denied, Endpoint, authorise};
use crate::broker::{Command, ConnectorId, Tunnel};
use crate::config::{SEEN_INTERVAL, STORE_POLL};
use crate::server::{Shared, stopped};
use crate::store::Store;
use crate::text::hex;
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
            _ = seen.tick() => look_around(&shared).await,
            _ = leaf.tick() => renew_leaf(&shared).await,
            () = stopped(&mut stop) => return,
        };
        if let Err(error) = done {
            error!("housekeeping: {error}; trying again");
        }
    }
}

/// Follows what a command has done, which is another process.
async fn follow_changes(shared: &Arc<Shared>, version: &mut Option<i64>) -> Result<(), Error> {
    let now = shared.store.run(|store| store.foreign_changes()).await?;
    if *version == Some(now) {
        return Ok(());
    }
    judge_again(shared).await?;
    follow_roots(shared).await?;
    *version = Some(now);
    Ok(())
}

/// Time passes: certificates end. And whoever is there was seen.
async fn look_around(shared: &Arc<Shared>) -> Result<(), Error> {
    judge_again(shared).await?;
    let tunnels = shared.broker.tunnels_up();
    if tunnels.is_empty() {
        return Ok(());
    }
    let connected: Vec<_> = tunnels.iter().map(|tunnel| tunnel.identity.id).collect();
    let seen = move |store: &Store| store.set_seen(&connected, clock::unix_now());
    shared.store.run(seen).await
}

/// Ends what is not allowed any more. A control channel is judged by its own certificate, a session or a
/// warm channel by its connector's newest: a renewal ends none.
async fn judge_again(shared: &Arc<Shared>) -> Result<(), Error> {
    let tunnels = shared.broker.tunnels_up();
    let mut carrying = [shared.broker.carrying(), shared.waiting.connectors()].concat();
    carrying.sort_unstable();
    carrying.dedup();
    let judged = shared.store.run(move |store| {
        Ok((
            denied_tunnels(store, tunnels)?,
            denied_carriers(store, carrying)?,
        ))
    });
    let (tunnels, carriers) = judged.await?;
    for (tunnel, denied) in tunnels {
        warn!("closing the channel of {}: {denied}", tunnel.identity.name);
        tunnel.command(Command::Close(denied.close_code()));
    }
    for (id, denied) in carriers {
        warn!(
            "ending the data channels of connector {}: {denied}",
            hex(&id)
        );
        shared.waiting.abort(id);
        shared.broker.end_sessions(&id);
    }
    Ok(())
}

fn denied_tunnels(
    store: &Store,
    tunnels: Vec<Arc<Tunnel>>,
) -> Result<Vec<(Arc<Tunnel>, Denied)>, Error> {
    let mut all = Vec::new();
    for tunnel in tunnels {
        let standing = store.holder(&tunnel.spki)?.standing;
        if let Err(denied) = authorise(Endpoint::Control, &standing, clock::unix_now()) {
            all.push((tunnel, denied));
        }
    }
    Ok(all)
}

fn denied_carriers(
    store: &Store,
    carrying: Vec<ConnectorId>,
) -> Result<Vec<(ConnectorId, Denied)>, Error> {
    let mut all = Vec::new();
    for id in carrying {
        let standing = store.standing_of(&id)?;
        if let Err(denied) = authorise(Endpoint::Data, &standing, clock::unix_now()) {
            all.push((id, denied));
        }
    }
    Ok(all)
}

/// Takes other roots over: for its own certificate, for those of clients, and in what connectors are
/// told to trust.
async fn follow_roots(shared: &Arc<Shared>) -> Result<(), Error> {
    let for_store = Arc::clone(shared);
    let refreshed = shared
        .store
        .run(move |store| for_store.authority.refresh(&for_store.data, store));
    refreshed.await?;
    let roots = shared.authority.roots();
    if shared.tls.accepts(&roots) {
        return Ok(());
    }
    info!("the roots have changed: telling every connector");
    renew_leaf(shared).await?;
    shared.tls.replace_roots(&roots)?;
    for tunnel in shared.broker.tunnels_up() {
        tunnel.command(Command::Trust);
    }
    Ok(())
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
