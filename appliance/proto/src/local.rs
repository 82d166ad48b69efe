//! What the machine's own processes tell each other through PID 1.
//!
//! Each message is one packet on a `SOCK_SEQPACKET` socket pair, postcard-encoded, at most
//! [`limits::LOCAL_MAX`] bytes. PID 1 is the hub: it owns the facts, repeats them to a service that
//! was restarted, and passes what console and connector say to each other. Descriptors travel with
//! the message whose description names them (`SCM_RIGHTS`).

use core::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::limits;
use crate::message::{EnrolRefusal, Fingerprint, Verdict};
pub use crate::network::{
    AdvertisedPrefix, EngineSetting, Hostname, Ipv6Config, Ipv6Setting, Lease, LeaseOrigin,
    Network, ProxyText, RouterAdvert, Servers, Settings, StaticIpv4, TimeServer, TimeServers,
};

/// A bounded name or sentence.
pub type Text<const N: usize> = heapless::String<N>;
/// `host` or `host:port` of a service edge as a person or a property gave it.
pub type EdgeText = Text<{ limits::HOST_MAX + 6 }>;
/// The name of a certificate's issuer, as much of it as a person needs to recognise it.
pub type IssuerText = Text<48>;

/// PID 1 to `netd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToNetd {
    /// Work on this interface. Carries one descriptor: the packet socket with its filter locked.
    Start {
        /// The NIC's MAC address.
        mac: [u8; 6],
        /// The host name to tell the DHCP server (option 12).
        hostname: Option<Hostname>,
        /// Whether to ask for an IPv4 address.
        dhcp: bool,
        /// The link-local address from which to solicit routers; `None`: do not.
        link_local: Option<Ipv6Addr>,
    },
    /// The link came up (start over) or went down.
    Carrier {
        /// Whether it is up.
        up: bool,
    },
}

/// `netd` to PID 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromNetd {
    /// A lease was obtained or renewed.
    Lease(Lease),
    /// The lease ended without a new one.
    Lost,
    /// An IPv6 router advertised itself.
    Router(RouterAdvert),
}

/// PID 1 to `timed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToTimed {
    /// Ask these servers; replaces the ones before. Empty: stop.
    Servers {
        /// The servers.
        servers: TimeServers,
        /// DNS servers, for those that are named.
        resolvers: Servers,
    },
    /// Ask again now: the clock may have been moved.
    Resync,
}

/// `timed` to PID 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromTimed {
    /// What more than half of the servers that answered agree on.
    Sample(Sample),
    /// Servers answered, and no majority agrees: their samples.
    Split(heapless::Vec<Sample, 4>),
    /// No server answered the last round.
    Silent {
        /// Servers asked.
        asked: u8,
    },
}

/// One agreed measurement of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The server it is from.
    pub server: IpAddr,
    /// What to add to `CLOCK_REALTIME`, in microseconds.
    pub offset_us: i64,
    /// How wrong that can be: half the round trip plus the server's root distance, in microseconds.
    pub bound_us: u32,
    /// `CLOCK_BOOTTIME` in microseconds when it was measured.
    pub at_boot_us: u64,
    /// NTP stratum of the server.
    pub stratum: u8,
}

/// Who said what the time is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClockSource {
    /// An NTP server.
    Ntp(IpAddr),
    /// The service edge, as its name was given.
    Edge(EdgeText),
}

/// The clock measured against the service edge's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeSample {
    /// The edge.
    pub edge: EdgeText,
    /// What to add to `CLOCK_REALTIME`, in microseconds.
    pub offset_us: i64,
    /// How far the offset can be from the edge's: half the round trip, in microseconds.
    pub bound_us: u32,
    /// `CLOCK_BOOTTIME` in microseconds when the edge was asked.
    pub at_boot_us: u64,
    /// The dates of the edge's certificate held too, by the clock as it was.
    pub is_strict: bool,
}

/// A fact of the boot, or of the machine's life. PID 1 owns them and the console shows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// PID 1 runs.
    Booted {
        /// Version of the image.
        version: Text<32>,
    },
    /// A NIC was found.
    Nic {
        /// Its interface name.
        interface: Text<16>,
        /// Its MAC address.
        mac: [u8; 6],
    },
    /// What was set for this machine, and where that was found.
    Settings {
        /// The place, `QEMU's fw_cfg` for instance.
        source: Text<48>,
        /// The settings found there, in words.
        what: Text<120>,
    },
    /// The machine has an IPv4 address.
    NetUp(Lease),
    /// The machine has an IPv6 address.
    Ipv6Up(Ipv6Config),
    /// The clock is right.
    ClockOk {
        /// Who said what the time is.
        source: ClockSource,
        /// By how much the clock was moved, in microseconds.
        offset_us: i64,
        /// How wrong it can be, in microseconds.
        bound_us: u32,
    },
    /// The machine's memory, measured when the connector was connected for the first time since it
    /// was started: everything the machine needs runs then.
    Memory {
        /// What the kernel manages, in KiB: less than the machine has.
        total_kib: u32,
        /// What programs could still get without anything being swapped or killed, in KiB.
        available_kib: u32,
    },
    /// What a minted image says about the machine it is for.
    Minted {
        /// The connector's name.
        name: Option<Text<63>>,
        /// The MAC address its NIC is to have.
        mac: Option<[u8; 6]>,
        /// The connector group, for people only.
        group: Option<Text<63>>,
    },
    /// Which system runs, and why this one.
    System {
        /// The slot it is in; `None` when the boot loader did not say.
        slot: Option<SlotName>,
        /// Its version.
        version: Text<32>,
        /// Why it was booted.
        boot: Boot,
    },
    /// PID 1 waits; `since_boot_us` is `CLOCK_BOOTTIME` when it began to.
    Waiting {
        /// For what.
        what: Awaited,
        /// Since when, microseconds of `CLOCK_BOOTTIME`.
        since_boot_us: u64,
    },
    /// A service ended and is started again.
    ServiceDied {
        /// Which.
        service: Text<16>,
        /// How it ended, in words.
        how: Text<64>,
        /// After which delay it is started again, in milliseconds.
        restart_in_ms: u32,
    },
    /// Something the operator should know and can act on, in one sentence.
    Problem {
        /// The sentence.
        text: Text<160>,
    },
    /// The machine is going down.
    ShuttingDown {
        /// To be started again, or to be switched off.
        restart: bool,
    },
}

/// One of the two system slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotName {
    /// The slot of a fresh image.
    A,
    /// The slot that takes the first update.
    B,
}

impl core::fmt::Display for SlotName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

/// Why the running system was booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Boot {
    /// It is the good one.
    Good,
    /// It is tried, and becomes the good one when the clock is right and the connector connected.
    Trial {
        /// How often it is tried again if this time fails.
        left: u8,
        /// When the machine restarts unless it was promoted, microseconds of `CLOCK_BOOTTIME`.
        until_boot_us: u64,
    },
    /// Another slot was to be booted and was not.
    Fallback {
        /// That slot.
        from: SlotName,
        /// What was the matter with it.
        why: FallbackReason,
    },
    /// The boot loader did not say which slot it booted: slots are not touched.
    Unknown,
}

/// Why a slot that was to be booted was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FallbackReason {
    /// It was tried as often as it may be and never promoted.
    TriesSpent,
    /// The boot loader could not load it.
    NotLoaded,
}

/// What the console, or an updater behind it, wants done with the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotRequest {
    /// Say what is in them.
    Status,
    /// Write a system into this slot, which must not be the running one. Carries one descriptor:
    /// the stream of the slot's bytes, header first, to its end.
    Install {
        /// Where to.
        slot: SlotName,
    },
    /// Boot this slot at the next restarts, as a trial.
    Arm {
        /// Which.
        slot: SlotName,
        /// Seconds within which a trial boot must be promoted, 10 to 3600; 600 unless given.
        deadline_s: Option<u16>,
    },
    /// Make the running trial the good slot. PID 1 does it by itself as soon as it may.
    Promote,
}

/// PID 1's answer to a [`SlotRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotReply {
    /// What is in the slots.
    Status(SlotStatus),
    /// It is done; the sentence says what.
    Done(Text<160>),
    /// It was not done; the sentence says why and what would help.
    Refused(Text<160>),
}

/// What is in the slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// The running slot, if the boot loader said so.
    pub running: Option<SlotName>,
    /// The slot that is booted unless there is a trial.
    pub good: SlotName,
    /// The slot on trial, and how often it is still tried.
    pub trial: Option<(SlotName, u8)>,
    /// Slot a.
    pub a: SlotContent,
    /// Slot b.
    pub b: SlotContent,
}

/// What a slot's header says. Its content is hashed when the slot is armed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotContent {
    /// A system of this version.
    System(Text<32>),
    /// Nothing that could be booted; the sentence says what was found.
    Unusable(Text<96>),
}

/// What PID 1 waits for before it can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Awaited {
    /// A NIC.
    Nic,
    /// The cable, or the hypervisor's "connected" tick.
    Link,
    /// A DHCP server's answer, or an IPv6 router's.
    Lease,
    /// An IPv6 router's, because there is no DHCP.
    Router,
    /// An NTP server's answer.
    Time,
    /// The service edge's time, because no NTP server answers.
    EdgeTime,
}

/// PID 1 to the connector.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToConnector {
    /// First message. Carries the descriptors that `descriptors` names, in its order.
    Start {
        /// Which descriptors come with it.
        descriptors: StartDescriptors,
        /// The edge from the image or a property; what the state record or the console says wins.
        edge: Option<EdgeText>,
        /// Hardware evidence.
        fingerprint: Fingerprint,
        /// Version of the image.
        version: Text<32>,
        /// What carries the bytes of sessions.
        engine: EngineSetting,
    },
    /// The network as it is now. Sent before anything is dialled, and at every change.
    Network {
        /// What it has; `None` while it has no address.
        network: Option<Network>,
    },
    /// What the clock is worth. Sent before anything is dialled, and when it becomes right.
    Clock {
        /// Whether it is right. Until then an enrolled connector asks the edge for the time, and
        /// opens no other connection.
        is_right: bool,
    },
    /// The hardware evidence has changed while the machine runs. Another VM generation id means that the
    /// machine was cloned, restored or reverted: no byte may leave on a connection from before.
    Fingerprint(Fingerprint),
    /// Ask the edge for the time once more, beside whatever else is under way: the clock was moved, or
    /// NTP servers contradict each other.
    AskTime,
    /// The operator typed something.
    Operator(FromConsole),
    /// Stop: tell the edge, end sessions, exit within the time PID 1 allows.
    Stop,
}

/// The descriptors of [`ToConnector::Start`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartDescriptors {
    /// The state partition.
    pub state: bool,
    /// The TPM's resource manager, `/dev/tpmrm0`.
    pub tpm: bool,
}

/// The connector to PID 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromConnector {
    /// The whole status, whenever a part of it changed; for the console.
    Status(ConnectorStatus),
    /// What the edge says the time is: while the clock is not known to be right, once after each
    /// connect, daily, when PID 1 asks, and when the dates of the edge's certificate do not hold.
    Time(EdgeSample),
}

/// What the connector is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectorStatus {
    /// The step it is in.
    pub phase: Phase,
    /// When that began, microseconds of `CLOCK_BOOTTIME`.
    pub since_boot_us: u64,
    /// The edge in use.
    pub edge: Option<EdgeText>,
    /// The HTTP proxy through which it is reached.
    pub proxy: Option<ProxyText>,
    /// What the edge took the machine for when it took it in last, if not for the same as before.
    pub recognised: Option<Verdict>,
    /// Who issued the certificate of what answered in the edge's place, if that is why the last attempt
    /// failed: whoever inspects TLS on the way recognises the name.
    pub foreign_issuer: Option<IssuerText>,
    /// Whole hours for which the certificate is still good, while its renewal is overdue and fails.
    pub certificate_left_h: Option<u16>,
    /// Whether the kernel's TLS carries the bytes of sessions; `None` before that is known.
    pub is_kernel_engine: Option<bool>,
    /// Sessions carried now.
    pub sessions: u32,
    /// Sessions since the process started.
    pub sessions_total: u64,
    /// Bytes from applications to users since the process started.
    pub bytes_up: u64,
    /// Bytes from users to applications since the process started.
    pub bytes_down: u64,
}

/// The steps of the connector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Not enrolled, and nobody has said where the edge is.
    NeedEdge,
    /// Not enrolled: the provisioning key is needed.
    NeedKey {
        /// Why the last key did not do; `None` if none was tried.
        refused: Option<KeyRefused>,
        /// Why there is no identity to use.
        why: NoIdentity,
    },
    /// The edge does not take this machine for the one that was enrolled. A key enrols it as a new
    /// connector; else it asks again by itself in case an administrator confirmed it.
    Held {
        /// What the edge takes it for.
        verdict: Verdict,
        /// The connector whose identity it has.
        name: Text<{ limits::NAME_MAX }>,
        /// Why the last key did not do; `None` if none was tried.
        refused: Option<KeyRefused>,
    },
    /// Enrolling with the key that was typed.
    Enrolling,
    /// Trying to reach the edge, enrolled or not.
    Connecting {
        /// The attempt that is under way or comes next, counted from 1 since the last success.
        attempt: u32,
        /// Why the last one failed; empty on the first.
        last_error: Text<160>,
        /// When the next one starts, microseconds of `CLOCK_BOOTTIME`.
        next_boot_us: u64,
        /// The step is enrolment: the key was typed and is kept until the edge answers.
        enrolling: bool,
    },
    /// The HTTP proxy wants a user and a password (RFC 7617).
    NeedProxyCredentials {
        /// Those that were typed last did not do.
        refused: bool,
    },
    /// The control channel is up, and full-size packets pass in both directions.
    Connected {
        /// The connector's name at the edge.
        name: Text<{ limits::NAME_MAX }>,
        /// Its group.
        group: Text<{ limits::NAME_MAX }>,
    },
    /// The state record cannot be used; the sentence says what to do.
    Stuck {
        /// The sentence.
        text: Text<160>,
    },
}

/// Why a connector has no identity that it could use, so that a provisioning key is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoIdentity {
    /// It was never enrolled, or its state was erased.
    Blank,
    /// The state record holds something that is not readable: bytes of another program, or of a disk
    /// that fails.
    Unreadable,
    /// The state record was sealed on another machine: this one is a copy of it.
    Foreign {
        /// The connector it was sealed for.
        name: Text<{ limits::NAME_MAX }>,
    },
    /// The state record is sealed by a TPM that is not here, does not answer, or was cleared.
    Sealed {
        /// The connector it was sealed for.
        name: Text<{ limits::NAME_MAX }>,
    },
    /// The certificate and the private key in the record do not belong together.
    Unusable,
    /// An administrator revoked or deleted the connector.
    Revoked {
        /// Its name.
        name: Text<{ limits::NAME_MAX }>,
    },
    /// It was off for so long that its certificate cannot be renewed any more.
    TooLate {
        /// Its name.
        name: Text<{ limits::NAME_MAX }>,
    },
    /// Its certificate was renewed since, and the new one is not in this state: an old snapshot or backup.
    Superseded {
        /// Its name.
        name: Text<{ limits::NAME_MAX }>,
    },
}

/// Why a key did not do. The key is forgotten and the console asks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyRefused {
    /// The edge said so.
    ByEdge(EnrolRefusal),
    /// The edge could not prove that it knows the key: somebody is in between, or it is another edge.
    EdgeNotProven,
    /// What the edge sent was not the protocol.
    Protocol,
}

/// PID 1 to the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToConsole {
    /// First message. Carries the terminals' descriptors: those of `terminals`, in order.
    Start {
        /// Names of the terminals, `tty1` and `ttyS0`.
        terminals: heapless::Vec<Text<16>, 4>,
    },
    /// A fact, and when it became true in microseconds of `CLOCK_BOOTTIME`.
    Fact {
        /// The fact.
        fact: Fact,
        /// Since when.
        at_boot_us: u64,
    },
    /// The connector's status.
    Connector(ConnectorStatus),
    /// The connector is not running.
    ConnectorGone,
    /// The answer to a request about the slots.
    Slot(SlotReply),
}

/// The console to PID 1, which passes what is typed on to the connector.
#[derive(Clone, Serialize, Deserialize)]
pub enum FromConsole {
    /// A whole provisioning key whose groups all check: its 112 data bits.
    Key([u8; crate::key::SEED_LEN]),
    /// The edge to use.
    Edge(EdgeText),
    /// User and password for the HTTP proxy.
    ProxyCredentials {
        /// The user; without a colon (RFC 7617).
        user: Text<{ limits::PROXY_WORD_MAX }>,
        /// The password.
        password: Text<{ limits::PROXY_WORD_MAX }>,
    },
    /// Something about the slots, for PID 1 itself.
    Slot(SlotRequest),
    /// Erase the state record, confirmed by the operator, and start anew.
    FactoryReset,
}

impl FromConsole {
    /// Overwrites what is secret in the message, in its whole length.
    pub fn wipe(&mut self) {
        match self {
            Self::Key(key) => key.zeroize(),
            Self::ProxyCredentials { user, password } => {
                for word in [user, password] {
                    word.clear();
                    while word.push('\0').is_ok() {}
                    // Nobody reads the zeros, which is no reason to leave them out.
                    core::hint::black_box(&*word);
                }
            }
            Self::Edge(_) | Self::Slot(_) | Self::FactoryReset => {}
        }
    }
}

impl core::fmt::Debug for FromConsole {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Key(_) => f.write_str("Key(..)"),
            Self::Edge(edge) => f.debug_tuple("Edge").field(edge).finish(),
            Self::ProxyCredentials { .. } => f.write_str("ProxyCredentials(..)"),
            Self::Slot(request) => f.debug_tuple("Slot").field(request).finish(),
            Self::FactoryReset => f.write_str("FactoryReset"),
        }
    }
}

/// As much of `string` as fits, cut at a character.
#[must_use]
pub fn text<const N: usize>(string: &str) -> Text<N> {
    let mut text = Text::new();
    for character in string.chars() {
        if text.push(character).is_err() {
            break;
        }
    }
    text
}

/// Encodes a local message into `buffer`.
///
/// # Errors
/// Only if the message is larger than [`limits::LOCAL_MAX`], which the bounds of its parts rule out.
pub fn encode<'a, M: Serialize>(
    message: &M,
    buffer: &'a mut [u8; limits::LOCAL_MAX],
) -> Result<&'a [u8], LocalError> {
    postcard::to_slice(message, buffer)
        .map(|bytes| &*bytes)
        .map_err(|_| LocalError)
}

/// Decodes one packet.
///
/// # Errors
/// If it is not exactly one message of the type.
pub fn decode<'a, M: Deserialize<'a>>(packet: &'a [u8]) -> Result<M, LocalError> {
    match postcard::take_from_bytes(packet) {
        Ok((message, [])) => Ok(message),
        Ok(_) | Err(_) => Err(LocalError),
    }
}

/// A local packet is not a message: the two processes are not of one build, or one of them is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalError;

impl core::fmt::Display for LocalError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("local packet is not a message of its channel")
    }
}

impl core::error::Error for LocalError {}
