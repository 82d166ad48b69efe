//! What is in the files.

use std::fs;
use std::time::Instant;

use disk_format::qcow2;
use image_builder::boot_state;
use image_builder::mint::plan::Kind;
use image_builder::ova::Ova;
use ovf::property::Property;

use crate::support::{Bench, base_disk, content, mint};

#[test]
fn the_ova_pins_the_mac_and_its_disk_knows_name_mac_group_and_edge() {
    let bench = Bench::new("pins");
    let mut options = bench.options("mumbai-01");
    options.request.group = Some("Mumbai West".parse().unwrap());
    options.request.edge = Some("edge.example.org".parse().unwrap());
    options.request.mac = Some("00:50:56:0a:0b:0c".parse().unwrap());
    for (key, text) in [
        ("outgate.address", "192.0.2.10/24"),
        ("outgate.ntp", "192.0.2.1"),
    ] {
        let property = Property::find(key).unwrap();
        options.request.network.set(property, text).unwrap();
    }
    let minted = mint(&options).unwrap().remove(0);

    let ova = Ova::parse(content(&minted, "mumbai-01.ova")).unwrap();
    assert_eq!(ova.name, "mumbai-01");
    assert_eq!(ova.epoch, 1_700_000_000);
    assert_eq!(ova.descriptor.name, "mumbai-01");
    assert_eq!(ova.descriptor.mac, options.request.mac);
    let annotation = &ova.descriptor.annotation;
    for fact in ["00:50:56:0a:0b:0c", "Deploy once", "Mumbai West"] {
        assert!(annotation.contains(fact), "{annotation}");
    }
    let property = |key: &str| {
        let found = ova.descriptor.properties.iter();
        let mut found = found.filter(|(property, _)| property.key == key);
        found.next().unwrap().1.as_str()
    };
    assert_eq!(property("outgate.edge"), "edge.example.org:443");
    assert_eq!(property("outgate.address"), "192.0.2.10/24");
    assert_eq!(property("outgate.hostname"), "");

    let state = boot_state::read(&ova.vmdk).unwrap();
    let all: Vec<_> = state.iter().collect();
    let minted_keys = [
        ("name", "mumbai-01"),
        ("mac", "00:50:56:0a:0b:0c"),
        ("edge", "edge.example.org:443"),
        ("group", "Mumbai West"),
        ("address", "192.0.2.10/24"),
        ("ntp", "192.0.2.1"),
    ];
    assert_eq!(all[..3], [("good", "a"), ("trial", ""), ("left", "0")]);
    assert_eq!(all[3..], minted_keys);
}

#[test]
fn ova_and_qcow2_hold_the_same_disk_which_is_the_images_but_for_one_block() {
    let bench = Bench::new("same-disk");
    let minted = mint(&bench.options("mumbai-01")).unwrap().remove(0);
    let ova = Ova::parse(content(&minted, "mumbai-01.ova")).unwrap();
    let disk = ova.vmdk.to_disk().unwrap();
    let inside = qcow2::parse(content(&minted, "mumbai-01.qcow2"), 1 << 30).unwrap();
    assert!(disk == inside);

    let base = base_disk();
    let block = usize::try_from(boot_state::block_offset(&base).unwrap()).unwrap();
    let differs: Vec<usize> = (0..base.len())
        .filter(|at| base[*at] != disk[*at])
        .collect();
    assert!(!differs.is_empty());
    // One sector, so that a power cut leaves the old block or the new one.
    assert!(differs.iter().all(|at| (block..block + 512).contains(at)));
}

#[test]
fn the_same_mint_again_gives_the_same_bytes_whatever_was_minted_before() {
    let bench = Bench::new("again");
    let first = mint(&bench.options("mumbai-02")).unwrap().remove(0);
    fs::remove_dir_all(bench.path("out")).unwrap();

    let again = mint(&bench.options("mumbai-02")).unwrap().remove(0);
    assert_eq!(again.planned.kind, Kind::Again);
    assert!(again.files == first.files);
    assert!(bench.read("mumbai-02.ova") == content(&first, "mumbai-02.ova"));

    // As the third of a fleet, in a place where nothing was minted before.
    let other = Bench::new("again-elsewhere");
    let mut options = other.options("mumbai-00");
    options.request.count = 3;
    let fleet = mint(&options).unwrap();
    assert!(fleet[2].files == first.files);
    assert_eq!(other.written().len(), 12);
}

#[test]
fn another_day_in_the_ledger_changes_no_artefact() {
    let bench = Bench::new("another-day");
    let first = mint(&bench.options("mumbai-01")).unwrap().remove(0);
    let ledger = fs::read_to_string(bench.path("ledger")).unwrap();
    fs::write(
        bench.path("ledger"),
        ledger.replace("2026-11-01", "2031-01-31"),
    )
    .unwrap();
    let again = mint(&bench.options("mumbai-01")).unwrap().remove(0);
    assert!(again.files == first.files);
}

#[test]
fn a_signed_mint_carries_a_certificate_that_verifies() {
    let name = "a_signed_mint_carries_a_certificate_that_verifies";
    if !crate::skip::has_program(name, "openssl", "openssl") {
        return;
    }
    let bench = Bench::new("signed");
    let (key, certificate) = (bench.path("key.pem"), bench.path("cert.pem"));
    let made = std::process::Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Mint",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success());
    let mut options = bench.options("mumbai-01");
    options.sign = Some((key, certificate));
    let signed = mint(&options).unwrap().remove(0);
    let ova = Ova::parse(content(&signed, "mumbai-01.ova")).unwrap();
    let file = ova.certificate.unwrap();
    let signature = image_builder::sign::verify(&file, "mumbai-01.mf", &ova.manifest).unwrap();
    assert!(signature.subject.contains("Mint"), "{signature:?}");
    assert!(mint(&options).unwrap().remove(0).files == signed.files);
}

#[test]
fn a_mint_says_how_long_it_took() {
    let bench = Bench::new("speed");
    let options = bench.options("mumbai-01");
    let started = Instant::now();
    assert_eq!(mint(&options).unwrap().len(), 1);
    println!("one mint took {:.3} s", started.elapsed().as_secs_f64());
}
