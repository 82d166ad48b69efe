//! A system on trial that fails in any way is left without a hand, and a good one is kept.

use std::thread;
use std::time::Duration;

use disk_format::slot::SlotName::{A, B};
use qemu::process::Vm;
use tests::disk::{FirmwareKind, Setup, TestDisk};
use tests::lab::Lab;
use tests::scene::{BOOT_MAX, CONNECTED, PAGE, STEP_MAX, expect};
use tests::trial::{self, FAILING, Fault};
use tests::{scene, skip};

/// The watchdog's own time, and what a busy machine adds.
const WATCHDOG_MAX: Duration = Duration::from_secs(180);
/// The faults that UEFI shows in every run.
const IN_SHORT: [Fault; 2] = [Fault::Ends, Fault::IsZeros];
/// Machines that run at a time: a kernel that gets too little of a processor doubts its timer.
const AT_A_TIME: usize = 2;
/// Long enough for a trial that waits for a person's key.
const UNHURRIED_S: u32 = 600;
/// Little for a trial, but enough for a busy computer to bring its link up.
const HURRIED_S: u32 = 20;

#[test]
fn every_fault_of_a_trial_ends_in_the_good_slot_on_bios() {
    if let Some(reason) = Lab::missing_for_vm() {
        skip!(reason);
    }
    let lab = expect(Lab::new("slots bios"));
    each_ends_in_the_good_slot(&lab, FirmwareKind::Bios, &Fault::ALL);
}

#[test]
fn a_panic_and_an_empty_slot_end_in_the_good_slot_on_uefi() {
    if let Some(reason) = missing_for_uefi() {
        skip!(reason);
    }
    let lab = expect(Lab::new("slots uefi"));
    each_ends_in_the_good_slot(&lab, FirmwareKind::Uefi, &IN_SHORT);
}

#[test]
fn every_other_fault_ends_in_the_good_slot_on_uefi_too() {
    if std::env::var_os("OUTGATE_LONG").is_none() {
        eprintln!("only with OUTGATE_LONG: the other faults on UEFI");
        return;
    }
    if let Some(reason) = missing_for_uefi() {
        skip!(reason);
    }
    let lab = expect(Lab::new("slots uefi long"));
    let others: Vec<_> = Fault::ALL
        .into_iter()
        .filter(|fault| !IN_SHORT.contains(fault))
        .collect();
    each_ends_in_the_good_slot(&lab, FirmwareKind::Uefi, &others);
}

fn each_ends_in_the_good_slot(lab: &Lab, firmware: FirmwareKind, faults: &[Fault]) {
    for batch in faults.chunks(AT_A_TIME) {
        thread::scope(|scope| {
            for &fault in batch {
                scope.spawn(move || ends_in_the_good_slot(lab, firmware, fault));
            }
        });
    }
}

/// Slot b is on trial and fails so; slot a then works and says why it runs.
fn ends_in_the_good_slot(lab: &Lab, firmware: FirmwareKind, fault: Fault) {
    let disk = expect(TestDisk::fresh(lab.folder().join(format!("{fault:?}.raw"))));
    let failing = expect(trial::failing(&disk.slot(A), fault));
    disk.write_slot(B, &failing);
    // Restarts are quick, so that all three tries are seen; a panic waits for ten seconds.
    let (tries, left_after) = match fault {
        Fault::Restarts => (3, "0"),
        // The good slot boots at once, with tries to spare.
        Fault::IsZeros => (3, "2"),
        _ => (1, "0"),
    };
    disk.arm(B, tries, UNHURRIED_S);
    let mut setup = Setup::new(&disk);
    setup.firmware = firmware;
    setup.watchdog = fault != Fault::Hangs;
    let mut vm = expect(setup.switch_on());
    match fault {
        Fault::Ends | Fault::Restarts | Fault::HangsWithWatchdog | Fault::Hangs => {
            for _ in 0..tries {
                expect(vm.console().wait_for(FAILING, BOOT_MAX));
            }
        }
        Fault::HasNoInit | Fault::IsTruncated => {
            expect(vm.console().wait_for("Kernel panic", BOOT_MAX));
        }
        Fault::IsZeros => {
            let said = "system slot b cannot be loaded";
            expect(vm.console().wait_for(said, BOOT_MAX));
        }
    }
    if fault == Fault::Hangs {
        // What hangs without a watchdog is restarted by its operator.
        expect(vm.qmp().system_reset());
    }
    let said = if fault == Fault::IsZeros {
        "Slot b cannot be loaded"
    } else {
        "Slot b did not start well"
    };
    let told = vm.console().wait_for(said, WATCHDOG_MAX);
    expect(told.map_err(|error| format!("{fault:?}: {error}")));
    vm.kill();
    assert_eq!(disk.good_trial_left(), ["a", "b", left_after], "{fault:?}");
}

#[test]
fn a_trial_without_a_time_server_ends_in_the_good_slot() {
    let scene = scene!("slots no time");
    scene
        .lab
        .network()
        .with_faults(|faults| faults.ntp_silent = true);
    let disk = expect(TestDisk::fresh(scene.lab.folder().join("disk.raw")));
    disk.fill_slot_b();
    disk.arm(B, 1, HURRIED_S);
    let vm = on_network(&scene.lab, &disk);
    expect(vm.console().wait_for("slot b, on trial", BOOT_MAX));
    expect(vm.console().wait_for("Slot b did not start well", BOOT_MAX));
    // The good slot has the same fault to live with, and no deadline.
    expect(
        vm.console()
            .wait_for("Waiting for an NTP server's answer", STEP_MAX),
    );
    vm.kill();
    assert_eq!(disk.good_trial_left(), ["a", "b", "0"]);
}

#[test]
fn a_trial_on_a_machine_that_nobody_enrols_ends_in_the_good_slot() {
    let scene = scene!("slots not enrolled");
    let disk = expect(TestDisk::fresh(scene.lab.folder().join("disk.raw")));
    disk.fill_slot_b();
    disk.arm(B, 1, HURRIED_S);
    let vm = on_network(&scene.lab, &disk);
    expect(vm.console().wait_for("slot b, on trial", BOOT_MAX));
    expect(vm.console().wait_for("Provisioning key:", BOOT_MAX));
    expect(vm.console().wait_for("Slot b did not start well", BOOT_MAX));
    expect(vm.console().wait_for("Provisioning key:", BOOT_MAX));
}

#[test]
fn an_enrolled_trial_is_kept_once_it_connects_and_left_when_it_does_not() {
    let mut scene = scene!("slots promote");
    let disk = expect(TestDisk::fresh(scene.lab.folder().join("disk.raw")));
    disk.fill_slot_b();
    disk.arm(B, 1, UNHURRIED_S);
    let vm = on_network(&scene.lab, &disk);
    expect(vm.console().wait_for("slot b, on trial", BOOT_MAX));
    expect(vm.console().wait_for("Provisioning key:", BOOT_MAX));
    assert_eq!(disk.good_trial_left(), ["a", "b", "0"], "counted");
    let key = scene.mint_key(&[]);
    expect(vm.console().type_line(&key));
    expect(vm.console().wait_for(CONNECTED, STEP_MAX));
    expect(vm.console().wait_for(KEPT, STEP_MAX));
    assert_eq!(scene.fetch(PAGE).status, 200);
    vm.kill();
    assert_eq!(disk.good_trial_left(), ["b", "", "0"], "promoted");

    // Slot b is the good one now; a trial of slot a meets a dead edge.
    scene.edge().kill();
    disk.arm(A, 1, HURRIED_S);
    let vm = on_network(&scene.lab, &disk);
    expect(vm.console().wait_for("slot a, on trial", BOOT_MAX));
    expect(vm.console().wait_for("Slot a did not start well", BOOT_MAX));
    expect(scene.edge().restart());
    expect(vm.console().wait_for(CONNECTED, STEP_MAX));
    assert_eq!(scene.fetch(PAGE).status, 200);
    vm.kill();
    assert_eq!(disk.good_trial_left()[0], "b");
}

#[test]
fn a_trial_is_kept_on_uefi_too() {
    if let Some(reason) = missing_for_uefi() {
        skip!(reason);
    }
    let mut scene = scene!("slots promote uefi");
    let disk = expect(TestDisk::fresh(scene.lab.folder().join("disk.raw")));
    disk.fill_slot_b();
    disk.arm(B, 3, UNHURRIED_S);
    let mut setup = Setup::new(&disk);
    setup.firmware = FirmwareKind::Uefi;
    setup.network = Some(scene.lab.network().socket());
    let vm = expect(setup.switch_on());
    expect(vm.console().wait_for("Provisioning key:", BOOT_MAX));
    assert_eq!(disk.good_trial_left(), ["a", "b", "2"], "counted");
    let key = scene.mint_key(&[]);
    expect(vm.console().type_line(&key));
    expect(vm.console().wait_for(KEPT, STEP_MAX));
    vm.kill();
    assert_eq!(disk.good_trial_left(), ["b", "", "0"], "promoted");
}

/// What the console says when a trial was promoted: the words of a good slot, without "on trial".
const KEPT: &str = "Outgate 0.1.0 in slot b";

fn on_network(lab: &Lab, disk: &TestDisk) -> Vm {
    let mut setup = Setup::new(disk);
    setup.network = Some(lab.network().socket());
    expect(setup.switch_on())
}

fn missing_for_uefi() -> Option<String> {
    let firmware = qemu::host::find_ovmf().err();
    Lab::missing_for_vm().or_else(|| firmware.map(|error| error.to_string()))
}
