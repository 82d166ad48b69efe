//! Names of the files of one package.

/// Longest file name, in bytes: a ustar header holds 100.
pub const FILE_NAME_BYTES_MAX: usize = 100;

/// Whether `name` can name a file of a package in every format that repeats it: letters, digits,
/// dots, dashes and underscores, not beginning with a dot or a dash. So no name leads to another
/// folder, needs quotes, or ends the parentheses of a manifest.
#[must_use]
pub fn is_file_name(name: &str) -> bool {
    (1..=FILE_NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with(['.', '-'])
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// What [`is_file_name`] wants, for errors.
pub(crate) const FILE_NAME_WANTED: &str = "1 to 100 letters, digits, dots, dashes and underscores, \
     not beginning with a dot or a dash, like outgate.vmdk";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_never_leads_to_another_folder_or_ends_a_parenthesis() {
        for name in ["outgate.vmdk", "mumbai-01.ovf", "a", "A_1"] {
            assert!(is_file_name(name), "{name}");
        }
        let too_long = "a".repeat(FILE_NAME_BYTES_MAX + 1);
        for name in [
            "", ".", "..", "../a", "a/b", "a\\b", "-a", "a b", "a)", "a(", "a=", "é", "a\0", "a\n",
            &too_long,
        ] {
            assert!(!is_file_name(name), "{name:?}");
        }
    }
}
