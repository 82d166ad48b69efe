//! `timed`: asks NTP servers for the time and tells PID 1 what they agree on.
//!
//! It runs without privileges and cannot set the clock. [`packet`] reads and writes NTP, [`round`]
//! finds the majority, [`pace`] says when to ask again; here is the input and output.

pub mod pace;
pub mod packet;
pub mod round;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use connector_proto::local::{FromTimed, Sample, Servers, TimeServer, ToTimed};
use connector_proto::time::Instant;
use rustix::event::{PollFd, PollFlags};

use crate::channel::{Channel, Received};
use crate::clock;
use crate::readiness::wait;
use crate::role;
use pace::Pace;
use packet::ReplyError;
use round::SentAt;

/// How long a round waits for its answers.
pub const ROUND_MAX: Duration = Duration::from_secs(1);

const NTP_PORT: u16 = 123;

/// Runs until PID 1 is gone.
///
/// # Errors
/// If the local channel fails; PID 1 then starts the service again.
pub fn run() -> io::Result<()> {
    role::drop_privileges()?;
    let channel = Channel::from_stdin()?;
    let mut timed = Timed::new(channel);
    while timed.step()? {}
    Ok(())
}

struct Timed {
    channel: Channel,
    servers: Servers,
    pace: Pace,
    state: State,
}

enum State {
    /// Nobody to ask.
    Idle,
    /// The next round begins at this instant.
    Resting(Instant),
    /// Requests are out; the round ends at this instant.
    Asking {
        questions: Vec<Question>,
        samples: Vec<Sample>,
        until: Instant,
    },
}

/// One request that has no answer yet.
struct Question {
    server: IpAddr,
    socket: UdpSocket,
    nonce: [u8; 8],
    sent: SentAt,
}

impl Timed {
    fn new(channel: Channel) -> Self {
        Self {
            channel,
            servers: Servers::new(),
            pace: Pace::default(),
            state: State::Idle,
        }
    }

    /// Waits for the next event and handles it. `false` once PID 1 is gone.
    fn step(&mut self) -> io::Result<bool> {
        self.wait()?;
        loop {
            match self.channel.receive()? {
                Received::Message(ToTimed::Servers { servers, .. }, _) => {
                    let addresses = servers.iter().filter_map(|server| match server {
                        TimeServer::Address(address) => Some(*address),
                        TimeServer::Name(_) => None,
                    });
                    self.take_servers(addresses.collect());
                }
                Received::Message(ToTimed::Resync, _) => {}
                Received::Malformed => log::warn!("malformed message from PID 1"),
                Received::Empty => break,
                Received::Closed => return Ok(false),
            }
        }
        self.channel.flush()?;
        self.read_answers();
        self.advance(clock::boot_now())?;
        Ok(true)
    }

    fn wait(&self) -> io::Result<()> {
        let mut interest = PollFlags::IN;
        if self.channel.wants_to_send() {
            interest |= PollFlags::OUT;
        }
        let mut fds = vec![PollFd::from_borrowed_fd(self.channel.as_fd(), interest)];
        let deadline = match &self.state {
            State::Idle => None,
            State::Resting(until) => Some(*until),
            State::Asking {
                questions, until, ..
            } => {
                fds.extend(questions.iter().map(|question| {
                    PollFd::from_borrowed_fd(question.socket.as_fd(), PollFlags::IN)
                }));
                Some(*until)
            }
        };
        wait(&mut fds, deadline)
    }

    fn take_servers(&mut self, servers: Servers) {
        log::info!("servers: {servers:?}");
        self.servers = servers;
        self.pace = Pace::default();
        self.state = if self.servers.is_empty() {
            State::Idle
        } else {
            State::Resting(clock::boot_now())
        };
    }

    /// Starts or ends a round if it is time to.
    fn advance(&mut self, now: Instant) -> io::Result<()> {
        match &self.state {
            State::Resting(until) if *until <= now => self.ask(now),
            State::Asking {
                questions, until, ..
            } if *until <= now || questions.is_empty() => self.conclude(now),
            State::Idle | State::Resting(_) | State::Asking { .. } => Ok(()),
        }
    }

    fn ask(&mut self, now: Instant) -> io::Result<()> {
        let mut questions = Vec::new();
        for server in &self.servers {
            match ask(*server) {
                Ok(question) => questions.push(question),
                Err(error) => log::info!("{server}: cannot ask: {error}"),
            }
        }
        let is_hopeless = questions.is_empty();
        self.state = State::Asking {
            questions,
            samples: Vec::new(),
            until: now + ROUND_MAX,
        };
        if is_hopeless {
            self.conclude(now)
        } else {
            Ok(())
        }
    }

    fn read_answers(&mut self) {
        let State::Asking {
            questions, samples, ..
        } = &mut self.state
        else {
            return;
        };
        let pace = &mut self.pace;
        questions.retain(|question| match question.read_answer() {
            Answer::NoneYet => true,
            Answer::Sample(sample) => {
                samples.push(sample);
                false
            }
            Answer::Unusable(error) => {
                log::info!("{}: {error}", question.server);
                match error {
                    ReplyError::Denied | ReplyError::RateExceeded => pace.slow_down(),
                    // Somebody else's packet: the server's own may still come.
                    ReplyError::Origin | ReplyError::NotNtp => return true,
                    ReplyError::NotSynchronised
                    | ReplyError::RootDistance(_)
                    | ReplyError::Timestamps => {}
                }
                false
            }
            Answer::Failed(error) => {
                log::info!("{}: {error}", question.server);
                false
            }
        });
    }

    /// Ends the round: reports what was found and rests.
    fn conclude(&mut self, now: Instant) -> io::Result<()> {
        let State::Asking { samples, .. } = std::mem::replace(&mut self.state, State::Idle) else {
            return Ok(());
        };
        let agreed = round::agreed(&samples);
        if agreed.is_none() && !samples.is_empty() {
            log::warn!(
                "{} servers answered and no majority agrees: {samples:?}",
                samples.len()
            );
        }
        let report = match agreed {
            Some(sample) => FromTimed::Sample(sample),
            None => FromTimed::Silent {
                asked: u8::try_from(self.servers.len()).unwrap_or(u8::MAX),
            },
        };
        self.channel.send(0, &report, Vec::new())?;
        if !self.servers.is_empty() {
            let rest = self.pace.after_round(agreed.is_some(), random_u32()?);
            self.state = State::Resting(now + rest);
        }
        Ok(())
    }
}

enum Answer {
    NoneYet,
    Sample(Sample),
    Unusable(ReplyError),
    Failed(io::Error),
}

/// Sends a request from a fresh socket, so that every request has its own random source port.
fn ask(server: IpAddr) -> io::Result<Question> {
    let any: IpAddr = match server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(SocketAddr::new(server, NTP_PORT))?;
    socket.set_nonblocking(true)?;
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce)?;
    let packet = packet::request(nonce);
    let sent = SentAt {
        real_us: clock::real_now(),
        boot: clock::boot_now(),
    };
    socket.send(&packet)?;
    Ok(Question {
        server,
        socket,
        nonce,
        sent,
    })
}

impl Question {
    /// Reads one packet, if there is one.
    fn read_answer(&self) -> Answer {
        let mut buffer = [0; 512];
        let len = match self.socket.recv(&mut buffer) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Answer::NoneYet,
            Err(error) => return Answer::Failed(error),
        };
        let arrived = clock::boot_now();
        match packet::parse(buffer.get(..len).unwrap_or_default(), self.nonce) {
            Ok(reply) => round::sample(self.server, self.sent, arrived, &reply)
                .map_or(Answer::Unusable(ReplyError::Timestamps), Answer::Sample),
            Err(error) => Answer::Unusable(error),
        }
    }
}

fn random_u32() -> io::Result<u32> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}
