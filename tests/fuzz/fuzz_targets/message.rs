//! Messages: any body under any id.
#![no_main]

use connector_proto::message::fuzz_message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_message(data));
