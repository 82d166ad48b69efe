//! The role `settings`: reads what was set for this machine, in a process that lives for a moment.
//!
//! PID 1 starts `/bin/settings` as its own user at the start, and again when a disc or the image's
//! disk appears, with one end of a local channel as its standard input. It names the [`Place`]s that
//! there are, with the bytes or the descriptor of each ([`ToSettings`]); the process reads and parses
//! them, answers with typed values and complaints ([`FromSettings`]), and ends.
//!
//! | module | role |
//! |---|---|
//! | [`message`] | what the two tell each other |
//! | [`reader`] | the process: every place, read and parsed |
//! | [`guestinfo`] | pure: VMware's message protocol |
//! | [`convert`] | pure: what `ovf` makes of the texts, as the machine's own types |
//! | [`check`] | pure, PID 1's: typed values that no honest reader sends are refused |
//! | [`findings`] | pure, PID 1's: what all places say together, and in words |

pub mod check;
pub mod convert;
pub mod findings;
pub mod guestinfo;
pub mod message;
pub mod reader;

pub use message::{FromSettings, Minted, Place, ToSettings};

/// Its file in the image.
pub const PATH: &str = "/bin/settings";
/// The user and group it runs as.
pub const UID: u32 = 106;
