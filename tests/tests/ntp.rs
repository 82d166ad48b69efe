//! Time servers that lie, and one that floods.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tests::agent;
use tests::appliance::{Appliance, BootOptions};
use tests::network::address::TIME_SERVERS;
use tests::network::datagram::Datagram;
use tests::network::ntp::Manner;
use tests::network::{LeaseTerms, TimeServer};
use tests::pcap::{Direction, Frame};
use tests::scene;
use tests::scene::{BOOT_MAX, CONNECTED, STEP_MAX, Scene, expect};

/// The servers of stories with three.
const THREE: [Ipv4Addr; 3] = [TIME_SERVERS[0], TIME_SERVERS[1], TIME_SERVERS[2]];
const SET_BY_EDGE: &str = "Clock set by service edge edge.outgate.example";
const HOUR_MS: i64 = 3_600_000;
const YEAR_MS: i64 = 365 * 24 * HOUR_MS;
/// How far a clock may be from the right time where the edge decided.
const WRONG_MAX_S: i64 = 60;
/// The packets of the flood.
const FLOOD_PACKETS: usize = 100_000;

#[test]
fn one_liar_of_three_ntp_servers_moves_nothing() {
    let mut scene = scene!("one liar");
    lie(&scene, [0, HOUR_MS, 0]);
    let appliance = scene.boot_and_enrol_with(&with_agent());
    assert_clock_is_right_to(&appliance, 2);
    let text = appliance.console().text();
    assert!(
        text.contains("Clock set by NTP server 10.77.0.12"),
        "{text}"
    );
    assert!(
        !text.contains("Clock set by NTP server 10.77.0.122"),
        "{text}"
    );
    // Once more, while the clock is right: everybody is asked after a jump.
    lie(&scene, [0, 0, -HOUR_MS]);
    expect(appliance.ask_agent("clock 7200"));
    expect(appliance.wait_for("Clock put back:", STEP_MAX));
    assert_all_three_are_asked(&scene);
    assert_clock_is_right_to(&appliance, 2);
    assert!(!appliance.console().text().contains("Clock held:"));
}

#[test]
fn two_liars_of_three_are_held_with_an_alarm_and_the_edge_decides() {
    let mut scene = scene!("two liars");
    lie(&scene, [0, 0, 0]);
    let appliance = scene.boot_and_enrol_with(&with_agent());
    lie(&scene, [HOUR_MS, 0, HOUR_MS]);
    expect(appliance.ask_agent("clock 7200"));
    expect(appliance.wait_for("Clock held:", STEP_MAX));
    expect(appliance.wait_for("NTP and the service edge disagree:", STEP_MAX));
    assert_clock_is_right_to(&appliance, WRONG_MAX_S);
    let text = appliance.console().text();
    assert!(!text.contains("Disconnected from"), "{text}");
}

#[test]
fn three_liars_at_boot_are_corrected_by_the_edge() {
    let mut scene = scene!("three liars ahead");
    lie(&scene, [YEAR_MS; 3]);
    let appliance = scene.boot_and_enrol_with(&with_agent());
    expect(appliance.wait_for("NTP and the service edge disagree:", STEP_MAX));
    assert_clock_is_right_to(&appliance, WRONG_MAX_S);
}

#[test]
fn three_liars_never_move_a_clock_below_the_floor_and_the_edge_decides() {
    let mut scene = scene!("three liars back");
    // Read as of NTP's next era, this would be a time after 2150.
    lie(&scene, [-10 * YEAR_MS; 3]);
    let appliance = scene.boot_to_prompt_with(&with_agent());
    let key = scene.mint_key(&[]);
    expect(appliance.type_line(&key));
    expect(appliance.wait_for(CONNECTED, STEP_MAX));
    let text = appliance.console().text();
    assert!(text.contains("claims a time before"), "{text}");
    assert!(text.contains(SET_BY_EDGE), "{text}");
    assert!(!text.contains("Clock set by NTP"), "{text}");
    assert_clock_is_right_to(&appliance, WRONG_MAX_S);
}

#[test]
fn a_hundred_thousand_bad_ntp_packets_fill_no_log_write_no_disk_and_stop_nothing() {
    let mut scene = scene!("flood");
    let appliance = scene.boot_and_enrol_with(&with_agent());
    assert!(expect(appliance.power_off()).success());
    let manner = Manner::Rubbish {
        packets: 5000,
        gap: Duration::from_micros(50),
    };
    for server in TIME_SERVERS {
        let server_at = scene.lab.network();
        server_at.set_time_server(server, TimeServer::answering(manner));
    }
    name_servers(&scene, &TIME_SERVERS);
    let network = scene.lab.network();
    network.with_faults(|faults| faults.edge_silent = true);
    let before = network.capture().count();
    let again = expect(scene.lab.boot(&with_agent()));
    expect(again.wait_for("Waiting for an NTP server's answer", BOOT_MAX));
    let writes = disk_writes(&again);
    let capture = scene.lab.network().capture();
    let arrived = || {
        capture.frames()[before..]
            .iter()
            .filter(|frame| is_time(frame))
            .count()
    };
    let mut seen = capture.count();
    while arrived() < FLOOD_PACKETS {
        assert!(
            capture.wait_for_after(seen, STEP_MAX, is_time),
            "only {} packets",
            arrived()
        );
        seen = capture.count() + 1000;
    }
    assert_eq!(disk_writes(&again), writes, "writes to the disk");
    agent::assert_few_lines(&expect(again.ask_agent("log")), "timed");

    scene
        .lab
        .network()
        .with_faults(|faults| faults.edge_silent = false);
    expect(again.wait_for(SET_BY_EDGE, STEP_MAX));
    expect(again.wait_for(CONNECTED, STEP_MAX));
    let text = again.console().text();
    assert!(!text.contains("Service timed ended"), "{text}");
}

/// Writes that the disk completed.
fn disk_writes(appliance: &Appliance) -> u64 {
    let table = expect(appliance.ask_agent("cat /proc/diskstats"));
    let disks = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let disk = disks
        .into_iter()
        .find(|fields| fields.get(2) == Some(&"vda"));
    let writes = disk.and_then(|fields| fields.get(7)?.parse().ok());
    writes.unwrap_or_else(|| panic!("no disk in {table}"))
}

fn lie(scene: &Scene, offsets_ms: [i64; 3]) {
    for (server, offset_ms) in THREE.into_iter().zip(offsets_ms) {
        let network = scene.lab.network();
        network.set_time_server(server, TimeServer::lying_by_ms(offset_ms));
    }
    name_servers(scene, &THREE);
}

fn name_servers(scene: &Scene, servers: &[Ipv4Addr]) {
    scene.lab.network().set_lease_terms(LeaseTerms {
        time_servers: servers.to_vec(),
        ..LeaseTerms::default()
    });
}

fn assert_all_three_are_asked(scene: &Scene) {
    let capture = scene.lab.network().capture();
    let skipped = capture.count();
    for server in THREE {
        let asks = |frame: &Frame| {
            let datagram = Datagram::parse(&frame.bytes);
            datagram.is_some_and(|datagram| datagram.to.ip() == server && datagram.to.port() == 123)
        };
        // One that was asked between the jump and the alarm's sentence is among the last frames.
        let recent = skipped.saturating_sub(200);
        assert!(
            capture.wait_for_after(recent, STEP_MAX, asks),
            "{server} is not asked"
        );
    }
}

fn assert_clock_is_right_to(appliance: &Appliance, most_s: i64) {
    let clock_s = expect(appliance.clock_s());
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let wrong_s = clock_s - i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    assert!(wrong_s.abs() <= most_s, "the clock is wrong by {wrong_s} s");
}

fn is_time(frame: &Frame) -> bool {
    let datagram = Datagram::parse(&frame.bytes);
    let from = datagram.map(|datagram| datagram.from.port());
    frame.direction == Direction::ToGuest && from == Some(123)
}

fn with_agent() -> BootOptions {
    BootOptions {
        agent: true,
        ..BootOptions::default()
    }
}
