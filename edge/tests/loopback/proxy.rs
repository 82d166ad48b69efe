//! Who is not let through the proxy, and what they are told.

use crate::harness::{HOST, PASSWORD, PORT, TestEdge, USER, ask_proxy, authorization, now};

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_credentials_there_is_a_407_and_nothing_is_told() {
    let edge = TestEdge::start().await;
    let mut answers = Vec::new();
    for fields in [
        String::new(),
        authorization(USER, "wrong"),
        authorization("nobody", PASSWORD),
        authorization(USER, ""),
        "Proxy-Authorization: Basic %%%".into(),
        "Proxy-Authorization: Bearer x".into(),
        // The credentials of an origin server are not the proxy's.
        authorization(USER, PASSWORD).replace("Proxy-", ""),
    ] {
        let fields = if fields.is_empty() {
            fields
        } else {
            fields + "\r\n"
        };
        let request = format!("CONNECT {HOST}:{PORT} HTTP/1.1\r\n{fields}\r\n");
        let (status, answer) = ask_proxy(&edge, &request).await;
        assert_eq!(status, 407, "{fields}");
        assert!(
            answer.contains("Proxy-Authenticate: Basic realm="),
            "{answer}"
        );
        answers.push(answer);
    }
    assert_eq!(
        answers[1], answers[2],
        "an unknown user looks like a wrong password"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_user_is_out_at_once() {
    let edge = TestEdge::start().await;
    assert_eq!(connect(&edge, HOST, PORT).await.0, 503);
    edge.store().remove_user(USER, now()).unwrap();
    assert_eq!(connect(&edge, HOST, PORT).await.0, 407);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_application_is_forbidden_and_written_down() {
    let edge = TestEdge::start().await;
    for (host, port) in [
        (HOST, PORT + 1),
        ("other.corp.example", PORT),
        ("127.0.0.1", 22),
    ] {
        let (status, answer) = connect(&edge, host, port).await;
        assert_eq!(status, 403);
        assert!(
            answer.contains(&format!("{host}:{port} is no application")),
            "{answer}"
        );
    }
    let denied = edge
        .audit_events()
        .iter()
        .filter(|event| *event == "session_denied")
        .count();
    assert_eq!(denied, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_connector_the_group_is_named() {
    let edge = TestEdge::start().await;
    let (status, answer) = connect(&edge, HOST, PORT).await;
    assert_eq!(status, 503);
    assert!(
        answer.contains("no connector of group hq is connected"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_none_or_too_long_is_refused_with_a_sentence() {
    let edge = TestEdge::start().await;
    assert_eq!(ask_proxy(&edge, "\x16\x03\x01\x02\r\n\r\n").await.0, 400);
    assert_eq!(
        ask_proxy(&edge, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .0,
        405
    );
    let long = format!(
        "CONNECT {HOST}:{PORT} HTTP/1.1\r\nX: {}",
        "a".repeat(16 * 1024)
    );
    let (status, answer) = ask_proxy(&edge, &long).await;
    assert_eq!(status, 431);
    assert!(answer.contains("16384"), "{answer}");
}

async fn connect(edge: &TestEdge, host: &str, port: u16) -> (u16, String) {
    let credentials = authorization(USER, PASSWORD);
    ask_proxy(
        edge,
        &format!("CONNECT {host}:{port} HTTP/1.1\r\n{credentials}\r\n\r\n"),
    )
    .await
}
