//! `timed`: asks NTP servers for the time and tells PID 1 what they agree on.
//!
//! It runs without privileges and cannot set the clock. [`servers`] says whom to ask, [`packet`] reads
//! and writes NTP, [`round`] finds the majority, [`pace`] says when to ask again; [`names`] and
//! [`question`] are input and output; here is the loop.

pub mod names;
pub mod pace;
pub mod packet;
pub mod question;
pub mod round;
pub mod servers;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use connector_proto::local::{FromTimed, Sample, ToTimed};
use connector_proto::time::Instant;
use rustix::event::{PollFd, PollFlags};

use crate::build_info;
use crate::channel::{Channel, Received};
use crate::clock;
use crate::readiness::wait;
use crate::role;
use names::Lookup;
use pace::Pace;
use packet::ReplyError;
use question::{Answer, PORT, Question};
use round::Verdict;
use servers::Servers;

/// How long a round waits for its answers.
pub const ROUND_MAX: Duration = Duration::from_secs(1);
/// Rounds begin no closer together, whoever wants them.
pub const ROUNDS_APART: Duration = Duration::from_secs(2);

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
    /// When the image was built, in seconds since 1970.
    built_s: u32,
    servers: Servers,
    resolvers: Vec<IpAddr>,
    lookups: Vec<Lookup>,
    pace: Pace,
    /// When the last round began.
    asked_at: Option<Instant>,
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

impl Timed {
    fn new(channel: Channel) -> Self {
        Self {
            channel,
            built_s: build_info::read().epoch_s,
            servers: Servers::default(),
            resolvers: Vec::new(),
            lookups: Vec::new(),
            pace: Pace::default(),
            asked_at: None,
            state: State::Idle,
        }
    }

    /// Waits for the next event and handles it. `false` once PID 1 is gone.
    fn step(&mut self) -> io::Result<bool> {
        self.wait()?;
        let now = clock::boot_now();
        loop {
            match self.channel.receive()? {
                Received::Message(ToTimed::Servers { servers, resolvers }, _) => {
                    log::info!("servers: {servers:?}, resolvers: {resolvers:?}");
                    self.resolvers = resolvers.to_vec();
                    self.take_servers(now, Servers::new(&servers));
                }
                Received::Message(ToTimed::Resync, _) => self.resync(now),
                Received::Malformed => log::warn!("malformed message from PID 1"),
                Received::Empty => break,
                Received::Closed => return Ok(false),
            }
        }
        self.channel.flush()?;
        self.read_lookups(now);
        self.read_answers(now);
        self.advance(clock::boot_now())?;
        Ok(true)
    }

    fn wait(&self) -> io::Result<()> {
        let mut interest = PollFlags::IN;
        if self.channel.wants_to_send() {
            interest |= PollFlags::OUT;
        }
        let mut fds = vec![PollFd::from_borrowed_fd(self.channel.as_fd(), interest)];
        let input = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let sockets = self.lookups.iter().flat_map(Lookup::sockets);
        fds.extend(sockets.map(|socket| input(socket.as_fd())));
        let until = match &self.state {
            State::Idle => None,
            State::Resting(until) => Some(*until),
            State::Asking {
                questions, until, ..
            } => {
                fds.extend(questions.iter().map(|question| input(question.as_fd())));
                Some(*until)
            }
        };
        let lookups = self.lookups.iter().filter_map(Lookup::deadline);
        wait(&mut fds, until.into_iter().chain(lookups).min())
    }

    fn take_servers(&mut self, now: Instant, servers: Servers) {
        self.servers = servers;
        self.lookups.clear();
        self.pace = Pace::default();
        self.state = if self.servers.is_empty() {
            State::Idle
        } else {
            State::Resting(now)
        };
    }

    /// The clock may have been set: what is under way measures another one.
    fn resync(&mut self, now: Instant) {
        if !self.servers.is_empty() {
            let earliest = self.asked_at.map_or(now, |at| at + ROUNDS_APART);
            self.state = State::Resting(earliest.max(now));
        }
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
        self.look_up_names(now)?;
        let asked = self.servers.to_ask(now);
        if asked.is_empty() && !self.lookups.is_empty() {
            // The round begins when a name is found, or cannot be.
            self.state = State::Resting(now + ROUNDS_APART);
            return Ok(());
        }
        self.asked_at = Some(now);
        let mut questions = Vec::new();
        for server in asked {
            match Question::ask(SocketAddr::new(server, PORT), self.built_s) {
                Ok(question) => questions.push(question),
                Err(error) => {
                    log::info!("{server}: cannot ask: {error}");
                    self.servers.was_silent(server);
                }
            }
        }
        self.state = State::Asking {
            questions,
            samples: Vec::new(),
            until: now + ROUND_MAX,
        };
        self.advance(now)
    }

    fn look_up_names(&mut self, now: Instant) -> io::Result<()> {
        for name in self.servers.names_due(now) {
            if self.lookups.iter().all(|lookup| lookup.name() != name) {
                self.lookups
                    .extend(Lookup::start(now, name, &self.resolvers)?);
            }
        }
        Ok(())
    }

    fn read_lookups(&mut self, now: Instant) {
        let (servers, state) = (&mut self.servers, &mut self.state);
        self.lookups.retain_mut(|lookup| {
            let Some(addresses) = lookup.turn(now) else {
                return true;
            };
            if !addresses.is_empty() {
                log::info!("{} is {addresses:?}", lookup.name());
                let had_none = servers.to_ask(now).is_empty();
                servers.found(now, lookup.name(), addresses);
                if had_none && matches!(state, State::Resting(_)) {
                    *state = State::Resting(now);
                }
            }
            false
        });
    }

    fn read_answers(&mut self, now: Instant) {
        let State::Asking {
            questions, samples, ..
        } = &mut self.state
        else {
            return;
        };
        let servers = &mut self.servers;
        questions.retain_mut(|question| {
            let server = question.server();
            match question.read() {
                None => return true,
                Some(Answer::Sample(sample)) => {
                    servers.answered(now, server);
                    samples.push(sample);
                }
                Some(Answer::Unusable(error)) => {
                    log::info!("{server}: {error}");
                    match error {
                        ReplyError::Denied => servers.denied(now, server),
                        ReplyError::RateExceeded => servers.rate_exceeded(now, server),
                        ReplyError::Origin
                        | ReplyError::NotNtp
                        | ReplyError::NotSynchronised
                        | ReplyError::RootDistance(_)
                        | ReplyError::Timestamps => servers.answered(now, server),
                    }
                }
                Some(Answer::Failed(error)) => {
                    log::info!("{server}: {error}");
                    servers.was_silent(server);
                }
            }
            say_ignored(question);
            false
        });
    }

    /// Ends the round: reports what was found and rests.
    fn conclude(&mut self, now: Instant) -> io::Result<()> {
        let State::Asking {
            questions, samples, ..
        } = std::mem::replace(&mut self.state, State::Idle)
        else {
            return Ok(());
        };
        for question in &questions {
            say_ignored(question);
            self.servers.was_silent(question.server());
        }
        let verdict = round::verdict(&samples);
        let (report, offset_us) = match verdict {
            Verdict::Agreed(sample) => (FromTimed::Sample(sample), Some(sample.offset_us)),
            Verdict::Split => (FromTimed::Split(samples.into_iter().collect()), None),
            Verdict::Silent => {
                let asked = u8::try_from(self.servers.len()).unwrap_or(u8::MAX);
                (FromTimed::Silent { asked }, None)
            }
        };
        self.channel.send(0, &report, Vec::new())?;
        let rest = now + self.pace.after_round(offset_us, random_u32()?);
        self.state = State::Resting(rest.max(self.willing_at(now)));
        Ok(())
    }

    /// When there is somebody to ask: at once, unless all want to be left alone.
    fn willing_at(&self, now: Instant) -> Instant {
        if !self.servers.to_ask(now + pace::TRACKING.0).is_empty() {
            return now;
        }
        // Without an address there is a name to look up.
        self.servers.next_willing().unwrap_or(now)
    }
}

/// One line for a round's packets that were no answer, however many.
fn say_ignored(question: &Question) {
    if question.ignored() > 0 {
        log::info!(
            "{}: {} packets that are no answer to the request",
            question.server(),
            question.ignored()
        );
    }
}

fn random_u32() -> io::Result<u32> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}
