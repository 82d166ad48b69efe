//! Sessions that outlive the keys of their data channel.

use std::net::SocketAddr;
use std::sync::Arc;

use connector_proto::control::{Channel, ConnectorEvent, ConnectorSide};
use connector_proto::grant;
use splice_core::engine::Engine;
use splice_core::plane::{self, Event, NewSession, Plane, SessionKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::harness::{
    HOST, Identity, PORT, TestEdge, Tls, echo_application, half_close_application, next_event, now,
    proxy_connect, soon, until,
};

/// Records for one set of keys, in these stories: 4 MiB, about what is on the way on one channel at once.
const FEW: u64 = 256;
/// Bytes of a session: 2,048 records of full size.
const LONG: u32 = 32 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_over_many_channels_that_the_edge_asks_for() {
    carried_over_many_channels(FEW, plane::RECORDS_MAX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_over_many_channels_that_the_connector_brings() {
    carried_over_many_channels(plane::RECORDS_MAX, FEW).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_over_many_channels_where_both_ends_near_their_limit() {
    carried_over_many_channels(FEW, FEW).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direction_that_has_ended_stays_so_on_the_channels_that_follow() {
    let (edge, connector) = stage(FEW, FEW, half_close_application().await).await;
    let (_, mut user) = proxy_connect(&edge, &format!("{HOST}:{PORT}")).await;
    let sent = bytes();
    user.write_all(&sent).await.unwrap();
    user.shutdown().await.unwrap();
    let mut answer = Vec::new();
    soon("the answer", user.read_to_end(&mut answer))
        .await
        .unwrap();
    let expected = [format!("{LONG} bytes: ").as_bytes(), &sent].concat();
    assert!(answer == expected, "{} bytes", answer.len());
    assert!(soon("the connector", connector.ended()).await > 2);
}

async fn carried_over_many_channels(at_edge: u64, at_connector: u64) {
    let (edge, connector) = stage(at_edge, at_connector, echo_application().await).await;
    let (status, user) = proxy_connect(&edge, &format!("{HOST}:{PORT}")).await;
    assert_eq!(status, 200);
    let (mut from, mut to) = user.into_split();
    let sent = bytes();
    let copy = sent.clone();
    let sending = tokio::spawn(async move {
        to.write_all(&copy).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let mut heard = Vec::new();
    soon("all bytes", from.read_to_end(&mut heard))
        .await
        .unwrap();
    sending.await.unwrap();
    assert!(heard == sent, "{} of {LONG} bytes, or altered", heard.len());
    let successors = soon("the connector", connector.ended()).await;
    assert!(successors > 2, "{successors} successors");
    until("the end in the audit log", || {
        let rows = edge.store().audit_rows(1).unwrap();
        rows[0]["reason"] == "finished" && rows[0]["bytes_up"] == LONG
    })
    .await;
}

fn bytes() -> Vec<u8> {
    (0..LONG)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

async fn stage(at_edge: u64, at_connector: u64, app: SocketAddr) -> (TestEdge, Connector) {
    let config = |records_max| plane::Config {
        records_max,
        engine: Engine::InPlace,
        ..plane::Config::default()
    };
    let edge = TestEdge::start_with(config(at_edge)).await;
    let identity = edge.enrolled().await;
    let control = identity.connect(edge.address()).await;
    let connector = Connector::new(edge.address(), identity, control, config(at_connector), app);
    (edge, connector)
}

/// A connector with a data plane, and one session.
struct Connector(JoinHandle<u32>);

struct Carrying {
    edge: SocketAddr,
    identity: Identity,
    plane: Arc<Plane>,
    session: [u8; 16],
    key: SessionKey,
    /// Successors so far.
    successors: u32,
}

impl Connector {
    fn new(
        edge: SocketAddr,
        identity: Identity,
        control: (Tls, Channel<ConnectorSide>),
        config: plane::Config,
        app: SocketAddr,
    ) -> Self {
        Self(tokio::spawn(async move {
            let plane = Plane::start(config).unwrap();
            let (tell, told) = unbounded_channel();
            run(edge, identity, control, plane, app, tell, told).await
        }))
    }

    /// How many successors there were.
    async fn ended(self) -> u32 {
        self.0.await.unwrap()
    }
}

async fn run(
    edge: SocketAddr,
    identity: Identity,
    (mut tls, mut channel): (Tls, Channel<ConnectorSide>),
    plane: Arc<Plane>,
    app: SocketAddr,
    tell: UnboundedSender<Event>,
    mut told: UnboundedReceiver<Event>,
) -> u32 {
    let grant = loop {
        let event = next_event(&mut tls, &mut channel).await.unwrap();
        if let Some(ConnectorEvent::SessionOffered { grant }) = identity.heed(&mut channel, event) {
            break grant;
        }
    };
    let (key, id) = (
        &identity.enrolment.grant_key,
        &identity.enrolment.connector_id,
    );
    let session = grant::verify(&grant, key, id, now()).unwrap().session;
    let plain = TcpStream::connect(app).await.unwrap().into_std().unwrap();
    let warm = identity.warm_up(edge).await.unwrap();
    let key = plane.carry(NewSession {
        plain,
        channel: warm.attach_channel(session, 0).await,
        first: Vec::new(),
        limit: None,
        tell: Box::new(move |event| {
            let _ = tell.send(event);
        }),
    });
    let mut carrying = Carrying {
        edge,
        identity,
        plane,
        session,
        key,
        successors: 0,
    };
    loop {
        tokio::select! {
            event = told.recv() => match event.unwrap() {
                Event::WantsSuccessor { channel } => carrying.succeed(channel).await,
                Event::Ended(end) => {
                    assert!(end.broken.is_none(), "{end:?}");
                    return carrying.successors;
                }
            },
            event = next_event(&mut tls, &mut channel) => match event.unwrap() {
                ConnectorEvent::Succeed { session, channel } => {
                    assert_eq!(session, carrying.session);
                    carrying.succeed(channel).await;
                }
                other => panic!("{other:?}"),
            },
        }
    }
}

impl Carrying {
    /// The other end may have asked for the same one before.
    async fn succeed(&mut self, wanted: u32) {
        if wanted <= self.successors {
            return;
        }
        self.successors += 1;
        assert_eq!(
            wanted, self.successors,
            "nobody asks for one after the next"
        );
        let warm = self.identity.warm_up(self.edge).await.unwrap();
        let channel = warm.attach_channel(self.session, self.successors).await;
        self.plane.succeed(self.key, channel);
    }
}
