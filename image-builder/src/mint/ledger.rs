//! Pure: the text that keeps names and MACs unique.
//!
//! One line for each connector, for people, `grep` and `diff`:
//! ```text
//! name=mumbai-01 mac=00:50:56:12:34:56 edge=edge.example.org:443 image=SHA-256 minted=2026-11-01 group=Mumbai West
//! ```
//! `edge` and `group` may be missing, and between `edge` and `image` are the settings it was minted
//! with, if any: `address=192.0.2.10/24 gateway=192.0.2.1`. `group` is last because it may have spaces. Lines that are
//! empty or begin with `#` are kept as they are. Any other line is an error with its number: a
//! ledger that is read wrongly would mint an address twice.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use ovf::mac::MacAddress;
use ovf::name::ConnectorName;

use crate::date::Date;
use crate::mint::address;
use crate::mint::connector::Connector;
use crate::mint::settings::NetworkSettings;

/// Longest ledger that is read, in bytes: about fifty thousand connectors.
pub const LEDGER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Every connector that was minted, in the order in which they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    lines: Vec<Line>,
}

/// One mint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which connector.
    pub connector: Connector,
    /// SHA-256 of the OVA it was minted from.
    pub image: ImageDigest,
    /// The day of the first mint, UTC. For people: no artefact depends on it.
    pub minted: Date,
}

/// The SHA-256 of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageDigest(pub [u8; 32]);

/// A line of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    /// An empty one, or a remark.
    Remark(String),
    Entry(Entry),
}

impl Ledger {
    /// A ledger without connectors; its first line tells people what it is.
    #[must_use]
    pub fn new() -> Self {
        Self {
            lines: vec![Line::Remark(FIRST_LINE.into())],
        }
    }

    /// Reads a ledger.
    ///
    /// # Errors
    /// When it is too long, is not UTF-8, ends within a line, or has a line that is none of a
    /// ledger's or repeats a name or a MAC; with the line's number.
    pub fn parse(text: &[u8]) -> Result<Self, LedgerError> {
        if text.len() > LEDGER_BYTES_MAX {
            return Err(LedgerError {
                line: 1,
                problem: Problem::TooLong { bytes: text.len() },
            });
        }
        let mut ledger = Self { lines: Vec::new() };
        // Sets, because a search of all earlier lines for each would take long for long ledgers.
        let (mut names, mut macs) = (BTreeSet::new(), BTreeSet::new());
        for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let at = |problem| LedgerError {
                line: index + 1,
                problem,
            };
            let line = line.strip_suffix(b"\n").ok_or(at(Problem::Torn))?;
            let line = std::str::from_utf8(line).map_err(|_| at(Problem::NotUtf8))?;
            if line.is_empty() || line.starts_with('#') {
                ledger.lines.push(Line::Remark(line.into()));
                continue;
            }
            let entry = parse_entry(line).map_err(at)?;
            let connector = &entry.connector;
            if !names.insert(connector.name.clone()) {
                return Err(at(Problem::Repeated("name", connector.name.to_string())));
            }
            if !macs.insert(connector.mac) {
                return Err(at(Problem::Repeated("mac", connector.mac.to_string())));
            }
            ledger.lines.push(Line::Entry(entry));
        }
        Ok(ledger)
    }

    /// The text.
    #[must_use]
    pub fn emit(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            match line {
                Line::Remark(remark) => text.push_str(remark),
                Line::Entry(entry) => text.push_str(&entry.to_string()),
            }
            text.push('\n');
        }
        text
    }

    /// The connectors.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.lines.iter().filter_map(|line| match line {
            Line::Entry(entry) => Some(entry),
            Line::Remark(_) => None,
        })
    }

    /// The connector called `name`.
    #[must_use]
    pub fn find(&self, name: &ConnectorName) -> Option<&Entry> {
        self.entries().find(|entry| entry.connector.name == *name)
    }

    /// The connector that has `mac`.
    #[must_use]
    pub fn holder(&self, mac: MacAddress) -> Option<&Entry> {
        self.entries().find(|entry| entry.connector.mac == mac)
    }

    /// Records a mint: in place of the line with its name, or as a new last line.
    pub fn record(&mut self, entry: Entry) {
        let same_name = |line: &&mut Line| matches!(line, Line::Entry(old) if old.connector.name == entry.connector.name);
        match self.lines.iter_mut().find(same_name) {
            Some(line) => *line = Line::Entry(entry),
            None => self.lines.push(Line::Entry(entry)),
        }
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Connector {
            name,
            mac,
            group,
            edge,
            network,
        } = &self.connector;
        write!(f, "name={name} mac={mac}")?;
        if let Some(edge) = edge {
            write!(f, " edge={edge}")?;
        }
        for (property, value) in network.iter() {
            write!(f, " {}={value}", property.key_in_class())?;
        }
        write!(f, " image={} minted={}", self.image, self.minted)?;
        if let Some(group) = group {
            write!(f, " group={group}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ImageDigest {
    type Err = ();

    /// 64 lower-case hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, ()> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 64 || !text.bytes().all(is_digit) {
            return Err(());
        }
        let mut digest = [0; 32];
        for (index, byte) in digest.iter_mut().enumerate() {
            let pair = text.get(index * 2..index * 2 + 2).ok_or(())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| ())?;
        }
        Ok(Self(digest))
    }
}

/// Why a ledger cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerError {
    /// The line, from 1.
    pub line: usize,
    problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    /// A field is missing or out of its order.
    Missing(&'static str),
    NotUtf8,
    /// A name or an address that an earlier line has.
    Repeated(&'static str, String),
    TooLong {
        bytes: usize,
    },
    /// No end of line.
    Torn,
    /// A field's value, and what it should be.
    Value(String),
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.problem {
            Problem::Missing(field) => write!(
                f,
                "{field}= is missing or not in its place; a line is `name= mac= edge= image= \
                 minted= group=` with one space between, where edge and group may be left out, and \
                 settings may stand before image in the order of `cargo image mint --help`"
            ),
            Problem::NotUtf8 => write!(f, "this is no text; restore the ledger from its copy"),
            Problem::Repeated(field, value) => write!(
                f,
                "{field} {value} is on an earlier line already; each may be there once"
            ),
            Problem::TooLong { bytes } => write!(
                f,
                "a ledger of {bytes} bytes; the limit is {LEDGER_BYTES_MAX}. Is this the right \
                 file?"
            ),
            Problem::Torn => write!(
                f,
                "the line does not end; complete it, or restore the ledger from its copy"
            ),
            Problem::Value(why) => write!(f, "{why}"),
        }
    }
}

impl std::error::Error for LedgerError {}

/// Fuzz body: the reader never panics, and what it accepts it writes back as it was.
pub fn fuzz_ledger(data: &[u8]) {
    if let Ok(ledger) = Ledger::parse(data) {
        let emitted = ledger.emit();
        assert_eq!(Ledger::parse(emitted.as_bytes()), Ok(ledger));
    }
}

fn parse_entry(line: &str) -> Result<Entry, Problem> {
    let (line, group) = match line.split_once(" group=") {
        Some((line, group)) => (line, Some(group)),
        None => (line, None),
    };
    let mut fields = line.split(' ').peekable();
    let name = value(fields.next(), "name")?;
    let mac = value(fields.next(), "mac")?;
    let edge = fields.next_if(|field| field.starts_with("edge="));
    let mut network = NetworkSettings::default();
    for property in NetworkSettings::properties() {
        let key = property.key_in_class();
        let begins = |field: &&str| field.split('=').next() == Some(key);
        if let Some(field) = fields.next_if(begins) {
            let set = network.set(property, value(Some(field), key)?);
            set.map_err(|error| Problem::Value(format!("{key}: {error}")))?;
        }
    }
    let image = value(fields.next(), "image")?;
    let minted = value(fields.next(), "minted")?;
    if let Some(rest) = fields.next() {
        return Err(Problem::Value(format!("{rest:?} is no field of a ledger")));
    }
    let mac = parsed("mac", mac)?;
    Ok(Entry {
        connector: Connector {
            name: parsed("name", name)?,
            mac: address::check(mac).map_err(|error| Problem::Value(error.to_string()))?,
            group: group.map(|group| parsed("group", group)).transpose()?,
            edge: edge
                .map(|edge| parsed("edge", value(Some(edge), "edge")?))
                .transpose()?,
            network,
        },
        image: image.parse().map_err(|()| {
            Problem::Value(format!("image {image:?} must be 64 hexadecimal digits"))
        })?,
        minted: parsed("minted", minted)?,
    })
}

/// What is behind `name=`.
fn value<'a>(field: Option<&'a str>, name: &'static str) -> Result<&'a str, Problem> {
    field
        .and_then(|field| field.strip_prefix(name))
        .and_then(|field| field.strip_prefix('='))
        .ok_or(Problem::Missing(name))
}

fn parsed<T: FromStr<Err: fmt::Display>>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse()
        .map_err(|error| Problem::Value(format!("{name}: {error}")))
}

const FIRST_LINE: &str = "# Outgate's mint ledger: it keeps names and MACs unique. Keep a copy.";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINE: &str = "name=mumbai-01 mac=00:50:56:12:34:56 edge=edge.example.org:443 \
        address=192.0.2.10/24 ntp=ntp.example.org,192.0.2.1 vlan=7 \
        image=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff minted=2026-11-01 \
        group=Mumbai West";

    #[test]
    fn a_line_says_what_was_minted() {
        let ledger = parse(&format!("# ours\n\n{LINE}\n")).unwrap();
        let entry = ledger.find(&"mumbai-01".parse().unwrap()).unwrap();
        assert_eq!(entry.connector.mac.to_string(), "00:50:56:12:34:56");
        assert_eq!(
            entry.connector.group.as_ref().unwrap().as_str(),
            "Mumbai West"
        );
        assert_eq!(
            entry.connector.edge.as_ref().unwrap().host(),
            "edge.example.org"
        );
        assert_eq!(entry.to_string(), LINE);
        assert_eq!(ledger.holder(entry.connector.mac), Some(entry));
    }

    #[test]
    fn remarks_and_order_survive_a_rewrite() {
        let text = format!("# ours\n{}\n\n# the second site\n{LINE}\n", other_line());
        let mut ledger = parse(&text).unwrap();
        assert_eq!(ledger.emit(), text);
        let again = ledger.entries().next().unwrap().clone();
        ledger.record(again);
        assert_eq!(ledger.emit(), text);
    }

    #[test]
    fn a_new_ledger_tells_what_it_is() {
        let mut ledger = Ledger::new();
        ledger.record(
            parse(&format!("{LINE}\n"))
                .unwrap()
                .entries()
                .next()
                .unwrap()
                .clone(),
        );
        assert_eq!(ledger.emit(), format!("{FIRST_LINE}\n{LINE}\n"));
    }

    #[test]
    fn a_line_that_is_torn_or_was_edited_wrongly_is_named_by_its_number() {
        let first = "# ours\n";
        let bad = |from: &str, to: &str| format!("{first}{}\n", LINE.replace(from, to));
        for (text, needle) in [
            (format!("{first}{LINE}"), "does not end"),
            (format!("{first}{}\n", &LINE[..60]), "image= is missing"),
            (bad(" mac=", "  mac="), "mac= is missing"),
            (bad("name=", "nam="), "name= is missing"),
            (bad("mumbai-01", "Mumbai"), "connector name"),
            (bad("00:50:56:12", "00:0c:29:12"), "ESXi hosts assign"),
            (bad("12:34:56", "12:34"), "type six pairs"),
            (bad("0011", "001"), "64 hexadecimal digits"),
            (bad("2026-11-01", "2026-13-01"), "minted: "),
            (bad("Mumbai West", ""), "1 to 63 printable"),
            (bad("edge.example", "edge..example"), "edge: "),
            (bad("vlan=7", "vlan=0"), "vlan: "),
            (bad("vlan=7", "ntp=x"), "image= is missing"),
            (bad(" group", " owner=x group"), "no field"),
        ] {
            let error = parse(&text).unwrap_err();
            assert_eq!(error.line, 2, "{error}");
            assert!(error.to_string().contains(needle), "{error}");
        }
        assert_eq!(Ledger::parse(b"\xff\n").unwrap_err().line, 1);
    }

    #[test]
    fn a_name_or_a_mac_on_two_lines_is_an_error_on_the_second() {
        let same_name = LINE.replace("12:34:56", "12:34:57");
        let same_mac = LINE.replace("mumbai-01", "mumbai-02");
        for (second, needle) in [(same_name, "name mumbai-01"), (same_mac, "mac 00:50:56:12")] {
            let error = parse(&format!("{LINE}\n# between\n{second}\n")).unwrap_err();
            assert_eq!(error.line, 3);
            assert!(error.to_string().contains(needle), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            fuzz_ledger(&data);
        }

        #[test]
        fn a_ledger_with_any_byte_changed_reads_as_itself_or_not_at_all(
            at in 0..LINE.len(), byte: u8,
        ) {
            let mut text = format!("{LINE}\n{}\n", other_line()).into_bytes();
            text[at] = byte;
            fuzz_ledger(&text);
        }
    }

    fn parse(text: &str) -> Result<Ledger, LedgerError> {
        Ledger::parse(text.as_bytes())
    }

    fn other_line() -> String {
        LINE.replace("mumbai-01", "delhi-01")
            .replace("12:34:56", "00:00:01")
            .replace(" edge=edge.example.org:443", "")
            .replace(
                " address=192.0.2.10/24 ntp=ntp.example.org,192.0.2.1 vlan=7",
                "",
            )
            .replace(" group=Mumbai West", "")
    }
}
