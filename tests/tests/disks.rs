//! Damaged, grown, shortened and read-only disks: the machine boots and says what it found.

use std::thread;

use disk_format::SECTOR_BYTES;
use disk_format::gpt::PRIMARY_SECTORS;
use disk_format::grubenv::SIGNATURE;
use disk_format::slot::SlotName::{A, B};
use disk_format::slot::partition;
use qemu::process::Vm;
use tests::disk::{FirmwareKind, Setup, TestDisk};
use tests::lab::Lab;
use tests::scene::{BOOT_MAX, expect};
use tests::skip;

/// Decides which bits are flipped; the same in every run.
const SEED: u64 = 0x6f75_7467_6174_6503;
/// Machines that run at a time.
const AT_A_TIME: usize = 2;
/// Said once the boot state was found, and after ten seconds with a problem when it was not.
const AS_EVER: &str = "in slot a";
/// The first line of a machine that reached PID 1.
const UP: &str = "Outgate 0.1.0";

#[test]
fn one_wrong_bit_in_boot_state_or_partition_table_is_survived_and_told() {
    let Some(lab) = lab("disks bits") else { return };
    let of = |bytes: u64, bit: u64| bytes * 8 + bit;
    let disk = expect(TestDisk::fresh(lab.folder().join("layout.raw")));
    let block = disk.boot_state_block();
    let text = block + SIGNATURE.len() as u64;
    let state = disk.partition(partition::BOOT_STATE).start;
    let backup_header = disk.bytes() - SECTOR_BYTES;
    let cases = [
        // The block's first letter: there is no block.
        Case::new("signature", of(block, 1), Some("is destroyed")),
        // `good=a` becomes `good=c`, which is no slot: a is the default.
        Case::new("good", of(text + 5, 1), None),
        // `trial=` becomes a line without its sign.
        Case::new("trial", of(text + 12, 6), Some("is damaged")),
        // The FAT's sectors per cluster: GRUB reads no file, PID 1 reads the block by its place.
        Case::new("fat", of(state + 13, 0), None),
        // `EFI PART` of the primary table, and of the backup: the other one serves.
        Case::new("primary", of(SECTOR_BYTES, 0), Some(AS_EVER)),
        Case::new("backup", of(backup_header, 0), Some(AS_EVER)),
    ];
    boot_each(&lab, &disk, &cases);
}

#[test]
fn a_wrong_bit_in_the_primary_partition_table_is_survived_on_uefi_too() {
    let Some(lab) = lab("disks bits uefi") else {
        return;
    };
    let disk = expect(TestDisk::fresh(lab.folder().join("disk.raw")));
    disk.flip_bit(SECTOR_BYTES * 8);
    let mut setup = Setup::new(&disk);
    setup.firmware = FirmwareKind::Uefi;
    let vm = expect(setup.switch_on());
    expect(vm.console().wait_for("in slot a", BOOT_MAX));
    assert_no_disk_problem(&vm);
}

#[test]
fn many_wrong_bits_in_boot_state_and_partition_tables_are_survived() {
    if std::env::var_os("OUTGATE_LONG").is_none() {
        eprintln!("only with OUTGATE_LONG: sampled bits on real boots");
        return;
    }
    let Some(lab) = lab("disks many bits") else {
        return;
    };
    let disk = expect(TestDisk::fresh(lab.folder().join("layout.raw")));
    let state = disk.partition(partition::BOOT_STATE).start;
    let ranges = [
        // Behind the MBR's code: its partition table, header and entries, as far as there are any.
        440..2 * SECTOR_BYTES + 6 * 128,
        state..disk.boot_state_block() + 1024,
        disk.bytes() - SECTOR_BYTES * (PRIMARY_SECTORS - 1)..disk.bytes(),
    ];
    let mut random = Random(SEED);
    let mut cases = Vec::new();
    for range in ranges {
        for _ in 0..20 {
            let bit = range.start * 8 + random.below((range.end - range.start) * 8);
            cases.push(Case::new("sampled", bit, None));
        }
    }
    boot_each(&lab, &disk, &cases);
}

#[test]
fn a_destroyed_idle_slot_is_told_and_the_other_boots() {
    let Some(lab) = lab("disks idle slot") else {
        return;
    };
    let disk = expect(TestDisk::fresh(lab.folder().join("disk.raw")));
    disk.write_slot(B, &[0xff; 1 << 20]);
    let vm = expect(Setup::new(&disk).switch_on());
    expect(vm.console().wait_for("in slot a", BOOT_MAX));
    expect(vm.console().wait_for("Slot b holds no system", BOOT_MAX));
}

#[test]
fn a_destroyed_good_slot_is_told_and_the_other_boots() {
    let Some(lab) = lab("disks good slot") else {
        return;
    };
    let disk = expect(TestDisk::fresh(lab.folder().join("disk.raw")));
    disk.fill_slot_b();
    disk.write_slot(A, &[0xff; 1 << 20]);
    let vm = expect(Setup::new(&disk).switch_on());
    expect(vm.console().wait_for("Slot a cannot be loaded", BOOT_MAX));
}

#[test]
fn a_disk_that_its_user_enlarged_boots_as_before_on_both_firmwares() {
    let Some(lab) = lab("disks grown") else {
        return;
    };
    thread::scope(|scope| {
        for firmware in [FirmwareKind::Bios, FirmwareKind::Uefi] {
            let lab = &lab;
            scope.spawn(move || {
                let path = lab.folder().join(format!("{firmware:?}.raw"));
                let disk = expect(TestDisk::fresh(path));
                // The backup table stays where the disk used to end.
                disk.set_bytes(disk.bytes() + (1 << 30));
                disk.fill_slot_b();
                disk.arm(B, 3, 600);
                let mut setup = Setup::new(&disk);
                setup.firmware = firmware;
                let vm = expect(setup.switch_on());
                expect(vm.console().wait_for("slot b, on trial", BOOT_MAX));
                vm.kill();
                assert_eq!(disk.good_trial_left(), ["a", "b", "2"]);
                assert_no_disk_problem(&vm);
            });
        }
    });
}

#[test]
fn a_disk_that_is_too_small_is_named_with_what_it_needs() {
    let Some(lab) = lab("disks short") else {
        return;
    };
    let disk = expect(TestDisk::fresh(lab.folder().join("disk.raw")));
    disk.set_bytes(40 << 20);
    let vm = expect(Setup::new(&disk).switch_on());
    expect(
        vm.console()
            .wait_for("Disk vda has 40 MiB, the image needs 77 MiB", BOOT_MAX),
    );
}

#[test]
fn a_read_only_disk_is_named_and_nothing_is_tried_from_it() {
    let Some(lab) = lab("disks read only") else {
        return;
    };
    let disk = expect(TestDisk::fresh(lab.folder().join("disk.raw")));
    disk.fill_slot_b();
    disk.arm(B, 3, 600);
    let mut setup = Setup::new(&disk);
    setup.read_only = true;
    let vm = expect(setup.switch_on());
    expect(vm.console().wait_for("Disk vda is read-only", BOOT_MAX));
    let text = vm.console().text();
    assert!(
        !text.contains("in slot b"),
        "a trial that cannot be counted is not tried: {text}"
    );
}

/// One wrong bit, and what is said about it.
#[derive(Debug, Clone, Copy)]
struct Case {
    /// For the message of a failure.
    #[expect(dead_code, reason = "read by Debug")]
    name: &'static str,
    bit: u64,
    told: Option<&'static str>,
}

impl Case {
    const fn new(name: &'static str, bit: u64, told: Option<&'static str>) -> Self {
        Self { name, bit, told }
    }
}

/// Boots a copy of `disk` with each of the wrong bits.
fn boot_each(lab: &Lab, disk: &TestDisk, cases: &[Case]) {
    let content = &disk.content();
    for batch in cases.chunks(AT_A_TIME) {
        thread::scope(|scope| {
            for case in batch {
                scope.spawn(move || {
                    let path = lab.folder().join(format!("{}.raw", case.bit));
                    let disk = expect(TestDisk::from_bytes(content, path));
                    disk.flip_bit(case.bit);
                    let vm = expect(Setup::new(&disk).switch_on());
                    let up = vm.console().wait_for(UP, BOOT_MAX);
                    expect(up.map_err(|error| format!("{case:?}: {error}")));
                    if let Some(words) = case.told {
                        let told = vm.console().wait_for(words, BOOT_MAX);
                        expect(told.map_err(|error| format!("{case:?}: {error}")));
                    }
                    if case.told == Some(AS_EVER) {
                        assert_no_disk_problem(&vm);
                    }
                });
            }
        });
    }
}

fn assert_no_disk_problem(vm: &Vm) {
    let text = vm.console().text();
    for problem in [
        "is missing",
        "is damaged",
        "is destroyed",
        "the image needs",
    ] {
        assert!(!text.contains(problem), "{text}");
    }
}

/// Numbers that look random: Knuth's MMIX generator.
struct Random(u64);

impl Random {
    const fn below(&mut self, limit: u64) -> u64 {
        let (factor, term) = (6_364_136_223_846_793_005, 1_442_695_040_888_963_407);
        self.0 = self.0.wrapping_mul(factor).wrapping_add(term);
        (self.0 >> 33) % limit
    }
}

/// A lab, unless no VM can be booted.
fn lab(name: &str) -> Option<Lab> {
    if let Some(reason) = Lab::missing_for_vm() {
        skip!(reason => None);
    }
    Some(expect(Lab::new(name)))
}
