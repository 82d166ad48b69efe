//! The provisioning key as people type it.
#![no_main]

use connector_proto::key::fuzz_key;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_key(data));
