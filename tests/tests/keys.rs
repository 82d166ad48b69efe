//! Provisioning keys that do not do: the console says why and asks again, and no use is lost.

use std::time::Duration;

use tests::appliance::BootOptions;
use tests::network::address::EDGE;
use tests::pcap::Frame;
use tests::scene;
use tests::scene::{CONNECTED, GROUP, PAGE, STEP_MAX, Scene, expect};

#[test]
fn a_spent_key_is_refused_on_another_machine_which_then_takes_a_good_one() {
    let mut scene = scene!("spent");
    let key = scene.mint_key(&[]);
    let first = scene.boot_to_prompt();
    expect(first.type_line(&key));
    expect(first.wait_for(CONNECTED, STEP_MAX));
    first.cut_power();

    let second = scene.boot_to_prompt_with(&another_machine());
    expect(second.type_line(&key));
    let refusal = refusal(&second);
    assert!(refusal.contains("its only use was spent"), "{refusal}");
    assert_eq!(scene.uses_and_connectors(), (1, 1));

    let good = scene.mint_key(&[]);
    expect(second.type_line(&good));
    expect(second.wait_for(CONNECTED, STEP_MAX));
    assert_eq!(scene.uses_and_connectors(), (2, 2));
}

#[test]
fn an_unknown_an_expired_and_a_revoked_key_are_told_apart_and_a_good_one_still_does() {
    let mut scene = scene!("refused");
    let appliance = scene.boot_to_prompt();

    // A key of an edge that is not this one.
    expect(appliance.type_line("brdtc-eufvc-gchbi-idjeg-kflgf-nhrif-tjuke"));
    let unknown = refusal(&appliance);
    assert!(unknown.contains("has no such key"), "{unknown}");

    let expired = scene.mint_key(&["--expires", "1s"]);
    let revoked = scene.admin(&["key", "mint", "--group", GROUP]);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    scene.admin(&["key", "revoke", &text(&revoked["id"])]);
    expect(appliance.type_line(&text(&revoked["key"])));
    let answer = refusal(&appliance);
    assert!(answer.contains("revoked"), "{answer}");

    // Its second of life is over when the edge says so.
    let state = |scene: &mut Scene| scene.admin(&["key", "list"]).to_string();
    while !state(&mut scene).contains("expired") {}
    expect(appliance.type_line(&expired));
    let answer = refusal(&appliance);
    assert!(answer.contains("expired"), "{answer}");

    let good = scene.mint_key(&[]);
    expect(appliance.type_line(&good));
    expect(appliance.wait_for(CONNECTED, STEP_MAX));
    assert_eq!(scene.fetch(PAGE).status, 200);
    let (uses, connectors) = scene.uses_and_connectors();
    assert_eq!((uses, connectors), (1, 1), "a refused key spends nothing");
}

#[test]
fn a_reply_that_is_lost_burns_no_use() {
    let mut scene = scene!("lost reply");
    let appliance = scene.boot_to_prompt();
    let key = scene.mint_key(&[]);

    // A slow line, so that there is time between the request and its answer.
    scene.lab.network().set_latency(Duration::from_millis(400));
    let from = scene.lab.network().capture().count();
    expect(appliance.type_line(&key));
    let capture = scene.lab.network().capture().clone();
    assert!(
        capture.wait_for_after(from, STEP_MAX, is_enrol_request),
        "no request was sent"
    );
    // The request is on its way to the edge; wait until the edge has spent the use, then lose the answer.
    let start = std::time::Instant::now();
    while scene.uses_and_connectors().0 == 0 {
        assert!(start.elapsed() < STEP_MAX, "the edge never spent the use");
    }
    scene
        .lab
        .network()
        .with_faults(|faults| faults.edge_silent = true);
    scene.lab.network().cut_edge_connections();
    let lost = !appliance.console().text().contains("Connected to");
    scene.lab.network().set_latency(Duration::ZERO);
    scene
        .lab
        .network()
        .with_faults(|faults| faults.edge_silent = false);

    assert!(lost, "the answer was quicker than the fault");
    expect(appliance.wait_for(CONNECTED, STEP_MAX));
    assert_eq!(scene.uses_and_connectors(), (1, 1));
    assert_eq!(scene.fetch(PAGE).status, 200);
}

/// A TCP segment to the edge with more payload than a ClientHello of ours, so the CSR's.
fn is_enrol_request(frame: &Frame) -> bool {
    let Some(ip) = frame.bytes.get(14..) else {
        return false;
    };
    let to_edge = ip.get(16..20) == Some(EDGE.ip().octets().as_slice());
    to_edge && (400..).contains(&frame.bytes.len())
}

fn another_machine() -> BootOptions {
    BootOptions {
        name: "second".to_owned(),
        mac: qemu::mac::Mac::in_static_range(2),
        uuid: "00000000-0000-4000-8000-000000000002".to_owned(),
        ..BootOptions::default()
    }
}

/// What the console says between "Key refused:" and the next prompt.
fn refusal(appliance: &tests::appliance::Appliance) -> String {
    expect(appliance.wait_for("Key refused:", STEP_MAX));
    let text = expect(appliance.wait_for("Provisioning key:", STEP_MAX));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
