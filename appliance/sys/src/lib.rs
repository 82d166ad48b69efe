//! The fence around unsafe: the system calls that no safe crate offers.
//!
//! Nothing here decides anything; each module wraps exactly what its caller uses and hands out a
//! safe type. No other crate of the workspace may contain `unsafe`.
//!
//! # The unsafe budget
//!
//! A new `unsafe` block changes this table in the same commit.
//!
//! | file | blocks | why |
//! |---|---|---|
//! | [`packet_socket`] | 2 | `setsockopt` with a filter program and `bind` to a `sockaddr_ll`: `rustix` has neither |

pub mod packet_channel;
pub mod packet_socket;
