//! What a minted disk or a hypervisor says about the machine.
#![no_main]

use init::minted::fuzz_minted;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_minted(data));
