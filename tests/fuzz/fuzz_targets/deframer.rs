//! Frames: any bytes in any pieces.
#![no_main]

use connector_proto::frame::fuzz_deframer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_deframer(data));
