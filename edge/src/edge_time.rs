//! A connection for the time: a machine whose clock nobody else confirms asks this edge.
//!
//! Anybody may ask, as anybody may read a clock on a wall. Whoever asks is a stranger, within the
//! bounds of strangers: so many at once, so many bytes, so many seconds, and one answer.

use std::net::SocketAddr;

use connector_proto::data::refused;
use connector_proto::edge_time::{Answering, reply};
use connector_proto::message::CloseCode;
use log::info;

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
    let deadline = answering.deadline();
    tls::question(tls, deadline, |bytes| answering.handle_input(bytes)).await
}
