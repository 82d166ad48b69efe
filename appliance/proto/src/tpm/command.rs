//! The five commands (part 3), and what each yields.

use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroizing;

use super::wire::{self, NO_SESSIONS, Reader, SESSIONS};
use super::{BLOB_MAX, SECRET_LEN, TpmError};

/// A command to a TPM, and how its response is read.
pub trait Command {
    /// What the response says.
    type Answer;
    /// The standard's name.
    const NAME: &'static str;

    /// The bytes to write to the TPM, at once.
    fn emit(&self) -> Zeroizing<Vec<u8>>;

    /// Reads a whole response.
    ///
    /// # Errors
    /// [`TpmError`]. Never panics, whatever the bytes.
    fn parse(&self, response: &[u8]) -> Result<Self::Answer, TpmError>;
}

/// The secret that is sealed; wiped when dropped.
pub type Secret = Zeroizing<[u8; SECRET_LEN]>;

/// An object that the TPM holds in its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handle(u32);

/// A storage root key in the TPM's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primary {
    /// By which it is named until it is flushed.
    pub handle: Handle,
    /// Its public area: `TPMT_PUBLIC` (part 2, 12.2.4), at most 90 bytes.
    pub public: Vec<u8>,
}

/// A secret sealed by a TPM. Without that TPM it says nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// `TPM2B_PUBLIC` of the object, its length field included: 3 to [`BLOB_MAX`] bytes.
    pub public: Vec<u8>,
    /// `TPM2B_PRIVATE`, the encrypted part, its length field included: 3 to [`BLOB_MAX`] bytes.
    pub private: Vec<u8>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(..)")
    }
}

/// `TPM2_CreatePrimary` (part 3, 24.1): the storage root key of the owner hierarchy, ECC over P-256 by
/// the template of the TCG's "TPM v2.0 Provisioning Guidance", 7.5.1, which other software uses too.
#[derive(Clone, Copy, Debug)]
pub struct CreatePrimary;

impl Command for CreatePrimary {
    type Answer = Primary;
    const NAME: &'static str = "TPM2_CreatePrimary";

    fn emit(&self) -> Zeroizing<Vec<u8>> {
        let parameters: [&[u8]; 5] = [
            &[0, 4, 0, 0, 0, 0], // inSensitive: no password, no data
            &[0, 90],            // inPublic
            &ROOT_KEY,
            &POINT_OF_ZEROS,
            &[0; 6], // outsideInfo, creationPCR: none
        ];
        wire::with_password(0x131, TPM_RH_OWNER, &parameters)
    }

    fn parse(&self, response: &[u8]) -> Result<Primary, TpmError> {
        let mut body = wire::body(Self::NAME, SESSIONS, response)?;
        let handle = transient(&mut body)?;
        let mut parameters = body.parameters()?;
        let public = parameters.sized(ROOT_KEY.len() + POINT_MAX)?;
        let point = public.strip_prefix(&ROOT_KEY);
        if point.is_none_or(|point| point == POINT_OF_ZEROS) {
            return Err(parameters.malformed());
        }
        let public = public.to_vec();
        Ok(Primary { handle, public })
    }
}

/// `TPM2_Create` (part 3, 12.1): seals a secret under the storage root key.
pub struct Create<'a> {
    /// The storage root key.
    pub parent: Handle,
    /// What to seal.
    pub secret: &'a [u8; SECRET_LEN],
}

impl Command for Create<'_> {
    type Answer = Sealed;
    const NAME: &'static str = "TPM2_Create";

    fn emit(&self) -> Zeroizing<Vec<u8>> {
        let parameters: [&[u8]; 5] = [
            &[0, 36, 0, 0, 0, 32], // inSensitive: no password, the data
            self.secret,
            &[0, 14], // inPublic
            &SEALED_DATA,
            &[0; 6], // outsideInfo, creationPCR: none
        ];
        wire::with_password(0x153, self.parent.0, &parameters)
    }

    fn parse(&self, response: &[u8]) -> Result<Sealed, TpmError> {
        let mut parameters = wire::body(Self::NAME, SESSIONS, response)?.parameters()?;
        let private = parameters.blob(BLOB_MAX)?.to_vec();
        let public = parameters.blob(BLOB_MAX)?.to_vec();
        Ok(Sealed { public, private })
    }
}

impl fmt::Debug for Create<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Create(..)")
    }
}

/// `TPM2_Load` (part 3, 12.2): takes a sealed secret back. Another TPM than the one that sealed it
/// refuses with a code for which [`TpmError::is_of_another_tpm`] holds.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// The storage root key.
    pub parent: Handle,
    /// What [`Create`] gave.
    pub sealed: &'a Sealed,
}

impl Command for Load<'_> {
    type Answer = Handle;
    const NAME: &'static str = "TPM2_Load";

    fn emit(&self) -> Zeroizing<Vec<u8>> {
        let Sealed { public, private } = self.sealed;
        let parameters = [bounded(private), bounded(public)];
        wire::with_password(0x157, self.parent.0, &parameters)
    }

    fn parse(&self, response: &[u8]) -> Result<Handle, TpmError> {
        let mut body = wire::body(Self::NAME, SESSIONS, response)?;
        let handle = transient(&mut body)?;
        body.parameters().map(|_| handle)
    }
}

/// `TPM2_Unseal` (part 3, 12.7).
#[derive(Clone, Copy, Debug)]
pub struct Unseal {
    /// What [`Load`] gave.
    pub object: Handle,
}

impl Command for Unseal {
    type Answer = Secret;
    const NAME: &'static str = "TPM2_Unseal";

    fn emit(&self) -> Zeroizing<Vec<u8>> {
        wire::with_password(0x15e, self.object.0, &[])
    }

    fn parse(&self, response: &[u8]) -> Result<Secret, TpmError> {
        let mut parameters = wire::body(Self::NAME, SESSIONS, response)?.parameters()?;
        let data = parameters.sized(SECRET_LEN)?;
        parameters.end()?;
        let mut secret = Secret::default();
        if data.len() != SECRET_LEN {
            return Err(parameters.malformed());
        }
        secret.copy_from_slice(data);
        Ok(secret)
    }
}

/// `TPM2_FlushContext` (part 3, 28.4): the TPM forgets an object that it holds in its memory.
#[derive(Clone, Copy, Debug)]
pub struct FlushContext {
    /// Which.
    pub object: Handle,
}

impl Command for FlushContext {
    type Answer = ();
    const NAME: &'static str = "TPM2_FlushContext";

    fn emit(&self) -> Zeroizing<Vec<u8>> {
        wire::command(NO_SESSIONS, 0x165, &[&self.object.0.to_be_bytes()])
    }

    fn parse(&self, response: &[u8]) -> Result<(), TpmError> {
        wire::body(Self::NAME, NO_SESSIONS, response)?.end()
    }
}

/// The handle of an object in the TPM's memory (part 2, 7.2: `TPM_HT_TRANSIENT`).
fn transient(body: &mut Reader<'_>) -> Result<Handle, TpmError> {
    let handle = body.u32()?;
    if handle >> 24 == 0x80 {
        Ok(Handle(handle))
    } else {
        Err(body.malformed())
    }
}

/// A blob that is too long is cut, and so refused by the TPM: none was ever made by one.
fn bounded(blob: &[u8]) -> &[u8] {
    &blob[..blob.len().min(BLOB_MAX)]
}

/// Longest point on P-256 in bytes: two coordinates of 32, each after its length.
const POINT_MAX: usize = 68;

/// The point in the template. The TPM puts the key's own in its place.
const POINT_OF_ZEROS: [u8; POINT_MAX] = {
    let mut point = [0; POINT_MAX];
    point[1] = 32;
    point[35] = 32;
    point
};

/// `TPM_RH_OWNER`.
const TPM_RH_OWNER: u32 = 0x4000_0001;

/// The storage root key's public area up to its point (part 2, 12.2.4).
const ROOT_KEY: [u8; 22] = [
    0x00, 0x23, // type: TPM_ALG_ECC
    0x00, 0x0b, // nameAlg: TPM_ALG_SHA256
    // fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, decrypt
    0x00, 0x03, 0x04, 0x72, //
    0x00, 0x00, // authPolicy: none
    0x00, 0x06, 0x00, 0x80, 0x00, 0x43, // symmetric: AES, 128 bits, CFB
    0x00, 0x10, // scheme: TPM_ALG_NULL
    0x00, 0x03, // curve: TPM_ECC_NIST_P256
    0x00, 0x10, // kdf: TPM_ALG_NULL
];

/// The public area of the object that holds the secret (part 2, 12.2.4).
const SEALED_DATA: [u8; 14] = [
    0x00, 0x08, // type: TPM_ALG_KEYEDHASH
    0x00, 0x0b, // nameAlg: TPM_ALG_SHA256
    // fixedTPM, fixedParent, userWithAuth, noDA: a wrong password cannot lock it, there is none
    0x00, 0x00, 0x04, 0x52, //
    0x00, 0x00, // authPolicy: none, so no PCR
    0x00, 0x10, // scheme: TPM_ALG_NULL
    0x00, 0x00, // unique: empty
];
