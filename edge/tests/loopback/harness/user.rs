//! Users of the proxy, and the applications they reach.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{PASSWORD, TestEdge, USER, any_port, soon};

/// An application that sends back what it gets and ends when the user ends.
pub async fn echo_application() -> SocketAddr {
    application(|mut stream| async move {
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
        let _ = to.shutdown().await;
    })
    .await
}

/// An application that reads up to the user's end and then answers with what it read, so it works
/// only if the user's end travels while the other direction stays open.
pub async fn half_close_application() -> SocketAddr {
    application(|mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream
            .write_all(format!("{} bytes: ", all.len()).as_bytes())
            .await
            .unwrap();
        stream.write_all(&all).await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await
}

/// A web server with one page that shows the request it got.
pub async fn web_application() -> SocketAddr {
    application(|mut stream| async move {
        let mut request = Vec::new();
        let mut part = [0; 1024];
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let len = stream.read(&mut part).await.unwrap();
            assert_ne!(len, 0);
            request.extend_from_slice(&part[..len]);
        }
        let body = format!("private page\n{}", String::from_utf8(request).unwrap());
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await
}

pub async fn application<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// `CONNECT` with the right credentials; the status line's code, and the stream after the head.
pub async fn proxy_connect(edge: &TestEdge, target: &str) -> (u16, TcpStream) {
    let mut user = TcpStream::connect(edge.running().proxy_addr).await.unwrap();
    let head = format!(
        "CONNECT {target} HTTP/1.1\r\n{}\r\n\r\n",
        authorization(USER, PASSWORD)
    );
    user.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(soon("the proxy's answer", user.read_u8()).await.unwrap());
    }
    (status(&answer), user)
}

/// Sends bytes to the proxy and returns all it says until it ends.
pub async fn ask_proxy(edge: &TestEdge, request: &str) -> (u16, String) {
    let mut user = TcpStream::connect(edge.running().proxy_addr).await.unwrap();
    user.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    soon("the proxy's answer", user.read_to_end(&mut answer))
        .await
        .unwrap();
    (status(&answer), String::from_utf8(answer).unwrap())
}

fn status(answer: &[u8]) -> u16 {
    let text = std::str::from_utf8(answer).unwrap();
    text.split(' ')
        .nth(1)
        .unwrap_or_else(|| panic!("{text:?}"))
        .parse()
        .unwrap()
}

pub fn authorization(user: &str, password: &str) -> String {
    let text = format!("{user}:{password}");
    let mut buffer = [0; 256];
    let encoded = argon2::password_hash::Encoding::B64.encode(text.as_bytes(), &mut buffer);
    let encoded = encoded.unwrap();
    let padding = "=".repeat((4 - encoded.len() % 4) % 4);
    format!("Proxy-Authorization: Basic {encoded}{padding}")
}
