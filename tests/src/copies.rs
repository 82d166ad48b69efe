//! What a hypervisor does to a machine beside switching it on and off: copies, snapshots, other cards.
//!
//! A lab's network takes several guests; each needs a hardware address of its own, by which it is told from
//! the others in the capture ([`connects`]). QEMU keeps a snapshot, memory and all, on the machine's disk:
//! [`BootOptions::snapshot`] goes on from it. A machine with UEFI has none, for its variables are not on
//! that disk.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use disk_format::gpt::Gpt;
use disk_format::qcow2;
use disk_format::slot::partition;
use qemu::mac::Mac;

use crate::appliance::{Appliance, BootOptions};
use crate::lab::{Lab, LabError};
use crate::network::address::EDGE;
use crate::network::segment::Segment;
use crate::pcap::{Direction, Frame};

impl BootOptions {
    /// A machine of its own beside this one, with nothing in common but how it is built.
    #[must_use]
    pub fn another(&self, name: &str, number: u8) -> Self {
        Self {
            uuid: format!("00000000-0000-4000-8000-0000000000{number:02x}"),
            ..self.copy(name, number)
        }
    }

    /// A copy with the same UUID. Its card and its VM generation id are its own, as hypervisors make
    /// them for a copy. Its disk is made by [`Lab::clone_disk`] or [`Lab::clone_running`].
    #[must_use]
    pub fn copy(&self, name: &str, number: u8) -> Self {
        Self {
            name: name.to_owned(),
            mac: Mac::in_static_range(number.into()),
            ..self.forked(number)
        }
    }

    /// The same machine with another VM generation id, as a hypervisor gives it to one that goes on from
    /// an earlier state.
    #[must_use]
    pub fn forked(&self, number: u8) -> Self {
        Self {
            generation: format!("00000000-0000-4000-9000-0000000000{number:02x}"),
            ..self.clone()
        }
    }
}

impl Lab {
    /// Copies the disk of one appliance for another, as it is while the first is off.
    ///
    /// # Errors
    /// When the first was never booted.
    pub fn clone_disk(&self, from: &str, to: &str) -> Result<(), LabError> {
        let disk = |name: &str| self.folder().join(format!("{name}.qcow2"));
        fs::copy(disk(from), disk(to))
            .map(drop)
            .map_err(LabError::Io)
    }

    /// Copies the disk of a machine that runs. It is stopped meanwhile, so that what it had written is
    /// in the file; it notices a short pause.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn clone_running(
        &self,
        original: &mut Appliance,
        from: &str,
        to: &str,
    ) -> Result<(), LabError> {
        original.qmp().stop().map_err(LabError::Qmp)?;
        let copied = self.clone_disk(from, to);
        original.qmp().cont().map_err(LabError::Qmp)?;
        copied
    }

    /// How often the card with this address began to connect to the edge.
    #[must_use]
    pub fn connects(&self, mac: Mac) -> usize {
        let frames = self.network().capture().frames();
        let ports = frames.iter().filter_map(|frame| connects(frame, mac));
        // A segment that is sent again is no other connection.
        ports.collect::<BTreeSet<_>>().len()
    }

    /// How often the card with this address asked the edge for a control channel. Data channels come and go
    /// by themselves: they are kept warm.
    #[must_use]
    pub fn control_channels(&self, mac: Mac) -> usize {
        let frames = self.network().capture().frames();
        let ports = frames
            .iter()
            .filter(|frame| asks_for_control(frame))
            .filter_map(|frame| from_card(frame, mac))
            .map(|segment| segment.from.port());
        // A segment that is sent again is no other connection.
        ports.collect::<BTreeSet<_>>().len()
    }

    /// Waits until no frame has passed for a second; false if one always did.
    #[must_use]
    pub fn falls_silent(&self, limit: Duration) -> bool {
        let capture = self.network().capture();
        let start = Instant::now();
        while start.elapsed() < limit {
            if !capture.wait_for_after(capture.count(), SILENCE, |_| true) {
                return true;
            }
        }
        false
    }

    /// Connections to the edge that the card with this address began within the first `until` frames
    /// of the capture, and on which it sent bytes later: their ports.
    #[must_use]
    pub fn old_connections_used(&self, mac: Mac, until: usize) -> BTreeSet<u16> {
        let frames = self.network().capture().frames();
        let (before, after) = frames.split_at(until.min(frames.len()));
        let mut old: BTreeSet<_> = before
            .iter()
            .filter_map(|frame| connects(frame, mac))
            .collect();
        let later = after.iter().filter_map(|frame| from_card(frame, mac));
        let (opened, used): (Vec<_>, Vec<_>) = later
            .filter(|segment| segment.to == EDGE.into() && (segment.opens || segment.has_payload))
            .partition(|segment| segment.opens);
        // A port that is taken once more is another connection's.
        old.retain(|port| !opened.iter().any(|segment| segment.from.port() == *port));
        let used: BTreeSet<_> = used.iter().map(|segment| segment.from.port()).collect();
        &old & &used
    }

    /// Everything on the disk of an appliance that is off, or on the copy of one.
    ///
    /// # Errors
    /// [`LabError::Io`].
    pub fn disk_of(&self, name: &str) -> Result<Vec<u8>, LabError> {
        let image = fs::read(self.folder().join(format!("{name}.qcow2"))).map_err(LabError::Io)?;
        qcow2::parse(&image, DISK_BYTES_MAX)
            .map_err(|_| LabError::Io(io::ErrorKind::InvalidData.into()))
    }

    /// The state partition of such a disk.
    ///
    /// # Errors
    /// [`LabError::Io`].
    pub fn state_of(&self, name: &str) -> Result<Vec<u8>, LabError> {
        let disk = self.disk_of(name)?;
        let state = || -> Option<Vec<u8>> {
            let table = Gpt::parse_primary(&disk).ok()?;
            let state = table.find(partition::STATE)?;
            let byte = |lba: u64| usize::try_from(lba * disk_format::SECTOR_BYTES).ok();
            let bytes = disk.get(byte(state.first_lba)?..byte(state.last_lba + 1)?)?;
            Some(bytes.to_vec())
        };
        state().ok_or_else(|| LabError::Io(io::ErrorKind::InvalidData.into()))
    }

    /// Everything in a machine's memory. It is stopped meanwhile.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn memory_of(&self, appliance: &mut Appliance) -> Result<Vec<u8>, LabError> {
        let file = self.folder().join("memory");
        let qmp = appliance.qmp();
        qmp.stop().map_err(LabError::Qmp)?;
        let saved = qmp.pmemsave(0, DEFAULT_MEMORY_BYTES, &file);
        qmp.cont().map_err(LabError::Qmp)?;
        saved.map_err(LabError::Qmp)?;
        let bytes = fs::read(&file).map_err(LabError::Io);
        fs::remove_file(&file).map_err(LabError::Io)?;
        bytes
    }
}

/// The port from which a card with this address begins to connect to the edge, if this frame is that.
#[must_use]
pub fn connects(frame: &Frame, mac: Mac) -> Option<u16> {
    let segment = from_card(frame, mac)?;
    (segment.opens && segment.to == EDGE.into()).then(|| segment.from.port())
}

/// Whether this is the hello of a TLS client that wants a control channel: the protocol's name is not encrypted.
fn asks_for_control(frame: &Frame) -> bool {
    let mut windows = frame.bytes.windows(ALPN_CONTROL.len());
    windows.any(|window| window == ALPN_CONTROL)
}

/// What a card with this address sent, if it is of TCP.
fn from_card(frame: &Frame, mac: Mac) -> Option<Segment> {
    let is_from_it = frame.direction == Direction::FromGuest
        && frame.bytes.get(6..12) == Some(mac.bytes().as_slice());
    Segment::parse(&frame.bytes).filter(|_| is_from_it)
}

/// The name that a TLS client asks for a control channel by (`docs/PROTOCOL.md`).
const ALPN_CONTROL: &[u8] = b"outgate-control/1";

/// How long nothing passes in a network that is silent.
const SILENCE: Duration = Duration::from_secs(1);

/// Largest virtual disk that is read.
const DISK_BYTES_MAX: u64 = 1 << 30;

/// The memory of a machine that is as people boot it: [`BootOptions::memory_mib`].
const DEFAULT_MEMORY_BYTES: usize = 128 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_shares_the_uuid_a_fork_the_card_too_and_another_machine_nothing() {
        let original = BootOptions::default();
        let shared = |other: &BootOptions| {
            [
                other.uuid == original.uuid,
                other.mac == original.mac,
                other.generation == original.generation,
                other.name == original.name,
            ]
        };
        assert_eq!(shared(&original.forked(2)), [true, true, false, true]);
        assert_eq!(
            shared(&original.copy("copy", 2)),
            [true, false, false, false]
        );
        assert_eq!(shared(&original.another("other", 2)), [false; 4]);
    }
}
