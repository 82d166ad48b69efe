//! The TPM: a secret sealed by it, and a machine that has one, has none, or has another.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use appliance::store::{self, NoTpm, Opened, Store, Unsealer};
use appliance::tpm::{Tpm, TpmFault};
use connector_proto::local::{NoIdentity, text};
use connector_proto::record::{
    DEVICE_AT, DEVICE_LEN, DEVICE_PLACES, DeviceSecret, Identity, State, parse_device,
};
use qemu::temp::TempDir;
use tests::appliance::BootOptions;
use tests::network::address::APPLICATION;
use tests::scene::{BOOT_MAX, CONNECTED, PAGE, STEP_MAX, Scene, expect};
use tests::swtpm::Swtpm;
use tests::{scene, skip};

const SECRET: [u8; 32] = *b"what opens a state record at all";

/// What the console says of a state record whose TPM is not there; the sentence wraps behind it.
const LOCKED: &str = "is sealed by a TPM that this machine does not have";

/// `TPM2_Clear` by the lockout's empty password (TPM 2.0 part 3, 24.6): what an owner does who gives a
/// computer away.
const CLEAR: [u8; 27] = [
    0x80, 0x02, 0, 0, 0, 27, 0, 0, 0x01, 0x26, 0x40, 0, 0, 0x0a, // TPM_RH_LOCKOUT
    0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0,
];

#[test]
fn a_sealed_secret_survives_a_restart_of_the_tpm_and_the_key_stays_the_same() {
    if let Some(reason) = Swtpm::missing() {
        skip!(reason);
    }
    let folder = expect(TempDir::new("outgate-tpm-restart"));
    let (sealed, hash) = {
        let (_swtpm, mut tpm) = start(folder.path());
        let sealed = expect(tpm.seal(&SECRET));
        assert_eq!(*expect(tpm.unseal(&sealed)), SECRET);
        (sealed, tpm.storage_key_hash())
    };
    assert_ne!(hash, [0; 32]);
    for blob in [&sealed.public, &sealed.private] {
        let is_there = blob.windows(8).any(|window| window == &SECRET[..8]);
        assert!(!is_there, "the secret is in what is kept");
    }
    for _ in 0..2 {
        let (_swtpm, mut tpm) = start(folder.path());
        assert_eq!(tpm.storage_key_hash(), hash);
        assert_eq!(*expect(tpm.unseal(&sealed)), SECRET);
    }
}

#[test]
fn a_cleared_tpm_and_another_tpm_refuse_what_was_sealed_and_are_told_as_such() {
    if let Some(reason) = Swtpm::missing() {
        skip!(reason);
    }
    let folder = expect(TempDir::new("outgate-tpm-cleared"));
    let (own, other) = (folder.path().join("own"), folder.path().join("other"));
    let (sealed, hash) = {
        let (_swtpm, mut tpm) = start(&own);
        (expect(tpm.seal(&SECRET)), tpm.storage_key_hash())
    };
    clear(&own);
    for state in [&own, &other] {
        let (_swtpm, mut tpm) = start(state);
        assert_ne!(tpm.storage_key_hash(), hash);
        let fault = tpm.unseal(&sealed).err();
        assert!(
            fault.as_ref().is_some_and(TpmFault::is_of_another_tpm),
            "{fault:?}"
        );
        // It goes on to work for a new secret.
        let sealed = expect(tpm.seal(&[7; 32]));
        assert_eq!(*expect(tpm.unseal(&sealed)), [7; 32]);
    }
}

#[test]
fn no_altered_bit_of_a_sealed_secret_gives_a_secret() {
    if let Some(reason) = Swtpm::missing() {
        skip!(reason);
    }
    let folder = expect(TempDir::new("outgate-tpm-bits"));
    let (_swtpm, mut tpm) = start(folder.path());
    let sealed = expect(tpm.seal(&SECRET));
    for at in 0..sealed.public.len() + sealed.private.len() {
        let mut altered = sealed.clone();
        let split = altered.public.len();
        match at.checked_sub(split) {
            None => altered.public[at] ^= 1 << (at % 8),
            Some(at) => altered.private[at] ^= 1 << (at % 8),
        }
        let fault = tpm.unseal(&altered).err();
        assert!(
            matches!(fault, Some(TpmFault::Answer(_))),
            "byte {at}: {fault:?}"
        );
    }
    assert_eq!(*expect(tpm.unseal(&sealed)), SECRET);
}

#[test]
fn a_hundred_operations_leave_room_in_the_tpm_for_another() {
    if let Some(reason) = Swtpm::missing() {
        skip!(reason);
    }
    let folder = expect(TempDir::new("outgate-tpm-room"));
    let (_swtpm, mut tpm) = start(folder.path());
    for round in 0..50 {
        let sealed = expect(tpm.seal(&[round; 32]));
        assert_eq!(*expect(tpm.unseal(&sealed)), [round; 32]);
    }
}

#[test]
fn a_machine_that_gains_a_tpm_keeps_its_identity_and_needs_the_tpm_from_then_on() {
    if let Some(reason) = Swtpm::missing() {
        skip!(reason);
    }
    let folder = expect(TempDir::new("outgate-tpm-gained"));
    let (own, other) = (folder.path().join("own"), folder.path().join("other"));
    let disk = Disk::default();
    save(&disk, Box::new(NoTpm), "without");
    assert!(holds_plain_secret(&disk));
    {
        let (_swtpm, tpm) = start(&own);
        let mut opened = open(&disk, Box::new(tpm));
        assert_eq!((name(&opened), &opened.why), ("without", &None));
        assert!(holds_plain_secret(&disk), "opening writes nothing");
        expect(opened.store.save(enrolled("with")));
        assert!(!holds_plain_secret(&disk));
    }
    let sealed = Some(NoIdentity::Sealed { name: text("with") });
    let opened = open(&disk, Box::new(NoTpm));
    assert_eq!((name(&opened), &opened.why), ("", &sealed));
    {
        let (_swtpm, tpm) = start(&other);
        let opened = open(&disk, Box::new(tpm));
        assert_eq!((name(&opened), &opened.why), ("", &sealed));
    }
    let (_swtpm, tpm) = start(&own);
    let opened = open(&disk, Box::new(tpm));
    assert_eq!((name(&opened), &opened.why), ("with", &None));
}

#[test]
fn a_power_cut_at_any_write_while_a_secret_moves_into_a_tpm_keeps_the_identity() {
    if let Some(reason) = Swtpm::missing() {
        skip!(reason);
    }
    let folder = expect(TempDir::new("outgate-tpm-cut"));
    let plain = Disk::default();
    save(&plain, Box::new(NoTpm), "before");
    let mut cuts = 0;
    for writes in 0.. {
        let disk = plain.copy(writes);
        let is_saved = {
            let (_swtpm, tpm) = start(folder.path());
            open(&disk, Box::new(tpm))
                .store
                .save(enrolled("after"))
                .is_ok()
        };
        let is_whole = disk.writes_left() > 0;
        let (_swtpm, tpm) = start(folder.path());
        let opened = open(&disk.copy(usize::MAX), Box::new(tpm));
        let found = name(&opened);
        assert!(
            found == "after" || !is_saved && found == "before",
            "cut at write {writes}: {found:?}"
        );
        if is_whole {
            break;
        }
        cuts += 1;
    }
    assert!(
        cuts >= 3,
        "secret, record and secret were not written apart: {cuts}"
    );
}

#[test]
fn a_tpm_that_was_cleared_leads_to_a_new_identity_and_never_to_a_loop() {
    if let Some(reason) = Swtpm::missing() {
        skip!(reason);
    }
    let folder = expect(TempDir::new("outgate-tpm-again"));
    let disk = Disk::default();
    {
        let (_swtpm, tpm) = start(folder.path());
        save(&disk, Box::new(tpm), "first");
        assert!(!holds_plain_secret(&disk));
    }
    clear(folder.path());
    for _ in 0..2 {
        let (_swtpm, tpm) = start(folder.path());
        let opened = open(&disk, Box::new(tpm));
        let name = text("first");
        assert_eq!(opened.why, Some(NoIdentity::Sealed { name }));
    }
    {
        let (_swtpm, tpm) = start(folder.path());
        save(&disk, Box::new(tpm), "second");
        assert!(!holds_plain_secret(&disk));
    }
    let (_swtpm, tpm) = start(folder.path());
    assert_eq!(name(&open(&disk, Box::new(tpm))), "second");
}

#[test]
fn a_machine_keeps_its_identity_with_its_tpm_and_asks_for_a_key_without_it_or_with_another() {
    if let Some(reason) = Swtpm::missing() {
        skip!(reason);
    }
    let mut scene = scene!("tpm");
    let with = |tpm: Option<&str>| BootOptions {
        tpm: tpm.map(str::to_owned),
        ..BootOptions::default()
    };
    let own = with(Some("own-tpm"));
    expect(scene.boot_and_enrol_with(&own).power_off());
    assert_eq!(
        evidence(&mut scene),
        key_of(&scene.lab.folder().join("own-tpm"))
    );
    let appliance = expect(scene.lab.boot(&own));
    expect(appliance.wait_for(CONNECTED, BOOT_MAX));
    assert_eq!(scene.fetch(PAGE).status, 200);
    expect(appliance.power_off());

    for other in [None, Some("other-tpm")] {
        let appliance = expect(scene.lab.boot(&with(other)));
        expect(appliance.wait_for(LOCKED, BOOT_MAX));
        expect(appliance.wait_for("Provisioning key:", STEP_MAX));
        appliance.cut_power();
    }
    let appliance = expect(scene.lab.boot(&own));
    expect(appliance.wait_for(CONNECTED, BOOT_MAX));
    expect(appliance.power_off());

    // The TPM is gone for good: a key makes the machine a new connector.
    let appliance = scene.boot_to_prompt_with(&with(None));
    let key = scene.mint_key(&[]);
    expect(appliance.type_line(&key));
    expect(appliance.wait_for(CONNECTED, STEP_MAX));
    assert_eq!(scene.uses_and_connectors(), (2, 2));
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
}

/// What the edge knows of its one connector's TPM, in hexadecimal digits.
fn evidence(scene: &mut Scene) -> String {
    let name = scene.admin(&["connector", "list"])[0]["name"].clone();
    let shown = scene.admin(&["connector", "show", name.as_str().unwrap_or_default()]);
    shown["tpm"].as_str().unwrap_or_default().to_owned()
}

/// The storage key of the TPM that keeps its state there, in hexadecimal digits.
fn key_of(state: &Path) -> String {
    let (_swtpm, tpm) = start(state);
    let digits = tpm.storage_key_hash().map(|byte| format!("{byte:02x}"));
    digits.concat()
}

fn start(state: &Path) -> (Swtpm, Tpm) {
    let (swtpm, device) = expect(Swtpm::bare(state));
    (swtpm, expect(Tpm::open(device)))
}

fn clear(state: &Path) {
    let (swtpm, device): (_, OwnedFd) = expect(Swtpm::bare(state));
    let mut device = File::from(device);
    expect(device.write_all(&CLEAR));
    let mut response = [0; 10];
    expect(device.read_exact(&mut response));
    assert_eq!(
        response[6..],
        [0; 4],
        "TPM2_Clear is refused: {response:02x?}"
    );
    drop(device);
    swtpm.wait_for_its_end();
}

fn open(disk: &Disk, unsealer: Box<dyn Unsealer>) -> Opened<Disk> {
    expect(Store::open_disk(disk.clone(), [3; 16], unsealer))
}

fn save(disk: &Disk, unsealer: Box<dyn Unsealer>, name: &str) {
    expect(open(disk, unsealer).store.save(enrolled(name)));
}

fn enrolled(name: &str) -> State {
    let mut state = State::default();
    state.identity = Some(Identity {
        ca: Vec::new(),
        other_ca: Vec::new(),
        certificate: Vec::new(),
        connector_id: [5; 16],
        name: name.to_owned(),
        group: "Mumbai".to_owned(),
        grant_key: [6; 32],
    });
    state
}

fn name(opened: &Opened<Disk>) -> &str {
    let identity = opened.store.state().identity.as_ref();
    identity.map_or("", |identity| &identity.name)
}

fn holds_plain_secret(disk: &Disk) -> bool {
    let places = disk.0.borrow().bytes[DEVICE_AT..].to_vec();
    let secrets = places.chunks(DEVICE_LEN).map(parse_device);
    secrets
        .flatten()
        .any(|secret| matches!(secret, DeviceSecret::Plain(_)))
}

/// A disk in memory, shared by its clones, that loses its power after some writes.
#[derive(Clone, Debug)]
struct Disk(Rc<RefCell<Platter>>);

#[derive(Clone, Debug)]
struct Platter {
    bytes: Vec<u8>,
    writes_left: usize,
}

impl Default for Disk {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(Platter {
            bytes: vec![0; DEVICE_AT + DEVICE_PLACES * DEVICE_LEN],
            writes_left: usize::MAX,
        })))
    }
}

impl Disk {
    fn copy(&self, writes_left: usize) -> Self {
        let bytes = self.0.borrow().bytes.clone();
        Self(Rc::new(RefCell::new(Platter { bytes, writes_left })))
    }

    fn writes_left(&self) -> usize {
        self.0.borrow().writes_left
    }
}

impl store::Disk for Disk {
    fn read(&self, offset: usize, into: &mut [u8]) -> io::Result<()> {
        into.copy_from_slice(&self.0.borrow().bytes[offset..offset + into.len()]);
        Ok(())
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let mut platter = self.0.borrow_mut();
        let left = platter.writes_left.checked_sub(1);
        platter.writes_left = left.ok_or(io::ErrorKind::Other)?;
        platter.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
