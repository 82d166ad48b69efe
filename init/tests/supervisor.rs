//! The supervisor on virtual time: ordered start, restart storms, and every way down.

use std::time::Duration;

use connector_proto::time::Instant;
use init::service::{Condition, Service};
use init::supervisor::{
    Action, CONNECTOR_STOP_MAX, RESTART_MAX, RESTART_MIN, SHUTDOWN_MAX, STABLE_AFTER, Supervisor,
};

#[test]
fn services_start_in_the_order_of_the_facts() {
    let mut world = World::new();
    assert_eq!(world.actions(), [Action::Spawn(Service::Console)]);
    world.becomes(Condition::StateSettled);
    assert_eq!(world.actions(), []);
    world.becomes(Condition::Nic);
    assert_eq!(world.actions(), [Action::Spawn(Service::Netd)]);
    world.becomes(Condition::NetUp);
    assert_eq!(world.actions(), [Action::Spawn(Service::Timed)]);
    world.becomes(Condition::ClockSettled);
    assert_eq!(world.actions(), [Action::Spawn(Service::Connector)]);
}

#[test]
fn a_killed_service_is_back_within_a_second() {
    let mut world = World::running();
    world.exits(Service::Connector);
    let died_at = world.now;
    world.run_until_spawned(Service::Connector);
    assert!(world.now.since(died_at) <= RESTART_MIN);
}

#[test]
fn a_crash_loop_slows_down_to_the_longest_delay_and_never_ends() {
    let mut world = World::running();
    let mut previous = Duration::ZERO;
    for round in 0..1000 {
        let died_at = world.now;
        world.exits(Service::Connector);
        world.run_until_spawned(Service::Connector);
        let delay = world.now.since(died_at);
        assert!(delay <= RESTART_MAX, "round {round}: {delay:?}");
        assert!(
            delay >= previous.mul_f64(0.74),
            "round {round}: {delay:?} after {previous:?}"
        );
        previous = delay;
    }
    assert!(previous >= RESTART_MAX.mul_f64(0.74));
}

#[test]
fn a_stable_minute_forgets_earlier_crashes() {
    let mut world = World::running();
    for _ in 0..10 {
        world.exits(Service::Timed);
        world.run_until_spawned(Service::Timed);
    }
    world.now = world.now + STABLE_AFTER;
    let died_at = world.now;
    world.exits(Service::Timed);
    world.run_until_spawned(Service::Timed);
    assert!(world.now.since(died_at) <= RESTART_MIN);
}

#[test]
fn a_lost_fact_gates_restarts_only() {
    let mut world = World::running();
    world.supervisor.handle_condition_lost(Condition::NetUp);
    assert_eq!(world.actions(), []);
    world.exits(Service::Timed);
    world.actions();
    assert_eq!(world.supervisor.poll_timeout(), None);
    world.now = world.now + Duration::from_secs(3600);
    world.becomes(Condition::NetUp);
    assert_eq!(world.actions(), [Action::Spawn(Service::Timed)]);
}

#[test]
fn the_same_end_reported_twice_counts_once() {
    let mut world = World::running();
    world.exits(Service::Console);
    world.exits(Service::Console);
    let deaths = world
        .actions()
        .into_iter()
        .filter(|action| matches!(action, Action::ReportDeath { .. }))
        .count();
    assert_eq!(deaths, 1);
}

#[test]
fn an_orderly_shutdown_stops_the_connector_first_and_the_console_last() {
    let mut world = World::running();
    world.supervisor.handle_shutdown(world.now, false);
    assert_eq!(
        world.actions(),
        [
            Action::AnnounceShutdown { restart: false },
            Action::Stop(Service::Connector),
            Action::Stop(Service::Netd),
            Action::Stop(Service::Timed),
        ]
    );
    world.exits(Service::Netd);
    world.exits(Service::Timed);
    assert_eq!(world.actions(), []);
    world.exits(Service::Connector);
    assert_eq!(world.actions(), [Action::Stop(Service::Console)]);
    world.exits(Service::Console);
    assert_eq!(world.actions(), [Action::Sync]);
    world.supervisor.handle_synced(world.now);
    assert_eq!(world.actions(), [Action::Finish { restart: false }]);
}

#[test]
fn a_shutdown_in_which_everything_hangs_ends_within_its_bound() {
    let mut world = World::running();
    let began = world.now;
    world.supervisor.handle_shutdown(world.now, true);
    let mut seen = Vec::new();
    while !seen.contains(&Action::Finish { restart: true }) {
        seen.extend(world.actions());
        if let Some(at) = world.supervisor.poll_timeout() {
            world.now = at;
            world.supervisor.handle_timeout(at);
        }
        assert!(world.now.since(began) <= SHUTDOWN_MAX);
    }
    for service in Service::ALL {
        assert!(seen.contains(&Action::Kill(service)), "{}", service.name());
    }
}

#[test]
fn a_connector_that_hangs_is_killed_after_its_bound() {
    let mut world = World::running();
    let began = world.now;
    world.supervisor.handle_shutdown(world.now, false);
    world.actions();
    let at = world.supervisor.poll_timeout().unwrap();
    assert_eq!(at.since(began), CONNECTOR_STOP_MAX);
    world.supervisor.handle_timeout(at);
    assert_eq!(
        world.actions(),
        [
            Action::Kill(Service::Connector),
            Action::Stop(Service::Console)
        ]
    );
}

#[test]
fn a_shutdown_during_the_start_starts_nothing_more() {
    let mut world = World::new();
    world.actions();
    world.supervisor.handle_shutdown(world.now, false);
    world.becomes(Condition::Nic);
    assert_eq!(
        world.actions(),
        [
            Action::AnnounceShutdown { restart: false },
            Action::Stop(Service::Console)
        ]
    );
    world.exits(Service::Console);
    assert_eq!(world.actions(), [Action::Sync]);
}

#[test]
fn a_shutdown_during_a_restart_delay_does_not_restart() {
    let mut world = World::running();
    world.exits(Service::Connector);
    world.actions();
    world.supervisor.handle_shutdown(world.now, false);
    world.supervisor.handle_timeout(world.now + RESTART_MAX);
    assert!(!world.actions().contains(&Action::Spawn(Service::Connector)));
}

#[test]
fn a_second_request_does_not_change_the_first() {
    let mut world = World::new();
    world.actions();
    world.supervisor.handle_shutdown(world.now, false);
    world.supervisor.handle_shutdown(world.now, true);
    world.exits(Service::Console);
    world.supervisor.handle_synced(world.now);
    assert!(world.actions().contains(&Action::Finish { restart: false }));
}

/// A supervisor and its clock.
struct World {
    supervisor: Supervisor,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let now = Instant::from_micros(1_000_000);
        let mut supervisor = Supervisor::new(7);
        supervisor.start(now);
        Self { supervisor, now }
    }

    /// One in which everything runs.
    fn running() -> Self {
        let mut world = Self::new();
        for condition in [
            Condition::Nic,
            Condition::NetUp,
            Condition::ClockSettled,
            Condition::StateSettled,
        ] {
            world.becomes(condition);
        }
        world.actions();
        world
    }

    fn becomes(&mut self, condition: Condition) {
        self.supervisor.handle_condition(self.now, condition);
    }

    fn exits(&mut self, service: Service) {
        self.supervisor.handle_exited(self.now, service);
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.supervisor.poll_action()).collect()
    }

    fn run_until_spawned(&mut self, service: Service) {
        while !self.actions().contains(&Action::Spawn(service)) {
            self.now = self.supervisor.poll_timeout().expect("a restart is due");
            self.supervisor.handle_timeout(self.now);
        }
    }
}
