//! Data channels that wait for their session: who may have them, and what ends them.

use std::sync::Arc;

use connector_proto::data;
use connector_proto::message::CloseCode;
use edge::authority::open_store;
use edge::config::DataDir;

use crate::harness::{
    Conduct, HOST, PORT, TestConnector, TestEdge, Turned, echo_application, now, proxy_connect,
    soon, warm_up, warm_up_saying,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_spares_the_handshake_and_nothing_else() {
    let edge = TestEdge::start().await;
    let identity = edge.enrolled().await;
    let (address, config) = (edge.address(), identity.data_config());
    let first = warm_up(address, Arc::clone(&config)).await.unwrap();
    assert!(!first.is_resumed());
    let second = warm_up(address, Arc::clone(&config)).await.unwrap();
    assert!(second.is_resumed());
    let store = open_store(&DataDir::new(&edge.dir)).unwrap();
    store.disable_connector(identity.name(), now()).unwrap();
    let turned = warm_up(address, Arc::clone(&config)).await.err();
    assert!(
        matches!(turned, Some(Turned::Away(CloseCode::Disabled))),
        "{turned:?}"
    );
    // Nor do those stay that were there before.
    for warm in [first, second] {
        assert!(soon("the end of the channel", warm.ended()).await);
    }
    store.enable_connector(identity.name(), now()).unwrap();
    assert!(warm_up(address, config).await.unwrap().is_resumed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_of_an_edge_that_was_started_anew_is_none_and_the_handshake_is_whole() {
    let mut edge = TestEdge::start().await;
    let identity = edge.enrolled().await;
    let (address, config) = (edge.address(), identity.data_config());
    drop(warm_up(address, Arc::clone(&config)).await.unwrap());
    edge.stop().await;
    edge.start_again(address).await;
    assert!(!warm_up(address, config).await.unwrap().is_resumed());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_before_it_is_asked_gets_no_channel() {
    let edge = TestEdge::start().await;
    let identity = edge.enrolled().await;
    let message = data::attach([9; 16], 0);
    let turned = warm_up_saying(edge.address(), identity.data_config(), &message).await;
    match turned {
        // The edge has read it together with the end of the handshake, or after it was ready.
        Err(Turned::Away(CloseCode::UnexpectedMessage)) => {}
        Ok(warm) => assert!(warm.into_stream().refused().await),
        Err(Turned::Away(code)) => panic!("{code}"),
        Err(Turned::Io(error)) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_was_retired_harms_no_other() {
    let edge = TestEdge::start().await;
    let identity = Arc::new(edge.enrolled().await);
    for _ in 0..20 {
        drop(identity.warm_up(edge.address()).await.unwrap());
    }
    let app = echo_application().await;
    let _connector = TestConnector::start(&edge, identity, Conduct::Serve(app)).await;
    assert_eq!(proxy_connect(&edge, &format!("{HOST}:{PORT}")).await.0, 200);
}
