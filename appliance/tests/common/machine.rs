//! The whole connector in a thread, and PID 1's end of its channel.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use appliance::event_loop::{Exit, run};
use appliance::local_channel::LocalChannel;
use connector_proto::key::ProvisioningKey;
use connector_proto::limits::LOCAL_MAX;
use connector_proto::local::{
    self, ConnectorStatus, EngineSetting, FromConnector, FromConsole, Lease, LeaseOrigin, Network,
    Phase, Servers, StartDescriptors, ToConnector,
};
use connector_proto::message::Fingerprint;
use connector_sys::packet_channel::{self, Received};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;

use splice_core::plane;

use crate::partition;

/// How long a step may take on a busy machine.
const STEP_MAX: Duration = Duration::from_secs(60);

pub struct Machine {
    channel: OwnedFd,
    connector: Running,
}

enum Running {
    Thread(JoinHandle<Exit>),
    Process(Child),
}

impl Machine {
    /// Starts one that is not enrolled, with an edge and perhaps a proxy to reach it by.
    pub fn start(edge: &str, proxy: Option<SocketAddr>) -> Self {
        Self::start_with(edge, proxy, EngineSetting::User, plane::Config::default())
    }

    /// The same, with what carries its sessions.
    pub fn start_with(
        edge: &str,
        proxy: Option<SocketAddr>,
        engine: EngineSetting,
        plane: plane::Config,
    ) -> Self {
        let (channel, theirs) = packet_channel::pair().unwrap();
        let connector = thread::spawn(move || run(&LocalChannel::from_socket(theirs), plane));
        let connector = Running::Thread(connector);
        Self { channel, connector }.told(edge, proxy, engine)
    }

    /// The same in a process of its own, as in the appliance.
    pub fn start_process(edge: &str) -> Self {
        let (channel, theirs) = packet_channel::pair().unwrap();
        let connector = Command::new(env!("CARGO_BIN_EXE_connector"))
            .stdin(theirs)
            .spawn()
            .unwrap();
        let connector = Running::Process(connector);
        Self { channel, connector }.told(edge, None, EngineSetting::User)
    }

    /// The process.
    pub fn pid(&self) -> Pid {
        match &self.connector {
            Running::Process(child) => Pid::from_child(child),
            Running::Thread(_) => panic!("it is a thread"),
        }
    }

    /// Tells it what PID 1 tells a connector.
    fn told(self, edge: &str, proxy: Option<SocketAddr>, engine: EngineSetting) -> Self {
        let start = ToConnector::Start {
            descriptors: StartDescriptors {
                state: true,
                tpm: false,
            },
            edge: Some(edge.parse().unwrap()),
            fingerprint: FINGERPRINT,
            version: "0.0.0".parse().unwrap(),
            engine,
        };
        self.send_with(&start, Some(partition::blank()));
        self.send(&ToConnector::Clock { is_right: true });
        let network = Network {
            ipv4: Some(lease()),
            proxy: proxy.map(|proxy| proxy.to_string().parse().unwrap()),
            ..Network::default()
        };
        let network = Some(network);
        self.send(&ToConnector::Network { network });
        self
    }

    pub fn type_key(&self, key: &ProvisioningKey) {
        self.send(&ToConnector::Operator(FromConsole::Key(*key.data())));
    }

    pub fn type_credentials(&self, user: &str, password: &str) {
        self.send(&ToConnector::Operator(FromConsole::ProxyCredentials {
            user: user.try_into().unwrap(),
            password: password.try_into().unwrap(),
        }));
    }

    pub fn wait_for(&self, wanted: impl Fn(&Phase) -> bool) {
        self.wait_for_status(|status| wanted(&status.phase));
    }

    pub fn wait_for_status(&self, wanted: impl Fn(&ConnectorStatus) -> bool) -> ConnectorStatus {
        let deadline = Instant::now() + STEP_MAX;
        let mut last = None;
        let mut buffer = [0; LOCAL_MAX];
        while Instant::now() < deadline {
            match packet_channel::recv(&self.channel, &mut buffer).unwrap() {
                Received::Packet { len, .. } => match local::decode(&buffer[..len]).unwrap() {
                    FromConnector::Status(status) if wanted(&status) => return status,
                    other => last = Some(other),
                },
                Received::Empty => wait_readable(&self.channel),
                other => panic!("{other:?}"),
            }
        }
        panic!("the last message was {last:?}");
    }

    pub fn send(&self, message: &ToConnector) {
        self.send_with(message, None);
    }

    pub fn stop(self) {
        self.send(&ToConnector::Stop);
        match self.connector {
            Running::Thread(thread) => assert!(matches!(thread.join().unwrap(), Exit::Stopped)),
            Running::Process(mut child) => assert!(child.wait().unwrap().success()),
        }
    }

    fn send_with(&self, message: &ToConnector, partition: Option<File>) {
        let mut buffer = [0; LOCAL_MAX];
        let packet = local::encode(message, &mut buffer).unwrap();
        let descriptors: Vec<_> = partition.iter().map(|file| file.as_fd()).collect();
        packet_channel::send(&self.channel, packet, &descriptors).unwrap();
    }
}

/// The evidence of every machine here.
pub const FINGERPRINT: Fingerprint = Fingerprint {
    mac: [2; 6],
    smbios_uuid: [3; 16],
    vm_generation: [0; 16],
    tpm: [0; 32],
};

fn lease() -> Lease {
    Lease {
        address: Ipv4Addr::LOCALHOST,
        prefix_len: 8,
        router: None,
        resolvers: Servers::new(),
        ntp_servers: Servers::new(),
        mtu: None,
        hostname: None,
        lease_s: 3_600,
        origin: LeaseOrigin::Static,
    }
}

fn wait_readable(descriptor: &OwnedFd) {
    let timeout = Timespec::try_from(STEP_MAX).unwrap();
    poll(
        &mut [PollFd::new(descriptor, PollFlags::IN)],
        Some(&timeout),
    )
    .unwrap();
}
