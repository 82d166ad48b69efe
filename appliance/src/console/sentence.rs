//! Each fact, phase and refusal in words, with what to do about it.
//!
//! Automated readers wait for the phrases `Network up:`, `Clock set by`, `Waiting for`,
//! `Connecting to`, `Connected to`, `Memory:`, `Disconnected from`, `Key refused:` and `Shutting
//! down`; they stay.

use connector_proto::local::{
    Awaited, Boot, ClockSource, ConnectorStatus, Fact, FallbackReason, Ipv6Config, KeyRefused,
    Lease, LeaseOrigin, NoIdentity, Phase, SlotContent, SlotName, SlotReply, SlotStatus,
};
use connector_proto::message::EnrolRefusal;
use connector_proto::message::Verdict;

use super::text::{bound, date, duration, mebibytes, offset, printable};

/// The sentence a fact leaves on the screen.
#[must_use]
pub fn fact(fact: &Fact) -> String {
    match fact {
        Fact::Booted { version } => format!("Outgate {}", printable(version)),
        Fact::Nic { interface, mac } => nic(interface, *mac, None),
        Fact::Minted { name, group, .. } => minted(name.as_deref(), group.as_deref()),
        Fact::System {
            slot,
            version,
            boot,
        } => system(*slot, &printable(version), *boot),
        Fact::Settings { source, what } => {
            format!("Settings by {}: {}", printable(source), printable(what))
        }
        Fact::NetUp(lease) => network_up(lease),
        Fact::Ipv6Up(config) => ipv6_up(config),
        Fact::ClockOk {
            source,
            offset_us,
            bound_us,
        } => clock_ok(source, *offset_us, *bound_us, false),
        Fact::Memory {
            total_kib,
            available_kib,
        } => {
            let used_kib = total_kib.saturating_sub(*available_kib);
            format!(
                "Memory: {} MiB in use of {} MiB",
                mebibytes(used_kib),
                mebibytes(*total_kib)
            )
        }
        Fact::Waiting { what, .. } => format!("Waiting for {}", awaited(*what)),
        Fact::ServiceDied {
            service,
            how,
            restart_in_ms,
        } => format!(
            "Service {} ended: {}. It is started again in {}.{} s",
            printable(service),
            printable(how),
            restart_in_ms / 1000,
            restart_in_ms % 1000 / 100
        ),
        Fact::Problem { text } => printable(text),
        Fact::ShuttingDown { restart } => shutting_down(*restart).to_owned(),
    }
}

/// The sentence of a clock that is right, and who said so; `was_awaited` if it was the edge because
/// no NTP server answered.
#[must_use]
pub fn clock_ok(source: &ClockSource, offset_us: i64, bound_us: u32, was_awaited: bool) -> String {
    let (moved, within) = (offset(offset_us), bound(bound_us));
    match source {
        ClockSource::Ntp(server) => {
            format!("Clock set by NTP server {server}: moved {moved}, within {within}")
        }
        ClockSource::Edge(edge) => {
            let why = if was_awaited {
                " (no NTP server answered)"
            } else {
                ""
            };
            let edge = printable(edge);
            format!("Clock set by service edge {edge}: moved {moved}, within {within}{why}")
        }
    }
}

/// The sentence of a NIC, and whether it has the address that the image was minted for.
#[must_use]
pub fn nic(interface: &str, mac: [u8; 6], minted: Option<[u8; 6]>) -> String {
    let (interface, address) = (printable(interface), mac_text(mac));
    match minted.map(|minted| (minted == mac, mac_text(minted))) {
        None => format!("NIC {interface} {address}"),
        Some((true, _)) => format!("NIC {interface} MAC {address}, as minted"),
        Some((false, minted)) => format!(
            "NIC {interface} MAC {address}; this image was minted for {minted}: set it in the VM's \
             settings."
        ),
    }
}

/// The sentence of a minted image.
fn minted(name: Option<&str>, group: Option<&str>) -> String {
    let name = printable(name.unwrap_or("an unnamed connector"));
    match group {
        Some(group) => format!("Image for {name} ({})", printable(group)),
        None => format!("Image for {name}"),
    }
}

/// The sentence of the system that runs, and why this one.
fn system(slot: Option<SlotName>, version: &str, boot: Boot) -> String {
    let place = slot.map_or_else(
        || "an unknown slot".to_owned(),
        |slot| format!("slot {slot}"),
    );
    match boot {
        Boot::Good => format!("Outgate {version} in {place}"),
        Boot::Trial {
            left,
            until_boot_us,
        } => {
            let tries = match left {
                0 => "the last try".to_owned(),
                1 => "1 more try".to_owned(),
                left => format!("{left} more tries"),
            };
            format!(
                "Outgate {version} in {place}, on trial ({tries}): kept once the clock is right and \
                 the edge connected; if not by {} after the start, the machine restarts.",
                duration(until_boot_us)
            )
        }
        Boot::Fallback {
            from,
            why: FallbackReason::TriesSpent,
        } => {
            format!("Slot {from} did not start well 3 times: running {version} from {place} again.")
        }
        Boot::Fallback {
            from,
            why: FallbackReason::NotLoaded,
        } => format!("Slot {from} cannot be loaded: running {version} from {place}."),
        Boot::Unknown => format!(
            "Outgate {version} in an unknown slot: the image's boot loader did not start it. Slots \
             cannot be changed."
        ),
    }
}

/// The lines that answer a request about the slots.
#[must_use]
pub fn slot_reply(reply: &SlotReply) -> Vec<String> {
    match reply {
        SlotReply::Done(text) | SlotReply::Refused(text) => vec![printable(text)],
        SlotReply::Status(status) => [(SlotName::A, &status.a), (SlotName::B, &status.b)]
            .map(|(slot, content)| slot_line(status, slot, content))
            .into(),
    }
}

fn slot_line(status: &SlotStatus, slot: SlotName, content: &SlotContent) -> String {
    let mut line = match content {
        SlotContent::System(version) => format!("Slot {slot}: {}", printable(version)),
        SlotContent::Unusable(why) => format!("Slot {slot}: nothing to boot, {}", printable(why)),
    };
    if status.running == Some(slot) {
        line += ", running";
    }
    if status.good == slot {
        line += ", good";
    }
    match status.trial {
        Some((trial, left)) if trial == slot => line + &format!(", on trial, tries left {left}"),
        _ => line,
    }
}

/// The sentence of a wait that lasts, with what may be the matter.
#[must_use]
pub fn waiting(what: Awaited, lasted_us: u64) -> String {
    format!(
        "Waiting for {} for {}. {}",
        awaited(what),
        duration(lasted_us),
        hint(what)
    )
}

/// What is waited for, to follow "Waiting for".
#[must_use]
pub const fn awaited(what: Awaited) -> &'static str {
    match what {
        Awaited::Nic => "a NIC",
        Awaited::Link => "the NIC's link",
        Awaited::Lease => "a DHCP server's answer",
        Awaited::Router => "an IPv6 router's answer",
        Awaited::Time => "an NTP server's answer",
        Awaited::EdgeTime => "the service edge's time",
    }
}

/// The sentence of a machine that goes down.
#[must_use]
pub const fn shutting_down(restart: bool) -> &'static str {
    if restart {
        "Shutting down to start again"
    } else {
        "Shutting down to power off"
    }
}

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
            refused(*why, &edge)
        }
        Phase::Held { verdict, name, refused: None } => held(*verdict, &printable(name), &edge),
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
            "The state record is not readable, so this machine is not enrolled. Type a new key."
                .to_owned()
        }
        NoIdentity::Foreign { name } => format!(
            "This machine is a copy of {}. Enrol it as a new connector? Type a key made for it.",
            printable(name)
        ),
        NoIdentity::Unusable => {
            "The stored certificate and key do not belong together. Type a new key.".to_owned()
        }
        NoIdentity::Revoked { name } => format!(
            "{} was revoked at {edge}. Type a new key to enrol this machine anew.",
            printable(name)
        ),
        NoIdentity::TooLate { name } => format!(
            "{} was off for too long: its certificate cannot be renewed any more. Type a new key.",
            printable(name)
        ),
    }
}

/// The sentence of a machine that the edge holds.
fn held(verdict: Verdict, name: &str, edge: &str) -> String {
    match verdict {
        Verdict::Copy => {
            format!(
                "This machine is a copy of {name}. Enrol it as a new connector? Type a key made for it."
            )
        }
        Verdict::MovedNic => format!(
            "{name} has another MAC address than before, and {edge} waits for an administrator to confirm it \
             (edge connector confirm). Or type a new key."
        ),
        Verdict::SameMachine | Verdict::Reverted | Verdict::RestoredBackup => format!(
            "{name} was restored from a backup on other hardware, and {edge} waits for an administrator to \
             confirm it (edge connector confirm). Or type a new key."
        ),
    }
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

/// The sentence of a network that is up: equal for a lease that was only renewed.
#[must_use]
pub fn network_up(lease: &Lease) -> String {
    let gateway = lease.router.map_or_else(
        || "no gateway".to_owned(),
        |router| format!("gateway {router}"),
    );
    let source = match lease.origin {
        LeaseOrigin::Static => "static".to_owned(),
        LeaseOrigin::Dhcp { server } => format!("DHCP from {server}"),
    };
    let no_resolver = if lease.resolvers.is_empty() {
        ", no DNS server"
    } else {
        ""
    };
    let Lease {
        address,
        prefix_len,
        ..
    } = lease;
    format!("Network up: {address}/{prefix_len}, {gateway}, {source}{no_resolver}")
}

/// The sentence of IPv6 addresses.
#[must_use]
pub fn ipv6_up(config: &Ipv6Config) -> String {
    let addresses: Vec<_> = config
        .addresses
        .iter()
        .map(|(address, prefix_len)| format!("{address}/{prefix_len}"))
        .collect();
    let gateway = config.router.map_or_else(
        || "no gateway".to_owned(),
        |router| format!("gateway {router}"),
    );
    let source = if config.is_static {
        "static"
    } else {
        "advertised by a router"
    };
    format!("Network up: {}, {gateway}, {source}", addresses.join(", "))
}

const fn hint(what: Awaited) -> &'static str {
    match what {
        Awaited::Nic => "Add a network adapter to the virtual machine.",
        Awaited::Link => "Is the virtual NIC ticked \"connected\", or the cable plugged in?",
        Awaited::Lease => {
            "Does its network have DHCP? If not, set the property outgate.address, then restart."
        }
        Awaited::Router => {
            "The IPv4 address that was set is not in use; if a line above names a fault, mend it."
        }
        Awaited::Time => {
            "Is one named, by DHCP (option 42) or the property outgate.ntp? Does the firewall let \
             UDP port 123 out?"
        }
        Awaited::EdgeTime => {
            "No NTP server answers, or none is named: the edge is asked as soon as this machine is \
             enrolled."
        }
    }
}

fn refused(why: KeyRefused, edge: &str) -> String {
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
            "Key refused: {edge} found the enrolment request invalid. No use was spent. Type the key \
             again; if that does not help, update the older of image and edge."
        ),
        KeyRefused::ByEdge(EnrolRefusal::TryLater) => format!(
            "Key refused: {edge} cannot enrol at the moment. No use was spent. Type the key again in \
             some minutes."
        ),
        KeyRefused::EdgeNotProven => format!(
            "Key refused: {edge} could not prove that it knows the key. Either it is another edge, or \
             something between intercepts TLS. Have TLS inspection bypassed for it, check its name \
             (Ctrl-E types another), then type the key again."
        ),
        KeyRefused::Protocol => format!(
            "Key refused: what {edge} sent is not the protocol of a service edge. Check its name and \
             port (Ctrl-E types another), then type the key again."
        ),
    }
}

fn mac_text(mac: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

const NEW_KEY: &str = "Ask the administrator for a new key (edge key mint), then type it here.";
