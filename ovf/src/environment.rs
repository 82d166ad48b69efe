//! The OVF environment: what the hypervisor tells the guest (DSP0243 section 11, schema dsp8027).
//!
//! Hostile input: bounded before it is looked at, no document type, no entity but the five of XML.
//! A value that is wrong costs that setting alone; a document that is wrong costs all of them, since
//! nothing says then what was meant.

#[cfg(feature = "xml")]
mod error;
#[cfg(feature = "xml")]
mod parse;
#[cfg(test)]
mod tests;

#[cfg(feature = "xml")]
pub use error::EnvironmentError;
#[cfg(feature = "xml")]
pub use parse::{fuzz_environment, parse};

/// Longest environment that is read, in bytes.
pub const ENVIRONMENT_BYTES_MAX: usize = 64 * 1024;
/// Most properties in an environment, those of others included.
pub const ENVIRONMENT_PROPERTIES_MAX: usize = 64;
/// Namespace of the environment.
pub const ENVIRONMENT_NAMESPACE: &str = "http://schemas.dmtf.org/ovf/environment/1";
