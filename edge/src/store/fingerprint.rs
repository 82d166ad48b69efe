//! A fingerprint as the tables hold it: in the forms that an administrator reads.

use connector_proto::message::Fingerprint;
use rusqlite::Row;

use super::audit::Entry;
use crate::Error;
use crate::text::hex;

/// The columns `mac`, `smbios_uuid`, `vm_generation` and `tpm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    /// `02:00:00:00:00:01`.
    pub(super) mac: String,
    /// With dashes.
    pub(super) smbios_uuid: String,
    /// Hexadecimal; empty where there is none.
    pub(super) vm_generation: String,
    /// Hexadecimal; empty where there is none.
    pub(super) tpm: String,
}

impl Columns {
    /// As it is presented.
    pub(super) fn new(fingerprint: &Fingerprint) -> Self {
        let uuid = hex(&fingerprint.smbios_uuid);
        let groups = [
            &uuid[..8],
            &uuid[8..12],
            &uuid[12..16],
            &uuid[16..20],
            &uuid[20..],
        ];
        Self {
            mac: fingerprint.mac.map(|byte| hex(&[byte])).join(":"),
            smbios_uuid: groups.join("-"),
            vm_generation: unless_absent(&fingerprint.vm_generation),
            tpm: unless_absent(&fingerprint.tpm),
        }
    }

    /// What is known once `self` was admitted: what it lacks stays as it was known before, so that a
    /// machine without its TPM for a while is not thereby one that never had it.
    pub(super) fn known_after(self, before: &Self) -> Self {
        let or_before = |now: String, before: &String| {
            if now.is_empty() { before.clone() } else { now }
        };
        Self {
            vm_generation: or_before(self.vm_generation, &before.vm_generation),
            tpm: or_before(self.tpm, &before.tpm),
            ..self
        }
    }

    /// Out of four columns of a row, from the one with index `first` on.
    pub(super) fn of_row(row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            mac: row.get(first)?,
            smbios_uuid: row.get(first + 1)?,
            vm_generation: row.get(first + 2)?,
            tpm: row.get(first + 3)?,
        })
    }

    /// The bytes again.
    pub(super) fn fingerprint(&self) -> Result<Fingerprint, Error> {
        Ok(Fingerprint {
            mac: bytes(&self.mac)?,
            smbios_uuid: bytes(&self.smbios_uuid)?,
            vm_generation: bytes_or_zeros(&self.vm_generation)?,
            tpm: bytes_or_zeros(&self.tpm)?,
        })
    }

    /// Adds them to an audit entry; what is absent is left out.
    pub(super) fn describe(&self, entry: Entry) -> Entry {
        let mut entry = entry
            .with("mac", self.mac.as_str())
            .with("smbios_uuid", self.smbios_uuid.as_str());
        for (name, value) in [("vm_generation", &self.vm_generation), ("tpm", &self.tpm)] {
            if !value.is_empty() {
                entry = entry.with(name, value.as_str());
            }
        }
        entry
    }
}

fn unless_absent(bytes: &[u8]) -> String {
    if bytes.iter().all(|byte| *byte == 0) {
        String::new()
    } else {
        hex(bytes)
    }
}

fn bytes_or_zeros<const N: usize>(text: &str) -> Result<[u8; N], Error> {
    if text.is_empty() {
        Ok([0; N])
    } else {
        bytes(text)
    }
}

/// Hexadecimal digits, with dashes and colons between them.
fn bytes<const N: usize>(text: &str) -> Result<[u8; N], Error> {
    let altered = || Error::DataDir {
        problem: format!(
            "the store says {text:?} where a fingerprint of {N} bytes belongs; restore it from a backup"
        ),
    };
    let digits: Vec<u8> = text
        .chars()
        .filter(|character| !matches!(character, ':' | '-'))
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|value| u8::try_from(value).ok())
        })
        .collect::<Option<_>>()
        .filter(|digits: &Vec<u8>| digits.len() == 2 * N)
        .ok_or_else(altered)?;
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Fingerprint = Fingerprint {
        mac: [2, 0, 0, 0, 0xab, 1],
        smbios_uuid: [0x1f; 16],
        vm_generation: [0x2e; 16],
        tpm: [0x3d; 32],
    };

    #[test]
    fn what_is_written_is_read_again() {
        let bare = Fingerprint {
            vm_generation: [0; 16],
            tpm: [0; 32],
            ..WHOLE
        };
        for fingerprint in [WHOLE, bare] {
            let columns = Columns::new(&fingerprint);
            assert_eq!(columns.fingerprint().unwrap(), fingerprint);
        }
        let columns = Columns::new(&bare);
        assert_eq!(columns.mac, "02:00:00:00:ab:01");
        assert_eq!(columns.smbios_uuid, "1f1f1f1f-1f1f-1f1f-1f1f-1f1f1f1f1f1f");
        assert_eq!(
            (columns.vm_generation.as_str(), columns.tpm.as_str()),
            ("", "")
        );
    }

    #[test]
    fn a_value_that_somebody_altered_is_an_error_that_shows_it() {
        for mac in [
            "",
            "02:00",
            "02:00:00:00:00:0g",
            "02:00:00:00:00:01:02",
            "ü",
        ] {
            let columns = Columns {
                mac: mac.into(),
                ..Columns::new(&WHOLE)
            };
            let error = columns.fingerprint().unwrap_err().to_string();
            assert!(error.contains(&format!("{mac:?}")), "{error}");
        }
    }

    #[test]
    fn what_a_machine_lacks_for_a_while_stays_known() {
        let bare = Fingerprint {
            vm_generation: [0; 16],
            tpm: [0; 32],
            mac: [9; 6],
            ..WHOLE
        };
        let known = Columns::new(&bare).known_after(&Columns::new(&WHOLE));
        let expected = Fingerprint {
            mac: [9; 6],
            ..WHOLE
        };
        assert_eq!(known.fingerprint().unwrap(), expected);
    }
}
