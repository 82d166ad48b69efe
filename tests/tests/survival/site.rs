//! An edge and a connector as processes, an application between them, and users.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use connector_proto::local::EngineSetting;
use qemu::host::find_program;
use qemu::temp::TempDir;
use rustix::process::Pid;
use tests::edge_process::{EdgeProcess, Place};

use crate::connector::Connector;
use crate::ground::{APPLICATION, DESCRIPTORS, EDGE, USERS, WAY};

/// Nothing that a user waits for takes longer, or it hangs.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// The head of an answer is no longer.
const HEAD_MAX: usize = 4096;

/// What the processes of a site are started with.
#[derive(Clone, Copy)]
pub struct Terms {
    /// Whether connectors reach the edge by a relay at [`WAY`].
    pub is_relayed: bool,
    /// Descriptors that the connector may have.
    pub descriptors: u64,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            is_relayed: false,
            descriptors: DESCRIPTORS,
        }
    }
}

pub struct Site {
    pub edge: EdgeProcess,
    pub connector: Connector,
    authorization: String,
    _folder: TempDir,
}

impl Site {
    /// An edge with an application, and a connector that is enrolled and connected.
    pub fn start(terms: Terms) -> Self {
        let limit = find_program("prlimit")
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let of_connector = format!("--nofile={0}:{0}", terms.descriptors);
        Self::start_behind(terms, &[&limit, &of_connector])
    }

    /// The same, with the command before the connector's own.
    pub fn start_behind(terms: Terms, before_connector: &[&str]) -> Self {
        let folder = TempDir::new("outgate-survival").unwrap();
        let control = if terms.is_relayed { EDGE } else { WAY };
        let place = Place {
            name: WAY.ip().to_string(),
            control: control.to_string(),
            proxy: USERS.to_string(),
            ..Place::default()
        };
        let edge = EdgeProcess::start_at(&folder.path().join("edge"), place).unwrap();
        edge.admin(&["group", "add", "hq"]).unwrap();
        let (host, port) = (APPLICATION.ip().to_string(), APPLICATION.port().to_string());
        let application = ["app", "add", "--group", "hq", "--name", "intranet"];
        let address = ["--host", &host, "--port", &port];
        edge.admin(&[&application[..], &address].concat()).unwrap();
        let minted = edge.admin(&["key", "mint", "--group", "hq"]).unwrap();
        let user = edge.admin(&["user", "add", "mona"]).unwrap();
        let password = user["password"].as_str().unwrap();
        let mut connector = Connector::new(folder.path(), before_connector);
        connector.start(EngineSetting::User);
        connector.enrol(minted["key"].as_str().unwrap());
        Self {
            edge,
            connector,
            authorization: basic(&format!("mona:{password}")),
            _folder: folder,
        }
    }

    pub fn edge_pid(&self) -> Pid {
        self.edge.pid().unwrap()
    }

    /// Returns when users can come in.
    pub fn wait_for_a_session(&self) {
        let door = self.door();
        crate::until("a session", || door.enter().is_ok());
    }

    /// How users come in.
    pub fn door(&self) -> Door {
        let authorization = &self.authorization;
        Door {
            request: format!(
                "CONNECT {APPLICATION} HTTP/1.1\r\nProxy-Authorization: {authorization}\r\n\r\n"
            ),
        }
    }
}

/// The way in for users.
#[derive(Clone)]
pub struct Door {
    request: String,
}

/// What a user is told.
#[derive(Debug)]
pub enum Answer {
    /// The application is there.
    Open,
    /// There is none, with all that the edge said.
    Refused(String),
}

impl Door {
    /// Comes in and asks, without waiting for the answer.
    pub fn knock(&self) -> io::Result<TcpStream> {
        let mut user = TcpStream::connect_timeout(&USERS, PATIENCE)?;
        user.set_nodelay(true)?;
        user.set_read_timeout(Some(PATIENCE))?;
        user.set_write_timeout(Some(PATIENCE))?;
        user.write_all(self.request.as_bytes())?;
        Ok(user)
    }

    /// The answer to a knock.
    pub fn answer(user: &mut TcpStream) -> io::Result<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if user.read(&mut byte)? == 0 || head.len() > HEAD_MAX {
                let said = String::from_utf8_lossy(&head).into_owned();
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, said));
            }
            head.extend(byte);
        }
        let mut head = String::from_utf8_lossy(&head).into_owned();
        if head.starts_with("HTTP/1.1 200") {
            return Ok(Answer::Open);
        }
        user.read_to_string(&mut head)?;
        Ok(Answer::Refused(head))
    }

    /// A session.
    pub fn enter(&self) -> io::Result<TcpStream> {
        let mut user = self.knock()?;
        match Self::answer(&mut user)? {
            Answer::Open => Ok(user),
            Answer::Refused(said) => Err(io::Error::other(said)),
        }
    }
}

/// Credentials as RFC 7617 has them, in RFC 4648's base 64.
fn basic(credentials: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = credentials.as_bytes().chunks(3).flat_map(|chunk| {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let letter = |at: usize| char::from(LETTERS[(bits >> (18 - 6 * at) & 63) as usize]);
        [0, 1, 2, 3].map(|at| if at > chunk.len() { '=' } else { letter(at) })
    });
    format!("Basic {}", letters.collect::<String>())
}
