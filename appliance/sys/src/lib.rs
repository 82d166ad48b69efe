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
//! | [`control_message`] | 4 | `recvmsg` with control messages of kernel TLS and `TCP_INQ`, which `rustix` has not; its tests, which do to lent memory what the kernel does |
//! | [`epoll`] | 1 | `epoll_ctl` with a descriptor's number, of which `rustix` wants the owner |
//! | [`kernel_tls`] | 4 | `setsockopt`, `getsockopt`, `sendmsg` and `ioctl` for kernel TLS, which `rustix` has not |
//! | [`packet_socket`] | 2 | `setsockopt` with a filter program and `bind` to a `sockaddr_ll`: `rustix` has neither |
//! | [`ring`] | 2 | queueing polls and entering the kernel: the `io-uring` crate leaves both promises to its caller |
//! | [`vmware`] | 1 | the `in` instruction by which VMware's hypervisor is asked |
//!
//! # Pointers, watched
//!
//! `cargo +nightly miri test -p connector-sys --lib` runs the tests that call no kernel under an interpreter
//! that knows which memory each pointer may touch (`rustup toolchain install nightly --component
//! miri,rust-src`); `cargo verify` does so where it is installed. What is lent to the kernel is built apart
//! from the calls, and the tests do to it what the kernel does. Not run there: the calls themselves, the
//! ring's shared memory, and the instruction. The other crates have no `unsafe` to watch.
//!
//! [`control_message`]: kernel_tls

pub mod clock_adjust;
mod control_message;
pub mod epoll;
pub mod kernel_tls;
pub mod packet_channel;
pub mod packet_socket;
pub mod ring;
pub mod tcp_inq;
pub mod vmware;
