//! A connection for the time: a machine whose clock nobody else confirms asks this edge.
//!
//! Anybody may ask, as anybody may read a clock on a wall. Whoever asks is a stranger, within the
//! bounds of strangers: so many at once, so many bytes, so many seconds, and one answer.

use std::net::SocketAddr;

use connector_proto::data::refused;
use connector_proto::edge_time::{Answering, reply};
use connector_proto::message::CloseCode;
use log::info;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout_at;

use crate::clock;
use crate::tls::{self, Tls};

/// Serves one question.
pub(crate) async fn serve(mut tls: Tls, peer: SocketAddr) {
    let last = match nonce_of(&mut tls).await {
        Ok(nonce) => {
            info!("{peer}: asks for the time");
            reply(nonce, clock::unix_now_us())
        }
        Err((code, problem)) => {
            info!("{peer}: the time is not told: {problem}");
            refused(code)
        }
    };
    tls::farewell(tls, &last).await;
}

async fn nonce_of(tls: &mut Tls) -> Result<[u8; 32], (CloseCode, String)> {
    let mut answering = Answering::new(clock::now());
    let deadline = clock::deadline(answering.deadline());
    let mut buffer = [0; 256];
    loop {
        let len = match timeout_at(deadline, tls.read(&mut buffer)).await {
            Ok(Ok(0)) => return Err((CloseCode::Normal, "it ended before it asked".into())),
            Ok(Ok(len)) => len,
            Ok(Err(error)) => return Err((CloseCode::Normal, error.to_string())),
            Err(_) => return Err((CloseCode::TimedOut, "it did not ask in time".into())),
        };
        match answering.handle_input(&buffer[..len]) {
            Ok(Some(nonce)) => return Ok(nonce),
            Ok(None) => {}
            Err(error) => return Err((error.close_code(), error.to_string())),
        }
    }
}
