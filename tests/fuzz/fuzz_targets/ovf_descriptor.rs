//! Descriptors of an OVA.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovf::descriptor::fuzz_descriptor;

fuzz_target!(|data: &[u8]| fuzz_descriptor(data));
