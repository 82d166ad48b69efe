//! Programs of other projects read what this crate writes, and write what it reads.
#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test and its helpers report"
)]

mod gnu_tar;
mod qemu_img;
#[path = "../../../tests/common/skip.rs"]
mod skip;
mod support;
