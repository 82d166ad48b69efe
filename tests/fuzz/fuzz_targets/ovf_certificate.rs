//! Certificate files of an OVA.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovf::certificate::fuzz_certificate;

fuzz_target!(|data: &[u8]| fuzz_certificate(data));
