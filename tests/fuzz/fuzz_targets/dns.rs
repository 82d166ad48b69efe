//! The connector's stub resolver: any answer.
#![no_main]

use connector_proto::dns::fuzz_dns;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_dns(data));
