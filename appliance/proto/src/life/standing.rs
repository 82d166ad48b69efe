//! What the connector's identity is worth, as far as anybody has said.

use crate::local::{NoIdentity, text};
use crate::message::Verdict;
use crate::record::State;

/// What the identity is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nobody has said anything against it.
    Good,
    /// The edge does not take this machine for the one that was enrolled.
    Held(Verdict),
    /// There is none, or none to use: a key is needed.
    Shut {
        why: NoIdentity,
        /// All the same the edge is asked from time to time: it was not its last word.
        asks_again: bool,
    },
}

impl Standing {
    /// What the state record tells.
    pub(super) fn opened(state: &State, why: Option<NoIdentity>) -> Self {
        match (why, &state.identity) {
            (Some(why), _) => Self::shut(why),
            (None, None) => Self::shut(NoIdentity::Blank),
            (None, Some(_)) => Self::Good,
        }
    }

    pub(super) const fn shut(why: NoIdentity) -> Self {
        Self::Shut {
            why,
            asks_again: false,
        }
    }

    /// Whether the record on the disk may be another machine's, or worth a look by somebody who knows
    /// more: it is left as it is until somebody types a key.
    pub(super) const fn spares_record(&self) -> bool {
        matches!(
            self,
            Self::Shut {
                why: NoIdentity::Foreign { .. }
                    | NoIdentity::Sealed { .. }
                    | NoIdentity::Unreadable,
                ..
            }
        )
    }
}

/// Revoked, with the connector's name.
pub(super) fn revoked(state: &State) -> NoIdentity {
    NoIdentity::Revoked {
        name: text(name(state)),
    }
}

/// Too late to renew, with the connector's name.
pub(super) fn too_late(state: &State) -> NoIdentity {
    NoIdentity::TooLate {
        name: text(name(state)),
    }
}

/// Gone back to before a renewal, with the connector's name.
pub(super) fn superseded(state: &State) -> NoIdentity {
    NoIdentity::Superseded {
        name: text(name(state)),
    }
}

/// The connector's name; empty without an identity.
pub(super) fn name(state: &State) -> &str {
    let identity = state.identity.as_ref();
    identity.map_or("", |identity| identity.name.as_str())
}
