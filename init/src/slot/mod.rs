//! The two system slots: which one runs and why, and how the other one is changed.
//!
//! From the bottom up, all of it pure but for the devices it is handed:
//!
//! 1. [`device`]: what is written to, as a trait, so that tests can cut the power anywhere.
//! 2. [`boot_state`]: the block that boot loader and PID 1 share: which slot is good, which is tried.
//! 3. [`policy`]: what this boot is, and what may be done in it.
//! 4. [`system`]: a slot's header and content: installing from a stream, checking.
//!
//! Guaranteed: a power cut at any write leaves a machine that boots the old system or the new one.
//! The running slot is never written to, a slot is tried only after its content was read back and
//! hashed, and the number of tries left goes up only when a slot is armed.

pub mod device;

pub mod boot_state;

pub mod policy;

pub mod system;
