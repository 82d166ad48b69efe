//! The proof that full-size packets pass, by the edge's side.

use connector_proto::control::{Channel, ConnectorEvent};
use connector_proto::message::ALPN_CONTROL;
use connector_proto::message::RatchetValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{FINGERPRINT, TestEdge, clock, next_event, soon, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_size_probe_right_behind_the_welcome_is_answered_in_full_size() {
    let edge = TestEdge::start().await;
    let identity = edge.enrolled().await;
    let (mut tls, mut channel, event) = identity.greet(edge.address()).await;
    assert!(
        matches!(event, ConnectorEvent::Welcomed { .. }),
        "{event:?}"
    );
    assert!(!channel.is_path_proven());
    let proof = async {
        while next_event(&mut tls, &mut channel).await.unwrap() != ConnectorEvent::PathProven {}
    };
    soon("the answer", proof).await;
    assert!(channel.is_path_proven());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_never_probes_is_served_all_the_same() {
    let edge = TestEdge::start().await;
    let identity = edge.enrolled().await;
    let mut tls = identity.dial(edge.address(), ALPN_CONTROL).await.unwrap();
    let mut older =
        Channel::connector(clock(), 7, "older", FINGERPRINT, RatchetValue::default()).unwrap();
    let hello = older.poll_transmit().unwrap();
    tls.write_all(&hello).await.unwrap();
    tls.flush().await.unwrap();
    let welcome = soon("the welcome", tls.read(&mut [0; 4096])).await;
    assert_ne!(welcome.unwrap(), 0, "closed");
    until("the list", || edge.is_connected(identity.name())).await;
}
