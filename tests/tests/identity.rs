//! Whose machine it is: copies, snapshots, other network cards, backups, the factory reset.
//!
//! Each story changes with a real machine what a hypervisor changes, and reads the console and the edge's
//! audit log.

use std::time::{Duration, Instant};

use connector_proto::key::ProvisioningKey;
use qemu::console::ConsoleError;
use qemu::mac::Mac;
use serde_json::json;
use tests::appliance::{Appliance, BootOptions};
use tests::audit::Policy;
use tests::copies::connects;
use tests::network::address::APPLICATION;
use tests::scene;
use tests::scene::{BOOT_MAX, CONNECTED, GROUP, PAGE, STEP_MAX, Scene, expect};
use tests::session::Session;
use tests::skip::is_long;

/// A copy must know what it is so soon after it first asked the edge.
const NAMED_WITHIN: Duration = Duration::from_secs(60);
/// For how long copy and original run beside each other.
const BESIDE: Duration = Duration::from_secs(90);
/// The same with `OUTGATE_LONG`.
const BESIDE_LONG: Duration = Duration::from_secs(600);
/// Neither of them may connect so often in that time.
const CONNECTS_MAX: usize = 5;
/// How often the original's session is used meanwhile.
const PACE: Duration = Duration::from_secs(5);

/// What the console says to a copy.
const COPY: &str = "is a copy of";
/// What the console says of a lost tunnel.
const LOST: &str = "Disconnected from";
/// The prompt of whoever needs a key.
const PROMPT: &str = "Provisioning key:";

#[test]
fn a_copy_is_named_on_its_console_and_the_original_goes_on_with_its_session() {
    let mut scene = scene!("clone");
    let original = BootOptions::default();
    let copy = original.copy("copy", 2);
    let mut appliance = scene.boot_and_enrol_with(&original);
    let mut session = scene.open_session();
    expect(session.exchange(b"before the copy"));
    expect(
        scene
            .lab
            .clone_running(&mut appliance, &original.name, &copy.name),
    );

    let capture = scene.lab.network().capture().clone();
    let (from, before) = (capture.count(), scene.lab.control_channels(original.mac));
    let twin = expect(scene.lab.boot(&copy));
    let dials = |frame: &_| connects(frame, copy.mac).is_some();
    assert!(
        capture.wait_for_after(from, BOOT_MAX, dials),
        "the copy never asked the edge"
    );
    expect(twin.wait_for(COPY, NAMED_WITHIN));
    expect(twin.wait_for(PROMPT, STEP_MAX));

    stay_connected(
        &appliance,
        &mut session,
        if is_long() { BESIDE_LONG } else { BESIDE },
    );
    let of_original = scene.lab.control_channels(original.mac) - before;
    let of_copy = scene.lab.control_channels(copy.mac);
    assert!(
        of_original < CONNECTS_MAX && of_copy < CONNECTS_MAX,
        "{of_original}, {of_copy}"
    );
    assert!(
        verdicts(&mut scene, "copy") > 0,
        "the audit log has no copy"
    );

    // A key makes a connector of its own of it.
    let key = scene.mint_key(&[]);
    expect(twin.type_line(&key));
    expect(twin.wait_for(CONNECTED, STEP_MAX));
    assert_eq!(scene.uses_and_connectors(), (2, 2));
    expect(session.exchange(b"after the copy"));
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
}

#[test]
fn a_reverted_snapshot_makes_other_random_numbers_and_keeps_its_identity() {
    let mut scene = scene!("reverted");
    let original = BootOptions {
        agent: true,
        ..BootOptions::default()
    };
    let mut appliance = scene.boot_and_enrol_with(&original);
    let name = connector_name(&mut scene);
    let generation = generation_of(&appliance);
    // A session is offered when everything else is done; when it is over, nothing waits to be sent but on the
    // data channel that is dialled in the place of the session's.
    assert_eq!(scene.fetch(PAGE).status, 200);
    expect(appliance.wait_for("no sessions", STEP_MAX));
    assert!(
        scene.lab.falls_silent(STEP_MAX),
        "the machine goes on and on"
    );
    expect(appliance.qmp().save_snapshot("before"));
    // The original goes on: what the snapshot remembers of the edge becomes old.
    scene.lab.network().cut_edge_connections();
    expect(appliance.wait_for(LOST, STEP_MAX));
    expect(appliance.wait_for(CONNECTED, STEP_MAX));
    appliance.cut_power();

    let mut random = Vec::new();
    for number in [2, 3] {
        let reverted = expect(scene.lab.boot(&BootOptions {
            snapshot: Some("before".to_owned()),
            ..original.forked(number)
        }));
        // Until the kernel has heard of it, the numbers are those of the snapshot.
        assert_ne!(generation_after(&reverted, &generation), generation);
        // Nor does anybody know before that the connections are old.
        let from = scene.lab.network().capture().count();
        random.push(expect(reverted.ask_agent("random")));
        expect(reverted.wait_for("was reverted to a snapshot", STEP_MAX));
        assert_eq!(connector_name(&mut scene), name);
        assert_eq!(scene.uses_and_connectors(), (1, 1));
        assert_eq!(scene.fetch(PAGE).status, 200);
        // What was encrypted after the snapshot was encrypted with the same keys before.
        let used = scene.lab.old_connections_used(original.mac, from);
        assert!(
            used.is_empty(),
            "bytes left on connections from before, though the machine knew: {used:?}"
        );
    }
    assert_eq!(random[0].len(), 64, "{random:?}");
    assert_ne!(random[0], random[1]);
    // Once for each, and once more where it was back before it heard that it is another generation.
    let recognised = verdicts(&mut scene, "reverted");
    assert!((2..=4).contains(&recognised), "{recognised}");
    let policy = Policy::lab(&[APPLICATION]).of_restored_machines();
    scene.lab.assert_policy(&policy);
}

#[test]
fn a_moved_nic_is_held_until_it_is_confirmed_or_accepted_by_the_group() {
    let mut scene = scene!("moved NIC");
    let original = BootOptions::default();
    scene.boot_and_enrol_with(&original).cut_power();
    let name = connector_name(&mut scene);

    let moved = with_card(&original, 7);
    let held = expect(scene.lab.boot(&moved));
    expect(held.wait_for("has another MAC address than before", BOOT_MAX));
    expect(held.wait_for(PROMPT, STEP_MAX));
    held.cut_power();
    scene.admin(&["connector", "confirm", &name]);
    let confirmed = expect(scene.lab.boot(&moved));
    expect(confirmed.wait_for(CONNECTED, BOOT_MAX));
    confirmed.cut_power();

    scene.admin(&["group", "set", GROUP, "--moved-nic", "accept"]);
    let accepted = expect(scene.lab.boot(&with_card(&original, 8)));
    expect(accepted.wait_for("has another MAC address than before", BOOT_MAX));
    assert!(accepted.console().text().contains(CONNECTED));
    assert_eq!(scene.uses_and_connectors(), (1, 1));
    assert_eq!(verdicts(&mut scene, "moved_nic"), 2);
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
}

#[test]
fn a_card_that_is_changed_while_the_machine_runs_is_noticed_without_a_restart() {
    let mut scene = scene!("changed card");
    let mut appliance = scene.boot_and_enrol();
    let card = json!({ "id": "nic0" });
    expect(appliance.qmp().execute("device_del", card));
    expect(appliance.wait_for("Waiting for a NIC", STEP_MAX));
    expect(appliance.qmp().wait_event("DEVICE_DELETED", STEP_MAX));
    let card = json!({
        "driver": "virtio-net-pci", "id": "nic0", "netdev": "net0",
        "mac": Mac::in_static_range(7).to_string(), "romfile": "",
    });
    expect(appliance.qmp().execute("device_add", card));
    expect(appliance.wait_for("has another MAC address than before", STEP_MAX));
    expect(appliance.wait_for(PROMPT, STEP_MAX));
    assert_eq!(verdicts(&mut scene, "moved_nic"), 1);
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
}

#[test]
fn a_backup_restored_on_another_card_is_held_until_it_is_confirmed() {
    let mut scene = scene!("backup");
    let original = BootOptions::default();
    let restored = BootOptions {
        name: "restored".to_owned(),
        ..with_card(&original, 7)
    };
    let appliance = scene.boot_and_enrol_with(&original);
    let name = connector_name(&mut scene);
    expect(appliance.power_off());
    expect(scene.lab.clone_disk(&original.name, &restored.name));
    // The connector goes on after the backup, and is lost.
    let appliance = expect(scene.lab.boot(&original));
    expect(appliance.wait_for(CONNECTED, BOOT_MAX));
    appliance.cut_power();

    let held = expect(scene.lab.boot(&restored));
    expect(held.wait_for("was restored from a backup on other hardware", BOOT_MAX));
    held.cut_power();
    scene.admin(&["connector", "confirm", &name]);
    let confirmed = expect(scene.lab.boot(&restored));
    expect(confirmed.wait_for(CONNECTED, BOOT_MAX));
    assert_eq!(scene.uses_and_connectors(), (1, 1));
    assert!(verdicts(&mut scene, "restored_backup") > 0);
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
}

#[test]
fn a_copy_on_other_hardware_names_itself_though_no_edge_answers() {
    let mut scene = scene!("copy elsewhere");
    let original = BootOptions::default();
    let elsewhere = original.another("elsewhere", 2);
    let appliance = scene.boot_and_enrol_with(&original);
    let name = connector_name(&mut scene);
    expect(appliance.power_off());
    expect(scene.lab.clone_disk(&original.name, &elsewhere.name));
    scene
        .lab
        .network()
        .with_faults(|faults| faults.edge_silent = true);

    let copy = expect(scene.lab.boot(&elsewhere));
    expect(copy.wait_for(COPY, BOOT_MAX));
    let said = expect(copy.wait_for(PROMPT, STEP_MAX));
    assert!(
        said.split_whitespace().any(|word| word.starts_with(&name)),
        "{said}"
    );
    // Nothing of the identity is used: nothing was opened.
    assert_eq!(scene.lab.connects(elsewhere.mac), 0);

    scene
        .lab
        .network()
        .with_faults(|faults| faults.edge_silent = false);
    let key = scene.mint_key(&[]);
    expect(copy.type_line(&key));
    expect(copy.wait_for(CONNECTED, STEP_MAX));
    assert_eq!(scene.uses_and_connectors(), (2, 2));
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
}

#[test]
fn a_factory_reset_erases_the_identity_and_a_key_enrols_the_machine_anew() {
    let mut scene = scene!("factory reset");
    let original = BootOptions::default();
    let appliance = scene.boot_and_enrol_with(&original);
    let name = connector_name(&mut scene);
    assert!(contains(
        &state_on_disk(&scene, &original.name, appliance),
        name.as_bytes()
    ));

    let appliance = expect(scene.lab.boot(&original));
    expect(appliance.wait_for(CONNECTED, BOOT_MAX));
    expect(appliance.console().send(CTRL_R));
    expect(appliance.wait_for("Type RESET to erase", STEP_MAX));
    expect(appliance.type_line("RESET"));
    expect(appliance.wait_for("Not enrolled at", STEP_MAX));
    expect(appliance.wait_for(PROMPT, STEP_MAX));
    assert!(!contains(
        &state_on_disk(&scene, &original.name, appliance),
        name.as_bytes()
    ));

    let again = scene.boot_to_prompt_with(&original);
    let key = scene.mint_key(&[]);
    expect(again.type_line(&key));
    expect(again.wait_for(CONNECTED, STEP_MAX));
    assert_eq!(scene.uses_and_connectors(), (2, 2));
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
}

#[test]
fn a_key_that_was_used_is_nowhere_in_the_machines_memory() {
    let mut scene = scene!("remembered key");
    let mut appliance = scene.boot_to_prompt();
    let key = scene.mint_key(&[]);
    let data = expect(ProvisioningKey::parse(&key));
    expect(appliance.type_line(&key));
    expect(appliance.wait_for(CONNECTED, STEP_MAX));
    let memory = expect(scene.lab.memory_of(&mut appliance));
    // The search finds what is there.
    assert!(contains(&memory, connector_name(&mut scene).as_bytes()));
    assert!(
        !contains(&memory, data.data()),
        "the data bits of the key are in memory"
    );
}

const CTRL_R: &[u8] = &[0x12];

/// Uses the session until the time is over; the tunnel must stay up.
fn stay_connected(appliance: &Appliance, session: &mut Session, how_long: Duration) {
    let start = Instant::now();
    while start.elapsed() < how_long {
        match appliance.wait_for(LOST, PACE) {
            Err(ConsoleError::Timeout { .. }) => expect(session.exchange(b"still here")),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("the original lost its tunnel"),
        }
    }
}

/// The same machine with another network card.
fn with_card(machine: &BootOptions, number: u16) -> BootOptions {
    BootOptions {
        mac: Mac::in_static_range(number),
        ..machine.clone()
    }
}

/// The name of the only connector.
fn connector_name(scene: &mut Scene) -> String {
    let list = scene.admin(&["connector", "list"]);
    list[0]["name"].as_str().unwrap_or_default().to_owned()
}

/// How often the audit log says that the edge took a machine for this.
fn verdicts(scene: &mut Scene, verdict: &str) -> usize {
    let log = scene.admin(&["audit", "list", "--last", "1000"]);
    let entries = log.as_array().into_iter().flatten().map(|entry| {
        // What an entry says is text of its own.
        entry.to_string().replace('\\', "")
    });
    let verdict = format!("\"verdict\":\"{verdict}\"");
    entries
        .filter(|entry| entry.contains("connector_recognised") && entry.contains(&verdict))
        .count()
}

/// The VM generation id as the kernel shows it to PID 1.
fn generation_of(appliance: &Appliance) -> String {
    let file = "/sys/bus/platform/drivers/vmgenid/QEMUVGID:00/generation_id";
    let id = expect(appliance.ask_agent(&format!("cat {file}")));
    assert!(
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    id
}

/// The same, once it is another one than before: the random generator has been reseeded then.
fn generation_after(appliance: &Appliance, before: &str) -> String {
    let start = Instant::now();
    loop {
        let id = generation_of(appliance);
        if id != before || start.elapsed() > STEP_MAX {
            return id;
        }
    }
}

/// What is in the state partition of a machine whose power is cut.
fn state_on_disk(scene: &Scene, name: &str, appliance: Appliance) -> Vec<u8> {
    appliance.cut_power();
    expect(scene.lab.state_of(name))
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
