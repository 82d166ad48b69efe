//! Engine B over real sockets, both ends, every byte compared.

mod carrying;
mod control_records;
mod ends;
mod line;
mod reads;

std::thread_local! {
    static CALLS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Notes a call that reads or receives.
pub(super) fn count_call() {
    CALLS.set(CALLS.get() + 1);
}

/// How many there were since the last time that was asked, of this thread.
fn calls() -> u32 {
    CALLS.take()
}
