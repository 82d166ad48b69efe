//! Settings that travel from a hypervisor to the appliance, under names that exist once.
//!
//! An administrator may fill in vApp properties (vSphere) or QEMU fw_cfg items instead of typing
//! on the console. [`property`] is the one table of keys, read by the image builder when it
//! writes a descriptor and by the guest when it reads values back; [`value`] holds the types the
//! values become. Everything is optional and nothing is secret: a provisioning key never travels
//! this way. Values are hostile input: bounded before they are looked at, parsed once into a type
//! that cannot be wrong, and refused with an error that names value, limit and remedy.
#![forbid(unsafe_code)]

pub mod property;
pub mod value;
