//! Hardware evidence: what PID 1 tells the connector about the machine, and when it changes.
//!
//! What is told decides nothing here. Another VM generation id means that the machine was cloned,
//! restored or reverted: the connector then drops what is from before, and the clock is looked at anew.

use std::io;
use std::os::fd::OwnedFd;

use connector_proto::local::{StartDescriptors, ToConnector, text};
use connector_proto::message::Fingerprint;
use connector_proto::time::Instant;

use super::Machine;
use crate::clock;
use crate::hardware;
use crate::hub::{Hub, SLOT_START};
use crate::service::Service;
use crate::time_policy::Input;

impl Machine {
    /// Sends the connector its `Start`. It works without what it cannot be given.
    pub(super) fn send_connector_start(&mut self) -> io::Result<()> {
        let state = self.state_disk.descriptor()?;
        let tpm = hardware::tpm().unwrap_or_else(|error| {
            log::warn!("the TPM cannot be opened: {error}");
            None
        });
        let fingerprint = self.look_at_evidence();
        let start = ToConnector::Start {
            descriptors: StartDescriptors {
                state: state.is_some(),
                tpm: tpm.is_some(),
            },
            edge: self.hub.settings().edge.clone(),
            fingerprint,
            version: text(&self.build.version),
            engine: self.hub.settings().engine.unwrap_or_default(),
        };
        let descriptors: Vec<OwnedFd> = state.into_iter().chain(tpm).collect();
        self.send(Service::Connector, SLOT_START, &start, descriptors)?;
        self.take_evidence(clock::boot_now(), fingerprint);
        Ok(())
    }

    /// Tells the connector if the evidence is other than it was told. To be called whenever a device,
    /// a NIC or the clock changed: the kernel's event for another generation id is one of a device.
    pub(super) fn check_evidence(&mut self, now: Instant) {
        let found = self.look_at_evidence();
        if self.take_evidence(now, found) {
            self.deliver(vec![Hub::evidence(found)]);
        }
    }

    /// Whether the evidence has changed since it was looked at before.
    fn take_evidence(&mut self, now: Instant, found: Fingerprint) -> bool {
        let Some(before) = self.evidence.replace(found) else {
            return false;
        };
        if found.vm_generation != before.vm_generation {
            log::warn!("the machine was cloned, restored or reverted to a snapshot");
            self.tell_policy(now, Input::Resumed);
        }
        found != before
    }

    fn look_at_evidence(&self) -> Fingerprint {
        let before = self.evidence.unwrap_or_default();
        Fingerprint {
            // The last one known, while a NIC is changed for another.
            mac: self.network.mac().unwrap_or(before.mac),
            smbios_uuid: hardware::smbios_uuid(),
            vm_generation: hardware::vm_generation(),
            // The connector asks the TPM itself.
            ..Fingerprint::default()
        }
    }
}
