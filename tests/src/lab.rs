//! A lab: a virtual network, a service edge, appliances, and a folder with what they left.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::Duration;

use qemu::accel::{self, OverrideError};
use qemu::host::{self, HostError};
use qemu::machine::{Accelerator, Machine};
use qemu::process::VmError;
use qemu::qmp::QmpError;

use crate::appliance::{Appliance, BootOptions};
use crate::audit::{Policy, Violation};
use crate::edge_process::{EdgeError, EdgeProcess};
use crate::folders;
use crate::network::Network;

/// Names the image to boot, when it is not `target/image/outgate.qcow2`.
pub const IMAGE_VARIABLE: &str = "OUTGATE_IMAGE";

/// Decides which frames a lossy network loses; the same in every run.
const SEED: u64 = 0x6f75_7467_6174_6501;

/// A whole system on one computer. When it is dropped everything ends; its folder is kept when
/// the test failed, or when [`Lab::keep_folder`] was called.
#[derive(Debug)]
pub struct Lab {
    // Dropped in this order: the edge's connections end before the network does.
    edge: Option<EdgeProcess>,
    network: Network,
    folder: PathBuf,
    is_kept: bool,
}

/// Why a lab cannot do what a test asks.
#[derive(Debug)]
pub enum LabError {
    /// The accelerator's override is nonsense.
    Accelerator(OverrideError),
    /// The service edge failed.
    Edge(EdgeError),
    /// Something is not installed.
    Host(HostError),
    /// A file or socket failed.
    Io(io::Error),
    /// There is no image to boot.
    NoImage(PathBuf),
    /// The control connection to QEMU failed.
    Qmp(QmpError),
    /// A machine did not end.
    StillRunning {
        /// How long was waited.
        waited: Duration,
        /// The last lines of its console.
        last_lines: String,
    },
    /// A machine did not start.
    Vm(VmError),
}

impl Lab {
    /// An empty lab, with a network, in the folder `target/lab/<name>`, which is emptied first.
    ///
    /// # Errors
    /// Those of creating files and sockets.
    pub fn new(name: &str) -> Result<Self, LabError> {
        Self::in_folder(folders::target().join("lab").join(name))
    }

    /// An empty lab in this folder, which is emptied first.
    ///
    /// # Errors
    /// Those of creating files and sockets.
    pub fn in_folder(folder: PathBuf) -> Result<Self, LabError> {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(LabError::Io(error));
            }
            _ => {}
        }
        fs::create_dir_all(&folder).map_err(LabError::Io)?;
        let network = Network::start(&folder.join("network.pcap"), SEED).map_err(LabError::Io)?;
        Ok(Self {
            edge: None,
            network,
            folder,
            is_kept: false,
        })
    }

    /// What this computer lacks for booting an appliance, as one sentence for
    /// [`skip!`](crate::skip!).
    pub fn missing_for_vm() -> Option<String> {
        let missing = host::find_qemu()
            .map_err(LabError::Host)
            .and_then(|_| find_image());
        missing.err().map(|error| error.to_string())
    }

    /// The virtual network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Where the lab keeps its files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps the folder when the lab ends.
    pub fn keep_folder(&mut self) {
        self.is_kept = true;
    }

    /// Starts the service edge and connects it to the network, at 203.0.113.10:443.
    ///
    /// # Errors
    /// [`LabError::Edge`].
    pub fn start_edge(&mut self) -> Result<&mut EdgeProcess, LabError> {
        let edge = EdgeProcess::start(&self.folder.join("edge")).map_err(LabError::Edge)?;
        self.network.set_edge(edge.control());
        Ok(self.edge.insert(edge))
    }

    /// The same with an edge that is made while its clock shows another time; see
    /// [`EdgeProcess::start_with_clock`].
    ///
    /// # Errors
    /// [`LabError::Edge`].
    pub fn start_edge_with_clock(&mut self, clock: &str) -> Result<&mut EdgeProcess, LabError> {
        let edge = EdgeProcess::start_with_clock(&self.folder.join("edge"), clock);
        let edge = edge.map_err(LabError::Edge)?;
        self.network.set_edge(edge.control());
        Ok(self.edge.insert(edge))
    }

    /// The service edge, once started.
    pub fn edge(&mut self) -> Option<&mut EdgeProcess> {
        self.edge.as_mut()
    }

    /// Switches an appliance on. Another boot under the same name goes on with the same disk.
    ///
    /// # Errors
    /// [`LabError`], naming what is missing.
    pub fn boot(&self, options: &BootOptions) -> Result<Appliance, LabError> {
        let qemu = host::find_qemu().map_err(LabError::Host)?;
        let choice = accel::choose(&qemu).map_err(LabError::Accelerator)?;
        self.boot_by(choice.accelerator, options)
    }

    /// The same by an accelerator that was chosen before, so that QEMU is started at once.
    ///
    /// # Errors
    /// [`LabError`], naming what is missing.
    pub fn boot_by(
        &self,
        accelerator: Accelerator,
        options: &BootOptions,
    ) -> Result<Appliance, LabError> {
        let image = find_image()?;
        let machine = Machine::new(accelerator);
        Appliance::boot(
            options,
            machine,
            &image,
            &self.folder,
            self.network.socket(),
        )
    }

    /// What guests sent that a policy does not allow.
    pub fn violations_of(&self, policy: &Policy) -> Vec<Violation> {
        let capture = self.network.capture();
        let mut violations = policy.violations(&capture.frames());
        let count = capture.frames_not_kept();
        if count > 0 {
            let description = "frames that were not judged, for lack of memory".to_owned();
            violations.push(Violation {
                at: Duration::ZERO,
                count,
                description,
            });
        }
        violations
    }

    /// What guests sent beyond ARP, DHCP, DNS, NTP, the edge and these applications.
    pub fn violations(&self, applications: &[SocketAddrV4]) -> Vec<Violation> {
        self.violations_of(&Policy::lab(applications))
    }

    /// Fails the test when guests sent what they must not.
    ///
    /// # Panics
    /// Then, naming each kind.
    pub fn assert_only_allowed_traffic(&self, applications: &[SocketAddrV4]) {
        self.assert_policy(&Policy::lab(applications));
    }

    /// Fails the test when guests sent what a policy does not allow.
    ///
    /// # Panics
    /// Then, naming each kind.
    pub fn assert_policy(&self, policy: &Policy) {
        let violations = self.violations_of(policy);
        let lines: Vec<_> = violations.iter().map(Violation::to_string).collect();
        assert!(
            lines.is_empty(),
            "the guest sent what it must not:\n{}",
            lines.join("\n")
        );
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.is_kept || std::thread::panicking() {
            eprintln!("the lab's files are in {}", self.folder.display());
        } else {
            // What cannot be removed is overwritten by the next run.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// The image that the environment names, else the one that was built.
///
/// # Errors
/// [`LabError::NoImage`].
pub fn find_image() -> Result<PathBuf, LabError> {
    if let Some(path) = std::env::var_os(IMAGE_VARIABLE).map(PathBuf::from) {
        return if path.is_file() {
            Ok(path)
        } else {
            Err(LabError::NoImage(path))
        };
    }
    let built = Path::new("image/outgate.qcow2");
    let places = [
        folders::target().join(built),
        folders::checkout().join("target").join(built),
    ];
    let found = places.iter().find(|path| path.is_file());
    found
        .cloned()
        .ok_or_else(|| LabError::NoImage(places[0].clone()))
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accelerator(error) => error.fmt(f),
            Self::Edge(error) => error.fmt(f),
            Self::Host(error) => error.fmt(f),
            Self::Io(error) => write!(f, "the lab's files or sockets failed: {error}"),
            Self::NoImage(path) => write!(
                f,
                "there is no image {}: build it with cargo image, or name one in {IMAGE_VARIABLE}",
                path.display()
            ),
            Self::Qmp(error) => error.fmt(f),
            Self::StillRunning { waited, last_lines } => write!(
                f,
                "the machine did not end within {waited:?}; last lines of its console:\n{last_lines}"
            ),
            Self::Vm(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LabError {}
