//! A power cut at any write of install, arm, boot and promote: the old system runs or the new one.

use std::collections::HashSet;

use disk_format::slot::SlotHeader;
use disk_format::slot::SlotName::{self, A, B};
use init::slot::boot_state::{BootState, TRIES};
use init::slot::device::BlockDevice as _;
use init::slot::{policy, system};

use super::disk::{Disk, Image};
use super::loader;
use super::world::{BAD, explore, image, is_whole, runs, system_of};

/// Sectors of content in a small system.
const SMALL: usize = 4;
/// More than is written at a time.
const LARGE: usize = 150;

#[test]
fn an_update_that_is_cut_anywhere_leaves_the_old_system_or_the_new_one() {
    for (name, before) in beginnings(SMALL) {
        let versions = update(&before, "new", SMALL).unwrap();
        assert!(versions.contains("new"), "{name}: {versions:?}");
        assert!(
            versions.is_subset(&of(&["old", "new", "older"])),
            "{name}: {versions:?}"
        );
    }
}

#[test]
fn a_bad_update_that_is_cut_anywhere_leaves_the_old_system() {
    for (name, before) in beginnings(SMALL) {
        let versions = update(&before, BAD, SMALL).unwrap();
        assert!(
            versions.is_subset(&of(&["old", "older"])),
            "{name}: {versions:?}"
        );
    }
}

#[test]
fn a_system_that_takes_several_writes_is_old_or_new_as_well() {
    let old = system_of("old", LARGE);
    let before = image([&old, &[]], GOOD_A);
    let versions = update(&before, "new", LARGE).unwrap();
    assert_eq!(versions, of(&["old", "new"]));
}

#[test]
fn slot_b_is_updated_from_slot_a_and_back() {
    let old = system_of("old", SMALL);
    let mut disk = image([&old, &[]], GOOD_A);
    for (running, version) in [(A, "v2"), (B, "v3"), (A, "v4")] {
        let used = Disk::new(&disk);
        install_and_arm(&used, running, &system_of(version, SMALL));
        disk = used.image();
        let booted = Disk::new(&disk);
        assert_eq!(loader::boot(&booted), loader::Booted::Slot(running.other()));
        assert_eq!(runs(&disk).unwrap(), version);
        // The trial is promoted.
        disk = promoted(&disk, running.other());
    }
}

#[test]
fn only_arming_raises_the_tries_left() {
    for (name, before) in beginnings(SMALL) {
        let had = loader::left(&before);
        let disk = Disk::new(&before);
        let running = running(&before);
        install(&disk, running, &system_of("new", SMALL));
        for cut in disk.after_power_cuts() {
            assert!(loader::left(&cut) <= had, "{name}: install");
        }
        let installed = disk.image();
        let disk = Disk::new(&installed);
        arm(&disk, running);
        for cut in disk.after_power_cuts() {
            let left = loader::left(&cut);
            assert!(left == 0 || left == TRIES, "{name}: arm left {left}");
        }
    }
}

#[test]
fn what_is_installed_is_booted_only_when_armed_and_its_header_never_comes_before_its_content() {
    let new = system_of("new", SMALL);
    for (name, before) in beginnings(SMALL) {
        let disk = Disk::new(&before);
        let running = running(&before);
        install(&disk, running, &new);
        let mut cuts = disk.after_power_cuts();
        cuts.push(disk.image());
        for cut in &cuts {
            let slot = cut.slot(running.other());
            let header = SlotHeader::parse(slot, slot.len() as u64 / 512);
            if header.is_ok_and(|header| header.version == "new") {
                assert!(
                    slot[4096..].starts_with(&new[4096..]),
                    "{name}: half a system"
                );
            }
        }
        let versions = explore(cuts).unwrap();
        assert!(!versions.contains("new"), "{name}: {versions:?}");
    }
}

#[test]
fn an_installation_that_skips_the_order_is_found_to_boot_neither() {
    // Slot b runs because a cannot be loaded, and a is still the good one: if a's header came
    // before its content, half a system would be booted for ever.
    let before = image([&[], &system_of("old", SMALL)], GOOD_A);
    let disk = Disk::new(&before);
    let mut slot = disk.slot(A);
    slot.write_at(0, &system_of("new", SMALL)).unwrap();
    slot.flush().unwrap();
    let error = explore(disk.after_power_cuts()).unwrap_err();
    assert_eq!(error, "the machine restarts for ever");
}

#[test]
fn a_bad_trial_is_left_after_its_tries_and_without_a_good_slot_nothing_runs() {
    let old = system_of("old", SMALL);
    let mut before = image([&old, &system_of(BAD, SMALL)], TRIED_B);
    let explored = explore(vec![before.clone()]).unwrap();
    assert_eq!(explored, of(&["old"]));
    // Without a good slot to fall back to there is nothing to run.
    before.set_slot(A, &[0; 4096]);
    assert!(runs(&before).is_err());
}

const GOOD_A: &[(&str, &str)] = &[
    ("good", "a"),
    ("trial", ""),
    ("left", "0"),
    ("name", "mumbai-01"),
];
const TRIED_B: &[(&str, &str)] = &[("good", "a"), ("trial", "b"), ("left", "3")];

/// Disks before an update, each with its name.
fn beginnings(sectors: usize) -> Vec<(&'static str, Image)> {
    let (old, older) = (system_of("old", sectors), system_of("older", sectors));
    let edge = "e".repeat(253);
    vec![
        ("a runs, b is empty", image([&old, &[]], GOOD_A)),
        ("a runs, b is older", image([&old, &older], GOOD_A)),
        (
            "b runs, a is older, much is minted",
            image(
                [&older, &old],
                &[
                    ("good", "b"),
                    ("trial", ""),
                    ("left", "0"),
                    ("name", "mumbai-01"),
                    ("edge", &edge),
                ],
            ),
        ),
        (
            "a runs after b failed",
            image(
                [&old, &older],
                &[("good", "a"), ("trial", "b"), ("left", "0")],
            ),
        ),
        // Armed a moment ago and not booted yet: `older` is what was to be tried.
        ("a runs, b is armed", image([&old, &older], TRIED_B)),
        (
            "b runs because a cannot be loaded",
            image([&[], &old], GOOD_A),
        ),
        ("b runs and the boot state is destroyed", {
            let mut image = image([&[], &old], GOOD_A);
            image.set_block(&[0; 1024]);
            image
        }),
    ]
}

/// The slot that runs before an update: the one with the system `old`.
fn running(image: &Image) -> SlotName {
    let is_old = |slot: &SlotName| {
        let bytes = image.slot(*slot);
        SlotHeader::parse(bytes, bytes.len() as u64 / 512)
            .is_ok_and(|header| header.version == "old")
    };
    [A, B].into_iter().find(is_old).unwrap()
}

/// What can run after an update to `version` with power cuts anywhere, boots included.
fn update(before: &Image, version: &str, sectors: usize) -> Result<HashSet<String>, String> {
    let disk = Disk::new(before);
    install_and_arm(&disk, running(before), &system_of(version, sectors));
    let mut images = disk.after_power_cuts();
    images.push(disk.image());
    assert!(!is_whole(before) || images.iter().all(is_whole));
    explore(images)
}

fn install_and_arm(disk: &Disk, running: SlotName, system: &[u8]) {
    install(disk, running, system);
    arm(disk, running);
}

/// As PID 1 and the installer do it.
fn install(disk: &Disk, running: SlotName, system: &[u8]) {
    let (block, _) = BootState::read(&mut disk.boot_state()).unwrap();
    let boot = started(&block, running);
    let slot = running.other();
    let cleared = policy::before_install(&block, boot, Some(running), slot).unwrap();
    if cleared != block {
        cleared.write(&mut disk.boot_state()).unwrap();
    }
    let slot_bytes = disk.image().slot(slot).len() as u64;
    system::install(&mut &*system, &mut disk.slot(slot), slot_bytes).unwrap();
}

fn arm(disk: &Disk, running: SlotName) {
    let (block, _) = BootState::read(&mut disk.boot_state()).unwrap();
    let slot = running.other();
    let slot_bytes = disk.image().slot(slot).len() as u64;
    system::check(&mut disk.slot(slot), slot_bytes).unwrap();
    let boot = started(&block, running);
    let armed = policy::armed(&block, boot, Some(running), slot, None).unwrap();
    armed.write(&mut disk.boot_state()).unwrap();
}

/// What the boot was before anything was armed in it.
fn started(block: &BootState, running: SlotName) -> policy::Boot {
    let boot = policy::judge(block, Some(running));
    assert!(!matches!(boot, policy::Boot::Trial { .. }));
    boot
}

fn promoted(image: &Image, running: SlotName) -> Image {
    let disk = Disk::new(image);
    assert_eq!(loader::boot(&disk), loader::Booted::Slot(running));
    let (block, _) = BootState::read(&mut disk.boot_state()).unwrap();
    let boot = policy::judge(&block, Some(running));
    let block = policy::promoted(&block, boot, Some(running)).unwrap();
    block.write(&mut disk.boot_state()).unwrap();
    disk.image()
}

fn of(versions: &[&str]) -> HashSet<String> {
    versions
        .iter()
        .map(|version| (*version).to_owned())
        .collect()
}
