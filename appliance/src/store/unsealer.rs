//! What seals the device secret of this machine: a TPM where there is one, nothing elsewhere.

use std::fmt;

use connector_proto::record::DeviceSecret;
use zeroize::Zeroizing;

/// Seals and unseals the device secret. An implementation is bounded in time and never panics: it is
/// asked while the connector starts, and at a factory reset.
pub trait Unsealer: fmt::Debug {
    /// Whether what [`Self::seal`] makes is sealed by a TPM: a secret that lies plain on the disk is then
    /// replaced by a sealed one with the next save.
    fn has_tpm(&self) -> bool;

    /// Seals a new device secret.
    ///
    /// # Errors
    /// What went wrong, in words. The secret is then kept plain.
    fn seal(&mut self, secret: &[u8; 32]) -> Result<DeviceSecret, UnsealError>;

    /// The device secret that lies on the disk like this.
    ///
    /// # Errors
    /// Why not, in words: there is no TPM, or another one, or it was cleared.
    fn unseal(&mut self, sealed: &DeviceSecret) -> Result<Zeroizing<[u8; 32]>, UnsealError>;
}

/// Why the device secret was not sealed or unsealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsealError(
    /// A sentence for the log.
    pub String,
);

impl fmt::Display for UnsealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnsealError {}

/// A machine without a TPM: the device secret lies plain on the disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTpm;

impl Unsealer for NoTpm {
    fn has_tpm(&self) -> bool {
        false
    }

    fn seal(&mut self, secret: &[u8; 32]) -> Result<DeviceSecret, UnsealError> {
        Ok(DeviceSecret::Plain(*secret))
    }

    fn unseal(&mut self, sealed: &DeviceSecret) -> Result<Zeroizing<[u8; 32]>, UnsealError> {
        match sealed {
            DeviceSecret::Plain(secret) => Ok(Zeroizing::new(*secret)),
            DeviceSecret::Tpm { .. } => Err(UnsealError(
                "it is sealed by a TPM, and this machine has none".into(),
            )),
        }
    }
}
