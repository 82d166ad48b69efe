//! How many descriptors the edge may have, and who may take how many of them.
//!
//! A twentieth is for peers that are not known yet, a twentieth for control channels, warm channels and the
//! store, and the rest for users, of whom each takes two. Where there are few, those shares are a quarter
//! each. So none of the three can take what is another's.

use log::warn;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{PROXY_CONNECTIONS_MAX, UNAUTHENTICATED_MAX};

/// Takes as many as the system gives. Many systems start a process with 1,024 and give it more when it
/// asks.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!("the limit of open files stays {:?}: {error}", limit.current);
    }
    if limits_peers() {
        warn!(
            "at most {} files may be open, so at most {} users are served at once; allow {WANTED} (ulimit \
             -n, LimitNOFILE)",
            allowed(),
            users_max()
        );
    }
}

/// Connections that have not authenticated.
pub(crate) fn strangers_max() -> usize {
    strangers_of(allowed())
}

/// Users' connections.
pub(crate) fn users_max() -> usize {
    users_of(allowed())
}

fn strangers_of(allowed: usize) -> usize {
    UNAUTHENTICATED_MAX.min(share(allowed))
}

fn users_of(allowed: usize) -> usize {
    let taken = strangers_of(allowed) + share(allowed);
    PROXY_CONNECTIONS_MAX.min((allowed - taken) / 2)
}

/// Of strangers, and again of all that is neither stranger nor user.
fn share(allowed: usize) -> usize {
    (allowed / 20).max((allowed / 4).min(SHARE_MIN))
}

/// A share is no smaller than this, unless it would be more than a quarter.
const SHARE_MIN: usize = 512;

/// With so many, no peer is turned away for want of them.
const WANTED: usize = 80_000;

fn limits_peers() -> bool {
    strangers_max() < UNAUTHENTICATED_MAX || users_max() < PROXY_CONNECTIONS_MAX
}

fn allowed() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_leave_each_other_their_room() {
        for allowed in (0..2_000).chain([4_096, 20_000, 65_536, WANTED, 1 << 20, usize::MAX]) {
            let taken = strangers_of(allowed) + 2 * users_of(allowed);
            assert!(allowed - taken >= share(allowed), "{allowed}");
        }
    }

    #[test]
    fn twenty_thousand_descriptors_carry_nine_thousand_sessions() {
        assert_eq!(users_of(20_000), 9_000);
    }

    #[test]
    fn nobody_is_turned_away_with_as_many_as_the_warning_asks_for() {
        assert_eq!(users_of(WANTED), PROXY_CONNECTIONS_MAX);
        assert_eq!(strangers_of(WANTED), UNAUTHENTICATED_MAX);
    }
}
