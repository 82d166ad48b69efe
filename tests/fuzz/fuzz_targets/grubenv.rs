//! GRUB environment blocks.
#![no_main]

use disk_format::grubenv::fuzz_grubenv;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_grubenv(data));
