//! The table of cases.

use crate::sessions::{calibration, carrying, control, ends, ground, planes, stalls};

/// One case.
pub struct Case {
    /// Its name: a claim.
    pub name: &'static str,
    /// What it takes behind its name, for people. One that takes something runs only when it is asked for.
    pub arguments: &'static str,
    /// Does it.
    pub run: Run,
}

/// How a case is run.
pub enum Run {
    /// Says why it failed.
    Answers(fn(&[&str]) -> Result<(), String>),
    /// Panics if it fails.
    Asserts(fn()),
}

/// All of them, in the order in which they run.
pub const ALL: &[Case] = &[
    case("the-loopback-carries-bytes", ground::loopback),
    case("the-kernel-has-tls", ground::kernel_tls),
    case(
        "kernel-to-kernel-every-byte-arrives-with-each-suite",
        carrying::every_suite,
    ),
    case(
        "every-mixture-of-engines-carries-every-byte",
        carrying::every_mixture,
    ),
    case(
        "records-of-any-size-and-kind-between-them-lose-no-byte",
        carrying::record_sizes,
    ),
    case(
        "bytes-written-one-by-one-arrive-one-by-one",
        carrying::single_bytes,
    ),
    case(
        "without-a-pipe-bytes-are-copied-and-none-is-lost",
        carrying::without_pipes,
    ),
    case(
        "the-last-pipe-is-not-kept-by-whoever-waits",
        carrying::one_pipe,
    ),
    case(
        "first-bytes-go-first-and-beyond-the-limit-none-goes",
        carrying::first_bytes_and_limit,
    ),
    case("the-count-of-records-is-the-peer-s", carrying::record_count),
    case(
        "half-of-a-session-goes-on-whoever-ends-first",
        ends::half_close,
    ),
    case("a-peer-that-vanishes-is-a-truncation", ends::truncation),
    case("a-reset-of-either-side-is-told-apart", ends::resets),
    case(
        "a-slow-reader-gets-the-last-byte-after-the-socket-is-closed",
        ends::slow_reader_at_the_end,
    ),
    case(
        "a-partly-sent-record-is-not-lost-when-the-socket-is-closed",
        ends::partly_sent_records,
    ),
    case("a-direction-continues-on-the-next-channel", ends::continues),
    case(
        "a-continuation-ends-neither-direction-of-the-plain-socket",
        ends::continuation_alert,
    ),
    case("alerts-end-a-session-by-their-description", control::alerts),
    case(
        "a-key-update-ends-the-session-and-says-why",
        control::key_update,
    ),
    case(
        "a-second-set-of-keys-is-refused-and-the-first-goes-on",
        control::second_keys,
    ),
    case(
        "what-is-no-record-or-a-forged-one-is-refused",
        control::bad_records,
    ),
    case("records-without-data-are-limited", control::floods),
    case(
        "both-engines-are-tried-and-the-faster-is-chosen",
        calibration::both_engines,
    ),
    case(
        "a-reader-that-does-not-read-stalls-the-writer-and-loses-nothing",
        stalls::a_reader_that_does_not_read,
    ),
    case(
        "a-data-plane-carries-many-sessions-by-the-kernel",
        planes::many_sessions,
    ),
    Case {
        name: "carry",
        arguments: "nothing|stock|kernel|in-place up|down MIB count|verify",
        run: Run::Answers(crate::carry::run),
    },
];

const fn case(name: &'static str, run: fn()) -> Case {
    Case {
        name,
        arguments: "",
        run: Run::Asserts(run),
    }
}
