//! The kernel's command line: `cmdline.txt`, one parameter per line with its reason.

use crate::annotated::{Entry, Error, entries};
use std::sync::LazyLock;

/// The command line as the kernel sees it: parameters separated by one space.
pub static CMDLINE: LazyLock<String> = LazyLock::new(|| {
    let parameters =
        parameters().expect("cmdline.txt is compiled in, and a test of this crate reads it");
    parameters
        .iter()
        .map(|entry| entry.text)
        .collect::<Vec<_>>()
        .join(" ")
});

/// The longest command line x86 takes, in bytes with its final zero (`COMMAND_LINE_SIZE`).
pub const COMMAND_LINE_SIZE: usize = 2048;

/// The parameters in their order, each with its reason.
///
/// # Errors
/// [`Error::NoReason`]; [`Error::Malformed`] for a parameter with characters that Kconfig's strings or the kernel's
/// parser would take for something else.
pub fn parameters() -> Result<Vec<Entry<'static>>, Error> {
    parse(include_str!("../cmdline.txt"))
}

fn parse(text: &str) -> Result<Vec<Entry<'_>>, Error> {
    let parameters = entries(FILE, text)?;
    let plain = |entry: &&Entry<'_>| {
        !entry
            .text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"\"'\\$".contains(&b))
    };
    match parameters.iter().find(plain) {
        None => Ok(parameters),
        Some(entry) => Err(Error::Malformed {
            file: FILE.into(),
            line: entry.line,
            text: entry.text.into(),
            expected: "one parameter without blanks, quotes, backslashes and dollars",
        }),
    }
}

const FILE: &str = "cmdline.txt";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_the_parameters_in_their_order() {
        assert!(
            CMDLINE.starts_with("console=tty1 console=ttyS0,115200n8 loglevel="),
            "{}",
            *CMDLINE
        );
        assert!(CMDLINE.split(' ').any(|parameter| parameter == "panic=10"));
        assert!(!CMDLINE.contains("initcall_debug"));
    }

    #[test]
    fn the_command_line_fits_into_the_kernel() {
        assert!(CMDLINE.len() < COMMAND_LINE_SIZE);
    }

    #[test]
    fn a_parameter_that_kconfig_would_misread_is_refused() {
        for text in [
            "a b  # why",
            "a=\"b\"  # why",
            "a=\\n  # why",
            "a=$(b)  # why",
        ] {
            assert!(
                matches!(parse(text), Err(Error::Malformed { .. })),
                "{text}"
            );
        }
    }
}
