//! The network as it is found: hostile, moving, late, narrow, tagged, without DHCP.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::json;
use tests::agent;
use tests::appliance::{Appliance, BootOptions};
use tests::network::address::{APPLICATION, EDGE, GATEWAY, RESOLVER, TIME_SERVER};
use tests::network::datagram::Datagram;
use tests::network::link::Chance;
use tests::network::{LeaseTerms, Network, hostile_dhcp, vlan};
use tests::pcap::{Direction, Frame};
use tests::scene;
use tests::scene::{BOOT_MAX, CONNECTED, PAGE, STEP_MAX, expect};
use tests::skip::is_long;

/// How soon the tunnel is to be back once the network is.
const BACK_MAX: Duration = Duration::from_secs(15);
/// For how long DHCP is gone at boot, in short and in long.
const GONE: Duration = Duration::from_secs(20);
const GONE_LONG: Duration = Duration::from_secs(120);
/// Random packets to the DHCP client.
const RANDOM_PACKETS: usize = 10_000;

#[test]
fn a_hostile_dhcp_server_changes_no_route_kills_nothing_and_fills_no_log() {
    let mut scene = scene!("hostile dhcp");
    let mut options = hostile_dhcp::routes_to(*EDGE.ip());
    options.extend(hostile_dhcp::huge_options());
    scene.lab.network().set_lease_terms(LeaseTerms {
        options,
        duration: Duration::from_secs(1),
        damaged_copies: 50,
        ..LeaseTerms::default()
    });
    let appliance = scene.boot_and_enrol_with(&with_agent());
    assert_usual_routes(&appliance);
    let netd = pid_of(&appliance, "netd");

    let mut chance = Chance::new(1);
    let frames: Vec<_> = (0..RANDOM_PACKETS)
        .map(|_| hostile_dhcp::random_frame(&mut chance))
        .collect();
    let last = frames[RANDOM_PACKETS - 1].clone();
    let network = scene.lab.network();
    let before = network.capture().count();
    network.send(frames, Duration::from_micros(500));
    let is_last = |frame: &Frame| frame.bytes == last;
    assert!(network.capture().wait_for_after(before, STEP_MAX, is_last));

    // The lease of a second was taken for a minute, and is renewed after half of it.
    let seen = network.capture().count();
    assert!(
        network
            .capture()
            .wait_for_after(seen, STEP_MAX, asks_for_lease)
    );
    assert_usual_routes(&appliance);
    assert_eq!(pid_of(&appliance, "netd"), netd);
    assert_eq!(scene.fetch(PAGE).status, 200);
    agent::assert_few_lines(&expect(appliance.ask_agent("log")), "netd");
    let text = appliance.console().text();
    assert!(!text.contains("Service netd ended"), "{text}");
    assert!(!text.contains("Disconnected from"), "{text}");
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
}

#[test]
fn a_request_that_is_refused_and_a_server_that_is_gone_and_back_need_no_hand() {
    let mut scene = scene!("refusing dhcp");
    scene.lab.network().set_lease_terms(LeaseTerms {
        is_refusing: true,
        ..LeaseTerms::default()
    });
    let appliance = expect(scene.lab.boot(&BootOptions::default()));
    expect(appliance.wait_for("Waiting for a DHCP server's answer", BOOT_MAX));
    let network = scene.lab.network();
    network.with_faults(|faults| faults.dhcp_silent = true);
    network.set_lease_terms(LeaseTerms::default());
    stay_silent(network);
    network.with_faults(|faults| faults.dhcp_silent = false);
    expect(appliance.wait_for("Network up: 10.77.0.15/24", STEP_MAX));
    expect(appliance.wait_for("Provisioning key:", STEP_MAX));
    let key = scene.mint_key(&[]);
    expect(appliance.type_line(&key));
    expect(appliance.wait_for(CONNECTED, STEP_MAX));
}

#[test]
fn an_enrolled_machine_without_dhcp_at_boot_connects_by_itself_when_it_is_back() {
    let mut scene = scene!("late dhcp");
    let appliance = scene.boot_and_enrol();
    assert!(expect(appliance.power_off()).success());
    let network = scene.lab.network();
    network.with_faults(|faults| faults.dhcp_silent = true);
    let again = expect(scene.lab.boot(&BootOptions::default()));
    expect(again.wait_for("Waiting for a DHCP server's answer", BOOT_MAX));
    stay_silent(network);
    network.with_faults(|faults| faults.dhcp_silent = false);
    expect(again.wait_for(CONNECTED, STEP_MAX));
    assert_eq!(scene.fetch(PAGE).status, 200);
}

#[test]
fn a_cable_that_is_plugged_in_again_and_a_lease_of_another_address_bring_the_tunnel_back_within_15_s()
 {
    let mut scene = scene!("moved");
    let mut appliance = scene.boot_and_enrol();
    for (name, octet) in [("the next", 40), ("one more", 90)] {
        expect(appliance.qmp().set_link(false));
        expect(appliance.wait_for("Waiting for the NIC's link", STEP_MAX));
        scene.lab.network().set_lease_terms(LeaseTerms {
            first_address: Ipv4Addr::new(10, 77, 0, octet),
            ..LeaseTerms::default()
        });
        expect(appliance.qmp().set_link(true));
        expect(appliance.wait_for(&format!("Network up: 10.77.0.{octet}/24"), STEP_MAX));
        let up = Instant::now();
        expect(appliance.wait_for(CONNECTED, BACK_MAX));
        eprintln!(
            "{name} address: the tunnel is back after {:?}",
            up.elapsed()
        );
        assert_eq!(scene.fetch(PAGE).status, 200);
    }
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
}

#[test]
fn a_network_card_that_is_taken_out_and_put_back_drops_no_session() {
    let mut scene = scene!("replugged");
    let mut appliance = scene.boot_and_enrol();
    let mut session = scene.open_session();
    expect(session.exchange(b"before"));
    let card = json!({ "id": "nic0" });
    expect(appliance.qmp().execute("device_del", card));
    expect(appliance.wait_for("Waiting for a NIC", STEP_MAX));
    expect(appliance.qmp().wait_event("DEVICE_DELETED", STEP_MAX));
    let card = json!({
        "driver": "virtio-net-pci", "id": "nic0", "netdev": "net0",
        "mac": BootOptions::default().mac.to_string(), "romfile": "",
    });
    expect(appliance.qmp().execute("device_add", card));
    expect(appliance.wait_for("Network up: 10.77.0.15/24", STEP_MAX));
    let up = Instant::now();
    assert_eq!(scene.fetch(PAGE).status, 200);
    assert!(up.elapsed() < BACK_MAX, "{:?}", up.elapsed());
    expect(session.exchange(b"after"));
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
}

#[test]
fn a_session_outlives_a_cable_that_is_out_for_a_moment() {
    let mut scene = scene!("session");
    let mut appliance = scene.boot_and_enrol();
    let mut session = scene.open_session();
    expect(session.exchange(b"before"));
    expect(appliance.qmp().set_link(false));
    expect(appliance.wait_for("Waiting for the NIC's link", STEP_MAX));
    expect(appliance.qmp().set_link(true));
    expect(appliance.wait_for("Network up: 10.77.0.15/24", STEP_MAX));
    expect(session.exchange(b"after"));
}

#[test]
fn a_renewal_that_is_refused_for_another_address_brings_the_tunnel_back_within_15_s() {
    let mut scene = scene!("renumbered");
    scene.lab.network().set_lease_terms(LeaseTerms {
        duration: Duration::from_secs(60),
        ..LeaseTerms::default()
    });
    let appliance = scene.boot_and_enrol();
    scene.lab.network().set_lease_terms(LeaseTerms {
        first_address: Ipv4Addr::new(10, 77, 0, 40),
        ..LeaseTerms::default()
    });
    expect(appliance.wait_for("Network up: 10.77.0.40/24", STEP_MAX));
    expect(appliance.wait_for(CONNECTED, BACK_MAX));
    assert_eq!(scene.fetch(PAGE).status, 200);
}

#[test]
fn with_address_gateway_resolver_and_ntp_set_by_properties_no_dhcp_is_spoken() {
    let mut scene = scene!("static");
    // One by its name, which is looked up before the clock is right.
    let name = "ntp.outgate.example";
    scene.lab.network().set_name(name, TIME_SERVER);
    let options = BootOptions {
        settings: vec![
            ("address", "10.77.0.20/24".to_owned()),
            ("gateway", GATEWAY.to_string()),
            ("resolvers", RESOLVER.to_string()),
            ("ntp", name.to_owned()),
        ],
        ..BootOptions::default()
    };
    let appliance = scene.boot_and_enrol_with(&options);
    let text = appliance.console().text();
    let up = "Network up: 10.77.0.20/24, gateway 10.77.0.1, static";
    assert!(text.contains(up), "{text}");
    assert!(
        text.contains(&format!("Clock set by NTP server {TIME_SERVER}")),
        "{text}"
    );
    assert_eq!(scene.fetch(PAGE).status, 200);
    let frames = scene.lab.network().capture().frames();
    assert!(!frames.iter().any(asks_for_lease));
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
}

#[test]
fn a_path_that_swallows_full_size_packets_is_named_and_a_smaller_mtu_is_all_it_takes() {
    let mut scene = scene!("narrow");
    let network = scene.lab.network();
    network.with_faults(|faults| faults.edge_frame_bytes_max = Some(1414));
    let mut appliance = scene.boot_to_prompt();
    let key = scene.mint_key(&[]);
    expect(appliance.type_line(&key));
    // Console text wraps between words.
    expect(appliance.wait_for("MTU (DHCP option 26)", STEP_MAX * 2));
    assert!(!appliance.console().text().contains(CONNECTED));
    let mtu = 1400_u16.to_be_bytes().to_vec();
    scene.lab.network().set_lease_terms(LeaseTerms {
        options: vec![(26, mtu)],
        ..LeaseTerms::default()
    });
    expect(appliance.qmp().set_link(false));
    expect(appliance.wait_for("Waiting for the NIC's link", STEP_MAX));
    expect(appliance.qmp().set_link(true));
    expect(appliance.wait_for(CONNECTED, STEP_MAX));
    assert_eq!(
        scene.fetch(&format!("{PAGE}bytes/100000")).body.len(),
        100_000
    );
}

#[test]
fn on_a_trunk_with_its_vlan_set_every_frame_carries_the_tag() {
    let mut scene = scene!("vlan");
    scene.lab.network().set_vlan(Some(7));
    let options = BootOptions {
        settings: vec![("vlan", "7".to_owned())],
        ..BootOptions::default()
    };
    let _appliance = scene.boot_and_enrol_with(&options);
    assert_eq!(scene.fetch(PAGE).status, 200);
    let frames = scene.lab.network().capture().frames();
    let sent = frames
        .iter()
        .filter(|frame| frame.direction == Direction::FromGuest);
    for frame in sent {
        assert!(
            vlan::untagged(&frame.bytes, 7).is_some(),
            "{:02x?}",
            frame.bytes
        );
    }
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
}

/// For as long as DHCP is to be gone; the network is asked for a lease again and again all the time.
fn stay_silent(network: &Network) {
    let gone = if is_long() { GONE_LONG } else { GONE };
    let began = Instant::now();
    while began.elapsed() < gone {
        let seen = network.capture().count();
        let capture = network.capture();
        assert!(capture.wait_for_after(seen, STEP_MAX, asks_for_lease));
    }
}

/// Exactly the local network and the gateway, as the kernel's table has them: hex, little-endian.
fn assert_usual_routes(appliance: &Appliance) {
    let table = expect(appliance.ask_agent("cat /proc/net/route"));
    let routes = table.lines().skip(1).map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        (
            fields[1].to_owned(),
            fields[2].to_owned(),
            fields[7].to_owned(),
        )
    });
    let mut routes: Vec<_> = routes.collect();
    routes.sort();
    let route = |to: &str, by: &str, mask: &str| (to.to_owned(), by.to_owned(), mask.to_owned());
    let usual = [
        route("00000000", "01004D0A", "00000000"),
        route("00004D0A", "00000000", "00FFFFFF"),
    ];
    assert_eq!(routes, usual, "{table}");
}

fn pid_of(appliance: &Appliance, name: &str) -> String {
    let processes = expect(appliance.ask_agent("ps"));
    let line = processes.lines().find(|line| line.ends_with(name));
    let pid = line.and_then(|line| line.split(' ').next());
    pid.unwrap_or_else(|| panic!("no {name}: {processes}"))
        .to_owned()
}

fn asks_for_lease(frame: &Frame) -> bool {
    let datagram = Datagram::parse(&frame.bytes);
    frame.direction == Direction::FromGuest
        && datagram.is_some_and(|datagram| datagram.to.port() == 67)
}

fn with_agent() -> BootOptions {
    BootOptions {
        agent: true,
        ..BootOptions::default()
    }
}
