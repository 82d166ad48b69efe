//! The connector as a process, with this one in PID 1's place.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use connector_proto::key::ProvisioningKey;
use connector_proto::limits::LOCAL_MAX;
use connector_proto::local::{
    ConnectorStatus, EngineSetting, FromConnector, FromConsole, Lease, LeaseOrigin, Network, Phase,
    Servers, StartDescriptors, ToConnector, decode, encode, text,
};
use connector_proto::message::Fingerprint;
use connector_sys::packet_channel::{self, Received};
use qemu::child::Child;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Pid;
use tests::folders;

use crate::ground::{CONNECTOR, WAY};

/// How long a step may take on a busy machine.
const STEP_MAX: Duration = Duration::from_secs(90);
/// Room for the state record.
const PARTITION_LEN: u64 = 1 << 20;

/// A connector and its disk.
pub struct Connector {
    disk: PathBuf,
    log: PathBuf,
    /// What its process is started with: `prlimit` and its options, for instance.
    before: Vec<String>,
    running: Option<Running>,
}

struct Running {
    child: Child,
    line: Arc<OwnedFd>,
    heard: Arc<Heard>,
}

/// The last status that it told.
#[derive(Default)]
struct Heard {
    status: Mutex<Option<ConnectorStatus>>,
    changed: Condvar,
}

impl Connector {
    /// One with a blank disk, switched off.
    pub fn new(folder: &Path, before: &[&str]) -> Self {
        let disk = folder.join("state");
        File::create(&disk).unwrap().set_len(PARTITION_LEN).unwrap();
        Self {
            disk,
            log: folder.join("connector.log"),
            before: before.iter().map(|word| (*word).to_owned()).collect(),
            running: None,
        }
    }

    /// Switches it on.
    pub fn start(&mut self, engine: EngineSetting) {
        let (ours, its) = packet_channel::pair().unwrap();
        let program = folders::build_profile().join("connector");
        assert!(
            program.is_file(),
            "cargo build --package appliance makes {}",
            program.display()
        );
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let mut words = self.before.clone();
        words.push(program.to_string_lossy().into_owned());
        let before = Path::new(&words[0]);
        let child = Child::start(before, |command| {
            command.args(&words[1..]).stdin(its).stderr(log);
        });
        let line = Arc::new(ours);
        let heard = Arc::new(Heard::default());
        let (its_line, its_heard) = (Arc::clone(&line), Arc::clone(&heard));
        thread::spawn(move || listen(&its_line, &its_heard));
        let child = child.unwrap();
        self.running = Some(Running { child, line, heard });
        self.tell_start(engine);
    }

    fn tell_start(&self, engine: EngineSetting) {
        let start = ToConnector::Start {
            descriptors: StartDescriptors {
                state: true,
                tpm: false,
            },
            edge: Some(text(&WAY.to_string())),
            fingerprint: Fingerprint {
                mac: [2, 0, 0, 0, 0, 1],
                smbios_uuid: [7; 16],
                vm_generation: [0; 16],
                tpm: [0; 32],
            },
            version: text("story"),
            engine,
        };
        let disk = File::options()
            .read(true)
            .write(true)
            .open(&self.disk)
            .unwrap();
        self.tell(&start, &[disk.as_fd()]);
        let network = Some(network());
        self.tell(&ToConnector::Network { network }, &[]);
        self.tell(&ToConnector::Clock { is_right: true }, &[]);
    }

    /// Types a key and waits until it is enrolled and connected.
    pub fn enrol(&self, key: &str) {
        self.wait_for(|status| matches!(status.phase, Phase::NeedKey { .. }));
        let key = ProvisioningKey::parse(key).unwrap();
        self.tell(&ToConnector::Operator(FromConsole::Key(*key.data())), &[]);
        self.wait_until_connected();
    }

    pub fn wait_until_connected(&self) {
        self.wait_for(|status| matches!(status.phase, Phase::Connected { .. }));
    }

    /// The last status, once it is as wanted.
    pub fn wait_for(&self, is_wanted: impl Fn(&ConnectorStatus) -> bool) -> ConnectorStatus {
        let heard = &self.running().heard;
        let status = heard.status.lock().unwrap();
        let deadline = Instant::now() + STEP_MAX;
        let mut status = status;
        loop {
            match &*status {
                Some(status) if is_wanted(status) => return status.clone(),
                _ => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "after {STEP_MAX:?} the connector says {status:?}"
            );
            status = heard.changed.wait_timeout(status, left).unwrap().0;
        }
    }

    pub fn pid(&self) -> Pid {
        self.running().child.pid()
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Ends it as PID 1 does.
    pub fn stop(&mut self) {
        self.tell(&ToConnector::Stop, &[]);
        let ended = self.running().child.wait_exit(STEP_MAX);
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
        self.running = None;
    }

    /// What it wrote, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of its log.
    pub fn last_words(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    fn tell(&self, message: &ToConnector, descriptors: &[BorrowedFd<'_>]) {
        let mut buffer = [0; LOCAL_MAX];
        let packet = encode(message, &mut buffer).unwrap();
        packet_channel::send(&self.running().line, packet, descriptors).unwrap();
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it is switched on")
    }
}

/// Takes what it says, to its end: it holds back what nobody reads.
fn listen(line: &OwnedFd, heard: &Heard) {
    let mut buffer = [0; LOCAL_MAX];
    loop {
        match packet_channel::recv(line, &mut buffer) {
            Ok(Received::Packet { len, .. }) => {
                if let Ok(FromConnector::Status(status)) = decode(&buffer[..len]) {
                    *heard.status.lock().unwrap() = Some(status);
                    heard.changed.notify_all();
                }
            }
            Ok(Received::Empty) => {
                let mut descriptors = [PollFd::new(line, PollFlags::IN)];
                poll(&mut descriptors, None).unwrap();
            }
            Ok(Received::TooLong) => {}
            Ok(Received::Closed) | Err(_) => return,
        }
    }
}

/// The machine's own address is [`CONNECTOR`], so that neither the edge nor an application is.
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
