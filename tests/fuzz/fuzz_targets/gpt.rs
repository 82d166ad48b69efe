//! Partition tables, primary and backup.
#![no_main]

use disk_format::gpt::fuzz_gpt;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_gpt(data));
