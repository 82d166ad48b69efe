//! What a TPM answers.
#![no_main]

use connector_proto::tpm::fuzz_tpm;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_tpm(data));
