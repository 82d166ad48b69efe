//! `vm`: boots an image with its serial console on the terminal.

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use qemu::accel::{self, Choice};
use qemu::host;
use qemu::machine::{Cable, Disk, DiskBus, DiskFormat, Firmware, FwCfg, Machine, Nic, NicModel};
use qemu::process::Vm;
use qemu::terminal::{Left, join};

mod identity;
mod options;

use options::{Options, USAGE};

/// How long the guest may take to shut down before its power is cut: its own hard limit is 20 s.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let outcome = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => run(&options),
        Ok(None) => {
            say(USAGE);
            Ok(())
        }
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("vm: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let choice = accel::choose(&host::find_qemu()?)?;
    prepare_disk(options)?;
    let mut machine = machine(options, &choice)?;
    let [uuid, generation] = identity::of(&options.disk)?;
    (machine.uuid, machine.vm_generation) = (Some(uuid), Some(generation));
    say(&format!("Accelerator: {}.\n", choice.reason));
    say(&format!(
        "Disk: {}. It keeps what the machine stores; --fresh starts over.\n",
        options.disk.display()
    ));
    say("Ctrl-] leaves and shuts the machine down.\n\n");
    let mut vm = Vm::start(machine)?;
    match join(vm.console())? {
        Left::ByMachine => say("\nThe machine is off.\n"),
        Left::ByKey => shut_down(&mut vm)?,
    }
    let stderr = vm.qemu_stderr();
    if !stderr.is_empty() {
        say(&format!("QEMU said: {}\n", stderr.trim()));
    }
    Ok(())
}

/// Copies the image unless there is a disk. A copy, not a layer over the image: the next build
/// replaces the image, and a layer over another image is garbage.
fn prepare_disk(options: &Options) -> Result<(), String> {
    let (image, disk) = (&options.image, &options.disk);
    let Ok(image_metadata) = fs::metadata(image) else {
        return Err(format!(
            "there is no image {}: build it with cargo image",
            image.display()
        ));
    };
    if disk.exists() && !options.fresh {
        let disk_time = fs::metadata(disk)
            .and_then(|metadata| metadata.modified())
            .ok();
        if image_metadata.modified().ok() > disk_time {
            say("The image is newer than the machine's disk: --fresh boots the new image.\n");
        }
        return Ok(());
    }
    for file in [vars_file(disk), identity::file(disk)] {
        if file.exists() {
            fs::remove_file(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        }
    }
    let folder = disk.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder)
        .and_then(|()| fs::copy(image, disk))
        .map(drop)
        .map_err(|error| format!("copying {} to {}: {error}", image.display(), disk.display()))
}

fn machine(options: &Options, choice: &Choice) -> Result<Machine, Box<dyn Error>> {
    let mut machine = Machine::new(choice.accelerator);
    machine.memory_mib = options.memory_mib;
    machine.watchdog = true;
    machine.firmware = if options.uefi {
        host::find_ovmf()?.with_vars(vars_file(&options.disk))?
    } else {
        Firmware::SeaBios
    };
    machine.disk = Some(Disk {
        path: options.disk.clone(),
        format: DiskFormat::Qcow2,
        bus: DiskBus::Virtio,
        discard_writes: false,
    });
    let cable = options
        .net_socket
        .clone()
        .map_or(Cable::User, Cable::Stream);
    machine.nic = Some(Nic {
        mac: options.mac,
        model: NicModel::Virtio,
        cable,
    });
    machine.fw_cfg.extend(options.edge.iter().map(|edge| FwCfg {
        name: "opt/outgate/edge".to_owned(),
        value: edge.clone(),
    }));
    let items = options.settings.iter().map(|(key, value)| FwCfg {
        name: format!("opt/outgate/{key}"),
        value: value.clone(),
    });
    machine.fw_cfg.extend(items);
    machine.cd.clone_from(&options.cd);
    Ok(machine)
}

/// The file of the UEFI variables, beside the disk.
fn vars_file(disk: &Path) -> std::path::PathBuf {
    disk.with_extension("vars.fd")
}

/// Presses the power button, so that the guest can finish.
fn shut_down(vm: &mut Vm) -> Result<(), Box<dyn Error>> {
    say("\r\nShutting the machine down.\n");
    vm.qmp().system_powerdown()?;
    if vm.wait_exit(SHUTDOWN_TIME_MAX).is_none() {
        say(&format!(
            "It did not end within {SHUTDOWN_TIME_MAX:?}: its power is cut.\n"
        ));
        vm.kill();
    }
    Ok(())
}

/// To stderr, so that standard output carries the console and nothing else.
fn say(text: &str) {
    // When stderr is closed, nobody listens.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
