//! Names and numbers as DNS messages hold them (RFC 1035 section 4.1).

use alloc::vec::Vec;

use super::DnsError;

/// Bytes before the question.
pub(super) const HEADER_LEN: usize = 12;

/// Longest host name in bytes, as people write it.
const HOST_MAX: usize = crate::limits::HOST_MAX;
/// Longest name in bytes, as messages hold it: each label after its length, then a zero.
const NAME_MAX: usize = 255;
const LABEL_MAX: usize = 63;
/// Compression pointers followed in one name; servers that compress well need one or two.
const POINTERS_MAX: usize = 16;

/// A name as messages hold it, without compression and in lower case, so that equal names are equal
/// bytes (RFC 4343). A dot inside a label stays what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(Vec<u8>);

impl Name {
    /// A host's name, with or without its final dot.
    pub(super) fn of_host(host: &str) -> Result<Self, DnsError> {
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.is_empty() || host.len() > HOST_MAX {
            return Err(DnsError::Name);
        }
        let mut name = Vec::with_capacity(host.len() + 2);
        for label in host.split('.') {
            let is_host = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            let len = u8::try_from(label.len()).map_err(|_| DnsError::Name)?;
            if label.is_empty() || label.len() > LABEL_MAX || !label.bytes().all(is_host) {
                return Err(DnsError::Name);
            }
            name.push(len);
            name.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        name.push(0);
        Ok(Self(name))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Reads a part of a message; names may point back into all that is before it.
pub(super) struct Reader<'a> {
    /// The message up to the end of the part.
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads the whole message.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Reads the next `len` bytes on its own, and skips them here.
    pub(super) fn sub(&mut self, len: usize) -> Result<Self, DnsError> {
        let at = self.at;
        let bytes = self.bytes.get(..at + len).ok_or(DnsError::Malformed)?;
        self.at += len;
        Ok(Self { bytes, at })
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DnsError> {
        let taken = self.bytes[self.at..]
            .first_chunk()
            .ok_or(DnsError::Malformed)?;
        self.at += N;
        Ok(*taken)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DnsError> {
        self.array().map(u16::from_be_bytes)
    }

    /// A name. Pointers must point backwards, so that following them ends.
    pub(super) fn name(&mut self) -> Result<Name, DnsError> {
        let mut name = Vec::new();
        let mut at = self.at;
        let mut pointers = 0;
        loop {
            let len = usize::from(*self.bytes.get(at).ok_or(DnsError::Malformed)?);
            if len & 0xc0 == 0xc0 {
                let low = usize::from(*self.bytes.get(at + 1).ok_or(DnsError::Malformed)?);
                let target = (len & 0x3f) << 8 | low;
                if target >= at || pointers >= POINTERS_MAX {
                    return Err(DnsError::Malformed);
                }
                if pointers == 0 {
                    self.at = at + 2;
                }
                pointers += 1;
                at = target;
                continue;
            }
            let next = at + 1 + len;
            let label = self.bytes.get(at..next).ok_or(DnsError::Malformed)?;
            if len > LABEL_MAX || name.len() + label.len() > NAME_MAX {
                return Err(DnsError::Malformed);
            }
            // A length is at most 63, below the letters: it keeps its value.
            name.extend(label.iter().map(|byte| byte.to_ascii_lowercase()));
            if len == 0 {
                if pointers == 0 {
                    self.at = next;
                }
                return Ok(Name(name));
            }
            at = next;
        }
    }
}
