//! Edges that stop and start, and administrators who change things meanwhile.

use std::sync::Arc;

use connector_proto::message::CloseCode;
use edge::authority::open_store;
use edge::config::DataDir;
use tokio::io::AsyncReadExt;

use crate::harness::{
    Conduct, HOST, PORT, TestConnector, TestEdge, any_port, echo_application, now, proxy_connect,
    soon, until,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_comes_back_to_an_edge_that_was_restarted() {
    let mut edge = TestEdge::start().await;
    let identity = Arc::new(edge.enrolled().await);
    let app = Conduct::Serve(echo_application().await);
    let mut before = TestConnector::start(&edge, Arc::clone(&identity), app).await;
    edge.stop().await;
    assert_eq!(
        soon("the farewell", before.events.recv()).await,
        Some(CloseCode::GoingAway)
    );

    edge.start_again(any_port()).await;
    assert!(!edge.is_connected(identity.name()));
    let _after = TestConnector::start(&edge, Arc::clone(&identity), app).await;
    assert_eq!(proxy_connect(&edge, &format!("{HOST}:{PORT}")).await.0, 200);
    assert_eq!(edge.uses(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_revoked_by_another_process_loses_tunnel_and_sessions() {
    let edge = TestEdge::start().await;
    let identity = Arc::new(edge.enrolled().await);
    let app = Conduct::Serve(echo_application().await);
    let mut connector = TestConnector::start(&edge, Arc::clone(&identity), app).await;
    let (status, mut user) = proxy_connect(&edge, &format!("{HOST}:{PORT}")).await;
    assert_eq!(status, 200);

    let command = open_store(&DataDir::new(&edge.dir)).unwrap();
    command.revoke_connector(identity.name(), now()).unwrap();
    let farewell = soon("the farewell", connector.events.recv()).await;
    assert_eq!(farewell, Some(CloseCode::Revoked));
    let mut answer = Vec::new();
    assert!(
        soon("the reset", user.read_to_end(&mut answer))
            .await
            .is_err()
    );
    until("the list", || !edge.is_connected(identity.name())).await;
}
