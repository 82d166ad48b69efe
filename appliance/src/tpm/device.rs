//! The TPM's device, and the thread that waits for it.
//!
//! A TPM cannot be waited for in the loop: while it works on a command, the kernel's driver holds the
//! file's lock, and `write`, `read` and even `poll` wait for that in the kernel, minutes where the TPM hangs.
//! So a thread waits. One that waits too long is left alone, and ends with the device's next word.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use connector_proto::tpm::{self, HEADER_LEN, RESPONSE_MAX};
use zeroize::Zeroizing;

/// A command or a response; wiped when dropped, for it may hold the secret.
type Bytes = Zeroizing<Vec<u8>>;

/// A TPM's device with a thread of its own. One command at a time.
#[derive(Debug)]
pub(super) struct Device {
    commands: SyncSender<Bytes>,
    responses: Receiver<io::Result<Bytes>>,
}

impl Device {
    /// Starts the thread. The device must block: of one that does not, a read yields nothing while the TPM
    /// works.
    pub(super) fn start(device: OwnedFd) -> io::Result<Self> {
        let (commands, to_run) = sync_channel::<Bytes>(1);
        let (finished, responses) = sync_channel(1);
        let mut device = File::from(device);
        let serve = move || {
            for command in to_run {
                if finished.send(exchange(&mut device, &command)).is_err() {
                    break;
                }
            }
        };
        std::thread::Builder::new()
            .name("tpm".to_owned())
            .spawn(serve)?;
        Ok(Self {
            commands,
            responses,
        })
    }

    /// The response to a command; `None` if there is none in time. The device is of no use then: the
    /// next response would be that of this command.
    pub(super) fn exchange(&self, command: Bytes, patience: Duration) -> Option<io::Result<Bytes>> {
        // The thread ends only after this side, so neither channel is closed.
        self.commands.send(command).ok()?;
        self.responses.recv_timeout(patience).ok()
    }
}

/// Writes a command and reads the response. The kernel's device gives it in one piece; a stream may cut it.
fn exchange(device: &mut File, command: &[u8]) -> io::Result<Bytes> {
    device.write_all(command)?;
    let mut response = Zeroizing::new(vec![0; RESPONSE_MAX]);
    let mut len = 0;
    let mut wanted = HEADER_LEN;
    while len < wanted {
        let read = device.read(&mut response[len..])?;
        if read == 0 {
            let why = format!("the response ends after {len} bytes of {wanted}");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        len += read;
        if len >= HEADER_LEN {
            wanted = tpm::announced_len(&response[..HEADER_LEN]).map_err(io::Error::other)?;
        }
    }
    // What is there beyond the announced length makes the response one that does not parse.
    response.truncate(len);
    Ok(response)
}
