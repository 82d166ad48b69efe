//! What the connector keeps in the state record, and how often it writes it.
//!
//! A connector that is enrolled and connected has little to write: where it reached the edge, when
//! that is new, and once an hour the time that the edge confirmed.

use std::net::IpAddr;
use std::time::Duration;

use connector_proto::record::{EdgeAddresses, Identity, ProxyCredentials, State};
use connector_proto::time::{Instant, UnixSeconds};
use zeroize::Zeroizing;

use crate::proxy::Credentials;
use crate::store::{Store, StoreError};

/// What only moves along is written this often at most: a disk takes that for a century.
const WRITE_INTERVAL: Duration = Duration::from_secs(3_600);

/// The state record, and what is not written yet.
#[derive(Debug)]
pub(super) struct Memory {
    store: Store,
    /// Newer than the record's once the edge was reached elsewhere.
    addresses: EdgeAddresses,
    addresses_written: Option<Instant>,
    /// What was typed counts even if it cannot be written.
    credentials: Option<ProxyCredentials>,
}

impl Memory {
    pub(super) fn new(store: Store) -> Self {
        let addresses = store.state().edge_addresses.clone();
        let credentials = store.state().proxy_credentials.clone();
        Self {
            store,
            addresses,
            addresses_written: None,
            credentials,
        }
    }

    pub(super) const fn state(&self) -> &State {
        self.store.state()
    }

    /// Where the edge was reached, the last address first.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// What the proxy is told about who asks.
    pub(super) fn credentials(&self) -> Option<Credentials> {
        self.credentials.as_ref().map(|stored| Credentials {
            user: Zeroizing::new(stored.user.clone()),
            password: Zeroizing::new(stored.password.clone()),
        })
    }

    /// Keeps what the operator typed for the proxy.
    pub(super) fn set_credentials(&mut self, credentials: ProxyCredentials) {
        self.credentials = Some(credentials);
        self.write("the proxy's user and password");
    }

    /// Keeps the private key and the edge it is for, before the edge is asked with it.
    ///
    /// # Errors
    /// If it cannot be written: nothing may be asked then.
    pub(super) fn begin_enrolment(
        &mut self,
        edge: &str,
        private_key: Option<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let mut state = self.next_state();
        if let Some(key) = private_key {
            state.private_key = key;
        }
        if state.edge != edge {
            // Those were another edge's.
            self.addresses.clear();
            state.edge_addresses.clear();
        }
        edge.clone_into(&mut state.edge);
        self.store.save(state)
    }

    /// Keeps what enrolment gave, and when that was by the edge's clock.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn enrolled(
        &mut self,
        identity: Identity,
        time: UnixSeconds,
        reached: Option<IpAddr>,
    ) -> Result<(), StoreError> {
        self.addresses = with_first(&self.addresses, reached);
        let mut state = self.next_state();
        state.identity = Some(identity);
        // Proven by the key, and right even where this machine's clock is not.
        state.last_good_time = state.last_good_time.max(time.0);
        self.store.save(state)
    }

    /// The edge was reached at this address. What is not known yet is written at once while there is
    /// room for it, else with the next time: a crowd of addresses may not wear the disk out.
    pub(super) fn reached(&mut self, now: Instant, address: IpAddr) {
        let is_known = self.addresses.contains(&address);
        let is_full = self.addresses.is_full();
        self.addresses = with_first(&self.addresses, Some(address));
        let is_due = |at: Instant| now.since(at) >= WRITE_INTERVAL;
        if !is_known && (!is_full || self.addresses_written.is_none_or(is_due)) {
            self.addresses_written = Some(now);
            self.write("the edge's address");
        }
    }

    /// The edge says what the time is, and the clock says the same.
    pub(super) fn confirmed(&mut self, time: UnixSeconds) {
        let due = self.state().last_good_time + WRITE_INTERVAL.as_secs();
        if time.0 < due {
            return;
        }
        let mut state = self.next_state();
        state.last_good_time = time.0;
        self.save(state, "the time");
    }

    /// The record as it is to be written next.
    fn next_state(&self) -> State {
        let mut state = self.store.state().clone();
        state.edge_addresses.clone_from(&self.addresses);
        state.proxy_credentials.clone_from(&self.credentials);
        state
    }

    fn write(&mut self, what: &str) {
        let state = self.next_state();
        self.save(state, what);
    }

    fn save(&mut self, state: State, what: &str) {
        if let Err(error) = self.store.save(state) {
            log::error!("{what} is not remembered over a restart: {error}");
        }
    }
}

/// The addresses with `first` before the others; the last one falls out where there are too many.
fn with_first(addresses: &EdgeAddresses, first: Option<IpAddr>) -> EdgeAddresses {
    let others = addresses.iter().filter(|other| Some(**other) != first);
    let mut all = EdgeAddresses::new();
    for address in first.iter().chain(others) {
        if all.push(*address).is_err() {
            break;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn an_address_that_is_new_is_written_at_once_and_one_that_is_known_is_not() {
        let disk = Disk::new("new");
        let mut memory = disk.memory();
        memory.reached(START, address(1));
        assert_eq!(disk.addresses(), [address(1)]);
        memory.reached(START, address(2));
        assert_eq!(disk.addresses(), [address(2), address(1)]);
        let writes = disk.writes();
        memory.reached(START, address(1));
        assert_eq!(memory.addresses(), [address(1), address(2)]);
        assert_eq!(disk.writes(), writes, "only the order changed");
    }

    #[test]
    fn an_edge_with_hundreds_of_addresses_costs_a_write_an_hour() {
        let disk = Disk::new("many");
        let mut memory = disk.memory();
        for last in 0..200 {
            memory.reached(START, address(last));
        }
        assert_eq!(disk.writes(), 8, "one for each until there was no room");
        assert_eq!(memory.addresses().len(), 8);
        memory.reached(START + WRITE_INTERVAL, address(201));
        assert_eq!(disk.writes(), 9);
        assert_eq!(disk.addresses()[0], address(201));
    }

    #[test]
    fn the_last_good_time_is_written_once_an_hour_and_never_lowered() {
        let disk = Disk::new("time");
        let mut memory = disk.memory();
        let mut time = 1_800_000_000;
        memory.confirmed(UnixSeconds(time));
        for _ in 0..3_599 {
            time += 1;
            memory.confirmed(UnixSeconds(time));
        }
        assert_eq!(disk.writes(), 1);
        memory.confirmed(UnixSeconds(time + 1));
        memory.confirmed(UnixSeconds(1));
        assert_eq!(disk.memory().state().last_good_time, time + 1);
        assert_eq!(disk.writes(), 2);
    }

    #[test]
    fn the_order_of_the_addresses_goes_along_with_the_next_write() {
        let disk = Disk::new("order");
        let mut memory = disk.memory();
        memory.reached(START, address(1));
        memory.reached(START, address(2));
        memory.reached(START, address(1));
        memory.confirmed(UnixSeconds(1_800_000_000));
        assert_eq!(disk.addresses(), [address(1), address(2)]);
    }

    #[test]
    fn what_was_typed_for_the_proxy_survives_a_restart() {
        let disk = Disk::new("proxy");
        let mut memory = disk.memory();
        assert!(memory.credentials().is_none());
        memory.set_credentials(ProxyCredentials {
            user: "mona".into(),
            password: "sesame".into(),
        });
        let credentials = disk.memory().credentials().unwrap();
        assert_eq!(credentials.user.as_str(), "mona");
        assert_eq!(credentials.password.as_str(), "sesame");
    }

    #[test]
    fn another_edge_has_other_addresses_and_the_key_stays() {
        let disk = Disk::new("edge");
        let mut memory = disk.memory();
        memory.begin_enrolment("one:443", Some(vec![7])).unwrap();
        memory.reached(START, address(1));
        memory.begin_enrolment("one:443", None).unwrap();
        assert_eq!(memory.addresses(), [address(1)]);
        memory.begin_enrolment("two:443", None).unwrap();
        assert!(memory.addresses().is_empty() && disk.addresses().is_empty());
        assert_eq!(disk.memory().state().private_key, [7]);
    }

    const START: Instant = Instant::from_micros(5_000_000);

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    /// A partition in a file without a name.
    struct Disk(File);

    impl Disk {
        fn new(name: &str) -> Self {
            let id = std::process::id();
            let path = std::env::temp_dir().join(format!("outgate-memory-{name}-{id}"));
            std::fs::write(&path, vec![0; 1024 * 1024]).unwrap();
            let file = File::options().read(true).write(true).open(&path).unwrap();
            std::fs::remove_file(path).unwrap();
            Self(file)
        }

        fn memory(&self) -> Memory {
            let partition = self.0.try_clone().unwrap().into();
            Memory::new(Store::open(Some(partition)).unwrap())
        }

        fn addresses(&self) -> Vec<IpAddr> {
            self.memory().addresses().to_vec()
        }

        fn writes(&self) -> u64 {
            self.memory().store.generation()
        }
    }
}
