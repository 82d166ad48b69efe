//! The header of a slot.
#![no_main]

use disk_format::slot::fuzz_slot;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_slot(data));
