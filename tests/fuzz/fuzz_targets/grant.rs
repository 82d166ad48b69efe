//! Grants: any bytes in place of a signed one.
#![no_main]

use connector_proto::grant::fuzz_grant;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_grant(data));
