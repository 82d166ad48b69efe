//! What runs in the machine, and what becomes of it when something ends.

use std::time::{Duration, Instant};

use tests::appliance::{Appliance, BootOptions};
use tests::lab::Lab;
use tests::network::address::APPLICATION;
use tests::scene::{CONNECTED, PAGE, STEP_MAX, Scene, expect};
use tests::skip;

#[test]
fn a_connected_machine_has_six_processes_at_most_no_listening_socket_and_128_mib_suffice() {
    if let Some(reason) = Lab::missing_for_vm() {
        skip!(reason);
    }
    let mut scene = expect(Scene::new("inside"));
    let appliance = enrolled_with_agent(&mut scene);
    assert_eq!(scene.fetch(PAGE).status, 200);

    let processes = expect(appliance.ask_agent("ps"));
    assert!((5..=6).contains(&processes.lines().count()), "{processes}");
    for (uid, name) in [
        (0, "init"),
        (101, "netd"),
        (102, "timed"),
        (103, "connector"),
        (104, "console"),
    ] {
        let line = processes.lines().find(|line| line.ends_with(name));
        assert!(
            line.is_some_and(|line| line.contains(&format!(" {uid} "))),
            "{name}: {processes}"
        );
    }

    // State 0A is LISTEN; an unconnected UDP socket has no peer (state 07).
    for table in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "udplite"] {
        let sockets = expect(appliance.ask_agent(&format!("cat /proc/net/{table}")));
        let open = sockets.lines().filter(|line| {
            let mut fields = line.split_whitespace().skip(3);
            matches!(fields.next(), Some("0A" | "07"))
        });
        assert_eq!(open.count(), 0, "{table}: {sockets}");
    }

    let memory = expect(appliance.ask_agent("cat /proc/meminfo"));
    let available = kib(&memory, "MemAvailable:");
    assert!(available > 32 * 1024, "{memory}");
    assert!(kib(&memory, "MemTotal:") < 128 * 1024, "{memory}");
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
}

#[test]
fn a_killed_connector_is_back_within_a_second_and_reconnects_by_itself() {
    if let Some(reason) = Lab::missing_for_vm() {
        skip!(reason);
    }
    let mut scene = expect(Scene::new("killed"));
    let appliance = enrolled_with_agent(&mut scene);
    let before = pid_of(&appliance, "connector");
    let killed = expect(appliance.ask_agent("kill connector"));
    let since = Instant::now();
    assert!(killed.starts_with("killed"), "{killed}");
    expect(appliance.wait_for("Service connector ended", STEP_MAX));
    let after = loop {
        match pid_of(&appliance, "connector") {
            Some(pid) => break pid,
            None => assert!(since.elapsed() < Duration::from_secs(10), "not restarted"),
        }
    };
    assert_ne!(Some(after), before);
    let stamps = expect(appliance.ask_agent(&format!("cat /proc/{after}/stat")));
    // The guest's own clock says when it was started; the host's says that it was soon.
    assert!(!stamps.is_empty());
    assert!(
        since.elapsed() < Duration::from_secs(5),
        "{:?} on this machine",
        since.elapsed()
    );
    expect(appliance.wait_for(CONNECTED, STEP_MAX));
    assert_eq!(scene.fetch(PAGE).status, 200);
    assert_eq!(
        scene.uses_and_connectors(),
        (1, 1),
        "it used what it remembered"
    );
}

#[test]
fn every_other_service_that_is_killed_comes_back_and_the_tunnel_stays() {
    if let Some(reason) = Lab::missing_for_vm() {
        skip!(reason);
    }
    let mut scene = expect(Scene::new("services"));
    let appliance = enrolled_with_agent(&mut scene);
    let connector = pid_of(&appliance, "connector");
    for service in ["netd", "timed", "console"] {
        let before = pid_of(&appliance, service);
        expect(appliance.ask_agent(&format!("kill {service}")));
        let since = Instant::now();
        while pid_of(&appliance, service).is_none_or(|pid| Some(pid) == before) {
            assert!(since.elapsed() < STEP_MAX, "{service} does not come back");
        }
    }
    assert_eq!(pid_of(&appliance, "connector"), connector);
    assert_eq!(scene.fetch(PAGE).status, 200);
}

#[test]
fn the_power_button_ends_the_machine_in_order_and_the_next_boot_needs_no_key() {
    if let Some(reason) = Lab::missing_for_vm() {
        skip!(reason);
    }
    let mut scene = expect(Scene::new("power"));
    let appliance = scene.boot_and_enrol();
    assert!(expect(appliance.power_off()).success());
    let again = expect(scene.lab.boot(&BootOptions::default()));
    expect(again.wait_for(CONNECTED, tests::scene::BOOT_MAX));
    assert!(!again.console().text().contains("Provisioning key:"));
    assert_eq!(scene.fetch(PAGE).status, 200);
    assert_eq!(scene.uses_and_connectors(), (1, 1));
}

#[test]
fn ctrl_alt_del_restarts_the_machine_in_order() {
    if let Some(reason) = Lab::missing_for_vm() {
        skip!(reason);
    }
    let mut scene = expect(Scene::new("ctrl-alt-del"));
    let mut appliance = scene.boot_and_enrol();
    expect(appliance.qmp().send_key(&["ctrl", "alt", "delete"], 100));
    expect(appliance.wait_for("Shutting down", STEP_MAX));
    expect(appliance.wait_for(CONNECTED, tests::scene::BOOT_MAX));
}

fn enrolled_with_agent(scene: &mut Scene) -> Appliance {
    let options = BootOptions {
        agent: true,
        ..BootOptions::default()
    };
    let appliance = scene.boot_to_prompt_with(&options);
    let key = scene.mint_key(&[]);
    expect(appliance.type_line(&key));
    expect(appliance.wait_for(CONNECTED, STEP_MAX));
    appliance
}

fn pid_of(appliance: &Appliance, name: &str) -> Option<u32> {
    let processes = expect(appliance.ask_agent("ps"));
    let line = processes
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(name))?
        .to_owned();
    line.split(' ').next()?.parse().ok()
}

fn kib(meminfo: &str, field: &str) -> u64 {
    let line = meminfo
        .lines()
        .find(|line| line.starts_with(field))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}
