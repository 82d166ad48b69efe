//! What a user is told who does not get a session: one sentence.

use std::fmt;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::LINGER_MAX;

/// Why there is no session.
#[derive(Debug)]
pub(super) struct Refusal {
    status: Status,
    detail: String,
}

/// The kind of refusal (RFC 9110 section 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    BadGateway,
    BadRequest,
    CredentialsWanted,
    Forbidden,
    GatewayTimeout,
    HeadTooLarge,
    LengthRequired,
    MethodNotAllowed,
    Timeout,
    Unavailable,
}

impl Refusal {
    pub(super) const fn new(status: Status, detail: String) -> Self {
        Self { status, detail }
    }

    pub(super) fn bad_request(detail: &str) -> Self {
        Self::new(Status::BadRequest, detail.into())
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    fn to_bytes(&self) -> Vec<u8> {
        let challenge = match self.status {
            Status::CredentialsWanted => {
                "Proxy-Authenticate: Basic realm=\"outgate edge\", charset=\"UTF-8\"\r\n"
            }
            _ => "",
        };
        let (status, body) = (self.status.line(), format!("{}\n", self.detail));
        let len = body.len();
        format!(
            "HTTP/1.1 {status}\r\n{challenge}Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {len}\r\nConnection: close\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status.line(), self.detail)
    }
}

impl Status {
    const fn line(self) -> &'static str {
        match self {
            Self::BadGateway => "502 Bad Gateway",
            Self::BadRequest => "400 Bad Request",
            Self::CredentialsWanted => "407 Proxy Authentication Required",
            Self::Forbidden => "403 Forbidden",
            Self::GatewayTimeout => "504 Gateway Timeout",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::LengthRequired => "411 Length Required",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::Timeout => "408 Request Timeout",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// Sends the refusal and ends the connection so that it arrives: a socket closed with unread bytes
/// in it would reset the connection and the answer with it.
pub(super) async fn send(mut user: TcpStream, refusal: &Refusal) {
    let answer = async {
        user.write_all(&refusal.to_bytes()).await?;
        user.shutdown().await?;
        let mut rest = [0; 1024];
        while user.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    // The user may be gone already, and may go on sending: either way the answer was given.
    let _ = timeout(LINGER_MAX, answer).await;
}
