//! Which kernel source is built: `kernel.toml`.

use serde::Deserialize;

/// The pinned source package.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Debian's name of the package, which is also the name of the tar ball and of the directory in it.
    pub package: String,
    /// Debian's version.
    pub version: String,
    /// SHA-256 of the `.deb` file, 64 lower-case hex digits.
    pub sha256: String,
    /// The time the kernel is said to be built at, in the form of `date -u`: part of `uname -v`.
    pub built_at: String,
}

/// The pin of this crate.
///
/// # Panics
/// Never: `kernel.toml` is compiled in, and a test of this crate reads it.
#[must_use]
pub fn source() -> Source {
    toml::from_str(include_str!("../kernel.toml"))
        .expect("kernel.toml is compiled in, and a test reads it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pin_is_one_debian_version_of_linux_6_12_with_its_digest() {
        let pin = source();
        assert_eq!(pin.package, "linux-source-6.12");
        assert!(pin.version.starts_with("6.12."), "{}", pin.version);
        assert!(
            pin.sha256.len() == 64 && pin.sha256.bytes().all(|b| b"0123456789abcdef".contains(&b))
        );
        assert!(pin.built_at.contains("UTC"));
    }
}
