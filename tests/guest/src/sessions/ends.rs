//! Ends in order, parts of a session, resets.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::{
    set_socket_linger, set_socket_recv_buffer_size, set_socket_send_buffer_size,
};
use splice_core::channel::ALERT_CONTINUES;
use splice_core::engine::{Broken, Engine, Progress};
use splice_core::loopback::{self, Trust};
use splice_core::record::Content;

use super::line::{Engines, Line, read_exactly, read_to_end, sockets, write_and_end};
use super::peer::{Peer, kernel_side};
use super::side::Side;
use super::{assert_same, bytes};

/// How long half of a session is closed before the other half goes on.
const HALF_CLOSED: Duration = Duration::from_secs(5);

/// Whoever ends its direction first, the other one goes on for as long as it likes.
pub fn half_close() {
    for user_is_first in [true, false] {
        let line = Line::new(&Trust::new(None), Engines::KERNEL);
        let (first, second) = match user_is_first {
            true => (&line.user, &line.application),
            false => (&line.application, &line.user),
        };
        write_and_end(first, &bytes(100_000));
        assert_same(&read_to_end(second), &bytes(100_000));
        // Time itself is what is tried here: nothing may happen in it.
        thread::sleep(HALF_CLOSED);
        for _ in 0..3 {
            (&*second).write_all(&bytes(50_000)).unwrap();
            assert_same(&read_exactly(first, 50_000), &bytes(50_000));
        }
        second.shutdown(Shutdown::Write).unwrap();
        assert!(read_to_end(first).is_empty());
        let connector = line.connector.join().unwrap().in_order();
        let edge = line.edge.join().unwrap().in_order();
        let expected = if user_is_first {
            (150_000, 100_000)
        } else {
            (100_000, 150_000)
        };
        assert_eq!((connector, edge), (expected, (expected.1, expected.0)));
    }
}

/// A peer that vanishes without close_notify, between two records and within one, before data and after.
pub fn truncation() {
    for (data, part) in [(0, 0), (100_000, 0), (0, 3), (100_000, 900)] {
        let (side, application, mut peer) = kernel_side();
        let side = side.spawn();
        peer.send_data(&bytes(data));
        let cut = peer.record(Content::Data, &bytes(1000));
        peer.socket.write_all(&cut[..part]).unwrap();
        peer.socket.shutdown(Shutdown::Write).unwrap();
        let broken = side.join().unwrap().broken();
        assert!(matches!(broken, Broken::Truncated), "{broken:?}");
        assert_is_reset(&application);
    }
}

/// An application that resets, and a peer that resets: with something under way, and without.
pub fn resets() {
    for under_way in [0, 3_000_000] {
        let (side, application, mut peer) = kernel_side();
        let side = side.spawn();
        let sender = thread::spawn(move || {
            peer.send_data(&bytes(1000));
            // The connection may be gone by then.
            let records = peer
                .record(Content::Data, &bytes(1000))
                .repeat(under_way / 1000);
            let written = peer.socket.write_all(&records);
            (peer.socket, written)
        });
        read_exactly(&application, 1000);
        reset(application);
        let broken = side.join().unwrap().broken();
        assert!(matches!(broken, Broken::Plain(_)), "{broken:?}");
        // A reset is told once.
        match sender.join().unwrap() {
            (socket, Ok(())) => assert_is_reset(&socket),
            (_, Err(error)) => assert!(is_reset(error.kind()), "{error}"),
        }

        let (side, application, peer) = kernel_side();
        let side = side.spawn();
        let writer = thread::spawn(move || {
            let written = (&application).write_all(&bytes(under_way));
            (application, written)
        });
        reset(peer.socket);
        let broken = side.join().unwrap().broken();
        assert!(matches!(broken, Broken::Channel(_)), "{broken:?}");
        match writer.join().unwrap() {
            (socket, Ok(())) => assert_is_reset(&socket),
            (_, Err(error)) => assert!(is_reset(error.kind()), "{error}"),
        }
    }
}

/// What was sent before the end arrives, though the socket is closed at once and the peer is slow.
///
/// The kernel's TLS keeps what TCP does not take, and drops it when the socket is closed.
pub fn slow_reader_at_the_end() {
    for len in (100_000..600_000).step_by(33_333) {
        let (near, far) = loopback::pair();
        let mut peer = Peer::new(far);
        // Little room, so that records are divided.
        set_socket_send_buffer_size(&near.socket, 4096).unwrap();
        let (application, plain) = sockets();
        let side = Side::new(plain, near, (Engine::Kernel, Engine::Kernel)).spawn();
        peer.alert(0);
        let writer = thread::spawn(move || {
            write_and_end(&application, &bytes(len));
            application
        });
        // Whatever the peer has not read by now is somewhere between; the end is reached long before it.
        let ended = thread::spawn(move || side.join().unwrap().in_order());
        let (data, alert, _) = peer.receive_all();
        assert_same(&data, &bytes(len));
        assert_eq!(alert, 0);
        assert_eq!(ended.join().unwrap(), (len as u64, 0));
        assert!(read_to_end(&writer.join().unwrap()).is_empty());
        assert!(peer.receive().is_none());
    }
}

/// A peer with a window of a few kilobytes begins to read when everything was written, and the socket is
/// closed as soon as the end was sent. Records leave in many parts, each of which a thread of the kernel's
/// pushes on when the last was read; the session is more urgent than that thread, so it finds room for its
/// end before the rest of its last record has gone. What TCP has not taken by the close is lost.
pub fn partly_sent_records() {
    for len in (20_000..100_000).step_by(9_999) {
        let (near, far) = Trust::new(None).channels_over(narrow_sockets());
        let mut peer = Peer::new(far);
        let (application, plain) = sockets();
        let mut side = Side::new(plain, near, (Engine::Kernel, Engine::Kernel));
        side.urgency = 20;
        let side = side.spawn();
        peer.alert(0);
        write_and_end(&application, &bytes(len));
        let ended = thread::spawn(move || side.join().unwrap().in_order());
        let (data, alert, _) = peer.receive_all();
        assert_same(&data, &bytes(len));
        assert_eq!(alert, 0);
        assert!(peer.receive().is_none());
        assert_eq!(ended.join().unwrap(), (len as u64, 0));
        assert!(read_to_end(&application).is_empty());
    }
}

/// Two connected sockets: what the first sends goes out in segments of half the other's tiny window, few at
/// a time, because each of them takes much of the little room for what is sent.
fn narrow_sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // Before the connection is made: a window that was once larger is remembered.
    set_socket_recv_buffer_size(&listener, NARROW).unwrap();
    let dialling = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepting, _) = listener.accept().unwrap();
    set_socket_send_buffer_size(&dialling, NARROW).unwrap();
    for socket in [&dialling, &accepting] {
        socket.set_nodelay(true).unwrap();
    }
    (dialling, accepting)
}

/// Bytes, which the kernel doubles: as little as makes progress without waiting for time to pass.
const NARROW: usize = 4096;

/// A direction leaves its channel in the middle, says so, and goes on with the successor's first byte.
pub fn continues() {
    for engines in [
        (Engine::Kernel, Engine::Kernel),
        (Engine::Kernel, Engine::InPlace),
        (Engine::InPlace, Engine::Kernel),
    ] {
        let (application, plain) = sockets();
        let (user, user_far) = sockets();
        let kernel = (Engine::Kernel, Engine::Kernel);
        let spawn = |plain: TcpStream, user_far: TcpStream, leave_after| {
            let (near, far) = loopback::pair();
            let mut side = Side::new(plain, near, (engines.0, kernel.1));
            side.leave_after = leave_after;
            let mut other = Side::new(user_far, far, (kernel.0, engines.1));
            other.leave_after = leave_after.map(|_| 0);
            (side.spawn(), other.spawn())
        };
        let writer = thread::spawn(move || {
            write_and_end(&application, &bytes(2_000_000));
            application
        });
        let reader = thread::spawn(move || {
            user.shutdown(Shutdown::Write).unwrap();
            assert_same(&read_to_end(&user), &bytes(2_000_000));
        });
        let again = (plain.try_clone().unwrap(), user_far.try_clone().unwrap());
        let (connector, edge) = spawn(plain, user_far, Some(700_000));
        let (connector, edge) = (connector.join().unwrap(), edge.join().unwrap());
        let both = (Progress::Continues, Progress::Continues);
        assert_eq!(connector.result.unwrap(), both);
        assert_eq!(edge.result.unwrap(), both);
        let first = connector.side.carried.0;
        assert!((700_000..2_000_000).contains(&first), "{first}");
        assert_eq!(edge.side.carried.1, first);

        let (connector, edge) = spawn(again.0, again.1, None);
        let connector = connector.join().unwrap().in_order();
        assert_eq!(connector.0 + first, 2_000_000);
        edge.join().unwrap().in_order();
        reader.join().unwrap();
        assert!(read_to_end(&writer.join().unwrap()).is_empty());
    }
}

/// The description that says so is the one that both engines know.
pub fn continuation_alert() {
    let (mut side, application, mut peer) = kernel_side();
    side.leave_after = Some(0);
    let side = side.spawn();
    peer.alert(ALERT_CONTINUES);
    assert_eq!(peer.receive_all(), (Vec::new(), ALERT_CONTINUES, 0));
    let ended = side.join().unwrap();
    assert_eq!(
        ended.result.unwrap(),
        (Progress::Continues, Progress::Continues)
    );
    // Neither direction of the plain socket has ended.
    application.set_nonblocking(true).unwrap();
    let read = (&application).read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(read, Err(ErrorKind::WouldBlock));
}

fn reset(socket: TcpStream) {
    set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
    drop(socket);
}

/// That a connection ends by a reset, whatever comes before.
#[track_caller]
fn assert_is_reset(mut socket: &TcpStream) {
    let ended = socket.read_to_end(&mut Vec::new());
    let kind = ended.map_err(|error| error.kind());
    assert!(kind.is_err_and(is_reset), "{kind:?}");
}

fn is_reset(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}
