//! The TPM as what seals the device secret of the state record.

use connector_proto::record::DeviceSecret;
use connector_proto::tpm::Sealed;
use zeroize::Zeroizing;

use super::Tpm;
use crate::store::{UnsealError, Unsealer};

impl Unsealer for Tpm {
    /// False once it was silent: it would not seal either.
    fn has_tpm(&self) -> bool {
        self.device.is_some()
    }

    fn seal(&mut self, secret: &[u8; 32]) -> Result<DeviceSecret, UnsealError> {
        let sealed = Self::seal(self, secret).map_err(|fault| UnsealError(fault.to_string()))?;
        let Sealed { public, private } = sealed;
        Ok(DeviceSecret::Tpm { public, private })
    }

    fn unseal(&mut self, sealed: &DeviceSecret) -> Result<Zeroizing<[u8; 32]>, UnsealError> {
        match sealed {
            DeviceSecret::Plain(secret) => Ok(Zeroizing::new(*secret)),
            DeviceSecret::Tpm { public, private } => {
                let sealed = Sealed {
                    public: public.clone(),
                    private: private.clone(),
                };
                Self::unseal(self, &sealed).map_err(|fault| UnsealError(fault.to_string()))
            }
        }
    }
}
