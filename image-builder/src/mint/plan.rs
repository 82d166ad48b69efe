//! Pure: a request and the ledger become what is minted, all of it or nothing.

use std::fmt;

use ovf::mac::MacAddress;
use ovf::name::ConnectorName;
use ovf::property::EdgeName;

use crate::date::Date;
use crate::mint::address::{self, AddressError};
use crate::mint::connector::{Connector, Group};
use crate::mint::fleet::{self, FleetError};
use crate::mint::ledger::{Entry, ImageDigest, Ledger};

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
        option: &'static str,
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
    };
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
    } = &recorded.connector;
    agree(name, "--mac", Some(mac), request.mac.as_ref())?;
    agree(name, "--group", group.as_ref(), request.group.as_ref())?;
    agree(name, "--edge", edge.as_ref(), request.edge.as_ref())?;
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
    option: &'static str,
    recorded: Option<&T>,
    given: Option<&T>,
) -> Result<(), PlanError> {
    match given {
        Some(given) if recorded != Some(given) => Err(PlanError::Recorded {
            name: name.clone(),
            option,
            recorded: recorded.map(T::to_string),
            given: given.to_string(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const IMAGE: ImageDigest = ImageDigest([1; 32]);

    #[test]
    fn a_new_name_gets_what_was_asked_for() {
        let planned = mint(&full("mumbai-01"), &Ledger::new()).unwrap();
        let [planned] = &planned[..] else {
            panic!("{planned:?}")
        };
        assert_eq!(planned.kind, Kind::New);
        let connector = &planned.entry.connector;
        assert_eq!(connector.mac.to_string(), "00:50:56:00:00:09");
        assert_eq!(connector.group, Some("Mumbai".parse().unwrap()));
        assert_eq!(connector.edge, Some("edge.example.org".parse().unwrap()));
    }

    #[test]
    fn the_same_again_is_allowed_and_what_is_left_out_comes_from_the_ledger() {
        let ledger = ledger(&full("mumbai-01"));
        for request in [full("mumbai-01"), named("mumbai-01")] {
            let again = mint(&request, &ledger).unwrap();
            assert_eq!(again[0].kind, Kind::Again);
            assert_eq!(Some(&again[0].entry), ledger.entries().next());
        }
    }

    #[test]
    fn a_newer_image_keeps_everything_else_and_is_said() {
        let ledger = ledger(&full("mumbai-01"));
        let newer = ImageDigest([2; 32]);
        let later = Date::from_unix(2_000_000_000);
        let again = plan(&named("mumbai-01"), &ledger, newer, later).unwrap();
        assert_eq!(again[0].kind, Kind::FromOtherImage(IMAGE));
        let recorded = ledger.entries().next().unwrap();
        let image = newer;
        assert_eq!(
            again[0].entry,
            Entry {
                image,
                ..recorded.clone()
            }
        );
    }

    #[test]
    fn each_refusal_names_the_value_and_the_remedy() {
        let ledger = ledger(&full("mumbai-01"));
        let with = |name: &str, change: fn(&mut Request)| {
            let mut request = named(name);
            change(&mut request);
            request
        };
        for (request, needles) in [
            (
                with("mumbai-01", |r| r.mac = Some(mac("00:50:56:00:00:0a"))),
                ["--mac 00:50:56:00:00:09", "leave --mac out"],
            ),
            (
                with("mumbai-01", |r| r.group = Some("Delhi".parse().unwrap())),
                ["--group Mumbai", "Delhi"],
            ),
            (
                with("mumbai-01", |r| {
                    r.edge = Some("other.example.org".parse().unwrap())
                }),
                ["--edge edge.example.org:443", "other.example.org:443"],
            ),
            (
                with("delhi-01", |r| r.mac = Some(mac("00:50:56:00:00:09"))),
                ["belongs to mumbai-01", "leave --mac out"],
            ),
            (
                with("delhi-01", |r| r.mac = Some(mac("01:50:56:00:00:09"))),
                ["multicast", "00:50:56:3f:ff:ff"],
            ),
            (
                with("delhi-01", |r| {
                    r.mac = Some(mac("00:50:56:00:00:0a"));
                    r.count = 2;
                }),
                ["--count", "leave one of"],
            ),
            (with("delhi", |r| r.count = 2), ["no digit", "delhi-01"]),
            (with("delhi-9", |r| r.count = 2), ["delhi-9", "more zeros"]),
        ] {
            let said = mint(&request, &ledger).unwrap_err().to_string();
            assert!(needles.iter().all(|needle| said.contains(needle)), "{said}");
        }
    }

    #[test]
    fn one_conflict_refuses_the_whole_fleet() {
        let ledger = ledger(&Request {
            group: Some("Delhi".parse().unwrap()),
            ..named("mumbai-03")
        });
        let fleet = Request {
            count: 4,
            group: Some("Mumbai".parse().unwrap()),
            ..named("mumbai-01")
        };
        let error = mint(&fleet, &ledger).unwrap_err();
        assert!(matches!(error, PlanError::Recorded { name, .. } if name.as_str() == "mumbai-03"));
    }

    #[test]
    fn a_name_whose_address_was_chosen_by_another_gets_the_next_one() {
        let free = mint(&named("mumbai-01"), &Ledger::new()).unwrap();
        let theirs = free[0].entry.connector.mac;
        let ledger = ledger(&Request {
            mac: Some(theirs),
            ..named("delhi-01")
        });
        let ours = mint(&named("mumbai-01"), &ledger).unwrap();
        assert_ne!(ours[0].entry.connector.mac, theirs);
        assert_eq!(ours, mint(&named("mumbai-01"), &ledger).unwrap());
    }

    proptest! {
        #[test]
        fn any_mints_one_after_another_share_no_name_and_no_address(
            requests in proptest::collection::vec(("[a-c][0-9]{2}", 1u32..20), 1..12),
        ) {
            let mut ledger = Ledger::new();
            for (name, count) in requests {
                let request = Request { count, ..named(&name) };
                for planned in mint(&request, &ledger).unwrap_or_default() {
                    ledger.record(planned.entry);
                }
            }
            let names: BTreeSet<_> = ledger.entries().map(|e| e.connector.name.clone()).collect();
            let macs: BTreeSet<_> = ledger.entries().map(|e| e.connector.mac).collect();
            prop_assert_eq!(names.len(), ledger.entries().count());
            prop_assert_eq!(macs.len(), names.len());
            prop_assert!(macs.iter().all(|mac| address::check(*mac).is_ok()));
        }
    }

    fn mint(request: &Request, ledger: &Ledger) -> Result<Vec<Planned>, PlanError> {
        plan(request, ledger, IMAGE, Date::from_unix(1_793_491_200))
    }

    /// The ledger after `request`.
    fn ledger(request: &Request) -> Ledger {
        let mut ledger = Ledger::new();
        for planned in mint(request, &ledger).unwrap() {
            ledger.record(planned.entry);
        }
        ledger
    }

    fn full(name: &str) -> Request {
        Request {
            group: Some("Mumbai".parse().unwrap()),
            mac: Some(mac("00:50:56:00:00:09")),
            edge: Some("edge.example.org".parse().unwrap()),
            ..named(name)
        }
    }

    fn named(name: &str) -> Request {
        Request {
            name: name.parse().unwrap(),
            count: 1,
            group: None,
            mac: None,
            edge: None,
        }
    }

    fn mac(text: &str) -> MacAddress {
        text.parse().unwrap()
    }
}
