//! The lab: virtual network, whole-system tests, demo.
//!
//! A whole-system test reads as a story:
//!
//! ```no_run
//! use std::time::Duration;
//! use tests::appliance::BootOptions;
//! use tests::lab::{Lab, LabError};
//!
//! # fn story() -> Result<(), Box<dyn std::error::Error>> {
//! let mut lab = Lab::new("no_dhcp_is_said_on_the_console")?;
//! lab.network().with_faults(|faults| faults.dhcp_silent = true);
//! let appliance = lab.boot(&BootOptions::default())?;
//! appliance.wait_for("waiting for an address", Duration::from_secs(60))?;
//! lab.assert_only_allowed_traffic(&[]);
//! # Ok(())
//! # }
//! ```
//!
//! In reading order:
//!
//! 1. [`lab`]: what a test holds: network, edge, appliances, a folder kept when the test fails.
//! 2. [`appliance`], [`edge_process`]: the two ends of the product. [`scene`], [`session`]: a user
//!    between them.
//! 3. [`network`]: everything else a guest can reach, and its faults. No privileges needed.
//! 4. [`pcap`], [`audit`]: every frame, and whether the guest was allowed to send it.
//! 5. [`skip!`], [`skip`]: tests that cannot run here say so.
//! 6. [`disk`], [`trial`], [`write_log`], [`block_device`], [`boot_model`]: disks edited from outside, systems that fail
//!    on purpose, power cuts, and what the boot loader does about them.
//! 7. [`foreign`]: the appliance among DHCP, NTP and DNS servers that nobody here wrote. [`swtpm`]: TPMs.
//!    [`copies`]: clones, snapshots, other network cards.
//! 8. [`guest_program`]: a machine with one program and nothing else, for what needs the product's kernel alone.
//!    [`instruction_count`]: what that machine executes while bytes are carried.
//! 9. [`guest`]: a guest without a machine, for tests of the lab itself. [`folders`]: where files
//!    are.
//!
//! `cargo verify` runs all tests; `cargo test --package tests` those of the lab and the stories.
//! Environment: `OUTGATE_IMAGE`, `OUTGATE_EDGE`, `OUTGATE_ACCEL`, `OUTGATE_LONG`,
//! `OUTGATE_SKIP_LOG`, `OUTGATE_REQUIRE_VM`; each is explained at its constant.
#![forbid(unsafe_code)]

pub mod lab;

pub mod appliance;
pub mod edge_process;

pub mod network;

pub mod scene;
pub mod session;

pub mod agent;

pub mod copies;
pub mod foreign;
pub mod swtpm;

pub mod block_device;
pub mod boot_model;
pub mod disk;
pub mod trial;
pub mod write_log;

pub mod audit;
pub mod pcap;

pub mod skip;

pub mod guest_program;
pub mod instruction_count;

pub mod folders;
pub mod guest;
