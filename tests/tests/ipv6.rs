//! Networks with IPv6, and with nothing else.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use tests::appliance::{Appliance, BootOptions};
use tests::audit::Policy;
use tests::network::address::{
    APPLICATION_NAME, APPLICATION6, EDGE_NAME, EDGE6, GATEWAY6_GLOBAL, RESOLVER6, TIME_SERVER6,
};
use tests::network::router::{self, Question};
use tests::network::{RouterTerms, TimeServer};
use tests::scene;
use tests::scene::{CONNECTED, PAGE, STEP_MAX, Scene, expect};

/// What the MAC of the lab's machines means in the advertised prefix (RFC 4291 appendix A).
const ADDRESS: &str = "2001:db8:77:0:250:56ff:fe00:1";

#[test]
fn on_a_network_of_ipv6_alone_a_machine_enrols_connects_and_carries_sessions() {
    let mut scene = scene!("ipv6 only");
    have_ipv6_only(&scene, Some(RouterTerms::default()));
    let appliance = scene.boot_and_enrol();
    let text = appliance.console().text();
    assert!(
        text.contains(&format!("Network up: {ADDRESS}/64")),
        "{text}"
    );
    // A router's advertisement names no time server.
    assert!(text.contains("Clock set by service edge"), "{text}");
    assert_eq!(scene.fetch(PAGE).status, 200);
    scene.lab.assert_policy(&Policy::lab(&[APPLICATION6]));
}

#[test]
fn a_static_ipv6_address_with_gateway_resolver_and_ntp_needs_neither_router_nor_dhcp() {
    let mut scene = scene!("ipv6 static");
    // A router that is there, and advertises nothing of use.
    let terms = RouterTerms {
        lifetime_s: 0,
        prefix: None,
        resolvers: Vec::new(),
        ..RouterTerms::default()
    };
    have_ipv6_only(&scene, Some(terms));
    let network = scene.lab.network();
    network.set_time_server(TIME_SERVER6, TimeServer::HONEST);
    let options = BootOptions {
        settings: vec![
            ("ipv6", "2001:db8:77::20/64".to_owned()),
            ("gateway6", GATEWAY6_GLOBAL.to_string()),
            ("resolvers", RESOLVER6.to_string()),
            ("ntp", TIME_SERVER6.to_string()),
        ],
        ..BootOptions::default()
    };
    let appliance = scene.boot_and_enrol_with(&options);
    let text = appliance.console().text();
    assert!(text.contains("Network up: 2001:db8:77::20/64"), "{text}");
    assert!(
        text.contains(&format!("Clock set by NTP server {TIME_SERVER6}")),
        "{text}"
    );
    assert_eq!(scene.fetch(PAGE).status, 200);
}

#[test]
fn with_both_families_a_machine_connects_whichever_of_them_the_edge_answers_by() {
    let mut scene = scene!("both families");
    let network = scene.lab.network();
    network.set_router(Some(RouterTerms::default()));
    // The edge's IPv6 address is of a host that does not answer.
    let nobody: IpAddr = expect("2001:db8:77::dead".parse::<IpAddr>());
    let good: IpAddr = IpAddr::V4(*tests::network::address::EDGE.ip());
    network.set_addresses(EDGE_NAME, &[nobody, good]);
    let options = BootOptions {
        agent: true,
        ..BootOptions::default()
    };
    let appliance = scene.boot_and_enrol_with(&options);
    assert_eq!(scene.fetch(PAGE).status, 200);
    wait_until_address_is_usable(&appliance);
    expect(scene.edge().restart());
    expect(appliance.wait_for("Disconnected from", STEP_MAX));
    expect(appliance.wait_for(CONNECTED, STEP_MAX));
    let frames = scene.lab.network().capture().frames();
    let was_tried = frames.iter().any(|frame| {
        let question = router::question(&frame.bytes);
        matches!(question, Some(Question::Neighbour { target, .. }) if target == nobody)
    });
    assert!(was_tried, "the IPv6 address was not even tried");
    let policy = Policy::lab(&[tests::network::address::APPLICATION]);
    let policy = Policy {
        edges: [policy.edges.clone(), vec![SocketAddr::new(nobody, 443)]].concat(),
        ..policy
    };
    scene.lab.assert_policy(&policy);
}

#[test]
fn with_ipv6_off_no_frame_of_it_leaves() {
    let mut scene = scene!("ipv6 off");
    scene.lab.network().set_router(Some(RouterTerms::default()));
    let options = BootOptions {
        settings: vec![("ipv6", "off".to_owned())],
        ..BootOptions::default()
    };
    let _appliance = scene.boot_and_enrol_with(&options);
    let policy = Policy {
        ipv6: false,
        ..Policy::lab::<SocketAddr>(&[])
    };
    scene.lab.assert_policy(&policy);
}

/// Until nobody else has answered for the machine's own address (RFC 4862 section 5.4), no connection
/// is made from it.
fn wait_until_address_is_usable(appliance: &Appliance) {
    let began = Instant::now();
    while began.elapsed() < STEP_MAX {
        let addresses = expect(appliance.ask_agent("cat /proc/net/if_inet6"));
        // Address, index, prefix length, scope 00 (global), flags, name.
        let global = addresses
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .find(|fields| fields.get(3) == Some(&"00"));
        let flags = global.and_then(|fields| u8::from_str_radix(fields.get(4)?, 16).ok());
        if flags.is_some_and(|flags| flags & TENTATIVE == 0) {
            return;
        }
    }
    panic!("the IPv6 address is not usable after {STEP_MAX:?}");
}

/// The kernel's flag of an address that is still being checked.
const TENTATIVE: u8 = 0x40;

/// No DHCP, and names that have IPv6 addresses only.
fn have_ipv6_only(scene: &Scene, router: Option<RouterTerms>) {
    let network = scene.lab.network();
    network.with_faults(|faults| faults.dhcp_silent = true);
    network.set_router(router);
    network.set_name(EDGE_NAME, *EDGE6.ip());
    network.set_name(APPLICATION_NAME, *APPLICATION6.ip());
}
