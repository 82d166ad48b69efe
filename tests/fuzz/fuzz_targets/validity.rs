//! A certificate's dates.
#![no_main]

use connector_proto::life::validity::fuzz_validity;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_validity(data));
