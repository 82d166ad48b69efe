//! A router advertisement as netd reads it.
#![no_main]

use init::netd::router_advert::fuzz_router_advert;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_router_advert(data));
