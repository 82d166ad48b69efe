//! Memory and pipes that sessions borrow while they move bytes. An idle session holds none.

/// One thread's buffers and pipes.
#[derive(Debug, Default)]
pub struct Buffers {}
