//! Manifests of an OVA.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovf::manifest::fuzz_manifest;

fuzz_target!(|data: &[u8]| fuzz_manifest(data));
