//! Data channels: what an edge may do to those that wait, and to a session that takes one.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use appliance::clock;
use connector_proto::control::EdgeEvent;
use connector_proto::data::{self, Warm};
use connector_proto::message::{
    Attach, CloseCode, Message as _, OpenSession, RatchetStored, RatchetValue, SessionRefusal,
    SessionRefused, Succeed,
};
use splice_core::channel::{ALERT_REFUSED, Channel};
use splice_core::greeting::Greeting;
use splice_core::record::{Content, HEADER, Keys, OVERHEAD};

use crate::application::address_beside_loopback;
use crate::control::Control;
use crate::edge::{HostileEdge, grant_for, send};
use crate::machine::{LOOPBACK, Machine, network, wait_readable_for};

/// Channels of an idle pool (`pool::demand`).
const WARM_MIN: usize = 8;

/// Longer than a pool is silent after failures (`pool::demand`).
const SILENCE_MAX: Duration = Duration::from_secs(70);

/// Long enough for a connector that dials to have dialled.
const A_WHILE: Duration = Duration::from_millis(700);

/// The edge's end of a data channel.
pub struct DataChannel {
    socket: TcpStream,
    greeting: Greeting,
}

impl DataChannel {
    /// Takes the next one, through its handshake. What comes for something else is dropped.
    fn accept(edge: &HostileEdge) -> Self {
        let socket = edge.socket_for_data_within(SILENCE_MAX);
        Self::greeted(edge, socket.unwrap_or_else(|| panic!("nobody comes")))
    }

    /// Goes through the handshake, as far as the connector does.
    fn greeted(edge: &HostileEdge, socket: TcpStream) -> Self {
        let greeting = Greeting::server(edge.data_config()).unwrap();
        let mut channel = Self { socket, greeting };
        while channel.greeting.is_handshaking() {
            channel.send();
            assert!(channel.read(), "the connector gave the handshake up");
        }
        channel
    }

    /// The same, and says that it is ready.
    fn accept_ready(edge: &HostileEdge) -> Self {
        Self::accept(edge).made_ready()
    }

    fn made_ready(mut self) -> Self {
        self.say(&data::ready());
        self
    }

    fn say(&mut self, bytes: &[u8]) {
        self.greeting.write(bytes).unwrap();
        self.send();
    }

    fn send(&mut self) {
        let len = self.greeting.to_send().len();
        // A connector that has gone is what some of these tests are about.
        let _ = self.socket.write_all(self.greeting.to_send());
        self.greeting.sent(len);
    }

    /// False at the end.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let wanted = self.greeting.wanted().min(buffer.len());
        let len = self.socket.read(&mut buffer[..wanted]).unwrap_or(0);
        len > 0 && self.greeting.handle_input(&buffer[..len]).is_ok()
    }

    /// Which session it is for; `None` if the connector ended it.
    fn attached(&mut self) -> Option<Attach> {
        let mut warm = Warm::new(clock::now());
        while self.read() {
            match warm.handle_input(&self.greeting.take_plaintext()) {
                Ok(None) => {}
                Ok(attach) => return attach,
                Err(_) => return None,
            }
        }
        None
    }

    /// Whether something can be read within this time, the end included.
    fn is_spoken_on_within(&self, at_most: Duration) -> bool {
        wait_readable_for(&self.socket, at_most)
    }

    fn into_channel(self) -> Channel {
        self.greeting.into_channel(self.socket).unwrap()
    }
}

/// A connector that takes sessions, and its control channel.
fn connected(edge: &HostileEdge) -> (Machine, Control) {
    let state = edge.enrolled_state("127.0.0.1");
    let machine = Machine::start_enrolled(state, network(LOOPBACK));
    let mut control = edge.established();
    machine.wait_until_connected();
    control.channel.ratchet(1, RatchetValue([9; 32])).unwrap();
    control.send();
    control.read_until(|_, id| id == RatchetStored::ID);
    while control.channel.poll_event().is_some() {}
    (machine, control)
}

/// Offers a session to what listens there.
fn offer(control: &mut Control, session: u8, application: &TcpListener) {
    let address = application.local_addr().unwrap();
    let grant = grant_for(&address.ip().to_string(), address.port(), session);
    send(control, &OpenSession { grant: &grant });
}

fn refusal(control: &mut Control) -> (SessionRefusal, String) {
    let mut refused = None;
    control.read_until(|control, id| {
        control.send();
        // One read may hold more than this message.
        refused = refused.take().or_else(|| control.channel.poll_event());
        id == SessionRefused::ID
    });
    match refused {
        Some(EdgeEvent::SessionRefused { reason, detail, .. }) => (reason, detail),
        other => panic!("{other:?}"),
    }
}

fn application() -> Option<TcpListener> {
    Some(TcpListener::bind((address_beside_loopback()?, 0)).unwrap())
}

#[test]
fn channels_are_warm_before_anybody_needs_them_and_a_session_takes_one_at_once() {
    let Some(application) = application() else {
        return;
    };
    let edge = HostileEdge::new();
    let (machine, mut control) = connected(&edge);
    let mut warm: Vec<_> = (0..WARM_MIN)
        .map(|_| DataChannel::accept_ready(&edge))
        .collect();
    offer(&mut control, 5, &application);
    let replaced = DataChannel::accept_ready(&edge);
    assert!(replaced.greeting.is_resumed(), "no ticket was used");
    let is_taken =
        |channel: &&mut DataChannel| channel.is_spoken_on_within(Duration::from_millis(100));
    let mut taken: Vec<_> = warm.iter_mut().filter(is_taken).collect();
    assert_eq!(taken.len(), 1);
    let attach = taken[0].attached().unwrap();
    assert_eq!((attach.session, attach.channel), ([5; 16], 0));
    drop((warm, replaced));
    machine.stop();
}

#[test]
fn an_edge_that_ends_every_channel_is_dialled_seldom_and_served_when_it_relents() {
    let Some(application) = application() else {
        return;
    };
    let edge = HostileEdge::new();
    let (machine, mut control) = connected(&edge);
    let began = Instant::now();
    let mut dialled = 0;
    while began.elapsed() < Duration::from_secs(2) {
        if let Some(socket) = edge.socket_for_data_within(Duration::from_millis(100)) {
            drop(DataChannel::greeted(&edge, socket).made_ready());
            dialled += 1;
        }
    }
    // Eight at once, and then a few after longer and longer delays.
    assert!((WARM_MIN..=6 * WARM_MIN).contains(&dialled), "{dialled}");
    let mut warm = Vec::new();
    while warm.len() < WARM_MIN {
        assert!(began.elapsed() < 2 * SILENCE_MAX, "nobody comes");
        // The next delay may be longer than the connector waits for an edge that answers no ping.
        control.answer_pings();
        let socket = edge.socket_for_data_within(Duration::from_secs(1));
        warm.extend(socket.map(|socket| DataChannel::greeted(&edge, socket).made_ready()));
    }
    offer(&mut control, 1, &application);
    let is_taken = |channel: &&mut DataChannel| channel.is_spoken_on_within(Duration::from_secs(1));
    let taken = warm.iter_mut().find(is_taken).unwrap();
    assert_eq!(taken.attached().unwrap().session, [1; 16]);
    machine.stop();
}

#[test]
fn an_edge_that_says_more_than_ready_gets_no_session_on_that_channel() {
    let edge = HostileEdge::new();
    let (machine, _control) = connected(&edge);
    let more: [Vec<u8>; 4] = [
        [data::ready(), data::ready()].concat(),
        [data::ready(), b"x".to_vec()].concat(),
        data::attach([1; 16], 0),
        data::refused(CloseCode::Disabled),
    ];
    for said in more {
        let mut channel = DataChannel::accept(&edge);
        channel.say(&said);
        assert_eq!(channel.attached(), None);
    }
    // And what comes later on a warm channel ends it as well.
    let mut channel = DataChannel::accept_ready(&edge);
    channel.say(b"late");
    assert_eq!(channel.attached(), None);
    machine.stop();
}

#[test]
fn an_attach_that_the_edge_refuses_ends_that_session_and_no_other() {
    let Some(application) = application() else {
        return;
    };
    let edge = HostileEdge::new();
    let (machine, mut control) = connected(&edge);
    for session in 1..=2 {
        offer(&mut control, session, &application);
        let mut channel = loop {
            let mut channel = DataChannel::accept_ready(&edge);
            if channel.is_spoken_on_within(Duration::from_millis(500)) {
                let attach = channel.attached().unwrap();
                assert_eq!(attach.session, [session; 16]);
                break channel.into_channel();
            }
        };
        let (mut user, _) = application.accept().unwrap();
        refuse(&mut channel);
        // The application is reset: it has had no user.
        assert!(user.read(&mut [0; 1]).is_err());
        machine.wait_for_status(|status| {
            status.sessions == 0 && status.sessions_total == u64::from(session)
        });
    }
    machine.stop();
}

/// Sends the alert that refuses an `Attach`.
fn refuse(channel: &mut Channel) {
    let alert = [2, ALERT_REFUSED];
    let mut record = [0; OVERHEAD + 2];
    record[HEADER..HEADER + 2].copy_from_slice(&alert);
    let mut keys = Keys::new(&channel.outward).unwrap();
    keys.seal(&mut record, 2, Content::Alert).unwrap();
    channel.socket.write_all(&record).unwrap();
}

#[test]
fn successors_that_are_wanted_for_sessions_that_are_not_there_change_nothing() {
    let edge = HostileEdge::new();
    let (machine, mut control) = connected(&edge);
    let mut warm: Vec<_> = (0..WARM_MIN)
        .map(|_| DataChannel::accept_ready(&edge))
        .collect();
    for session in 0..200 {
        send(
            &mut control,
            &Succeed {
                session: [session; 16],
                channel: u32::from(session % 3),
            },
        );
    }
    // The control channel is as it was, and no channel was used up.
    machine.send_network(Some(network(LOOPBACK)));
    control.read_ping();
    for channel in &mut warm {
        assert!(!channel.is_spoken_on_within(Duration::from_millis(20)));
    }
    machine.stop();
}

#[test]
fn a_successor_that_is_wanted_again_and_again_is_given_once_and_none_before_its_turn() {
    let Some(application) = application() else {
        return;
    };
    let edge = HostileEdge::new();
    let (machine, mut control) = connected(&edge);
    offer(&mut control, 5, &application);
    let (mut warm, mut taken) = (Vec::new(), Vec::new());
    for next in 0..3 {
        let (channel, attach) = take_attached(&edge, &mut warm);
        assert_eq!((attach.session, attach.channel), ([5; 16], next));
        taken.push(channel);
        for beyond in [next + 2, u32::MAX] {
            want(&mut control, beyond);
        }
        for _ in 0..200 {
            want(&mut control, next);
        }
        // The one after this one, as often as it likes; but not the last time.
        for _ in 0..200 * u32::from(next < 2) {
            want(&mut control, next + 1);
        }
    }
    machine.send_network(Some(network(LOOPBACK)));
    control.read_ping();
    for channel in &warm {
        assert!(!channel.is_spoken_on_within(Duration::from_millis(20)));
    }
    drop(taken);
    machine.stop();
}

/// Wants session 5 to go on on the channel of this number.
fn want(control: &mut Control, channel: u32) {
    let session = [5; 16];
    send(control, &Succeed { session, channel });
}

/// The next channel that is attached to a session, of those that wait or come.
fn take_attached(edge: &HostileEdge, warm: &mut Vec<DataChannel>) -> (DataChannel, Attach) {
    let until = Instant::now() + SILENCE_MAX;
    while Instant::now() < until {
        let at_most = Duration::from_millis(20);
        if let Some(at) = (warm.iter()).position(|channel| channel.is_spoken_on_within(at_most)) {
            let mut channel = warm.swap_remove(at);
            let attach = channel.attached().unwrap();
            return (channel, attach);
        }
        if let Some(socket) = edge.socket_for_data_within(at_most) {
            warm.push(DataChannel::greeted(edge, socket).made_ready());
        }
    }
    panic!("no channel was attached");
}

#[test]
fn no_data_channel_is_dialled_before_sessions_are_taken_nor_without_a_control_channel() {
    let edge = HostileEdge::new();
    let state = edge.enrolled_state("127.0.0.1");
    let machine = Machine::start_enrolled(state, network(LOOPBACK));
    let control = edge.established();
    machine.wait_until_connected();
    assert!(edge.socket_for_data_within(A_WHILE).is_none());
    control.close(CloseCode::GoingAway);
    assert!(edge.socket_for_data_within(A_WHILE).is_none());
    machine.stop();

    let edge = HostileEdge::new();
    let (machine, control) = connected(&edge);
    let mut warm: Vec<_> = (0..WARM_MIN)
        .map(|_| DataChannel::accept_ready(&edge))
        .collect();
    control.close(CloseCode::GoingAway);
    // With the control channel go those that wait.
    for channel in &mut warm {
        assert_eq!(channel.attached(), None);
    }
    assert!(edge.socket_for_data_within(A_WHILE).is_none());
    machine.stop();
}

#[test]
fn the_edge_is_told_how_many_sessions_there_may_be() {
    let edge = HostileEdge::new();
    let state = edge.enrolled_state("127.0.0.1");
    let machine = Machine::start_enrolled(state, network(LOOPBACK));
    let mut control = edge.greet();
    control.answer_path_probe();
    let capacity = control.read_capacity();
    assert!((1..=60_000).contains(&capacity), "{capacity}");
    machine.stop();
}

#[test]
fn an_application_that_does_not_answer_uses_up_no_channel() {
    let Some(application) = application() else {
        return;
    };
    let gone = application.local_addr().unwrap();
    drop(application);
    let edge = HostileEdge::new();
    let (machine, mut control) = connected(&edge);
    let mut warm: Vec<_> = (0..WARM_MIN)
        .map(|_| DataChannel::accept_ready(&edge))
        .collect();
    let grant = grant_for(&gone.ip().to_string(), gone.port(), 3);
    send(&mut control, &OpenSession { grant: &grant });
    let (reason, detail) = refusal(&mut control);
    assert_eq!(reason, SessionRefusal::ConnectionRefused, "{detail}");
    for channel in &mut warm {
        assert!(!channel.is_spoken_on_within(Duration::from_millis(20)));
    }
    machine.stop();
}
