//! Peers that nobody here wrote: DHCP, NTP and DNS servers from Debian, around the real appliance.
//!
//! ```text
//!                   network namespace (nothing of it is seen by the host, and back)
//!  guest ── tap ── bridge  10.77.0.1   DHCP server: dnsmasq, ISC's dhcpd or Kea
//!                          10.77.0.53  resolver: BIND or Unbound
//!                          10.77.0.123 time server: chrony or NTPsec
//!                          10.77.0.80  the private application: Python's web server
//!                          10.77.0.30  HTTP proxy: Tinyproxy
//!                  lo      203.0.113.0/24, all of it: the service edge on port 443
//! ```
//!
//! By IPv6 the router is dnsmasq, and the other hosts are there as well. The addresses are those of [`crate::network::address`], so that what a guest may send is judged
//! by the same rules. No privileges are needed where the kernel lets anyone make a user namespace.
//! In it nobody may set the host's clock, whatever a time server tries.
//!
//! 1. [`ForeignLab`]: what a story holds: the network, the service edge, the appliance's machine.
//! 2. [`dhcp`], [`names`], [`time`], [`router`], [`proxy`]: the servers, each with a configuration in the story's folder.
//!    [`interceptor`]: one that inspects TLS, on the host, for the edge of any lab.
//! 3. [`daemon`], [`programs`], [`namespace`]: how they are found and run.
//! 4. [`capture`]: what passed between the guest and all of them.
//!
//! `cargo verify` unpacks the servers' Debian packages into `target/foreign`: they are not
//! installed, so that none of them runs as a service of the host, none replaces the host's own time
//! server (Debian allows one), and no AppArmor profile of theirs applies.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use qemu::accel;
use qemu::host;
use qemu::mac::Mac;
use qemu::machine::{Cable, Disk, DiskBus, DiskFormat, FwCfg, Machine, Nic, NicModel, Rtc};
use qemu::process::Vm;

use crate::edge_process::{EdgeProcess, Place};
use crate::folders;
use crate::lab::{self, Lab, LabError};
use crate::network::address::{APPLICATION, APPLICATION_NAME, EDGE_NAME};
use crate::pcap::Frame;
use crate::scene::{BOOT_MAX, CONNECTED, GROUP, PAGE, STEP_MAX, USER};

pub mod capture;
pub mod daemon;
pub mod dhcp;
pub mod interceptor;
pub mod names;
pub mod namespace;
pub mod programs;
pub mod proxy;
pub mod router;
pub mod time;

mod error;

pub use error::ForeignError;

use daemon::Daemon;
use namespace::Namespace;

/// The guest's hardware address, by which its frames are told from the servers'.
const GUEST_MAC_NUMBER: u16 = 1;

/// Where users reach the edge, in the namespace.
const USERS_PROXY: &str = "127.0.0.1:8080";

/// A network of real servers with a service edge and the private application in it. When it is
/// dropped everything ends; its folder is kept when the test failed.
#[derive(Debug)]
pub struct ForeignLab {
    // Dropped in this order: the namespace is gone with its last process.
    edge: EdgeProcess,
    _application: Daemon,
    namespace: Namespace,
    password: String,
    folder: PathBuf,
}

/// The story's lab with this name, or the story is skipped: `foreign_lab!("name", "dnsmasq", ...)`
/// with the programs that it starts.
#[macro_export]
macro_rules! foreign_lab {
    ($name:expr, $($program:expr),* $(,)?) => {{
        if let Some(reason) = $crate::foreign::ForeignLab::missing(&[$($program),*]) {
            $crate::skip!(reason);
        }
        $crate::scene::expect($crate::foreign::ForeignLab::new($name))
    }};
}

impl ForeignLab {
    /// What this computer lacks for a story with these servers, as one sentence for
    /// [`skip!`](crate::skip!).
    pub fn missing(servers: &[&str]) -> Option<String> {
        let server = || servers.iter().find_map(|name| programs::find(name).err());
        Lab::missing_for_vm()
            .or_else(|| server().map(|error| error.to_string()))
            .or_else(Namespace::missing)
    }

    /// A network without DHCP, DNS and NTP, in the folder `target/lab/<name>`, which is emptied
    /// first. The edge has a group, the application and a user.
    ///
    /// # Errors
    /// [`ForeignError`].
    pub fn new(name: &str) -> Result<Self, ForeignError> {
        let folder = folders::target().join("lab").join(name);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => fs::create_dir_all(&folder)?,
        }
        let namespace = Namespace::new()?;
        let application = start_application(&namespace, &folder)?;
        let place = Place {
            before: namespace.enter(),
            control: "[::]:443".to_owned(),
            proxy: USERS_PROXY.to_owned(),
            ..Place::default()
        };
        let edge = EdgeProcess::start_at(&folder.join("edge"), place)?;
        let password = furnish(&edge)?;
        Ok(Self {
            edge,
            _application: application,
            namespace,
            password,
            folder,
        })
    }

    /// The network, for starting servers in it.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Where the story's files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The service edge.
    pub fn edge(&mut self) -> &mut EdgeProcess {
        &mut self.edge
    }

    /// Switches the appliance on, with its real-time clock at this time. Settings beyond the edge's
    /// name are given as items of fw_cfg: the name behind `opt/outgate/`, and the value.
    ///
    /// # Errors
    /// [`ForeignError`].
    pub fn boot(&self, rtc: Rtc, settings: &[(&str, &str)]) -> Result<Guest, ForeignError> {
        let qemu = host::find_qemu().map_err(LabError::Host)?;
        let choice = accel::choose(&qemu).map_err(LabError::Accelerator)?;
        let disk = self.folder.join("appliance.qcow2");
        fs::copy(lab::find_image()?, &disk)?;
        let mut machine = Machine::new(choice.accelerator);
        machine.rtc = rtc;
        machine.watchdog = true;
        machine.disk = Some(Disk {
            path: disk,
            format: DiskFormat::Qcow2,
            bus: DiskBus::Virtio,
            discard_writes: false,
        });
        machine.nic = Some(Nic {
            mac: Mac::in_static_range(GUEST_MAC_NUMBER),
            model: NicModel::Virtio,
            cable: Cable::Tap {
                interface: namespace::TAP.to_owned(),
                capture: Some(self.folder.join(CAPTURE_FILE)),
            },
        });
        let settings = [("edge", EDGE_NAME)].iter().chain(settings);
        machine.fw_cfg.extend(settings.map(|(name, value)| FwCfg {
            name: format!("opt/outgate/{name}"),
            value: (*value).to_owned(),
        }));
        let vm = Vm::start_by(&self.namespace.enter(), machine).map_err(LabError::Vm)?;
        let console_file = self.folder.join("console.txt");
        Ok(Guest { vm, console_file })
    }

    /// Enrols an appliance at its prompt with a fresh key, and waits until it is connected.
    ///
    /// # Errors
    /// [`ForeignError`].
    pub fn enrol(&self, guest: &Guest) -> Result<(), ForeignError> {
        self.type_key(guest)?;
        guest.wait_for(CONNECTED, STEP_MAX).map(drop)
    }

    /// Types a fresh key at an appliance's prompt.
    ///
    /// # Errors
    /// [`ForeignError`].
    pub fn type_key(&self, guest: &Guest) -> Result<(), ForeignError> {
        guest.wait_for("Provisioning key:", BOOT_MAX)?;
        let minted = self.edge.admin(&["key", "mint", "--group", GROUP])?;
        guest.type_line(minted["key"].as_str().unwrap_or_default())
    }

    /// Fetches the private page as the user, and returns the HTTP status.
    ///
    /// # Errors
    /// [`ForeignError`].
    pub fn fetch_page(&self) -> Result<u16, ForeignError> {
        let credentials = format!("{USER}:{}", self.password);
        let written = self.namespace.run(&[
            "curl",
            "--silent",
            "--max-time",
            "60",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            "--proxy",
            &format!("http://{USERS_PROXY}"),
            "--proxy-user",
            &credentials,
            PAGE,
        ])?;
        Ok(written.trim().parse().unwrap_or(0))
    }

    /// Everything that passed between the guest and the network so far.
    ///
    /// # Errors
    /// [`ForeignError`].
    pub fn frames(&self) -> Result<Vec<Frame>, ForeignError> {
        let bytes = fs::read(self.folder.join(CAPTURE_FILE))?;
        Ok(capture::frames(
            &bytes,
            Mac::in_static_range(GUEST_MAC_NUMBER).bytes(),
        ))
    }
}

/// In the story's folder.
const CAPTURE_FILE: &str = "guest.pcap";

impl Drop for ForeignLab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the lab's files are in {}", self.folder.display());
        } else {
            // What cannot be removed is overwritten by the next run.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// The appliance, running.
#[derive(Debug)]
pub struct Guest {
    vm: Vm,
    console_file: PathBuf,
}

impl Guest {
    /// Waits until the console says `pattern`, after what was found before, and returns the text
    /// in between.
    ///
    /// # Errors
    /// [`ForeignError::Console`].
    pub fn wait_for(&self, pattern: &str, timeout: Duration) -> Result<String, ForeignError> {
        Ok(self.vm.console().wait_for(pattern, timeout)?)
    }

    /// Waits until the console says that the network is up, and returns the machine's address.
    ///
    /// # Errors
    /// [`ForeignError::Console`].
    pub fn wait_for_address(&self, timeout: Duration) -> Result<Ipv4Addr, ForeignError> {
        self.wait_for("Network up: ", timeout)?;
        let address = self.wait_for("/24", timeout)?;
        address.parse().map_err(|_| ForeignError::Refused {
            command: "the reading of the address on the console".to_owned(),
            output: address,
        })
    }

    /// Types a line on the serial console, and Enter.
    ///
    /// # Errors
    /// [`ForeignError::Console`].
    pub fn type_line(&self, text: &str) -> Result<(), ForeignError> {
        Ok(self.vm.console().type_line(text)?)
    }

    /// Everything the console said.
    pub fn text(&self) -> String {
        self.vm.console().text()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // For whoever looks into a failed test's folder, and only if it can be kept.
        let _ = fs::write(&self.console_file, self.vm.console().text());
    }
}

/// Gives the edge a group, the application and a user, whose password is returned.
fn furnish(edge: &EdgeProcess) -> Result<String, ForeignError> {
    edge.admin(&["group", "add", GROUP])?;
    let port = APPLICATION.port().to_string();
    let app = ["app", "add", "--group", GROUP, "--name", "intranet"];
    let place = ["--host", APPLICATION_NAME, "--port", &port];
    edge.admin(&[app.as_slice(), &place].concat())?;
    let user = edge.admin(&["user", "add", USER])?;
    Ok(user["password"].as_str().unwrap_or_default().to_owned())
}

/// A web server, by both versions of IP, with one page that lists an empty folder.
fn start_application(namespace: &Namespace, folder: &Path) -> Result<Daemon, ForeignError> {
    let page = folder.join("page");
    fs::create_dir_all(&page)?;
    let port = APPLICATION.port().to_string();
    let words = [
        "-u",
        "-m",
        "http.server",
        "--bind",
        "::",
        "--directory",
        &page.display().to_string(),
        &port,
    ];
    Daemon::start(namespace, folder, "python3", &words, "Serving HTTP")
}
