//! In the console's place: has PID 1 install and arm a slot, as an updater would.
//!
//! Each line on the serial port is a request, and PID 1's answer is a line after it:
//!
//! - `install DEVICE OFFSET`: slot b from what the device holds from there to its end;
//! - `arm`: slot b.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use connector_proto::limits::LOCAL_MAX;
use connector_proto::local::{self, FromConsole, SlotName, SlotReply, SlotRequest, ToConsole};
use connector_sys::packet_channel::{self, Received};
use rustix::event::{PollFd, PollFlags, poll};

/// Serves until PID 1 closes the channel, which is standard input.
pub fn run() -> io::Result<()> {
    let channel = rustix::io::dup(io::stdin())?;
    let mut terminal = None;
    loop {
        wait(&channel, terminal.as_ref())?;
        let mut buffer = [0; LOCAL_MAX];
        match packet_channel::recv(&channel, &mut buffer)? {
            Received::Packet { len, descriptors } => {
                match local::decode::<ToConsole>(&buffer[..len]) {
                    // The serial port is the last one.
                    Ok(ToConsole::Start { .. }) => {
                        terminal = descriptors.into_iter().last().map(File::from);
                        say(terminal.as_mut(), "updater ready")?;
                    }
                    Ok(ToConsole::Slot(reply)) => say(terminal.as_mut(), &sentence(&reply))?,
                    Ok(_) | Err(_) => {}
                }
            }
            Received::Closed => return Ok(()),
            Received::Empty | Received::TooLong => {}
        }
        if let Some(line) = terminal.as_mut().and_then(line) {
            let asked = ask(&channel, &line);
            if let Err(error) = asked {
                say(terminal.as_mut(), &format!("not asked: {error}"))?;
            }
        }
    }
}

fn wait(channel: &OwnedFd, terminal: Option<&File>) -> io::Result<()> {
    let mut fds = vec![PollFd::new(channel, PollFlags::IN)];
    fds.extend(terminal.map(|terminal| PollFd::new(terminal, PollFlags::IN)));
    poll(&mut fds, None)?;
    Ok(())
}

/// The line that was typed, if one was. The terminal hands over whole lines and does not block.
fn line(terminal: &mut File) -> Option<String> {
    let mut buffer = [0; 256];
    let length = terminal.read(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn ask(channel: &OwnedFd, line: &str) -> io::Result<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let slot = SlotName::B;
    let (request, stream) = match words.as_slice() {
        ["install", device, offset] => {
            let mut stream = File::open(device)?;
            let offset = offset.parse().map_err(io::Error::other)?;
            stream.seek(SeekFrom::Start(offset))?;
            (SlotRequest::Install { slot }, Some(stream))
        }
        ["arm"] => {
            let deadline_s = None;
            (SlotRequest::Arm { slot, deadline_s }, None)
        }
        [] => return Ok(()),
        _ => return Err(io::Error::other("neither install DEVICE OFFSET nor arm")),
    };
    let mut buffer = [0; LOCAL_MAX];
    let packet = local::encode(&FromConsole::Slot(request), &mut buffer)
        .map_err(|_| io::Error::other("too long"))?;
    let descriptors: Vec<_> = stream.iter().map(|stream| stream.as_fd()).collect();
    Ok(packet_channel::send(channel, packet, &descriptors)?)
}

fn sentence(reply: &SlotReply) -> String {
    match reply {
        SlotReply::Done(text) => format!("done: {}", text.as_str()),
        SlotReply::Refused(text) => format!("refused: {}", text.as_str()),
        SlotReply::Status(status) => format!("status: {status:?}"),
    }
}

fn say(terminal: Option<&mut File>, text: &str) -> io::Result<()> {
    terminal.map_or(Ok(()), |terminal| {
        terminal.write_all(format!("{text}\r\n").as_bytes())
    })
}
