//! What is missing is named on the console, and the machine goes on by itself when it comes back.

use tests::appliance::BootOptions;
use tests::network::address::{APPLICATION, APPLICATION_NAME};
use tests::scene;
use tests::scene::{BOOT_MAX, CONNECTED, GROUP, PAGE, STEP_MAX, Scene, expect};

#[test]
fn without_dhcp_then_time_then_dns_then_edge_the_console_says_so_and_goes_on_by_itself() {
    let mut scene = scene!("waiting");
    let network = |scene: &Scene, change: fn(&mut tests::network::Faults)| {
        scene.lab.network().with_faults(change);
    };
    network(&scene, |faults| {
        faults.dhcp_silent = true;
        faults.ntp_silent = true;
        faults.dns_silent = true;
    });
    let appliance = expect(scene.lab.boot(&BootOptions::default()));
    expect(appliance.wait_for("Waiting for a DHCP server's answer", BOOT_MAX));
    network(&scene, |faults| faults.dhcp_silent = false);
    expect(appliance.wait_for("Network up: 10.77.0.15/24", STEP_MAX));

    expect(appliance.wait_for("Waiting for an NTP server's answer", STEP_MAX));
    network(&scene, |faults| faults.ntp_silent = false);
    expect(appliance.wait_for("Clock set by", STEP_MAX));

    expect(appliance.wait_for("Provisioning key:", STEP_MAX));
    let key = scene.mint_key(&[]);
    expect(appliance.type_line(&key));
    // Console text wraps between words: the first of the sentence is what stays together.
    expect(appliance.wait_for(
        "to connect to edge.outgate.example failed: no DNS",
        STEP_MAX,
    ));
    scene.edge().kill();
    network(&scene, |faults| faults.dns_silent = false);
    expect(appliance.wait_for("203.0.113.10:443 refuses", STEP_MAX));
    expect(scene.edge().restart());
    expect(appliance.wait_for(CONNECTED, STEP_MAX));
    assert_eq!(scene.fetch(PAGE).status, 200);
    assert_eq!(scene.uses_and_connectors(), (1, 1));
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
}

#[test]
fn an_edge_that_is_killed_and_started_again_gets_its_connector_back_without_a_hand() {
    let mut scene = scene!("edge restart");
    let appliance = scene.boot_and_enrol();
    scene.edge().kill();
    expect(appliance.wait_for("Disconnected from", STEP_MAX));
    expect(scene.edge().restart());
    expect(appliance.wait_for(CONNECTED, STEP_MAX));
    assert_eq!(scene.fetch(PAGE).status, 200);
}

#[test]
fn a_lease_that_is_renewed_and_a_cable_that_is_pulled_for_a_moment_keep_the_tunnel() {
    let mut scene = scene!("cable");
    let mut appliance = scene.boot_and_enrol();
    expect(appliance.qmp().set_link(false));
    expect(appliance.wait_for("Waiting for the NIC's link", STEP_MAX));
    expect(appliance.qmp().set_link(true));
    expect(appliance.wait_for("Network up:", STEP_MAX));
    assert_eq!(scene.fetch(PAGE).status, 200);
    assert!(!appliance.console().text().contains("Disconnected from"));
}

#[test]
fn what_keeps_a_page_from_coming_is_told_to_the_user_in_words() {
    let mut scene = scene!("refusals");
    let _appliance = scene.boot_and_enrol();
    let targets = [
        ("nameless", "nameless.outgate.example", "does not resolve"),
        ("closed", APPLICATION_NAME, "refuses the connection"),
        ("loopback", "127.0.0.1", "never dialled"),
        ("metadata", "169.254.169.254", "never dialled"),
        ("edge", "203.0.113.10", "never dialled"),
        ("gateway", "10.77.0.1", "never dialled"),
        ("own", "10.77.0.15", "never dialled"),
    ];
    for (name, host, words) in targets {
        let app = [
            "app", "add", "--group", GROUP, "--name", name, "--host", host, "--port", "8081",
        ];
        scene.admin(&app);
        let fetched = scene.fetch(&format!("http://{host}:8081/"));
        assert!((500..600).contains(&fetched.status), "{name}: {fetched:?}");
        assert!(fetched.text().contains(words), "{name}: {}", fetched.text());
    }
    let stranger = scene.fetch_as(PAGE, "asha:wrong", &[]);
    assert_eq!(stranger.status, 407, "{stranger:?}");
    let unknown = scene.fetch("http://elsewhere.outgate.example/");
    assert_eq!(unknown.status, 403, "{unknown:?}");
    assert_eq!(scene.fetch(PAGE).status, 200);
    // Nothing was sent to any of the forbidden addresses; a closed port of the application was asked.
    let closed = std::net::SocketAddrV4::new(*APPLICATION.ip(), 8081);
    scene
        .lab
        .assert_only_allowed_traffic(&[APPLICATION, closed]);
}
