//! Both ends of a control channel, with anybody in between.
#![no_main]

use connector_proto::control::fuzz_control;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_control(data));
