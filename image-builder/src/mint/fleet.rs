//! Pure: `mumbai-01` and a count become `mumbai-01`, `mumbai-02`, and so on.

use std::fmt;

use ovf::name::ConnectorName;

/// Most connectors of one command: their files take about 20 MB each.
pub const COUNT_MAX: u32 = 1000;

/// The names of `count` connectors, of which `first` is the first. The digits at its end count on
/// and keep their width.
///
/// # Errors
/// When the count is 0 or above [`COUNT_MAX`], or when more than one is asked for and `first` ends
/// in no digit or the digits do not suffice.
pub fn names(first: &ConnectorName, count: u32) -> Result<Vec<ConnectorName>, FleetError> {
    if count == 0 || count > COUNT_MAX {
        return Err(FleetError::Count { count });
    }
    if count > 1 && !first.as_str().ends_with(|end: char| end.is_ascii_digit()) {
        return Err(FleetError::NoDigits {
            name: first.clone(),
        });
    }
    let mut names = vec![first.clone()];
    while names.len() < count as usize {
        let next = names.last().and_then(next);
        names.push(next.ok_or_else(|| FleetError::TooFewDigits {
            first: first.clone(),
            count,
        })?);
    }
    Ok(names)
}

/// Why there are no such names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FleetError {
    /// A count of none, or of too many.
    Count {
        /// The count.
        count: u32,
    },
    /// Nothing to count on from.
    NoDigits {
        /// The name.
        name: ConnectorName,
    },
    /// The number outgrows its digits.
    TooFewDigits {
        /// The first name.
        first: ConnectorName,
        /// How many were asked for.
        count: u32,
    },
}

impl fmt::Display for FleetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { count } => {
                write!(f, "--count {count}: give a number from 1 to {COUNT_MAX}")
            }
            Self::NoDigits { name } => write!(
                f,
                "{name:?} ends in no digit, and --count numbers connectors by counting on from \
                 the digits of the first; name it {name}-01, for instance",
                name = name.as_str(),
            ),
            Self::TooFewDigits { first, count } => write!(
                f,
                "{count} connectors from {:?} on need more digits than that name ends in; write \
                 more zeros in front of its number",
                first.as_str()
            ),
        }
    }
}

impl std::error::Error for FleetError {}

/// The name whose number is one more; nothing when it needs one more digit.
fn next(name: &ConnectorName) -> Option<ConnectorName> {
    let mut letters = name.as_str().to_owned().into_bytes();
    for letter in letters.iter_mut().rev() {
        match letter {
            b'9' => *letter = b'0',
            b'0'..=b'8' => {
                *letter += 1;
                return String::from_utf8(letters).ok()?.parse().ok();
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_on_and_keep_their_width() {
        assert_eq!(
            list("mumbai-08", 4),
            ["mumbai-08", "mumbai-09", "mumbai-10", "mumbai-11"]
        );
        assert_eq!(list("rack2-099", 2), ["rack2-099", "rack2-100"]);
        assert_eq!(list("7", 3), ["7", "8", "9"]);
    }

    #[test]
    fn one_connector_needs_no_number() {
        assert_eq!(list("mumbai", 1), ["mumbai"]);
    }

    #[test]
    fn a_fleet_is_refused_whole_when_a_name_of_it_does_not_exist() {
        for (first, count, needle) in [
            ("mumbai", 2, "mumbai-01"),
            ("mumbai-98", 3, "more zeros"),
            ("9", 2, "more zeros"),
            ("mumbai-01", 0, "from 1 to 1000"),
            ("mumbai-0001", 1001, "from 1 to 1000"),
        ] {
            let said = names(&first.parse().unwrap(), count)
                .unwrap_err()
                .to_string();
            assert!(said.contains(needle), "{said}");
        }
    }

    fn list(first: &str, count: u32) -> Vec<String> {
        let names = names(&first.parse().unwrap(), count).unwrap();
        names.iter().map(|name| name.as_str().to_owned()).collect()
    }
}
