//! Values of OVF properties.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovf::value::fuzz_value;

fuzz_target!(|data: &[u8]| fuzz_value(data));
