//! VMDK files.
#![no_main]

use disk_format::vmdk::fuzz_vmdk;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_vmdk(data));
