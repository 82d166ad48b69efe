//! The machine's TPM: seals the secret that opens the state record, and is evidence of who the machine is.
//!
//! It is optional. A TPM that is not there, is broken or does not answer in [`PATIENCE`] is none: what is
//! sealed by it stays closed, the console says so, and nothing is waited for a second time.
//!
//! Each operation makes the storage root key anew and leaves nothing in the TPM's memory, so a snapshot
//! or a reset of the TPM between two operations is no matter.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use connector_proto::tpm::{
    Command, Create, CreatePrimary, FlushContext, Handle, Load, SECRET_LEN, Sealed, Secret,
    TpmError, Unseal,
};
use ring::digest;

use crate::clock;

mod device;
mod unsealer;

use device::Device;

/// How long the TPM is waited for in all, in the life of this process. It is asked at its start, and at a
/// factory reset. Virtual TPMs need milliseconds, chips below a second; ten are less than anything that
/// waits for the connector allows.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Pause before a command that the TPM was too busy for is sent again. The kernel has tried by itself
/// before it says so, and tells nobody when the TPM is ready.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A TPM 2.0 that answers.
#[derive(Debug)]
pub struct Tpm {
    /// `None` once it was silent for too long: what it says afterwards answers nobody knows which command.
    device: Option<Device>,
    /// What is left of [`PATIENCE`].
    left: Duration,
    storage_key_hash: [u8; 32],
}

/// Why the TPM did not do.
#[derive(Debug)]
pub enum TpmFault {
    /// What it answers is an error, or no answer.
    Answer(TpmError),
    /// The device failed.
    Io(io::Error),
    /// It seals, and what it then unseals is something else.
    NotKept,
    /// It did not answer in time, now or before; nothing more is asked of it.
    Silent,
}

impl TpmFault {
    /// Whether what was to be unsealed was sealed by another TPM, or by this one before it was cleared.
    #[must_use]
    pub const fn is_of_another_tpm(&self) -> bool {
        matches!(self, Self::Answer(error) if error.is_of_another_tpm())
    }
}

impl fmt::Display for TpmFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(error) => error.fmt(f),
            Self::Io(error) => write!(f, "the TPM's device fails: {error}"),
            Self::NotKept => f.write_str("the TPM does not unseal what it has sealed"),
            Self::Silent => f.write_str(
                "the TPM did not answer in time; it is asked nothing more until a restart",
            ),
        }
    }
}

impl std::error::Error for TpmFault {}

impl From<TpmError> for TpmFault {
    fn from(error: TpmError) -> Self {
        Self::Answer(error)
    }
}

impl Tpm {
    /// Makes sure that there is a TPM 2.0 behind the kernel's resource manager, `/dev/tpmrm0`.
    ///
    /// # Errors
    /// [`TpmFault`]: there is none that could be used.
    pub fn open(device: OwnedFd) -> Result<Self, TpmFault> {
        Self::open_with_patience(device, PATIENCE)
    }

    /// The same, with another bound for this and all later operations together.
    ///
    /// # Errors
    /// [`TpmFault`].
    pub fn open_with_patience(device: OwnedFd, patience: Duration) -> Result<Self, TpmFault> {
        let mut tpm = Self {
            device: Some(Device::start(device).map_err(TpmFault::Io)?),
            left: patience,
            storage_key_hash: [0; 32],
        };
        let root = tpm.run(&CreatePrimary)?;
        let hash = digest::digest(&digest::SHA256, &root.public);
        tpm.storage_key_hash.copy_from_slice(hash.as_ref());
        tpm.flush(root.handle);
        Ok(tpm)
    }

    /// SHA-256 of the storage root key's public area (`TPMT_PUBLIC`): the digest in the key's `TPM2B_NAME`.
    /// Evidence only: it is no secret, and nothing here proves that the TPM holds the private part.
    #[must_use]
    pub const fn storage_key_hash(&self) -> [u8; 32] {
        self.storage_key_hash
    }

    /// Seals a secret, and unseals it again before it is relied upon.
    ///
    /// # Errors
    /// [`TpmFault`].
    pub fn seal(&mut self, secret: &[u8; SECRET_LEN]) -> Result<Sealed, TpmFault> {
        self.with_root_key(|tpm, parent| {
            let sealed = tpm.run(&Create { parent, secret })?;
            let again = tpm.unseal_under(parent, &sealed)?;
            // Both are this machine's own, so nobody learns from the time that this takes.
            if *again == *secret {
                Ok(sealed)
            } else {
                Err(TpmFault::NotKept)
            }
        })
    }

    /// Unseals what [`Tpm::seal`] gave, in this boot or another.
    ///
    /// # Errors
    /// [`TpmFault`]; see [`TpmFault::is_of_another_tpm`].
    pub fn unseal(&mut self, sealed: &Sealed) -> Result<Secret, TpmFault> {
        self.with_root_key(|tpm, parent| tpm.unseal_under(parent, sealed))
    }

    fn unseal_under(&mut self, parent: Handle, sealed: &Sealed) -> Result<Secret, TpmFault> {
        let object = self.run(&Load { parent, sealed })?;
        let secret = self.run(&Unseal { object });
        self.flush(object);
        secret
    }

    /// Does something under the storage root key, which is flushed whatever comes of it.
    fn with_root_key<T>(
        &mut self,
        operation: impl FnOnce(&mut Self, Handle) -> Result<T, TpmFault>,
    ) -> Result<T, TpmFault> {
        let root = self.run(&CreatePrimary)?;
        let done = operation(self, root.handle);
        self.flush(root.handle);
        done
    }

    /// Has the TPM forget an object. When it does not, the kernel has it forgotten at the process's end.
    fn flush(&mut self, object: Handle) {
        if let Err(fault) = self.run(&FlushContext { object }) {
            log::debug!("an object stays in the TPM's memory: {fault}");
        }
    }

    /// Runs a command, again while the TPM says that it is busy.
    fn run<C: Command>(&mut self, command: &C) -> Result<C::Answer, TpmFault> {
        loop {
            match self.exchange(command)? {
                Err(error) if error.is_transient() && self.left > RETRY_PAUSE => {
                    self.left -= RETRY_PAUSE;
                    std::thread::sleep(RETRY_PAUSE);
                }
                answer => return answer.map_err(TpmFault::Answer),
            }
        }
    }

    fn exchange<C: Command>(
        &mut self,
        command: &C,
    ) -> Result<Result<C::Answer, TpmError>, TpmFault> {
        let device = self.device.as_ref().ok_or(TpmFault::Silent)?;
        let asked_at = clock::now();
        let response = device.exchange(command.emit(), self.left);
        self.left = self.left.saturating_sub(clock::now().since(asked_at));
        match response {
            Some(Ok(response)) => Ok(command.parse(&response)),
            Some(Err(error)) => Err(TpmFault::Io(error)),
            None => {
                self.device = None;
                Err(TpmFault::Silent)
            }
        }
    }
}
