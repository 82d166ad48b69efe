//! Tar archives: what an OVA is.
#![no_main]

use disk_format::tar::fuzz_tar;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_tar(data));
