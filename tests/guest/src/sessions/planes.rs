//! The data plane itself, with the kernel's engine.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use splice_core::channel::Channel;
use splice_core::engine::Engine;
use splice_core::loopback::Trust;
use splice_core::plane::{Config, End, Event, NewSession, Plane};

use super::line::{read_exactly, read_to_end, sockets};
use super::{STEP_MAX, assert_same, bytes};

/// Sessions at once.
const SESSIONS: usize = 100;

/// Many sessions at once, idle and busy, by the threads of two planes; then nothing of them is left.
pub fn many_sessions() {
    let config = Config {
        threads: 2,
        engine: Engine::Kernel,
        ..Config::default()
    };
    let (connector, edge) = (Plane::start(config).unwrap(), Plane::start(config).unwrap());
    let trust = Trust::new(None);
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let (near, far) = trust.channels();
            let (application, plain) = sockets();
            let (user, user_far) = sockets();
            let ends = [carry(&connector, plain, near), carry(&edge, user_far, far)];
            (application, user, ends)
        })
        .collect();
    for (number, (application, user, _)) in sessions.iter().enumerate() {
        let sent = bytes(10_000 + number);
        (&*user).write_all(&sent).unwrap();
        assert_same(&read_exactly(application, sent.len()), &sent);
        (&*application).write_all(&sent).unwrap();
        assert_same(&read_exactly(user, sent.len()), &sent);
    }
    assert_eq!(connector.totals().sessions, SESSIONS as u64);
    for (number, (application, user, ends)) in sessions.into_iter().enumerate() {
        application.shutdown(Shutdown::Write).unwrap();
        assert!(read_to_end(&user).is_empty());
        user.shutdown(Shutdown::Write).unwrap();
        assert!(read_to_end(&application).is_empty());
        let carried = 10_000 + number as u64;
        for end in ends {
            let End {
                outward,
                inward,
                broken,
            } = end.recv_timeout(STEP_MAX).unwrap();
            assert!(broken.is_none(), "{broken:?}");
            assert_eq!((outward, inward), (carried, carried));
        }
    }
    assert_eq!(connector.totals().sessions, 0);
}

/// Hands a session over; its end is told.
fn carry(plane: &Arc<Plane>, plain: TcpStream, channel_of: Channel) -> Receiver<End> {
    plain.set_nonblocking(true).unwrap();
    let (tell, told) = channel();
    plane.carry(NewSession {
        plain,
        channel: channel_of,
        first: Vec::new(),
        limit: None,
        tell: Box::new(move |event| {
            if let Event::Ended(end) = event {
                // Whoever waited for it may have failed.
                let _ = tell.send(end);
            }
        }),
    });
    told
}
