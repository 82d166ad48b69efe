//! What a connector and an edge survive, as processes in a network of their own.
//!
//! [`ground`] is the network, [`site`] what runs in it, with a [`connector`] and perhaps a [`relay`] in between;
//! [`application`] is what users reach and [`pattern`] what is said to it.
#![expect(
    clippy::unwrap_in_result,
    clippy::unwrap_used,
    reason = "a panic is a test's report, in its helpers too"
)]

mod application;
mod connector;
mod echo;
mod ground;
mod pattern;
mod process;
mod relay;
mod site;

mod crowd;
mod killed;
mod small_memory;
mod soak;
mod warm;

use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything takes that does happen: a warm channel is retired after 100 s.
const STEP_MAX: Duration = Duration::from_secs(120);

/// Asks until the answer is yes.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(
            began.elapsed() < STEP_MAX,
            "{what}: not within {STEP_MAX:?}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}
