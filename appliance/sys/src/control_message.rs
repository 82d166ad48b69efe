//! What `sendmsg` and `recvmsg` are lent: pieces of memory, and one control message of a few bytes.
//!
//! Nothing but [`receive`] calls the kernel. The tests do to the memory what the kernel does, by the macros of
//! `cmsg(3)`, so that a checker of pointers (`cargo miri test`) can watch.

#![expect(
    unsafe_code,
    reason = "rustix knows neither control message; the tests play the kernel"
)]

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd as _};
use std::ptr;

/// One control message, with the alignment and the padding that `cmsg(3)` asks for.
#[repr(C)]
pub(crate) struct Control {
    header: libc::cmsghdr,
    data: [u8; size_of::<usize>()],
}

impl Control {
    /// Says one byte.
    pub(crate) const fn of_byte(level: libc::c_int, message_type: libc::c_int, value: u8) -> Self {
        let mut data = [0; size_of::<usize>()];
        data[0] = value;
        Self {
            header: libc::cmsghdr {
                cmsg_len: offset_of!(Self, data) + 1,
                cmsg_level: level,
                cmsg_type: message_type,
            },
            data,
        }
    }

    /// Room for what the kernel says.
    const fn room() -> Self {
        Self::of_byte(0, 0, 0)
    }

    /// To send these pieces, which the kernel only reads; the C type lacks the const. The message
    /// points to them and to this, which have to outlive it.
    pub(crate) const fn sending(&mut self, pieces: &[IoSlice<'_>]) -> libc::msghdr {
        // The standard library promises the layout of `iovec`.
        self.message(pieces.as_ptr().cast_mut().cast(), pieces.len())
    }

    /// To receive into these pieces; see [`Self::sending`].
    const fn receiving(&mut self, pieces: &mut [IoSliceMut<'_>]) -> libc::msghdr {
        self.message(pieces.as_mut_ptr().cast(), pieces.len())
    }

    const fn message(&mut self, pieces: *mut libc::iovec, count: usize) -> libc::msghdr {
        libc::msghdr {
            msg_name: ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: pieces,
            msg_iovlen: count,
            msg_control: ptr::from_mut(self).cast(),
            msg_controllen: size_of::<Self>(),
            msg_flags: 0,
        }
    }

    /// The first `N` bytes of what the kernel has said, if that is a message of this type: `used` is the
    /// message's `msg_controllen` after the call.
    fn said<const N: usize>(
        &self,
        used: usize,
        level: libc::c_int,
        message_type: libc::c_int,
    ) -> Option<[u8; N]> {
        let end = offset_of!(Self, data) + N;
        let is_there = used >= end && self.header.cmsg_len >= end;
        let is_meant = self.header.cmsg_level == level && self.header.cmsg_type == message_type;
        let data = self.data.first_chunk().copied();
        data.filter(|_| is_there && is_meant)
    }
}

/// Receives into `pieces`, one after the other, without waiting: how many bytes, and the first `N` bytes of the
/// control message of this type, if there is one.
///
/// # Errors
/// Those of `recvmsg(2)`.
pub(crate) fn receive<const N: usize>(
    socket: impl AsFd,
    pieces: &mut [IoSliceMut<'_>],
    level: libc::c_int,
    message_type: libc::c_int,
) -> io::Result<(usize, Option<[u8; N]>)> {
    let mut control = Control::room();
    let mut message = control.receiving(pieces);
    // SAFETY: `recvmsg` writes what `message` points to: `pieces`, which borrow their bytes exclusively, and
    // `control`, of `msg_controllen` bytes. All outlive the call.
    let received = unsafe {
        libc::recvmsg(
            socket.as_fd().as_raw_fd(),
            &raw mut message,
            libc::MSG_DONTWAIT,
        )
    };
    let Ok(length) = usize::try_from(received) else {
        return Err(io::Error::last_os_error());
    };
    let said = control.said(message.msg_controllen, level, message_type);
    Ok((length, said))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVEL: libc::c_int = 282;
    const TYPE: libc::c_int = 36;

    #[test]
    fn the_kernel_finds_the_message_and_every_byte_of_what_is_sent() {
        for payload in [&[][..], &[1], &[7; 300]] {
            let pieces = [IoSlice::new(payload), IoSlice::new(b"and more")];
            let mut control = Control::of_byte(LEVEL, TYPE, 21);
            let message = control.sending(&pieces);
            let expected = [payload, b"and more"].concat();
            assert_eq!(read_as_the_kernel(&message), (21, expected));
        }
    }

    #[test]
    fn what_the_kernel_receives_is_in_the_pieces_and_what_it_says_is_told() {
        let (mut first, mut second) = ([0; 3], [0; 9]);
        let mut control = Control::room();
        let mut pieces = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        let mut message = control.receiving(&mut pieces);
        write_as_the_kernel(&mut message, b"a record", &[22, 1, 2, 3]);
        let used = message.msg_controllen;
        assert_eq!(control.said(used, LEVEL, TYPE), Some([22]));
        assert_eq!(control.said(used, LEVEL, TYPE), Some([22, 1, 2, 3]));
        assert_eq!((&first, &second), (b"a r", b"ecord\0\0\0\0"));
    }

    #[test]
    fn what_the_kernel_has_not_said_is_not_told() {
        let mut control = Control::room();
        let room = control.receiving(&mut []).msg_controllen;
        for (said, used) in [(&[][..], 0), (&[], room), (&[1, 2, 3], room)] {
            let mut message = control.receiving(&mut []);
            write_as_the_kernel(&mut message, b"", said);
            assert_eq!(control.said::<4>(used, LEVEL, TYPE), None);
            assert_eq!(control.said::<1>(used, LEVEL, TYPE + 1), None);
            assert_eq!(control.said::<1>(used, LEVEL + 1, TYPE), None);
        }
    }

    #[test]
    fn there_is_room_for_exactly_one_control_message_of_one_byte_or_a_few() {
        for len in [1, 4, 8] {
            // SAFETY: it computes with numbers alone.
            let space = unsafe { libc::CMSG_SPACE(len) };
            assert_eq!(size_of::<Control>(), usize::try_from(space).unwrap());
        }
        assert_eq!(align_of::<Control>(), align_of::<libc::cmsghdr>());
    }

    /// What `sendmsg` takes: the byte of its control message, and the bytes of all pieces.
    fn read_as_the_kernel(message: &libc::msghdr) -> (u8, Vec<u8>) {
        let mut bytes = Vec::new();
        // SAFETY: the message is of `Control::sending`: its pointers are to `msg_iovlen` pieces, each readable
        // as far as it says, and to `msg_controllen` bytes that begin with a header.
        unsafe {
            for number in 0..message.msg_iovlen {
                let piece = message.msg_iov.add(number).read();
                let base = piece.iov_base.cast::<u8>();
                bytes.extend_from_slice(std::slice::from_raw_parts(base, piece.iov_len));
            }
            let first = libc::CMSG_FIRSTHDR(message);
            assert!(libc::CMSG_NXTHDR(message, first).is_null());
            let header = first.read();
            assert_eq!((header.cmsg_level, header.cmsg_type), (LEVEL, TYPE));
            assert_eq!(header.cmsg_len, usize::try_from(libc::CMSG_LEN(1)).unwrap());
            (libc::CMSG_DATA(first).read(), bytes)
        }
    }

    /// What `recvmsg` leaves: bytes in the pieces, and a control message with some, or none.
    fn write_as_the_kernel(message: &mut libc::msghdr, mut bytes: &[u8], said: &[u8]) {
        // SAFETY: as above, and pieces and control message are lent exclusively; no piece is filled beyond
        // its length, and the control message has room for eight bytes, which `said` does not exceed.
        unsafe {
            for number in 0..message.msg_iovlen {
                let piece = message.msg_iov.add(number).read();
                let (now, later) = bytes.split_at(bytes.len().min(piece.iov_len));
                ptr::copy_nonoverlapping(now.as_ptr(), piece.iov_base.cast(), now.len());
                bytes = later;
            }
            if said.is_empty() {
                message.msg_controllen = 0;
                return;
            }
            let len = u32::try_from(said.len()).unwrap();
            let first = libc::CMSG_FIRSTHDR(message);
            first.write(libc::cmsghdr {
                cmsg_len: usize::try_from(libc::CMSG_LEN(len)).unwrap(),
                cmsg_level: LEVEL,
                cmsg_type: TYPE,
            });
            ptr::copy_nonoverlapping(said.as_ptr(), libc::CMSG_DATA(first), said.len());
            message.msg_controllen = usize::try_from(libc::CMSG_SPACE(len)).unwrap();
        }
    }
}
