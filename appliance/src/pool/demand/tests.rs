use proptest::prelude::*;

use super::*;

const START: Instant = Instant::from_micros(100_000_000_000);
const MS: Duration = Duration::from_millis(1);
const ROOM: usize = 10_000;

/// A pool in virtual time whose every dial takes the same time.
struct Machine {
    demand: Demand,
    now: Instant,
    dial: Duration,
    dialling: Vec<Instant>,
    /// When each was warm, and when it is retired.
    warm: Vec<(Instant, Instant)>,
    queued: usize,
    carried: usize,
    dialled: usize,
    dialling_most: usize,
    waited: usize,
}

impl Machine {
    fn new(dial: Duration) -> Self {
        Self {
            demand: Demand::new(7),
            now: START,
            dial,
            dialling: Vec::new(),
            warm: Vec::new(),
            queued: 0,
            carried: 0,
            dialled: 0,
            dialling_most: 0,
            waited: 0,
        }
    }

    fn arrive(&mut self) {
        self.demand.arrived(self.now);
        if self.warm.is_empty() {
            self.queued += 1;
            self.waited += 1;
        } else {
            self.warm.remove(0);
            self.demand.proven();
            self.carried += 1;
        }
    }

    fn step(&mut self) {
        self.now = self.now + MS;
        let now = self.now;
        for began in self
            .dialling
            .extract_if(.., |began| now.since(*began) >= self.dial)
        {
            let retired = self.demand.warmed(now, began);
            if self.queued > 0 {
                self.queued -= 1;
                self.carried += 1;
            } else {
                self.warm.push((now, retired));
            }
        }
        self.warm.retain(|(_, retired)| *retired > now);
        self.dial_some();
    }

    fn dial_some(&mut self) -> usize {
        let stock = Stock {
            warm: self.warm.len(),
            dialling: self.dialling.len(),
            queued: self.queued,
            room: ROOM - self.carried - self.queued,
        };
        let dials = self.demand.dials(self.now, stock);
        self.dialled += dials;
        self.dialling.extend(std::iter::repeat_n(self.now, dials));
        self.dialling_most = self.dialling_most.max(self.dialling.len());
        dials
    }
}

#[test]
fn an_idle_machine_keeps_eight_and_replaces_each_at_an_age_of_its_own() {
    let mut machine = Machine::new(100 * MS);
    for _ in 0..1_000 {
        machine.step();
    }
    let warm = machine.warm.clone();
    assert_eq!(warm.len(), WARM_MIN);
    for (since, retired) in &warm {
        assert!((60..=100).contains(&retired.since(*since).as_secs()));
    }
    let mut ends: Vec<_> = warm.iter().map(|(_, retired)| *retired).collect();
    ends.sort_unstable();
    ends.dedup();
    assert_eq!(ends.len(), WARM_MIN, "they end together");
    for _ in 0..600_000 {
        machine.step();
        assert!(machine.warm.len() + machine.dialling.len() <= WARM_MIN);
    }
    // Ten minutes at about 80 s each.
    assert!((48..=88).contains(&machine.dialled), "{}", machine.dialled);
}

#[test]
fn a_steady_stream_of_sessions_never_waits_once_the_pool_has_seen_it() {
    for (every_ms, dial) in [(20, 100 * MS), (5, 150 * MS), (2, 40 * MS)] {
        let mut machine = Machine::new(dial);
        for ms in 0..20_000 {
            if ms == 9_000 {
                machine.waited = 0;
            }
            if ms % every_ms == 0 {
                machine.arrive();
            }
            machine.step();
        }
        assert_eq!(
            machine.waited, 0,
            "one each {every_ms} ms, dialled in {dial:?}"
        );
    }
}

#[test]
fn taken_channels_are_replaced_half_of_them_at_a_time_or_all_after_a_pause() {
    let mut machine = Machine::new(5 * MS);
    for _ in 0..100 {
        machine.step();
    }
    let dialled = machine.dialled;
    for taken in 1..=WARM_MIN / 2 {
        machine.arrive();
        assert_eq!((machine.dial_some(), taken), (0, taken));
    }
    let pause = machine.demand.poll_timeout().unwrap();
    assert_eq!(pause, machine.now + PAUSE);
    machine.arrive();
    assert_eq!(machine.dial_some(), WARM_MIN / 2 + 1);
    for _ in 0..10 {
        machine.step();
    }
    machine.arrive();
    assert_eq!(machine.dial_some(), 0);
    machine.now = machine.demand.poll_timeout().unwrap();
    assert_eq!(machine.dial_some(), 1);
    assert_eq!(machine.demand.poll_timeout(), None);
    assert_eq!(machine.dialled, dialled + WARM_MIN / 2 + 2);
}

#[test]
fn a_thousand_at_once_are_all_served_by_a_bounded_number_of_dials_at_a_time() {
    let mut machine = Machine::new(50 * MS);
    machine.step();
    for _ in 0..1_000 {
        machine.arrive();
    }
    let mut ms = 0;
    while machine.carried < 1_000 {
        machine.step();
        ms += 1;
    }
    assert!(machine.dialling_most <= DIALLING_MAX);
    assert!(ms <= 1_000 * 50 / 64 + 100, "{ms} ms");
    // And none of it is left behind a while later.
    for _ in 0..120_000 {
        machine.step();
    }
    assert_eq!(machine.warm.len(), WARM_MIN);
}

#[test]
fn a_full_machine_dials_for_those_that_wait_and_for_nobody_else() {
    let mut demand = Demand::new(1);
    let mut stock = Stock::default();
    assert_eq!(demand.dials(START, stock), 0);
    stock.queued = 3;
    assert_eq!(demand.dials(START, stock), 3);
    stock.room = 2;
    assert_eq!(demand.dials(START, stock), 5);
    stock.dialling = 5;
    assert_eq!(demand.dials(START, stock), 0);
}

#[test]
fn failures_are_followed_by_longer_and_longer_silence_and_one_attempt_each() {
    let mut machine = Machine::new(100 * MS);
    assert_eq!(machine.dial_some(), WARM_MIN);
    let mut silences = Vec::new();
    for _ in 0..36_000 {
        for began in std::mem::take(&mut machine.dialling) {
            // Those that fail together count once.
            silences.extend(machine.demand.failed(machine.now, began));
            machine.now = machine.now + MS / 10;
        }
        machine.now = machine.now + 100 * MS;
        assert!(machine.dial_some() <= 1);
    }
    // An hour with silences of up to a minute.
    assert!((60..=300).contains(&silences.len()), "{}", silences.len());
    assert!(silences[0] <= SPREAD && silences.iter().all(|silence| *silence <= CAP));
    // One that succeeds brings the others.
    while machine.dialling.is_empty() {
        machine.step();
    }
    for _ in 0..100 {
        machine.step();
    }
    assert_eq!(machine.warm.len() + machine.dialling.len(), WARM_MIN);
}

#[test]
fn an_edge_that_ends_every_channel_as_soon_as_it_is_warm_is_dialled_seldom() {
    let mut machine = Machine::new(10 * MS);
    for _ in 0..600_000 {
        machine.step();
        for (since, _) in std::mem::take(&mut machine.warm) {
            machine.demand.lost(machine.now, since);
        }
    }
    assert!(
        machine.dialled <= 60 * WARM_MIN,
        "{} in ten minutes",
        machine.dialled
    );
}

proptest! {
    #[test]
    fn it_never_dials_more_than_its_bounds_allow(
        events in prop::collection::vec((0_u8..6, 0_u64..2_000), 1..300),
        seed: u64,
    ) {
        let mut demand = Demand::new(seed);
        let (mut now, mut stock) = (START, Stock { room: 300, ..Stock::default() });
        for (kind, ms) in events {
            let began = now;
            now = now + Duration::from_millis(ms);
            match kind {
                0 => demand.arrived(now),
                1 => {
                    let age = demand.warmed(now, began).since(now);
                    prop_assert!(age >= RETIRED_MIN && age <= WARM_RETIRED);
                    stock.warm += 1;
                    stock.dialling = stock.dialling.saturating_sub(1);
                }
                2 => {
                    demand.failed(now, began);
                    stock.dialling = stock.dialling.saturating_sub(1);
                }
                3 => {
                    demand.lost(now, began);
                    stock.warm = stock.warm.saturating_sub(1);
                }
                4 => stock.queued = usize::try_from(ms % 40).unwrap(),
                _ => demand.start_over(),
            }
            let dials = demand.dials(now, stock);
            prop_assert!(stock.dialling + dials <= DIALLING_MAX.max(stock.dialling));
            prop_assert!(dials == 0 || stock.warm + stock.dialling + dials <= WARM_MOST + stock.queued);
            prop_assert!(dials == 0 || demand.poll_timeout().is_none());
            stock.dialling += dials;
        }
    }
}
