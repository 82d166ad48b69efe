//! The edge's time, for whoever asks.

use connector_proto::edge_time::{Answer, Asking};
use connector_proto::error::Error;
use connector_proto::message::{ALPN_TIME, CloseCode};
use connector_proto::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{TestEdge, Tls, clock, dial, now, soon};

/// Reads until the edge has answered `asking`.
async fn answer(tls: &mut Tls, asking: &mut Asking) -> Result<Answer, Error> {
    let mut buffer = [0; 256];
    loop {
        let len = tls.read(&mut buffer).await.unwrap();
        assert_ne!(len, 0, "the edge closed without an answer");
        if let Some(answer) = asking.handle_input(clock(), &buffer[..len])? {
            return Ok(answer);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_trusts_the_edges_ca_is_told_the_time_once_without_a_certificate() {
    let edge = TestEdge::start().await;
    let identity = edge.enrolled().await;
    let ca = Some(identity.enrolment.ca.as_slice());
    let mut tls = dial(edge.address(), ALPN_TIME, ca, None).await.unwrap();
    let before = now().0;
    let mut asking = Asking::new(clock(), [7; 32]).unwrap();
    let request = asking.poll_transmit().unwrap();
    tls.write_all(&request).await.unwrap();
    let told = soon("the time", answer(&mut tls, &mut asking)).await;
    let seconds = told.unwrap().time.0 / 1_000_000;
    assert!((before..=now().0).contains(&seconds), "{seconds}");

    // One answer, and the connection is over.
    let _ = tls.write_all(&request).await;
    let mut rest = Vec::new();
    let end = soon("the end", tls.read_to_end(&mut rest)).await;
    assert_eq!((end.ok(), rest), (Some(0), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_anything_else_there_is_told_so() {
    let edge = TestEdge::start().await;
    let mut tls = dial(edge.address(), ALPN_TIME, None, None).await.unwrap();
    tls.write_all(&connector_proto::data::ready())
        .await
        .unwrap();
    let mut asking = Asking::new(Instant::default(), [7; 32]).unwrap();
    let told = soon("the refusal", answer(&mut tls, &mut asking)).await;
    let code = CloseCode::UnexpectedMessage;
    assert_eq!(told, Err(Error::PeerClosed { code }));
}
