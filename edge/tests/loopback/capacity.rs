//! How many sessions there may be, all at once or too many, and those that take nothing.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use splice_core::plane;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::harness::{
    Conduct, HOST, PASSWORD, PORT, TestConnector, TestEdge, USER, application, ask_proxy,
    authorization, echo_application, proxy_connect, soon, until,
};

/// Users at once; each is five descriptors of this process.
const USERS: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_over_the_connectors_capacity_is_refused_with_the_number() {
    let edge = TestEdge::start().await;
    let identity = Arc::new(edge.enrolled().await);
    let name = identity.name().to_owned();
    let conduct = Conduct::Serve(echo_application().await);
    let _connector = TestConnector::start_carrying(&edge, identity, conduct, Some(2)).await;
    let (status, first) = proxy_connect(&edge, &target()).await;
    assert_eq!(status, 200);
    let (status, _second) = proxy_connect(&edge, &target()).await;
    assert_eq!(status, 200);
    let credentials = authorization(USER, PASSWORD);
    let request = format!("CONNECT {} HTTP/1.1\r\n{credentials}\r\n\r\n", target());
    let (status, answer) = ask_proxy(&edge, &request).await;
    assert_eq!(status, 503);
    let sentence = format!("connector {name} carries 2 sessions, which is its limit");
    assert!(answer.contains(&sentence), "{answer}");
    // One that ends makes room.
    drop(first);
    until("the end of the first", || {
        edge.audit_events().contains(&"session_ended".into())
    })
    .await;
    assert_eq!(proxy_connect(&edge, &target()).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_users_who_come_at_once_are_all_served() {
    let edge = Arc::new(TestEdge::start().await);
    let identity = Arc::new(edge.enrolled().await);
    let conduct = Conduct::Serve(echo_application().await);
    let capacity = u32::try_from(USERS).unwrap();
    let _connector = TestConnector::start_carrying(&edge, identity, conduct, Some(capacity)).await;
    let mut users = JoinSet::new();
    for number in 0..USERS {
        let edge = Arc::clone(&edge);
        users.spawn(async move {
            let (status, mut user) = proxy_connect(&edge, &target()).await;
            assert_eq!(status, 200);
            let said = number.to_be_bytes();
            user.write_all(&said).await.unwrap();
            let mut heard = [0; 8];
            soon("the echo", user.read_exact(&mut heard)).await.unwrap();
            assert_eq!(heard, said);
            // Until all are there.
            user
        });
    }
    let users = users.join_all().await;
    assert_eq!(users.len(), USERS);
    drop(users);
    let ended = || {
        let rows = edge.store().audit_rows(10_000).unwrap();
        rows.iter()
            .filter(|row| row["event"] == "session_ended")
            .count()
    };
    until("the end of all", || ended() == USERS).await;
    edge.store().verify_audit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_takes_nothing_is_reset_in_time_and_others_go_on() {
    let stall_max = Duration::from_secs(1);
    let edge = TestEdge::start_with(plane::Config {
        stall_max,
        ..plane::Config::default()
    })
    .await;
    let identity = Arc::new(edge.enrolled().await);
    // Echoes one letter at a time, and after an F sends without an end.
    let app = application(|mut stream| async move {
        while let Ok(letter) = stream.read_u8().await {
            while letter == b'F' && stream.write_all(&[0; 64 * 1024]).await.is_ok() {}
            if stream.write_u8(letter).await.is_err() {
                return;
            }
        }
    })
    .await;
    let _connector = TestConnector::start(&edge, identity, Conduct::Serve(app)).await;
    let (_, mut slow) = proxy_connect(&edge, &target()).await;
    slow.write_all(b"F").await.unwrap();
    let (_, mut other) = proxy_connect(&edge, &target()).await;
    let stalled = || {
        let rows = edge.store().audit_rows(1000).unwrap();
        rows.iter()
            .any(|row| row["reason"] == "one side took none of its bytes for 1 s")
    };
    let reset = async {
        while !stalled() {
            other.write_all(b"o").await.unwrap();
            assert_eq!(other.read_u8().await.unwrap(), b'o');
            tokio::time::sleep(stall_max / 50).await;
        }
    };
    soon("the reset of the slow user", reset).await;
    let mut rest = Vec::new();
    let end = soon("the reset", slow.read_to_end(&mut rest))
        .await
        .unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    other.write_all(b"o").await.unwrap();
    assert_eq!(other.read_u8().await.unwrap(), b'o');
}

fn target() -> String {
    format!("{HOST}:{PORT}")
}
