//! The smoltcp device: one frame in at a time, frames out in a queue. The packet socket is the
//! caller's.

use std::collections::VecDeque;

use smoltcp::phy::{
    Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken,
};
use smoltcp::time::Instant;

/// Largest Ethernet frame without a tag: DHCP never needs a larger one.
pub const FRAME_MAX: usize = 1514;

/// Frames on their way between the client and the caller.
#[derive(Debug, Default)]
pub struct Wire {
    /// The frame the client is to read next.
    pub incoming: Option<Vec<u8>>,
    /// What the client sent, oldest first. The caller takes it after every call to the client,
    /// which sends two frames in one go at most.
    pub outgoing: VecDeque<Vec<u8>>,
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sender<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Sender<'_>)> {
        let frame = self.incoming.take()?;
        Some((Received { frame }, Sender { wire: self }))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sender<'_>> {
        Some(Sender { wire: self })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_MAX;
        capabilities.checksum = checksums();
        capabilities
    }
}

/// A hypervisor that hands frames over in memory leaves UDP checksums half done, and the kernel
/// shows them to packet sockets as they are. Ethernet has its own; so they are made, not checked.
fn checksums() -> ChecksumCapabilities {
    let mut checksums = ChecksumCapabilities::default();
    checksums.udp = Checksum::Tx;
    checksums
}

/// A frame that came in.
#[derive(Debug)]
pub struct Received {
    frame: Vec<u8>,
}

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.frame)
    }
}

/// The right to send one frame.
#[derive(Debug)]
pub struct Sender<'a> {
    wire: &'a mut Wire,
}

impl TxToken for Sender<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.wire.outgoing.push_back(frame);
        result
    }
}
