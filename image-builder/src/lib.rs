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
//! | [`ova`] | descriptor, manifest, signature and disk become an OVA, and are read back |
//! | [`sign`] | the manifest's signature, made and checked |
//! | [`provenance`] | what an image is made from: sources, tools, packages, crates |
//! | [`sbom`] | the same for scanners, as CycloneDX |
//! | [`output`] | files appear whole or not at all, with their digests |
//! | [`build`] | the steps in order, each told as it ends |
//! | [`disk`], [`boot_state`] | pieces of a finished disk, and the block in it that minting changes |
//! | [`mint`] | one image for each connector, with its name and MAC address |
//! | [`verify`] | what an artefact is, and whether it is what it says |
//! | [`kernel`] | the kernel, built once and cached |
//!
//! Equal inputs give equal bytes: no clock is read, no path of the building machine gets into
//! the image, identifiers are digests. No root, loop device or mount is needed.

pub mod recipe;

pub mod layout;

pub mod slot;

pub mod boot;

pub mod assemble;

pub mod ova;
pub mod sign;

pub mod provenance;
pub mod sbom;

pub mod output;

pub mod build;

pub mod boot_state;
pub mod disk;

pub mod mint;

pub mod verify;

pub mod date;
mod error;
pub mod kernel;

pub use error::Error;
