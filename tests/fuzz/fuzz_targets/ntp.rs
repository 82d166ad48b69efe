//! NTP replies as timed reads them.
#![no_main]

use init::timed::packet::fuzz_ntp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_ntp(data));
