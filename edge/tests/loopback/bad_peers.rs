//! Connectors that break the protocol harm nobody but themselves.

use std::sync::Arc;
use std::time::Duration;

use connector_proto::control::ConnectorEvent;
use connector_proto::data::{self, Warming};
use connector_proto::error::Error;
use connector_proto::message::{ALPN_CONTROL, ALPN_ENROL, CloseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{
    Conduct, HOST, PORT, TestConnector, TestEdge, Tls, clock, dial, echo_application,
    proxy_connect, soon,
};

/// How long a handshake may take at the edge.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Frames that no peer may send in any state, and what it is told.
const MALFORMED: &[(&str, &[u8], CloseCode)] = &[
    (
        "a frame of 4 GiB",
        b"\xff\xff\xff\xff\x02\x00",
        CloseCode::FrameLength,
    ),
    ("a frame of no length", b"\0\0\0\0", CloseCode::FrameLength),
    (
        "an unknown message",
        b"\0\0\0\x02\x7f\xff",
        CloseCode::UnknownMessage,
    ),
    (
        "a greeting cut short",
        b"\0\0\0\x03\x02\x08\x05",
        CloseCode::InvalidMessage,
    ),
    (
        "a pong before the greeting",
        b"\0\0\0\x03\x02\x03\x01",
        CloseCode::UnexpectedMessage,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_frame_closes_its_own_connection_with_a_reason_and_no_other() {
    let edge = TestEdge::start().await;
    let good = Arc::new(edge.enrolled().await);
    let app = echo_application().await;
    let mut good = TestConnector::start(&edge, good, Conduct::Serve(app)).await;
    let bad = edge.enrolled().await;
    for (what, bytes, code) in MALFORMED {
        let mut tls = bad.dial(edge.address(), ALPN_CONTROL).await.unwrap();
        tls.write_all(bytes).await.unwrap();
        assert_eq!(farewell(&mut tls).await, Some(*code), "{what}");
    }
    // The other connector still carries sessions.
    let (status, mut user) = proxy_connect(&edge, &format!("{HOST}:{PORT}")).await;
    assert_eq!(status, 200);
    user.write_all(b"still there?").await.unwrap();
    let mut answer = [0; 12];
    soon("the echo", user.read_exact(&mut answer))
        .await
        .unwrap();
    assert_eq!(&answer, b"still there?");
    assert!(good.events.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_that_breaks_the_protocol_is_told_and_cut_off() {
    let edge = TestEdge::start().await;
    let mut tls = dial(edge.address(), ALPN_ENROL, None, None).await.unwrap();
    tls.write_all(b"\xff\xff\xff\xff\x01\x00").await.unwrap();
    assert_eq!(farewell(&mut tls).await, Some(CloseCode::FrameLength));
    edge.enrolled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_that_sends_more_than_16_kib_is_cut_off_before_its_time_is_over() {
    let edge = TestEdge::start().await;
    let mut flood = TcpStream::connect(edge.address()).await.unwrap();
    // A client hello that announces 65,280 bytes and comes one byte to a record.
    let announced = [1, 0, 0xff, 0].into_iter().chain(std::iter::repeat(0));
    let records = announced.flat_map(|byte| [22, 3, 1, 0, 1, byte]);
    let bytes: Vec<u8> = records.take(24 * 1024).collect();
    // Fails where the edge has closed already.
    let _ = flood.write_all(&bytes).await;
    let cut_off = tokio::time::timeout(HANDSHAKE_MAX / 2, flood.read(&mut [0; 64])).await;
    assert!(matches!(cut_off, Ok(Ok(0) | Err(_))), "{cut_off:?}");
    edge.enrolled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_channel_without_a_session_that_waits_for_it_is_refused() {
    let edge = TestEdge::start().await;
    let identity = edge.enrolled().await;
    let stream = identity.attach(edge.address(), [9; 16]).await;
    assert!(stream.refused().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_channel_that_breaks_the_protocol_is_refused_by_an_alert() {
    let edge = TestEdge::start().await;
    let identity = edge.enrolled().await;
    for (what, bytes, _) in MALFORMED {
        let mut warm = identity.warm_up(edge.address()).await.unwrap();
        warm.say(bytes).await.unwrap();
        assert!(warm.into_stream().refused().await, "{what}");
    }
    // Bytes of a session in the same record as its name.
    let mut warm = identity.warm_up(edge.address()).await.unwrap();
    let attach = [data::attach([9; 16], 0), b"early".to_vec()].concat();
    warm.say(&attach).await.unwrap();
    assert!(warm.into_stream().refused().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_says_nothing_costs_nobody_else_anything() {
    let edge = TestEdge::start().await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(edge.address()).await.unwrap());
    }
    let identity = edge.enrolled().await;
    let (_tls, _channel, event) = identity.greet(edge.address()).await;
    assert!(
        matches!(event, ConnectorEvent::Welcomed { .. }),
        "{event:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_protocol_of_ours_there_is_no_handshake() {
    let edge = TestEdge::start().await;
    for alpn in [&b""[..], b"h2", b"outgate-control/2"] {
        assert!(
            dial(edge.address(), alpn, None, None).await.is_err(),
            "{alpn:?}"
        );
    }
    assert!(dial(edge.address(), ALPN_ENROL, None, None).await.is_ok());
}

/// The reason in the edge's last frame.
async fn farewell(tls: &mut Tls) -> Option<CloseCode> {
    let mut bytes = Vec::new();
    soon("the farewell", tls.read_to_end(&mut bytes))
        .await
        .ok()?;
    match Warming::new(clock()).handle_input(&bytes) {
        Err(Error::PeerClosed { code }) => Some(code),
        other => panic!("{other:?} of {bytes:?}"),
    }
}
