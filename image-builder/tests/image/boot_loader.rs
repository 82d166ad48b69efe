//! Which slot boots, whatever is broken. IMAGE promises: counted before the kernel starts, on
//! both firmwares, and never a prompt.

use disk_format::slot::partition;

use crate::machine::Machine;
use crate::skip::has_program;
use crate::support::{has_files, has_grub};

#[test]
fn a_fresh_image_boots_slot_a() {
    let Some(machine) = machine("a_fresh_image_boots_slot_a") else {
        return;
    };
    let outcome = machine.boot();
    assert!(
        outcome.serial.contains("slot a boots"),
        "{}",
        outcome.serial
    );
    assert!(outcome.kernel_ran());
}

#[test]
fn a_slot_that_is_full_to_its_last_sector_boots() {
    let name = "a_slot_that_is_full_to_its_last_sector_boots";
    let Some(machine) = machine(name) else { return };
    let kernel_and_header = 4096 + 1536;
    machine.write_slot(
        partition::SLOT_A,
        "full slot boots",
        &vec![7; (32 << 20) - kernel_and_header],
    );
    let outcome = machine.boot();
    assert!(
        outcome.serial.contains("full slot boots"),
        "{}",
        outcome.serial
    );
}

#[test]
fn a_trial_is_counted_on_disk_before_its_kernel_starts() {
    let name = "a_trial_is_counted_on_disk_before_its_kernel_starts";
    let Some(machine) = machine(name) else { return };
    machine.set_boot_state(&[("trial", "b"), ("left", "3")]);
    for left in ["2", "1", "0"] {
        assert!(machine.boot().serial.contains("slot b boots"));
        assert_eq!(machine.boot_state().get("left"), Some(left));
    }
    assert!(machine.boot().serial.contains("slot a boots"));
    assert_eq!(machine.boot_state().get("trial"), Some("b"));
}

#[test]
fn a_trial_is_counted_on_uefi_too() {
    let name = "a_trial_is_counted_on_uefi_too";
    let Some(machine) = machine(name) else { return };
    let firmware = [
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ];
    if !has_files(name, &firmware, "ovmf") {
        return;
    }
    // Variables go to a snapshot: every boot is the machine's first.
    let flash = firmware.map(|file| format!("if=pflash,format=raw,snapshot=on,file={file}"));
    let machine = machine.with(&["-machine", "q35", "-drive", &flash[0], "-drive", &flash[1]]);
    machine.set_boot_state(&[("trial", "b"), ("left", "1")]);
    assert!(machine.boot().serial.contains("slot b boots"));
    assert_eq!(machine.boot_state().get("left"), Some("0"));
    assert!(machine.boot().serial.contains("slot a boots"));
}

#[test]
fn a_promoted_slot_boots_without_being_counted() {
    let Some(machine) = machine("a_promoted_slot_boots_without_being_counted") else {
        return;
    };
    machine.set_boot_state(&[("good", "b"), ("trial", ""), ("left", "0")]);
    assert!(machine.boot().serial.contains("slot b boots"));
    assert_eq!(machine.boot_state().get("left"), Some("0"));
}

#[test]
fn a_trial_that_cannot_be_loaded_falls_back_at_once() {
    let Some(machine) = machine("a_trial_that_cannot_be_loaded_falls_back_at_once") else {
        return;
    };
    machine.set_boot_state(&[("trial", "b"), ("left", "3")]);
    machine.write(partition::SLOT_B, 0, &[0; 4096]);
    assert!(machine.boot().serial.contains("slot a boots"));
    assert_eq!(machine.boot_state().get("left"), Some("2"));
}

#[test]
fn a_destroyed_header_of_the_good_slot_boots_the_other() {
    let name = "a_destroyed_header_of_the_good_slot_boots_the_other";
    let Some(machine) = machine(name) else { return };
    machine.write(partition::SLOT_A, 0, &[0xff; 1024]);
    assert!(machine.boot().serial.contains("slot b boots"));
}

#[test]
fn a_destroyed_kernel_of_the_good_slot_boots_the_other() {
    let name = "a_destroyed_kernel_of_the_good_slot_boots_the_other";
    let Some(machine) = machine(name) else { return };
    machine.write(partition::SLOT_A, 4096, &[0; 1024]);
    assert!(machine.boot().serial.contains("slot b boots"));
}

#[test]
fn a_destroyed_boot_state_boots_slot_a() {
    let Some(machine) = machine("a_destroyed_boot_state_boots_slot_a") else {
        return;
    };
    machine.write(partition::BOOT_STATE, 0, &[0; 1 << 20]);
    assert!(machine.boot().serial.contains("slot a boots"));
}

#[test]
fn a_destroyed_partition_table_boots_the_good_slot_by_its_place() {
    let name = "a_destroyed_partition_table_boots_the_good_slot_by_its_place";
    let Some(machine) = machine(name) else { return };
    machine.set_boot_state(&[("good", "b"), ("trial", "a"), ("left", "2")]);
    machine.write_disk(512, b"no table");
    let outcome = machine.boot();
    assert!(
        outcome.serial.contains("slot b boots"),
        "{}",
        outcome.serial
    );
}

#[test]
fn a_destroyed_filesystem_around_the_boot_state_boots_the_good_slot() {
    let name = "a_destroyed_filesystem_around_the_boot_state_boots_the_good_slot";
    let Some(machine) = machine(name) else { return };
    machine.set_boot_state(&[("good", "b"), ("trial", "a"), ("left", "2")]);
    machine.write(partition::BOOT_STATE, 0, &[0; 512]);
    let outcome = machine.boot();
    assert!(
        outcome.serial.contains("slot b boots"),
        "{}",
        outcome.serial
    );
}

#[test]
fn nonsense_in_the_boot_state_boots_slot_a() {
    let Some(machine) = machine("nonsense_in_the_boot_state_boots_slot_a") else {
        return;
    };
    machine.set_boot_state(&[("good", "z; halt"), ("trial", "($x) ]"), ("left", "3")]);
    assert!(machine.boot().serial.contains("slot a boots"));
}

#[test]
fn a_machine_without_a_serial_port_boots() {
    let Some(machine) = machine("a_machine_without_a_serial_port_boots") else {
        return;
    };
    // The board's port moves to an address where GRUB does not look.
    assert!(
        machine
            .with(&["-global", "isa-serial.iobase=0x5f8"])
            .boot()
            .kernel_ran()
    );
}

#[test]
fn no_key_reaches_a_prompt_when_nothing_boots_and_the_machine_restarts() {
    let name = "no_key_reaches_a_prompt_when_nothing_boots_and_the_machine_restarts";
    let Some(machine) = machine(name) else { return };
    machine.write(partition::SLOT_A, 0, &[0; 4096]);
    machine.write(partition::SLOT_B, 0, &[0; 4096]);
    let outcome = machine.boot_pressing(&["esc", "c", "e", "ctrl-c", "ret", "shift"]);
    // -no-reboot turns the restart into QEMU's ordinary end.
    assert!(outcome.status.success());
    assert!(
        outcome.serial.contains("neither system slot can be loaded"),
        "{}",
        outcome.serial
    );
    assert!(!outcome.serial.contains("grub>"), "{}", outcome.serial);
    assert!(!outcome.serial.contains("rescue>"), "{}", outcome.serial);
}

#[test]
fn no_key_stops_a_boot() {
    let Some(machine) = machine("no_key_stops_a_boot") else {
        return;
    };
    let outcome = machine.boot_pressing(&["esc", "c", "e", "ctrl-c", "ret", "shift"]);
    assert!(outcome.kernel_ran(), "{}", outcome.serial);
}

/// The machine, unless something it needs is not installed.
fn machine(test: &str) -> Option<Machine> {
    let has_qemu = has_program(test, "qemu-system-x86_64", "qemu-system-x86");
    (has_qemu && has_grub(test)).then(|| Machine::new(test))
}
