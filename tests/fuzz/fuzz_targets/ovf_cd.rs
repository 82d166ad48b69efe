//! A CD that may hold an OVF environment.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovf::cd::fuzz_cd;

fuzz_target!(|data: &[u8]| fuzz_cd(data));
