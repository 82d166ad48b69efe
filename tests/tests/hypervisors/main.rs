//! A minted connector boots to its first prompt on each kind of machine that hypervisors build.

mod domain;
mod host;
mod libvirt;
mod minted;

use std::fs;

use qemu::machine::{Board, DiskBus, DiskFormat, Guise, NicModel};
use qemu::picture::Cell;
use tests::lab::Lab;
use tests::scene::{BOOT_MAX, expect};
use tests::skip;

use host::{
    Host, assert_card_as_minted, assert_in_memory, assert_screen_as_serial, assert_sent_from,
};
use libvirt::Libvirt;
use minted::Minted;

#[test]
fn on_bios_and_pc_with_virtio() {
    boots(
        "bios-pc-virtio",
        Image::Qcow2,
        Host {
            board: Board::Pc,
            guise: Guise::Qemu,
            uefi: false,
            bus: DiskBus::Virtio,
            nic: NicModel::Virtio,
        },
    );
}

#[test]
fn on_bios_and_q35_with_ahci_and_e1000e() {
    boots(
        "bios-q35-ahci",
        Image::Qcow2,
        Host {
            board: Board::Q35,
            guise: Guise::Qemu,
            uefi: false,
            bus: DiskBus::Ahci,
            nic: NicModel::E1000e,
        },
    );
}

#[test]
fn as_a_vmware_guest_with_pvscsi_and_vmxnet3_from_the_disk_out_of_the_ova() {
    boots(
        "vmware-pvscsi",
        Image::VmdkOfOva,
        Host {
            board: Board::Pc,
            guise: Guise::Vmware,
            uefi: false,
            bus: DiskBus::Pvscsi,
            nic: NicModel::Vmxnet3,
        },
    );
}

#[test]
fn on_uefi_and_q35_with_virtio() {
    boots(
        "uefi-q35-virtio",
        Image::Qcow2,
        Host {
            board: Board::Q35,
            guise: Guise::Qemu,
            uefi: true,
            bus: DiskBus::Virtio,
            nic: NicModel::Virtio,
        },
    );
}

#[test]
fn on_uefi_and_pc_with_nvme_from_the_disk_out_of_the_ova() {
    boots(
        "uefi-pc-nvme",
        Image::VmdkOfOva,
        Host {
            board: Board::Pc,
            guise: Guise::Qemu,
            uefi: true,
            bus: DiskBus::Nvme,
            nic: NicModel::Vmxnet3,
        },
    );
}

#[test]
fn on_uefi_and_q35_with_ahci_and_e1000e() {
    boots(
        "uefi-q35-ahci",
        Image::Qcow2,
        Host {
            board: Board::Q35,
            guise: Guise::Qemu,
            uefi: true,
            bus: DiskBus::Ahci,
            nic: NicModel::E1000e,
        },
    );
}

/// Which of the minted files is booted.
enum Image {
    Qcow2,
    VmdkOfOva,
}

fn boots(name: &str, image: Image, host: Host) {
    if let Some(reason) = Lab::missing_for_vm().or_else(Minted::missing) {
        skip!(reason);
    }
    let lab = expect(Lab::new(name));
    let minted = expect(Minted::new(name, lab.folder()));
    let (disk, format) = match image {
        Image::Qcow2 => (minted.file("qcow2"), DiskFormat::Qcow2),
        Image::VmdkOfOva => (expect(minted.vmdk()), DiskFormat::Vmdk),
    };
    let mut vm = expect(host.boot(&lab, &minted, &disk, format));
    expect(vm.console().wait_for("Provisioning key:", BOOT_MAX));
    assert_card_as_minted(&minted, vm.console());
    assert_sent_from(&lab, &[&minted]);

    if host.guise == Guise::Vmware {
        assert_in_memory(&mut vm, &lab, "Hypervisor detected: VMware");
    }

    let picture = lab.folder().join("screen.ppm");
    let (console, qmp) = vm.console_and_qmp();
    assert_screen_as_serial(console, host.cell(), &picture, |file| {
        expect(qmp.screendump(file));
    });
}

/// One `virsh` starts both, and both run at the same time.
#[test]
fn by_libvirt_from_the_minted_domain_with_bios_and_with_uefi() {
    let missing = Lab::missing_for_vm().or_else(Minted::missing);
    if let Some(reason) = missing.or_else(Libvirt::missing) {
        skip!(reason);
    }
    let lab = expect(Lab::new("libvirt"));
    let mut libvirt = expect(Libvirt::start());
    let connectors = ["libvirt-bios", "libvirt-uefi"].map(|name| {
        let minted = expect(Minted::new(name, lab.folder()));
        let xml = domain::for_this_computer(
            &expect(fs::read_to_string(minted.file("xml"))),
            &minted.file("qcow2"),
            expect(libvirt::plug(lab.network().socket())),
        );
        let (xml, cell) = match name {
            "libvirt-uefi" => (domain::with_uefi(&xml), Cell::FRAMEBUFFER),
            _ => (xml, Cell::VGA_TEXT),
        };
        let file = lab.folder().join(format!("{name}.xml"));
        expect(fs::write(&file, xml));
        let console = expect(libvirt.start_domain(name, &file));
        (minted, console, cell)
    });
    for (minted, console, cell) in &connectors {
        expect(console.wait_for("Provisioning key:", BOOT_MAX));
        assert_card_as_minted(minted, console);
        let picture = lab.folder().join(format!("{}.ppm", minted.name));
        assert_screen_as_serial(console, *cell, &picture, |file| {
            expect(libvirt.screendump(&minted.name, file));
        });
    }
    let minted: Vec<&Minted> = connectors.iter().map(|(minted, ..)| minted).collect();
    assert_sent_from(&lab, &minted);
}
