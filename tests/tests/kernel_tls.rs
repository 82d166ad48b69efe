//! The kernel's engine on the product's kernel. One machine runs every case of `tests/guest`, and each
//! test here is what one of them said.

use std::sync::LazyLock;
use std::time::Duration;

use tests::guest_program::{self, Report};
use tests::lab::{Lab, LabError};

/// How long all cases may take together, under software emulation on a busy computer.
const ALL_MAX: Duration = Duration::from_secs(900);

/// What the machine said.
static REPORT: LazyLock<Result<Report, LabError>> =
    LazyLock::new(|| guest_program::run("kernel-tls", &[], ALL_MAX));

/// The end of one case: its name is the test's, with hyphens.
fn assert_ok(test: &str) {
    if let Some(missing) = Lab::missing_for_vm() {
        tests::skip!(missing);
    }
    let report = match &*REPORT {
        Ok(report) => report,
        Err(error) => panic!("the machine failed: {error}"),
    };
    match report.cases.get(&test.replace('_', "-")) {
        Some(Ok(())) => {}
        Some(Err(why)) => panic!("{why}\n{}", report.text),
        None => panic!("there is no such case\n{}", report.text),
    }
}

/// One test for each case, and one that there are no others.
macro_rules! cases {
    ($(fn $name:ident();)*) => {
        $(
            #[test]
            fn $name() {
                assert_ok(stringify!($name));
            }
        )*

        #[test]
        fn every_case_that_the_machine_runs_is_a_test_here() {
            if let Some(missing) = Lab::missing_for_vm() {
                tests::skip!(missing);
            }
            let Ok(report) = &*REPORT else {
                panic!("the machine failed: {:?}", *REPORT);
            };
            let known = [$(stringify!($name)),*];
            for case in report.cases.keys() {
                assert!(known.contains(&&*case.replace('-', "_")), "{case} is no test");
            }
        }
    };
}

cases! {
    fn a_continuation_ends_neither_direction_of_the_plain_socket();
    fn a_data_plane_carries_many_sessions_by_the_kernel();
    fn a_direction_continues_on_the_next_channel();
    fn a_key_update_ends_the_session_and_says_why();
    fn a_partly_sent_record_is_not_lost_when_the_socket_is_closed();
    fn a_peer_that_vanishes_is_a_truncation();
    fn a_reader_that_does_not_read_stalls_the_writer_and_loses_nothing();
    fn a_reset_of_either_side_is_told_apart();
    fn a_second_set_of_keys_is_refused_and_the_first_goes_on();
    fn a_slow_reader_gets_the_last_byte_after_the_socket_is_closed();
    fn alerts_end_a_session_by_their_description();
    fn both_engines_are_tried_and_the_faster_is_chosen();
    fn bytes_written_one_by_one_arrive_one_by_one();
    fn every_mixture_of_engines_carries_every_byte();
    fn first_bytes_go_first_and_beyond_the_limit_none_goes();
    fn half_of_a_session_goes_on_whoever_ends_first();
    fn kernel_to_kernel_every_byte_arrives_with_each_suite();
    fn records_of_any_size_and_kind_between_them_lose_no_byte();
    fn records_without_data_are_limited();
    fn the_count_of_records_is_the_peer_s();
    fn the_kernel_has_tls();
    fn the_last_pipe_is_not_kept_by_whoever_waits();
    fn the_loopback_carries_bytes();
    fn what_is_no_record_or_a_forged_one_is_refused();
    fn without_a_pipe_bytes_are_copied_and_none_is_lost();
}
