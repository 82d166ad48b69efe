//! What the image says about itself: `/etc/outgate/build`, lines of `key=value`.

use crate::hardware::read_bounded;

/// Version and build time of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildInfo {
    /// The image's version.
    pub version: String,
    /// When it was built, in seconds since 1970: no clock that is right can be earlier.
    pub epoch_s: u32,
}

/// Reads it; an image without it is of an unknown version, and any time is possible.
#[must_use]
pub fn read() -> BuildInfo {
    read_bounded("/etc/outgate/build", 4096).map_or_else(|| parse(""), |text| parse(&text))
}

fn parse(text: &str) -> BuildInfo {
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(str::trim)
    };
    BuildInfo {
        version: value("version").unwrap_or("unknown").to_owned(),
        epoch_s: value("epoch")
            .and_then(|epoch| epoch.parse().ok())
            .unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_epoch_are_read_and_may_be_absent() {
        let info = parse("version=0.1.0\nepoch=1767225600\n");
        assert_eq!(
            (info.version.as_str(), info.epoch_s),
            ("0.1.0", 1_767_225_600)
        );
        for text in ["", "epoch=yesterday\n", "versions=1\n"] {
            assert_eq!(
                (parse(text).version.as_str(), parse(text).epoch_s),
                ("unknown", 0)
            );
        }
    }
}
