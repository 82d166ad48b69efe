//! Pure: a request and the ledger become what is minted, all of it or nothing.

use std::fmt;

use disk_format::slot::BOOT_STATE_BYTES_MAX;
use ovf::given::Complaint;
use ovf::mac::MacAddress;
use ovf::name::ConnectorName;
use ovf::property::EdgeName;

use crate::boot_state;
use crate::date::Date;
use crate::mint::address::{self, AddressError};
use crate::mint::connector::{Connector, Group};
use crate::mint::fleet::{self, FleetError};
use crate::mint::ledger::{Entry, ImageDigest, Ledger};
use crate::mint::settings::NetworkSettings;

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The connector, or the first of several.
    pub name: ConnectorName,
    /// How many.
    pub count: u32,
    /// Their group.
    pub group: Option<Group>,
    /// The address of the one connector; otherwise its name decides.
    pub mac: Option<MacAddress>,
    /// Their edge.
    pub edge: Option<EdgeName>,
    /// Their network.
    pub network: NetworkSettings,
}

/// A connector that may be minted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its line in the ledger.
    pub entry: Entry,
    /// Whether it was there before.
    pub kind: Kind,
}

/// How a mint relates to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The name is new.
    New,
    /// The same as recorded: the same files, byte for byte.
    Again,
    /// The same connector from another image, which has this digest in the ledger.
    FromOtherImage(ImageDigest),
}

/// Plans `request` from `image` on the day `today`.
///
/// A name that the ledger has is minted again as it was: what the request leaves out is taken from
/// its line, and what the request says must agree with it.
///
/// # Errors
/// When any connector of the request cannot be minted.
pub fn plan(
    request: &Request,
    ledger: &Ledger,
    image: ImageDigest,
    today: Date,
) -> Result<Vec<Planned>, PlanError> {
    if let Some(mac) = request.mac {
        address::check(mac).map_err(PlanError::Address)?;
        if request.count > 1 {
            return Err(PlanError::MacForMany { mac });
        }
    }
    if request.count > 1
        && let Some((property, value)) = request.network.of_one_machine()
    {
        let option = property.key_in_class();
        let value = value.to_string();
        return Err(PlanError::OneForMany { option, value });
    }
    let mut ledger = ledger.clone();
    let mut planned = Vec::new();
    for name in fleet::names(&request.name, request.count).map_err(PlanError::Fleet)? {
        let next = match ledger.find(&name) {
            Some(recorded) => again(request, recorded, image)?,
            None => first(request, name, &ledger, image, today)?,
        };
        ledger.record(next.entry.clone());
        planned.push(next);
    }
    Ok(planned)
}

/// Why nothing is minted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// The address that was asked for cannot be pinned.
    Address(AddressError),
    /// The connectors cannot be numbered.
    Fleet(FleetError),
    /// One address for several connectors.
    MacForMany {
        /// The address.
        mac: MacAddress,
    },
    /// A setting of one machine for several connectors.
    OneForMany {
        /// The option, without dashes.
        option: &'static str,
        /// Its value.
        value: String,
    },
    /// Settings that do not hold together.
    Settings(Complaint),
    /// More than the boot-state block holds.
    TooLong {
        /// For whom.
        name: ConnectorName,
        /// How many bytes it would have.
        bytes: usize,
    },
    /// Another connector has the address.
    MacTaken {
        /// The address.
        mac: MacAddress,
        /// Who has it.
        holder: ConnectorName,
    },
    /// Every address of the range is in the ledger.
    NoMacLeft {
        /// For whom one was looked for.
        name: ConnectorName,
    },
    /// The ledger has the name with another value.
    Recorded {
        /// The name.
        name: ConnectorName,
        /// The option.
        option: String,
        /// The ledger's value.
        recorded: Option<String>,
        /// The request's.
        given: String,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(error) => write!(f, "{error}"),
            Self::Fleet(error) => write!(f, "{error}"),
            Self::MacForMany { mac } => write!(
                f,
                "--mac {mac} is one address and --count asks for several connectors; leave one of \
                 the two out"
            ),
            Self::OneForMany { option, value } => write!(
                f,
                "--{option} {value} is for one machine and --count asks for several connectors; \
                 mint them one by one, or leave one of the two out"
            ),
            Self::Settings(complaint) => write!(f, "--{complaint}"),
            Self::TooLong { name, bytes } => write!(
                f,
                "what {name} is minted with takes {bytes} bytes of the disk's boot state, and \
                 {BOOT_STATE_BYTES_MAX} is the limit; shorten names, or set some of it as \
                 properties of the hypervisor"
            ),
            Self::MacTaken { mac, holder } => write!(
                f,
                "MAC {mac} belongs to {holder} in the ledger; choose another, or leave --mac out \
                 and the name decides"
            ),
            Self::NoMacLeft { name } => write!(
                f,
                "all {} addresses are in the ledger and {name} needs one; remove the lines of \
                 connectors that no longer exist",
                address::ADDRESSES
            ),
            Self::Recorded {
                name,
                option,
                recorded,
                given,
            } => {
                match recorded {
                    Some(recorded) => {
                        write!(f, "{name} is in the ledger with {option} {recorded}")?
                    }
                    None => write!(f, "{name} is in the ledger without {option}")?,
                }
                write!(
                    f,
                    ", and now {option} is {given}; leave {option} out to mint it again as it was, \
                     choose another name, or remove its line when that connector no longer exists"
                )
            }
        }
    }
}

impl std::error::Error for PlanError {}

/// A name that the ledger does not have.
fn first(
    request: &Request,
    name: ConnectorName,
    ledger: &Ledger,
    image: ImageDigest,
    minted: Date,
) -> Result<Planned, PlanError> {
    let mac = match request.mac {
        Some(mac) => {
            if let Some(holder) = ledger.holder(mac) {
                let holder = holder.connector.name.clone();
                return Err(PlanError::MacTaken { mac, holder });
            }
            mac
        }
        None => match address::derive(&name, |mac| ledger.holder(mac).is_some()) {
            Some(mac) => mac,
            None => return Err(PlanError::NoMacLeft { name }),
        },
    };
    let connector = Connector {
        name,
        mac,
        group: request.group.clone(),
        edge: request.edge.clone(),
        network: request.network.clone(),
    };
    connector.network.check().map_err(PlanError::Settings)?;
    let bytes = boot_state::bytes_at_most(&connector.minted_values());
    if bytes > BOOT_STATE_BYTES_MAX {
        let name = connector.name;
        return Err(PlanError::TooLong { name, bytes });
    }
    Ok(Planned {
        entry: Entry {
            connector,
            image,
            minted,
        },
        kind: Kind::New,
    })
}

/// A name that the ledger has.
fn again(request: &Request, recorded: &Entry, image: ImageDigest) -> Result<Planned, PlanError> {
    let Connector {
        name,
        mac,
        group,
        edge,
        network,
    } = &recorded.connector;
    agree(name, "--mac", Some(mac), request.mac.as_ref())?;
    agree(name, "--group", group.as_ref(), request.group.as_ref())?;
    agree(name, "--edge", edge.as_ref(), request.edge.as_ref())?;
    for (property, given) in request.network.iter() {
        let option = format!("--{}", property.key_in_class());
        agree(name, &option, network.value(property), Some(given))?;
    }
    Ok(Planned {
        entry: Entry {
            image,
            ..recorded.clone()
        },
        kind: if recorded.image == image {
            Kind::Again
        } else {
            Kind::FromOtherImage(recorded.image)
        },
    })
}

fn agree<T: PartialEq + fmt::Display>(
    name: &ConnectorName,
    option: &str,
    recorded: Option<&T>,
    given: Option<&T>,
) -> Result<(), PlanError> {
    match given {
        Some(given) if recorded != Some(given) => Err(PlanError::Recorded {
            name: name.clone(),
            option: option.to_owned(),
            recorded: recorded.map(T::to_string),
            given: given.to_string(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
