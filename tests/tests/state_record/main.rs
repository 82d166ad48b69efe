//! The state record on a disk that loses its power, that is damaged, and that belongs to another machine.
//!
//! The store's own code runs on a model of a disk; one machine is real.
#![expect(
    clippy::unwrap_used,
    reason = "a panic is a test's report, in its helpers too"
)]

mod boots;
mod damage;
mod machine;
mod power;
