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
//! | [`clock_adjust`] | 2 | `adjtimex`, which `rustix` has not, and the zeroed struct it takes |
//! | [`packet_socket`] | 2 | `setsockopt` with a filter program and `bind` to a `sockaddr_ll`: `rustix` has neither |
//! | [`vmware`] | 1 | the `in` instruction by which VMware's hypervisor is asked |

pub mod clock_adjust;
pub mod packet_channel;
pub mod packet_socket;
pub mod vmware;
