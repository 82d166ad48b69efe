//! A real machine enrols while QEMU records each write and flush. The store's code reads every disk that
//! a power cut may leave, and a sample of them boots.

use std::fs;

use disk_format::slot::partition;
use tests::appliance::BootOptions;
use tests::block_device::for_each_cut;
use tests::disk::{Setup, TestDisk};
use tests::scene;
use tests::scene::{BOOT_MAX, CONNECTED, STEP_MAX, Scene, expect};
use tests::write_log::{self, Operation};

use super::machine::{Hardware, Machine, USED};

/// Disks that really boot, when there is little time.
const SAMPLE: usize = 3;

#[test]
fn a_power_cut_at_any_write_of_an_enrolment_leaves_a_machine_that_connects_or_asks_for_a_key() {
    let mut scene = scene!("state cuts");
    let (before, operations) = record_an_enrolment(&mut scene);
    let disk = TestDisk::from_bytes(&before, scene.lab.folder().join("table.raw"));
    let state = expect(disk).partition(partition::STATE);
    let start = expect(usize::try_from(state.start));
    let operations = of_the_partition(&operations, state.start);
    let torn = check_every_cut(&before[start..start + USED], &operations);
    for (number, state) in sample(torn).into_iter().enumerate() {
        let mut content = before.clone();
        content[start..start + USED].copy_from_slice(&state);
        boot(&scene, &content, &state, number);
    }
}

/// The disk before, and everything that was done to it until the machine was connected.
fn record_an_enrolment(scene: &mut Scene) -> (Vec<u8>, Vec<Operation>) {
    let disk = expect(TestDisk::fresh(scene.lab.folder().join("disk.raw")));
    let before = disk.content();
    let log = scene.lab.folder().join("writes.log");
    let mut setup = Setup::new(&disk);
    setup.network = Some(scene.lab.network().socket());
    setup.write_log = Some(log.clone());
    let mut vm = expect(setup.switch_on());
    expect(vm.console().wait_for("Provisioning key:", BOOT_MAX));
    let key = scene.mint_key(&[]);
    expect(vm.console().type_line(&key));
    expect(vm.console().wait_for(CONNECTED, STEP_MAX));
    // In order, so that the record is whole.
    expect(vm.qmp().quit());
    assert!(vm.wait_exit(STEP_MAX).is_some());
    (before, expect(write_log::parse(&expect(fs::read(&log)))))
}

/// The writes to the state partition, with offsets from its `start`, and all flushes.
fn of_the_partition(operations: &[Operation], start: u64) -> Vec<Operation> {
    let inside = |operation: &Operation| match operation {
        Operation::Write { offset, data } => {
            let offset = offset.checked_sub(start)?;
            (offset < USED as u64).then(|| Operation::Write {
                offset,
                data: data.clone(),
            })
        }
        Operation::Flush => Some(Operation::Flush),
        Operation::Discard => None,
    };
    operations.iter().filter_map(inside).collect()
}

/// Each cut leaves what was flushed before or what was to be flushed next. Returns a disk for each thing
/// that a machine may remember, torn if there is such a one.
fn check_every_cut(before: &[u8], operations: &[Operation]) -> Vec<Vec<u8>> {
    let mut disk = before.to_vec();
    let mut flushed = vec![(0, remembered(&disk))];
    for (number, operation) in operations.iter().enumerate() {
        write_log::apply(&mut disk, operation);
        if *operation == Operation::Flush {
            flushed.push((number + 1, remembered(&disk)));
        }
    }
    flushed.push((operations.len(), remembered(&disk)));
    let (first, last) = (&flushed[0].1, &flushed[flushed.len() - 1].1);
    assert!(first != last && !Machine::start(hardware(), &disk).name().is_empty());
    let mut met: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let cuts = for_each_cut(before, operations, 512, |cut| {
        let found = remembered(cut.disk);
        let at = flushed.partition_point(|(at, _)| *at <= cut.flushed);
        let next = flushed.get(at).unwrap_or(&flushed[at - 1]);
        assert!(found == flushed[at - 1].1 || found == next.1, "{cut:?}");
        match met.iter_mut().find(|(known, _)| *known == found) {
            Some((_, disk)) if cut.is_torn() => *disk = cut.disk.to_vec(),
            Some(_) => {}
            None => met.push((found, cut.disk.to_vec())),
        }
    });
    assert!(
        cuts > 500,
        "only {cuts} cuts: the enrolment was not recorded"
    );
    met.into_iter().map(|(_, disk)| disk).collect()
}

/// The first, the last, and some between them.
fn sample(disks: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let all = disks.len();
    let wanted = match std::env::var_os("OUTGATE_LONG") {
        Some(_) => all,
        None => SAMPLE.min(all),
    };
    let chosen = (0..wanted).map(|number| number * (all - 1) / (wanted - 1).max(1));
    chosen.map(|number| disks[number].clone()).collect()
}

/// Boots a disk: it connects under its name, or asks for a key.
fn boot(scene: &Scene, content: &[u8], state: &[u8], number: usize) {
    let path = scene.lab.folder().join(format!("cut-{number}.raw"));
    let disk = expect(TestDisk::from_bytes(content, path));
    let mut setup = Setup::new(&disk);
    setup.network = Some(scene.lab.network().socket());
    let vm = expect(setup.switch_on());
    let machine = Machine::start(hardware(), state);
    let wanted = match machine.name() {
        "" => "Provisioning key:".to_owned(),
        name => format!("{CONNECTED} {name}"),
    };
    let told = vm.console().wait_for(&wanted, BOOT_MAX + STEP_MAX);
    expect(told.map_err(|error| format!("cut {number}: {error}")));
    vm.kill();
}

fn remembered(disk: &[u8]) -> Vec<u8> {
    Machine::start(hardware(), disk).remembers()
}

/// The machine of [`Setup`].
fn hardware() -> Hardware {
    let text = BootOptions::default().uuid.replace('-', "");
    let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
    Hardware {
        uuid: std::array::from_fn(byte),
        tpm: None,
    }
}
