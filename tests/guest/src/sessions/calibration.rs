//! Which engine is faster, by trying.

use splice_core::calibrate::calibrate;
use splice_core::engine::Engine;

/// Both engines are tried, on sockets that need no listener, and the faster one is chosen.
pub fn both_engines() {
    let found = calibrate();
    println!("{found}");
    let kernel = found.kernel.expect("the kernel's engine was not tried");
    assert!(!found.in_place.is_zero() && !kernel.is_zero());
    assert_eq!(found.chosen == Engine::Kernel, kernel <= found.in_place);
    // Those of other cases may still be waiting for their time to be over; but none of these is left.
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut sockets = table.lines().map(|line| line.split_whitespace().skip(1));
    assert!(sockets.all(|mut socket| socket.next() != socket.next()));
}
