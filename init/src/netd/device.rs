//! The packet socket as a smoltcp device.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use smoltcp::phy::{
    Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken,
};
use smoltcp::time::Instant;

/// Largest Ethernet frame without a tag: DHCP never needs a larger one.
const FRAME_MAX: usize = 1514;

/// A non-blocking packet socket that PID 1 opened and filtered.
#[derive(Debug)]
pub struct PacketDevice {
    socket: OwnedFd,
}

impl PacketDevice {
    /// Takes the socket over.
    #[must_use]
    pub const fn new(socket: OwnedFd) -> Self {
        Self { socket }
    }
}

impl AsFd for PacketDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Device for PacketDevice {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sender<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Sender<'_>)> {
        let mut frame = vec![0; FRAME_MAX];
        let (_, len) = recv(&self.socket, frame.as_mut_slice(), RecvFlags::empty()).ok()?;
        frame.truncate(len);
        Some((
            Received { frame },
            Sender {
                socket: self.socket.as_fd(),
            },
        ))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sender<'_>> {
        Some(Sender {
            socket: self.socket.as_fd(),
        })
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
    socket: BorrowedFd<'a>,
}

impl TxToken for Sender<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        // A frame that is not sent is a frame that is lost: the client asks again.
        if let Err(error) = send(self.socket, &frame, SendFlags::DONTWAIT) {
            log::debug!("a frame of {len} bytes was not sent: {error}");
        }
        result
    }
}
