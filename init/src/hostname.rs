//! The machine's host name: which names can be one.

use connector_proto::local::Hostname;

/// Takes a name over if it is a host name: labels of letters, digits and inner hyphens, 63 bytes at
/// most (RFC 1123 section 2.1). A trailing dot is left out.
#[must_use]
pub fn parse(name: &str) -> Option<Hostname> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(is_allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !name.split('.').all(is_label) {
        return None;
    }
    Hostname::try_from(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rfc_1123_are_host_names() {
        let longest = "a".repeat(63);
        for (name, parsed) in [
            ("mumbai-01", "mumbai-01"),
            ("3com", "3com"),
            ("connector.example.org", "connector.example.org"),
            ("connector.example.org.", "connector.example.org"),
            (longest.as_str(), longest.as_str()),
        ] {
            assert_eq!(parse(name).as_deref(), Some(parsed));
        }
    }

    #[test]
    fn anything_else_is_none() {
        let too_long = "a".repeat(64);
        for name in [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "a b",
            "a_b",
            "m\u{fc}nchen",
            "a\0",
            "$(reboot)",
            too_long.as_str(),
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
