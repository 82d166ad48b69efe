//! Sessions over channels of the loopback, engine by engine, and what may befall them.
//!
//! - [`side`]: one end of a session, on a thread, driven by a reactor's edges as the data plane does it.
//! - [`line`]: a whole session: user, both ends, application.
//! - [`peer`]: an end that makes its records by hand, to do what an honest one does not.
//!
//! The cases: [`carrying`] every byte, [`ends`] of all kinds, [`control`] records, [`stalls`],
//! [`planes`], and [`calibration`].
#![expect(
    clippy::unwrap_in_result,
    clippy::unwrap_used,
    reason = "a case that panics has failed, and the panic's text is its report"
)]

use std::time::Duration;

pub mod calibration;
pub mod carrying;
pub mod control;
pub mod ends;
pub mod ground;
pub mod planes;
pub mod stalls;

mod line;
mod peer;
mod side;

/// How long anything may take that does not have to wait for somebody.
const STEP_MAX: Duration = Duration::from_secs(60);

/// So many bytes in which nothing repeats within 16 MiB, so that none can be lost, doubled or moved unseen.
fn bytes(len: usize) -> Vec<u8> {
    let words = (0_u32..).flat_map(|number| (number.wrapping_mul(0x9e37_79b1)).to_le_bytes());
    words.take(len).collect()
}

/// Where two sequences begin to differ, instead of both in full.
#[track_caller]
fn assert_same(got: &[u8], expected: &[u8]) {
    let common = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
    assert!(
        got == expected,
        "{} bytes of {}, the first {common} of them right",
        got.len(),
        expected.len()
    );
}
