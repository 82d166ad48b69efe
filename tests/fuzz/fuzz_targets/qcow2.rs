//! qcow2 files.
#![no_main]

use disk_format::qcow2::fuzz_qcow2;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_qcow2(data));
