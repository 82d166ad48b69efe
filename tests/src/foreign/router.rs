//! An IPv6 router: dnsmasq, which advertises the prefix and the resolver, and leases nothing.

use std::fs;
use std::path::Path;

use super::ForeignError;
use super::daemon::Daemon;
use super::namespace::{BRIDGE, Namespace};
use crate::network::address::{PREFIX6, RESOLVER6};

/// The program's name.
pub const PROGRAM: &str = "dnsmasq";

/// Starts it.
///
/// # Errors
/// [`ForeignError`].
pub fn start(namespace: &Namespace, folder: &Path) -> Result<Daemon, ForeignError> {
    let configuration = format!(
        "user=\ngroup=\nport=0\npid-file=\nleasefile-ro\n\
         interface={BRIDGE}\nbind-interfaces\nenable-ra\n\
         dhcp-range={PREFIX6},ra-only,64,3600\n\
         dhcp-option=option6:dns-server,[{RESOLVER6}]\n"
    );
    fs::write(folder.join("router.conf"), configuration)?;
    let arguments = [
        "--keep-in-foreground",
        "--log-facility=-",
        "--conf-file=router.conf",
    ];
    let ready = "IPv6 router advertisement enabled";
    Daemon::start(namespace, folder, PROGRAM, &arguments, ready)
}
