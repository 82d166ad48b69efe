//! What the connector keeps beside its identity, and how often it has that written.
//!
//! A connector that is enrolled and connected has little to write: where it reached the edge, when
//! that is new, and once an hour the time that the edge confirmed.

use std::net::IpAddr;
use std::time::Duration;

use connector_proto::life::Life;
use connector_proto::record::{EdgeAddresses, State};
use connector_proto::time::{Instant, UnixSeconds};
use zeroize::Zeroizing;

use crate::proxy::Credentials;

/// What only moves along is written this often at most: a disk takes that for a century.
const WRITE_INTERVAL: Duration = Duration::from_secs(3_600);

/// When something was written that could be written at any moment.
#[derive(Debug, Default)]
pub(super) struct Memory {
    addresses_written: Option<Instant>,
}

impl Memory {
    /// The edge was reached at this address. What is not known yet is written at once while there is
    /// room for it, else with the next write: a crowd of addresses may not wear the disk out.
    pub(super) fn reached(&mut self, now: Instant, life: &mut Life, address: IpAddr) {
        let known = &life.state().edge_addresses;
        let (is_known, is_full) = (known.contains(&address), known.is_full());
        let is_due = |at: Instant| now.since(at) >= WRITE_INTERVAL;
        let put_first = |state: &mut State| {
            state.edge_addresses = with_first(&state.edge_addresses, address);
        };
        if !is_known && (!is_full || self.addresses_written.is_none_or(is_due)) {
            self.addresses_written = Some(now);
            life.amend(now, put_first);
        } else {
            life.note(put_first);
        }
    }

    /// The edge says what the time is, and the clock says the same.
    pub(super) fn confirmed(&self, now: Instant, life: &mut Life, time: UnixSeconds) {
        let due = life.state().last_good_time + WRITE_INTERVAL.as_secs();
        if time.0 >= due {
            life.amend(now, |state| state.last_good_time = time.0);
        }
    }
}

/// What the proxy is told about who asks.
pub(super) fn credentials(state: &State) -> Option<Credentials> {
    let stored = state.proxy_credentials.as_ref()?;
    Some(Credentials {
        user: Zeroizing::new(stored.user.clone()),
        password: Zeroizing::new(stored.password.clone()),
    })
}

/// The addresses with `first` before the others; the last one falls out where there are too many.
fn with_first(addresses: &EdgeAddresses, first: IpAddr) -> EdgeAddresses {
    let others = addresses.iter().filter(|other| **other != first);
    let mut all = EdgeAddresses::new();
    for address in std::iter::once(&first).chain(others) {
        if all.push(*address).is_err() {
            break;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use connector_proto::life::{Action, Opened};

    use super::*;

    #[test]
    fn an_address_that_is_new_is_written_at_once_and_one_that_is_known_is_not() {
        let mut machine = Machine::new();
        machine.reached(START, 1);
        assert_eq!(machine.written().edge_addresses, [address(1)]);
        machine.reached(START, 2);
        assert_eq!(machine.written().edge_addresses, [address(2), address(1)]);
        machine.reached(START, 1);
        assert_eq!(
            machine.life.state().edge_addresses,
            [address(1), address(2)]
        );
        assert_eq!(machine.writes.len(), 2, "only the order changed");
    }

    #[test]
    fn an_edge_with_hundreds_of_addresses_costs_a_write_an_hour() {
        let mut machine = Machine::new();
        for last in 0..200 {
            machine.reached(START, last);
        }
        assert_eq!(
            machine.writes.len(),
            8,
            "one for each until there was no room"
        );
        assert_eq!(machine.life.state().edge_addresses.len(), 8);
        machine.reached(START + WRITE_INTERVAL, 201);
        assert_eq!(machine.writes.len(), 9);
        assert_eq!(machine.written().edge_addresses[0], address(201));
    }

    #[test]
    fn the_last_good_time_is_written_once_an_hour_and_never_lowered() {
        let mut machine = Machine::new();
        let time = 1_800_000_000;
        for second in 0..3_600 {
            machine.confirmed(time + second);
        }
        assert_eq!(machine.writes.len(), 1);
        machine.confirmed(time + 3_600);
        machine.confirmed(1);
        assert_eq!(machine.written().last_good_time, time + 3_600);
        assert_eq!(machine.writes.len(), 2);
    }

    #[test]
    fn the_order_of_the_addresses_goes_along_with_the_next_write() {
        let mut machine = Machine::new();
        for last in [1, 2, 1] {
            machine.reached(START, last);
        }
        machine.confirmed(1_800_000_000);
        assert_eq!(machine.written().edge_addresses, [address(1), address(2)]);
    }

    const START: Instant = Instant::from_micros(5_000_000);

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    /// A life machine, and what it had written.
    struct Machine {
        memory: Memory,
        life: Life,
        writes: Vec<State>,
    }

    impl Machine {
        fn new() -> Self {
            let opened = Opened {
                state: State::default(),
                why: None,
            };
            Self {
                memory: Memory::default(),
                life: Life::new(START, opened, None, 1),
                writes: Vec::new(),
            }
        }

        fn reached(&mut self, now: Instant, last: u8) {
            self.memory.reached(now, &mut self.life, address(last));
            self.write(now);
        }

        fn confirmed(&mut self, time: u64) {
            self.memory
                .confirmed(START, &mut self.life, UnixSeconds(time));
            self.write(START);
        }

        fn write(&mut self, now: Instant) {
            while let Some(action) = self.life.poll_action() {
                if let Action::Save(state) = action {
                    self.writes.push(*state);
                    self.life.handle_saved(now, Ok(()));
                }
            }
        }

        fn written(&self) -> &State {
            self.writes.last().unwrap()
        }
    }
}
