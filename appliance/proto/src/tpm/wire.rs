//! Commands and responses as bytes (part 1, 18; part 2, 5): all numbers are big-endian, and a `TPM2B` is
//! its length in two bytes, then its bytes.

use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::{HEADER_LEN, RESPONSE_MAX, ResponseCode, TpmError};

/// `TPM_ST_NO_SESSIONS`.
pub(super) const NO_SESSIONS: u16 = 0x8001;
/// `TPM_ST_SESSIONS`.
pub(super) const SESSIONS: u16 = 0x8002;

/// Bytes of a `TPM2B`'s length field.
const LENGTH_LEN: usize = 2;

/// The authorisation of a command by an empty password (part 1, 19.4), after its length.
const EMPTY_PASSWORD: [u8; 13] = [
    0, 0, 0, 9, // length
    0x40, 0, 0, 9, // TPM_RS_PW
    0, 0, // nonce
    0, // attributes
    0, 0, // password
];

/// Length that a response's header announces, in bytes.
///
/// # Errors
/// [`TpmError::Length`] if no response has that length, or the header is not whole.
pub fn announced_len(header: &[u8]) -> Result<usize, TpmError> {
    let len = header.len();
    let field = header.get(2..).and_then(|rest| rest.first_chunk());
    let announced = field.map_or(0, |bytes| u32::from_be_bytes(*bytes));
    usize::try_from(announced)
        .ok()
        .filter(|announced| (HEADER_LEN..=RESPONSE_MAX).contains(announced))
        .ok_or(TpmError::Length { announced, len })
}

/// A command with one handle that an empty password authorises.
pub(super) fn with_password(code: u32, handle: u32, parameters: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let handle = handle.to_be_bytes();
    let mut parts: Vec<&[u8]> = alloc::vec![&handle, &EMPTY_PASSWORD];
    parts.extend_from_slice(parameters);
    command(SESSIONS, code, &parts)
}

/// A command; wiped when dropped, for it may hold the secret.
pub(super) fn command(tag: u16, code: u32, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let len = HEADER_LEN + parts.iter().map(|part| part.len()).sum::<usize>();
    // Made in its full length: a vector that grows leaves a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(len));
    bytes.extend_from_slice(&tag.to_be_bytes());
    // The longest command is Load with two blobs of BLOB_MAX bytes.
    bytes.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(&code.to_be_bytes());
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

/// What follows the header of a response that says success, under the tag that its command asks for.
///
/// # Errors
/// [`TpmError`], also for a code that says otherwise.
pub(super) fn body<'a>(
    command: &'static str,
    tag: u16,
    response: &'a [u8],
) -> Result<Reader<'a>, TpmError> {
    let announced = announced_len(response)?;
    let mut reader = Reader {
        command,
        bytes: response,
    };
    let (found, length, code) = (reader.u16()?, reader.u32()?, reader.u32()?);
    if announced != response.len() {
        return Err(TpmError::Length {
            announced: length,
            len: response.len(),
        });
    }
    // An error has the tag without sessions, or, of a TPM 1.2, yet another one (part 2, 6.9).
    let code = ResponseCode(code);
    if code != ResponseCode::SUCCESS {
        return Err(TpmError::Code { command, code });
    }
    if found == tag {
        Ok(reader)
    } else {
        Err(TpmError::Malformed { command })
    }
}

/// Reads a response from its front.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    command: &'static str,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn u16(&mut self) -> Result<u16, TpmError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, TpmError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A `TPM2B` of at most `max` bytes.
    pub(super) fn sized(&mut self, max: usize) -> Result<&'a [u8], TpmError> {
        let len = usize::from(self.u16()?);
        if len > max {
            return Err(self.malformed());
        }
        self.take(len)
    }

    /// A `TPM2B` of at most `max` bytes that is not empty, its length field included.
    pub(super) fn blob(&mut self, max: usize) -> Result<&'a [u8], TpmError> {
        let from = self.bytes;
        let len = self.sized(max.saturating_sub(LENGTH_LEN))?.len();
        if len == 0 {
            return Err(self.malformed());
        }
        from.get(..LENGTH_LEN + len).ok_or_else(|| self.malformed())
    }

    /// The parameters of a response with sessions: their length is before them. The sessions' own
    /// answers behind them say nothing for a password.
    pub(super) fn parameters(&mut self) -> Result<Self, TpmError> {
        let len = self.u32()?;
        let len = usize::try_from(len).map_err(|_| self.malformed())?;
        let bytes = self.take(len)?;
        Ok(Self {
            command: self.command,
            bytes,
        })
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], TpmError> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(len)
            .ok_or_else(|| self.malformed())?;
        self.bytes = rest;
        Ok(taken)
    }

    /// That nothing follows.
    pub(super) const fn end(&self) -> Result<(), TpmError> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }

    pub(super) const fn malformed(&self) -> TpmError {
        TpmError::Malformed {
            command: self.command,
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TpmError> {
        let (taken, rest) = self
            .bytes
            .split_first_chunk()
            .ok_or_else(|| self.malformed())?;
        self.bytes = rest;
        Ok(*taken)
    }
}
