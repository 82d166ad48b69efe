//! What PID 1 and the reader of settings tell each other.

use connector_proto::local::{Settings, Text};
use serde::{Deserialize, Serialize};

/// Longest text of one property that is handed over, in bytes: one more than `ovf` takes, so that
/// one that is too long is seen to be.
pub const TEXT_BYTES_MAX: usize = ovf::value::TEXT_BYTES_MAX + 1;

/// The text of one property, which may be no text.
pub type Bytes = heapless::Vec<u8, TEXT_BYTES_MAX>;

/// A place where settings are, in order of precedence: the first that names one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Place {
    /// QEMU's fw_cfg: `opt/outgate/KEY`.
    FwCfg,
    /// VMware's guestinfo: the OVF environment.
    Guestinfo,
    /// The OVF environment on a disc.
    Cd,
    /// The boot-state block of a minted image.
    Disk,
    /// `/etc/outgate/edge`.
    Image,
}

impl Place {
    /// Its name within a sentence, at most [`ovf::given::PLACE_BYTES_MAX`] bytes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FwCfg => "QEMU's fw_cfg",
            Self::Guestinfo => "VMware's guestinfo",
            Self::Cd => "the OVF CD",
            Self::Disk => "the disk",
            Self::Image => "the image",
        }
    }

    /// Its name at the beginning of a sentence.
    #[must_use]
    pub const fn sentence_name(self) -> &'static str {
        match self {
            Self::FwCfg | Self::Guestinfo => self.name(),
            Self::Cd => "The OVF CD",
            Self::Disk => "The disk",
            Self::Image => "The image",
        }
    }
}

/// PID 1 to the reader: one message for each place, then [`ToSettings::Go`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToSettings {
    /// An item of QEMU's fw_cfg.
    FwCfg {
        /// Its name behind `opt/outgate/`.
        key: Text<56>,
        /// Its content.
        content: Bytes,
    },
    /// The hypervisor may be VMware's.
    Guestinfo,
    /// A CD drive. Carries one descriptor, the drive's, to read from.
    Cd,
    /// The boot-state partition. Carries one descriptor, the partition's, to read from.
    Disk,
    /// The content of `/etc/outgate/edge`.
    Image {
        /// The content.
        content: Bytes,
    },
    /// That is all.
    Go,
}

/// The reader to PID 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromSettings {
    /// What a place says.
    Found {
        /// The place.
        place: Place,
        /// The settings.
        settings: Settings,
        /// What it says about the machine besides.
        minted: Minted,
    },
    /// Something that a place says is not used; the sentence says what and why.
    Complaint {
        /// The sentence.
        sentence: Text<160>,
    },
}

/// What is known about the machine that an image was minted for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minted {
    /// The connector's name.
    pub name: Option<Text<63>>,
    /// The MAC address its NIC is to have.
    pub mac: Option<[u8; 6]>,
    /// The connector group, for people only.
    pub group: Option<Text<63>>,
}

impl Minted {
    /// Takes what `self` has, and what it has not from `second`.
    #[must_use]
    pub fn or(self, second: Self) -> Self {
        Self {
            name: self.name.or(second.name),
            mac: self.mac.or(second.mac),
            group: self.group.or(second.group),
        }
    }
}
