//! A session belongs to the connector that it was offered to, once, for as long as it is offered.

use std::sync::Arc;
use std::time::Duration;

use connector_proto::control::{Channel, ConnectorEvent, ConnectorSide};
use connector_proto::grant;
use connector_proto::message::CloseCode;
use splice_core::channel::ALERT_REFUSED;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::certificates::gone;
use crate::shared::harness::data::Said;
use crate::shared::harness::{
    HOST, Identity, PASSWORD, PORT, TestEdge, Tls, Turned, USER, authorization, next_event, now,
    proxy_connect, soon,
};

/// For how long a session is offered, and some more.
const OFFERED_MAX: Duration = Duration::from_secs(40);

type SessionId = [u8; 16];

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_carried_by_the_connector_it_was_offered_to_and_once() {
    let edge = Arc::new(TestEdge::start().await);
    let victim = edge.enrolled().await;
    let mut tunnel = victim.connect(edge.address()).await;
    // Of the same group; not connected, so that it is offered nothing.
    let thief = edge.enrolled().await;
    let (user, session) = offered(&edge, &victim, &mut tunnel).await;
    assert!(is_refused(&edge, &thief, session).await);
    let _carrier = victim.attach(edge.address(), session).await;
    let (status, user) = user.await.unwrap();
    assert_eq!(status, 200);
    for again in [&victim, &thief] {
        assert!(is_refused(&edge, again, session).await);
    }
    // Nor is the thief's channel the one with which it goes on, nor is one of the victim's that is far from
    // its turn.
    for (who, channel) in [(&thief, 1), (&victim, 7), (&victim, u32::MAX)] {
        let warm = who.warm_up(edge.address()).await.unwrap();
        assert!(warm.attach(session, channel).await.refused().await);
    }
    // Nor when it is over.
    drop(user);
    for again in [&victim, &thief] {
        assert!(is_refused(&edge, again, session).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_comes_too_late_for_a_session_is_too_late() {
    let edge = TestEdge::start().await;
    let connector = edge.enrolled().await;
    let mut tunnel = connector.connect(edge.address()).await;
    let mut user = TcpStream::connect(edge.running().proxy_addr).await.unwrap();
    let credentials = authorization(USER, PASSWORD);
    let request = format!("CONNECT {HOST}:{PORT} HTTP/1.1\r\n{credentials}\r\n\r\n");
    user.write_all(request.as_bytes()).await.unwrap();
    let session = offer(&connector, &mut tunnel).await;
    let mut answer = String::new();
    let answered = tokio::time::timeout(OFFERED_MAX, user.read_to_string(&mut answer));
    answered.await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(is_refused(&edge, &connector, session).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_was_revoked_takes_up_no_session_that_it_was_offered_before() {
    let edge = Arc::new(TestEdge::start().await);
    let connector = edge.enrolled().await;
    let mut tunnel = connector.connect(edge.address()).await;
    // This one is authenticated while the connector may still do everything.
    let early = connector.warm_up(edge.address()).await.unwrap();
    let (user, _) = offered(&edge, &connector, &mut tunnel).await;
    // As a command does it: in another process.
    let command = edge::authority::open_store(&edge::config::DataDir::new(&edge.dir)).unwrap();
    command.revoke_connector(connector.name(), now()).unwrap();
    let turned = connector.warm_up(edge.address()).await.err();
    assert!(matches!(turned, Some(Turned::Away(CloseCode::Revoked))));
    // Its tunnel ends, and with it everything that it was offered, and its warm channels.
    gone(&edge, &connector).await;
    assert!(soon("the end of the channel", early.ended()).await);
    let (status, _) = soon("the user's answer", user).await.unwrap();
    assert_eq!(status, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_a_revoked_connector_took_up_at_the_last_moment_ends_within_seconds() {
    let edge = Arc::new(TestEdge::start().await);
    let connector = edge.enrolled().await;
    let mut tunnel = connector.connect(edge.address()).await;
    let early = connector.warm_up(edge.address()).await.unwrap();
    let (user, session) = offered(&edge, &connector, &mut tunnel).await;
    let command = edge::authority::open_store(&edge::config::DataDir::new(&edge.dir)).unwrap();
    command.revoke_connector(connector.name(), now()).unwrap();
    let mut carrier = early.attach(session, 0).await;
    // Either it is too late, or what it took up is taken away.
    let end = soon("the end", carrier.reading.next()).await;
    assert!(
        matches!(end, Ok(Said::Alert(ALERT_REFUSED)) | Err(_)),
        "{end:?}"
    );
    let (status, mut user) = user.await.unwrap();
    if status == 200 {
        assert!(soon("the reset", user.read_u8()).await.is_err());
    }
    gone(&edge, &connector).await;
}

/// A user who waits for the application, and the session that the connector is offered for it.
async fn offered(
    edge: &Arc<TestEdge>,
    connector: &Identity,
    tunnel: &mut (Tls, Channel<ConnectorSide>),
) -> (JoinHandle<(u16, TcpStream)>, SessionId) {
    let edge = Arc::clone(edge);
    let target = format!("{HOST}:{PORT}");
    let user = tokio::spawn(async move { proxy_connect(&edge, &target).await });
    (user, offer(connector, tunnel).await)
}

/// The next session that the connector is offered.
async fn offer(
    connector: &Identity,
    (tls, channel): &mut (Tls, Channel<ConnectorSide>),
) -> SessionId {
    let awaiting = async {
        loop {
            let event = next_event(tls, channel).await.unwrap();
            if let Some(ConnectorEvent::SessionOffered { grant }) = connector.heed(channel, event) {
                return grant;
            }
        }
    };
    let bytes = soon("the offer", awaiting).await;
    let (key, id) = (
        &connector.enrolment.grant_key,
        &connector.enrolment.connector_id,
    );
    grant::verify(&bytes, key, id, now()).unwrap().session
}

/// Whether the connector does not get the session.
async fn is_refused(edge: &TestEdge, connector: &Identity, session: SessionId) -> bool {
    connector
        .attach(edge.address(), session)
        .await
        .refused()
        .await
}
