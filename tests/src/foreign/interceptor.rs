//! A proxy that inspects TLS: mitmproxy, between a lab's network and its edge.
//!
//! It ends the connector's TLS, makes a certificate for the name that was asked for, and speaks TLS to the
//! edge in turn, with the ALPN that it was offered. What passes it sees in clear, and tells.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::ForeignError;
use super::daemon::Daemon;

/// The program's name.
pub const PROGRAM: &str = "mitmdump";

/// The name of the authority that mitmproxy makes for itself.
pub const OWN_AUTHORITY: &str = "mitmproxy";

/// How long it may take to say where it listens, once it runs.
const READY_MAX: Duration = Duration::from_secs(30);

/// Tells what mitmproxy sees: a script of its own kind, as its users write them.
const WITNESS: &str = r#"
def say(*words):
    print("witness:", *words, flush=True)

class Witness:
    def tls_established_client(self, data):
        say("client-established", data.conn.alpn.decode())
    def tls_failed_client(self, data):
        say("client-failed", (data.conn.alpn_offers or [b""])[0].decode())
    def tls_established_server(self, data):
        say("edge-established", data.conn.alpn.decode())
    def tcp_message(self, flow):
        message = flow.messages[-1]
        say("from-client" if message.from_client else "from-edge", message.content.hex())

addons = [Witness()]
"#;

/// Who signs the certificates that it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority<'name> {
    /// Its own, as it is installed: [`OWN_AUTHORITY`].
    Own,
    /// One that takes this common name, which is another's.
    Named(&'name str),
}

/// A running interceptor.
#[derive(Debug)]
pub struct Interceptor {
    daemon: Daemon,
    address: SocketAddr,
}

/// What an interceptor saw in clear, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A handshake with the connector was completed, for this ALPN.
    ClientEstablished(String),
    /// The connector broke a handshake off in which it had offered this ALPN.
    ClientFailed(String),
    /// A handshake with the edge was completed, for this ALPN.
    EdgeEstablished(String),
    /// Bytes of the connector, in hex.
    FromClient(String),
    /// Bytes of the edge, in hex.
    FromEdge(String),
}

impl Interceptor {
    /// Starts one before the server at `upstream`; its files are in `folder`, which is made.
    ///
    /// # Errors
    /// [`ForeignError`].
    pub fn start(
        folder: &Path,
        upstream: SocketAddr,
        authority: Authority<'_>,
    ) -> Result<Self, ForeignError> {
        fs::create_dir_all(folder)?;
        if let Authority::Named(name) = authority {
            make_authority(folder, name)?;
        }
        fs::write(folder.join("witness.py"), WITNESS)?;
        let mode = format!("reverse:https://{upstream}");
        let words = ["--mode", &mode, "--scripts", "witness.py"];
        let place = ["--listen-host", "127.0.0.1", "--listen-port", "0"];
        // It asks the edge for what it is asked for itself, name and ALPN, takes the edge's certificate as it
        // is, and passes on what is no HTTP.
        let settings = [
            "confdir=.",
            "connection_strategy=lazy",
            "ssl_insecure=true",
            "keep_host_header=true",
            "tcp_hosts=.*",
        ];
        let settings = settings.iter().flat_map(|setting| ["--set", *setting]);
        let words: Vec<_> = words.into_iter().chain(place).chain(settings).collect();
        let daemon = Daemon::start_on_host(folder, PROGRAM, &words, "server listening at ")?;
        let address = daemon.wait_for("\n", READY_MAX)?;
        let address = address.trim().parse().map_err(|_| ForeignError::Refused {
            command: PROGRAM.to_owned(),
            output: daemon.log(),
        })?;
        Ok(Self { daemon, address })
    }

    /// Where connectors reach it on the host.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it saw so far.
    pub fn seen(&self) -> Vec<Seen> {
        let log = self.daemon.log();
        let lines = log
            .lines()
            .filter_map(|line| line.strip_prefix("witness: "));
        lines.filter_map(|line| parse(line.trim_end())).collect()
    }

    /// Waits until it tells of what was not waited for before: `client-failed` for instance.
    ///
    /// # Errors
    /// [`ForeignError::Console`].
    pub fn wait_for(&self, word: &str, timeout: Duration) -> Result<(), ForeignError> {
        self.daemon.wait_for(word, timeout).map(drop)
    }
}

fn parse(line: &str) -> Option<Seen> {
    let (what, text) = line.split_once(' ')?;
    let text = text.to_owned();
    Some(match what {
        "client-established" => Seen::ClientEstablished(text),
        "client-failed" => Seen::ClientFailed(text),
        "edge-established" => Seen::EdgeEstablished(text),
        "from-client" => Seen::FromClient(text),
        "from-edge" => Seen::FromEdge(text),
        _ => return None,
    })
}

/// A key and a certificate for it, where mitmproxy looks for its own.
fn make_authority(folder: &Path, name: &str) -> Result<(), ForeignError> {
    let files = ["key.pem", "certificate.pem"];
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "30"])
        .args(["-pkeyopt", "ec_paramgen_curve:P-256"])
        .args(["-subj", &format!("/CN={name}")])
        .args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"])
        .args(["-keyout", files[0], "-out", files[1]])
        .current_dir(folder)
        .output()?;
    if !output.status.success() {
        return Err(ForeignError::Refused {
            command: "openssl req".to_owned(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    let pem = files.map(|file| fs::read(folder.join(file)));
    let [key, certificate] = pem;
    fs::write(
        folder.join("mitmproxy-ca.pem"),
        [key?, certificate?].concat(),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_witness_says_is_understood_and_nothing_else() {
        assert_eq!(
            parse("from-client 0000001201"),
            Some(Seen::FromClient("0000001201".to_owned()))
        );
        assert_eq!(
            parse("client-failed outgate-control/1"),
            Some(Seen::ClientFailed("outgate-control/1".to_owned()))
        );
        assert_eq!(parse("ready"), None);
        assert_eq!(parse("from-nobody 00"), None);
    }
}
