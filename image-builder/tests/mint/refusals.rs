//! Nothing is minted, and the ledger stays as it was.

use std::fs;

use image_builder::boot_state;
use image_builder::mint::options::Options;

use crate::support::{Bench, base_disk, base_ova, mint, pack};

#[test]
fn what_the_ledger_has_otherwise_is_refused_with_the_recorded_value_and_nothing_is_written() {
    let bench = Bench::new("recorded");
    let mut first = bench.options("mumbai-01");
    first.request.group = Some("Mumbai".parse().unwrap());
    mint(&first).unwrap();
    let ledger = fs::read(bench.path("ledger")).unwrap();
    let taken = bench.ledger().entries().next().unwrap().connector.mac;
    fs::remove_dir_all(bench.path("out")).unwrap();

    type Change = fn(&mut Options);
    let changes: [(&str, Change, &str); 4] = [
        (
            "mumbai-01",
            |o| o.request.group = Some("Delhi".parse().unwrap()),
            "--group Mumbai",
        ),
        (
            "mumbai-01",
            |o| o.request.edge = Some("edge".parse().unwrap()),
            "without --edge",
        ),
        (
            "mumbai-01",
            |o| o.request.mac = Some("00:50:56:00:00:01".parse().unwrap()),
            "with --mac",
        ),
        ("mumbai", |o| o.request.count = 2, "no digit"),
    ];
    for (name, change, needle) in changes {
        let mut options = bench.options(name);
        change(&mut options);
        let said = mint(&options).unwrap_err().to_string();
        assert!(said.contains(needle), "{said}");
    }
    let mut copy = bench.options("delhi-01");
    copy.request.mac = Some(taken);
    let said = mint(&copy).unwrap_err().to_string();
    assert!(said.contains("belongs to mumbai-01"), "{said}");

    assert!(bench.written().is_empty());
    assert!(fs::read(bench.path("ledger")).unwrap() == ledger);
}

#[test]
fn one_conflict_leaves_a_fleet_unminted() {
    let bench = Bench::new("fleet-conflict");
    let mut third = bench.options("mumbai-03");
    third.request.group = Some("Delhi".parse().unwrap());
    mint(&third).unwrap();
    let ledger = fs::read(bench.path("ledger")).unwrap();
    let mut fleet = bench.options("mumbai-01");
    fleet.request.count = 4;
    fleet.request.group = Some("Mumbai".parse().unwrap());
    let said = mint(&fleet).unwrap_err().to_string();
    assert!(
        said.contains("mumbai-03 is in the ledger with --group Delhi"),
        "{said}"
    );
    assert!(fs::read(bench.path("ledger")).unwrap() == ledger);
    assert_eq!(bench.written().len(), 4);
}

#[test]
fn a_ledger_with_a_bad_line_is_refused_with_file_and_line_and_left_alone() {
    let bench = Bench::new("bad-ledger");
    mint(&bench.options("mumbai-01")).unwrap();
    let mut torn = fs::read(bench.path("ledger")).unwrap();
    torn.truncate(torn.len() - 10);
    fs::write(bench.path("ledger"), &torn).unwrap();
    let said = mint(&bench.options("mumbai-02")).unwrap_err().to_string();
    let place = format!("ledger {} line 2", bench.path("ledger").display());
    assert!(said.starts_with(&place), "{said}");
    assert!(fs::read(bench.path("ledger")).unwrap() == torn);
    assert_eq!(bench.written().len(), 4);
}

#[test]
fn an_image_that_is_missing_damaged_or_minted_is_refused_before_the_ledger_exists() {
    let bench = Bench::new("bad-base");
    let options = bench.options("mumbai-01");
    let refused = |needle: &str| {
        let said = mint(&options).unwrap_err().to_string();
        assert!(said.contains(needle), "{said}");
        assert!(said.contains("outgate.ova"), "{said}");
        assert!(!bench.path("ledger").exists());
    };

    fs::remove_file(&options.from).unwrap();
    refused("`cargo image` builds one");
    let mut flipped = base_ova().to_vec();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(&options.from, &flipped).unwrap();
    refused("no whole Outgate image");
    fs::write(&options.from, &base_ova()[..middle]).unwrap();
    refused("no whole Outgate image");
    fs::write(&options.from, b"").unwrap();
    refused("no whole Outgate image");

    let mut disk = base_disk();
    let block = usize::try_from(boot_state::block_offset(&disk).unwrap()).unwrap();
    disk[block] = b'!';
    fs::write(&options.from, pack(&disk)).unwrap();
    refused("boot state");

    let mut disk = base_disk();
    let mut state = boot_state::read(&disk).unwrap();
    state.set("name", "delhi-07").unwrap();
    boot_state::write(&mut disk, &state).unwrap();
    fs::write(&options.from, pack(&disk)).unwrap();
    refused("minted for delhi-07");
}
