//! The connector's loop in a thread, and the other end of its local channel.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use appliance::event_loop::{Exit, run};
use appliance::local_channel::LocalChannel;
use appliance::store::{NoTpm, Store};
use connector_proto::key::ProvisioningKey;
use connector_proto::limits::LOCAL_MAX;
use connector_proto::local::{
    self, ConnectorStatus, EdgeSample, EngineSetting, FromConnector, FromConsole, Lease,
    LeaseOrigin, Network, Phase, Servers, StartDescriptors, ToConnector,
};
use connector_proto::message::Fingerprint;
use connector_proto::record::State;
use connector_sys::packet_channel::{self, Received};

use splice_core::plane;

use crate::edge::{HostileEdge, KEY};
use crate::partition;

/// How long a step may take on a busy machine.
pub const STEP_MAX: Duration = Duration::from_secs(30);

pub struct Machine {
    channel: OwnedFd,
    connector: JoinHandle<Exit>,
    disk: File,
}

impl Machine {
    pub fn start(edge: &HostileEdge) -> Self {
        Self::start_with(edge, true)
    }

    pub fn start_with(edge: &HostileEdge, is_right: bool) -> Self {
        let machine = Self::boot(Some(edge.text()), partition::blank());
        machine.send(&ToConnector::Clock { is_right }, None);
        machine.send_network(Some(network(OUTSIDE)));
        machine
    }

    /// A machine whose state record says `state`, with a right clock and this network.
    pub fn start_enrolled(state: State, network: Network) -> Self {
        let disk = partition::blank();
        open(&disk).save(state).unwrap();
        let machine = Self::boot(None, disk);
        machine.send(&ToConnector::Clock { is_right: true }, None);
        machine.send_network(Some(network));
        machine
    }

    /// The same on a disk that takes no write.
    pub fn start_write_protected(state: State, network: Network) -> Self {
        let disk = partition::blank();
        open(&disk).save(state).unwrap();
        let path = format!("/proc/self/fd/{}", disk.as_raw_fd());
        let machine = Self::boot(None, File::open(path).unwrap());
        machine.send(&ToConnector::Clock { is_right: true }, None);
        machine.send_network(Some(network));
        machine
    }

    fn boot(edge: Option<String>, disk: File) -> Self {
        let (channel, theirs) = packet_channel::pair().unwrap();
        let connector = thread::spawn(move || run(&LocalChannel::from_socket(theirs), plane()));
        let machine = Self {
            channel,
            connector,
            disk,
        };
        let start = ToConnector::Start {
            descriptors: StartDescriptors {
                state: true,
                tpm: false,
            },
            edge: edge.map(|edge| edge.parse().unwrap()),
            fingerprint: FINGERPRINT,
            version: "0.0.0".parse().unwrap(),
            engine: EngineSetting::User,
        };
        machine.send(&start, Some(&machine.disk.try_clone().unwrap().into()));
        machine
    }

    pub fn type_key(&self) {
        let key = *ProvisioningKey::from_random(KEY).data();
        self.send(&ToConnector::Operator(FromConsole::Key(key)), None);
    }

    pub fn send_network(&self, network: Option<Network>) {
        self.send(&ToConnector::Network { network }, None);
    }

    pub fn send(&self, message: &ToConnector, descriptor: Option<&OwnedFd>) {
        let mut buffer = [0; LOCAL_MAX];
        let packet = local::encode(message, &mut buffer).unwrap();
        let descriptors: Vec<_> = descriptor.iter().map(|fd| fd.as_fd()).collect();
        packet_channel::send(&self.channel, packet, &descriptors).unwrap();
    }

    pub fn wait_for(&self, wanted: impl Fn(&Phase) -> bool) {
        self.wait_for_message(|message| match message {
            FromConnector::Status(status) => wanted(&status.phase).then_some(()),
            FromConnector::Time(_) => None,
        });
    }

    /// Waits for a status that is as `wanted`.
    pub fn wait_for_status(&self, wanted: impl Fn(&ConnectorStatus) -> bool) {
        self.wait_for_message(|message| match message {
            FromConnector::Status(status) => wanted(status).then_some(()),
            FromConnector::Time(_) => None,
        });
    }

    pub fn wait_until_connected(&self) {
        self.wait_for(|phase| matches!(phase, Phase::Connected { .. }));
    }

    /// Waits for a failure that is told in these words, without a connection before it.
    pub fn wait_for_failure(&self, words: &str) {
        self.wait_for(|phase| match phase {
            Phase::Connecting { last_error, .. } => last_error.contains(words),
            Phase::Connected { .. } => panic!("connected, although {words:?} was to come"),
            _ => false,
        });
    }

    pub fn wait_for_time(&self) -> EdgeSample {
        self.wait_for_message(|message| match message {
            FromConnector::Time(sample) => Some(sample.clone()),
            FromConnector::Status(_) => None,
        })
    }

    pub fn wait_for_message<T>(&self, wanted: impl Fn(&FromConnector) -> Option<T>) -> T {
        let deadline = Instant::now() + STEP_MAX;
        let mut last = None;
        let mut buffer = [0; LOCAL_MAX];
        while Instant::now() < deadline {
            match packet_channel::recv(&self.channel, &mut buffer).unwrap() {
                Received::Packet { len, .. } => {
                    let message = local::decode(&buffer[..len]).unwrap();
                    if let Some(found) = wanted(&message) {
                        return found;
                    }
                    last = Some(message);
                }
                Received::Empty => {
                    wait_readable(&self.channel);
                }
                other => panic!("{other:?}"),
            }
        }
        panic!("the last message was {last:?}");
    }

    /// What is on the disk.
    pub fn record(&self) -> State {
        open(&self.disk).state().clone()
    }

    pub fn stop(self) {
        self.send(&ToConnector::Stop, None);
        assert!(matches!(self.connector.join().unwrap(), Exit::Stopped));
    }
}

/// One thread does: these tests carry little.
fn plane() -> plane::Config {
    plane::Config {
        threads: 1,
        ..plane::Config::default()
    }
}

/// The machine's SMBIOS UUID.
const UUID: [u8; 16] = [3; 16];
/// Its evidence when it starts.
pub const FINGERPRINT: Fingerprint = Fingerprint {
    mac: [2; 6],
    smbios_uuid: UUID,
    vm_generation: [4; 16],
    tpm: [0; 32],
};

fn open(disk: &File) -> Store {
    let disk = disk.try_clone().unwrap().into();
    Store::open(Some(disk), UUID, Box::new(NoTpm))
        .unwrap()
        .store
}

/// An address that this process does not have.
pub const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
/// The one that the tunnels of these tests have.
pub const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Waits for something to read; false if nothing came.
pub fn wait_readable(fd: &impl std::os::fd::AsFd) -> bool {
    wait_readable_for(fd, STEP_MAX)
}

pub fn wait_readable_for(fd: &impl std::os::fd::AsFd, at_most: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec::try_from(at_most).unwrap();
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)).unwrap() > 0
}

/// A network in which the machine has this address, and no resolver.
pub fn network(address: IpAddr) -> Network {
    let IpAddr::V4(address) = address else {
        panic!("these tests have IPv4")
    };
    let lease = Lease {
        address,
        prefix_len: 24,
        router: None,
        resolvers: Servers::new(),
        ntp_servers: Servers::new(),
        mtu: None,
        hostname: None,
        lease_s: 3_600,
        origin: LeaseOrigin::Static,
    };
    Network {
        ipv4: Some(lease),
        ..Network::default()
    }
}
