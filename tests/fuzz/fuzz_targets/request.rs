//! What a connector asks to have signed.
#![no_main]

use edge::authority::fuzz_request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_request(data));
