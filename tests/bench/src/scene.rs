//! Where a peer is set up: addresses, a folder in memory, certificates, programs.

use std::cell::OnceCell;
use std::fmt::Display;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::load::door::Door;
use crate::namespace::{run, words};
use crate::options::Places;
use crate::program::Program;
use crate::trouble::Trouble;

/// The user's end of every tunnel.
pub const EDGE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 10);
/// The application's end of every tunnel. Outgate's connector is told that this is its own address.
pub const CONNECTOR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 20);
/// Where the application is.
pub const APPLICATION: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 30);

/// Where users dial in.
pub const USERS: SocketAddr = at(EDGE, 80);
/// Where the edge side listens for the connector side, in tunnels that are dialled outward.
pub const TUNNEL: SocketAddr = at(EDGE, 443);
/// Where the connector side listens for the edge side, in tunnels that are dialled inward.
pub const TUNNEL_INWARD: SocketAddr = at(CONNECTOR, 443);
/// What every tunnel leads to.
pub const TARGET: SocketAddr = at(APPLICATION, 7);

const fn at(address: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(address, port))
}

/// The place for one peer.
#[derive(Debug)]
pub struct Scene {
    folder: PathBuf,
    places: Places,
    certificate: OnceCell<Certificate>,
}

/// A certificate for [`EDGE`] and [`CONNECTOR`] that is its own authority, and its key: P-256, in PEM.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The private key's file.
    pub key: PathBuf,
    /// Both in one PKCS #12 file, the password is `bench`.
    pub both: PathBuf,
}

/// A peer that runs. Dropped, it is gone.
#[derive(Debug)]
pub struct Running {
    /// Where users come in.
    pub door: Door,
    connector: Vec<Program>,
    edge: Vec<Program>,
}

impl Running {
    /// A peer whose users come in by `door`.
    #[must_use]
    pub fn new(door: Door, edge: Program, connector: Program) -> Self {
        Self {
            door,
            connector: vec![connector],
            edge: vec![edge],
        }
    }

    /// The processes of the connector side: those that are measured.
    #[must_use]
    pub fn connector(&self) -> Vec<u32> {
        self.connector.iter().map(Program::pid).collect()
    }

    /// The first program that has ended though it should run, and its last words.
    pub fn casualty(&mut self) -> Option<String> {
        let programs = self.edge.iter_mut().chain(&mut self.connector);
        programs.into_iter().find_map(Program::ended)
    }
}

impl Scene {
    /// A place in `folder`, which is empty and in memory.
    #[must_use]
    pub fn new(folder: PathBuf, places: Places) -> Self {
        Self {
            folder,
            places,
            certificate: OnceCell::new(),
        }
    }

    /// Files and folders that the driver built or fetched.
    #[must_use]
    pub const fn places(&self) -> &Places {
        &self.places
    }

    /// A file of the folder, which need not be there.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file and returns where it is.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, name: &str, text: impl Display) -> Result<PathBuf, Trouble> {
        let path = self.file(name);
        fs::write(&path, text.to_string()).map_err(Trouble::at(path.display()))?;
        Ok(path)
    }

    /// A certificate, made once.
    ///
    /// # Errors
    /// What openssl said.
    pub fn certificate(&self) -> Result<&Certificate, Trouble> {
        if let Some(made) = self.certificate.get() {
            return Ok(made);
        }
        let made = self.make_certificate()?;
        Ok(self.certificate.get_or_init(|| made))
    }

    fn make_certificate(&self) -> Result<Certificate, Trouble> {
        let made = Certificate {
            certificate: self.file("tls.crt"),
            key: self.file("tls.key"),
            both: self.file("tls.p12"),
        };
        let (certificate, key) = (made.certificate.display(), made.key.display());
        run(&mut words(
            "openssl",
            &format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=bench \
                 -addext subjectAltName=DNS:bench,IP:{EDGE},IP:{CONNECTOR} -keyout {key} -out {certificate}"
            ),
        ))?;
        run(&mut words(
            "openssl",
            &format!(
                "pkcs12 -export -passout pass:bench -inkey {key} -in {certificate} -out {}",
                made.both.display()
            ),
        ))?;
        Ok(made)
    }

    /// A command of a Debian package: of those that were unpacked, or of this machine's.
    ///
    /// # Errors
    /// [`Trouble::Missing`] if it is in neither.
    pub fn debian(&self, path: &str) -> Result<Command, Trouble> {
        let unpacked = self.places.debian.as_ref().map(|root| root.join(path));
        let Some(program) = unpacked.filter(|program| program.is_file()) else {
            let installed = Path::new("/").join(path);
            return match installed.is_file() {
                true => Ok(Command::new(installed)),
                false => Err(Trouble::Missing(format!("/{path} is not on this machine"))),
            };
        };
        let mut command = Command::new(program);
        let libraries = self.debian_path("usr/lib/x86_64-linux-gnu");
        command.env("LD_LIBRARY_PATH", libraries.unwrap_or_default());
        Ok(command)
    }

    /// A file or folder of the packages that were unpacked, else of this machine; `None` if it is in neither.
    #[must_use]
    pub fn debian_path(&self, path: &str) -> Option<PathBuf> {
        let unpacked = self.places.debian.as_ref().map(|root| root.join(path));
        let installed = Path::new("/").join(path);
        let places = unpacked.into_iter().chain([installed]);
        places.into_iter().find(|path| path.exists())
    }

    /// Starts a program, whose log has the name `name`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&self, name: &str, command: Command) -> Result<Program, Trouble> {
        Program::start(command, &self.file(&format!("{name}.log")), false)
    }

    /// The same; its standard output is a pipe.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_piped(&self, name: &str, command: Command) -> Result<Program, Trouble> {
        Program::start(command, &self.file(&format!("{name}.log")), true)
    }
}
