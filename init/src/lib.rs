//! PID 1, and the sandboxed processes it is also the binary of: `netd`, `timed`, `settings` and `installer`.
//!
//! PID 1 mounts, starts services when *facts* become true, applies what they find out, passes
//! messages between console and connector, and takes the machine down in order. It parses no byte
//! that came from the network: `netd` and `timed` do, without privileges, and give it typed values
//! that it checks. `settings` reads what hypervisor and disk say about this machine, `installer` the systems
//! that come to be installed.
//!
//! Suggested reading order:
//!
//! 1. [`boot`]: the boot, top to bottom. [`mounts`], [`sysctl`], [`build_info`]: its tables.
//! 2. [`machine`]: the event loop, with one closed list of events.
//! 3. [`service`]: the table of services; [`supervisor`]: pure, which of them runs and when.
//! 4. [`hub`]: pure, the facts and who is told; [`channel`]: how; [`wipe`]: what PID 1 is not to keep.
//! 5. [`lease`], [`ipv6`], [`hostname`], [`time_policy`]: pure decisions about what `netd` and `timed` report;
//!    [`slot`]: about the two system slots.
//! 6. [`network`], [`netlink`], [`hardware`], [`disks`], [`memory`], [`terminals`], [`process`],
//!    [`signals`], [`watchdog`], [`logger`], [`log_ring`], [`log_limit`], [`clock`], [`ptp`], [`readiness`]: the input and output.
//! 7. [`netd`], [`timed`]: the services. [`settings`]: reads what was set; [`installer`]: writes the idle
//!    slot.
//!
//! Never: an unsafe block, a wait without a deadline or an event behind it, an exit of PID 1.
#![forbid(unsafe_code)]

pub mod boot;
pub mod build_info;
pub mod mounts;
pub mod sysctl;

pub mod machine;

pub mod service;
pub mod supervisor;

pub mod channel;
pub mod hub;
pub mod wipe;

pub mod clock;
pub mod hostname;
pub mod ipv6;
pub mod lease;
pub mod time_policy;

pub mod slot;

pub mod disks;
pub mod hardware;
pub mod log_limit;
pub mod log_ring;
pub mod logger;
pub mod memory;
pub mod netlink;
pub mod network;
pub mod process;
pub mod ptp;
pub mod readiness;
pub mod role;
pub mod signals;
pub mod terminals;
pub mod watchdog;

pub mod installer;
pub mod netd;
pub mod settings;
pub mod timed;
