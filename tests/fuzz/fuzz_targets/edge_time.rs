//! Both sides of the question for the edge's time, with anybody at the other end.
#![no_main]

use connector_proto::edge_time::fuzz_edge_time;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_edge_time(data));
