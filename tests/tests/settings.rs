//! What was set for a machine is found where it was set, said on the console, and used.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use image_builder::date::Date;
use image_builder::mint::{self, options};
use tests::appliance::BootOptions;
use tests::lab;
use tests::network::address::EDGE_NAME;
use tests::scene;
use tests::scene::{BOOT_MAX, STEP_MAX, expect};
use tests::skip;

#[test]
fn a_static_address_by_fw_cfg_needs_no_dhcp_and_a_slip_beside_it_is_named() {
    let scene = scene!("settings-fw_cfg");
    scene
        .lab
        .network()
        .with_faults(|faults| faults.dhcp_silent = true);
    let options = BootOptions {
        settings: vec![
            ("address", "10.77.0.20/24".to_owned()),
            ("gateway", "10.77.0.1".to_owned()),
            ("resolvers", "10.77.0.53".to_owned()),
            ("ntp", "10.77.0.123".to_owned()),
            ("vlan", "4095".to_owned()),
        ],
        ..BootOptions::default()
    };
    let appliance = expect(scene.lab.boot(&options));
    expect(appliance.wait_for(
        "Network up: 10.77.0.20/24, gateway 10.77.0.1, static",
        BOOT_MAX,
    ));
    expect(appliance.wait_for("Clock set by NTP server 10.77.0.123", STEP_MAX));
    expect(appliance.wait_for("Provisioning key:", STEP_MAX));
    let said = one_line(&appliance.console().text());
    for sentence in [
        "Settings by QEMU's fw_cfg: address 10.77.0.20/24, gateway 10.77.0.1, DNS 10.77.0.53, NTP \
         10.77.0.123",
        "QEMU's fw_cfg says vlan=\"4095\", which is not a VLAN from 1 to 4094: ignored.",
        "Not enrolled at edge.outgate.example.",
    ] {
        assert!(said.contains(sentence), "{sentence:?} is not in {said}");
    }
}

#[test]
fn an_ovf_environment_on_a_disc_sets_what_fw_cfg_does_not() {
    let scene = scene!("settings-cd");
    let Some(disc) = environment_disc(scene.lab.folder()) else {
        skip!("neither genisoimage nor xorriso is installed");
    };
    let options = BootOptions {
        edge: None,
        settings: vec![("ntp", "10.77.0.123".to_owned())],
        cd: Some(disc),
        ..BootOptions::default()
    };
    let appliance = expect(scene.lab.boot(&options));
    expect(appliance.wait_for(
        "Network up: 10.77.0.21/24, gateway 10.77.0.1, static",
        BOOT_MAX,
    ));
    expect(appliance.wait_for("Clock set by NTP server 10.77.0.123", STEP_MAX));
    expect(appliance.wait_for("Not enrolled at edge.outgate.example", STEP_MAX));
    let said = one_line(&appliance.console().text());
    let sentence = "Settings by QEMU's fw_cfg and the OVF CD: address 10.77.0.21/24, gateway 10.77.0.1, \
                    DNS 10.77.0.53, NTP 10.77.0.123";
    assert!(said.contains(sentence), "{said}");
}

#[test]
fn what_was_minted_arrives_on_the_disk_and_the_nic_is_told_to_be_as_minted() {
    let scene = scene!("settings-minted");
    let image = expect(lab::find_image()).with_file_name("outgate.ova");
    let out = scene.lab.folder().join("mint");
    let ledger = scene.lab.folder().join("ledger");
    let mut words: Vec<OsString> = [
        "--name",
        "mumbai-01",
        "--group",
        "Mumbai",
        "--edge",
        EDGE_NAME,
        "--address",
        "10.77.0.22/24",
        "--gateway",
        "10.77.0.1",
        "--resolvers",
        "10.77.0.53",
        "--from",
    ]
    .map(OsString::from)
    .into();
    words.extend([image.into(), "--out".into(), out.clone().into()]);
    words.extend(["--ledger".into(), ledger.into()]);
    let options = options::parse(&words).expect("good options");
    let mut macs = Vec::new();
    let minted = mint::mint(
        &options.expect("no help was asked for"),
        Date::from_unix(0),
        &mut |minted| macs.push(minted.planned.entry.connector.mac.to_string()),
    );
    expect(minted);
    let disk = scene.lab.folder().join("minted.qcow2");
    expect(std::fs::copy(out.join("mumbai-01.qcow2"), disk));

    let appliance = expect(scene.lab.boot(&BootOptions {
        name: "minted".to_owned(),
        mac: expect(macs.concat().parse()),
        edge: None,
        ..BootOptions::default()
    }));
    expect(appliance.wait_for(
        "Network up: 10.77.0.22/24, gateway 10.77.0.1, static",
        BOOT_MAX,
    ));
    expect(appliance.wait_for("Not enrolled at edge.outgate.example", STEP_MAX));
    let said = one_line(&appliance.console().text());
    for sentence in [
        "Image for mumbai-01 (Mumbai)".to_owned(),
        format!("NIC eth0 MAC {}, as minted", macs.concat()),
        "Settings by the disk: address 10.77.0.22/24, gateway 10.77.0.1, DNS 10.77.0.53".to_owned(),
    ] {
        assert!(said.contains(&sentence), "{sentence:?} is not in {said}");
    }
}

/// A disc with an OVF environment as vCenter writes it, by a program that nobody here wrote.
fn environment_disc(folder: &Path) -> Option<PathBuf> {
    let content = folder.join("cd");
    expect(std::fs::create_dir_all(&content));
    let properties = [
        ("outgate.address", "10.77.0.21/24"),
        ("outgate.gateway", "10.77.0.1"),
        ("outgate.resolvers", "10.77.0.53"),
        ("outgate.ntp", "10.77.0.99"),
        ("outgate.edge", EDGE_NAME),
        ("outgate.hostname", ""),
    ];
    let properties = properties
        .map(|(key, value)| format!("<Property oe:key=\"{key}\" oe:value=\"{value}\"/>\n"))
        .concat();
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Environment xmlns=\"http://schemas.dmtf.org/ovf/environment/1\" \
         xmlns:oe=\"http://schemas.dmtf.org/ovf/environment/1\" oe:id=\"\">\n\
         <PropertySection>\n{properties}</PropertySection>\n</Environment>\n"
    );
    expect(std::fs::write(content.join("ovf-env.xml"), document));
    let disc = folder.join("environment.iso");
    let writers = [&["genisoimage"][..], &["xorriso", "-as", "mkisofs"]];
    let is_written = |writer: &[&str]| {
        let mut words = writer.iter();
        let program = words.next().expect("each has a name");
        let run = Command::new(program)
            .args(words)
            .args(["-quiet", "-R", "-J", "-o"])
            .args([&disc, &content])
            .output();
        run.is_ok_and(|output| output.status.success())
    };
    writers
        .iter()
        .any(|writer| is_written(writer))
        .then_some(disc)
}

/// The console's text with its line breaks, stamps' indents and all, as single spaces.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
