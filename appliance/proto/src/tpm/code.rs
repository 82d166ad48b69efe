//! What a TPM says went wrong (part 2, 6.6).

use core::fmt;

/// A response code; 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseCode(pub u32);

impl ResponseCode {
    /// `TPM_RC_SUCCESS`.
    pub const SUCCESS: Self = Self(0);

    /// Whether the TPM is only busy: with its self-test, with something else, or with wear levelling.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(
            self.kind(),
            Some(TPM_RC_YIELDED | TPM_RC_TESTING | TPM_RC_NV_RATE | TPM_RC_RETRY)
        )
    }

    /// Whether a blob's protection does not hold under the parent that was named.
    #[must_use]
    pub const fn is_integrity(self) -> bool {
        matches!(self.kind(), Some(TPM_RC_INTEGRITY))
    }

    /// The code without the number of the handle, parameter or session that it is about; `None` for
    /// codes that are not the TPM's own, but of software between it and us.
    const fn kind(self) -> Option<u32> {
        if self.0 > 0xfff {
            None
        } else if self.0 & FORMAT_ONE != 0 {
            Some(self.0 & 0x0bf)
        } else {
            Some(self.0)
        }
    }

    /// The standard's name, for those that tell an operator something.
    const fn name(self) -> Option<&'static str> {
        Some(match self.kind() {
            Some(0x085) => "TPM_RC_HIERARCHY: the owner hierarchy is disabled",
            Some(0x08e) => "TPM_RC_AUTH_FAIL",
            Some(0x0a2) => "TPM_RC_BAD_AUTH: the owner hierarchy has a password",
            Some(TPM_RC_INTEGRITY) => "TPM_RC_INTEGRITY: sealed by another TPM, or before a clear",
            Some(0x100) => "TPM_RC_INITIALIZE: the TPM was not started",
            Some(0x101) => "TPM_RC_FAILURE: the TPM is in failure mode",
            Some(0x143) => "TPM_RC_COMMAND_CODE: not implemented",
            Some(0x902) => "TPM_RC_OBJECT_MEMORY: no room for another object",
            Some(TPM_RC_YIELDED) => "TPM_RC_YIELDED",
            Some(TPM_RC_TESTING) => "TPM_RC_TESTING",
            Some(TPM_RC_NV_RATE) => "TPM_RC_NV_RATE",
            Some(0x921) => "TPM_RC_LOCKOUT",
            Some(TPM_RC_RETRY) => "TPM_RC_RETRY",
            _ => return None,
        })
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#05x}", self.0)?;
        self.name().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

/// Set in codes that say which handle, parameter or session they are about.
const FORMAT_ONE: u32 = 0x080;

const TPM_RC_INTEGRITY: u32 = 0x09f;
const TPM_RC_YIELDED: u32 = 0x908;
const TPM_RC_TESTING: u32 = 0x90a;
const TPM_RC_NV_RATE: u32 = 0x920;
const TPM_RC_RETRY: u32 = 0x922;
