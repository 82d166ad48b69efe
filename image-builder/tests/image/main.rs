//! The image as others see it: equal on every build, clean in the checkers of other projects, and
//! booting the right slot whatever is broken.
#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test and its helpers report"
)]

mod boot_loader;
mod checkers;
mod machine;
mod reproducible;
mod support;
