//! The mint as people and hypervisors see it: files that say the same, one MAC for each name, and
//! nothing at all when something is wrong.
#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test and its helpers report"
)]

mod artefacts;
mod checkers;
mod fleet;
mod refusals;
#[path = "../common/skip.rs"]
mod skip;
mod support;
