//! The bytes of one session, on the data plane, from the user's first to the last of either side.
//!
//! - The user's end of file becomes a close_notify towards the connector; the other way goes on.
//! - The connector's close_notify becomes a shutdown towards the user.
//! - An end without close_notify is a truncation: the user's connection is reset, never ended as
//!   if all had come.

use splice_core::channel::Channel;
use splice_core::engine::Broken;
use splice_core::plane::{self, Event, NewSession, Plane, SessionKey};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::broker::Slot;

/// What goes from the user to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upload {
    /// Everything.
    All,
    /// The body of one request; what a client sends beyond it is not for this application.
    Body(u64),
}

/// How a session ended.
#[derive(Debug)]
pub(crate) struct End {
    /// Bytes from user to application.
    pub(crate) up: u64,
    /// Bytes from application to user.
    pub(crate) down: u64,
    /// `finished`, or what cut it short.
    pub(crate) reason: String,
}

/// A session on the data plane.
pub(crate) struct Carried<'a> {
    plane: &'a Plane,
    slot: &'a Slot,
    key: SessionKey,
    ended: oneshot::Receiver<plane::End>,
}

/// Gives the session to the data plane. `first` goes to the application before anything that is read from
/// the user.
///
/// # Errors
/// How the session ended if it cannot be carried.
pub(crate) fn carry<'a>(
    plane: &'a Plane,
    user: TcpStream,
    channel: Channel,
    first: Vec<u8>,
    upload: Upload,
    slot: &'a Slot,
) -> Result<Carried<'a>, End> {
    let plain = user
        .into_std()
        .map_err(|error| not_carried(user_failed(&error)))?;
    let (tell, ended) = oneshot::channel();
    let key = plane.carry(NewSession {
        plain,
        channel,
        first,
        limit: match upload {
            Upload::All => None,
            Upload::Body(left) => Some(left),
        },
        tell: teller(slot, tell),
    });
    slot.set_carried(key, |key, successor| plane.succeed(key, successor));
    Ok(Carried {
        plane,
        slot,
        key,
        ended,
    })
}

impl Carried<'_> {
    /// Returns when both directions have ended, one has failed, or the session was cancelled.
    pub(crate) async fn end(mut self) -> End {
        let end = tokio::select! {
            end = &mut self.ended => end,
            () = self.slot.cancel.notified() => {
                self.plane.end(self.key);
                self.ended.await
            }
        };
        match end {
            Ok(plane::End {
                outward,
                inward,
                broken,
            }) => End {
                up: outward,
                down: inward,
                reason: broken.map_or_else(|| "finished".into(), |broken| reason(&broken)),
            },
            // Nobody ends a session without a word, unless the plane goes away as a whole.
            Err(_) => not_carried("ended by the edge".into()),
        }
    }
}

/// What the data plane tells of the session, on its own threads.
fn teller(slot: &Slot, ended: oneshot::Sender<plane::End>) -> Box<dyn FnMut(Event) + Send> {
    let (ask, mut ended) = (slot.asker(), Some(ended));
    Box::new(move |event| match event {
        Event::WantsSuccessor { channel } => ask(channel),
        Event::Ended(end) => {
            if let Some(ended) = ended.take() {
                // Whoever waited has gone: the edge stops.
                let _ = ended.send(end);
            }
        }
    })
}

const fn not_carried(reason: String) -> End {
    End {
        up: 0,
        down: 0,
        reason,
    }
}

fn reason(broken: &Broken) -> String {
    match broken {
        Broken::Cancelled => "ended by the edge".into(),
        Broken::Channel(error) => format!("the data channel failed: {error}"),
        Broken::Plain(error) => user_failed(error),
        Broken::Truncated => "the connector's end is missing: truncated".into(),
        Broken::Alert(_)
        | Broken::BadRecord(_)
        | Broken::CannotRekey
        | Broken::Flood
        | Broken::KeysSpent
        | Broken::Refused
        | Broken::Stalled(_) => broken.to_string(),
    }
}

fn user_failed(error: &std::io::Error) -> String {
    format!("the user's connection failed: {error}")
}
