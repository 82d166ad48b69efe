//! What is in records that carry no data: alerts, tickets, KeyUpdates.
#![no_main]

use libfuzzer_sys::fuzz_target;
use splice_core::engine::in_place::fuzz_control;

fuzz_target!(|data: &[u8]| fuzz_control(data));
