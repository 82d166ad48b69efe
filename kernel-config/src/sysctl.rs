//! Settings that PID 1 writes to `/proc/sys`: `sysctl.txt`.

use crate::annotated::{Entry, Error, entries};

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// Name with dots: `net.ipv4.tcp_syncookies`. A segment may be `*`; see [`Self::paths`].
    pub key: String,
    /// What to write, without a line end.
    pub value: String,
    /// Why.
    pub reason: String,
    /// True if a kernel without this key is no fault: the feature behind it is compiled out.
    pub may_be_absent: bool,
}

impl Sysctl {
    /// Paths below `/proc/sys/`: `net/ipv4/tcp_syncookies`.
    ///
    /// A key with `*` has one path for each name that `list` gives for the directory up to it (`net/ipv6/conf`). Names
    /// are taken as they are: a network card's may hold dots.
    pub fn paths(&self, list: impl FnOnce(&str) -> Vec<String>) -> Vec<String> {
        let path = self.key.replace('.', "/");
        match path.split_once("/*/") {
            None => vec![path],
            Some((directory, rest)) => list(directory)
                .iter()
                .map(|name| format!("{directory}/{name}/{rest}"))
                .collect(),
        }
    }
}

/// The product's settings, in the order in which they are applied.
///
/// # Errors
/// As [`parse`]; a test of this crate shows that the compiled-in file has none.
pub fn sysctls() -> Result<Vec<Sysctl>, Error> {
    parse(FILE, SYSCTL_TXT)
}

/// The table as written, for an image that carries it as a file; [`parse`] reads it back.
pub const SYSCTL_TXT: &str = include_str!("../sysctl.txt");

/// Parses a table of settings; `file` is its name in errors.
///
/// # Errors
/// [`Error::NoReason`]; [`Error::Malformed`] for an entry that is not `key = value` with a key of lower-case words
/// separated by dots: a key never leaves `/proc/sys`.
pub fn parse(file: &str, text: &str) -> Result<Vec<Sysctl>, Error> {
    let setting = |entry: Entry<'_>| {
        read(&entry).ok_or_else(|| Error::Malformed {
            file: file.into(),
            line: entry.line,
            text: entry.text.into(),
            expected: "`key = value`, with `-` in front if the kernel may lack the key",
        })
    };
    entries(file, text)?.into_iter().map(setting).collect()
}

fn read(entry: &Entry<'_>) -> Option<Sysctl> {
    let (key, value) = entry.text.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let (may_be_absent, key) = key
        .strip_prefix('-')
        .map_or((false, key), |rest| (true, rest));
    let word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let segments: Vec<_> = key.split('.').collect();
    let inner = segments.get(1..segments.len() - 1)?;
    let every = inner.iter().filter(|segment| **segment == EVERY).count();
    let named = segments.len() - every;
    let well_formed =
        every <= 1 && segments.iter().filter(|segment| word(segment)).count() == named;
    (well_formed && segments.len() > 1 && !value.is_empty()).then(|| Sysctl {
        key: key.into(),
        value: value.into(),
        reason: entry.reason.clone(),
        may_be_absent,
    })
}

/// Stands for each directory at its place.
const EVERY: &str = "*";

const FILE: &str = "sysctl.txt";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_setting_has_key_path_value_and_reason() {
        let read = &parse("f", "net.ipv4.tcp_syncookies = 1  # why").unwrap()[0];
        assert_eq!(
            read.paths(|_| panic!("nothing to list")),
            ["net/ipv4/tcp_syncookies"]
        );
        assert_eq!(read.value, "1");
        assert_eq!((read.reason.as_str(), read.may_be_absent), ("why", false));
    }

    #[test]
    fn a_star_stands_for_each_card_whatever_its_name() {
        let read = &parse("f", "net.ipv6.conf.*.accept_ra = 0  # why").unwrap()[0];
        let listed = |directory: &str| {
            assert_eq!(directory, "net/ipv6/conf");
            vec!["all".to_owned(), "eth0.7".to_owned()]
        };
        assert_eq!(
            read.paths(listed),
            [
                "net/ipv6/conf/all/accept_ra",
                "net/ipv6/conf/eth0.7/accept_ra"
            ]
        );
    }

    #[test]
    fn a_leading_minus_marks_a_key_the_kernel_may_lack() {
        let read = &parse("f", "-kernel.sysrq = 0  # why").unwrap()[0];
        assert_eq!(
            (read.key.as_str(), read.may_be_absent),
            ("kernel.sysrq", true)
        );
    }

    #[test]
    fn a_key_that_could_leave_proc_sys_or_names_no_file_is_refused() {
        for text in [
            "*.a = 1 # why",
            "a.* = 1 # why",
            "a.*.*.b = 1 # why",
            "a.b*.c = 1 # why",
            "../x = 1 # why",
            "a..b = 1 # why",
            "a/b.c = 1 # why",
            "a = 1 # why",
            "a.b = # why",
            "a.b # why",
        ] {
            assert!(
                matches!(parse("f", text), Err(Error::Malformed { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn the_compiled_in_table_is_well_formed_and_sets_each_key_once() {
        let all = sysctls().unwrap();
        let keys: BTreeSet<_> = all.iter().map(|sysctl| sysctl.key.as_str()).collect();
        assert_eq!(keys.len(), all.len());
        assert!(
            keys.contains("kernel.io_uring_disabled") && keys.contains("net.ipv6.conf.*.accept_ra")
        );
    }
}
