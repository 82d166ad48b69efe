//! The image as others see it: equal on every build, the same disk in every format, clean in the
//! checkers of other projects, told apart from damaged ones, and booting the right slot whatever
//! is broken.
#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test and its helpers report"
)]

mod artefacts;
mod boot_loader;
mod checkers;
mod machine;
mod parts;
mod reproducible;
mod signed;
#[path = "../common/skip.rs"]
mod skip;
mod support;
mod verified;
