//! Asks VMware's hypervisor for a variable, `guestinfo.ovfEnv` for one.
//!
//! The low-bandwidth message protocol of VMware's tools (`guest_msg_def.h`, `lib/message` of
//! open-vm-tools): a channel is opened, a request is sent four bytes at a time, its answer fetched the
//! same way and acknowledged, the channel closed. When the machine was suspended or moved in
//! between, the hypervisor says so and the half that was under way begins again. Pure: the steps go
//! through [`Port`]. Whatever the port answers, an exchange ends after a bounded number of steps.

use std::fmt;

use connector_sys::vmware::{Backdoor, Reply, Request};

/// Longest answer that is fetched, in bytes: an environment, and the two in front of it.
pub const ANSWER_BYTES_MAX: usize = ovf::environment::ENVIRONMENT_BYTES_MAX + 2;
/// How often a half of the exchange is begun again after the machine was suspended or moved.
pub const ATTEMPTS_MAX: u32 = 3;

/// Something that makes a step of the exchange: the hypervisor, or what stands in for it.
pub trait Port {
    /// Makes one step.
    fn call(&mut self, request: Request) -> Reply;
}

impl Port for Backdoor {
    fn call(&mut self, request: Request) -> Reply {
        Self::call(self, request)
    }
}

/// Why a variable cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpcError {
    /// The hypervisor refused a step.
    Refused {
        /// Which.
        step: &'static str,
    },
    /// The answer is too long.
    TooLong {
        /// Its length in bytes.
        bytes: u32,
    },
    /// The machine was suspended or moved each time.
    Restarted,
    /// The answer does not begin with a verdict, or there is none.
    Verdict,
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { step } => write!(f, "the hypervisor refuses to {step}"),
            Self::TooLong { bytes } => {
                write!(f, "it has {bytes} bytes; the limit is {ANSWER_BYTES_MAX}")
            }
            Self::Restarted => write!(f, "the exchange was cut off {ATTEMPTS_MAX} times"),
            Self::Verdict => write!(f, "the hypervisor's answer is not understood"),
        }
    }
}

impl std::error::Error for RpcError {}

/// The value of `variable`; nothing when it is not set.
///
/// # Errors
/// When the hypervisor does not follow the protocol, or the value is too long.
pub fn get(port: &mut dyn Port, variable: &str) -> Result<Option<Vec<u8>>, RpcError> {
    let mut channel = Channel::open(port)?;
    let answer = channel.ask(format!("info-get {variable}").as_bytes());
    channel.close();
    let answer = answer?;
    match answer.split_at_checked(2) {
        Some((b"1 ", value)) => Ok(Some(value.to_vec())),
        // "No value found".
        Some((b"0 ", _)) => Ok(None),
        _ => Err(RpcError::Verdict),
    }
}

/// An open channel.
struct Channel<'a> {
    port: &'a mut dyn Port,
    number: u16,
    cookie: (u32, u32),
}

/// Why a half of the exchange ended early.
enum Stop {
    /// It is begun again.
    Again,
    Error(RpcError),
}

impl<'a> Channel<'a> {
    fn open(port: &'a mut dyn Port) -> Result<Self, RpcError> {
        // Without the flag it is opened on hypervisors that know no cookies.
        for value in [PROTOCOL_RPCI | WITH_COOKIE, PROTOCOL_RPCI] {
            let reply = port.call(Request {
                step: step::OPEN,
                channel: 0,
                value,
                cookie: (0, 0),
            });
            if reply.status & status::SUCCESS != 0 {
                let cookie = if value == PROTOCOL_RPCI {
                    (0, 0)
                } else {
                    reply.cookie
                };
                return Ok(Self {
                    port,
                    number: reply.kind,
                    cookie,
                });
            }
        }
        Err(RpcError::Refused {
            step: "open a channel",
        })
    }

    fn close(&mut self) {
        // A channel that is not closed is closed with the machine.
        let _ = self.call(step::CLOSE, 0);
    }

    fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>, RpcError> {
        self.repeated(|channel| channel.send(request))?;
        self.repeated(Self::receive)
    }

    fn repeated<T>(
        &mut self,
        mut half: impl FnMut(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, RpcError> {
        for _ in 0..ATTEMPTS_MAX {
            match half(self) {
                Ok(done) => return Ok(done),
                Err(Stop::Again) => {}
                Err(Stop::Error(error)) => return Err(error),
            }
        }
        Err(RpcError::Restarted)
    }

    fn send(&mut self, request: &[u8]) -> Result<(), Stop> {
        let bytes = u32::try_from(request.len()).unwrap_or(u32::MAX);
        let reply = self.call(step::SEND_SIZE, bytes);
        succeeded(&reply, "take a request's length")?;
        for piece in request.chunks(PIECE_BYTES) {
            let mut word = [0; PIECE_BYTES];
            for (to, from) in word.iter_mut().zip(piece) {
                *to = *from;
            }
            let reply = self.call(step::SEND_PAYLOAD, u32::from_le_bytes(word));
            succeeded(&reply, "take a request")?;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Vec<u8>, Stop> {
        let reply = self.call(step::RECEIVE_SIZE, 0);
        succeeded(&reply, "tell an answer's length")?;
        if reply.status & status::ANSWER_WAITS == 0 || reply.kind != step::SEND_SIZE {
            return Err(Stop::Error(RpcError::Verdict));
        }
        let bytes = reply.value;
        let length = bytes as usize;
        if length > ANSWER_BYTES_MAX {
            return Err(Stop::Error(RpcError::TooLong { bytes }));
        }
        let mut answer = Vec::with_capacity(length.next_multiple_of(PIECE_BYTES));
        while answer.len() < length {
            let reply = self.call(step::RECEIVE_PAYLOAD, u32::from(status::SUCCESS));
            succeeded(&reply, "give an answer")?;
            if reply.kind != step::SEND_PAYLOAD {
                return Err(Stop::Error(RpcError::Verdict));
            }
            answer.extend(reply.value.to_le_bytes());
        }
        answer.truncate(length);
        let reply = self.call(step::RECEIVE_STATUS, u32::from(status::SUCCESS));
        succeeded(&reply, "take an answer back")?;
        Ok(answer)
    }

    fn call(&mut self, step: u16, value: u32) -> Reply {
        self.port.call(Request {
            step,
            channel: self.number,
            value,
            cookie: self.cookie,
        })
    }
}

fn succeeded(reply: &Reply, step: &'static str) -> Result<(), Stop> {
    if reply.status & status::SUCCESS != 0 {
        Ok(())
    } else if reply.status & status::CHECKPOINT != 0 {
        Err(Stop::Again)
    } else {
        Err(Stop::Error(RpcError::Refused { step }))
    }
}

/// Fuzz body: whatever a hypervisor answers, an exchange ends after a bounded number of steps, and
/// what it yields is bounded.
///
/// # Panics
/// If that does not hold.
pub fn fuzz_guestinfo(data: &[u8]) {
    struct Noise<'a>(std::slice::Chunks<'a, u8>, usize);
    impl Port for Noise<'_> {
        fn call(&mut self, _: Request) -> Reply {
            self.1 += 1;
            let byte = |chunk: &[u8], at: usize| chunk.get(at).copied().unwrap_or(1);
            // At its end the noise repeats one answer for ever.
            let chunk = self.0.next().unwrap_or_default();
            Reply {
                status: u16::from(byte(chunk, 0)),
                kind: u16::from(byte(chunk, 1)),
                value: u32::from_le_bytes([2, 3, 4, 5].map(|at| byte(chunk, at))),
                cookie: (1, 2),
            }
        }
    }
    let mut noise = Noise(data.chunks(6), 0);
    if let Ok(Some(value)) = get(&mut noise, "guestinfo.ovfEnv") {
        assert!(value.len() <= ANSWER_BYTES_MAX - 2);
    }
    let half = ANSWER_BYTES_MAX / PIECE_BYTES + 16;
    assert!(noise.1 <= ATTEMPTS_MAX as usize * 2 * half);
}

/// What a step is; an answer's parts have the numbers of the steps that send them.
mod step {
    pub(super) const OPEN: u16 = 0;
    pub(super) const SEND_SIZE: u16 = 1;
    pub(super) const SEND_PAYLOAD: u16 = 2;
    pub(super) const RECEIVE_SIZE: u16 = 3;
    pub(super) const RECEIVE_PAYLOAD: u16 = 4;
    pub(super) const RECEIVE_STATUS: u16 = 5;
    pub(super) const CLOSE: u16 = 6;
}

/// Bits of an answer's status.
mod status {
    pub(super) const SUCCESS: u16 = 0x01;
    pub(super) const ANSWER_WAITS: u16 = 0x02;
    pub(super) const CHECKPOINT: u16 = 0x10;
}

/// "RPCI": requests of the guest to the hypervisor.
const PROTOCOL_RPCI: u32 = 0x4943_5052;
const WITH_COOKIE: u32 = 0x8000_0000;
/// What one step carries.
const PIECE_BYTES: usize = 4;

#[cfg(test)]
mod tests;
