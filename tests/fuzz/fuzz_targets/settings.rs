//! The values of fw_cfg, of an OVF environment and of the boot-state block, as the settings role reads them.
#![no_main]

use init::settings::reader::fuzz_settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_settings(data));
