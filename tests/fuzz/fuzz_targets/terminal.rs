//! The console: any keys, facts and phases.
#![no_main]

use appliance::console::fuzz::fuzz_terminal;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_terminal(data));
