//! The kernel configuration and its command line, each entry with its reason.
//!
//! Pure: text in, text out; the files of this crate are compiled in, so nobody needs a path to them. In reading order:
//!
//! - [`annotated`]: the one rule of all files here: an entry without a reason is an error.
//! - [`fragment`]: `fragments/*.config`, a topic each, as lists of [`Symbol`]s.
//! - [`merge`]: all fragments as one request to Kconfig, and what happens when two disagree.
//! - [`resolved`]: what Kconfig made of the request; names every symbol that did not survive.
//! - [`cmdline`]: the kernel's command line, which is compiled into it.
//! - [`source`]: which kernel source is built.
//! - [`patch`]: what is changed in it.
#![forbid(unsafe_code)]

pub mod annotated;
pub mod cmdline;
pub mod fragment;
pub mod merge;
pub mod patch;
pub mod resolved;
pub mod source;

pub use annotated::Error;
pub use cmdline::CMDLINE;
pub use fragment::{Symbol, Value};
pub use merge::{Request, request};
pub use patch::{PATCHES, Patch};
pub use resolved::{Lost, missing};
pub use source::{Source, source};

/// The fragments: file name and text, in the order in which they are merged.
pub const FRAGMENTS: &[(&str, &str)] = &[
    ("boot.config", include_str!("../fragments/boot.config")),
    ("cpu.config", include_str!("../fragments/cpu.config")),
    (
        "console.config",
        include_str!("../fragments/console.config"),
    ),
    (
        "storage.config",
        include_str!("../fragments/storage.config"),
    ),
    (
        "network.config",
        include_str!("../fragments/network.config"),
    ),
    ("tls.config", include_str!("../fragments/tls.config")),
    (
        "io_uring.config",
        include_str!("../fragments/io_uring.config"),
    ),
    ("virtio.config", include_str!("../fragments/virtio.config")),
    ("vmware.config", include_str!("../fragments/vmware.config")),
    ("time.config", include_str!("../fragments/time.config")),
    ("tpm.config", include_str!("../fragments/tpm.config")),
    ("crypto.config", include_str!("../fragments/crypto.config")),
    (
        "hardening.config",
        include_str!("../fragments/hardening.config"),
    ),
    (
        "hardening-gcc.config",
        include_str!("../fragments/hardening-gcc.config"),
    ),
];
