//! Everything that travels in and with an OVF package, under names that exist once.
//!
//! Pure text: no file is opened here, no clock read, nothing hashed or signed. In reading order:
//!
//! - [`property`] is the one table of settings that an administrator may fill in as vApp properties
//!   (vSphere) or QEMU fw_cfg items; the image builder writes its keys, the guest reads them.
//!   [`value`] holds the types that the values become, [`mac`] and [`name`] those of a minted
//!   machine.
//! - [`descriptor`] is the `.ovf` file, [`manifest`] the `.mf` with the digests, [`certificate`] the
//!   `.cert` with the signature of that, [`file_name`] the names that all three can carry.
//! - [`environment`] is the document in which the hypervisor hands the settings to the guest, [`cd`]
//!   the disc on which it may come. [`given`] is what one place says, [`settings`] what that means
//!   when it is taken together.
//!
//! Every setting is optional and nothing is secret: a provisioning key never travels this way.
//! Whatever is read is hostile input: bounded before it is looked at, parsed once into a type that
//! cannot be wrong, and refused with an error that names value, limit and remedy. Each reader has a
//! fuzz body (`fuzz_*`) beside it, which the tests run too.
//!
//! Reading XML needs the feature `xml`: without it there are [`descriptor::Descriptor::emit`] and
//! the types, and no XML reader gets into a binary that has no use for one.
#![forbid(unsafe_code)]

pub mod property;
pub mod value;

pub mod mac;
pub mod name;

pub mod descriptor;

pub mod certificate;
pub mod file_name;
pub mod manifest;

pub mod given;
pub mod settings;

pub mod cd;
pub mod environment;

mod hex;
#[cfg(test)]
mod mutate;
mod shown;
#[cfg(feature = "xml")]
mod xml_reader;
mod xml_writer;

#[cfg(feature = "xml")]
pub use xml_reader::XmlError;
