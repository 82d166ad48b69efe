//! On a file. Power cuts and damage: `tests/tests/state_record.rs`, on a model of a disk.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

use connector_proto::record::{DEVICE_LEN, Identity};

use super::*;

const UUID: [u8; 16] = [3; 16];
const OTHER_UUID: [u8; 16] = [4; 16];

#[test]
fn a_saved_state_is_there_after_a_restart() {
    let disk = partition("restart");
    let mut store = open(&disk).store;
    for edge in ["one:443", "two:443", "three:443"] {
        store.save(naming(edge)).unwrap();
        assert_eq!(open(&disk).store.state().edge, edge);
        assert_eq!(open(&disk).why, None);
    }
}

#[test]
fn the_previous_record_survives_the_loss_of_the_newest() {
    let disk = partition("loss");
    let mut store = open(&disk).store;
    for edge in ["one:443", "two:443"] {
        store.save(naming(edge)).unwrap();
    }
    disk.write_all_at(&[0xff; 512], SLOT_LEN as u64).unwrap();
    assert_eq!(open(&disk).store.state().edge, "one:443");
}

#[test]
fn a_partition_that_is_too_small_is_an_error_and_none_is_named() {
    let disk = partition("small");
    disk.set_len(reading::LEN as u64 - 1).unwrap();
    let error = |partition| Store::open(partition, UUID, Box::new(NoTpm)).err();
    assert!(matches!(error(Some(disk.into())), Some(StoreError::Io(_))));
    assert!(matches!(error(None), Some(StoreError::NoPartition)));
}

#[test]
fn a_machine_that_was_never_enrolled_leaves_its_disk_alone() {
    let disk = partition("blank");
    let opened = open(&disk);
    assert_eq!(opened.why, Some(NoIdentity::Blank));
    assert!(content(&disk).iter().all(|byte| *byte == 0));
}

#[test]
fn the_device_secret_lies_in_both_places_and_a_lost_one_is_written_again() {
    let disk = partition("places");
    let mut store = open(&disk).store;
    store.save(naming("one:443")).unwrap();
    let places = |disk: &File| content(disk)[DEVICE_AT..][..2 * DEVICE_LEN].to_vec();
    let good = places(&disk);
    let (first, second) = good.split_at(DEVICE_LEN);
    assert_eq!(first, second);
    for place in [0, DEVICE_LEN] {
        disk.write_all_at(&[0xff; DEVICE_LEN], (DEVICE_AT + place) as u64)
            .unwrap();
        let mut store = open(&disk).store;
        assert_eq!(store.state().edge, "one:443");
        store.save(naming("one:443")).unwrap();
        assert!(places(&disk) == good, "place at {place}");
    }
}

#[test]
fn a_copy_says_whose_it_is_and_the_original_goes_on_until_the_copy_is_enrolled() {
    let disk = partition("copy");
    let mut store = open(&disk).store;
    store.save(enrolled("mumbai-01")).unwrap();
    store.save(enrolled("mumbai-01")).unwrap();

    let opened = open_as(&disk, OTHER_UUID);
    let name = "mumbai-01".parse().unwrap();
    let foreign = Some(NoIdentity::Foreign { name });
    assert_eq!(opened.why, foreign);
    let mut copy = opened.store;
    assert!(copy.state().identity.is_none() && copy.state().edge.is_empty());
    for edge in ["one:443", "two:443", "three:443"] {
        copy.save(naming(edge)).unwrap();
        let again = open_as(&disk, OTHER_UUID);
        assert_eq!(again.store.state().edge, edge);
        assert_eq!(again.why, foreign, "it is still not enrolled");
        assert_eq!(name_of(&open(&disk)), "mumbai-01");
    }
    copy.save(enrolled("mumbai-02")).unwrap();
    copy.save(enrolled("mumbai-02")).unwrap();
    let again = open_as(&disk, OTHER_UUID);
    assert_eq!(name_of(&again), "mumbai-02");
    assert_eq!(again.why, None);
    let name = "mumbai-02".parse().unwrap();
    assert_eq!(open(&disk).why, Some(NoIdentity::Foreign { name }));
}

#[test]
fn a_copy_of_a_machine_that_was_never_enrolled_is_blank() {
    let disk = partition("template");
    open(&disk).store.save(naming("one:443")).unwrap();
    assert_eq!(open_as(&disk, OTHER_UUID).why, Some(NoIdentity::Blank));
}

#[test]
fn nothing_is_left_after_a_factory_reset_and_the_machine_can_be_enrolled_again() {
    let disk = partition("reset");
    let mut store = open(&disk).store;
    store.save(enrolled("mumbai-01")).unwrap();
    store.erase().unwrap();
    assert!(content(&disk).iter().all(|byte| *byte == 0));
    assert!(store.state().identity.is_none());
    assert_eq!(open(&disk).why, Some(NoIdentity::Blank));
    store.save(enrolled("mumbai-02")).unwrap();
    assert_eq!(name_of(&open(&disk)), "mumbai-02");
}

fn naming(edge: &str) -> State {
    let mut state = State::default();
    edge.clone_into(&mut state.edge);
    state
}

fn enrolled(name: &str) -> State {
    let mut state = naming("edge:443");
    state.identity = Some(Identity {
        ca: vec![1; 400],
        other_ca: Vec::new(),
        certificate: vec![2; 400],
        connector_id: [5; 16],
        name: name.into(),
        group: "Mumbai".into(),
        grant_key: [6; 32],
    });
    state
}

fn name_of(opened: &Opened) -> &str {
    let identity = opened.store.state().identity.as_ref();
    identity.map_or("", |identity| &identity.name)
}

fn content(disk: &File) -> Vec<u8> {
    let mut content = vec![0; reading::LEN];
    disk.read_exact_at(&mut content, 0).unwrap();
    content
}

/// A partition in a file without a name.
fn partition(name: &str) -> File {
    let path = std::env::temp_dir().join(format!("outgate-store-{name}-{}", std::process::id()));
    std::fs::write(&path, vec![0; 1024 * 1024]).unwrap();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

fn open(disk: &File) -> Opened {
    open_as(disk, UUID)
}

fn open_as(disk: &File, uuid: [u8; 16]) -> Opened {
    let disk = disk.try_clone().unwrap().into();
    Store::open(Some(disk), uuid, Box::new(NoTpm)).unwrap()
}
