//! The reference edge in this process, with one group, one user and the applications of a test.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use connector_proto::key::ProvisioningKey;
use connector_proto::time::UnixSeconds;
use edge::authority::Authority;
use edge::config::DataDir;
use edge::store::Store;
use edge::store::keys::KeyOrder;
use edge::store::users::NewUser;
use edge::{Config, Edge, Running, passwords};
use splice_core::plane;
use tokio::runtime::Runtime;

/// The name in the edge's certificate; nothing resolves it.
pub const EDGE_NAME: &str = "edge.example.org";
pub const EDGE_PORT: u16 = 443;
/// The one group.
pub const GROUP: &str = "hq";
/// The one user, whose password is `s3same`.
const USER: &str = "mona";
const PASSWORD: &str = "s3same";
const AUTHORIZATION: &str = "Basic bW9uYTpzM3NhbWU=";

pub struct TestEdge {
    dir: PathBuf,
    runtime: Runtime,
    running: Option<Running>,
}

impl TestEdge {
    pub fn start() -> Self {
        Self::start_as(&[EDGE_NAME.into()], plane::Config::default())
    }

    /// Starts one that has these names and carries its sessions like this.
    pub fn start_as(names: &[String], plane: plane::Config) -> Self {
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let name = format!("edge-proxied-{:016x}", u64::from_be_bytes(random));
        let dir = std::env::temp_dir().join(name);
        furnish(&Authority::create(&DataDir::new(&dir), names).unwrap());
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = Config {
            data: DataDir::new(&dir),
            listen: any_port,
            proxy: any_port,
            plane,
        };
        let runtime = Runtime::new().unwrap();
        let running = Some(runtime.block_on(Edge::start(config)).unwrap());
        Self {
            dir,
            runtime,
            running,
        }
    }

    /// Where connectors dial in.
    pub fn address(&self) -> SocketAddr {
        self.running().control_addr
    }

    pub fn mint(&self) -> ProvisioningKey {
        let order = KeyOrder {
            group: GROUP,
            max_uses: 1,
            expires_at: UnixSeconds(now().0 + 3600),
            label: None,
        };
        self.running().store().mint_key(&order, now()).unwrap().key
    }

    pub fn add_application(&self, at: SocketAddr) {
        self.add_application_called("intranet", at);
    }

    pub fn add_application_called(&self, name: &str, at: SocketAddr) {
        let host = at.ip().to_string();
        let ports = at.port()..=at.port();
        let store = self.running().store();
        store
            .add_application(name, GROUP, &host, &ports, now())
            .unwrap();
    }

    /// The user who asks for an application.
    pub fn ask(&self, target: SocketAddr) -> User {
        User {
            edge: self.running().proxy_addr,
            target,
        }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }
}

impl Drop for TestEdge {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop());
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub struct User {
    edge: SocketAddr,
    target: SocketAddr,
}

impl User {
    /// The connection to the application, once it stands.
    pub fn connect(&self) -> TcpStream {
        let (socket, answer) = self.request();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        socket
    }

    /// What the edge answers in all, where there is no connection.
    pub fn answer(&self) -> String {
        let (mut socket, mut answer) = self.request();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    fn request(&self) -> (TcpStream, String) {
        let mut socket = TcpStream::connect(self.edge).unwrap();
        let target = self.target;
        let head =
            format!("CONNECT {target} HTTP/1.1\r\nProxy-Authorization: {AUTHORIZATION}\r\n\r\n");
        socket.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        (socket, String::from_utf8(answer).unwrap())
    }
}

fn furnish(store: &Store) {
    store.add_group(GROUP, now()).unwrap();
    let user = NewUser {
        name: USER,
        password_hash: passwords::hash(PASSWORD, passwords::COST).unwrap(),
        applications: &[],
    };
    store.add_user(&user, now()).unwrap();
}

fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixSeconds(since.as_secs())
}
