//! What is to be on the disk, and what follows once it is.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::mem::{discriminant, take};
use core::time::Duration;

use zeroize::Zeroizing;

use crate::backoff::Backoff;
use crate::message::RatchetValue;
use crate::record::{Identity, Next, State};
use crate::time::{Instant, UnixSeconds};

/// Spread and cap of the delays after which a write that failed is tried again.
const SPREAD: Duration = Duration::from_secs(1);
const CAP: Duration = Duration::from_secs(60);

/// A change of the state record that something waits for.
pub(super) enum Intent {
    /// Before a first enrolment is asked for: the edge, and the key pair unless there is one.
    Prepare {
        private_key: Option<Zeroizing<Vec<u8>>>,
        edge: String,
    },
    /// Before a renewal, or an enrolment of a machine that has an identity: the next key pair. A next
    /// certificate that is there takes the identity's place if `promotes`, else it is given up.
    Pair {
        private_key: Zeroizing<Vec<u8>>,
        promotes: bool,
    },
    /// The state as it is, because a write before failed and may have left something else.
    Again,
    /// Enrolment gave this.
    Enrolled {
        identity: Identity,
        edge: String,
        time: UnixSeconds,
    },
    /// Renewal gave this certificate for the next key pair.
    Renewed { certificate: Vec<u8> },
    /// The edge took the next certificate: it is the identity's.
    Promote,
    /// The next key pair is of no use.
    ForgetNext,
    /// A ratchet value, of the connection with this number.
    Ratchet {
        step: u64,
        value: RatchetValue,
        connection: u64,
    },
    /// Trust anchors, of the connection with this number.
    Trust {
        ca: Vec<u8>,
        other_ca: Vec<u8>,
        digest: [u8; 32],
        connection: u64,
    },
}

impl fmt::Debug for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare { .. } => "Prepare(..)",
            Self::Pair { .. } => "Pair(..)",
            Self::Again => "Again",
            Self::Enrolled { .. } => "Enrolled(..)",
            Self::Renewed { .. } => "Renewed(..)",
            Self::Promote => "Promote",
            Self::ForgetNext => "ForgetNext",
            Self::Ratchet { .. } => "Ratchet(..)",
            Self::Trust { .. } => "Trust(..)",
        })
    }
}

impl Intent {
    /// Makes the change. Doing it twice is doing it once.
    pub(super) fn apply(&self, state: &mut State) {
        match self {
            Self::Prepare { private_key, edge } => {
                if let Some(key) = private_key {
                    state.private_key.clone_from(key);
                }
                set_edge(state, edge);
            }
            Self::Pair {
                private_key,
                promotes,
            } => {
                if *promotes {
                    promote(state);
                }
                state.next = Some(Next {
                    private_key: private_key.to_vec(),
                    certificate: Vec::new(),
                });
            }
            Self::Enrolled {
                identity,
                edge,
                time,
            } => enrol(state, identity, edge, *time),
            Self::Renewed { certificate } => {
                if let Some(next) = &mut state.next {
                    next.certificate.clone_from(certificate);
                }
            }
            Self::Again => {}
            Self::Promote => promote(state),
            Self::ForgetNext => state.next = None,
            Self::Ratchet { value, .. } => state.ratchet = *value,
            Self::Trust { ca, other_ca, .. } => {
                if let Some(identity) = &mut state.identity {
                    identity.ca.clone_from(ca);
                    identity.other_ca.clone_from(other_ca);
                }
            }
        }
    }

    /// Whether it matters only while the connection stands that it is of.
    pub(super) const fn ends_with_connection(&self) -> bool {
        matches!(
            self,
            Self::Ratchet { .. } | Self::Trust { .. } | Self::Promote | Self::ForgetNext
        )
    }

    /// Whether it is a step of a renewal. If it cannot be written the certificate in use still is one.
    pub(super) const fn is_renewal(&self, is_enrolling: bool) -> bool {
        match self {
            Self::Pair { .. } | Self::Again => !is_enrolling,
            Self::Renewed { .. } => true,
            _ => false,
        }
    }
}

/// The key pair that was requested with: the next one if there is an identity already.
fn enrol(state: &mut State, identity: &Identity, edge: &str, time: UnixSeconds) {
    if state.identity.as_ref() == Some(identity) {
        return;
    }
    if state.identity.is_some()
        && let Some(next) = &mut state.next
    {
        state.private_key = take(&mut next.private_key);
    }
    state.next = None;
    state.identity = Some(identity.clone());
    state.ratchet = RatchetValue::default();
    // Proven by the key, and right even where this machine's clock is not.
    state.last_good_time = state.last_good_time.max(time.0);
    set_edge(state, edge);
}

fn promote(state: &mut State) {
    if let Some(identity) = &mut state.identity
        && let Some(next) = &mut state.next
        && !next.certificate.is_empty()
    {
        identity.certificate = take(&mut next.certificate);
        state.private_key = take(&mut next.private_key);
        state.next = None;
    }
}

/// The addresses are those of the edge before.
fn set_edge(state: &mut State, edge: &str) {
    if state.edge != edge {
        state.edge_addresses.clear();
        edge.clone_into(&mut state.edge);
    }
}

/// What is to be written, is being written, and could not be.
#[derive(Debug)]
pub(super) struct Journal {
    waiting: Vec<Intent>,
    writing: Option<Writing>,
    /// There is something to write that nothing waits for.
    is_amended: bool,
    /// The last write failed, and may have reached the disk in part or whole all the same.
    is_doubtful: bool,
    /// Everything is to be erased.
    is_erasing: bool,
    backoff: Backoff,
    retry_at: Option<Instant>,
    /// Why what something waits for could not be written.
    failure: Option<String>,
}

#[derive(Debug)]
enum Writing {
    Intents(Vec<Intent>),
    Erasure,
}

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    /// The state with [`Journal::being_written`] applied.
    State,
    /// Nothing but zeros.
    Erasure,
}

/// What is on the disk.
#[derive(Debug)]
pub(super) enum Written {
    Intents(Vec<Intent>),
    Erasure,
}

impl Journal {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            waiting: Vec::new(),
            writing: None,
            is_amended: false,
            is_doubtful: false,
            is_erasing: false,
            backoff: Backoff::new(SPREAD, CAP, seed),
            retry_at: None,
            failure: None,
        }
    }

    /// Wants a change, without delay unless the disk has just failed. Of two of a kind only the later
    /// one is worth writing.
    pub(super) fn want(&mut self, intent: Intent) {
        let kind = discriminant(&intent);
        self.waiting.retain(|waiting| discriminant(waiting) != kind);
        self.waiting.push(intent);
    }

    /// Whether such a change is yet to be on the disk.
    pub(super) fn holds(&self, is_such: impl Fn(&Intent) -> bool) -> bool {
        self.waiting.iter().chain(self.being_written()).any(is_such)
    }

    /// Something changed that nothing waits for.
    pub(super) const fn amended(&mut self) {
        self.is_amended = true;
    }

    /// Wants everything erased, and nothing else any more.
    pub(super) fn erase(&mut self) {
        self.waiting.clear();
        self.is_amended = false;
        self.is_erasing = true;
        self.retry_at = None;
        self.failure = None;
    }

    pub(super) const fn is_erasing(&self) -> bool {
        self.is_erasing
    }

    /// Whether something is to be on the disk before the next connection is opened.
    pub(super) const fn is_busy(&self) -> bool {
        self.is_erasing || !self.waiting.is_empty() || self.writing.is_some()
    }

    /// Whether the disk may hold what was given up: a key pair in the place of the next certificate's, for one.
    pub(super) const fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// Why something that is waited for is not on the disk.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The connection ended: what was only of interest on it need not be written.
    pub(super) fn connection_ended(&mut self) {
        self.waiting.retain(|intent| !intent.ends_with_connection());
        if self.waiting.is_empty() && !self.is_erasing {
            self.failure = None;
        }
    }

    /// What to write now. `spares_record`: nothing that is not waited for.
    pub(super) fn start(&mut self, now: Instant, spares_record: bool) -> Option<Write> {
        let is_early = self.retry_at.is_some_and(|at| now < at);
        if self.writing.is_some() || is_early || !self.has_work(spares_record) {
            return None;
        }
        if self.is_erasing {
            self.writing = Some(Writing::Erasure);
            return Some(Write::Erasure);
        }
        self.is_amended = false;
        self.writing = Some(Writing::Intents(take(&mut self.waiting)));
        Some(Write::State)
    }

    /// The changes that are being written, in their order.
    pub(super) fn being_written(&self) -> &[Intent] {
        match &self.writing {
            Some(Writing::Intents(intents)) => intents,
            Some(Writing::Erasure) | None => &[],
        }
    }

    /// It is written; what it was. `None` if nothing was being written.
    pub(super) fn succeeded(&mut self) -> Option<Written> {
        let writing = self.writing.take()?;
        self.backoff.reset();
        self.is_doubtful = false;
        self.retry_at = None;
        self.failure = None;
        Some(match writing {
            Writing::Intents(intents) => Written::Intents(intents),
            Writing::Erasure => {
                self.is_erasing = false;
                Written::Erasure
            }
        })
    }

    /// It could not be written, and is tried again later; but for what nobody waits for any more,
    /// which is returned.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        why: String,
        is_moot: impl Fn(&Intent) -> bool,
    ) -> Vec<Intent> {
        let Some(writing) = self.writing.take() else {
            return Vec::new();
        };
        self.retry_at = Some(now + self.backoff.next_delay());
        self.is_doubtful = true;
        let mut given_up = Vec::new();
        if let Writing::Intents(intents) = writing
            && !self.is_erasing
        {
            self.is_amended = true;
            let later = take(&mut self.waiting);
            for intent in intents {
                if is_moot(&intent) {
                    given_up.push(intent);
                } else {
                    self.want(intent);
                }
            }
            for intent in later {
                self.want(intent);
            }
        }
        if self.is_erasing || !self.waiting.is_empty() {
            self.failure = Some(why);
        }
        given_up
    }

    /// When to write again.
    pub(super) fn poll_timeout(&self, spares_record: bool) -> Option<Instant> {
        let is_waiting = self.writing.is_none() && self.has_work(spares_record);
        self.retry_at.filter(|_| is_waiting)
    }

    const fn has_work(&self, spares_record: bool) -> bool {
        self.is_erasing || !self.waiting.is_empty() || self.is_amended && !spares_record
    }
}
