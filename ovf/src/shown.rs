//! How an error repeats a foreign text.

/// Most characters of a refused value that an error repeats.
pub const SHOWN_CHARS_MAX: usize = 64;

/// The start of `text` in printable ASCII: at most [`SHOWN_CHARS_MAX`] characters of it, escaped.
pub(crate) fn shown(text: &str) -> String {
    escaped(text, SHOWN_CHARS_MAX)
}

/// The start of `text` in printable ASCII: at most `chars_max` characters of it, escaped.
pub(crate) fn escaped(text: &str, chars_max: usize) -> String {
    let start = text.chars().take(chars_max);
    start.flat_map(char::escape_default).collect()
}
