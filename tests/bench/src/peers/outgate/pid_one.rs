//! What PID 1 does for a connector: it hands over the state partition, the network and the clock, and
//! passes the provisioning key on.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use connector_proto::key::ProvisioningKey;
use connector_proto::limits::LOCAL_MAX;
use connector_proto::local::{
    ConnectorStatus, EngineSetting, FromConnector, FromConsole, Lease, LeaseOrigin, Network, Phase,
    Servers, StartDescriptors, ToConnector, decode, encode, text,
};
use connector_proto::message::Fingerprint;
use connector_sys::packet_channel::{self, Received};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::program::Program;
use crate::scene::{CONNECTOR, Scene, TUNNEL};
use crate::trouble::Trouble;

/// How long it may take to enrol and connect.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// Room for the state record.
const PARTITION_LEN: u64 = 1 << 20;

/// Starts a connector, types `key`, and returns when it is connected.
pub fn start(scene: &Scene, key: &str, engine: EngineSetting) -> Result<Program, Trouble> {
    let missing = || Trouble::Missing("the connector was not built".to_owned());
    let program = scene.places().connector.as_ref().ok_or_else(missing)?;
    let (ours, its) = packet_channel::pair().map_err(Trouble::at("socketpair"))?;
    let mut command = Command::new(program);
    command.stdin(Stdio::from(its));
    let connector = scene.start("connector", command)?;
    let line = Line(ours);
    let partition = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(scene.file("state"))?;
    partition.set_len(PARTITION_LEN)?;
    line.tell(&begin(engine), &[partition.as_fd()])?;
    let network = Some(network());
    line.tell(&ToConnector::Network { network }, &[])?;
    line.tell(&ToConnector::Clock { is_right: true }, &[])?;
    let result = enrol(&line, key);
    result.map_err(|trouble| {
        Trouble::Failed(format!("{trouble}; it logged:\n{}", connector.last_words()))
    })?;
    line.drain_for_ever()?;
    Ok(connector)
}

fn begin(engine: EngineSetting) -> ToConnector {
    ToConnector::Start {
        descriptors: StartDescriptors {
            state: true,
            tpm: false,
        },
        edge: Some(text(&TUNNEL.to_string())),
        fingerprint: Fingerprint {
            mac: [2, 0, 0, 0, 0, 1],
            smbios_uuid: [7; 16],
            vm_generation: [0; 16],
            tpm: [0; 32],
        },
        version: text("bench"),
        engine,
    }
}

/// The machine's own address is [`CONNECTOR`], so that neither edge nor application are.
fn network() -> Network {
    Network {
        ipv4: Some(Lease {
            address: CONNECTOR,
            prefix_len: 24,
            router: None,
            resolvers: Servers::new(),
            ntp_servers: Servers::new(),
            mtu: None,
            hostname: None,
            lease_s: 86_400,
            origin: LeaseOrigin::Static,
        }),
        ..Network::default()
    }
}

fn enrol(line: &Line, key: &str) -> Result<(), Trouble> {
    let end = Instant::now() + CONNECT_MAX;
    line.until(end, |phase| matches!(phase, Phase::NeedKey { .. }))?;
    let key = ProvisioningKey::parse(key).map_err(Trouble::at("the provisioning key"))?;
    line.tell(&ToConnector::Operator(FromConsole::Key(*key.data())), &[])?;
    line.until(end, |phase| matches!(phase, Phase::Connected { .. }))
}

/// The connector's standard input, seen from the other end.
struct Line(OwnedFd);

impl Line {
    fn tell(&self, message: &ToConnector, descriptors: &[BorrowedFd<'_>]) -> Result<(), Trouble> {
        let mut buffer = [0; LOCAL_MAX];
        let packet = encode(message, &mut buffer).map_err(Trouble::at("a local message"))?;
        packet_channel::send(&self.0, packet, descriptors).map_err(Trouble::at("the connector"))
    }

    /// Waits for a phase, for no longer than until `end`.
    fn until(&self, end: Instant, is_it: impl Fn(&Phase) -> bool) -> Result<(), Trouble> {
        let mut last = None;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.next(left)? {
                Some(status) if is_it(&status.phase) => return Ok(()),
                Some(status) => last = Some(status.phase),
                None => {
                    return Err(Trouble::Failed(format!(
                        "the connector is not connected after {CONNECT_MAX:?} but {last:?}"
                    )));
                }
            }
        }
    }

    /// The next status; `None` if none comes in `time`.
    fn next(&self, time: Duration) -> Result<Option<ConnectorStatus>, Trouble> {
        let end = Instant::now() + time;
        let mut buffer = [0; LOCAL_MAX];
        loop {
            match packet_channel::recv(&self.0, &mut buffer).map_err(Trouble::at("connector"))? {
                Received::Closed => {
                    return Err(Trouble::Failed("the connector has ended".to_owned()));
                }
                Received::Packet { len, .. } => {
                    if let Ok(FromConnector::Status(status)) = decode(&buffer[..len]) {
                        return Ok(Some(status));
                    }
                }
                Received::TooLong => {}
                Received::Empty => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    wait(&self.0, left)?;
                }
            }
        }
    }

    /// Takes what the connector says from now on: it holds back what nobody reads.
    fn drain_for_ever(self) -> Result<(), Trouble> {
        std::thread::Builder::new()
            .name("PID 1".to_owned())
            .spawn(move || while self.next(Duration::from_secs(60)).is_ok() {})?;
        Ok(())
    }
}

fn wait(line: &OwnedFd, time: Duration) -> Result<(), Trouble> {
    let timeout = Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    let mut descriptors = [PollFd::new(line, PollFlags::IN)];
    poll(&mut descriptors, Some(&timeout)).map_err(Trouble::at("poll"))?;
    Ok(())
}
