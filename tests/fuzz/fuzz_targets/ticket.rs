//! What a connector shows to be spared a whole handshake.
#![no_main]

use edge::fuzz_ticket;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_ticket(data));
