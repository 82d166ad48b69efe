//! Whatever answers at VMware's backdoor.
#![no_main]

use init::settings::guestinfo::fuzz_guestinfo;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_guestinfo(data));
