//! Initramfs archives.
#![no_main]

use disk_format::cpio::fuzz_cpio;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_cpio(data));
