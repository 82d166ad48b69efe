//! A proxy on the way that inspects TLS, from Debian: it learns nothing, and the console says who it is.

use std::time::{Duration, Instant};

use appliance::issuer::issuer;
use connector_proto::derive::EnrolSecrets;
use connector_proto::key::ProvisioningKey;
use tests::appliance::Appliance;
use tests::foreign::interceptor::{Authority, Interceptor, OWN_AUTHORITY, PROGRAM, Seen};
use tests::foreign::programs;
use tests::network::address::{APPLICATION, EDGE_NAME};
use tests::scene;
use tests::scene::{CONNECTED, PAGE, STEP_MAX, expect};
use tests::skip;

const ENROL: &str = "outgate-enrol/1";

/// Both with the proxy's own authority and with one that has the name of the edge's.
#[test]
fn an_inspecting_proxy_gets_the_keys_id_at_most_and_the_key_still_enrols() {
    if let Err(error) = programs::find(PROGRAM) {
        skip!(error);
    }
    let mut scene = scene!("interception");
    let upstream = scene.edge().control();
    let pretended = expect(scene.edge().certificate());
    let pretended = issuer(&pretended).unwrap_or_default();
    let folder = scene.lab.folder().to_owned();
    let own = expect(Interceptor::start(
        &folder.join("own"),
        upstream,
        Authority::Own,
    ));
    let pretender = expect(Interceptor::start(
        &folder.join("pretender"),
        upstream,
        Authority::Named(&pretended),
    ));
    let on_the_way = [(&own, OWN_AUTHORITY), (&pretender, pretended.as_str())];

    let appliance = scene.boot_to_prompt();
    let key = scene.mint_key(&[]);
    for (interceptor, name) in on_the_way {
        scene.lab.network().set_edge(interceptor.address());
        let from = said(&appliance).len();
        expect(appliance.type_line(&key));
        wait_until_said(&appliance, from, &not_proven(name));
        wait_until_said(&appliance, from, &bypass());
        assert_learned_no_more_than_the_id(&interceptor.seen(), &key);
        assert_eq!(scene.uses_and_connectors(), (0, 0));
    }
    scene.lab.network().set_edge(upstream);
    expect(appliance.type_line(&key));
    expect(appliance.wait_for(CONNECTED, STEP_MAX));
    assert_eq!(scene.uses_and_connectors(), (1, 1));

    for (interceptor, name) in on_the_way {
        let seen = interceptor.seen().len();
        let from = said(&appliance).len();
        scene.lab.network().set_edge(interceptor.address());
        scene.lab.network().cut_edge_connections();
        expect(interceptor.wait_for("client-failed outgate-control/1", STEP_MAX));
        wait_until_said(&appliance, from, &format!("\"{name}\""));
        wait_until_said(&appliance, from, &bypass());
        assert_nothing_in_clear(&interceptor.seen()[seen..]);
        assert!(!said(&appliance)[from..].contains(CONNECTED));
        scene.lab.network().set_edge(upstream);
        expect(appliance.wait_for(CONNECTED, STEP_MAX));
    }
    assert_eq!(scene.fetch(PAGE).status, 200);
    assert_eq!(scene.uses_and_connectors(), (1, 1));
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
}

/// Nothing is pinned before an enrolment, so the handshake is completed. What then leaves the machine is
/// the first message, which holds the id that names the key; the edge's proof is for another connection,
/// and that ends it.
fn assert_learned_no_more_than_the_id(seen: &[Seen], key: &str) {
    let key = expect(ProvisioningKey::parse(key));
    let id = EnrolSecrets::derive(&key).id;
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let hello = Seen::FromClient(format!("000000120100{hex}"));
    assert!(seen.contains(&Seen::ClientEstablished(ENROL.to_owned())));
    assert!(seen.contains(&Seen::EdgeEstablished(ENROL.to_owned())));
    let of_client = seen
        .iter()
        .filter(|seen| matches!(seen, Seen::FromClient(_)));
    let of_client: Vec<_> = of_client.collect();
    // That the proof does not hold is said, and that is all.
    let farewell = Seen::FromClient("0000000400010700".to_owned());
    assert_eq!(
        of_client,
        [&hello, &farewell],
        "all that was seen: {seen:?}"
    );
    // EnrolProof: it is not for want of an answer that nothing more was said.
    let is_proof =
        |seen: &Seen| matches!(seen, Seen::FromEdge(bytes) if bytes[8..].starts_with("0101"));
    assert!(seen.iter().any(is_proof), "{seen:?}");
}

/// What is pinned ends the handshake.
fn assert_nothing_in_clear(seen: &[Seen]) {
    let in_clear = seen.iter().filter(|seen| {
        matches!(
            seen,
            Seen::ClientEstablished(_) | Seen::FromClient(_) | Seen::FromEdge(_)
        )
    });
    assert_eq!(in_clear.count(), 0, "{seen:?}");
}

fn not_proven(issuer: &str) -> String {
    format!(
        "Key refused: {EDGE_NAME} could not prove that it knows the key (its certificate was issued by \
         \"{issuer}\")"
    )
}

fn bypass() -> String {
    format!("exempt TCP 443 to {EDGE_NAME} from TLS inspection (bypass, no decryption)")
}

/// What the console said, without the breaks between its lines.
fn said(appliance: &Appliance) -> String {
    let text = appliance.console().text().replace("\x1b[K", "");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn wait_until_said(appliance: &Appliance, from: usize, phrase: &str) {
    let start = Instant::now();
    while !said(appliance)[from..].contains(phrase) {
        assert!(
            start.elapsed() < STEP_MAX,
            "{phrase:?} was not said:\n{}",
            &said(appliance)[from..]
        );
        // Whatever comes next; when nothing does, the clock above decides.
        let _ = appliance.wait_for("\n", Duration::from_secs(1));
    }
}
