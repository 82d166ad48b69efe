//! Decides which service runs, when one is started again, and how the machine goes down.
//!
//! Pure: the caller reports what happened with the time, carries out what [`Supervisor::poll_action`]
//! returns until it returns `None`, and calls [`Supervisor::handle_timeout`] at
//! [`Supervisor::poll_timeout`]. A service that dies is started again, for ever; the delay doubles
//! and is forgotten after a stable minute.

use std::collections::VecDeque;
use std::time::Duration;

use connector_proto::time::Instant;

use crate::service::{Condition, Service};

/// Delay before the first restart.
pub const RESTART_MIN: Duration = Duration::from_millis(100);
/// Longest delay before a restart.
pub const RESTART_MAX: Duration = Duration::from_secs(30);
/// A service that ran this long has recovered: its next restart waits [`RESTART_MIN`] again.
pub const STABLE_AFTER: Duration = Duration::from_secs(60);
/// How long the connector may take to tell the edge and to end its sessions.
pub const CONNECTOR_STOP_MAX: Duration = Duration::from_secs(5);
/// How long the other services may take to end.
pub const SERVICE_STOP_MAX: Duration = Duration::from_secs(1);
/// From the request to the end, whatever hangs.
pub const SHUTDOWN_MAX: Duration = Duration::from_secs(20);

/// What the caller has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start it. If that fails, report [`Supervisor::handle_exited`].
    Spawn(Service),
    /// It ended and is started again after this delay, or once its conditions hold.
    ReportDeath {
        /// Which.
        service: Service,
        /// After which delay.
        restart_in: Duration,
    },
    /// Tell everybody that the machine goes down.
    AnnounceShutdown {
        /// To be started again.
        restart: bool,
    },
    /// Ask it to end.
    Stop(Service),
    /// End it.
    Kill(Service),
    /// Write what is in memory to the disks, then report [`Supervisor::handle_synced`].
    Sync,
    /// Switch off, or start again.
    Finish {
        /// To be started again.
        restart: bool,
    },
}

/// The services and the machine's way down.
#[derive(Debug)]
pub struct Supervisor {
    services: [State; Service::ALL.len()],
    conditions: Vec<Condition>,
    way_down: Option<WayDown>,
    actions: VecDeque<Action>,
    jitter: u64,
}

/// Where one service is.
#[derive(Clone, Copy, Debug)]
struct State {
    place: Place,
    /// Ends in a row without a stable minute in between.
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Waits for its conditions.
    Gated,
    /// Waits until this instant.
    Delayed { until: Instant },
    /// Runs since this instant.
    Running { since: Instant },
}

/// The steps down, in order.
#[derive(Clone, Copy, Debug)]
struct WayDown {
    restart: bool,
    began: Instant,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The connector was asked to end, and so were `netd` and `timed`.
    ConnectorStops { until: Instant },
    /// The rest was asked to end.
    RestStops { until: Instant },
    /// Whatever was left was killed; the disks are being written.
    Syncs,
    /// Nothing is left to do.
    Finished,
}

impl Supervisor {
    /// A supervisor whose jitter comes from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            services: [State {
                place: Place::Gated,
                failures: 0,
            }; Service::ALL.len()],
            conditions: Vec::new(),
            way_down: None,
            actions: VecDeque::new(),
            jitter: seed,
        }
    }

    /// Starts what has no conditions.
    pub fn start(&mut self, now: Instant) {
        self.spawn_what_is_due(now);
    }

    /// `condition` holds from now on.
    pub fn handle_condition(&mut self, now: Instant, condition: Condition) {
        if !self.conditions.contains(&condition) {
            self.conditions.push(condition);
        }
        self.spawn_what_is_due(now);
    }

    /// `condition` does not hold any more. Running services go on.
    pub fn handle_condition_lost(&mut self, condition: Condition) {
        self.conditions.retain(|&held| held != condition);
    }

    /// `service` ended, or could not be started.
    pub fn handle_exited(&mut self, now: Instant, service: Service) {
        let Place::Running { since } = self.state(service).place else {
            return; // a second report of the same end
        };
        if self.way_down.is_some() {
            self.state_mut(service).place = Place::Gated;
            self.step_down(now);
            return;
        }
        if now.since(since) >= STABLE_AFTER {
            self.state_mut(service).failures = 0;
        }
        let restart_in = self.restart_delay(self.state(service).failures);
        let state = self.state_mut(service);
        state.failures = state.failures.saturating_add(1);
        state.place = Place::Delayed {
            until: now + restart_in,
        };
        self.actions.push_back(Action::ReportDeath {
            service,
            restart_in,
        });
    }

    /// Somebody pressed the power button or asked for a restart. The first request counts.
    pub fn handle_shutdown(&mut self, now: Instant, restart: bool) {
        if self.way_down.is_some() {
            return;
        }
        let step = Step::ConnectorStops {
            until: now + CONNECTOR_STOP_MAX,
        };
        self.way_down = Some(WayDown {
            restart,
            began: now,
            step,
        });
        for state in &mut self.services {
            if matches!(state.place, Place::Delayed { .. }) {
                state.place = Place::Gated;
            }
        }
        self.actions.push_back(Action::AnnounceShutdown { restart });
        for service in [Service::Connector, Service::Netd, Service::Timed] {
            if self.is_running(service) {
                self.actions.push_back(Action::Stop(service));
            }
        }
        self.step_down(now);
    }

    /// The disks are written.
    pub fn handle_synced(&mut self, now: Instant) {
        if let Some(WayDown {
            step: Step::Syncs, ..
        }) = self.way_down
        {
            self.finish();
        }
        self.step_down(now);
    }

    /// The instant of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.spawn_what_is_due(now);
        self.step_down(now);
    }

    /// What to do next; `None` when nothing is left.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if let Some(way_down) = self.way_down {
            return match way_down.step {
                Step::ConnectorStops { until } | Step::RestStops { until } => Some(until),
                Step::Syncs => Some(way_down.began + SHUTDOWN_MAX),
                Step::Finished => None,
            };
        }
        let due = |service: &Service| match self.state(*service).place {
            Place::Delayed { until } if self.may_run(*service) => Some(until),
            Place::Delayed { .. } | Place::Gated | Place::Running { .. } => None,
        };
        Service::ALL.iter().filter_map(due).min()
    }

    /// Whether the machine goes down.
    #[must_use]
    pub const fn is_going_down(&self) -> bool {
        self.way_down.is_some()
    }

    /// Whether a service was started and has not been reported as ended.
    #[must_use]
    pub const fn is_running(&self, service: Service) -> bool {
        matches!(self.state(service).place, Place::Running { .. })
    }

    fn spawn_what_is_due(&mut self, now: Instant) {
        if self.way_down.is_some() {
            return;
        }
        for service in Service::ALL {
            let is_due = match self.state(service).place {
                Place::Gated => true,
                Place::Delayed { until } => until <= now,
                Place::Running { .. } => false,
            };
            if is_due && self.may_run(service) {
                self.state_mut(service).place = Place::Running { since: now };
                self.actions.push_back(Action::Spawn(service));
            }
        }
    }

    fn may_run(&self, service: Service) -> bool {
        service
            .needs()
            .iter()
            .all(|condition| self.conditions.contains(condition))
    }

    /// Takes every step down that is due.
    fn step_down(&mut self, now: Instant) {
        let Some(way_down) = self.way_down else {
            return;
        };
        if let Step::ConnectorStops { until } = way_down.step
            && (!self.is_running(Service::Connector) || until <= now)
        {
            self.stop_the_rest(now);
        }
        let Some(way_down) = self.way_down else {
            return;
        };
        if let Step::RestStops { until } = way_down.step
            && (Service::ALL
                .iter()
                .all(|service| !self.is_running(*service))
                || until <= now)
        {
            self.kill_what_is_left();
        }
        if let Some(WayDown {
            step: Step::Syncs,
            began,
            ..
        }) = self.way_down
            && began + SHUTDOWN_MAX <= now
        {
            self.finish();
        }
    }

    fn stop_the_rest(&mut self, now: Instant) {
        if self.is_running(Service::Connector) {
            self.actions.push_back(Action::Kill(Service::Connector));
        }
        if self.is_running(Service::Console) {
            self.actions.push_back(Action::Stop(Service::Console));
        }
        self.set_step(Step::RestStops {
            until: now + SERVICE_STOP_MAX,
        });
    }

    fn kill_what_is_left(&mut self) {
        for service in Service::ALL {
            if self.is_running(service) {
                self.actions.push_back(Action::Kill(service));
            }
        }
        self.actions.push_back(Action::Sync);
        self.set_step(Step::Syncs);
    }

    fn finish(&mut self) {
        if let Some(way_down) = self.way_down {
            self.actions.push_back(Action::Finish {
                restart: way_down.restart,
            });
        }
        self.set_step(Step::Finished);
    }

    fn set_step(&mut self, step: Step) {
        if let Some(way_down) = &mut self.way_down {
            way_down.step = step;
        }
    }

    /// The delay doubles with each failure; jitter takes up to a quarter off it, so that services
    /// which died together do not come back together.
    fn restart_delay(&mut self, failures: u32) -> Duration {
        let doubled = RESTART_MIN.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
        let full = doubled.min(RESTART_MAX);
        let quarter_us = u64::try_from(full.as_micros() / 4).unwrap_or(u64::MAX);
        full - Duration::from_micros(self.next_random() % quarter_us.max(1))
    }

    /// SplitMix64: enough for jitter, and the same for the same seed.
    const fn next_random(&mut self) -> u64 {
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.jitter;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    const fn state(&self, service: Service) -> &State {
        &self.services[service.index()]
    }

    const fn state_mut(&mut self, service: Service) -> &mut State {
        &mut self.services[service.index()]
    }
}

const _: () = assert!(
    CONNECTOR_STOP_MAX.as_secs() + SERVICE_STOP_MAX.as_secs() < SHUTDOWN_MAX.as_secs(),
    "the disks must have time left"
);
