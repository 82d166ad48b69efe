//! Builds the kernel and the disk image.
//!
//! In reading order, from what the image is to how it gets on disk:
//!
//! | module | role |
//! |---|---|
//! | [`recipe`] | the image as data: every file of the initramfs and every partition, with its reason |
//! | [`layout`] | pure: the recipe's partitions become sector ranges |
//! | [`slot`] | kernel and initramfs become the content of a system slot |
//! | [`boot`] | GRUB for BIOS and UEFI, and the boot-state partition |
//! | [`assemble`] | everything becomes one disk |
//! | [`output`] | files appear whole or not at all, with their digests |
//! | [`build`] | the steps in order, each told as it ends |
//! | [`kernel`] | the kernel, built once and cached |
//!
//! Equal inputs give equal bytes: no clock is read, no path of the building machine gets into
//! the image, identifiers are digests. No root, loop device or mount is needed.

pub mod recipe;

pub mod layout;

pub mod slot;

pub mod boot;

pub mod assemble;

pub mod output;

pub mod build;

mod error;
pub mod kernel;

pub use error::Error;
