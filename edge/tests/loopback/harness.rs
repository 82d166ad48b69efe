//! What the stories are told with: an edge in a directory of its own, connectors, applications.

mod connector;
pub mod data;
pub mod program;
pub mod tls;
mod user;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant as StdInstant};

use argon2::Params;
use connector_proto::key::ProvisioningKey;
use connector_proto::time::{Instant, UnixSeconds};
use edge::authority::Authority;
use edge::config::DataDir;
use edge::store::Store;
use edge::store::keys::KeyOrder;
use edge::store::users::NewUser;
use edge::{Config, Edge, Running, passwords};
use splice_core::plane;

pub use connector::{
    Conduct, FINGERPRINT, Identity, Machine, TestConnector, enrol, enrol_without_hearing,
    next_event,
};
pub use data::{Turned, warm_up, warm_up_saying};
pub use program::Program;
pub use tls::{Tls, dial};
pub use user::{
    application, ask_proxy, authorization, echo_application, half_close_application, proxy_connect,
    web_application,
};

/// The user every edge here has.
pub const USER: &str = "mona";
pub const PASSWORD: &str = "correct:horse";
/// The group every edge here has.
pub const GROUP: &str = "hq";
/// The application every edge here has; connectors find it where [`TestConnector::start`] says.
pub const HOST: &str = "intranet.corp.example";
pub const PORT: u16 = 80;

const EDGE_NAME: &str = "edge.example.org";
/// Longer than anything here takes; only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(15);

/// Awaits something that must come.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come"))
}

/// Asks until the answer is yes.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let asking = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(what, asking).await;
}

pub struct TestEdge {
    pub dir: PathBuf,
    pub running: Option<Running>,
    plane: plane::Config,
}

impl TestEdge {
    pub async fn start() -> Self {
        Self::start_with(plane::Config::default()).await
    }

    /// With sessions that are carried like this.
    pub async fn start_with(plane: plane::Config) -> Self {
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let name = format!("edge-loopback-{:016x}", u64::from_be_bytes(random));
        let dir = std::env::temp_dir().join(name);
        let store = Authority::create(&DataDir::new(&dir), &[EDGE_NAME.into()]).unwrap();
        furnish(&store);
        drop(store);
        let mut edge = Self {
            dir,
            running: None,
            plane,
        };
        edge.start_again(any_port()).await;
        edge
    }

    pub async fn start_again(&mut self, listen: SocketAddr) {
        let config = Config {
            data: DataDir::new(&self.dir),
            listen,
            proxy: any_port(),
            plane: self.plane,
        };
        self.running = Some(Edge::start(config).await.unwrap());
    }

    pub async fn stop(&mut self) {
        self.running.take().unwrap().stop().await;
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        self.running().control_addr
    }

    pub fn store(&self) -> &Store {
        self.running().store()
    }

    pub fn mint(&self, max_uses: u32) -> ProvisioningKey {
        self.mint_until(max_uses, now().0 + 3600)
    }

    pub fn mint_until(&self, max_uses: u32, expires_at: u64) -> ProvisioningKey {
        let expires_at = UnixSeconds(expires_at);
        let order = KeyOrder {
            group: GROUP,
            max_uses,
            expires_at,
            label: None,
        };
        self.store().mint_key(&order, now()).unwrap().key
    }

    /// Uses spent of all keys together.
    pub fn uses(&self) -> u32 {
        self.store()
            .keys(now())
            .unwrap()
            .iter()
            .map(|key| key.uses)
            .sum()
    }

    /// A machine that is enrolled.
    pub async fn enrolled(&self) -> Identity {
        let machine = Machine::new();
        let enrolment = enrol(self.address(), &self.mint(1), &machine)
            .await
            .unwrap();
        Identity { machine, enrolment }
    }

    pub fn is_connected(&self, name: &str) -> bool {
        let connectors = self.store().connectors().unwrap();
        connectors
            .iter()
            .any(|one| one.name == name && one.connected)
    }

    pub fn audit_events(&self) -> Vec<String> {
        let rows = self.store().audit_rows(1000).unwrap();
        rows.iter()
            .map(|row| row["event"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Drop for TestEdge {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn furnish(store: &Store) {
    store.add_group(GROUP, now()).unwrap();
    store
        .add_application("intranet", GROUP, HOST, &(PORT..=PORT), now())
        .unwrap();
    let cheap = Params::new(Params::MIN_M_COST, 1, 1, None).unwrap();
    let password_hash = passwords::hash(PASSWORD, cheap).unwrap();
    let user = NewUser {
        name: USER,
        password_hash,
        applications: &[],
    };
    store.add_user(&user, now()).unwrap();
}

pub fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub fn now() -> UnixSeconds {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    UnixSeconds(since.as_secs())
}

pub fn clock() -> Instant {
    static START: OnceLock<StdInstant> = OnceLock::new();
    let elapsed = START.get_or_init(StdInstant::now).elapsed();
    Instant::from_micros(u64::try_from(elapsed.as_micros()).unwrap())
}
