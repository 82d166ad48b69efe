//! Every bound of the protocol, each with its reason.

use core::time::Duration;

/// Largest message body in bytes. The largest message is an enrolment reply with two P-256
/// certificates (about 1.2 KB); 4 KiB leaves room for longer names and stays one page.
pub const FRAME_BODY_MAX: usize = 4096;

/// Bytes before the body: `u32` length and `u16` message id.
pub const FRAME_HEADER_LEN: usize = 6;

/// Longest host name in bytes (RFC 1035 section 2.3.4, without the root label).
pub const HOST_MAX: usize = 253;
/// Longest user name, and longest password, for an HTTP proxy, in bytes.
pub const PROXY_WORD_MAX: usize = 128;

/// Longest name an administrator gives to a connector, a group or an application, in bytes.
pub const NAME_MAX: usize = 63;

/// Longest human-readable detail in a [`crate::message::Close`], in bytes.
pub const DETAIL_MAX: usize = 200;

/// Largest certificate or certificate signing request in DER, in bytes.
pub const DER_MAX: usize = 1536;

/// Service edges a connector is told of. A group with more would spread itself over too many tunnels.
pub const EDGES_MAX: usize = 4;

/// Bytes a machine holds for the peer to take. A peer that does not read is closed, not buffered for.
pub const OUTBOX_MAX: usize = 64 * 1024;

/// How long a peer may take from the TLS handshake to being enrolled, welcomed or attached.
pub const GREETING_MAX: Duration = Duration::from_secs(20);

/// Mean time between two pings.
pub const PING_INTERVAL: Duration = Duration::from_secs(15);

/// How long a peer may take to answer the ping that it is probed with: after a resume, a carrier or an
/// address change the connection is either there or to be made anew.
pub const PROBE_MAX: Duration = Duration::from_secs(5);

/// How long a connector that is connected may take to answer whether it is there, when another machine
/// presents its identity. That one's greeting ([`GREETING_MAX`]) waits meanwhile.
pub const INCUMBENT_MAX: Duration = Duration::from_secs(3);

/// How long a connector waits before it probes. Whatever is a reason to probe may be the first sign of a
/// snapshot that was resumed, and the hypervisor's notice of that comes within tenths of a second: from
/// then on the connection is dropped, and nothing may be said on it.
pub const PROBE_SETTLE: Duration = Duration::from_millis(500);

/// How long a full-size message and its answer may take after the welcome. Long enough for the
/// kernel to find a smaller size by itself (`tcp_mtu_probing`: two or three retransmissions).
pub const PATH_PROOF_MAX: Duration = Duration::from_secs(15);

/// Padding of a [`crate::message::PathProbe`] in bytes. With the longest nonce the body is as large
/// as any may be: more than two packets of 1,500 bytes, so one of them is full.
pub const PATH_PADDING_LEN: usize = FRAME_BODY_MAX - 10 - 2;

/// Pings without any answer after which a peer is *suspect*: new sessions go elsewhere.
pub const PINGS_SUSPECT: u32 = 1;

/// Pings without any answer after which a peer is dead.
pub const PINGS_DEAD: u32 = 3;

/// How long a grant may be valid from when it is made (DESIGN: 60 s).
pub const GRANT_LIFE: Duration = Duration::from_secs(60);

/// Clock difference between edge and connector that a grant's expiry tolerates.
pub const GRANT_CLOCK_SKEW: Duration = Duration::from_secs(30);

/// How long after its end a certificate that was not revoked can still be renewed (DESIGN: 30 days).
pub const RENEW_GRACE: Duration = Duration::from_secs(30 * 86_400);

/// Mean time between two attempts of a machine that the edge holds: an administrator's confirmation
/// is noticed by itself, and a copy costs the edge next to nothing.
pub const HELD_RETRY: Duration = Duration::from_secs(240);

/// Grants that a connector remembers, so as to take none twice; 48 bytes each. One is valid for at most two
/// minutes ([`GRANT_LIFE`] and the skew either way), so up to 68 new sessions a second none is forgotten
/// early; at ten times that, a grant must reach the connector within 12 s.
pub const GRANTS_REMEMBERED: usize = 8192;

/// Largest grant in bytes, signature included: 253 bytes of host and about 130 of the rest.
pub const GRANT_MAX: usize = 512;

/// Sessions that one connector carries at once, until it has told its own figure
/// ([`crate::message::Capacity`]).
pub const SESSIONS_MAX: usize = 400;

/// Sessions that one connector may say it carries. Each session takes a port of its own towards the edge,
/// of which there are 64,512 (1024 to 65535); the rest is for warm channels and what lingers.
pub const CAPACITY_MAX: u32 = 60_000;

/// How long a data channel may be kept warm: the edge closes it then. Connectors retire theirs before
/// ([`WARM_RETIRED`]), so that no `Attach` meets a channel that is being closed.
pub const WARM_MAX: Duration = Duration::from_secs(150);

/// When a connector retires a warm channel, at the latest: before the NAT entries on the way are
/// forgotten. The earliest is 60 s; each draws its own age.
pub const WARM_RETIRED: Duration = Duration::from_secs(100);

/// Largest local message between two processes of the machine, in bytes.
pub const LOCAL_MAX: usize = 4096;

const _: () = assert!(WARM_RETIRED.as_secs() + GREETING_MAX.as_secs() < WARM_MAX.as_secs());
const _: () = assert!(GRANT_MAX + 64 < FRAME_BODY_MAX);
const _: () = assert!(2 * DER_MAX + 4 * (HOST_MAX + 8) < FRAME_BODY_MAX + 1024);
const _: () = assert!(PINGS_SUSPECT < PINGS_DEAD);
