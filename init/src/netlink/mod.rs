//! Links, addresses and routes over rtnetlink, and the kernel's device events.

pub mod message;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send,
    socket_with,
};

pub use message::{Address, AddressState, Answer, Lifetimes, Link};

/// Largest packet from the kernel: it fills pages, and a link with all its attributes takes 2 KB.
const PACKET_MAX: usize = 32 * 1024;

/// Packets read for one request. A list of links takes one packet for about ten links.
const PACKETS_MAX: usize = 64;

/// A socket for requests. The kernel carries out an rtnetlink request, and queues its answer,
/// within the system call that sends it; nothing here waits.
#[derive(Debug)]
pub struct Requests {
    socket: OwnedFd,
}

impl Requests {
    /// Opens it.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            socket: open(None, 0)?,
        })
    }

    /// All links, in the order of their index.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn links(&self) -> io::Result<Vec<Link>> {
        let answers = self.exchange(&message::list_links())?;
        let mut links: Vec<_> = answers
            .into_iter()
            .filter_map(|answer| {
                if let Answer::Link(link) = answer {
                    Some(link)
                } else {
                    None
                }
            })
            .collect();
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// The IPv6 addresses of one link.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn ipv6_addresses(&self, link: u32) -> io::Result<Vec<AddressState>> {
        let answers = self.exchange(&message::list_ipv6_addresses())?.into_iter();
        Ok(answers
            .filter_map(|answer| match answer {
                Answer::Address(state) if state.link == link => Some(state),
                _ => None,
            })
            .collect())
    }

    /// Sends a request that changes something.
    ///
    /// # Errors
    /// With the kernel's errno.
    pub fn change(&self, request: &[u8]) -> io::Result<()> {
        self.exchange(request).map(|_| ())
    }

    /// Sends a request and reads its answers up to the last.
    fn exchange(&self, request: &[u8]) -> io::Result<Vec<Answer>> {
        send(&self.socket, request, SendFlags::empty())?;
        let mut all = Vec::new();
        let mut buffer = vec![0; PACKET_MAX];
        for _ in 0..PACKETS_MAX {
            for answer in receive(self.socket.as_fd(), &mut buffer)? {
                match answer {
                    Answer::Done | Answer::Result(0) => return Ok(all),
                    Answer::Result(errno) => return Err(io::Error::from_raw_os_error(errno)),
                    Answer::Link(_) | Answer::LinkGone(_) | Answer::Address(_) | Answer::Other => {
                        all.push(answer);
                    }
                }
            }
        }
        Err(io::Error::other(format!(
            "no end of the kernel's answer in {PACKETS_MAX} packets"
        )))
    }
}

/// A socket that becomes readable when a link changes, or an IPv6 address of one.
#[derive(Debug)]
pub struct LinkEvents {
    socket: OwnedFd,
}

impl LinkEvents {
    /// Opens it.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            socket: open(None, GROUP_LINK | GROUP_IPV6_ADDRESS)?,
        })
    }

    /// Empties it. What changed is asked of [`Requests`], which also covers events that were lost
    /// because the socket was full.
    pub fn drain(&self) {
        drain(self.socket.as_fd());
    }
}

impl AsFd for LinkEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A socket that becomes readable when a device appears or goes.
#[derive(Debug)]
pub struct DeviceEvents {
    socket: OwnedFd,
}

impl DeviceEvents {
    /// Opens it.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            socket: open(Some(KOBJECT_UEVENT), GROUP_KERNEL)?,
        })
    }

    /// Empties it. Which devices there are is looked up in `/sys`.
    pub fn drain(&self) {
        drain(self.socket.as_fd());
    }
}

impl AsFd for DeviceEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn open(protocol: Option<Protocol>, groups: u32) -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        protocol,
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Vec<Answer>> {
    let (_, len) = recv(socket, &mut *buffer, RecvFlags::empty())?;
    Ok(message::parse(buffer.get(..len).unwrap_or_default()))
}

fn drain(socket: BorrowedFd<'_>) {
    let mut buffer = [0; 512];
    for _ in 0..DRAIN_MAX {
        match recv(socket, &mut buffer, RecvFlags::TRUNC) {
            // The kernel dropped events because the socket was full; there may be more.
            Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Events thrown away in one go, so that a storm of them does not keep PID 1.
const DRAIN_MAX: usize = 1024;
/// `RTMGRP_LINK`.
const GROUP_LINK: u32 = 1;
/// `RTMGRP_IPV6_IFADDR`.
const GROUP_IPV6_ADDRESS: u32 = 0x100;
/// The group in which the kernel itself sends device events.
const GROUP_KERNEL: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_found_and_is_no_nic() {
        let links = Requests::open().unwrap().links().unwrap();
        let loopback = links.iter().find(|link| link.name == "lo").unwrap();
        assert!(!loopback.is_ethernet);
    }

    #[test]
    fn a_change_the_kernel_refuses_is_an_error() {
        let requests = Requests::open().unwrap();
        assert!(requests.change(&message::set_link_up(0x7fff_fff0)).is_err());
    }
}
