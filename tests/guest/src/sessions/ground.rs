//! What all other cases stand on.

use std::fs;
use std::io::Write as _;

use super::line::{read_exactly, sockets};

/// There is a network within the machine.
pub fn loopback() {
    let (mut near, far) = sockets();
    near.write_all(b"hello").unwrap();
    assert_eq!(read_exactly(&far, 5), b"hello");
}

/// The product's kernel has TLS.
pub fn kernel_tls() {
    let counters = fs::read_to_string("/proc/net/tls_stat").unwrap();
    assert!(counters.contains("TlsDecryptError"), "{counters}");
}
