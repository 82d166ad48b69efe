//! The yardsticks: this program, twice, as a relay.

use std::net::SocketAddr;
use std::process::Command;

use crate::load::door::Door;
use crate::program::Program;
use crate::scene::{Running, Scene, TARGET, TUNNEL_INWARD, USERS};
use crate::trouble::Trouble;

/// A pair that splices.
pub fn splice(scene: &Scene) -> Result<Running, Trouble> {
    pair(scene, "splice")
}

/// A pair that reads and writes.
pub fn copy(scene: &Scene) -> Result<Running, Trouble> {
    pair(scene, "copy")
}

fn pair(scene: &Scene, kind: &str) -> Result<Running, Trouble> {
    let connector = relay(scene, kind, TUNNEL_INWARD, TARGET)?;
    let edge = relay(scene, kind, USERS, TUNNEL_INWARD)?;
    Ok(Running::new(Door::port(USERS), edge, connector))
}

fn relay(scene: &Scene, kind: &str, from: SocketAddr, to: SocketAddr) -> Result<Program, Trouble> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["relay", kind, &from.to_string(), &to.to_string()]);
    scene.start(&format!("relay-{}", from.ip()), command)
}
