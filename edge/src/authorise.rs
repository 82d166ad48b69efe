//! Who may do what: one pure function over everything that decides it.
//!
//! Asked for every connection with a certificate before it is served, for every machine once it is
//! recognised, and again and again for what is live.

use std::fmt;
use std::time::Duration;

use connector_proto::limits::RENEW_GRACE;
use connector_proto::message::{CloseCode, RenewRefusal, Verdict};
use connector_proto::time::UnixSeconds;

/// What a connection with a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A control channel.
    Control,
    /// A data channel, and the session on it.
    Data,
    /// A renewal.
    Renew,
}

/// What an administrator made of a connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectorState {
    /// It may work.
    Active,
    /// It is gone for good; its keys are remembered.
    Deleted,
    /// It may not work until it is enabled again.
    Disabled,
    /// It may not work any more.
    Revoked,
    /// No connector has, or had, this certificate's key.
    Unknown,
}

/// Everything that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The connector.
    pub connector: ConnectorState,
    /// What the machine is held for. `None`: it was admitted, or is yet to be judged by its greeting.
    pub held: Option<Verdict>,
    /// Whether a newer certificate of the connector was used.
    pub superseded: bool,
    /// The end of the certificate.
    pub not_after: UnixSeconds,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The connector was deleted.
    Deleted,
    /// The connector is disabled.
    Disabled,
    /// The certificate's time is over; it can still be renewed.
    Expired {
        /// When it was over.
        at: UnixSeconds,
    },
    /// The machine is held until it is confirmed.
    Held(Verdict),
    /// The connector was revoked.
    Revoked,
    /// A newer certificate was used.
    Superseded,
    /// The certificate expired too long ago to be renewed.
    TooLate {
        /// When it expired.
        expired_at: UnixSeconds,
    },
    /// The certificate is nobody's.
    Unknown,
}

/// Whether a connection may do what it is for.
///
/// A superseded certificate still opens a control channel up to the greeting: recognition
/// holds its machine, which thereby hears what it is taken for.
///
/// # Errors
/// The first reason of those that there are: what an administrator did comes before what time did.
pub const fn authorise(
    endpoint: Endpoint,
    standing: &Standing,
    now: UnixSeconds,
) -> Result<(), Denied> {
    match standing.connector {
        ConnectorState::Active => {}
        ConnectorState::Deleted => return Err(Denied::Deleted),
        ConnectorState::Disabled => return Err(Denied::Disabled),
        ConnectorState::Revoked => return Err(Denied::Revoked),
        ConnectorState::Unknown => return Err(Denied::Unknown),
    }
    if let Some(verdict) = standing.held {
        return Err(Denied::Held(verdict));
    }
    let at = standing.not_after;
    match endpoint {
        Endpoint::Data | Endpoint::Renew if standing.superseded => Err(Denied::Superseded),
        Endpoint::Control | Endpoint::Data if is_past(at, Duration::ZERO, now) => {
            Err(Denied::Expired { at })
        }
        Endpoint::Renew if is_past(at, RENEW_GRACE, now) => Err(Denied::TooLate { expired_at: at }),
        Endpoint::Control | Endpoint::Data | Endpoint::Renew => Ok(()),
    }
}

/// Whether `time` and some more is over. The last second itself is not (RFC 5280 section 4.1.2.5).
const fn is_past(time: UnixSeconds, more: Duration, now: UnixSeconds) -> bool {
    now.0 > time.0.saturating_add(more.as_secs())
}

impl Denied {
    /// What the peer is told on a control or data channel.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Deleted | Self::Revoked => CloseCode::Revoked,
            Self::Disabled => CloseCode::Disabled,
            Self::Held(_) => CloseCode::Held,
            Self::Expired { .. } | Self::Superseded | Self::TooLate { .. } | Self::Unknown => {
                CloseCode::NotAuthorised
            }
        }
    }

    /// What the peer is told on a renewal.
    #[must_use]
    pub const fn renew_refusal(self) -> RenewRefusal {
        match self {
            Self::Deleted | Self::Revoked | Self::Unknown => RenewRefusal::Revoked,
            Self::Disabled => RenewRefusal::Disabled,
            Self::Held(verdict) => RenewRefusal::Held(verdict),
            Self::Superseded => RenewRefusal::Superseded,
            Self::Expired { at: expired_at } | Self::TooLate { expired_at } => {
                RenewRefusal::TooLate { expired_at }
            }
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deleted => f.write_str("the connector was deleted"),
            Self::Disabled => {
                f.write_str("the connector is disabled; `edge connector enable` lets it in")
            }
            Self::Expired { at } => write!(f, "its certificate expired at {}", at.0),
            Self::Held(verdict) => {
                let what = crate::recognise::verdict_name(*verdict);
                write!(
                    f,
                    "it is held ({what}); `edge connector confirm` lets it in"
                )
            }
            Self::Revoked => f.write_str("the connector was revoked"),
            Self::Superseded => f.write_str("a newer certificate of the connector was used"),
            Self::TooLate { expired_at } => {
                let days = RENEW_GRACE.as_secs() / 86_400;
                let expired_at = expired_at.0;
                write!(
                    f,
                    "its certificate expired at {expired_at}, more than {days} days ago"
                )
            }
            Self::Unknown => f.write_str("its certificate belongs to no connector"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: UnixSeconds = UnixSeconds(1_700_000_000);
    const GRACE: u64 = 30 * 86_400;

    const STATES: [ConnectorState; 5] = [
        ConnectorState::Active,
        ConnectorState::Deleted,
        ConnectorState::Disabled,
        ConnectorState::Revoked,
        ConnectorState::Unknown,
    ];
    const ENDPOINTS: [Endpoint; 3] = [Endpoint::Control, Endpoint::Data, Endpoint::Renew];
    const HELD: [Option<Verdict>; 2] = [None, Some(Verdict::Copy)];

    /// Of the whole product, these and no others: endpoint, superseded, seconds after the end.
    const ALLOWED: [(Endpoint, bool, i64); 9] = [
        (Endpoint::Control, false, -1),
        (Endpoint::Control, false, 0),
        (Endpoint::Control, true, -1),
        (Endpoint::Control, true, 0),
        (Endpoint::Data, false, -1),
        (Endpoint::Data, false, 0),
        (Endpoint::Renew, false, -1),
        (Endpoint::Renew, false, 0),
        (Endpoint::Renew, false, 1),
    ];

    #[test]
    fn of_all_combinations_only_the_listed_ones_are_allowed() {
        let grace = i64::try_from(GRACE).unwrap();
        let mut allowed = Vec::new();
        let mut asked = 0;
        for connector in STATES {
            for held in HELD {
                for superseded in [false, true] {
                    for after in [-1, 0, 1, grace, grace + 1] {
                        for endpoint in ENDPOINTS {
                            let standing = Standing {
                                connector,
                                held,
                                superseded,
                                not_after: END,
                            };
                            let now = UnixSeconds(END.0.saturating_add_signed(after));
                            asked += 1;
                            if authorise(endpoint, &standing, now).is_ok() {
                                assert_eq!(connector, ConnectorState::Active);
                                assert_eq!(held, None);
                                allowed.push((endpoint, superseded, after));
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(asked, 5 * 2 * 2 * 5 * 3);
        let mut expected = ALLOWED.to_vec();
        expected.push((Endpoint::Renew, false, grace));
        let order = |list: &mut Vec<_>| list.sort_by_key(|one| format!("{one:?}"));
        order(&mut allowed);
        order(&mut expected);
        assert_eq!(allowed, expected);
    }

    #[test]
    fn each_reason_is_told_by_its_own_code() {
        let active = Standing {
            connector: ConnectorState::Active,
            held: None,
            superseded: false,
            not_after: END,
        };
        let of = |connector| Standing {
            connector,
            ..active
        };
        let held = Standing {
            held: Some(Verdict::MovedNic),
            ..active
        };
        let superseded = Standing {
            superseded: true,
            ..active
        };
        let late = UnixSeconds(END.0 + GRACE + 1);
        let expired_at = END;
        let (revoked, not_authorised) = (CloseCode::Revoked, CloseCode::NotAuthorised);
        for (standing, now, code, refusal) in [
            (
                of(ConnectorState::Deleted),
                END,
                revoked,
                RenewRefusal::Revoked,
            ),
            (
                of(ConnectorState::Revoked),
                END,
                revoked,
                RenewRefusal::Revoked,
            ),
            (
                of(ConnectorState::Unknown),
                END,
                not_authorised,
                RenewRefusal::Revoked,
            ),
            (
                of(ConnectorState::Disabled),
                END,
                CloseCode::Disabled,
                RenewRefusal::Disabled,
            ),
            (
                held,
                END,
                CloseCode::Held,
                RenewRefusal::Held(Verdict::MovedNic),
            ),
            (superseded, END, not_authorised, RenewRefusal::Superseded),
            (
                active,
                late,
                not_authorised,
                RenewRefusal::TooLate { expired_at },
            ),
        ] {
            let renewal = authorise(Endpoint::Renew, &standing, now).unwrap_err();
            let data = authorise(Endpoint::Data, &standing, now).unwrap_err();
            assert_eq!(
                (data.close_code(), renewal.renew_refusal()),
                (code, refusal)
            );
        }
    }

    #[test]
    fn each_reason_is_a_sentence_of_its_own_and_names_what_is_to_know() {
        let expired_at = END;
        let reasons = [
            (Denied::Deleted, "deleted"),
            (Denied::Disabled, "edge connector enable"),
            (Denied::Expired { at: END }, "expired at 1700000000"),
            (Denied::Held(Verdict::Copy), "(copy)"),
            (Denied::Revoked, "revoked"),
            (Denied::Superseded, "newer certificate"),
            (Denied::TooLate { expired_at }, "more than 30 days ago"),
            (Denied::Unknown, "no connector"),
        ];
        for (denied, part) in reasons {
            let sentence = denied.to_string();
            assert!(sentence.contains(part), "{sentence}");
        }
    }

    #[test]
    fn what_an_administrator_did_is_told_before_what_time_did() {
        let standing = Standing {
            connector: ConnectorState::Disabled,
            held: Some(Verdict::Copy),
            superseded: true,
            not_after: UnixSeconds(0),
        };
        for endpoint in ENDPOINTS {
            assert_eq!(authorise(endpoint, &standing, END), Err(Denied::Disabled));
        }
    }
}
