//! Records of TLS 1.3: what opens, what does not, and that nothing opens by chance.
#![no_main]

use libfuzzer_sys::fuzz_target;
use splice_core::record::fuzz_records;

fuzz_target!(|data: &[u8]| fuzz_records(data));
