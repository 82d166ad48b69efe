//! An HTTP proxy that wants to know who asks: Tinyproxy.

use std::fs;
use std::path::Path;

use super::ForeignError;
use super::daemon::Daemon;
use super::namespace::Namespace;
use crate::network::address::{EDGE, PROXY, RESOLVER};

/// The program's name.
pub const PROGRAM: &str = "tinyproxy";
/// Who may use it.
pub const USER: &str = "outgate";
/// With this password.
pub const PASSWORD: &str = "pass-through";

/// Starts it. It resolves names itself, with the network's resolver.
///
/// # Errors
/// [`ForeignError`].
pub fn start(namespace: &Namespace, folder: &Path) -> Result<Daemon, ForeignError> {
    let (address, port) = (PROXY.ip(), PROXY.port());
    let configuration = format!(
        "Port {port}\nListen {address}\nTimeout 600\nMaxClients 20\nLogLevel Info\n\
         BasicAuth {USER} {PASSWORD}\nConnectPort {}\n",
        EDGE.port()
    );
    fs::write(folder.join("tinyproxy.conf"), configuration)?;
    fs::write(
        folder.join("resolv.conf"),
        format!("nameserver {RESOLVER}\n"),
    )?;
    // It has no setting for the resolver but the host's file, which is another one in its own mount
    // namespace.
    let script = "mount --bind resolv.conf /etc/resolv.conf && exec \"$0\" \"$@\"";
    Daemon::start_by(
        &["unshare", "--mount", "sh", "-c", script],
        namespace,
        folder,
        PROGRAM,
        &["-d", "-c", "tinyproxy.conf"],
        "Accepting connections",
    )
}
