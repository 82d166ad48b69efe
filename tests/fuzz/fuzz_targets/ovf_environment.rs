//! The environment a hypervisor hands to the guest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovf::environment::fuzz_environment;

fuzz_target!(|data: &[u8]| fuzz_environment(data));
