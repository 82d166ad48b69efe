//! One identity and more than one machine: who is the connector, and what the others are told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use connector_proto::control::{Channel, ConnectorEvent, ConnectorSide};
use connector_proto::message::{CloseCode, Fingerprint, RatchetValue, Verdict};
use edge::authority::open_store;
use edge::config::DataDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{
    Conduct, FINGERPRINT, HOST, Identity, PORT, TestConnector, TestEdge, Tls, echo_application,
    next_event, now, proxy_connect, soon, until,
};

/// How long a revocation may take to close what is live.
const EXPELLED_MAX: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn beside_the_original_a_copy_is_held_and_the_original_keeps_tunnel_and_session() {
    let edge = TestEdge::start().await;
    let original = Arc::new(edge.enrolled().await);
    let app = Conduct::Serve(echo_application().await);
    let mut tunnel = TestConnector::start(&edge, Arc::clone(&original), app).await;
    let copy = original.copied_to(FINGERPRINT);
    let (status, mut user) = proxy_connect(&edge, &target()).await;
    assert_eq!(status, 200);
    let shared = copy.machine.stored();
    assert_eq!(recognised(&edge, &copy).await, (Verdict::Copy, false));
    until("the original's next value", || {
        original.machine.stored() != shared
    })
    .await;
    let next = original.machine.stored();
    for round in 1..5 {
        // Whatever it presents, and however often.
        copy.machine.store(if round < 3 {
            shared
        } else {
            RatchetValue([round; 32])
        });
        assert_eq!(recognised(&edge, &copy).await, (Verdict::Copy, false));
        assert_eq!(echo(&mut user).await, *b"still there?");
    }
    assert!(tunnel.events.try_recv().is_err(), "the original was closed");
    assert_eq!(
        original.machine.stored(),
        next,
        "the original wrote for each of them"
    );
    // The value that both had is the copy's alone by now: it is a copy for good, also when the original
    // is not there.
    copy.machine.store(shared);
    tunnel.stop();
    until("the end of the original", || {
        !edge.is_connected(original.name())
    })
    .await;
    assert_eq!(recognised(&edge, &copy).await, (Verdict::Copy, false));
    original.connect(edge.address()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incumbent_that_does_not_answer_loses_its_place_within_three_seconds() {
    let edge = TestEdge::start().await;
    let identity = Arc::new(edge.enrolled().await);
    // Nobody reads this connection from here on: its machine is gone without a word.
    let (mut tls, mut channel) = identity.connect(edge.address()).await;
    let started = Instant::now();
    let app = Conduct::Serve(echo_application().await);
    let _new = TestConnector::start(&edge, Arc::clone(&identity), app).await;
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(2), "not asked: {took:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert_eq!(
        close_code(&mut tls, &mut channel).await,
        CloseCode::Replaced
    );
    assert_eq!(proxy_connect(&edge, &target()).await.0, 200);
    assert!(
        edge.is_connected(identity.name()),
        "the older one's end does not count"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_comes_back_at_once_is_not_taken_for_its_own_copy() {
    let edge = TestEdge::start().await;
    let identity = edge.enrolled().await;
    for _ in 0..10 {
        let (tls, channel) = identity.connect(edge.address()).await;
        drop((tls, channel));
    }
    assert!(!edge.audit_events().contains(&"connector_recognised".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_offered_before_the_ratchet_value_is_stored() {
    let edge = TestEdge::start().await;
    let identity = edge.enrolled().await;
    let (mut tls, mut channel, event) = identity.greet(edge.address()).await;
    assert!(
        matches!(event, ConnectorEvent::Welcomed { .. }),
        "{event:?}"
    );
    loop {
        let event = soon("the value", next_event(&mut tls, &mut channel)).await;
        if let ConnectorEvent::Ratchet { step, .. } = event.unwrap() {
            assert_eq!(step, 1);
            break;
        }
    }
    assert_eq!(proxy_connect(&edge, &target()).await.0, 503);
    drop((tls, channel));
    let identity = Arc::new(identity);
    let app = Conduct::Serve(echo_application().await);
    let _tunnel = TestConnector::start(&edge, identity, app).await;
    assert_eq!(proxy_connect(&edge, &target()).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_reverted_is_let_in_and_the_revert_is_written_down() {
    let edge = TestEdge::start().await;
    let identity = edge.enrolled().await;
    identity.connect(edge.address()).await;
    let snapshot = identity.machine.stored();
    identity.connect(edge.address()).await;
    identity.machine.store(snapshot);
    assert_eq!(
        recognised(&edge, &identity).await,
        (Verdict::Reverted, true)
    );
    // The value of the greeting after it is stored: the machine is itself again.
    identity.machine.store(snapshot);
    assert_eq!(
        recognised(&edge, &identity).await,
        (Verdict::Reverted, true)
    );
    let rows = edge.store().audit_rows(1).unwrap();
    assert_eq!(rows[0]["event"], "connector_recognised");
    assert_eq!(rows[0]["verdict"], "reverted");
    edge.store().verify_audit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_nic_is_held_until_an_administrator_confirms_it() {
    let edge = TestEdge::start().await;
    let before = edge.enrolled().await;
    before.connect(edge.address()).await;
    let moved = before.copied_to(Fingerprint {
        mac: [2, 0, 0, 0, 0, 0x42],
        ..FINGERPRINT
    });
    assert_eq!(recognised(&edge, &moved).await, (Verdict::MovedNic, false));
    let command = open_store(&DataDir::new(&edge.dir)).unwrap();
    command.confirm_connector(before.name(), now()).unwrap();
    moved.connect(edge.address()).await;
    assert_eq!(
        edge.store().connectors().unwrap()[0].mac,
        "02:00:00:00:00:42"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_greetings_at_once_of_one_identity_let_one_machine_in() {
    let edge = TestEdge::start().await;
    let one = edge.enrolled().await;
    let copies: Vec<_> = (0..8).map(|_| one.copied_to(FINGERPRINT)).collect();
    let mut greetings = tokio::task::JoinSet::new();
    for copy in copies {
        let address = edge.address();
        greetings.spawn(async move {
            let (mut tls, mut channel, event) = copy.greet(address).await;
            let welcomed = matches!(event, ConnectorEvent::Welcomed { .. });
            // Whoever is in answers the questions that the others raise.
            while let Ok(event) = next_event(&mut tls, &mut channel).await {
                if let Some(ConnectorEvent::Closed { code }) = copy.heed(&mut channel, event) {
                    return (welcomed, Some(code));
                }
            }
            (welcomed, None)
        });
    }
    let mut held = 0;
    while held < 7 {
        let (welcomed, code) = soon("a refusal", greetings.join_next())
            .await
            .unwrap()
            .unwrap();
        assert!(!welcomed, "{code:?}");
        assert_eq!(code, Some(CloseCode::Held));
        held += 1;
    }
    assert!(edge.is_connected(one.name()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_is_disabled_or_revoked_loses_tunnel_and_session_within_two_seconds() {
    for (revoke, code) in [(false, CloseCode::Disabled), (true, CloseCode::Revoked)] {
        let edge = TestEdge::start().await;
        let identity = Arc::new(edge.enrolled().await);
        let app = Conduct::Serve(echo_application().await);
        let mut tunnel = TestConnector::start(&edge, Arc::clone(&identity), app).await;
        let (status, mut user) = proxy_connect(&edge, &target()).await;
        assert_eq!(status, 200);
        // As a command does it: in another process.
        let command = open_store(&DataDir::new(&edge.dir)).unwrap();
        let started = Instant::now();
        if revoke {
            command.revoke_connector(identity.name(), now()).unwrap();
        } else {
            command.disable_connector(identity.name(), now()).unwrap();
        }
        assert_eq!(soon("the farewell", tunnel.events.recv()).await, Some(code));
        let mut rest = Vec::new();
        assert!(
            soon("the reset", user.read_to_end(&mut rest))
                .await
                .is_err()
        );
        assert!(started.elapsed() < EXPELLED_MAX, "{:?}", started.elapsed());
        if !revoke {
            command.enable_connector(identity.name(), now()).unwrap();
            let _again = TestConnector::start(&edge, identity, app).await;
            assert_eq!(proxy_connect(&edge, &target()).await.0, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_end_of_a_connectors_newest_certificate_its_tunnel_and_sessions_end() {
    let edge = TestEdge::start().await;
    let identity = Arc::new(edge.enrolled().await);
    let app = Conduct::Serve(echo_application().await);
    let mut tunnel = TestConnector::start(&edge, Arc::clone(&identity), app).await;
    let (_, mut user) = proxy_connect(&edge, &target()).await;
    let others = rusqlite::Connection::open(DataDir::new(&edge.dir).store()).unwrap();
    // A newer certificate is there: the tunnel ends with its own, the session goes on.
    let newer = "INSERT INTO certificates (spki, connector_id, issued_at, not_after, generation)
         SELECT randomblob(32), connector_id, issued_at, not_after, 2 FROM certificates";
    others.execute(newer, []).unwrap();
    let end = "UPDATE certificates SET not_after = 1 WHERE generation = ?1";
    others.execute(end, [1]).unwrap();
    let farewell = soon("the farewell", tunnel.events.recv()).await;
    assert_eq!(farewell, Some(CloseCode::NotAuthorised));
    assert_eq!(echo(&mut user).await, *b"still there?");
    others.execute(end, [2]).unwrap();
    let mut rest = Vec::new();
    assert!(
        soon("the reset", user.read_to_end(&mut rest))
            .await
            .is_err()
    );
}

/// What the machine is told, and whether it is let in; the channel ends with this.
async fn recognised(edge: &TestEdge, identity: &Identity) -> (Verdict, bool) {
    let (mut tls, mut channel, event) = soon("the answer", identity.greet(edge.address())).await;
    let ConnectorEvent::Recognised { verdict, admitted } = event else {
        panic!("{event:?}");
    };
    let next = soon("what follows", next_event(&mut tls, &mut channel)).await;
    match next.unwrap() {
        ConnectorEvent::Welcomed { .. } => assert!(admitted),
        ConnectorEvent::Closed { code } => assert_eq!((code, admitted), (CloseCode::Held, false)),
        other => panic!("{other:?}"),
    }
    drop((tls, channel));
    (verdict, admitted)
}

async fn close_code(tls: &mut Tls, channel: &mut Channel<ConnectorSide>) -> CloseCode {
    loop {
        let event = soon("the farewell", next_event(tls, channel))
            .await
            .unwrap();
        if let ConnectorEvent::Closed { code } = event {
            return code;
        }
    }
}

async fn echo(user: &mut tokio::net::TcpStream) -> [u8; 12] {
    user.write_all(b"still there?").await.unwrap();
    let mut answer = [0; 12];
    soon("the echo", user.read_exact(&mut answer))
        .await
        .unwrap();
    answer
}

fn target() -> String {
    format!("{HOST}:{PORT}")
}
