//! What runs in the machine, and what becomes of it when something ends.

use std::time::Instant;

use tests::appliance::{Appliance, BootOptions};
use tests::network::address::APPLICATION;
use tests::scene;
use tests::scene::{CONNECTED, PAGE, STEP_MAX, Scene, expect};

#[test]
fn a_connected_machine_has_six_processes_at_most_no_listening_socket_and_128_mib_suffice() {
    let mut scene = scene!("inside");
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
    let mut scene = scene!("killed");
    let appliance = enrolled_with_agent(&mut scene);
    let before = pid_of(&appliance, "connector");
    let killed = expect(appliance.ask_agent("kill connector"));
    assert!(killed.starts_with("killed"), "{killed}");
    let told = expect(appliance.wait_for("Service connector ended", STEP_MAX));
    let ended_at = last_stamp(&told);
    let since = Instant::now();
    let after = loop {
        match pid_of(&appliance, "connector") {
            Some(pid) => break pid,
            None => assert!(
                since.elapsed() < STEP_MAX,
                "the connector does not come back"
            ),
        }
    };
    assert_ne!(Some(after), before);
    // Both times are the guest's own: this machine may be busy.
    let started_at = started_at(&expect(
        appliance.ask_agent(&format!("cat /proc/{after}/stat")),
    ));
    let gap = started_at - ended_at;
    assert!(
        (-0.5..1.0).contains(&gap),
        "back after {gap:.2} s: {started_at} after {ended_at}"
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
    let mut scene = scene!("services");
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
    let mut scene = scene!("power");
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
    let mut scene = scene!("ctrl-alt-del");
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

/// The console's last time stamp in a text, `[    12.34]`, in seconds since boot.
fn last_stamp(text: &str) -> f64 {
    let stamp = text
        .rsplit_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    let seconds = stamp.and_then(|(seconds, _)| seconds.trim().parse().ok());
    seconds.unwrap_or_else(|| panic!("no time stamp in {text:?}"))
}

/// When a process started, in seconds since boot: field 22 of `/proc/PID/stat`, in hundredths
/// (proc(5)).
fn started_at(stat: &str) -> f64 {
    let after_name = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest)
        .unwrap_or_default();
    let ticks: Option<f64> = after_name
        .split_whitespace()
        .nth(19)
        .and_then(|ticks| ticks.parse().ok());
    ticks.unwrap_or_else(|| panic!("no start time in {stat:?}")) / 100.0
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
