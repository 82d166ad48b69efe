//! DHCP options as netd reads them.
#![no_main]

use init::netd::options::fuzz_dhcp_options;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_dhcp_options(data));
