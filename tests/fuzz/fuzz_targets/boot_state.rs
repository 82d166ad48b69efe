//! The boot environment as PID 1 reads it.
#![no_main]

use init::slot::boot_state::fuzz_boot_state;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_boot_state(data));
