//! rathole: dialled outward, one connection for each session from a pool, TLS by OpenSSL.

use std::process::Command;

use crate::load::door::Door;
use crate::program::Program;
use crate::scene::{Running, Scene, TARGET, TUNNEL, USERS};
use crate::trouble::Trouble;

/// Starts server and client.
pub fn start(scene: &Scene) -> Result<Running, Trouble> {
    let made = scene.certificate()?;
    let edge = rathole(
        scene,
        "server",
        &format!(
            "bind_addr = '{TUNNEL}'\n[server.transport]\ntype = 'tls'\n[server.transport.tls]\n\
             pkcs12 = '{}'\npkcs12_password = 'bench'\n\
             [server.services.tunnel]\nbind_addr = '{USERS}'",
            made.both.display()
        ),
    )?;
    let connector = rathole(
        scene,
        "client",
        &format!(
            "remote_addr = '{TUNNEL}'\nretry_interval = 1\n[client.transport]\ntype = 'tls'\n\
             [client.transport.tls]\ntrusted_root = '{}'\nhostname = 'bench'\n\
             [client.services.tunnel]\nlocal_addr = '{TARGET}'",
            made.certificate.display()
        ),
    )?;
    Ok(Running::new(Door::port(USERS), edge, connector))
}

fn rathole(scene: &Scene, role: &str, config: &str) -> Result<Program, Trouble> {
    let program = scene.places().rathole.as_ref();
    let missing = || Trouble::Missing("rathole could not be built".to_owned());
    let mut command = Command::new(program.ok_or_else(missing)?);
    let config = format!("[{role}]\ndefault_token = 'bench'\n{config}\n");
    let config = scene.write(&format!("rathole-{role}.toml"), config)?;
    command.arg(format!("--{role}")).arg(config);
    command.env("RUST_LOG", "warn");
    scene.start(&format!("rathole-{role}"), command)
}
