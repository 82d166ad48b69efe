//! What an HTTP proxy answers to CONNECT.
#![no_main]

use appliance::proxy::fuzz::fuzz_proxy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_proxy(data));
