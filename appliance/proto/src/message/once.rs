//! Messages of connections that ask one thing: a data channel, and the edge's time.

use serde::{Deserialize, Serialize};

/// Edge to connector: the channel is warm; the next bytes are those of the session that it is given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {}

/// Connector to edge, on a warm channel: from the next byte on, it carries this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// The session the grant named.
    pub session: [u8; 16],
    /// 0 for the session's first channel, one more for each that succeeds it.
    pub channel: u32,
}

/// Connector to edge, only message of its on a connection for the time: what time is it?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeRequest {
    /// Random; comes back in the [`TimeReply`].
    pub nonce: [u8; 32],
}

/// The answer to a [`TimeRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeReply {
    /// The request's nonce.
    pub nonce: [u8; 32],
    /// The edge's time, read after the request came: microseconds since 1970 in UTC.
    pub time_us: u64,
}
