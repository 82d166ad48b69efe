//! One round: what several servers answered, and the sample on which a majority agrees.

use std::net::IpAddr;

use connector_proto::local::Sample;
use connector_proto::time::Instant;

use super::packet::Reply;

/// When a request left, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct SentAt {
    /// `CLOCK_REALTIME` in microseconds.
    pub real_us: i64,
    /// `CLOCK_BOOTTIME`.
    pub boot: Instant,
}

/// Computes the offset and its bound (RFC 5905 section 8).
///
/// The time of arrival is the time of sending plus what passed on `CLOCK_BOOTTIME`, so that a step
/// of the clock in between does not matter. `None` if the numbers cannot be: the server took longer
/// than the round trip.
#[must_use]
pub fn sample(server: IpAddr, sent: SentAt, arrived: Instant, reply: &Reply) -> Option<Sample> {
    let elapsed_us = i64::try_from(arrived.since(sent.boot).as_micros()).ok()?;
    let arrived_us = sent.real_us.checked_add(elapsed_us)?;
    let there_us = reply.received_us.checked_sub(sent.real_us)?;
    let back_us = reply.sent_us.checked_sub(arrived_us)?;
    let delay_us = elapsed_us.checked_sub(reply.sent_us.checked_sub(reply.received_us)?)?;
    let half_delay_us = u32::try_from(delay_us / 2).ok()?;
    Some(Sample {
        server,
        offset_us: there_us.checked_add(back_us)? / 2,
        bound_us: half_delay_us.checked_add(reply.root_distance_us)?,
        at_boot_us: arrived.as_micros(),
        stratum: reply.stratum,
    })
}

/// What the answers of a round come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// More than half of those that answered agree; the best of them.
    Agreed(Sample),
    /// Servers answered, and no majority agrees.
    Split,
    /// Nobody answered.
    Silent,
}

/// Finds what the answers of a round come to.
#[must_use]
pub fn verdict(samples: &[Sample]) -> Verdict {
    match agreed(samples) {
        Some(sample) => Verdict::Agreed(sample),
        None if samples.is_empty() => Verdict::Silent,
        None => Verdict::Split,
    }
}

/// The best of the samples on which more than half of them agree; `None` if no majority does.
///
/// Each sample says that the true offset lies within its bound. The point that most intervals
/// contain is found at one of their lower ends (Marzullo); of those that contain it, the narrowest
/// is the best.
#[must_use]
pub fn agreed(samples: &[Sample]) -> Option<Sample> {
    let contains = |sample: &Sample, point: i64| lower(sample) <= point && point <= upper(sample);
    let count = |point: i64| {
        samples
            .iter()
            .filter(|sample| contains(sample, point))
            .count()
    };
    let best_point = samples
        .iter()
        .map(lower)
        .max_by_key(|&point| count(point))?;
    if count(best_point) * 2 <= samples.len() {
        return None;
    }
    samples
        .iter()
        .filter(|sample| contains(sample, best_point))
        .min_by_key(|sample| sample.bound_us)
        .copied()
}

fn lower(sample: &Sample) -> i64 {
    sample.offset_us.saturating_sub(i64::from(sample.bound_us))
}

fn upper(sample: &Sample) -> i64 {
    sample.offset_us.saturating_add(i64::from(sample.bound_us))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_offset_is_the_mean_of_both_ways_and_the_bound_half_the_trip() {
        let sent = SentAt {
            real_us: 1_000_000,
            boot: Instant::from_micros(50),
        };
        let reply = Reply {
            received_us: 6_000_100,
            sent_us: 6_000_300,
            root_distance_us: 7,
            stratum: 1,
        };
        let sample = sample(server(1), sent, Instant::from_micros(50 + 1000), &reply).unwrap();
        // There: 5_000_100; back: 6_000_300 - 1_001_000 = 4_999_300.
        assert_eq!(sample.offset_us, 4_999_700);
        assert_eq!(sample.bound_us, (1000 - 200) / 2 + 7);
    }

    #[test]
    fn a_server_that_took_longer_than_the_trip_is_not_believed() {
        let sent = SentAt {
            real_us: 0,
            boot: Instant::from_micros(0),
        };
        let reply = Reply {
            received_us: 0,
            sent_us: 2_000_000,
            root_distance_us: 0,
            stratum: 1,
        };
        assert_eq!(
            sample(server(1), sent, Instant::from_micros(1000), &reply),
            None
        );
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        for received_us in [i64::MIN, 0, i64::MAX] {
            for real_us in [i64::MIN, 0, i64::MAX] {
                let sent = SentAt {
                    real_us,
                    boot: Instant::from_micros(0),
                };
                let reply = Reply {
                    received_us,
                    sent_us: received_us,
                    root_distance_us: 0,
                    stratum: 1,
                };
                let _ = sample(server(1), sent, Instant::from_micros(u64::MAX), &reply);
            }
        }
    }

    #[test]
    fn a_majority_decides_and_the_narrowest_of_it_is_taken() {
        type Offsets = &'static [(i64, u32)];
        let cases: &[(Offsets, Option<usize>)] = &[
            (&[], None),
            (&[(0, 10)], Some(0)),
            (&[(0, 10), (5, 3)], Some(1)),
            (&[(0, 10), (5000, 10)], None),
            (&[(0, 10), (5000, 10), (8, 4)], Some(2)),
            (&[(0, 10), (5000, 10), (9000, 10)], None),
            (&[(0, 10), (1, 10), (9000, 10), (9001, 10)], None),
            (&[(0, 10), (1, 9), (2, 8), (9001, 1)], Some(2)),
        ];
        for (offsets, expected) in cases {
            let samples: Vec<_> = offsets
                .iter()
                .map(|&(offset_us, bound_us)| at(offset_us, bound_us))
                .collect();
            assert_eq!(
                agreed(&samples),
                expected.map(|index| samples[index]),
                "{offsets:?}"
            );
        }
    }

    fn at(offset_us: i64, bound_us: u32) -> Sample {
        Sample {
            server: server(1),
            offset_us,
            bound_us,
            at_boot_us: 0,
            stratum: 1,
        }
    }

    fn server(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }
}
