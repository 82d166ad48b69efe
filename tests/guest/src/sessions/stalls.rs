//! Ends that do not read.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::time::Duration;

use splice_core::loopback::Trust;

use super::line::{Engines, Line, read_to_end};
use super::{STEP_MAX, assert_same, bytes};

/// How long a write has to find no room to be called stalled.
const STALLED: Duration = Duration::from_secs(2);

/// More than what is between a writer and a reader can hold.
const MORE_THAN_FITS: usize = 64 << 20;

/// An application that never reads stalls the user, and so the other way round; the other direction goes
/// on, memory is bounded, and when it reads at last, every byte is there.
pub fn a_reader_that_does_not_read() {
    for user_writes in [true, false] {
        let line = Line::new(&Trust::new(None), Engines::KERNEL);
        let (writer, reader) = match user_writes {
            true => (&line.user, &line.application),
            false => (&line.application, &line.user),
        };
        let written = write_until_stalled(writer);
        assert!(written < MORE_THAN_FITS, "nobody holds the writer back");
        let pages = tcp_memory_pages();
        assert!(pages < 8192, "{pages} pages of TCP for one session");
        (&*reader).write_all(b"still here").unwrap();
        let mut heard = [0; 10];
        std::io::Read::read_exact(&mut &*writer, &mut heard).unwrap();
        assert_eq!(heard, *b"still here");

        writer.shutdown(std::net::Shutdown::Write).unwrap();
        let all = read_to_end(reader);
        assert_eq!(all.len(), written);
        for (at, chunk) in all.chunks(CHUNK).enumerate() {
            assert_same(chunk, &bytes(CHUNK)[..chunk.len()]);
            assert!(at * CHUNK < written);
        }
        reader.shutdown(std::net::Shutdown::Write).unwrap();
        line.connector.join().unwrap().in_order();
        line.edge.join().unwrap().in_order();
    }
}

const CHUNK: usize = 64 * 1024;

/// Writes until there was no room for a while. Returns how many bytes found some.
fn write_until_stalled(mut writer: &std::net::TcpStream) -> usize {
    writer.set_write_timeout(Some(STALLED)).unwrap();
    let chunk = bytes(CHUNK);
    let mut written = 0;
    while written < MORE_THAN_FITS {
        match writer.write(&chunk[written % CHUNK..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            other => drop(other.unwrap()),
        }
    }
    writer.set_write_timeout(Some(STEP_MAX)).unwrap();
    written
}

/// What all TCP sockets of the machine take, in pages of 4 KiB.
fn tcp_memory_pages() -> u64 {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap();
    let line = text.lines().find(|line| line.starts_with("TCP:")).unwrap();
    line.split_whitespace().last().unwrap().parse().unwrap()
}
