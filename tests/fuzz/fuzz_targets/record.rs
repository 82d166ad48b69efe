//! The state record: any bytes on the partition.
#![no_main]

use connector_proto::record::fuzz_record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_record(data));
