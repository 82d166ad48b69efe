//! The process that reads settings, asked as PID 1 asks it: what it answers, and that it ends.
#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test and its helpers report"
)]

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use connector_proto::local::Settings;
use disk_format::grubenv::GrubEnv;
use disk_format::slot::BOOT_STATE_BLOCK_OFFSET_BYTES;
use init::channel::{Channel, Received};
use init::readiness::wait;
use init::settings::message::ToSettings;
use init::settings::{FromSettings, Minted, Place};
use rustix::event::{PollFd, PollFlags};

#[test]
fn every_place_is_read_and_answered_and_the_reader_ends() {
    let mut reader = Reader::start();
    for (key, content) in [
        ("address", "192.0.2.10/24"),
        ("gateway", "192.0.2.1"),
        ("vlan", "many"),
        ("adress", "192.0.2.11"),
    ] {
        let content = content.bytes().collect();
        let key = key.try_into().unwrap();
        reader.ask(&ToSettings::FwCfg { key, content }, None);
    }
    let content = b"edge.example\n".iter().copied().collect();
    reader.ask(&ToSettings::Image { content }, None);
    reader.ask(&ToSettings::Disk, Some(minted_disk()));
    reader.ask(&ToSettings::Cd, Some(File::open("/dev/null").unwrap()));
    reader.ask(&ToSettings::Guestinfo, None);
    reader.ask(&ToSettings::Go, None);
    let (answers, is_success) = reader.end();
    assert!(is_success, "{answers:?}");

    let (settings, _) = found(&answers, Place::FwCfg);
    assert!(settings.ipv4.is_some_and(|ipv4| ipv4.gateway.is_some()));
    let (settings, minted) = found(&answers, Place::Disk);
    assert_eq!(settings.edge.as_deref(), Some("edge.example:8443"));
    assert_eq!(minted.name.as_deref(), Some("mumbai-01"));
    assert_eq!(minted.group.as_deref(), Some("Mumbai West"));
    let (settings, _) = found(&answers, Place::Image);
    assert_eq!(settings.edge.as_deref(), Some("edge.example"));
    assert_eq!(found(&answers, Place::Cd), Default::default());
    let complaints: Vec<_> = answers
        .iter()
        .filter_map(|answer| match answer {
            FromSettings::Complaint { sentence } => Some(sentence.as_str()),
            FromSettings::Found { .. } => None,
        })
        .collect();
    assert_eq!(
        complaints,
        [
            "The disk says ntp=\"a b\", which is not up to 4 names or IP addresses, commas between: \
             ignored.",
            "QEMU's fw_cfg says vlan=\"many\", which is not a VLAN from 1 to 4094: ignored.",
            "QEMU's fw_cfg says adress=\"192.0.2.11\", which is no setting of this version: ignored.",
        ]
    );
}

#[test]
fn a_reader_that_nobody_asks_to_go_ends_with_its_channel() {
    let mut reader = Reader::start();
    reader.ask(&ToSettings::Guestinfo, None);
    let Reader { channel, mut child } = reader;
    drop(channel);
    assert!(!child.wait().unwrap().success());
}

/// A boot-state partition as the mint leaves it, with a slip.
fn minted_disk() -> File {
    let mut block = GrubEnv::new();
    for (key, value) in [
        ("good", "a"),
        ("name", "mumbai-01"),
        ("group", "Mumbai West"),
        ("edge", "edge.example:8443"),
        ("ntp", "a b"),
    ] {
        block.set(key, value).unwrap();
    }
    let path = std::env::temp_dir().join(format!("outgate-boot-state-{}", std::process::id()));
    let mut file = File::create(&path).unwrap();
    let before = usize::try_from(BOOT_STATE_BLOCK_OFFSET_BYTES).unwrap();
    file.write_all(&vec![0; before]).unwrap();
    file.write_all(&block.emit()).unwrap();
    let read = File::open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    read
}

fn found(answers: &[FromSettings], wanted: Place) -> (Settings, Minted) {
    let mut found = answers.iter().filter_map(|answer| match answer {
        FromSettings::Found {
            place,
            settings,
            minted,
        } if *place == wanted => Some((settings.clone(), minted.clone())),
        _ => None,
    });
    let first = found.next().unwrap();
    assert!(found.next().is_none(), "{wanted:?} is told once");
    first
}

/// The process, with PID 1's end of its channel.
struct Reader {
    channel: Channel,
    child: Child,
}

impl Reader {
    fn start() -> Self {
        let (channel, theirs) = Channel::pair().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_init"))
            .arg0("/bin/settings")
            .env_clear()
            .stdin(Stdio::from(theirs))
            .spawn()
            .unwrap();
        Self { channel, child }
    }

    fn ask(&mut self, question: &ToSettings, device: Option<File>) {
        let devices = device.into_iter().map(OwnedFd::from).collect();
        self.channel.send(0, question, devices).unwrap();
        assert!(
            !self.channel.wants_to_send(),
            "there is room for every question"
        );
    }

    /// Its answers, and whether it ended well.
    fn end(mut self) -> (Vec<FromSettings>, bool) {
        let mut answers = Vec::new();
        loop {
            match self.channel.receive().unwrap() {
                Received::Message(answer, _) => answers.push(answer),
                Received::Empty => {
                    let fd = self.channel.as_fd();
                    wait(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], None).unwrap();
                }
                Received::Closed => break,
                Received::Malformed => panic!("no message"),
            }
        }
        (answers, self.child.wait().unwrap().success())
    }
}
