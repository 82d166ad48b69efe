//! What a minted image says about the machine it is for. Pure, but for [`from_hypervisor`].
//!
//! The hypervisor's word (QEMU's fw_cfg) comes before the disk's. Both are foreign: a value that
//! cannot be one is not used, and the operator is told.

use std::path::Path;

use connector_proto::limits;
use connector_proto::local::{EdgeText, Fact, Text};
use disk_format::slot::boot_key;

use crate::hardware::{parse_edge, read_bounded};
use crate::hub::text;

/// What is known about the machine the image is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Minted {
    /// The connector's name.
    pub name: Option<Text<63>>,
    /// The MAC address its NIC is to have.
    pub mac: Option<[u8; 6]>,
    /// The service edge.
    pub edge: Option<EdgeText>,
    /// The connector group, for people only.
    pub group: Option<Text<63>>,
}

impl Minted {
    /// Takes what `first` has, and what it has not from `second`.
    #[must_use]
    pub fn or(first: Self, second: Self) -> Self {
        Self {
            name: first.name.or(second.name),
            mac: first.mac.or(second.mac),
            edge: first.edge.or(second.edge),
            group: first.group.or(second.group),
        }
    }

    /// The fact for the console, if there is anything to tell.
    #[must_use]
    pub fn fact(&self) -> Option<Fact> {
        let is_minted = self.name.is_some() || self.mac.is_some() || self.group.is_some();
        is_minted.then(|| Fact::Minted {
            name: self.name.clone(),
            mac: self.mac,
            group: self.group.clone(),
        })
    }
}

/// Reads the values of `source`, and says of each that cannot be used why.
pub fn parse(
    source: &str,
    value: impl Fn(&str) -> Option<String>,
    complain: &mut impl FnMut(String),
) -> Minted {
    Minted {
        name: take(
            source,
            boot_key::NAME,
            "a connector's name",
            &value,
            parse_name,
            complain,
        ),
        mac: take(
            source,
            boot_key::MAC,
            "a MAC address",
            &value,
            parse_mac,
            complain,
        ),
        edge: take(
            source,
            boot_key::EDGE,
            "host or host:port",
            &value,
            parse_edge,
            complain,
        ),
        group: take(
            source,
            boot_key::GROUP,
            "1 to 63 printable characters",
            &value,
            parse_group,
            complain,
        ),
    }
}

/// What the hypervisor says.
pub fn from_hypervisor(complain: &mut impl FnMut(String)) -> Minted {
    let value = |key: &str| {
        let path = Path::new(FW_CFG).join(key).join("raw");
        // The group is not told this way.
        if key == boot_key::GROUP || !path.exists() {
            return None;
        }
        let text = read_bounded(path, limits::HOST_MAX + 7);
        let text = text.unwrap_or_else(|| "(too long or not text)".to_owned());
        Some(text.trim_matches(['\0', ' ', '\t', '\r', '\n']).to_owned())
    };
    parse("QEMU's fw_cfg", value, complain)
}

/// Fuzz body: whatever the values are, what is taken is printable and bounded, and what is not taken
/// is named.
///
/// # Panics
/// If that does not hold.
pub fn fuzz_minted(data: &[u8]) {
    let value = String::from_utf8_lossy(data).into_owned();
    let mut problems = 0;
    let minted = parse("The disk", |_| Some(value.clone()), &mut |problem| {
        assert!(problem.chars().all(|character| !character.is_control()));
        problems += 1;
    });
    let taken = [&minted.name, &minted.group]
        .into_iter()
        .flatten()
        .map(Text::as_str)
        .chain(minted.edge.as_deref());
    for text in taken {
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    }
    let taken = [
        minted.name.is_some(),
        minted.mac.is_some(),
        minted.edge.is_some(),
        minted.group.is_some(),
    ];
    assert_eq!(
        taken.iter().filter(|is_taken| !**is_taken).count(),
        problems
    );
}

fn take<T>(
    source: &str,
    key: &str,
    expected: &str,
    value: &impl Fn(&str) -> Option<String>,
    parse: impl Fn(&str) -> Option<T>,
    complain: &mut impl FnMut(String),
) -> Option<T> {
    let value = value(key)?;
    let parsed = parse(&value);
    if parsed.is_none() {
        let shown: Text<40> = text(&value);
        complain(format!(
            "{source} says {key}={shown:?}, which is not {expected}: ignored."
        ));
    }
    parsed
}

/// Lower-case letters, digits and dashes, as in a host name.
fn parse_name(text: &str) -> Option<Text<63>> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let is_name = !text.is_empty()
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-');
    is_name.then(|| Text::try_from(text).ok()).flatten()
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next()?;
        let is_hex = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = is_hex
            .then(|| u8::from_str_radix(part, 16).ok())
            .flatten()?;
    }
    parts.next().is_none().then_some(mac)
}

fn parse_group(text: &str) -> Option<Text<63>> {
    let is_group = !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    is_group.then(|| Text::try_from(text).ok()).flatten()
}

const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/outgate";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_value_is_taken_unless_it_is_printable(value in "\\PC{0,70}|[0-9a-f:]{0,18}|[a-z0-9.-]{0,64}|(.|\n){0,9}") {
            fuzz_minted(value.as_bytes());
        }
    }

    #[test]
    fn good_values_are_taken_and_the_first_source_wins() {
        let complain = &mut |problem: String| panic!("{problem}");
        let disk = parse(
            "the disk",
            |key| {
                Some(match key {
                    "name" => "mumbai-01".into(),
                    "mac" => "00:50:56:01:02:0f".into(),
                    "edge" => "edge.example:443".into(),
                    _ => "Mumbai, 2nd floor".into(),
                })
            },
            complain,
        );
        assert_eq!(disk.name.as_deref(), Some("mumbai-01"));
        assert_eq!(disk.mac, Some([0, 0x50, 0x56, 1, 2, 15]));
        assert_eq!(disk.group.as_deref(), Some("Mumbai, 2nd floor"));
        let host = parse(
            "host",
            |key| (key == "name").then(|| "pune-02".into()),
            complain,
        );
        let both = Minted::or(host, disk.clone());
        assert_eq!(both.name.as_deref(), Some("pune-02"));
        assert_eq!(both.edge, disk.edge);
    }

    #[test]
    fn a_value_that_cannot_be_one_is_named_and_ignored() {
        let long = "x".repeat(300);
        for (key, bad) in [
            ("name", "Mumbai"),
            ("name", "-x"),
            ("name", "x-"),
            ("name", ""),
            ("name", long.as_str()),
            ("mac", "00:50:56:01:02"),
            ("mac", "00:50:56:01:02:03:04"),
            ("mac", "+0:50:56:01:02:03"),
            ("mac", "00-50-56-01-02-03"),
            ("edge", "two words"),
            ("group", "bell\u{7}"),
            ("group", long.as_str()),
        ] {
            let mut problems = Vec::new();
            let minted = parse(
                "The disk",
                |asked| (asked == key).then(|| bad.to_owned()),
                &mut |problem| problems.push(problem),
            );
            assert_eq!(
                (&minted, minted.fact()),
                (&Minted::default(), None),
                "{key}={bad}"
            );
            assert_eq!(problems.len(), 1, "{key}={bad}");
            assert!(problems[0].starts_with(&format!("The disk says {key}=")));
            assert!(problems[0].len() <= 160, "{}", problems[0]);
        }
    }
}
