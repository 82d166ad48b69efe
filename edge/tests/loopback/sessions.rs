//! Sessions: bytes both ways, each end in its own time, and no end that is not one.

use std::io::ErrorKind;
use std::sync::Arc;

use connector_proto::message::SessionRefusal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{
    Conduct, HOST, PASSWORD, PORT, TestConnector, TestEdge, USER, application, ask_proxy,
    authorization, echo_application, half_close_application, proxy_connect, soon, until,
    web_application,
};

async fn edge_with(conduct: Conduct) -> (TestEdge, TestConnector) {
    let edge = TestEdge::start().await;
    let identity = Arc::new(edge.enrolled().await);
    let connector = TestConnector::start(&edge, identity, conduct).await;
    (edge, connector)
}

fn target() -> String {
    format!("{HOST}:{PORT}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_page_comes_back_through_a_connect_tunnel() {
    let (edge, _connector) = edge_with(Conduct::Serve(web_application().await)).await;
    let (status, mut user) = proxy_connect(&edge, &target().to_uppercase()).await;
    assert_eq!(status, 200);
    user.write_all(b"GET /page HTTP/1.1\r\nHost: intranet\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    soon("the page", user.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(
        answer.contains("private page\nGET /page HTTP/1.1"),
        "{answer}"
    );
    drop(user);
    until("the end in the audit log", || {
        edge.audit_events().contains(&"session_ended".into())
    })
    .await;
    let rows = edge.store().audit_rows(2).unwrap();
    assert_eq!(
        (&rows[0]["event"], &rows[0]["user"]),
        (&"session_granted".into(), &USER.into())
    );
    assert_eq!(rows[1]["session"], rows[0]["session"]);
    assert_eq!(rows[1]["bytes_down"], answer.len());
    assert_eq!(rows[1]["reason"], "finished");
    edge.store().verify_audit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_http_url_works_without_a_tunnel_and_the_password_stays_at_the_edge() {
    let (edge, _connector) = edge_with(Conduct::Serve(web_application().await)).await;
    let credentials = authorization(USER, PASSWORD);
    let request = format!(
        "GET http://{HOST}/page HTTP/1.1\r\nHost: {HOST}\r\n{credentials}\r\nProxy-Connection: Keep-Alive\r\n\r\n"
    );
    let (status, answer) = ask_proxy(&edge, &request).await;
    assert_eq!(status, 200);
    assert!(answer.contains("private page\nGET /page HTTP/1.1\r\nHost: intranet.corp.example"));
    assert!(
        !answer.contains("Proxy-") && answer.contains("Connection: close"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_request_on_the_same_connection_never_reaches_the_first_ones_application() {
    let (edge, _connector) = edge_with(Conduct::Serve(half_close_application().await)).await;
    let credentials = authorization(USER, PASSWORD);
    let request = |body: &str| {
        let len = body.len();
        format!(
            "POST http://{HOST}/ HTTP/1.1\r\n{credentials}\r\nContent-Length: {len}\r\n\r\n{body}"
        )
    };
    let mut user = tokio::net::TcpStream::connect(edge.running().proxy_addr)
        .await
        .unwrap();
    user.write_all((request("first") + &request("second")).as_bytes())
        .await
        .unwrap();
    user.shutdown().await.unwrap();
    let mut answer = String::new();
    soon("the answer", user.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(answer.ends_with("\r\n\r\nfirst"), "{answer}");
    assert!(!answer.contains("Basic"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_end_travels_while_the_answer_still_comes() {
    let (edge, _connector) = edge_with(Conduct::Serve(half_close_application().await)).await;
    let (status, mut user) = proxy_connect(&edge, &target()).await;
    assert_eq!(status, 200);
    user.write_all(b"everything").await.unwrap();
    user.shutdown().await.unwrap();
    let mut answer = String::new();
    soon("the answer", user.read_to_string(&mut answer))
        .await
        .unwrap();
    assert_eq!(answer, "10 bytes: everything");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_applications_end_travels_while_the_user_still_sends() {
    let (heard, mut hearing) = tokio::sync::mpsc::unbounded_channel();
    let app = application(move |mut stream| {
        let heard = heard.clone();
        async move {
            stream.write_all(b"bye").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            heard.send(all).unwrap();
        }
    })
    .await;
    let (edge, _connector) = edge_with(Conduct::Serve(app)).await;
    let (_, mut user) = proxy_connect(&edge, &target()).await;
    let mut answer = String::new();
    soon("the end", user.read_to_string(&mut answer))
        .await
        .unwrap();
    assert_eq!(answer, "bye");
    user.write_all(b"one more thing").await.unwrap();
    user.shutdown().await.unwrap();
    assert_eq!(
        soon("the user's bytes", hearing.recv()).await.unwrap(),
        b"one more thing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_without_close_notify_is_a_reset_and_not_an_end() {
    let (edge, _connector) = edge_with(Conduct::Truncate(b"half a p")).await;
    let (status, mut user) = proxy_connect(&edge, &target()).await;
    assert_eq!(status, 200);
    let mut answer = Vec::new();
    let error = soon("the reset", user.read_to_end(&mut answer))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_megabytes_survive_the_way_there_and_back() {
    let (edge, _connector) = edge_with(Conduct::Serve(echo_application().await)).await;
    let (_, user) = proxy_connect(&edge, &target()).await;
    let sent: Vec<u8> = (0..8_u32 << 20)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let (mut from, mut to) = user.into_split();
    let copy = sent.clone();
    tokio::spawn(async move {
        to.write_all(&copy).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    soon("all bytes", from.read_to_end(&mut received))
        .await
        .unwrap();
    assert!(
        received == sent,
        "{} of {} bytes, or altered",
        received.len(),
        sent.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connectors_refusal_reaches_the_user_as_a_sentence_that_steers_no_terminal() {
    for (reason, expected) in [
        (SessionRefusal::ConnectionRefused, 502),
        (SessionRefusal::NameNotFound, 502),
        (SessionRefusal::AddressDenied, 502),
        (SessionRefusal::Unreachable, 504),
        (SessionRefusal::TooManySessions, 503),
    ] {
        let (edge, _connector) = edge_with(Conduct::Refuse(reason, "why\u{1b}[2J")).await;
        let credentials = authorization(USER, PASSWORD);
        let request = format!("CONNECT {} HTTP/1.1\r\n{credentials}\r\n\r\n", target());
        let (status, answer) = ask_proxy(&edge, &request).await;
        assert_eq!(status, expected, "{answer}");
        assert!(answer.contains(&reason.to_string()), "{answer}");
        assert!(answer.contains("why\\u{1b}[2J"), "{answer}");
        assert!(edge.audit_events().contains(&"session_refused".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_connector_that_vanishes_is_told_at_once() {
    let (edge, connector) = edge_with(Conduct::Ignore).await;
    let credentials = authorization(USER, PASSWORD);
    let request = format!("CONNECT {} HTTP/1.1\r\n{credentials}\r\n\r\n", target());
    let asking = ask_proxy(&edge, &request);
    let vanishing = async {
        until("the offer", || {
            edge.audit_events().contains(&"session_granted".into())
        })
        .await;
        connector.stop();
    };
    let ((status, answer), ()) = tokio::join!(asking, vanishing);
    assert_eq!(status, 502, "{answer}");
    assert!(answer.contains("went away"), "{answer}");
}
