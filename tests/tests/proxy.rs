//! The edge behind an HTTP proxy.

use std::net::SocketAddr;

use tests::appliance::BootOptions;
use tests::audit::Policy;
use tests::network::address::{APPLICATION, EDGE_NAME, PROXY};
use tests::network::connect_proxy::ConnectProxy;
use tests::network::service::Answerer;
use tests::scene;
use tests::scene::{BOOT_MAX, PAGE, STEP_MAX, Scene, expect};

/// What the console says at the end; longer than a line, so that only its beginning stays together.
const CONNECTED: &str = "Connected to edge.outgate.example as";

#[test]
fn through_a_proxy_everything_of_the_edge_goes_by_its_name_and_nothing_past_the_proxy() {
    let mut scene = scene!("proxy");
    let proxy = stand_proxy(&mut scene, None);
    let appliance = scene.boot_and_enrol_with(&behind_proxy());
    assert_eq!(scene.fetch(PAGE).status, 200);
    let text = appliance.console().text();
    assert!(text.contains("through proxy 10.77.0.30:3128"), "{text}");
    let requests = proxy.requests();
    let all_good = requests
        .iter()
        .all(|request| request == "200 CONNECT edge.outgate.example:443 HTTP/1.1");
    // Enrolment, control channel, session.
    assert!(all_good && requests.len() >= 3, "{requests:?}");
    scene
        .lab
        .assert_policy(&Policy::through_proxy(PROXY, &[APPLICATION]));
}

#[test]
fn a_proxy_that_wants_credentials_is_given_what_is_typed_and_the_machine_keeps_it() {
    let mut scene = scene!("proxy credentials");
    let proxy = stand_proxy(&mut scene, Some("meera:Open Sesame 7"));
    let appliance = scene.boot_to_prompt_with(&behind_proxy());
    let key = scene.mint_key(&[]);
    expect(appliance.type_line(&key));
    expect(appliance.wait_for("wants a user and a password", STEP_MAX));
    expect(appliance.wait_for("Proxy user:", STEP_MAX));
    expect(appliance.type_line("meera"));
    expect(appliance.wait_for("Proxy password:", STEP_MAX));
    expect(appliance.type_line("open sesame 7"));
    // One letter was wrong.
    expect(appliance.wait_for("refuses the user and password", STEP_MAX));
    expect(appliance.wait_for("Proxy user:", STEP_MAX));
    expect(appliance.type_line("meera"));
    expect(appliance.wait_for("Proxy password:", STEP_MAX));
    expect(appliance.type_line("Open Sesame 7"));
    expect(appliance.wait_for(CONNECTED, STEP_MAX));
    assert_eq!(scene.fetch(PAGE).status, 200);
    let text = appliance.console().text();
    assert!(
        !text.contains("esame"),
        "the password is on the console: {text}"
    );
    assert!(
        proxy
            .requests()
            .iter()
            .any(|request| request.starts_with("407"))
    );
    assert!(expect(appliance.power_off()).success());

    let again = expect(scene.lab.boot(&behind_proxy()));
    expect(again.wait_for(CONNECTED, BOOT_MAX));
    scene
        .lab
        .assert_policy(&Policy::through_proxy(PROXY, &[APPLICATION]));
}

#[test]
fn a_proxy_that_does_not_let_the_edge_through_is_named_with_its_answer() {
    let mut scene = scene!("proxy refuses");
    let proxy = expect(ConnectProxy::start(&[], None));
    let network = scene.lab.network();
    network.serve(PROXY, Answerer::Host(proxy.address()));
    let appliance = scene.boot_to_prompt_with(&behind_proxy());
    let key = scene.mint_key(&[]);
    expect(appliance.type_line(&key));
    let said = expect(appliance.wait_for("502", STEP_MAX));
    assert!(said.contains("proxy 10.77.0.30:3128"), "{said}");
}

/// A proxy that alone can resolve the edge's name, as in networks without any other way out.
fn stand_proxy(scene: &mut Scene, credentials: Option<&str>) -> ConnectProxy {
    let edge: SocketAddr = scene.edge().control();
    let routes = [("edge.outgate.example:443", edge)];
    let proxy = expect(ConnectProxy::start(&routes, credentials));
    let network = scene.lab.network();
    network.serve(PROXY, Answerer::Host(proxy.address()));
    network.with_faults(|faults| faults.edge_silent = true);
    network.remove_name(EDGE_NAME);
    proxy
}

fn behind_proxy() -> BootOptions {
    BootOptions {
        settings: vec![("proxy", PROXY.to_string())],
        ..BootOptions::default()
    }
}
