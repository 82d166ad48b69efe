//! TPM 2.0 commands that seal a secret, and the key of the TPM as evidence.
//!
//! Pure: [`Command::emit`] gives the bytes for the TPM, [`Command::parse`] reads what it answers. The
//! numbers are those of the TCG's "Trusted Platform Module Library", family 2.0, revision 1.59: part 2
//! (structures) and part 3 (commands); sections are cited beside what is taken from them.
//!
//! Five commands are enough:
//!
//! 1. [`CreatePrimary`] makes the storage root key anew. The TPM derives it from a seed of its own, so it
//!    is the same key each time until the TPM is cleared, and nothing of it is kept anywhere.
//! 2. [`Create`] seals a secret under it and gives two blobs, a [`Sealed`], that only this TPM can use.
//! 3. [`Load`] takes the blobs back, [`Unseal`] gives the secret.
//! 4. [`FlushContext`] makes room: a TPM holds as few as three objects.
//!
//! **No PCR policy.** An update of the system changes every measurement. A secret bound to them would be
//! lost with each update, and the connector's identity with it.
//!
//! **No parameter encryption.** The secret passes between driver and TPM as it is. A virtual TPM has no
//! bus on which somebody could listen; behind it stands the hypervisor, which can read the machine's
//! memory anyhow. On a TPM that is passed through, the kernel's own sessions do not cover these commands.

use core::fmt;

mod code;
mod command;
mod fuzz;
#[cfg(test)]
mod tests;
mod wire;

pub use code::ResponseCode;
pub use command::{
    Command, Create, CreatePrimary, FlushContext, Handle, Load, Primary, Sealed, Secret, Unseal,
};
pub use fuzz::fuzz_tpm;
pub use wire::announced_len;

/// Longest response that is read, in bytes: the kernel's buffer for commands and responses.
pub const RESPONSE_MAX: usize = 4096;
/// Bytes of a response's header: tag, length, code (part 1, 18.9).
pub const HEADER_LEN: usize = 10;
/// Bytes of the secret that is sealed.
pub const SECRET_LEN: usize = 32;
/// Longest blob of a [`Sealed`], in bytes. Those of a secret of 32 bytes have 48 and about 160.
pub const BLOB_MAX: usize = 1024;

/// Why a response is not what its command asks for. `command` is the standard's name of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TpmError {
    /// The TPM answers with an error.
    Code {
        /// To which command.
        command: &'static str,
        /// Which.
        code: ResponseCode,
    },
    /// The response announces another length than it has, or one that none may have.
    Length {
        /// What it announces, in bytes.
        announced: u32,
        /// What it has, in bytes.
        len: usize,
    },
    /// The response is not of the form that the command prescribes.
    Malformed {
        /// Which command.
        command: &'static str,
    },
}

impl TpmError {
    /// Whether the same command may succeed a little later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Code { code, .. } if code.is_transient())
    }

    /// Whether blobs are those of another TPM, or of this one before it was cleared.
    #[must_use]
    pub const fn is_of_another_tpm(&self) -> bool {
        matches!(self, Self::Code { code, .. } if code.is_integrity())
    }
}

impl fmt::Display for TpmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code { command, code } => write!(f, "{command}: the TPM answers {code}"),
            Self::Length { announced, len } => write!(
                f,
                "a response of {len} bytes announces {announced}; {HEADER_LEN} to {RESPONSE_MAX} are possible"
            ),
            Self::Malformed { command } => {
                write!(f, "{command}: the response is not of the form of TPM 2.0")
            }
        }
    }
}

impl core::error::Error for TpmError {}
