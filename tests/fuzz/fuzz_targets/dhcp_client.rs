//! Frames at netd's DHCP client, one after the other.
#![no_main]

use init::netd::client::fuzz::fuzz_dhcp_client;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_dhcp_client(data));
