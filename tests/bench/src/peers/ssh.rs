//! OpenSSH: the connector side logs in and has a port of the edge side forwarded to the application.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::load::door::Door;
use crate::namespace::run;
use crate::scene::{Running, Scene, TARGET, TUNNEL, USERS};
use crate::trouble::Trouble;

/// Starts server and client.
pub fn start(scene: &Scene) -> Result<Running, Trouble> {
    let users = fs::read_to_string("/proc/self/uid_map")?;
    if users.split_whitespace().nth(2) == Some("1") {
        let why = "sshd needs more users than one: run this as root";
        return Err(Trouble::Missing(why.to_owned()));
    }
    let (host_key, user_key) = (scene.file("ssh_host_key"), scene.file("ssh_user_key"));
    for key in [&host_key, &user_key] {
        if !key.exists() {
            let mut keygen = scene.debian("usr/bin/ssh-keygen")?;
            run(keygen
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(key))?;
        }
    }
    give_sshd_its_user(scene)?;
    let config = scene.write(
        "sshd_config",
        format!(
            "ListenAddress {TUNNEL}\nHostKey {}\nAuthorizedKeysFile {}.pub\nPermitRootLogin yes\n\
             StrictModes no\nUsePAM no\nGatewayPorts clientspecified\nPidFile none\n\
             Ciphers aes256-gcm@openssh.com\n",
            host_key.display(),
            user_key.display()
        ),
    )?;
    let mut sshd = scene.debian("usr/sbin/sshd")?;
    sshd.args(["-D", "-e", "-f"]).arg(config);
    let edge = scene.start("sshd", sshd)?;
    let mut ssh = scene.debian("usr/bin/ssh")?;
    ssh.args(["-N", "-F", "none", "-o", "ConnectionAttempts=10"]);
    let known = known_hosts(scene, &host_key)?;
    ssh.arg("-o")
        .arg(format!("UserKnownHostsFile={}", known.display()));
    ssh.args(["-o", "ExitOnForwardFailure=yes", "-o", "Compression=no"]);
    ssh.args(["-c", "aes256-gcm@openssh.com", "-i"])
        .arg(user_key);
    ssh.args(["-R", &format!("{USERS}:{TARGET}")]);
    ssh.args(["-p", &TUNNEL.port().to_string()]);
    ssh.arg(format!("root@{}", TUNNEL.ip()));
    let connector = scene.start("ssh", ssh)?;
    Ok(Running::new(Door::port(USERS), edge, connector))
}

/// The file that tells the client which host key is the server's.
fn known_hosts(scene: &Scene, host_key: &Path) -> Result<PathBuf, Trouble> {
    let public = fs::read_to_string(host_key.with_extension("pub"))?;
    let (address, port) = (TUNNEL.ip(), TUNNEL.port());
    scene.write("known_hosts", format!("[{address}]:{port} {public}"))
}

/// sshd wants a user of that name and an empty folder; both are seen in this namespace only.
fn give_sshd_its_user(scene: &Scene) -> Result<(), Trouble> {
    fs::create_dir_all("/run/sshd")?;
    let users = fs::read_to_string("/etc/passwd")?;
    if users.lines().any(|line| line.starts_with("sshd:")) {
        return Ok(());
    }
    let more = "sshd:x:65534:65534::/run/sshd:/usr/sbin/nologin\n";
    let file = scene.write("passwd", format!("{users}{more}"))?;
    run(Command::new("mount")
        .arg("--bind")
        .args([file.as_path(), Path::new("/etc/passwd")]))
}
