//! Both sides of an enrolment, with anybody in between.
#![no_main]

use connector_proto::enrol::fuzz_enrol;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_enrol(data));
