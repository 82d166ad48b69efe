use serde_json::Value;

use super::emit;
use crate::provenance::{Crate, DebianPackage, KernelFacts, Provenance};
use crate::slot::System;

#[test]
fn a_bill_has_the_shape_that_cyclonedx_asks_for() {
    let bill: Value = serde_json::from_str(&emit(&system(), &provenance())).unwrap();
    assert_eq!(bill["bomFormat"], "CycloneDX");
    assert_eq!(bill["specVersion"], "1.5");
    assert_eq!(bill["version"], 1);
    let serial = bill["serialNumber"].as_str().unwrap();
    assert!(
        serial.starts_with("urn:uuid:") && serial.len() == 45,
        "{serial}"
    );
    assert_eq!(serial, serial.to_lowercase());
    assert_eq!(bill["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
    assert_eq!(bill["metadata"]["component"]["type"], "firmware");

    let mut refs = vec!["image"];
    for component in bill["components"].as_array().unwrap() {
        for field in ["type", "name", "version", "bom-ref"] {
            let text = component[field].as_str().unwrap();
            assert!(!text.is_empty(), "{component}");
        }
        for hash in component["hashes"].as_array().into_iter().flatten() {
            assert_eq!(hash["alg"], "SHA-256");
            assert_eq!(hash["content"].as_str().unwrap().len(), 64);
        }
        assert!(component["licenses"][0]["expression"].is_string());
        refs.push(component["bom-ref"].as_str().unwrap());
    }
    let mut once = refs.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), refs.len(), "a bom-ref occurs twice");
    for dependency in bill["dependencies"].as_array().unwrap() {
        let on = dependency["dependsOn"].as_array().into_iter().flatten();
        for named in on.chain([&dependency["ref"]]) {
            assert!(refs.contains(&named.as_str().unwrap()), "{named}");
        }
    }
}

#[test]
fn published_parts_have_package_urls_and_ours_have_none() {
    let bill: Value = serde_json::from_str(&emit(&system(), &provenance())).unwrap();
    let purl = |name: &str| {
        let components = bill["components"].as_array().unwrap();
        let mut named = components.iter().filter(|one| one["name"] == name);
        named.next().unwrap()["purl"].clone()
    };
    assert_eq!(purl("ring"), "pkg:cargo/ring@0.17.14");
    assert_eq!(
        purl("grub-pc-bin"),
        "pkg:deb/debian/grub-pc-bin@2.06-13?arch=amd64"
    );
    assert_eq!(
        purl("linux"),
        "pkg:deb/debian/linux@6.12.1-1~deb12u1?arch=source"
    );
    assert_eq!(purl("init"), Value::Null);
}

#[test]
fn equal_images_have_equal_bills_and_others_another_serial_number() {
    let (system, mut provenance) = (system(), provenance());
    let bill = emit(&system, &provenance);
    assert_eq!(bill, emit(&system, &provenance));
    provenance.source_tree = "other".into();
    let serial = |bill: &str| {
        let bill: Value = serde_json::from_str(bill).unwrap();
        bill["serialNumber"].as_str().unwrap().to_owned()
    };
    assert_ne!(serial(&bill), serial(&emit(&system, &provenance)));
}

fn system() -> System {
    System {
        version: "0.1.0".into(),
        epoch: 1_700_000_000,
        edge: None,
        binaries: Vec::new(),
        kernel: b"kernel".to_vec(),
    }
}

fn provenance() -> Provenance {
    let one = |name: &str, version: &str, sha256, depends_on| Crate {
        name: name.into(),
        version: version.into(),
        licence: "Apache-2.0".into(),
        sha256,
        depends_on,
    };
    let ring = ("ring".to_owned(), "0.17.14".to_owned());
    Provenance {
        source_tree: "0123456789abcdef0123456789abcdef01234567".into(),
        rustc: "rustc 1.95.0 (0123abcde 2026-04-14)".into(),
        kernel: KernelFacts {
            version: "6.12.1-1~deb12u1".into(),
            source_sha256: Some("ab".repeat(32)),
            patches_sha256: Some("ee".repeat(32)),
            config_sha256: Some("cd".repeat(32)),
            compiler: Some("gcc 12".into()),
            recipe: None,
        },
        packages: vec![DebianPackage {
            name: "grub-pc-bin".into(),
            version: "2.06-13".into(),
            source: ("grub2".into(), "2.06-13".into()),
            role: "boot loader for BIOS",
            licence: "GPL-3.0-or-later",
        }],
        crates: vec![
            one("init", "0.1.0", None, vec![ring]),
            one("ring", "0.17.14", Some("ef".repeat(32)), Vec::new()),
        ],
    }
}
