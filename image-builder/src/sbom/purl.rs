//! Package URLs: names that scanners look packages up by.
//!
//! <https://github.com/package-url/purl-spec>. Only what is no unreserved character is escaped.

use std::fmt::Write as _;

/// A published crate.
pub(super) fn cargo(name: &str, version: &str) -> String {
    format!("pkg:cargo/{}@{}", escape(name), escape(version))
}

/// A Debian package, or with `is_source` a source package.
pub(super) fn debian(name: &str, version: &str, is_source: bool) -> String {
    let architecture = if is_source { "source" } else { "amd64" };
    format!(
        "pkg:deb/debian/{}@{}?arch={architecture}",
        escape(name),
        escape(version)
    )
}

fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_escaped_where_the_specification_says_so() {
        assert_eq!(cargo("ring", "0.17.14"), "pkg:cargo/ring@0.17.14");
        assert_eq!(
            debian("g++", "4:12.2~rc1+b1", false),
            "pkg:deb/debian/g%2B%2B@4%3A12.2~rc1%2Bb1?arch=amd64"
        );
    }
}
