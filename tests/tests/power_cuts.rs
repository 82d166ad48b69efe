//! The power fails at any write of an update: the machine boots the old system or the new one.
//!
//! One machine goes through a whole update (install, arm, the boot loader's count, promotion) while
//! QEMU records each write and flush. The record is then replayed up to each point, with whole and torn
//! writes and with unflushed ones lost; a model of the boot loader says what boots, and a sample really
//! boots.

use std::fs;
use std::ops::Range;
use std::{panic, thread};

use disk_format::SECTOR_BYTES;
use disk_format::grubenv::{BLOCK_BYTES, GrubEnv};
use disk_format::slot::SlotName::{self, A, B};
use disk_format::slot::partition;
use qemu::console::Console;
use tests::boot_model;
use tests::disk::{Setup, TestDisk};
use tests::lab::Lab;
use tests::scene::{BOOT_MAX, CONNECTED, STEP_MAX, Scene, expect};
use tests::write_log::{self, Operation};
use tests::{agent, scene, skip, trial};

/// Machines that run at a time.
const AT_A_TIME: usize = 2;
/// Crash points that really boot, when there is time.
const LONG_SAMPLE: usize = 40;
const SECTOR: usize = 512;

#[test]
fn a_power_cut_at_any_write_of_an_update_leaves_the_old_system_or_the_new_one() {
    let mut scene = scene!("power cuts");
    let (before, operations) = record_an_update(&mut scene);
    let steps = check_every_cut(&before, &operations);
    let order = ["a|", "a|b3", "a|b2", "b|"].map(str::to_owned);
    let met: Vec<_> = steps.iter().map(|(_, state)| state.clone()).collect();
    assert_eq!(
        met, order,
        "each step once and none twice: counters never go back"
    );
    boot_a_sample(&scene, &before, &operations, &steps);
}

#[test]
fn a_slot_that_is_armed_before_it_is_whole_is_caught() {
    if let Some(reason) = Lab::missing_for_vm() {
        skip!(reason);
    }
    let lab = expect(Lab::new("power cuts caught"));
    let disk = expect(TestDisk::fresh(lab.folder().join("disk.raw")));
    let (system, slot) = (disk.slot(A), disk.partition(partition::SLOT_B).start);
    let before = disk.content();
    disk.arm(B, 3, 600);
    let write = |offset, data: &[u8]| Operation::Write {
        offset,
        data: data.to_vec(),
    };
    let block = disk.boot_state_block();
    let (first, rest) = system.split_at(system.len() / SECTOR / 2 * SECTOR);
    let operations = [
        write(block, &disk.read(block, BLOCK_BYTES)),
        Operation::Flush,
        write(slot, first),
        write(slot + first.len() as u64, rest),
    ];
    let caught = panic::catch_unwind(|| check_every_cut(&before, &operations)).err();
    let words = caught.and_then(|words| words.downcast::<String>().ok());
    assert!(words.is_some_and(|words| words.contains("slot b boots, in pieces")));
}

/// The disk before the update, and everything that was done to it then.
fn record_an_update(scene: &mut Scene) -> (Vec<u8>, Vec<Operation>) {
    let disk = expect(TestDisk::fresh(scene.lab.folder().join("disk.raw")));
    // The new system waits at the end of the old one's slot; the old one has the updater in it.
    let new = disk.slot(A);
    disk.write_slot(A, &expect(trial::updating(&new)));
    let slot = disk.partition(partition::SLOT_A);
    let offset = slot.end - slot.start - new.len() as u64;
    disk.write(slot.start + offset, &new);
    // So that what boots from it was installed.
    disk.write_slot(B, &[]);
    let before = disk.content();

    let log = scene.lab.folder().join("writes.log");
    let mut setup = Setup::new(&disk);
    setup.network = Some(scene.lab.network().socket());
    setup.write_log = Some(log.clone());
    setup.agent_port = true;
    let mut vm = expect(setup.switch_on());
    expect(vm.console().wait_for("updater ready", BOOT_MAX));
    let port = vm.second_console();
    expect(agent::ask(
        expect(port.ok_or("no agent port")),
        "open /dev/vda4",
    ));
    ask(vm.console(), &format!("install /dev/vda4 {offset}"));
    ask(vm.console(), "arm");
    expect(vm.qmp().system_reset());

    expect(vm.console().wait_for("slot b, on trial", BOOT_MAX));
    expect(vm.console().wait_for("Provisioning key:", BOOT_MAX));
    let key = scene.mint_key(&[]);
    expect(vm.console().type_line(&key));
    expect(vm.console().wait_for(CONNECTED, STEP_MAX));
    expect(vm.console().wait_for("Outgate 0.1.0 in slot b", STEP_MAX));
    // In order, so that the record is whole.
    expect(vm.qmp().quit());
    assert!(vm.wait_exit(STEP_MAX).is_some());
    let operations = expect(write_log::parse(&expect(fs::read(&log))));
    (before, operations)
}

/// Has the updater do something, and waits for it to be done.
fn ask(console: &Console, request: &str) {
    expect(console.type_line(request));
    let answer = expect(console.wait_for_any(&["done:", "refused:", "not asked:"], STEP_MAX));
    assert_eq!(answer.pattern, 0, "{request}: {}", console.last_lines(5));
}

/// Checks the disk after each operation, and after it was torn; returns after how many operations the
/// boot state became what.
fn check_every_cut(before: &[u8], operations: &[Operation]) -> Vec<(usize, String)> {
    let mut disk = Replay::new(before);
    let mut flushed = Replay::new(before);
    let mut window = Vec::new();
    let mut steps = vec![(0, disk.state())];
    let mut cuts = 0;
    for (number, operation) in operations.iter().enumerate() {
        match operation {
            Operation::Write { offset, data } => {
                cuts += disk.write_torn(*offset, data, number);
                window.push((*offset, data.as_slice()));
            }
            Operation::Flush => {
                cuts += flushed.write_some(&window, number);
                window.clear();
            }
            Operation::Discard => {}
        }
        let state = disk.state();
        if steps.last().is_none_or(|(_, last)| *last != state) {
            steps.push((number + 1, state));
        }
    }
    assert!(
        cuts > 10_000,
        "only {cuts} cuts: the update was not recorded"
    );
    steps
}

/// Boots the disk as it was after some of the operations: the first, the last, around each step, and in
/// the midst of the installation.
fn boot_a_sample(
    scene: &Scene,
    before: &[u8],
    operations: &[Operation],
    steps: &[(usize, String)],
) {
    let armed_at = steps[1].0;
    let mut points = vec![0, armed_at / 2, operations.len()];
    points.extend(steps[1..].iter().flat_map(|(at, _)| [at - 1, *at]));
    if std::env::var_os("OUTGATE_LONG").is_some() {
        let step = (operations.len() / LONG_SAMPLE).max(1);
        points.extend((0..operations.len()).step_by(step));
    }
    points.sort_unstable();
    points.dedup();
    for batch in points.chunks(AT_A_TIME) {
        thread::scope(|scope| {
            for &point in batch {
                scope.spawn(move || boot_after(scene, before, &operations[..point]));
            }
        });
    }
}

/// Boots the disk as it was after these operations, and compares that with the model.
fn boot_after(scene: &Scene, before: &[u8], operations: &[Operation]) {
    let mut content = before.to_vec();
    for operation in operations {
        write_log::apply(&mut content, operation);
    }
    let expected = Replay::new(&content).boot(true);
    let name = format!("after-{}.raw", operations.len());
    let disk = expect(TestDisk::from_bytes(
        &content,
        scene.lab.folder().join(name),
    ));
    let mut setup = Setup::new(&disk);
    setup.agent_port = true;
    let vm = expect(setup.switch_on());
    let words = match (expected.slot, expected.is_trial) {
        // The updater is in the console's place there.
        (Some(A), _) => "updater ready",
        (_, true) => "slot b, on trial",
        (_, false) => "Outgate 0.1.0 in slot b",
    };
    let up = vm.console().wait_for(words, BOOT_MAX);
    let cut = operations.len();
    expect(up.map_err(|error| format!("after {cut} operations: {error}")));
    vm.kill();
    let block = disk.read(disk.boot_state_block(), BLOCK_BYTES);
    assert_eq!(block, expected.block, "after {cut} operations");
}

/// A disk in memory, and what the model says about it.
struct Replay {
    disk: Vec<u8>,
    slots: [Range<usize>; 2],
    block: Range<usize>,
    /// Whether each slot holds a whole system, as far as that is known.
    is_whole: [Option<bool>; 2],
}

impl Replay {
    fn new(disk: &[u8]) -> Self {
        let table = expect(disk_format::gpt::Gpt::parse_primary(disk));
        let range = |name| {
            let partition = table.find(name).map(|partition| {
                let bytes = |lba: u64| expect(usize::try_from(lba * SECTOR_BYTES));
                bytes(partition.first_lba)..bytes(partition.last_lba + 1)
            });
            expect(partition.ok_or("a partition is missing"))
        };
        let state = range(partition::BOOT_STATE).start;
        let offset = disk_format::slot::BOOT_STATE_BLOCK_OFFSET_BYTES;
        let block = state + expect(usize::try_from(offset));
        Self {
            disk: disk.to_vec(),
            slots: [range(partition::SLOT_A), range(partition::SLOT_B)],
            block: block..block + BLOCK_BYTES,
            is_whole: [None; 2],
        }
    }

    /// Writes with each one of the sectors missing, then whole, and checks each; returns how many
    /// cuts that is.
    fn write_torn(&mut self, offset: u64, data: &[u8], number: usize) -> usize {
        let at = expect(usize::try_from(offset));
        let old = self.disk[at..at + data.len()].to_vec();
        self.put(at, data);
        for missing in (0..data.len()).step_by(SECTOR) {
            let sector = missing..missing + SECTOR;
            self.put(at + missing, &old[sector.clone()]);
            self.check(&format!("operation {number} without its byte {missing}"));
            self.put(at + missing, &data[sector]);
        }
        self.check(&format!("operation {number}"));
        data.len() / SECTOR + 1
    }

    /// Of writes that no flush separates, any one may be lost, and any one may be the only one that
    /// was kept. Checks these, and then does all of them.
    fn write_some(&mut self, window: &[(u64, &[u8])], number: usize) -> usize {
        for chosen in 0..window.len() {
            for is_lost in [true, false] {
                let kept = |index: &usize| (*index == chosen) != is_lost;
                let kept: Vec<_> = (0..window.len()).filter(kept).collect();
                let old: Vec<_> = kept.iter().map(|&index| self.swap(window[index])).collect();
                self.check(&format!(
                    "flush {number}, write {chosen} of {} lost: {is_lost}",
                    window.len()
                ));
                for (&index, old) in kept.iter().zip(old).rev() {
                    self.swap((window[index].0, &old));
                }
            }
        }
        for &write in window {
            self.swap(write);
        }
        2 * window.len()
    }

    /// Puts bytes on the disk and returns what was there.
    fn swap(&mut self, (offset, data): (u64, &[u8])) -> Vec<u8> {
        let at = expect(usize::try_from(offset));
        let old = self.disk[at..at + data.len()].to_vec();
        self.put(at, data);
        old
    }

    fn put(&mut self, at: usize, data: &[u8]) {
        self.disk[at..at + data.len()].copy_from_slice(data);
        for (slot, is_whole) in self.slots.iter().zip(&mut self.is_whole) {
            if at < slot.end && slot.start < at + data.len() {
                *is_whole = None;
            }
        }
    }

    /// What boots must be a whole system, whether or not GRUB can save its count.
    fn check(&mut self, cut: &str) {
        for saves in [true, false] {
            let boot = self.boot(saves);
            let slot = expect(boot.slot.ok_or_else(|| format!("{cut}: nothing boots")));
            assert!(self.is_whole(slot), "{cut}: slot {slot} boots, in pieces");
            let (left, now) = (
                boot_model::left(&boot.block),
                boot_model::left(self.block()),
            );
            assert!(
                left <= now,
                "{cut}: a boot raised the counter from {now} to {left}"
            );
        }
    }

    fn boot(&self, saves: bool) -> boot_model::Boot {
        let loads = |slot| boot_model::loads(&self.disk[self.slots[index(slot)].clone()]);
        boot_model::boot(self.block(), loads, saves)
    }

    fn is_whole(&mut self, slot: SlotName) -> bool {
        let bytes = &self.disk[self.slots[index(slot)].clone()];
        *self.is_whole[index(slot)].get_or_insert_with(|| boot_model::is_whole(bytes))
    }

    fn block(&self) -> &[u8] {
        &self.disk[self.block.clone()]
    }

    /// Good slot, trial and tries left, `a|b3` for one.
    fn state(&self) -> String {
        let env = expect(GrubEnv::parse(self.block()));
        let value = |key| env.get(key).unwrap_or_default();
        let left = value("left");
        let left = if left == "0" { "" } else { left };
        format!("{}|{}{left}", value("good"), value("trial"))
    }
}

const fn index(slot: SlotName) -> usize {
    match slot {
        A => 0,
        B => 1,
    }
}
