//! Each fact, phase and refusal in words, with what to do about it.
//!
//! Automated readers wait for the phrases `Network up:`, `Clock set by`, `Waiting for`,
//! `Connecting to`, `Connected to`, `Memory:`, `Disconnected from`, `Key refused:` and `Shutting
//! down`; they stay.

mod connector;

use connector_proto::local::{
    Awaited, Boot, ClockSource, Fact, FallbackReason, Ipv6Config, Lease, LeaseOrigin, SlotContent,
    SlotName, SlotReply, SlotStatus,
};

pub use connector::{
    NOT_ERASED, RESET_HELP, attempt_failed, bypass, certificate_ends, edge_name, engine, phase,
    recognised, way,
};

use super::text::{bound, duration, mebibytes, offset, printable};

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

fn mac_text(mac: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}
