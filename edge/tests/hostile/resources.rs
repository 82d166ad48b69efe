//! Peers that want nothing but the edge's memory, descriptors and time. While they are there a good
//! connector enrols in a second; when they fall silent everything is free again without their help.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use connector_proto::derive::EnrolSecrets;
use connector_proto::enrol::{Connector, ConnectorEvent};
use connector_proto::key::ProvisioningKey;
use connector_proto::limits::SESSIONS_MAX;
use connector_proto::message::{ALPN_CONTROL, ALPN_DATA, ALPN_ENROL, EXPORTER_LABEL};
use rustix::net::sockopt;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::besieged::{Besieged, many};
use crate::shared::harness::{FINGERPRINT, Machine, Tls, clock, dial, soon};

/// How long a peer may leave the edge's bytes unread or its pings unanswered, and some more.
const UNREAD_MAX: Duration = Duration::from_secs(120);

/// Channels of one connector that may say nothing while it opens no session.
const WAITING_MAX: usize = 256 + 16;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_frames_of_four_gigabytes_cost_the_edge_nothing() {
    let edge = Besieged::start().await;
    let address = edge.address;
    let peers = many(1000, |_| async move {
        let mut tls = dial(address, ALPN_ENROL, None, None).await.unwrap();
        tls.write_all(b"\xff\xff\xff\xff\x01\x00").await.unwrap();
        let mut farewell = Vec::new();
        soon("the farewell", tls.read_to_end(&mut farewell))
            .await
            .unwrap();
        assert!(!farewell.is_empty() && farewell.len() < 100);
        tls
    })
    .await;
    edge.withstands(peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_handshakes_that_are_never_finished_shut_nobody_out() {
    let edge = Besieged::start().await;
    let address = edge.address;
    let hello = client_hello();
    let peers = many(2000, |count| {
        // One half has said half a hello, the other half has the edge's answer to a whole one.
        let hello = hello.clone();
        async move {
            let is_whole = count % 2 == 0;
            let len = if is_whole {
                hello.len()
            } else {
                hello.len() / 2
            };
            let mut tcp = TcpStream::connect(address).await.unwrap();
            tcp.write_all(&hello[..len]).await.unwrap();
            if is_whole {
                let record = soon("the edge's hello", tcp.read_u8()).await.unwrap();
                assert_eq!(record, HANDSHAKE);
            }
            tcp
        }
    })
    .await;
    edge.withstands(peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_hellos_in_the_smallest_and_the_longest_pieces_are_bounded_alike() {
    let edge = Besieged::start().await;
    let address = edge.address;
    // Announces 65,280 bytes.
    let endless = [1, 0, 0xff, 0].into_iter().chain(std::iter::repeat(0));
    let endless: Vec<u8> = endless.take(60_000).collect();
    let peers = many(1000, |count| {
        let bytes = match count % 2 {
            // 2 KiB in 1-byte records, and then nothing.
            0 => records(&endless[..2048], 1),
            // More than 16 KiB in long records.
            _ => records(&endless, 4096),
        };
        async move {
            let mut tcp = TcpStream::connect(address).await.unwrap();
            // Cut off before it has said all, where it says too much.
            let _ = tcp.write_all(&bytes).await;
            tcp
        }
    })
    .await;
    edge.withstands(peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hello_of_one_byte_a_record_is_a_client_hello() {
    let edge = Besieged::start().await;
    let mut tcp = TcpStream::connect(edge.address).await.unwrap();
    let whole = client_hello();
    let pieces = records(&whole[RECORD_HEADER_LEN..], 1);
    tcp.write_all(&pieces).await.unwrap();
    let record = soon("the edge's hello", tcp.read_u8()).await.unwrap();
    assert_eq!(record, HANDSHAKE);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_enrolments_that_stop_after_each_message_stop_no_other() {
    let edge = Besieged::start().await;
    let address = edge.address;
    let stops = [Stop::Silent, Stop::InHello, Stop::InRequest, Stop::Unheard];
    let peers = many(500 * stops.len(), |count| {
        let (key, stop) = (edge.key.clone(), stops[count % stops.len()]);
        async move { enrol_up_to(address, &key, stop).await }
    })
    .await;
    edge.withstands(peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connectors_that_read_nothing_are_given_up_and_cost_little_until_then() {
    let mut edge = Besieged::start().await;
    let address = edge.address;
    let mut floods = Vec::new();
    for _ in 0..50 {
        let identity = edge.enrolled().await;
        let mut tls = identity.connect(address).await.0;
        // Little fits in, so that it is full soon.
        sockopt::set_socket_recv_buffer_size(tls.get_ref().0, 4096).unwrap();
        floods.push(tokio::spawn(async move {
            // Each wants an answer.
            let pings = b"\0\0\0\x03\x02\x02\x01".repeat(1000);
            let flood = async { while tls.write_all(&pings).await.is_ok() {} };
            tokio::time::timeout(UNREAD_MAX, flood).await
        }));
    }
    edge.assert_well().await;
    edge.let_others_begin();
    for flood in floods {
        let given_up = flood.await.unwrap();
        assert!(given_up.is_ok(), "still there after {UNREAD_MAX:?}");
    }
    edge.relieved().await;
    edge.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connector_cannot_keep_many_more_channels_waiting_than_a_pool_has() {
    let mut edge = Besieged::start().await;
    let (address, identity) = (edge.address, Arc::new(edge.enrolled().await));
    for door in [ALPN_CONTROL, ALPN_DATA] {
        let idle = edge.descriptors();
        let peers = many(2 * SESSIONS_MAX, |_| {
            let identity = Arc::clone(&identity);
            async move { identity.dial(address, door).await.unwrap() }
        })
        .await;
        edge.assert_well().await;
        let held = edge.descriptors() - idle;
        // The last enrolments may not be gone yet.
        assert!(held <= WAITING_MAX + 5, "{held} channels that say nothing");
        drop(peers);
        edge.relieved().await;
    }
    edge.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_with_few_descriptors_is_not_shut_by_strangers() {
    let edge = Besieged::start_with(Some(256)).await;
    let address = edge.address;
    let half = client_hello()[..100].to_vec();
    let peers = many(1000, |_| {
        let half = half.clone();
        async move {
            let mut tcp = TcpStream::connect(address).await.unwrap();
            // Ended already, where there are too many.
            let _ = tcp.write_all(&half).await;
            tcp
        }
    })
    .await;
    edge.withstands(peers).await;
}

/// After what an enrolment says no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The TLS handshake.
    Silent,
    /// Half of its hello.
    InHello,
    /// The edge's proof, and half of its request.
    InRequest,
    /// Its request; it does not read the answer.
    Unheard,
}

async fn enrol_up_to(address: SocketAddr, key: &ProvisioningKey, stop: Stop) -> Tls {
    let mut tls = dial(address, ALPN_ENROL, None, None).await.unwrap();
    let exporter = tls
        .get_ref()
        .1
        .export_keying_material([0; 32], EXPORTER_LABEL, None)
        .unwrap();
    if stop == Stop::Silent {
        return tls;
    }
    let machine = Machine::new();
    let secrets = EnrolSecrets::derive(key);
    let mut enrolling =
        Connector::new(clock(), secrets, exporter, machine.csr, FINGERPRINT).unwrap();
    let hello = enrolling.poll_transmit().unwrap();
    let len = if stop == Stop::InHello {
        hello.len() / 2
    } else {
        hello.len()
    };
    say(&mut tls, &hello[..len]).await;
    if stop == Stop::InHello {
        return tls;
    }
    let mut buffer = [0; 4096];
    while enrolling.poll_event() != Some(ConnectorEvent::EdgeProven) {
        let len = soon("the proof", tls.read(&mut buffer)).await.unwrap();
        assert_ne!(len, 0, "the edge closed");
        enrolling.handle_input(&buffer[..len]).unwrap();
    }
    let request = enrolling.poll_transmit().unwrap();
    let len = if stop == Stop::InRequest {
        request.len() / 2
    } else {
        request.len()
    };
    say(&mut tls, &request[..len]).await;
    tls
}

async fn say(tls: &mut Tls, bytes: &[u8]) {
    tls.write_all(bytes).await.unwrap();
    tls.flush().await.unwrap();
}

/// Type of a TLS record with handshake messages in it.
const HANDSHAKE: u8 = 22;
const RECORD_HEADER_LEN: usize = 5;

/// The record with which an enrolment begins.
fn client_hello() -> Vec<u8> {
    let mut config = ClientConfig::builder_with_provider(default_provider().into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_ENROL.to_vec()];
    let name = ServerName::try_from("edge.example.org").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    assert_eq!(bytes[0], HANDSHAKE);
    bytes
}

/// Handshake bytes in TLS records of this length.
fn records(bytes: &[u8], len: usize) -> Vec<u8> {
    let record = |piece: &[u8]| {
        let len = u16::try_from(piece.len()).unwrap().to_be_bytes();
        [&[HANDSHAKE, 3, 1], &len[..], piece].concat()
    };
    bytes.chunks(len).flat_map(record).collect()
}
