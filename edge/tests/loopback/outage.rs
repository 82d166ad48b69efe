//! A store that cannot be written: nobody is let in without a decision, nobody is thrown out, and
//! nothing has to be restarted afterwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use connector_proto::control::ConnectorEvent;
use connector_proto::message::{CloseCode, EnrolRefusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::harness::{
    Conduct, HOST, Identity, Machine, PORT, Program, TestConnector, TestEdge, echo_application,
    enrol, proxy_connect, soon,
};

#[tokio::test(flavor = "multi_thread")]
async fn while_another_process_locks_the_store_nobody_is_let_in_and_sessions_go_on() {
    let edge = TestEdge::start().await;
    let identity = Arc::new(edge.enrolled().await);
    let app = Conduct::Serve(echo_application().await);
    let mut connector = TestConnector::start(&edge, Arc::clone(&identity), app).await;
    let (status, mut user) = proxy_connect(&edge, &format!("{HOST}:{PORT}")).await;
    assert_eq!(status, 200);
    let second = edge.enrolled().await;
    let (key, uses) = (edge.mint(20), edge.uses());

    let lock = rusqlite::Connection::open(edge.dir.join("edge.sqlite")).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let locked = Instant::now();
    let mut refused = JoinSet::new();
    for _ in 0..8 {
        let (address, key) = (edge.address(), key.clone());
        refused.spawn(async move { enrol(address, &key, &Machine::new()).await.unwrap_err() });
    }
    // The users' side is served meanwhile: no thread of the edge's waits for the lock.
    user.write_all(b"still here").await.unwrap();
    let mut echo = [0; 10];
    soon("the echo", user.read_exact(&mut echo)).await.unwrap();
    assert_eq!(&echo, b"still here");
    assert!(
        locked.elapsed() < Duration::from_secs(1),
        "{:?}",
        locked.elapsed()
    );
    for refusal in refused.join_all().await {
        assert_eq!(refusal, EnrolRefusal::TryLater);
    }
    assert_eq!(answer(&second, &edge).await, internal_error());
    assert!(
        connector.events.try_recv().is_err(),
        "the connector was thrown out"
    );
    drop(lock);

    assert_eq!(edge.uses(), uses);
    let machine = Machine::new();
    let enrolment = enrol(edge.address(), &key, &machine).await.unwrap();
    let third = Identity { machine, enrolment };
    for identity in [&second, &third] {
        let event = answer(identity, &edge).await;
        assert!(
            matches!(event, ConnectorEvent::Welcomed { .. }),
            "{event:?}"
        );
    }
    user.write_all(b"and after").await.unwrap();
    let mut echo = [0; 9];
    soon("the echo", user.read_exact(&mut echo)).await.unwrap();
    edge.store().verify_audit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_disk_is_full_nobody_is_let_in_and_afterwards_nothing_is_missing() {
    let program = Program::with_edge();
    let edge = program.serve("127.0.0.1:0");
    let key = program.mint(3);
    let identity = async |machine: Machine| {
        let enrolment = enrol(edge.control, &key, &machine).await?;
        Ok::<_, EnrolRefusal>(Identity { machine, enrolment })
    };
    let first = identity(Machine::new()).await.unwrap();
    let second = identity(Machine::new()).await.unwrap();
    let (_tls, _channel, event) = first.greet(edge.control).await;
    assert!(
        matches!(event, ConnectorEvent::Welcomed { .. }),
        "{event:?}"
    );

    edge.set_disk_full(true);
    let machine = Machine::new();
    let refused = enrol(edge.control, &key, &machine).await.unwrap_err();
    assert_eq!(refused, EnrolRefusal::TryLater);
    let (_, _, event) = second.greet(edge.control).await;
    assert_eq!(event, internal_error());
    assert_eq!((program.uses(), program.connectors().len()), (2, 2));

    edge.set_disk_full(false);
    let third = identity(machine).await.unwrap();
    for identity in [&second, &third] {
        let (_, _, event) = identity.greet(edge.control).await;
        assert!(
            matches!(event, ConnectorEvent::Welcomed { .. }),
            "{event:?}"
        );
    }
    assert_eq!((program.uses(), program.connectors().len()), (3, 3));
    program.text(&["audit", "verify"]);
    assert_eq!(edge.terminate().0, Some(0));
}

/// What a connector's greeting is answered with.
async fn answer(identity: &Identity, edge: &TestEdge) -> ConnectorEvent {
    identity.greet(edge.address()).await.2
}

fn internal_error() -> ConnectorEvent {
    ConnectorEvent::Closed {
        code: CloseCode::InternalError,
    }
}
