//! How many descriptors the edge may have, and who may take how many of them.
//!
//! A quarter is for peers that are not known yet and half for users, of whom each takes two. So neither
//! can take those of control channels, of the store and of new connections.

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
        let wanted = 4 * PROXY_CONNECTIONS_MAX.max(UNAUTHENTICATED_MAX);
        warn!(
            "at most {} files may be open, so fewer peers are served at once; allow {wanted} (ulimit -n, \
             LimitNOFILE)",
            allowed()
        );
    }
}

/// Connections that have not authenticated.
pub(crate) fn strangers_max() -> usize {
    UNAUTHENTICATED_MAX.min(allowed() / 4)
}

/// Users' connections.
pub(crate) fn users_max() -> usize {
    PROXY_CONNECTIONS_MAX.min(allowed() / 4)
}

fn limits_peers() -> bool {
    strangers_max() < UNAUTHENTICATED_MAX || users_max() < PROXY_CONNECTIONS_MAX
}

fn allowed() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}
