//! A packet socket that can hear DHCP answers and IPv6 router advertisements, and nothing else.
//!
//! PID 1 opens it and hands it to the unprivileged `netd`. The filter is attached before the socket
//! is bound, so no frame gets in beforehand, and is locked, so the receiver cannot take it off.

#![expect(
    unsafe_code,
    reason = "rustix has neither socket filters nor sockaddr_ll"
)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// Opens a raw packet socket on the interface with index `interface_index`, non-blocking.
///
/// It receives whole Ethernet frames, of which the filter passes three kinds: ARP replies,
/// unfragmented UDP datagrams from port 67 to port 68, and router advertisements that no router
/// forwarded (RFC 4861 section 6.1.2: hop limit 255) and that follow the IPv6 header directly. ARP
/// requests stay with the kernel, so that a question is not answered twice. Frames the machine sent
/// itself are never heard.
///
/// # Errors
/// If the caller lacks `CAP_NET_RAW`, the interface does not exist, or the kernel has no packet
/// sockets.
pub fn open_for_netd(interface_index: u32) -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::PACKET,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None, // protocol 0: nothing is received before `bind` names one
    )?;
    attach_and_lock(socket.as_fd(), &netd_filter())?;
    bind(socket.as_fd(), interface_index)?;
    Ok(socket)
}

/// Attaches `filter` to a socket for good.
fn attach_and_lock(socket: impl AsFd, filter: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        // The kernel only reads the program; the C type lacks the const.
        filter: filter.as_ptr().cast_mut(),
    };
    set_option(socket.as_fd(), libc::SO_ATTACH_FILTER, &program)?;
    let locked: libc::c_int = 1;
    set_option(socket.as_fd(), libc::SO_LOCK_FILTER, &locked)
}

/// Sets an option of level `SOL_SOCKET` whose value is a plain C value.
fn set_option<T: Copy>(socket: impl AsFd, option: libc::c_int, value: &T) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `setsockopt` reads `len` bytes at the pointer, which is a live `T` of that size. The
    // two values passed in this module are an `int` and a `sock_fprog` whose program outlives the
    // call; the kernel copies both.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            std::ptr::from_ref(value).cast(),
            len,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Binds a packet socket to one interface, for all protocols.
fn bind(socket: impl AsFd, interface_index: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: AF_PACKET,
        sll_protocol: ETH_P_ALL.to_be(),
        sll_ifindex: i32::try_from(interface_index).map_err(|_| io::ErrorKind::InvalidInput)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>())
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `bind` reads `len` bytes at the pointer, which is a live, fully initialised
    // `sockaddr_ll` of that size; its family says so to the kernel.
    let result = unsafe {
        libc::bind(
            socket.as_fd().as_raw_fd(),
            std::ptr::from_ref(&address).cast(),
            len,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The classic BPF program: accept ARP replies, DHCP answers and router advertisements, drop
/// everything else.
///
/// Offsets are of the Ethernet frame: type at 12, ARP opcode at 20, IP header at 14, ICMPv6 at 54.
fn netd_filter() -> [libc::sock_filter; 25] {
    [
        load_word(PACKET_TYPE),
        jump(JUMP_EQUAL, PACKET_OUTGOING, 22, 0), // our own frame: drop
        load_half(12),
        jump(JUMP_EQUAL, ETHERTYPE_ARP, 0, 2), // not ARP: skip to the IPv4 test
        load_half(20),
        jump(JUMP_EQUAL, ARP_REPLY, 17, 18),    // accept, or drop
        jump(JUMP_EQUAL, ETHERTYPE_IPV4, 0, 9), // not IPv4: skip to the IPv6 test
        load_half(20),
        jump(JUMP_SET, FRAGMENT_BITS, 15, 0), // a fragment: drop
        load_byte(23),
        jump(JUMP_EQUAL, PROTOCOL_UDP, 0, 13), // not UDP: drop
        load_header_length(14),                // X = length of the IPv4 header
        load_half_indexed(14),
        jump(JUMP_EQUAL, DHCP_SERVER_PORT, 0, 10), // from another port: drop
        load_half_indexed(16),
        jump(JUMP_EQUAL, DHCP_CLIENT_PORT, 7, 8), // accept, or drop
        jump(JUMP_EQUAL, ETHERTYPE_IPV6, 0, 7),   // none of the three: drop
        load_byte(20),
        jump(JUMP_EQUAL, PROTOCOL_ICMPV6, 0, 5), // not ICMPv6, or behind extension headers: drop
        load_byte(21),
        jump(JUMP_EQUAL, HOP_LIMIT_UNFORWARDED, 0, 3), // from another network: drop
        load_byte(54),
        jump(JUMP_EQUAL, ROUTER_ADVERTISEMENT, 0, 1), // another message: drop
        accept(),
        drop_frame(),
    ]
}

const fn statement(code: u32, k: u32) -> libc::sock_filter {
    jump(code, k, 0, 0)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "classic BPF opcodes are below 256"
)]
const fn jump(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}

const fn load_word(offset: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

const fn load_half(offset: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, offset)
}

const fn load_byte(offset: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, offset)
}

const fn load_header_length(offset: u32) -> libc::sock_filter {
    statement(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, offset)
}

const fn load_half_indexed(offset: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, offset)
}

const fn accept() -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, u32::MAX)
}

const fn drop_frame() -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, 0)
}

/// The ancillary word that holds the frame's packet type (`SKF_AD_OFF + SKF_AD_PKTTYPE`).
const PACKET_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE).cast_unsigned();
/// Packet type of a frame this machine sent.
const PACKET_OUTGOING: u32 = 4;
const ETHERTYPE_ARP: u32 = 0x0806;
const ETHERTYPE_IPV4: u32 = 0x0800;
const ETHERTYPE_IPV6: u32 = 0x86dd;
const ARP_REPLY: u32 = 2;
/// "More fragments" and the fragment offset.
const FRAGMENT_BITS: u32 = 0x3fff;
const PROTOCOL_UDP: u32 = 17;
const DHCP_SERVER_PORT: u32 = 67;
const DHCP_CLIENT_PORT: u32 = 68;
const PROTOCOL_ICMPV6: u32 = 58;
const HOP_LIMIT_UNFORWARDED: u32 = 255;
const ROUTER_ADVERTISEMENT: u32 = 134;
const JUMP_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const JUMP_SET: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const AF_PACKET: u16 = 17;
const ETH_P_ALL: u16 = 3;

const _: () = assert!(AF_PACKET as i32 == libc::AF_PACKET);
const _: () = assert!(ETH_P_ALL as i32 == libc::ETH_P_ALL);

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "the filter runs in the kernel")]
    fn the_filter_passes_arp_replies_dhcp_answers_and_router_adverts_and_nothing_else() {
        let dhcp = udp(0x45, 67, 68);
        let advert = icmpv6(134);
        let cases: &[(&str, Vec<u8>, bool)] = &[
            ("dhcp answer", dhcp.clone(), true),
            ("dhcp answer behind ip options", udp(0x46, 67, 68), true),
            ("arp reply", arp(2), true),
            ("arp request", arp(1), false),
            ("udp to another port", udp(0x45, 67, 69), false),
            ("udp from another port", udp(0x45, 53, 68), false),
            ("tcp", with(&dhcp, 23, 6), false),
            ("first fragment", with(&dhcp, 20, 0x20), false),
            ("later fragment", with(&dhcp, 21, 1), false),
            (
                "dhcp answer called ipv6",
                with(&with(&dhcp, 12, 0x86), 13, 0xdd),
                false,
            ),
            ("router advert", advert.clone(), true),
            ("forwarded router advert", with(&advert, 21, 254), false),
            ("router advert behind a header", with(&advert, 20, 0), false),
            (
                "router advert called ipv4",
                with(&with(&advert, 12, 8), 13, 0),
                false,
            ),
            ("router solicitation", icmpv6(133), false),
            ("neighbour advert", icmpv6(136), false),
            ("redirect", icmpv6(137), false),
            ("cut off router advert", advert[..54].to_vec(), false),
            ("vlan tag", with(&with(&advert, 12, 0x81), 13, 0), false),
            ("cut off", dhcp[..30].to_vec(), false),
            ("empty", vec![], false),
        ];
        for (name, frame, passes) in cases {
            assert_eq!(is_passed(frame), *passes, "{name}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "the filter runs in the kernel")]
    fn the_filter_cannot_be_replaced_once_it_is_locked() {
        let (_sender, receiver) = UnixDatagram::pair().unwrap();
        attach_and_lock(&receiver, &netd_filter()).unwrap();
        let error = attach_and_lock(&receiver, &[accept()]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    /// Whether the kernel delivers `frame` through the filter; a Unix socket runs the same code.
    fn is_passed(frame: &[u8]) -> bool {
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        attach_and_lock(&receiver, &netd_filter()).unwrap();
        receiver.set_nonblocking(true).unwrap();
        sender.send(frame).unwrap();
        let mut buffer = [0; 2048];
        receiver.recv(&mut buffer).is_ok()
    }

    fn udp(version_and_length: u8, from: u8, to: u8) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        let header_len = usize::from(version_and_length & 0xf) * 4;
        let mut header = vec![0; header_len];
        header[0] = version_and_length;
        header[9] = 17;
        frame.extend(header);
        frame.extend([0, from, 0, to, 0, 8, 0, 0]);
        frame
    }

    fn arp(opcode: u8) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, opcode]);
        frame.extend([0; 20]);
        frame
    }

    fn icmpv6(message_type: u8) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 16, 58, 255]);
        frame.extend([0; 32]);
        frame.extend([message_type, 0, 0, 0]);
        frame.extend([0; 12]);
        frame
    }

    fn with(frame: &[u8], at: usize, byte: u8) -> Vec<u8> {
        let mut frame = frame.to_vec();
        frame[at] = byte;
        frame
    }
}
