//! HAProxy: two TCP proxies with TLS between them.

use std::fs;

use crate::load::door::Door;
use crate::program::Program;
use crate::scene::{Running, Scene, TARGET, TUNNEL_INWARD, USERS};
use crate::trouble::Trouble;

/// Starts the pair.
pub fn start(scene: &Scene) -> Result<Running, Trouble> {
    let made = scene.certificate()?;
    let certificate = fs::read_to_string(&made.certificate)?;
    let both = scene.write("haproxy.pem", certificate + &fs::read_to_string(&made.key)?)?;
    let connector = haproxy(
        scene,
        "connector",
        &format!(
            "bind {TUNNEL_INWARD} backlog 4096 ssl crt {} ssl-min-ver TLSv1.3 ciphersuites TLS_AES_128_GCM_SHA256
    server application {TARGET}",
            both.display()
        ),
    )?;
    let edge = haproxy(
        scene,
        "edge",
        &format!(
            "bind {USERS} backlog 4096
    server connector {TUNNEL_INWARD} ssl verify required ca-file {} sni str(bench)",
            made.certificate.display()
        ),
    )?;
    Ok(Running::new(Door::port(USERS), edge, connector))
}

fn haproxy(scene: &Scene, name: &str, listen: &str) -> Result<Program, Trouble> {
    let mut command = scene.debian("usr/sbin/haproxy")?;
    // Descriptors: a session takes two of them.
    let config = format!(
        "global
    maxconn 9500
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen tunnel
    {listen}
"
    );
    let config = scene.write(&format!("haproxy-{name}.cfg"), config)?;
    command.args(["-db", "-q", "-f"]).arg(config);
    scene.start(&format!("haproxy-{name}"), command)
}
