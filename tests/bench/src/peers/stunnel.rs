//! stunnel: a client and a server.

use crate::load::door::Door;
use crate::program::Program;
use crate::scene::{Running, Scene, TARGET, TUNNEL_INWARD, USERS};
use crate::trouble::Trouble;

/// Starts the pair.
pub fn start(scene: &Scene) -> Result<Running, Trouble> {
    let made = scene.certificate()?;
    let (certificate, key) = (made.certificate.display(), made.key.display());
    let connector = stunnel(
        scene,
        "connector",
        &format!(
            "accept = {TUNNEL_INWARD}\nconnect = {TARGET}\ncert = {certificate}\nkey = {key}\n\
             ciphersuites = TLS_AES_128_GCM_SHA256"
        ),
    )?;
    let edge = stunnel(
        scene,
        "edge",
        &format!(
            "client = yes\naccept = {USERS}\nconnect = {TUNNEL_INWARD}\nsni = bench\n\
             verifyChain = yes\nCAfile = {certificate}"
        ),
    )?;
    Ok(Running::new(Door::port(USERS), edge, connector))
}

fn stunnel(scene: &Scene, name: &str, service: &str) -> Result<Program, Trouble> {
    let mut command = scene.debian("usr/bin/stunnel4")?;
    let sockets = "socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1";
    let config = format!(
        "foreground = yes\npid =\ndebug = err\n{sockets}\n[tunnel]\n{service}\nsslVersion = TLSv1.3\n"
    );
    let config = scene.write(&format!("stunnel-{name}.conf"), config)?;
    command.arg(config);
    scene.start(&format!("stunnel-{name}"), command)
}
