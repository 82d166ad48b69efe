//! Mutants of valid documents, for tests: random bytes alone never get past the first line.

use proptest::prelude::*;

/// Pieces that documents of this crate are made of, and pieces that trouble parsers.
const DICTIONARY: &[&str] = &[
    "",
    "\0",
    "\n",
    "\r\n",
    " ",
    "\"",
    "'",
    "&",
    "&amp;",
    "&lt;",
    "&#0;",
    "&#x41;",
    "&#xD800;",
    "&bomb;",
    "<",
    ">",
    "/>",
    "</",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<?xml?>",
    "<!DOCTYPE a [<!ENTITY b \"c\">]>",
    "<a>",
    "</a>",
    "<Item>",
    "</Item>",
    "<Property oe:key=\"outgate.edge\" oe:value=\"a\"/>",
    "xmlns=\"\"",
    "xmlns:a=\"b\"",
    "ovf:id=\"file1\"",
    "ovf:",
    "xml:lang=\"en\"",
    "x:",
    "0",
    "-1",
    "18446744073709551616",
    "99999999999999999999999",
    "ff",
    "SHA256(",
    ")= ",
    "=",
    "==",
    "-----BEGIN CERTIFICATE-----\n",
    "-----END CERTIFICATE-----\n",
    "é",
    "\u{2028}",
    "\u{feff}",
];

#[derive(Debug, Clone)]
enum Change {
    Byte(usize, u8),
    Copy(usize, usize, usize),
    Cut(usize, usize),
    Insert(usize, &'static str),
    Swap(usize, usize, usize),
}

/// `valid` after one to four changes.
pub(crate) fn mutants(valid: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let at = || any::<prop::sample::Index>();
    let size = valid.len() + 1;
    let place = move || at().prop_map(move |index| index.index(size));
    let change = prop_oneof![
        (place(), any::<u8>()).prop_map(|(to, byte)| Change::Byte(to, byte)),
        (place(), 1usize..200, place()).prop_map(|(from, len, to)| Change::Copy(from, len, to)),
        (place(), 1usize..200).prop_map(|(from, len)| Change::Cut(from, len)),
        (place(), prop::sample::select(DICTIONARY))
            .prop_map(|(to, piece)| Change::Insert(to, piece)),
        (place(), 1usize..100, place()).prop_map(|(from, len, to)| Change::Swap(from, len, to)),
    ];
    prop::collection::vec(change, 1..=4).prop_map(move |changes| {
        let mut bytes = valid.clone();
        for change in &changes {
            apply(&mut bytes, change);
        }
        bytes
    })
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let end = bytes.len();
    let within = |at: usize, len: usize| at.min(end)..(at + len).min(end);
    match *change {
        Change::Byte(to, byte) => {
            if let Some(target) = bytes.get_mut(to) {
                *target = byte;
            }
        }
        Change::Copy(from, len, to) => {
            let piece = bytes[within(from, len)].to_vec();
            bytes.splice(within(to, 0), piece);
        }
        Change::Cut(from, len) => {
            bytes.drain(within(from, len));
        }
        Change::Insert(to, piece) => {
            bytes.splice(within(to, 0), piece.bytes());
        }
        Change::Swap(from, len, to) => {
            let piece: Vec<u8> = bytes.drain(within(from, len)).collect();
            let to = to.min(bytes.len());
            bytes.splice(to..to, piece);
        }
    }
}
