//! Resolvers that are forged against, truncate, are silent, or gone.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tests::appliance::{Appliance, BootOptions};
use tests::audit::Policy;
use tests::network::address::{APPLICATION, HOSTILE, RESOLVER, SECOND_RESOLVER, TIME_SERVER};
use tests::network::datagram::Datagram;
use tests::network::resolver::OverTcp;
use tests::network::segment::Segment;
use tests::network::{LeaseTerms, Resolver};
use tests::pcap::{Direction, Frame};
use tests::scene;
use tests::scene::{BOOT_MAX, CONNECTED, PAGE, STEP_MAX, Scene, expect};
use tests::skip::is_long;

/// How soon a connector is back once the edge is.
const BACK_MAX: Duration = Duration::from_secs(10);
/// For how long DNS is gone, in the long run.
const GONE_LONG: Duration = Duration::from_secs(600);

#[test]
fn forged_answers_are_ignored_and_the_honest_one_is_taken() {
    let mut scene = scene!("forged dns");
    let forged = Resolver {
        is_forged: true,
        ..Resolver::default()
    };
    scene.lab.network().set_resolver(RESOLVER, forged);
    let appliance = scene.boot_and_enrol();
    assert_eq!(scene.fetch(PAGE).status, 200);
    let frames = scene.lab.network().capture().frames();
    let sent = frames
        .iter()
        .filter(|frame| frame.direction == Direction::FromGuest);
    let to_hostile = sent.filter_map(|frame| Segment::parse(&frame.bytes));
    assert_eq!(
        to_hostile
            .filter(|segment| segment.to.ip() == HOSTILE)
            .count(),
        0
    );
    assert_unharmed(&scene, &appliance);
}

#[test]
fn an_answer_that_is_truncated_is_asked_for_over_tcp_and_64_kib_of_loops_are_ignored() {
    let mut scene = scene!("dns over tcp");
    let over_tcp = |over_tcp| Resolver {
        over_tcp,
        ..Resolver::default()
    };
    scene
        .lab
        .network()
        .set_resolver(RESOLVER, over_tcp(OverTcp::Huge));
    let appliance = scene.boot_to_prompt();
    let key = scene.mint_key(&[]);
    expect(appliance.type_line(&key));
    expect(appliance.wait_for("to connect to edge.outgate.example failed", STEP_MAX));
    scene
        .lab
        .network()
        .set_resolver(RESOLVER, over_tcp(OverTcp::Only));
    expect(appliance.wait_for(CONNECTED, STEP_MAX));
    assert_eq!(scene.fetch(PAGE).status, 200);
    assert_unharmed(&scene, &appliance);
}

#[test]
fn of_two_resolvers_the_silent_one_costs_no_time() {
    let mut scene = scene!("two resolvers");
    let silent = Resolver {
        is_silent: true,
        ..Resolver::default()
    };
    let network = scene.lab.network();
    network.set_resolver(RESOLVER, silent);
    network.set_resolver(SECOND_RESOLVER, Resolver::default());
    network.set_lease_terms(LeaseTerms {
        resolvers: vec![RESOLVER, SECOND_RESOLVER],
        ..LeaseTerms::default()
    });
    let _appliance = scene.boot_and_enrol();
    assert_eq!(scene.fetch(PAGE).status, 200);
    let frames = scene.lab.network().capture().frames();
    let asked = frames.iter().position(asks_name);
    let dialled = frames.iter().position(|frame| {
        Segment::parse(&frame.bytes)
            .is_some_and(|segment| segment.opens && segment.to.port() == 443)
    });
    let (Some(asked), Some(dialled)) = (asked, dialled) else {
        panic!("nothing was asked or dialled");
    };
    let took = frames[dialled].at - frames[asked].at;
    assert!(
        took < Duration::from_secs(1),
        "{took:?} from the question to the connection"
    );
    let policy = Policy::lab(&[APPLICATION]).asking(&[RESOLVER, SECOND_RESOLVER], &[TIME_SERVER]);
    scene.lab.assert_policy(&policy);
}

#[test]
fn with_dns_gone_an_edge_that_restarts_has_its_connector_back_within_10_s() {
    let mut scene = scene!("dns gone");
    let appliance = scene.boot_and_enrol();
    let silence = |scene: &Scene, silent| {
        let network = scene.lab.network();
        network.with_faults(|faults| faults.dns_silent = silent);
    };
    silence(&scene, true);
    if is_long() {
        // Nothing happens that could be waited for.
        let lost = appliance.wait_for("Disconnected from", GONE_LONG);
        assert!(lost.is_err(), "the tunnel was lost for want of DNS");
    }
    expect(scene.edge().restart());
    let restarted = Instant::now();
    expect(appliance.wait_for("Disconnected from", BACK_MAX));
    let left = BACK_MAX.saturating_sub(restarted.elapsed());
    expect(appliance.wait_for(CONNECTED, left));
    eprintln!("the tunnel is back after {:?}", restarted.elapsed());
    silence(&scene, false);
    assert_eq!(scene.fetch(PAGE).status, 200);
}

#[test]
fn a_restarted_machine_finds_its_edge_without_dns() {
    let mut scene = scene!("remembered");
    let appliance = scene.boot_and_enrol();
    assert!(expect(appliance.power_off()).success());
    let network = scene.lab.network();
    network.with_faults(|faults| faults.dns_silent = true);
    let again = expect(scene.lab.boot(&BootOptions::default()));
    expect(again.wait_for(CONNECTED, BOOT_MAX));
}

fn asks_name(frame: &Frame) -> bool {
    let to = Datagram::parse(&frame.bytes).map(|datagram| datagram.to);
    frame.direction == Direction::FromGuest && to.as_ref().map(SocketAddr::port) == Some(53)
}

/// The connector has run all the time, and asked nobody it should not.
fn assert_unharmed(scene: &Scene, appliance: &Appliance) {
    let text = appliance.console().text();
    assert!(!text.contains("Service connector ended"), "{text}");
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
}
