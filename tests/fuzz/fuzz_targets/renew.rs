//! Both ends of a renewal, with anybody in between.
#![no_main]

use connector_proto::renew::fuzz_renew;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_renew(data));
