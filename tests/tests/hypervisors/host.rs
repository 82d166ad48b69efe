//! Machines as hypervisors build them, and what each must show: the first prompt, on both consoles,
//! with the network card it was minted for.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use qemu::accel;
use qemu::console::Console;
use qemu::host;
use qemu::machine::{
    Board, Cable, Disk, DiskBus, DiskFormat, Firmware, Guise, Machine, Nic, NicModel,
};
use qemu::picture::{Cell, Picture, Text};
use qemu::process::Vm;
use qemu::teletype::Teletype;

use crate::minted::Minted;
use ::tests::lab::{Lab, LabError};
use ::tests::pcap::Direction;
use ::tests::scene::expect;

/// How long the screen may take to show what the serial line has said already.
const SCREEN_TIME_MAX: Duration = Duration::from_secs(20);

/// Memory of a machine with BIOS, in MiB.
pub const MEMORY_BIOS_MIB: u32 = 128;
/// Memory of a machine with UEFI, in MiB. Its firmware keeps some, and GRUB wants the unpacked kernel's
/// size twice in one piece each.
pub const MEMORY_UEFI_MIB: u32 = 160;

/// A machine as some hypervisor builds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// Main board.
    pub board: Board,
    /// What it says that it is.
    pub guise: Guise,
    /// UEFI rather than BIOS.
    pub uefi: bool,
    /// The disk's controller.
    pub bus: DiskBus,
    /// The network card's model.
    pub nic: NicModel,
}

impl Host {
    /// Boots `minted` from `disk` on the lab's network, with the MAC address it was minted for. What
    /// the machine writes is lost.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn boot(
        &self,
        lab: &Lab,
        minted: &Minted,
        disk: &Path,
        format: DiskFormat,
    ) -> Result<Vm, LabError> {
        let qemu = host::find_qemu().map_err(LabError::Host)?;
        let choice = accel::choose(&qemu).map_err(LabError::Accelerator)?;
        let mut machine = Machine::new(choice.accelerator);
        machine.board = self.board;
        machine.guise = self.guise;
        machine.memory_mib = MEMORY_BIOS_MIB;
        if self.uefi {
            machine.memory_mib = MEMORY_UEFI_MIB;
            machine.firmware = ovmf(lab, minted)?;
        }
        machine.disk = Some(Disk {
            path: disk.to_owned(),
            format,
            bus: self.bus,
            discard_writes: true,
        });
        machine.nic = Some(Nic {
            mac: minted.mac,
            model: self.nic,
            cable: Cable::Stream(lab.network().socket()),
        });
        Vm::start(machine).map_err(LabError::Vm)
    }

    /// How large the cells of this machine's screen are.
    pub fn cell(&self) -> Cell {
        if self.uefi {
            Cell::FRAMEBUFFER
        } else {
            Cell::VGA_TEXT
        }
    }
}

fn ovmf(lab: &Lab, minted: &Minted) -> Result<Firmware, LabError> {
    let vars = lab.folder().join(format!("{}.vars.fd", minted.name));
    let ovmf = host::find_ovmf().map_err(LabError::Host)?;
    ovmf.with_vars(vars).map_err(LabError::Io)
}

/// Fails the test unless the guest says whom it was minted for, and that its card has the minted address.
///
/// # Panics
/// Then.
pub fn assert_card_as_minted(minted: &Minted, console: &Console) {
    let said = console.text();
    for line in [
        format!("Image for {}\n", minted.name),
        format!("NIC eth0 MAC {}, as minted\n", minted.mac),
    ] {
        assert!(said.contains(&line), "{line:?} is not in:\n{said}");
    }
}

/// Fails the test unless the guest's memory holds `text`. What the kernel says is in its ring of messages
/// only: the console is not for it.
///
/// # Panics
/// Then.
pub fn assert_in_memory(vm: &mut Vm, lab: &Lab, text: &str) {
    let file = lab.folder().join("memory");
    let bytes = (MEMORY_BIOS_MIB as usize) << 20;
    expect(vm.qmp().pmemsave(0, bytes, &file));
    let memory = expect(fs::read(&file));
    let mut windows = memory.windows(text.len());
    assert!(
        windows.any(|window| window == text.as_bytes()),
        "{text:?} is nowhere in the guest's memory"
    );
}

/// Fails the test unless each of these connectors has sent frames, each from its own address, and
/// nobody else has.
///
/// # Panics
/// Then.
pub fn assert_sent_from(lab: &Lab, connectors: &[&Minted]) {
    let mut wanted: Vec<[u8; 6]> = connectors.iter().map(|minted| minted.mac.bytes()).collect();
    wanted.sort_unstable();
    let frames = lab.network().capture().frames();
    let sent = frames
        .iter()
        .filter(|frame| frame.direction == Direction::FromGuest);
    // An Ethernet frame begins with the destination; the source follows.
    let mut sources: Vec<[u8; 6]> = sent
        .filter_map(|frame| frame.bytes.get(6..12)?.try_into().ok())
        .collect();
    sources.sort_unstable();
    sources.dedup();
    assert_eq!(sources, wanted, "addresses that frames came from");
}

/// Fails the test unless the screen, of which `take` writes a picture to the file it is given, shows what
/// the serial console has said since the appliance's first line, character for character.
///
/// # Panics
/// Then, naming the picture.
pub fn assert_screen_as_serial(
    console: &Console,
    cell: Cell,
    picture: &Path,
    mut take: impl FnMut(&Path),
) {
    let deadline = Instant::now() + SCREEN_TIME_MAX;
    loop {
        let shown = appliance_part(&console.raw());
        let text = Text {
            lines: &shown.lines,
            cursor: shown.cursor,
        };
        assert!(shown.lines.len() > 3, "too little to compare: {shown:?}");
        take(picture);
        let taken = expect(Picture::parse(&expect(fs::read(picture))));
        if taken.find(cell, text).is_some() {
            return;
        }
        // The two consoles are written one after the other, and a line may have come in between.
        assert!(
            Instant::now() < deadline,
            "{} does not show, in cells of {}x{} pixels, with the cursor at {:?}:\n{}",
            picture.display(),
            cell.width,
            cell.height,
            shown.cursor,
            shown.lines.join("\n")
        );
    }
}

/// What a terminal shows that was attached when the appliance wrote its first line.
fn appliance_part(serial: &[u8]) -> Teletype {
    let first_line = concat!("Outgate ", env!("CARGO_PKG_VERSION")).as_bytes();
    let start = serial
        .windows(first_line.len())
        .position(|window| window == first_line);
    Teletype::of(serial.get(start.unwrap_or(0)..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_firmware_and_boot_loader_said_is_left_out() {
        let serial = concat!(
            "\x1b[2JWelcome to GRUB!\r\n\x1b[37mOutgate ",
            env!("CARGO_PKG_VERSION"),
            "\x1b[K\r\nKey: "
        );
        let shown = appliance_part(serial.as_bytes());
        assert_eq!(shown.lines.len(), 2);
        assert!(shown.lines[0].starts_with("Outgate "), "{shown:?}");
        assert_eq!(shown.cursor, (1, 5));
    }
}
