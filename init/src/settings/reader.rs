//! The process that reads and parses what was set, and ends.

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;

use connector_proto::local::{Text, text};
use connector_sys::vmware::Backdoor;
use disk_format::slot::boot_key;
use ovf::given::Given;
use ovf::property::{KEY_PREFIX, PROPERTIES, Property};
use ovf::{cd, environment, settings};
use rustix::event::{PollFd, PollFlags};

use super::message::{FromSettings, Minted, Place, ToSettings};
use super::{convert, guestinfo};
use crate::channel::{Channel, Received, Slot};
use crate::readiness::wait;
use crate::role;
use crate::slot::boot_state::BootState;

/// Most complaints about one place that are told.
const COMPLAINTS_MAX: usize = 8;
/// The variable in which VMware's hypervisor keeps the OVF environment.
const VARIABLE: &str = "guestinfo.ovfEnv";

/// Reads every place that PID 1 names.
///
/// # Errors
/// If the local channel fails.
pub fn run() -> io::Result<()> {
    role::drop_privileges()?;
    let channel = Channel::from_stdin()?;
    let mut questions = questions(&channel)?;
    // Where a hypervisor only looks like VMware's, its backdoor ends this process.
    questions.sort_by_key(|(question, _)| matches!(question, ToSettings::Guestinfo));
    let mut report = Report { channel, slot: 0 };
    let mut fw_cfg = Given::default();
    for (question, descriptor) in questions {
        match question {
            ToSettings::FwCfg { key, content } => take_item(&mut fw_cfg, &key, &content),
            ToSettings::Guestinfo => report.answer(Place::Guestinfo, from_guestinfo())?,
            ToSettings::Cd => report.answer(Place::Cd, from_cd(descriptor))?,
            ToSettings::Disk => report.disk(descriptor)?,
            ToSettings::Image { content } => {
                let mut given = Given::default();
                take_item(&mut given, "edge", &content);
                report.place(Place::Image, given, None)?;
            }
            // All items are there, and of everything else only the backdoor is still to be asked.
            ToSettings::Go => report.place(Place::FwCfg, std::mem::take(&mut fw_cfg), None)?,
        }
    }
    report.finish()
}

/// What PID 1 asks, up to and with its `Go`.
fn questions(channel: &Channel) -> io::Result<Vec<(ToSettings, Option<OwnedFd>)>> {
    let mut questions = Vec::new();
    loop {
        match channel.receive()? {
            Received::Message(question, descriptors) => {
                let is_last = matches!(question, ToSettings::Go);
                questions.push((question, descriptors.into_iter().next()));
                if is_last {
                    return Ok(questions);
                }
            }
            Received::Empty => {
                let fd = channel.as_fd();
                wait(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], None)?;
            }
            Received::Malformed => return Err(io::ErrorKind::InvalidData.into()),
            Received::Closed => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Notes one text, under its key behind `outgate.`.
fn take_item(given: &mut Given, key: &str, content: &[u8]) {
    match Property::find(&format!("{KEY_PREFIX}{key}")) {
        Some(property) => given.take_bytes(property, content),
        None => given.take_unknown(key, &String::from_utf8_lossy(content)),
    }
}

fn from_guestinfo() -> Result<Given, String> {
    let Some(mut backdoor) = Backdoor::find() else {
        return Ok(Given::default());
    };
    let document = guestinfo::get(&mut backdoor, VARIABLE).map_err(|error| error.to_string())?;
    read_environment(document)
}

fn from_cd(drive: Option<OwnedFd>) -> Result<Given, String> {
    let drive = File::from(drive.ok_or("no drive was handed over")?);
    let mut probe = [0; cd::SECTOR_BYTES];
    if let Err(error) = drive.read_exact_at(&mut probe, cd::DESCRIPTORS_AT) {
        log::info!("no disc in a drive: {error}");
        return Ok(Given::default());
    }
    let document = cd::environment(&mut |offset, buffer| drive.read_exact_at(buffer, offset));
    read_environment(document.map_err(|error| error.to_string())?)
}

fn read_environment(document: Option<Vec<u8>>) -> Result<Given, String> {
    match document {
        Some(document) if !document.trim_ascii().is_empty() => {
            environment::parse(&document).map_err(|error| error.to_string())
        }
        Some(_) | None => Ok(Given::default()),
    }
}

/// What is told to PID 1.
struct Report {
    channel: Channel,
    slot: Slot,
}

impl Report {
    fn answer(&mut self, place: Place, read: Result<Given, String>) -> io::Result<()> {
        match read {
            Ok(given) => self.place(place, given, None),
            Err(why) => self.complain(&unreadable(place, &why)),
        }
    }

    /// The block of a minted image, whose boot loader's part is not asked for here.
    fn disk(&mut self, partition: Option<OwnedFd>) -> io::Result<()> {
        let Some(partition) = partition else {
            return self.complain(&unreadable(Place::Disk, &"no partition was handed over"));
        };
        // That it cannot be read PID 1 has seen itself.
        let Ok((block, _)) = BootState::read(&mut File::from(partition)) else {
            return Ok(());
        };
        let (given, group) = from_block(|key| block.get(key));
        self.place(Place::Disk, given, group)
    }

    /// What one place says: settings that hold together, and complaints about the rest.
    fn place(&mut self, place: Place, given: Given, group: Option<&str>) -> io::Result<()> {
        let (read, complaints) = settings::settings(given);
        for complaint in complaints.iter().take(COMPLAINTS_MAX) {
            self.complain(&complaint.sentence(place.sentence_name()))?;
        }
        let (settings, minted) = convert::convert(read);
        let group = group.and_then(|group| Text::try_from(group).ok());
        let minted = Minted { group, ..minted };
        self.send(&FromSettings::Found {
            place,
            settings,
            minted,
        })
    }

    fn complain(&mut self, sentence: &str) -> io::Result<()> {
        let sentence = text(sentence);
        self.send(&FromSettings::Complaint { sentence })
    }

    fn send(&mut self, message: &FromSettings) -> io::Result<()> {
        // Each message has a slot of its own, so that none replaces another.
        self.slot = self.slot.saturating_add(1);
        self.channel.send(self.slot, message, Vec::new())
    }

    /// Waits until everything is sent.
    fn finish(mut self) -> io::Result<()> {
        while self.channel.wants_to_send() {
            let fd = self.channel.as_fd();
            wait(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None)?;
            self.channel.flush()?;
        }
        Ok(())
    }
}

/// The minted values of a block, and the group, which is no property.
fn from_block<'a>(get: impl Fn(&str) -> Option<&'a str>) -> (Given, Option<&'a str>) {
    let mut given = Given::default();
    for property in PROPERTIES {
        if let Some(text) = get(property.key_in_class()) {
            given.take(property, text);
        }
    }
    let is_printable = |text: &&str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    (given, get(boot_key::GROUP).filter(is_printable))
}

fn unreadable(place: Place, why: &impl Display) -> String {
    let why = why.to_string();
    let why = why.strip_prefix("OVF environment: ").unwrap_or(&why);
    // Printable, and short enough to leave the rest of the sentence its room.
    let why: String = why
        .chars()
        .filter(|letter| (' '..='~').contains(letter))
        .take(70)
        .collect();
    let place = place.sentence_name();
    format!("{place} has an OVF environment that is no use ({why}): its settings are ignored.")
}

/// Fuzz body: whatever is in an item of QEMU's fw_cfg or in a minted block, what is made of it is what
/// PID 1 takes from an honest reader, and every sentence is printable and fits the console.
///
/// # Panics
/// If that does not hold.
pub fn fuzz_settings(data: &[u8]) {
    let mut given = Given::default();
    let mut items = data.split(|byte| *byte == 0);
    for property in PROPERTIES {
        let content = items.next().unwrap_or_default();
        take_item(&mut given, property.key_in_class(), content);
    }
    take_item(&mut given, "unknown", items.next().unwrap_or_default());
    let (read, complaints) = settings::settings(given);
    for complaint in complaints {
        let sentence = complaint.sentence(Place::Guestinfo.sentence_name());
        assert!(sentence.len() <= 160 && sentence.bytes().all(|b| (b' '..=b'~').contains(&b)));
    }
    let (settings, minted) = convert::convert(read);
    assert!(
        super::check::is_sound(&settings, &minted),
        "{settings:?} {minted:?}"
    );
    let block = String::from_utf8_lossy(data);
    let (given, group) = from_block(|_| Some(&block));
    assert!(given.values.len() + given.complaints.len() <= PROPERTIES.len());
    assert!(group.is_none_or(|group| group.is_ascii()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_minted_block_says_everything_that_can_be_minted() {
        let block = |key: &str| match key {
            "name" => Some("mumbai-01"),
            "mac" => Some("00:50:56:01:02:0f"),
            "group" => Some("Mumbai, 2nd floor"),
            "edge" => Some("edge.example:443"),
            "address" => Some("192.0.2.10/24"),
            "gateway" => Some("192.0.2.1"),
            _ => None,
        };
        let (given, group) = from_block(block);
        assert_eq!(group, Some("Mumbai, 2nd floor"));
        let (read, complaints) = settings::settings(given);
        assert_eq!(complaints, []);
        let (settings, minted) = convert::convert(read);
        assert_eq!(settings.edge.as_deref(), Some("edge.example"));
        assert!(settings.ipv4.is_some_and(|ipv4| ipv4.gateway.is_some()));
        assert_eq!(minted.mac, Some([0, 0x50, 0x56, 1, 2, 15]));
        assert_eq!(from_block(|_| Some("bell\u{7}")).1, None);
    }

    #[test]
    fn an_environment_that_is_no_use_is_named_in_one_line() {
        let error = read_environment(Some(b"<Environment>".to_vec())).unwrap_err();
        let sentence = unreadable(Place::Cd, &error);
        assert!(sentence.starts_with("The OVF CD has an OVF environment that is no use (line 1"));
        assert!(sentence.len() <= 160, "{sentence}");
        assert_eq!(
            read_environment(Some(b" \n".to_vec())),
            Ok(Given::default())
        );
    }

    #[test]
    fn an_item_that_this_version_does_not_know_is_named() {
        let mut given = Given::default();
        take_item(&mut given, "adress", b"192.0.2.10/24");
        let sentence = given.complaints[0].sentence(Place::FwCfg.sentence_name());
        assert_eq!(
            sentence,
            "QEMU's fw_cfg says adress=\"192.0.2.10/24\", which is no setting of this version: ignored."
        );
    }

    proptest! {
        #[test]
        fn whatever_is_given_is_taken_soundly_or_named(
            items in prop::collection::vec("auto|off|[a-z0-9.:/,-]{0,24}|192\\.0\\.2\\.[0-9]{1,3}(/24)?|2001:db8::[0-9](/64)?|\\PC{0,40}", 0..14),
        ) {
            fuzz_settings(items.join("\0").as_bytes());
        }
    }
}
