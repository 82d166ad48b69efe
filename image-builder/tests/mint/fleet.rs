//! Many connectors, one after another and at the same time.

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;

use image_builder::date::Date;
use image_builder::mint::ledger::ImageDigest;
use image_builder::mint::ledger_file::LedgerFile;
use image_builder::mint::plan;

use crate::support::{Bench, mint};

#[test]
fn a_fleet_has_one_name_one_mac_and_four_files_for_each() {
    let bench = Bench::new("fleet");
    let mut options = bench.options("mumbai-09");
    options.request.count = 3;
    let fleet = mint(&options).unwrap();
    let names: Vec<&str> = fleet
        .iter()
        .map(|minted| minted.planned.entry.connector.name.as_str())
        .collect();
    assert_eq!(names, ["mumbai-09", "mumbai-10", "mumbai-11"]);
    let macs: BTreeSet<_> = fleet
        .iter()
        .map(|m| m.planned.entry.connector.mac)
        .collect();
    assert_eq!(macs.len(), 3);
    let expected = names.iter().flat_map(|name| {
        ["ova", "qcow2", "txt", "xml"].map(|extension| format!("{name}.{extension}"))
    });
    assert_eq!(bench.written(), expected.collect::<Vec<_>>());
    assert_eq!(bench.ledger().entries().count(), 3);
}

#[test]
fn threads_that_plan_at_the_same_time_lose_no_line_and_share_no_mac() {
    const THREADS: usize = 8;
    const EACH: usize = 25;
    let bench = Bench::new("threads");
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let bench = &bench;
            scope.spawn(move || {
                for number in 0..EACH {
                    let request = bench.options(&format!("site{thread}-{number}")).request;
                    let file = LedgerFile::lock(&bench.path("ledger")).unwrap();
                    let mut ledger = file.read().unwrap();
                    let day = Date::from_unix(0);
                    let planned = plan::plan(&request, &ledger, ImageDigest([0; 32]), day);
                    ledger.record(planned.unwrap().remove(0).entry);
                    file.write(&ledger).unwrap();
                }
            });
        }
    });
    let ledger = bench.ledger();
    let macs: BTreeSet<_> = ledger.entries().map(|entry| entry.connector.mac).collect();
    assert_eq!(ledger.entries().count(), THREADS * EACH);
    assert_eq!(macs.len(), THREADS * EACH);
}

#[test]
fn processes_that_mint_at_the_same_time_lose_no_line_and_share_no_mac() {
    let bench = Bench::new("processes");
    let mints: Vec<_> = (0..4)
        .map(|number| {
            Command::new(env!("CARGO_BIN_EXE_image-builder"))
                .args(["mint", "--name", &format!("site{number}-1"), "--count", "2"])
                .arg("--from")
                .arg(bench.path("outgate.ova"))
                .arg("--out")
                .arg(bench.path("out"))
                .arg("--ledger")
                .arg(bench.path("ledger"))
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for mint in mints {
        let output = mint.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("; ledger "), "{said}");
    }
    let ledger = bench.ledger();
    let macs: BTreeSet<_> = ledger.entries().map(|entry| entry.connector.mac).collect();
    assert_eq!((ledger.entries().count(), macs.len()), (8, 8));
    assert_eq!(bench.written().len(), 32);
}
