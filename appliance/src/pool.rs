//! Data channels that are dialled before anybody needs them.
//!
//! `reach the edge -> handshake -> Ready: warm -> Attach`, which is sent for the session that takes the
//! channel, and then the channel is the data plane's. How many there are, and when each ends, is decided
//! in [`demand`].

pub mod channel;
pub mod demand;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use connector_proto::time::Instant;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

pub use channel::{ChannelError, WarmChannel};
use channel::{Dialling, Step};
use demand::{Demand, Stock};

use crate::reach::Route;
use crate::waiting::Waiting;

/// The way that data channels go: the one that the control channel went.
#[derive(Clone, Debug)]
pub struct Way {
    /// The edge, and the proxy in front of it.
    pub route: Route,
    /// Whom the control channel's TCP reached: the edge, or the proxy.
    pub address: SocketAddr,
    /// The edge's name, for TLS.
    pub name: ServerName<'static>,
    /// TLS of data channels.
    pub config: Arc<ClientConfig>,
    /// Which control channel that is.
    pub connection: u64,
}

/// The warm channels, and those that are to be.
#[derive(Debug)]
pub struct Pool {
    /// While there is none, nothing is dialled.
    way: Option<Way>,
    demand: Demand,
    dialling: HashMap<u64, Dialling>,
    /// By token, and so the one that was dialled first before the others.
    warm: BTreeMap<u64, Warm>,
    last_error: Option<ChannelError>,
}

#[derive(Debug)]
struct Warm {
    channel: WarmChannel,
    since: Instant,
    retired: Instant,
}

impl Pool {
    /// An empty one. `seed` spreads delays.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            way: None,
            demand: Demand::new(seed),
            dialling: HashMap::new(),
            warm: BTreeMap::new(),
            last_error: None,
        }
    }

    /// Whether it dials, over this connection and with this configuration.
    #[must_use]
    pub fn is_open_for(&self, connection: u64, config: &Arc<ClientConfig>) -> bool {
        let way = self.way.as_ref();
        way.is_some_and(|way| way.connection == connection && Arc::ptr_eq(&way.config, config))
    }

    /// Begins to dial, by this way. What came by another one is closed.
    pub fn open(&mut self, way: Way, waiting: &mut Waiting) {
        self.close(waiting);
        self.demand.start_over();
        self.way = Some(way);
    }

    /// Dials no more, and lets go of what there is.
    pub fn close(&mut self, waiting: &mut Waiting) {
        self.way = None;
        self.last_error = None;
        for (token, dialling) in self.dialling.drain() {
            waiting.release(token);
            drop(dialling);
        }
        for (token, warm) in std::mem::take(&mut self.warm) {
            waiting.release(token);
            drop(warm);
        }
    }

    /// Lets go of what there is without another byte, as if the machine had lost power.
    pub fn abandon(&mut self, waiting: &mut Waiting) {
        for (token, dialling) in self.dialling.drain() {
            waiting.release(token);
            dialling.abandon();
        }
        for (token, warm) in std::mem::take(&mut self.warm) {
            waiting.release(token);
            warm.channel.abandon();
        }
        self.close(waiting);
    }

    /// Somebody wants a channel.
    pub fn arrived(&mut self, now: Instant) {
        self.demand.arrived(now);
    }

    /// A warm channel, if there is one; it is nobody else's then.
    pub fn take(&mut self, now: Instant, waiting: &mut Waiting) -> Option<WarmChannel> {
        while let Some((token, warm)) = self.warm.pop_first() {
            waiting.release(token);
            // Its end may have come within this turn.
            if warm.channel.is_silent() {
                self.demand.proven();
                return Some(warm.channel);
            }
            self.note_lost(now, warm.since);
        }
        None
    }

    /// Goes on with those that are ready or due; whether something became of one that was dialled.
    pub fn turn(&mut self, now: Instant, ready: &[u64], waiting: &mut Waiting) -> bool {
        let mut is_news = false;
        for token in ready {
            if let Some(dialling) = self.dialling.remove(token) {
                let (began, step) = (dialling.began(), dialling.turn(now));
                is_news |= !matches!(step, Step::Pending(_));
                self.take_step(now, *token, began, step, waiting);
            } else if let Some(warm) = self.warm.remove(token) {
                if now >= warm.retired {
                    self.demand.proven();
                    warm.channel.retire();
                } else {
                    // Nothing is to be said on it, so it is over.
                    self.note_lost(now, warm.since);
                }
            }
        }
        is_news
    }

    /// Dials as many as are wanted by now: `queued` sessions wait for one, and there is `room` for so
    /// many more. When to look again.
    pub fn dial(
        &mut self,
        now: Instant,
        queued: usize,
        room: usize,
        waiting: &mut Waiting,
    ) -> Option<Instant> {
        let way = self.way.clone()?;
        loop {
            let stock = Stock {
                warm: self.warm.len(),
                dialling: self.dialling.len(),
                queued,
                room,
            };
            let dials = self.demand.dials(now, stock);
            if dials == 0 {
                return self.demand.poll_timeout();
            }
            // What fails at once changes how many are dialled.
            for _ in 0..dials {
                let token = waiting.token();
                let step = Dialling::start(now, &way);
                let is_over = matches!(step, Step::Failed(_));
                self.take_step(now, token, now, step, waiting);
                if is_over {
                    break;
                }
            }
        }
    }

    /// Why the last channel did not come about, unless one has since.
    #[must_use]
    pub const fn last_error(&self) -> Option<&ChannelError> {
        self.last_error.as_ref()
    }

    fn take_step(
        &mut self,
        now: Instant,
        token: u64,
        began: Instant,
        step: Step,
        waiting: &mut Waiting,
    ) {
        match step {
            Step::Pending(dialling) => {
                waiting.set(token, |watch| dialling.watch(watch));
                self.dialling.insert(token, dialling);
            }
            Step::Warm(channel) => {
                let retired = self.demand.warmed(now, began);
                waiting.set(token, |watch| {
                    channel.watch(watch);
                    watch.until(Some(retired));
                });
                let since = now;
                self.warm.insert(
                    token,
                    Warm {
                        channel,
                        since,
                        retired,
                    },
                );
                self.last_error = None;
            }
            Step::Failed(error) => {
                if let Some(delay) = self.demand.failed(now, began) {
                    let delay = delay.as_secs_f32();
                    log::warn!("no data channel: {error}; dialled again in {delay:.1} s");
                }
                self.last_error = Some(error);
            }
        }
    }

    fn note_lost(&mut self, now: Instant, since: Instant) {
        if let Some(delay) = self.demand.lost(now, since) {
            let delay = delay.as_secs_f32();
            log::warn!("the edge ended a data channel that waited; dialled again in {delay:.1} s");
        }
    }
}
