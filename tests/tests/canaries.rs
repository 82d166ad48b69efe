//! A provisioning key and a private key that are known, and everything that leaves the machine or is kept:
//! they are nowhere.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use connector_proto::key::ProvisioningKey;
use connector_proto::record::{
    self, DEVICE_AT, DEVICE_LEN, DeviceSecret, SLOT_LEN, SLOTS, SealingKey, parse_device,
};
use tests::appliance::BootOptions;
use tests::network::address::APPLICATION;
use tests::network::connect_proxy::base64;
use tests::scene;
use tests::scene::{CONNECTED, PAGE, STEP_MAX, Scene, expect};

/// Letters of a key in a row that count as a part of it.
const RUN: usize = 8;
/// Characters that the kernel's terminal keeps: `N_TTY_BUF_SIZE`.
const TYPED_KEPT: usize = 4096;
/// Asks for something, so that it is known when all before it was read.
const CTRL_R: &[u8] = &[0x12];
/// The letters of keys.
const ALPHABET: [u8; 16] = *b"cbdefghijklnrtuv";

#[test]
fn neither_the_provisioning_key_nor_the_private_key_is_in_what_is_said_sent_or_kept() {
    let mut scene = scene!("canaries");
    let machine = BootOptions {
        agent: true,
        ..BootOptions::default()
    };
    let mut appliance = scene.boot_to_prompt_with(&machine);
    let key = scene.mint_key(&[]);
    expect(appliance.type_line(&key));
    expect(appliance.wait_for(CONNECTED, STEP_MAX));
    assert_eq!(scene.fetch(PAGE).status, 200);

    let provisioning = Canary::of_provisioning_key(&key);
    // The kernel's terminal keeps what was typed last, where no process can read it, until as much again is
    // typed.
    expect(appliance.console().send(&[b' '; TYPED_KEPT]));
    expect(appliance.console().send(CTRL_R));
    expect(appliance.wait_for("Type RESET to erase", STEP_MAX));
    let memory = expect(scene.lab.memory_of(&mut appliance));
    provisioning.assert_not_in("the machine's memory", &memory);
    expect(
        scene
            .lab
            .clone_running(&mut appliance, &machine.name, "copy"),
    );
    let private = Canary::of_private_key(&private_key(&scene, &machine));
    // The search finds what is there: the connector signs with it.
    assert!(!private.places_in(&memory).is_empty());
    drop(memory);

    let audit = scene.admin(&["audit", "list", "--last", "1000"]);
    let mut searched = vec![
        said("the console", appliance.console().text()),
        said("the edge's log", scene.edge().log()),
        said("the audit log", audit.to_string()),
        said("the kernel's log", expect(appliance.ask_agent("log"))),
        ("the disk".to_owned(), expect(scene.lab.disk_of("copy"))),
    ];
    expect(scene.lab.network().capture().flush());
    let files = files_in(scene.lab.folder()).into_iter();
    searched
        .extend(files.filter(|(name, _)| name.contains("network.pcap") || name.contains("edge")));
    for process in expect(appliance.ask_agent("ps")).lines() {
        let pid = process.split(' ').next().unwrap_or_default();
        for file in ["cmdline", "environ"] {
            let path = format!("/proc/{pid}/{file}");
            let text = expect(appliance.ask_agent(&format!("cat {path}")));
            searched.push(said(&path, text));
        }
    }
    for what in [
        "the console",
        "network.pcap",
        "edge.sqlite",
        "/proc/1/cmdline",
    ] {
        let found = searched.iter().find(|(name, _)| name.contains(what));
        assert!(
            found.is_some_and(|(_, bytes)| !bytes.is_empty()),
            "{what} is not searched"
        );
    }
    for (place, bytes) in &searched {
        provisioning.assert_not_in(place, bytes);
        private.assert_not_in(place, bytes);
    }
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
}

#[test]
fn a_canary_is_found_in_each_of_its_forms() {
    let canary = Canary::of_provisioning_key("brdtc-eufvc-gchbi-idjeg-kflgf-nhrif-tjuke");
    for text in [
        "brdtceuf",
        "..BRDTC-EUF..",
        "k: tj-uke n hrif-tjuke",
        "1C2D3E4F5061728394a5b6c7d8e9",
        "HC0+T1BhcoOUpbbH2Ok=",
    ] {
        assert!(!canary.places_in(text.as_bytes()).is_empty(), "{text}");
    }
    for text in ["brdtc eufvc", "*****-euf", "brdtceu", "tjukebrdtc"] {
        assert!(canary.places_in(text.as_bytes()).is_empty(), "{text}");
    }
}

/// A secret in the forms in which it would be recognised.
struct Canary {
    /// Bytes as they are.
    exact: Vec<Vec<u8>>,
    /// In lower case; any case is meant.
    hex: Vec<Vec<u8>>,
    /// [`RUN`] letters each, without dashes.
    runs: HashSet<Vec<u8>>,
}

impl Canary {
    fn of_provisioning_key(text: &str) -> Self {
        let key = expect(ProvisioningKey::parse(text));
        let letters: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        Self {
            runs: letters.windows(RUN).map(<[u8]>::to_vec).collect(),
            ..Self::of_bytes(&[key.data()])
        }
    }

    /// The key in DER, and the number in it, in both byte orders.
    fn of_private_key(der: &[u8]) -> Self {
        // ECPrivateKey (RFC 5915): version 1, and 32 bytes.
        let head = [2, 1, 1, 4, 32];
        let at = der.windows(head.len()).position(|window| window == head);
        let number = at.and_then(|at| der.get(at + head.len()..at + head.len() + 32));
        let Some(number) = number else {
            panic!("the record's private key is none of P-256")
        };
        let turned: Vec<u8> = number.iter().rev().copied().collect();
        Self::of_bytes(&[der, number, &turned])
    }

    fn of_bytes(secrets: &[&[u8]]) -> Self {
        let hex =
            |secret: &[u8]| -> String { secret.iter().map(|byte| format!("{byte:02x}")).collect() };
        let exact = secrets.iter().flat_map(|secret| {
            let padded = base64(secret);
            [secret.to_vec(), padded.trim_end_matches('=').into()]
        });
        Self {
            exact: exact.collect(),
            hex: secrets
                .iter()
                .map(|secret| hex(secret).into_bytes())
                .collect(),
            runs: HashSet::new(),
        }
    }

    /// Where it is, in bytes from the start; of letters without dashes from the start of those.
    fn places_in(&self, bytes: &[u8]) -> Vec<String> {
        let lower = bytes.to_ascii_lowercase();
        let exact = self.exact.iter().filter_map(|wanted| find(bytes, wanted));
        let hex = self.hex.iter().filter_map(|wanted| find(&lower, wanted));
        let mut places: Vec<_> = exact
            .chain(hex)
            .map(|at| format!("bytes at {at}"))
            .collect();
        let without_dashes: Vec<u8> = lower.into_iter().filter(|byte| *byte != b'-').collect();
        let mut letters = 0;
        for (at, byte) in without_dashes.iter().enumerate() {
            letters = if ALPHABET.contains(byte) {
                letters + 1
            } else {
                0
            };
            if letters >= RUN && self.runs.contains(&without_dashes[at + 1 - RUN..=at]) {
                places.push(format!("letters at {at}"));
            }
        }
        places
    }

    fn assert_not_in(&self, place: &str, bytes: &[u8]) {
        let places = self.places_in(bytes);
        assert!(places.is_empty(), "in {place}: {places:?}");
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == first);
    starts
        .map(|(at, _)| at)
        .find(|at| bytes[*at..].starts_with(wanted))
}

/// A place with the text that is there.
fn said(place: &str, text: String) -> (String, Vec<u8>) {
    (place.to_owned(), text.into_bytes())
}

/// The private key in the state record on the copy of a machine's disk: opened as the machine does.
fn private_key(scene: &Scene, machine: &BootOptions) -> Vec<u8> {
    let state = expect(scene.lab.state_of("copy"));
    let device = expect(parse_device(&state[DEVICE_AT..][..DEVICE_LEN]));
    let DeviceSecret::Plain(secret) = device else {
        panic!("this machine has no TPM")
    };
    let digits: String = machine.uuid.split('-').collect();
    let uuid = expect(u128::from_str_radix(&digits, 16)).to_be_bytes();
    let sealing = SealingKey::derive(&secret, Some(&uuid));
    let slots = state.chunks_exact(SLOT_LEN).take(SLOTS);
    let records = slots.filter_map(|slot| record::parse(slot, &sealing).ok());
    let newest = records.max_by_key(|record| record.generation);
    newest
        .map(|record| record.state.private_key.clone())
        .unwrap_or_default()
}

/// All files in a folder and below, by their names.
fn files_in(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in expect(fs::read_dir(folder)).flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_in(&path));
        } else if let Ok(bytes) = fs::read(&path) {
            files.push((path.display().to_string(), bytes));
        }
    }
    files
}
