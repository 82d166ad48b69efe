//! A system as the installer reads it from a stream.
#![no_main]

use init::slot::system::fuzz_install;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_install(data));
