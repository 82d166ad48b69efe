//! `host` or `host:port` of a service edge, read by the one parser that builder and guest share.

use ovf::property::EdgeName;

/// The host and port that `text` names; port 443 unless it says otherwise.
///
/// # Errors
/// A sentence that names the value, the limit and the remedy.
pub fn parse(text: &str) -> Result<(String, u16), String> {
    text.parse::<EdgeName>()
        .map(|name| (name.host().to_owned(), name.port()))
        .map_err(|error| error.to_string())
}
