//! The connector's phases, refusals and recognition in words.

use connector_proto::local::{ConnectorStatus, KeyRefused, NoIdentity, Phase};
use connector_proto::message::{EnrolRefusal, Verdict};

use super::super::text::{date, printable};
use crate::edge_name;

/// The sentence with which the connector enters a phase.
///
/// `before` is the phase it comes from; `None` when the connector has just started.
#[must_use]
pub fn phase(status: &ConnectorStatus, before: Option<&Phase>) -> String {
    let edge = edge_name(status);
    let way = way(status);
    match &status.phase {
        Phase::NeedEdge => {
            "Not enrolled, and no service edge is known. Type its name, as the administrator gave it."
                .to_owned()
        }
        Phase::NeedKey { refused: None, why } => no_identity(why, &edge),
        Phase::NeedKey { refused: Some(why), .. } | Phase::Held { refused: Some(why), .. } => {
            refused(*why, &edge, status.foreign_issuer.as_deref())
        }
        Phase::Held { verdict, name, refused: None } => held(*verdict, name),
        Phase::Enrolling => format!("Enrolling at {edge}{way} with the key that was typed"),
        Phase::Connecting { last_error, enrolling, .. } => {
            let lost = matches!(before, Some(Phase::Connected { .. }));
            match (lost, last_error.is_empty(), *enrolling) {
                (true, true, _) => format!("Disconnected from {edge}. Connecting again by itself."),
                (true, false, _) => {
                    let why = printable(last_error);
                    format!("Disconnected from {edge}: {why}. Connecting again by itself.")
                }
                (false, _, false) => format!("Connecting to {edge}{way}"),
                (false, _, true) => format!(
                    "Connecting to {edge}{way} to enrol. The key is kept and this goes on by itself. \
                     Ctrl-E: another service edge."
                ),
            }
        }
        Phase::NeedProxyCredentials { refused } => proxy_asks(status, *refused),
        Phase::Connected { name, group } => {
            let (name, group) = (printable(name), printable(group));
            let way = status.proxy.as_ref().map_or_else(String::new, |_| format!(",{way}"));
            format!("Connected to {edge} as {name} (group {group}){way}")
        }
        Phase::Stuck { text } => format!("The connector cannot go on: {}", printable(text)),
    }
}

/// The sentence of a connector that needs a key.
fn no_identity(why: &NoIdentity, edge: &str) -> String {
    match why {
        NoIdentity::Blank => format!(
            "Not enrolled at {edge}. An administrator makes a key (edge key mint): type it here; \
             case and dashes do not matter. Ctrl-E: another service edge."
        ),
        NoIdentity::Unreadable => {
            format!("Not enrolled: the state record cannot be read. {NEW_KEY}")
        }
        NoIdentity::Foreign { name } => copy_of(name),
        NoIdentity::Sealed { name } => format!(
            "{} is sealed by a TPM that this machine does not have. Put it back and restart, or type \
             a new key to enrol it anew.",
            printable(name)
        ),
        NoIdentity::Unusable => format!(
            "Not enrolled: the stored certificate and private key do not belong together. {NEW_KEY}"
        ),
        NoIdentity::Revoked { name } => format!(
            "{} was revoked at {edge}. A new key enrols this machine as a new connector.",
            printable(name)
        ),
        NoIdentity::TooLate { name } => format!(
            "{} was off for too long to renew its certificate. {NEW_KEY}",
            printable(name)
        ),
        NoIdentity::Superseded { name } => format!(
            "{} went back to a state from before its certificate was renewed. {NEW_KEY}",
            printable(name)
        ),
    }
}

/// The sentence of a machine that the edge holds.
fn held(verdict: Verdict, name: &str) -> String {
    let why = match verdict {
        Verdict::Copy => return copy_of(name),
        Verdict::MovedNic => "has another MAC address than before",
        Verdict::SameMachine | Verdict::Reverted => "is not the machine it was",
        Verdict::RestoredBackup => "was restored from a backup on other hardware",
    };
    format!(
        "{} {why}. An administrator confirms it (edge connector confirm), or type a new key to enrol \
         it anew.",
        printable(name)
    )
}

fn copy_of(name: &str) -> String {
    format!(
        "This machine is a copy of {}. Enrol it as a new connector? Type a key made for it.",
        printable(name)
    )
}

/// The sentence of what an edge took a machine for that it took in; `None` for the same as before.
#[must_use]
pub const fn recognised(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::SameMachine => None,
        Verdict::Reverted => Some(
            "This machine was reverted to a snapshot; the edge noted it and it goes on. If nobody \
             meant to, tell the administrator.",
        ),
        Verdict::MovedNic => Some(
            "This machine has another MAC address than before; the edge noted it, and its group \
             allows that.",
        ),
        Verdict::Copy | Verdict::RestoredBackup => Some(
            "This machine was restored from a backup on other hardware; the edge noted it, and its \
             group allows that.",
        ),
    }
}

/// What carries the bytes of sessions.
#[must_use]
pub const fn engine(is_kernel: bool) -> &'static str {
    if is_kernel {
        "Sessions are carried by the kernel's TLS. The setting outgate.engine = user has the connector \
         carry them itself."
    } else {
        "Sessions are carried by the connector itself. The setting outgate.engine = kernel has the \
         kernel's TLS carry them."
    }
}

/// What the firewall team is to do when something answers in the edge's place.
#[must_use]
pub fn bypass(edge: &str) -> String {
    let (host, port) = edge_name::parse(edge).unwrap_or_else(|_| (edge.to_owned(), 443));
    format!(
        "For the firewall team: exempt TCP {port} to {host} from TLS inspection (bypass, no decryption)."
    )
}

/// The warning of a certificate whose renewal fails.
#[must_use]
pub fn certificate_ends(left_h: u16) -> String {
    let left = match left_h {
        0 => "less than an hour".to_owned(),
        1 => "1 hour".to_owned(),
        2..48 => format!("{left_h} hours"),
        _ => format!("{} days", left_h / 24),
    };
    format!(
        "The certificate is not renewed and ends in {left}; it is tried again by itself. If this \
         stays, ask the administrator about the edge."
    )
}

/// The sentence of a proxy that wants to know who asks.
fn proxy_asks(status: &ConnectorStatus, refused: bool) -> String {
    let proxy = status
        .proxy
        .as_ref()
        .map_or_else(String::new, |proxy| format!(" {}", printable(proxy)));
    if refused {
        format!(
            "HTTP proxy{proxy} refuses the user and password it was given. Type others, or ask who \
             runs it."
        )
    } else {
        format!(
            "HTTP proxy{proxy} wants a user and a password. Type them: they are kept on this \
             machine, and the proxy alone is told."
        )
    }
}

/// The sentence for a connection that could not be made.
#[must_use]
pub fn attempt_failed(status: &ConnectorStatus, attempt: u32, error: &str) -> String {
    let (edge, way) = (edge_name(status), way(status));
    format!(
        "Attempt {attempt} to connect to {edge}{way} failed: {}",
        printable(error)
    )
}

/// The edge in use, printable, or words for it.
#[must_use]
pub fn edge_name(status: &ConnectorStatus) -> String {
    status
        .edge
        .as_ref()
        .map_or_else(|| "the service edge".to_owned(), |edge| printable(edge))
}

/// The proxy in use, to follow the edge's name; empty if there is none.
#[must_use]
pub fn way(status: &ConnectorStatus) -> String {
    status.proxy.as_ref().map_or_else(String::new, |proxy| {
        format!(" through proxy {}", printable(proxy))
    })
}

fn refused(why: KeyRefused, edge: &str, issuer: Option<&str>) -> String {
    match why {
        KeyRefused::ByEdge(EnrolRefusal::KeyUnknown) => {
            format!("Key refused: {edge} has no such key. {NEW_KEY}")
        }
        KeyRefused::ByEdge(EnrolRefusal::KeySpent { max_uses: 1 }) => {
            format!("Key refused: its only use was spent. {NEW_KEY}")
        }
        KeyRefused::ByEdge(EnrolRefusal::KeySpent { max_uses }) => {
            format!("Key refused: all its {max_uses} uses were spent. {NEW_KEY}")
        }
        KeyRefused::ByEdge(EnrolRefusal::KeyExpired { at }) => {
            format!("Key refused: it expired at {}. {NEW_KEY}", date(at.0))
        }
        KeyRefused::ByEdge(EnrolRefusal::KeyRevoked) => {
            format!("Key refused: an administrator revoked it. {NEW_KEY}")
        }
        KeyRefused::ByEdge(EnrolRefusal::RequestInvalid) => format!(
            "Key refused: {edge} found the enrolment request invalid; no use was spent. Type the key \
             again, or update the older of image and edge."
        ),
        KeyRefused::ByEdge(EnrolRefusal::TryLater) => format!(
            "Key refused: {edge} cannot enrol at the moment. No use was spent. Type the key again in \
             some minutes."
        ),
        KeyRefused::EdgeNotProven => {
            let seen = issuer.map_or_else(String::new, |issuer| {
                format!(" (its certificate was issued by \"{}\")", printable(issuer))
            });
            format!(
                "Key refused: {edge} could not prove that it knows the key{seen}. Mend the way and \
                 type the key again, or another edge (Ctrl-E)."
            )
        }
        KeyRefused::Protocol => format!(
            "Key refused: {edge} does not speak the protocol of a service edge. Check its name and \
             port (Ctrl-E types another), then type the key again."
        ),
    }
}

const NEW_KEY: &str = "Ask the administrator for a new key (edge key mint), then type it here.";

/// How the identity is erased, said once when there is one.
pub const RESET_HELP: &str = "Ctrl-R: factory reset (erases this machine's identity)";

/// A factory reset that did not come about.
pub const NOT_ERASED: &str = "The identity was not erased within 10 s. Ctrl-R: try again.";
