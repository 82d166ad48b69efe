//! A name resolved by up to four resolvers, of which any may say anything at any time.
#![no_main]

use connector_proto::resolve::fuzz_resolution;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_resolution(data));
