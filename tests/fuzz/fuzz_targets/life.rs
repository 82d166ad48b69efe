//! The life machine: anything may happen to a connector in any order.
#![no_main]

use connector_proto::life::fuzz_life;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_life(data));
