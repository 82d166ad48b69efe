//! Every frame of a virtual network: kept in memory, and written to a pcap file (the classic
//! format, microseconds, link type Ethernet; draft-ietf-opsawg-pcap).

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes of frames kept in memory. Beyond it frames are in the file only.
const MEMORY_BYTES_MAX: usize = 256 << 20;

/// Which way a frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The guest sent it.
    FromGuest,
    /// The guest received it.
    ToGuest,
}

/// A frame that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Time since the capture began.
    pub at: Duration,
    /// Which way it went.
    pub direction: Direction,
    /// The Ethernet frame, without check sequence.
    pub bytes: Vec<u8>,
}

/// A running capture; clones share it.
#[derive(Debug, Clone)]
pub struct Capture {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    recorded: Condvar,
}

#[derive(Debug)]
struct State {
    began: Instant,
    began_since_1970: Duration,
    file: BufWriter<File>,
    /// The first failure of the file.
    file_error: Option<io::Error>,
    frames: Vec<Frame>,
    bytes_kept: usize,
    frames_not_kept: usize,
}

impl Capture {
    /// A capture into a new file.
    ///
    /// # Errors
    /// Those of writing the file.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&file_head())?;
        file.flush()?;
        let state = State {
            began: Instant::now(),
            began_since_1970: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            file,
            file_error: None,
            frames: Vec::new(),
            bytes_kept: 0,
            frames_not_kept: 0,
        };
        let shared = Shared {
            state: Mutex::new(state),
            recorded: Condvar::new(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The frames so far, in order.
    pub fn frames(&self) -> Vec<Frame> {
        self.lock().frames.clone()
    }

    /// How many frames are in the file but not in [`Self::frames`], for lack of memory.
    pub fn frames_not_kept(&self) -> usize {
        self.lock().frames_not_kept
    }

    /// Waits until `wanted` holds for a frame, past or to come; false when `timeout` is over.
    pub fn wait_for(&self, timeout: Duration, wanted: impl Fn(&Frame) -> bool) -> bool {
        self.wait_for_after(0, timeout, wanted)
    }

    /// Like [`Self::wait_for`] for frames after the first `skipped`; see [`Self::count`].
    pub fn wait_for_after(
        &self,
        skipped: usize,
        timeout: Duration,
        wanted: impl Fn(&Frame) -> bool,
    ) -> bool {
        let mut seen = skipped;
        let missing = |state: &mut State| {
            let fresh = state.frames.get(seen..).unwrap_or_default();
            let found = fresh.iter().any(&wanted);
            seen = seen.max(state.frames.len());
            !found
        };
        let (guard, result) = self
            .shared
            .recorded
            .wait_timeout_while(self.lock(), timeout, missing)
            .unwrap_or_else(PoisonError::into_inner);
        drop(guard);
        !result.timed_out()
    }

    /// How many frames there are in memory.
    pub fn count(&self) -> usize {
        self.lock().frames.len()
    }

    /// Keeps a frame.
    pub(crate) fn record(&self, direction: Direction, bytes: &[u8]) {
        let mut state = self.lock();
        let at = state.began.elapsed();
        state.write(at, bytes);
        if state.bytes_kept + bytes.len() > MEMORY_BYTES_MAX {
            state.frames_not_kept += 1;
            return;
        }
        state.bytes_kept += bytes.len();
        state.frames.push(Frame {
            at,
            direction,
            bytes: bytes.to_vec(),
        });
        self.shared.recorded.notify_all();
    }

    /// Brings the file up to date.
    ///
    /// # Errors
    /// The first failure of writing the file, once.
    pub fn flush(&self) -> io::Result<()> {
        let mut state = self.lock();
        if let Some(error) = state.file_error.take() {
            return Err(error);
        }
        state.file.flush()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self, at: Duration, bytes: &[u8]) {
        let head = record_head(self.began_since_1970 + at, bytes.len());
        let written = self
            .file
            .write_all(&head)
            .and_then(|()| self.file.write_all(bytes));
        if let Err(error) = written {
            self.file_error.get_or_insert(error);
        }
    }
}

fn file_head() -> Vec<u8> {
    let mut head = Vec::new();
    head.extend(MAGIC_MICROSECONDS.to_le_bytes());
    head.extend(VERSION_MAJOR.to_le_bytes());
    head.extend(VERSION_MINOR.to_le_bytes());
    // Time zone and accuracy, both always zero.
    head.extend([0; 8]);
    head.extend(SNAP_BYTES.to_le_bytes());
    head.extend(LINK_TYPE_ETHERNET.to_le_bytes());
    head
}

fn record_head(since_1970: Duration, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let seconds = u32::try_from(since_1970.as_secs()).unwrap_or(u32::MAX);
    [seconds, since_1970.subsec_micros(), length, length]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect()
}

const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const VERSION_MAJOR: u16 = 2;
const VERSION_MINOR: u16 = 4;
const SNAP_BYTES: u32 = 262_144;
const LINK_TYPE_ETHERNET: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use qemu::temp::TempDir;

    #[test]
    fn the_file_holds_head_and_records() {
        let folder = TempDir::new("outgate-pcap").unwrap();
        let path = folder.path().join("capture.pcap");
        let capture = Capture::create(&path).unwrap();
        capture.record(Direction::FromGuest, b"frame");
        capture.flush().unwrap();
        let file = std::fs::read(&path).unwrap();
        assert_eq!(file.len(), 24 + 16 + 5);
        assert_eq!(file[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
        assert_eq!((file[32], file[36], &file[40..]), (5, 5, &b"frame"[..]));
    }

    #[test]
    fn a_wait_sees_past_frames_and_gives_up_in_time() {
        let folder = TempDir::new("outgate-pcap").unwrap();
        let capture = Capture::create(&folder.path().join("capture.pcap")).unwrap();
        capture.record(Direction::ToGuest, b"one");
        assert!(capture.wait_for(Duration::from_secs(5), |frame| frame.bytes == b"one"));
        assert!(!capture.wait_for_after(1, Duration::from_millis(10), |_| true));
    }
}
