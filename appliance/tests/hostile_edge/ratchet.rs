//! What the edge hands out to be stored: ratchet values and trust anchors; and grants.

use connector_proto::control::EdgeEvent;
use connector_proto::local::Phase;
use connector_proto::message::{
    CloseCode, Message, OpenSession, Ping, Ratchet, RatchetStored, RatchetValue, SessionRefusal,
    SessionRefused, Trust, TrustStored,
};

use crate::control::{Control, farewell};
use crate::edge::{HostileEdge, grant_for, send};
use crate::machine::{LOOPBACK, Machine, network};

const VALUE: RatchetValue = RatchetValue([9; 32]);

#[test]
fn a_ratchet_value_is_on_the_disk_when_the_edge_is_told_and_goes_into_the_next_hello() {
    let edge = HostileEdge::new();
    let machine = connecting(&edge);
    let mut control = edge.established();
    assert!(control.greeting().1.0 == [0; 32]);
    for (step, value) in [(1, [8; 32]), (1 << 40, VALUE.0)] {
        control.channel.ratchet(step, RatchetValue(value)).unwrap();
        control.send();
        control.read_until(|_, id| id == RatchetStored::ID);
        let told = control.channel.poll_event();
        assert_eq!(told, Some(EdgeEvent::RatchetStored { step }));
        assert!(machine.record().ratchet.0 == value);
    }
    control.close(CloseCode::GoingAway);
    assert!(edge.meet().greeting().1.0 == VALUE.0);
    machine.stop();
}

#[test]
fn ratchet_values_out_of_order_or_twice_end_the_channel_and_the_one_on_the_disk_stays() {
    let edge = HostileEdge::new();
    let machine = connecting(&edge);
    for steps in [&[5, 5][..], &[5, 4], &[u64::MAX, 0], &[0]] {
        let mut control = edge.established();
        machine.wait_until_connected();
        for step in steps {
            let value = RatchetValue([7; 32]);
            send(&mut control, &Ratchet { step: *step, value });
        }
        let code = farewell(&mut control.tls);
        assert_eq!(code, Some(CloseCode::UnexpectedMessage), "{steps:?}");
    }
    let _control = edge.established();
    machine.wait_until_connected();
    assert!(machine.record().ratchet.0 == [7; 32]);
    machine.stop();
}

#[test]
fn a_disk_that_does_not_take_the_ratchet_value_keeps_the_edge_from_being_told_and_says_so() {
    let edge = HostileEdge::new();
    let state = edge.enrolled_state("127.0.0.1");
    let machine = Machine::start_write_protected(state, network(LOOPBACK));
    let mut control = edge.established();
    machine.wait_until_connected();
    control.channel.ratchet(1, VALUE).unwrap();
    control.send();
    machine.wait_for(|phase| {
        matches!(phase, Phase::Connecting { last_error, .. } if last_error.contains("remembered"))
    });
    // It is there, and answers, but not that.
    machine.send_network(Some(network(LOOPBACK)));
    control.read_until(|_, id| {
        assert_ne!(id, RatchetStored::ID);
        id == Ping::ID
    });
    machine.stop();
}

#[test]
fn trust_anchors_that_are_none_replace_nothing_and_good_ones_are_stored_and_in_force() {
    let edge = HostileEdge::new();
    let next = edge.with_another_ca();
    let machine = connecting(&edge);
    let mut control = edge.established();
    machine.wait_until_connected();
    let garbage = Trust {
        ca: b"no certificate",
        other_ca: edge.ca(),
    };
    send(&mut control, &garbage);
    let half = Trust {
        ca: edge.ca(),
        other_ca: b"no certificate",
    };
    send(&mut control, &half);
    control.channel.trust(next.ca(), edge.ca()).unwrap();
    control.send();
    control.read_until(|_, id| id == TrustStored::ID);
    assert!(matches!(
        control.channel.poll_event(),
        Some(EdgeEvent::TrustStored { .. })
    ));
    let identity = machine.record().identity.clone().unwrap();
    assert!(identity.ca == next.ca() && identity.other_ca == edge.ca());
    control.close(CloseCode::GoingAway);
    // Either root will do.
    let control = next.with_clients_of(&edge).established();
    machine.wait_until_connected();
    control.close(CloseCode::GoingAway);
    let _control = edge.established();
    machine.wait_until_connected();
    machine.stop();
}

#[test]
fn a_grant_is_refused_before_the_ratchet_for_a_denied_address_and_when_it_comes_again() {
    let edge = HostileEdge::new();
    let machine = connecting(&edge);
    let mut control = edge.established();
    machine.wait_until_connected();
    let offer = |control: &mut Control, session: u8| {
        let grant = grant_for("127.0.0.1", 22, session);
        send(control, &OpenSession { grant: &grant });
        let mut refused = None;
        control.read_until(|control, id| {
            // One read may hold more than this message.
            refused = refused.take().or_else(|| control.channel.poll_event());
            id == SessionRefused::ID
        });
        match refused {
            Some(EdgeEvent::SessionRefused { reason, detail, .. }) => (reason, detail),
            other => panic!("{other:?}"),
        }
    };
    let (reason, detail) = offer(&mut control, 1);
    assert_eq!(reason, SessionRefusal::GrantInvalid);
    assert!(detail.contains("ratchet"), "{detail}");
    control.channel.ratchet(1, VALUE).unwrap();
    control.send();
    control.read_until(|_, id| id == RatchetStored::ID);
    control.channel.poll_event();
    let (reason, detail) = offer(&mut control, 2);
    assert_eq!(reason, SessionRefusal::AddressDenied);
    assert!(detail.contains("loopback"), "{detail}");
    let (reason, detail) = offer(&mut control, 2);
    assert_eq!(reason, SessionRefusal::GrantInvalid);
    assert!(detail.contains("used before"), "{detail}");
    machine.stop();
}

fn connecting(edge: &HostileEdge) -> Machine {
    Machine::start_enrolled(edge.enrolled_state("127.0.0.1"), network(LOOPBACK))
}
