//! Hardware addresses.

use std::fmt;
use std::str::FromStr;

/// The first address of the range that VMware keeps for addresses set by hand,
/// 00:50:56:00:00:00 to 00:50:56:3f:ff:ff. Others are refused by ESXi at power-on.
pub const STATIC_RANGE_FIRST: Mac = Mac([0x00, 0x50, 0x56, 0x00, 0x00, 0x00]);

/// The unicast hardware address of a network card.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac([u8; 6]);

/// Why something is not the address of a network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MacError {
    /// The lowest bit of the first byte is set, or all bytes are zero.
    NotUnicast([u8; 6]),
    /// Not six pairs of hexadecimal digits separated by colons.
    Syntax(String),
}

impl Mac {
    /// An address from its six bytes.
    ///
    /// # Errors
    /// [`MacError::NotUnicast`] for group addresses and for all zeros.
    pub fn new(bytes: [u8; 6]) -> Result<Self, MacError> {
        if bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(MacError::NotUnicast(bytes));
        }
        Ok(Self(bytes))
    }

    /// The `index`th address of VMware's range for addresses set by hand.
    pub fn in_static_range(index: u16) -> Self {
        let [high, low] = index.to_be_bytes();
        let [a, b, c, d, ..] = STATIC_RANGE_FIRST.0;
        Self([a, b, c, d, high, low])
    }

    /// The six bytes.
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let syntax = || MacError::Syntax(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|part| part.len() == 2)
                .ok_or_else(syntax)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| syntax())?;
        }
        if parts.next().is_some() {
            return Err(syntax());
        }
        Self::new(bytes)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({self})")
    }
}

impl fmt::Display for MacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUnicast(bytes) => {
                write!(
                    f,
                    "{bytes:02x?} is no unicast address: use one in 00:50:56:00:00:00-3f:ff:ff"
                )
            }
            Self::Syntax(text) => {
                write!(
                    f,
                    "{text:?} is no hardware address: write it like 00:50:56:00:00:01"
                )
            }
        }
    }
}

impl std::error::Error for MacError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_it_prints() {
        let mac = Mac::in_static_range(0x0102);
        assert_eq!(mac.to_string(), "00:50:56:00:01:02");
        assert_eq!(mac.to_string().parse(), Ok(mac));
    }

    #[test]
    fn what_no_card_can_have_is_refused() {
        for text in [
            "",
            "00:50:56:00:00",
            "00:50:56:00:00:00:00",
            "0:50:56:0:0:0",
            "00:50:56:00:00:0g",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(MacError::Syntax(text.to_owned())));
        }
        assert!(matches!(
            "01:00:5e:00:00:01".parse::<Mac>(),
            Err(MacError::NotUnicast(_))
        ));
        assert!(matches!(
            "00:00:00:00:00:00".parse::<Mac>(),
            Err(MacError::NotUnicast(_))
        ));
    }
}
