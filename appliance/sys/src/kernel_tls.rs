//! Kernel TLS (Linux `Documentation/networking/tls.rst`): keys go into a TCP socket, and from then on the
//! kernel seals what is sent, opens what comes, and `splice(2)` moves plain bytes.
//!
//! Records of application data are sent and received as if there were no TLS. Those of other types are
//! sent by [`send_record`] and received by [`receive_record`]: to splice or read one fails.

#![expect(
    unsafe_code,
    reason = "rustix has neither the socket options of SOL_TLS nor its control messages"
)]

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd as _};

use zeroize::Zeroizing;

use crate::control_message::{self, Control};

/// The suites that the kernel may be given, each with TLS 1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// `TLS13_AES_128_GCM_SHA256`.
    Aes128Gcm,
    /// `TLS13_AES_256_GCM_SHA384`.
    Aes256Gcm,
    /// `TLS13_CHACHA20_POLY1305_SHA256`.
    Chacha20Poly1305,
}

impl Suite {
    /// Bytes of its key.
    #[must_use]
    pub const fn key_length(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::Chacha20Poly1305 => 32,
        }
    }
}

/// The keys of one direction. No `Debug`: they are secret.
#[expect(missing_debug_implementations, reason = "the keys are secret")]
pub struct TrafficKey<'a> {
    /// Which AEAD.
    pub suite: Suite,
    /// 16 bytes for AES-128, else 32.
    pub key: &'a [u8],
    /// The 12 bytes that are combined with the sequence number.
    pub iv: [u8; 12],
    /// The number of the next record.
    pub sequence: u64,
}

/// One direction of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What comes.
    Receive,
    /// What is sent.
    Send,
}

/// Makes a connected TCP socket one that takes keys. It goes on as before until it has some. A socket on
/// which this was done is left as it is.
///
/// # Errors
/// `ENOENT` where the kernel has no TLS, `ENOTCONN` where the socket is not connected.
pub fn attach(socket: impl AsFd) -> io::Result<()> {
    match set_option(socket, libc::IPPROTO_TCP, libc::TCP_ULP, b"tls") {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

/// Gives an attached socket the keys of one direction.
///
/// # Errors
/// `EINVAL` for a key of the wrong length, `ENOENT` where the kernel lacks the cipher, `EBUSY` where the
/// direction has keys and the kernel cannot change them (before Linux 6.14).
pub fn install(socket: impl AsFd, direction: Direction, key: &TrafficKey<'_>) -> io::Result<()> {
    let info = CryptoInfo::new(key)?;
    set_option(socket, libc::SOL_TLS, direction.option(), info.bytes())
}

/// The number of the next record of a direction that has keys of this suite.
///
/// # Errors
/// `EBUSY` where it has none.
pub fn sequence(socket: impl AsFd, direction: Direction, suite: Suite) -> io::Result<u64> {
    // The kernel answers with the keys as well.
    let mut info = CryptoInfo::blank(suite);
    get_option(
        socket,
        libc::SOL_TLS,
        direction.option(),
        &mut info.bytes[..info.len],
    )?;
    info.sequence()
}

/// How many bytes TCP has taken since the connection was made, sealed ones, whether they were sent or not.
/// Sealed records that the kernel's TLS still holds back for want of room are not among them, and are lost
/// when the socket is closed.
///
/// # Errors
/// `EINVAL` for what is no TCP connection.
pub fn taken_by_tcp(socket: impl AsFd) -> io::Result<u64> {
    loop {
        let acknowledged = acknowledged(&socket)?;
        let mut queued: libc::c_int = 0;
        let number = socket.as_fd().as_raw_fd();
        // SAFETY: `SIOCOUTQ` (the same number as `TIOCOUTQ`) writes one `int` at the pointer, which is an
        // exclusive reference to one.
        let result = unsafe { libc::ioctl(number, libc::TIOCOUTQ, &raw mut queued) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        // What was acknowledged between the two questions would be counted in neither.
        if acknowledged == self::acknowledged(&socket)? {
            return Ok(acknowledged + u64::try_from(queued).unwrap_or(0));
        }
    }
}

/// Bytes that the peer has acknowledged: `tcpi_bytes_acked` of `struct tcp_info`, of which libc has only
/// the beginning.
fn acknowledged(socket: impl AsFd) -> io::Result<u64> {
    let mut info = [0; ACKNOWLEDGED_AT + size_of::<u64>()];
    get_option(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info)?;
    let number = info.last_chunk().copied();
    Ok(u64::from_ne_bytes(
        number.ok_or(io::ErrorKind::InvalidData)?,
    ))
}

/// Sends one record of a type that is not application data; all of it or nothing.
///
/// # Errors
/// `EAGAIN` while there is no room, `EPIPE` and `ECONNRESET` on a connection that is gone.
pub fn send_record(socket: impl AsFd, record_type: u8, payload: &[u8]) -> io::Result<()> {
    let mut control = Control::of_byte(libc::SOL_TLS, libc::TLS_SET_RECORD_TYPE, record_type);
    let pieces = [IoSlice::new(payload)];
    let message = control.sending(&pieces);
    // SAFETY: `sendmsg` reads what `message` points to: one piece, which is `payload`, and `control`, whose
    // lengths are those of the C macros (a test compares). All outlive the call.
    let sent = unsafe {
        libc::sendmsg(
            socket.as_fd().as_raw_fd(),
            &raw const message,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    match usize::try_from(sent) {
        Ok(len) if len == payload.len() => Ok(()),
        // A record of at most 16 KiB is not divided.
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Receives one record of whatever type: the type, and how many bytes of `buffer` it fills. `None` at the
/// end of the connection. What `buffer` does not hold comes with the next call.
///
/// # Errors
/// `EAGAIN` while no record is complete, `EBADMSG` for one that does not open, `EINVAL` and `EMSGSIZE`
/// for what is no record.
pub fn receive_record(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<(u8, usize)>> {
    let mut pieces = [IoSliceMut::new(buffer)];
    let (length, said) =
        control_message::receive(socket, &mut pieces, libc::SOL_TLS, TLS_GET_RECORD_TYPE)?;
    // No record has no type: it is the end.
    Ok(said.map(|[record_type]| (record_type, length)))
}

/// `struct tls12_crypto_info_*` of a suite, which holds bytes alone and so no padding: version and
/// cipher, then IV, key, salt and the record's number.
struct CryptoInfo {
    bytes: Zeroizing<[u8; INFO_LEN_MAX]>,
    len: usize,
}

impl CryptoInfo {
    fn blank(suite: Suite) -> Self {
        Self {
            bytes: Zeroizing::new([0; INFO_LEN_MAX]),
            len: match suite {
                Suite::Aes128Gcm => size_of::<libc::tls12_crypto_info_aes_gcm_128>(),
                Suite::Aes256Gcm => size_of::<libc::tls12_crypto_info_aes_gcm_256>(),
                Suite::Chacha20Poly1305 => size_of::<libc::tls12_crypto_info_chacha20_poly1305>(),
            },
        }
    }

    fn new(key: &TrafficKey<'_>) -> io::Result<Self> {
        let (salt, iv) = match key.suite {
            Suite::Aes128Gcm | Suite::Aes256Gcm => key.iv.split_at(GCM_SALT_LEN),
            Suite::Chacha20Poly1305 => key.iv.split_at(0),
        };
        let mut info = Self::blank(key.suite);
        let mut at = 0;
        for part in [
            &libc::TLS_1_3_VERSION.to_ne_bytes()[..],
            &cipher(key.suite).to_ne_bytes()[..],
            iv,
            key.key,
            salt,
            &key.sequence.to_be_bytes(),
        ] {
            let place = info.bytes.get_mut(at..at + part.len());
            place
                .ok_or(io::ErrorKind::InvalidInput)?
                .copy_from_slice(part);
            at += part.len();
        }
        if at == info.len {
            Ok(info)
        } else {
            // The key's length is that of another suite.
            Err(io::ErrorKind::InvalidInput.into())
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn sequence(&self) -> io::Result<u64> {
        let number = self.bytes().last_chunk().copied();
        Ok(u64::from_be_bytes(
            number.ok_or(io::ErrorKind::InvalidData)?,
        ))
    }
}

const fn cipher(suite: Suite) -> u16 {
    match suite {
        Suite::Aes128Gcm => libc::TLS_CIPHER_AES_GCM_128,
        Suite::Aes256Gcm => libc::TLS_CIPHER_AES_GCM_256,
        Suite::Chacha20Poly1305 => libc::TLS_CIPHER_CHACHA20_POLY1305,
    }
}

impl Direction {
    const fn option(self) -> libc::c_int {
        match self {
            Self::Receive => libc::TLS_RX,
            Self::Send => libc::TLS_TX,
        }
    }
}

pub(crate) fn set_option(
    socket: impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: &[u8],
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `setsockopt` reads `len` bytes at the pointer, which is a live slice of that length, and
    // copies what it keeps.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            value.as_ptr().cast(),
            len,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Fills `value` from its beginning; what the kernel has no answer for stays as it is.
fn get_option(
    socket: impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: &mut [u8],
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(value.len());
    let mut len = len.map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `getsockopt` writes at most `len` bytes at the pointer, which is an exclusive slice of that
    // length, and it writes `len`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            value.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What `put_cmsg` of the kernel calls the type of what was received; libc does not have it.
const TLS_GET_RECORD_TYPE: libc::c_int = 2;
/// Where `tcpi_bytes_acked` is in `struct tcp_info` (include/uapi/linux/tcp.h): 8 bytes, 24 words of four
/// bytes and two of eight come before it.
const ACKNOWLEDGED_AT: usize = 8 + 24 * 4 + 2 * 8;
/// The first bytes of a GCM nonce, which TLS 1.2 called salt.
const GCM_SALT_LEN: usize = 4;
/// The longest of the structures.
const INFO_LEN_MAX: usize = 56;

// The kernel's ABI (include/uapi/linux/tls.h).
const _: () = assert!(size_of::<libc::tls12_crypto_info_aes_gcm_128>() == 40);
const _: () = assert!(size_of::<libc::tls12_crypto_info_aes_gcm_256>() == INFO_LEN_MAX);
const _: () = assert!(size_of::<libc::tls12_crypto_info_chacha20_poly1305>() == INFO_LEN_MAX);
const _: () = assert!(offset_of!(libc::tls12_crypto_info_aes_gcm_128, iv) == 4);
const _: () = assert!(offset_of!(libc::tls12_crypto_info_aes_gcm_128, key) == 12);
const _: () = assert!(offset_of!(libc::tls12_crypto_info_aes_gcm_128, salt) == 28);
const _: () = assert!(offset_of!(libc::tls12_crypto_info_aes_gcm_128, rec_seq) == 32);
const _: () = assert!(offset_of!(libc::tls12_crypto_info_aes_gcm_256, salt) == 44);
const _: () = assert!(offset_of!(libc::tls12_crypto_info_chacha20_poly1305, key) == 16);
const _: () = assert!(offset_of!(libc::tls12_crypto_info_chacha20_poly1305, rec_seq) == 48);
// What the macros of cmsg(3) yield for one byte.

#[cfg(test)]
mod tests {
    use super::*;

    fn key(suite: Suite, key: &[u8]) -> TrafficKey<'_> {
        let iv = std::array::from_fn(|at| u8::try_from(at).unwrap_or_default());
        TrafficKey {
            suite,
            key,
            iv,
            sequence: 0x0102_0304_0506_0708,
        }
    }

    #[test]
    fn gcm_takes_the_first_four_bytes_of_the_iv_for_salt() {
        let info = CryptoInfo::new(&key(Suite::Aes128Gcm, &[0xaa; 16])).unwrap();
        let bytes = info.bytes();
        assert_eq!(bytes[..4], [4, 3, 51, 0]);
        assert_eq!(bytes[4..12], [4, 5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(bytes[12..28], [0xaa; 16]);
        assert_eq!(bytes[28..32], [0, 1, 2, 3]);
        assert_eq!(bytes[32..], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(info.sequence().unwrap(), 0x0102_0304_0506_0708);
    }

    #[test]
    fn chacha20_has_no_salt_and_aes_256_the_longer_key() {
        let info = CryptoInfo::new(&key(Suite::Chacha20Poly1305, &[0xbb; 32])).unwrap();
        assert_eq!(info.bytes()[..4], [4, 3, 54, 0]);
        assert_eq!(info.bytes()[4..16], key(Suite::Aes128Gcm, &[]).iv);
        assert_eq!(info.bytes()[16..48], [0xbb; 32]);
        let info = CryptoInfo::new(&key(Suite::Aes256Gcm, &[0xcc; 32])).unwrap();
        assert_eq!(info.bytes()[..4], [4, 3, 52, 0]);
        assert_eq!(info.bytes()[12..44], [0xcc; 32]);
        assert_eq!(info.bytes()[44..48], [0, 1, 2, 3]);
    }

    #[test]
    fn a_key_of_another_suite_s_length_is_refused() {
        assert!(CryptoInfo::new(&key(Suite::Aes128Gcm, &[0; 32])).is_err());
        assert!(CryptoInfo::new(&key(Suite::Aes256Gcm, &[0; 16])).is_err());
        assert!(CryptoInfo::new(&key(Suite::Aes256Gcm, &[0; 99])).is_err());
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel about a socket")]
    fn tcp_has_taken_what_was_written_read_or_not() {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let before = taken_by_tcp(&near).unwrap();
        near.write_all(&[7; 12_345]).unwrap();
        assert_eq!(taken_by_tcp(&near).unwrap() - before, 12_345);
        far.read_exact(&mut [0; 12_345]).unwrap();
        near.write_all(&[7; 5]).unwrap();
        assert_eq!(taken_by_tcp(&near).unwrap() - before, 12_350);
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel about a socket")]
    fn a_socket_that_is_not_connected_takes_no_keys() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(attach(&socket).is_err());
        let keys = key(Suite::Aes128Gcm, &[0; 16]);
        assert!(install(&socket, Direction::Send, &keys).is_err());
        assert!(sequence(&socket, Direction::Send, Suite::Aes128Gcm).is_err());
    }
}
