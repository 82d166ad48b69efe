//! What a console shows, from the bytes it sent. Pure.

use qemu::transcript::Transcript;

/// The lines as they stand on the terminal at the end: what was drawn over is gone. Empty lines are
/// left out.
pub fn lines(raw: &[u8]) -> Vec<String> {
    let lines = raw.split(|&byte| byte == b'\n').map(last_drawn);
    lines.filter(|line| !line.is_empty()).collect()
}

/// Lines as a quotation, set off from the demo's own words.
pub fn framed(lines: &[String]) -> String {
    let quoted: Vec<_> = lines.iter().map(|line| format!("  | {line}")).collect();
    quoted.join("\n")
}

/// What is left of a line that was drawn several times, each time from its beginning.
fn last_drawn(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let start = line.iter().rposition(|&byte| byte == b'\r');
    let mut transcript = Transcript::default();
    transcript.push(&line[start.map_or(0, |at| at + 1)..]);
    transcript.text().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_drawn_last_is_shown() {
        let raw = b"\rOutgate 1\x1b[K\r\n\rWaiting for 0:00\x1b[K\rWaiting for 0:01\x1b[K\
                    \rNIC eth0\x1b[K\r\n\r\n\rProvisioning key: \x1b[K";
        assert_eq!(lines(raw), ["Outgate 1", "NIC eth0", "Provisioning key:"]);
        assert!(lines(b"").is_empty());
    }

    #[test]
    fn a_quotation_is_set_off() {
        assert_eq!(framed(&["a".to_owned(), "b".to_owned()]), "  | a\n  | b");
        assert_eq!(framed(&[]), "");
    }
}
