//! A certificate whose issuer is named to people.
#![no_main]

use appliance::issuer::fuzz_issuer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_issuer(data));
