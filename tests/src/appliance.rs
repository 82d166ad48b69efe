//! The appliance in a virtual machine, plugged into the lab's network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use qemu::console::{Console, ConsoleError};
use qemu::host;
use qemu::mac::Mac;
use qemu::machine::{
    Cable, Disk, DiskBus, DiskFormat, Firmware, FwCfg, Machine, Nic, NicModel, Rtc,
};
use qemu::process::Vm;
use qemu::qmp::Qmp;

use crate::agent;
use crate::lab::LabError;
use crate::network::address::EDGE_NAME;
use crate::swtpm::Swtpm;

/// How long the appliance may take to shut down before its power is cut.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(60);

/// What a machine is like. [`BootOptions::default`] is what people boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootOptions {
    /// Tells two appliances of one lab apart: each has its own disk.
    pub name: String,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// UEFI rather than BIOS.
    pub uefi: bool,
    /// The network card's address.
    pub mac: Mac,
    /// The network card's model.
    pub nic: NicModel,
    /// The disk's controller.
    pub bus: DiskBus,
    /// What the real-time clock shows.
    pub rtc: Rtc,
    /// The service edge that the machine is told of, if any.
    pub edge: Option<String>,
    /// A machine's SMBIOS UUID.
    pub uuid: String,
    /// Its VM generation id, a UUID as well; another one tells that the machine was copied or reverted
    /// ([`crate::copies`]).
    pub generation: String,
    /// Goes on from the snapshot of this name, saved by [`Qmp::save_snapshot`].
    pub snapshot: Option<String>,
    /// What else the firmware configuration device says: property keys without their `outgate.`, and
    /// values; `address` and `10.77.0.20/24` for instance.
    pub settings: Vec<(&'static str, String)>,
    /// The disc in its CD drive; no drive without.
    pub cd: Option<PathBuf>,
    /// The TPM that the machine has, if any: the name of the folder, in the lab's, in which it keeps its
    /// state. The same name is the same TPM.
    pub tpm: Option<String>,
    /// Boots the image's kernel with the test agent beside PID 1; see [`crate::agent`].
    pub agent: bool,
}

impl Default for BootOptions {
    fn default() -> Self {
        Self {
            name: "appliance".to_owned(),
            memory_mib: 128,
            uefi: false,
            mac: Mac::in_static_range(1),
            nic: NicModel::Virtio,
            bus: DiskBus::Virtio,
            rtc: Rtc::Utc,
            edge: Some(EDGE_NAME.to_owned()),
            uuid: "00000000-0000-4000-8000-000000000001".to_owned(),
            generation: "00000000-0000-4000-9000-000000000001".to_owned(),
            snapshot: None,
            settings: Vec::new(),
            cd: None,
            tpm: None,
            agent: false,
        }
    }
}

/// A running appliance. Its disk outlives it: the next boot under the same name goes on with it.
#[derive(Debug)]
pub struct Appliance {
    vm: Vm,
    // After the machine, which it must outlive.
    _tpm: Option<Swtpm>,
    console_file: PathBuf,
}

impl Appliance {
    /// Switches a machine on. Its disk and files are in `folder`; the disk is made from `image`
    /// unless it exists.
    pub(crate) fn boot(
        options: &BootOptions,
        machine: Machine,
        image: &Path,
        folder: &Path,
        network: PathBuf,
    ) -> Result<Self, LabError> {
        let disk = folder.join(format!("{}.qcow2", options.name));
        if !disk.exists() {
            fs::copy(image, &disk).map_err(LabError::Io)?;
        }
        let mut machine = machine;
        machine.memory_mib = options.memory_mib;
        machine.rtc = options.rtc.clone();
        machine.uuid = Some(options.uuid.clone());
        machine.vm_generation = Some(options.generation.clone());
        machine.snapshot.clone_from(&options.snapshot);
        machine.watchdog = true;
        if options.uefi {
            let vars = folder.join(format!("{}.vars.fd", options.name));
            let ovmf = host::find_ovmf().map_err(LabError::Host)?;
            machine.firmware = ovmf.with_vars(vars).map_err(LabError::Io)?;
        } else {
            machine.firmware = Firmware::SeaBios;
        }
        machine.disk = Some(Disk {
            path: disk,
            format: DiskFormat::Qcow2,
            bus: options.bus,
            discard_writes: false,
        });
        machine.nic = Some(Nic {
            mac: options.mac,
            model: options.nic,
            cable: Cable::Stream(network),
        });
        machine.fw_cfg.extend(options.edge.iter().map(|edge| FwCfg {
            name: "opt/outgate/edge".to_owned(),
            value: edge.clone(),
        }));
        let settings = options.settings.iter().map(|(key, value)| FwCfg {
            name: format!("opt/outgate/{key}"),
            value: value.clone(),
        });
        machine.fw_cfg.extend(settings);
        machine.cd.clone_from(&options.cd);
        let tpm = options.tpm.as_ref().map(|name| folder.join(name));
        let tpm = tpm.map(|state| Swtpm::for_machine(&state)).transpose();
        let tpm = tpm.map_err(LabError::Io)?;
        machine.tpm = tpm.as_ref().map(Swtpm::socket);
        if options.agent {
            machine.kernel = Some(agent::kernel(image, folder)?);
            machine.second_serial = Some(PathBuf::new());
        }
        let vm = Vm::start(machine).map_err(LabError::Vm)?;
        Ok(Self {
            vm,
            _tpm: tpm,
            console_file: folder.join(format!("{}.console.txt", options.name)),
        })
    }

    /// The serial console.
    pub fn console(&self) -> &Console {
        self.vm.console()
    }

    /// The control connection: buttons, cables, suspend.
    pub fn qmp(&mut self) -> &mut Qmp {
        self.vm.qmp()
    }

    /// The machine.
    pub fn vm(&mut self) -> &mut Vm {
        &mut self.vm
    }

    /// Waits until the console says `pattern`; see [`Console::wait_for`].
    ///
    /// # Errors
    /// As there.
    pub fn wait_for(&self, pattern: &str, timeout: Duration) -> Result<String, ConsoleError> {
        self.vm.console().wait_for(pattern, timeout)
    }

    /// Asks the test agent; see [`crate::agent`].
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub fn ask_agent(&self, command: &str) -> Result<String, ConsoleError> {
        let Some(port) = self.vm.second_console() else {
            return Err(ConsoleError::Io(std::io::ErrorKind::NotConnected.into()));
        };
        agent::ask(port, command)
    }

    /// The guest's wall clock, in seconds since 1970, by the test agent.
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub fn clock_s(&self) -> Result<i64, ConsoleError> {
        let answer = self.ask_agent("time")?;
        answer.trim().parse().map_err(|_| {
            let problem = std::io::Error::other(format!("the agent's clock says {answer:?}"));
            ConsoleError::Io(problem)
        })
    }

    /// The stamp of the first line with this phrase, in seconds since the guest's kernel started.
    pub fn stamp_of(&self, phrase: &str) -> Option<f64> {
        let text = self.console().text();
        let line = &text[..text.find(phrase)?];
        let (_, stamp) = line.rsplit_once("\n[").or_else(|| line.rsplit_once('['))?;
        stamp.split(']').next()?.trim().parse().ok()
    }

    /// Types a line on the serial console, and Enter.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn type_line(&self, text: &str) -> Result<(), ConsoleError> {
        self.vm.console().type_line(text)
    }

    /// Presses the power button and waits for the end.
    ///
    /// # Errors
    /// [`LabError::StillRunning`] when it does not end in time; its power is cut then.
    pub fn power_off(mut self) -> Result<ExitStatus, LabError> {
        self.vm.qmp().system_powerdown().map_err(LabError::Qmp)?;
        self.vm.wait_exit(SHUTDOWN_TIME_MAX).ok_or_else(|| {
            let last_lines = self.vm.console().last_lines(40);
            LabError::StillRunning {
                waited: SHUTDOWN_TIME_MAX,
                last_lines,
            }
        })
    }

    /// Cuts the power.
    pub fn cut_power(self) {
        drop(self);
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        // The text is for whoever looks into a failed test's folder, and only if it can be kept.
        let mut text = fs::read(&self.console_file).unwrap_or_default();
        text.extend(self.vm.console().text().into_bytes());
        let _ = fs::write(&self.console_file, text);
    }
}
