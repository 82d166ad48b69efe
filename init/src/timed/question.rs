//! One request to one server, and the packets that come back.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use connector_proto::local::Sample;

use super::names::connected;
use super::packet::{self, PACKET_LEN, ReplyError};
use super::round::{self, SentAt};
use crate::clock;

/// Port of NTP servers.
pub const PORT: u16 = 123;
/// Packets read in one go, so that a flood from one server does not keep the others waiting.
const PACKETS_MAX: usize = 64;

/// One request that has no answer yet.
#[derive(Debug)]
pub struct Question {
    server: IpAddr,
    socket: UdpSocket,
    nonce: [u8; 8],
    sent: SentAt,
    /// When the image was built, which tells NTP's eras apart.
    built_s: u32,
    /// Packets that were no answer to it.
    ignored: u32,
}

/// What came back.
#[derive(Debug)]
pub enum Answer {
    /// A measurement.
    Sample(Sample),
    /// The server's answer, of no use.
    Unusable(ReplyError),
    /// The machine, or one on the way, says that the server cannot be reached.
    Failed(io::Error),
}

impl Question {
    /// Sends a request from a fresh socket, so that each has a random source port of its own.
    ///
    /// # Errors
    /// If there is no way to the server, or no randomness.
    pub fn ask(server: SocketAddr, built_s: u32) -> io::Result<Self> {
        let socket = connected(server)?;
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce)?;
        let packet = packet::request(nonce);
        let at = clock::read();
        let sent = SentAt {
            real_us: at.real_us,
            boot: at.now,
        };
        socket.send(&packet)?;
        Ok(Self {
            server: server.ip(),
            socket,
            nonce,
            sent,
            built_s,
            ignored: 0,
        })
    }

    /// Who was asked.
    #[must_use]
    pub const fn server(&self) -> IpAddr {
        self.server
    }

    /// How many packets were not the answer to it: late, doubled or forged.
    #[must_use]
    pub const fn ignored(&self) -> u32 {
        self.ignored
    }

    /// Reads what has come. `None`: the answer may still come.
    pub fn read(&mut self) -> Option<Answer> {
        for _ in 0..PACKETS_MAX {
            // One byte more than is looked at would do no good: what is longer has extensions.
            let mut buffer = [0; PACKET_LEN];
            let len = match self.socket.recv(&mut buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => return Some(Answer::Failed(error)),
            };
            let arrived = clock::boot_now();
            match packet::parse(
                buffer.get(..len).unwrap_or_default(),
                self.nonce,
                self.built_s,
            ) {
                Ok(reply) => {
                    let sample = round::sample(self.server, self.sent, arrived, &reply);
                    let unusable = Answer::Unusable(ReplyError::Timestamps);
                    return Some(sample.map_or(unusable, Answer::Sample));
                }
                // Somebody else's packet: the server's own may still come.
                Err(ReplyError::Origin | ReplyError::NotNtp) => {
                    self.ignored = self.ignored.saturating_add(1);
                }
                Err(error) => return Some(Answer::Unusable(error)),
            }
        }
        None
    }
}

impl AsFd for Question {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BUILT_S: u32 = 1_704_067_200;

    #[test]
    fn the_answer_is_found_among_any_number_of_packets_that_are_none() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let server = UdpSocket::bind(address).unwrap();
            server
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            let mut question = Question::ask(server.local_addr().unwrap(), BUILT_S).unwrap();
            let mut request = [0; 512];
            let (len, client) = server.recv_from(&mut request).unwrap();
            for bytes in [&[0xff; 400][..], &request[..len], &[], &answer([9; 8])] {
                for _ in 0..3 {
                    server.send_to(bytes, client).unwrap();
                }
            }
            let nonce = request[40..48].try_into().unwrap();
            server.send_to(&answer(nonce), client).unwrap();
            // Over the loopback interface what was sent is there.
            let Some(Answer::Sample(sample)) = question.read() else {
                panic!("not found");
            };
            assert_eq!(sample.server, server.local_addr().unwrap().ip());
            assert_eq!(question.ignored(), 12);
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_known_at_once() {
        let gone = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mut question = Question::ask(gone, BUILT_S).unwrap();
        assert!(matches!(question.read(), Some(Answer::Failed(_))));
    }

    /// A stratum 1 server's, at its noon of 2027-01-01.
    fn answer(nonce: [u8; 8]) -> Vec<u8> {
        let mut packet = vec![0; PACKET_LEN];
        packet[0] = 0b00_100_100;
        packet[1] = 1;
        packet[24..32].copy_from_slice(&nonce);
        for at in [32, 40] {
            let seconds = 1_798_804_800_u32 + 2_208_988_800;
            packet[at..at + 4].copy_from_slice(&seconds.to_be_bytes());
        }
        packet
    }
}
